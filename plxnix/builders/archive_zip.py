"""Read the members of a zip archive with the standard library, and check what they say.

zipfile only parses here and checks sums; names, kinds and sizes are judged by our own rules, and
nothing is written. A fault of the archive raises `ArchiveError`, a breach of a rule `RuleBroken`.
"""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path

from plxnix.builders.archive_members import (
    PIECE,
    TARGET_BYTES,
    Budget,
    Limits,
    Member,
    RuleBroken,
    check_target,
    member_path,
)
from plxnix.builders.archive_tar import UNREADABLE, damaged
from plxnix.errors import ArchiveError

_ENCRYPTED = 0x1
_UTF8 = 0x800
_UNIX = (3, 19)
_FAT = 0


def zip_members(archive: Path, limits: Limits, budget: Budget) -> Generator[Member, None, None]:
    """Yield the members of a zip archive in the order of its directory.

    Modes and symbolic links count where the archive was made on Unix, as with unzip(1). Names
    that are not marked as UTF-8 are taken as the bytes they are when made on Unix, and as code
    page 437 otherwise.
    """
    # zipfile closes a file of its own only after every member that was opened, also half read.
    with archive.open("rb") as stream:
        try:
            reader = zipfile.ZipFile(stream)
        except _ERRORS as error:
            raise damaged(archive, error) from error
        for entry in reader.infolist():
            if entry.flag_bits & _ENCRYPTED:
                raise ArchiveError(
                    f"archive '{archive}' has encrypted members",
                    "unpack it by hand and give the folder instead",
                )
            name = _name(entry)
            try:
                yield _member(archive, reader, entry, name, limits, budget)
            except RuleBroken as broken:
                broken.member = name
                raise


def _member(
    archive: Path,
    reader: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    name: bytes,
    limits: Limits,
    budget: Budget,
) -> Member:
    path = member_path(name, limits)
    mode = entry.external_attr >> 16 if entry.create_system in _UNIX else 0
    kind = stat.S_IFMT(mode)
    pieces = _pieces(archive, reader, entry, budget)
    if kind == stat.S_IFLNK:
        target = b""
        for piece in pieces:
            target += piece
            if len(target) > TARGET_BYTES:
                break
        return Member(name, path, "symlink", target=check_target(target))
    if name.endswith(b"/") or kind == stat.S_IFDIR:
        return Member(name, path, "folder")
    if kind not in (0, stat.S_IFREG):
        raise RuleBroken("it is a device, a fifo or a socket")
    return Member(name, path, "file", executable=bool(mode & 0o100), pieces=pieces)


_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    # An unknown method of compression, and a module of the standard library that is missing.
    NotImplementedError,
    RuntimeError,
    *UNREADABLE,
)


def _pieces(
    archive: Path, reader: zipfile.ZipFile, entry: zipfile.ZipInfo, budget: Budget
) -> Iterator[bytes]:
    try:
        stream = reader.open(entry)
    except _ERRORS as error:
        raise damaged(archive, error) from error
    with stream:
        while True:
            try:
                data = stream.read(PIECE)
            except _ERRORS as error:
                raise damaged(archive, error) from error
            if not data:
                return
            budget.take(len(data))
            yield data


def _name(entry: zipfile.ZipInfo) -> bytes:
    # zipfile cuts `filename` at a NUL; the original has all of it.
    name = entry.orig_filename
    if entry.create_system == _FAT and "/" not in name:
        name = name.replace("\\", "/")
    if entry.flag_bits & _UTF8 or entry.create_system not in _UNIX:
        return name.encode("utf-8", "surrogateescape")
    return name.encode("cp437")
