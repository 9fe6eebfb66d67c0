"""What shared libraries need, and where it is found."""

from __future__ import annotations

import os
import struct
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import InvalidValue
from plxnix.pyenv.elf import read_elf
from plxnix.pyenv.libraries import Missing, System, read_cache, scan
from tests.environment_trees import PYTHON, library


def test_reads_what_the_linker_reads(tmp_path: Path) -> None:
    """Names and folders are read in the order of the file."""
    path = tmp_path / "x.so"
    path.write_bytes(library(["libb.so.1", "liba.so"], "libx.so.2", "$ORIGIN/x:/opt/y"))
    elf = read_elf(path)
    assert elf is not None
    assert elf.needed == ("libb.so.1", "liba.so")
    assert (elf.soname, elf.rpath, elf.machine) == ("libx.so.2", ("$ORIGIN/x", "/opt/y"), 62)
    assert elf.interpreter == ""


def test_agrees_with_the_linker_on_this_interpreter() -> None:
    """The closure of a program is what its dynamic linker lists, and nothing is missing."""
    found, missing = System().closure([PYTHON])
    listed = subprocess.run(["ldd", PYTHON], capture_output=True, text=True, check=True).stdout
    words = {os.path.realpath(word) for word in listed.split() if word.startswith("/")}
    assert words
    assert {os.path.realpath(path) for path in found} == words
    assert missing == []


@pytest.mark.parametrize("text", [b"", b"#!/bin/sh\n", b"\x7fEL", b"PK\x03\x04"])
def test_other_files_are_none(tmp_path: Path, text: bytes) -> None:
    """What is no ELF file is not taken for a damaged one."""
    path = tmp_path / "file"
    path.write_bytes(text)
    assert read_elf(path) is None


@given(cut=st.integers(4, 300), place=st.integers(4, 250), value=st.binary(min_size=1, max_size=8))
def test_damage_is_an_error_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, cut: int, place: int, value: bytes
) -> None:
    """No bytes make it fail in another way, or read without end."""
    data = library(["liba.so", "libb.so"], "libx.so", "$ORIGIN")
    path = tmp_path_factory.mktemp("elf") / "x.so"
    for damaged in (data[:cut], data[:place] + value + data[place + len(value) :]):
        path.write_bytes(damaged)
        with suppress(InvalidValue):
            read_elf(path)


def test_lying_sizes_are_refused(tmp_path: Path) -> None:
    """A table that claims to be huge is not read."""
    data = bytearray(library(["liba.so"]))
    struct.pack_into("<Q", data, 64 + 56 + 32, 1 << 60)
    path = tmp_path / "x.so"
    path.write_bytes(data)
    with pytest.raises(InvalidValue, match="damaged"):
        read_elf(path)


def test_cache_is_read(tmp_path: Path) -> None:
    """The cache gives paths by name; the library has to be of the right kind."""
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "liba.so.1").write_bytes(library())
    (tmp_path / "etc").mkdir()
    strings = b"liba.so.1\0/odd/liba.so.1\0"
    base = 48 + 24
    entry = struct.pack("<iIIIQ", 0x303, base, base + 10, 0, 0)
    head = b"glibc-ld.so.cache1.1" + struct.pack("<II", 1, len(strings)) + bytes(20)
    cache = head + entry + strings
    assert read_cache(cache) == {"liba.so.1": ["/odd/liba.so.1"]}
    assert read_cache(b"ld.so-1.7.0\0" + cache) == {"liba.so.1": ["/odd/liba.so.1"]}
    assert read_cache(cache[:60]) == {}
    (tmp_path / "etc/ld.so.cache").write_bytes(cache)
    system = System(str(tmp_path))
    path = tmp_path / "x.so"
    path.write_bytes(library(["liba.so.1"]))
    elf = read_elf(path)
    assert elf is not None
    assert system.find("liba.so.1", elf, "/") == "/odd/liba.so.1"
    path.write_bytes(library(["liba.so.1"], machine=183))
    other = read_elf(path)
    assert other is not None
    assert system.find("liba.so.1", other, "/") is None


def test_own_folders_come_first(tmp_path: Path) -> None:
    """$ORIGIN is the folder of the file that needs a library."""
    for folder in ("own", "lib"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "liba.so").write_bytes(library())
    path = tmp_path / "x.so"
    path.write_bytes(library(["liba.so"], rpath="${ORIGIN}/../own"))
    elf = read_elf(path)
    assert elf is not None
    system = System(str(tmp_path))
    assert system.find("liba.so", elf, "/here") == "/own/liba.so"
    assert system.find("liba.so", elf, "/not/here") == "/lib/liba.so"


def test_tree_is_scanned(tmp_path: Path) -> None:
    """What the tree has anywhere is not missing; links are not followed."""
    (tmp_path / "a.libs").mkdir()
    (tmp_path / "a.libs/libown.so").write_bytes(library(soname="libown.so.3"))
    (tmp_path / "a").mkdir()
    needs = ["libown.so.3", "libgone.so.7", "libc.so.6"]
    (tmp_path / "a/x.so").write_bytes(library(needs))
    (tmp_path / "a/link.so").symlink_to("x.so")
    (tmp_path / "a/loop").symlink_to(".")
    files, missing = scan(tmp_path, System())
    assert sorted(files) == ["a.libs/libown.so", "a/x.so"]
    assert missing == [Missing("libgone.so.7", "a/x.so")]


def test_a_library_for_another_machine_is_missing(tmp_path: Path) -> None:
    """A wheel for another machine needs what this one does not have."""
    (tmp_path / "x.so").write_bytes(library(["libc.so.6"], machine=183))
    (tmp_path / "libc.so.6").write_bytes(library(machine=62))
    assert scan(tmp_path, System())[1] == [Missing("libc.so.6", "x.so")]
