"""Every reader of what comes from elsewhere, with right bytes to start from: for all that fuzz."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from plxnix.archives import sunpack
from plxnix.archives.packing import spack
from plxnix.builders import layers
from plxnix.builders.archive import Limits, unpack
from plxnix.builders.package_index import parse_page
from plxnix.config import Config
from plxnix.errors import PlxnixError
from plxnix.export.lock_reader import parse_lock
from plxnix.locking.document import parse_json
from plxnix.locking.importing import read_foreign
from plxnix.mdrun.sections import Document, Outcome
from plxnix.model import DRef, Name, RRef
from plxnix.nix import aterm
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import file_archive
from plxnix.nix.nar_reading import restore
from plxnix.pyenv.elf import read_elf
from plxnix.pyenv.libraries import read_cache
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.store import Fsync, Record, Store, temproots
from tests.archive_trees import file, folder, hardlink, symlink, tar_bytes
from tests.environment_trees import library
from tests.store_samples import build, scratch_store
from tests.unit.test_archives import forerunner

DREF: Final = DRef("dref:" + "1" * 32 + "-a")
RREF: Final = RRef("rref:" + "2" * 32 + "-" + "1" * 32 + "-a")
NAR_HASH: Final = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

#: What an archive may cost here; the ones that packages bring may cost more.
_LIMITS: Final = Limits(bytes=1 << 24, members=1000)

_CONFIG: Final = Config(
    {"name": "a", "below": [str(DREF), "out"], "rate": 0.5, "deep": [[{"x": None}]]}
)

_DRV: Final = (
    b'Derive([("out","/nix/store/00000000000000000000000000000000-a","","")],[],[],'
    b'"x86_64-linux","/bin/sh",["-c","echo \\"a\\" > $out"],[("out","a"),("x","y\\n")])'
)

_LOCK: Final = (
    b'{"version":1,"sources":{"a":{"url":"https://example.org/a.tar.gz","hash":"'
    + NAR_HASH.encode()
    + b'"}}}'
)

_FOREIGN: Final = (
    b'{"version":7,"root":"root","nodes":{"root":{},"a":{"locked":{"type":"github","owner":"o",'
    b'"repo":"r","rev":"' + b"3" * 40 + b'","narHash":"' + NAR_HASH.encode() + b'"}}}}',
    b'{"version":5,"pins":{"a":{"type":"Git","repository":{"type":"GitHub","owner":"o",'
    b'"repo":"r"},"revision":"'
    + b"3" * 40
    + b'","url":null,"hash":"'
    + NAR_HASH.encode()
    + b'"}}}',
    b'{"a":{"version":"1","src":{"type":"url","url":"https://example.org/a-1.zip","sha256":"'
    + NAR_HASH.encode()
    + b'"}}}',
)

_PYLOCK: Final = b"""lock-version = "1.0"
created-by = "tests"
requires-python = ">=3.10"
[[packages]]
name = "a"
version = "1.0"
[[packages.wheels]]
name = "a-1.0-py3-none-any.whl"
url = "https://example.org/a-1.0-py3-none-any.whl"
hashes = {sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
"""

_AR: Final = b"!<arch>\nx/              1           0     0     644     2         `\nx\n"

_PAGES: Final = (
    b'{"files":[{"filename":"a-1.0-py3-none-any.whl","url":"../a-1.0-py3-none-any.whl",'
    b'"hashes":{"sha256":"00"},"yanked":"broken"}],"meta":{"api-version":"1.0"},"name":"a"}',
    b'<!DOCTYPE html><html><body><a href="https://example.org:80/a-1.0.tar.gz#sha256=00" '
    b'data-yanked="">a-1.0.tar.gz</a></body></html>',
)

_MARKDOWN: Final = (
    b"# A\n\n```python\nx = 1\n```\n\n"
    b"<!-- mdrun: output -->\n```text\n1\n```\n<!-- mdrun: end -->\n"
    b"\n<!-- mdrun: raises -->\n~~~{.bash}\nfalse\n",
    b"> * quoted\n>   ```sh\n>   ls\n>   ```\n\n"
    b"1. x\n\n   ```py\n   y\n   ```\n<!-- mdrun: norun -->\n",
)


@dataclass(frozen=True)
class Reader:
    """What reads, and bytes that it has to read without an error, made when they are needed."""

    read: Callable[[bytes], object]
    samples: Callable[[], tuple[bytes, ...]]


def _in_a_folder(reader: Callable[[Path, Path], object]) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as place:
            source = Path(place, "source")
            source.write_bytes(data)
            return reader(source, Path(place, "target"))

    return read


def _references(data: bytes) -> None:
    for parse in (Name.parse, DRef.parse, RRef.parse):
        with suppress(PlxnixError):
            parse(data.decode("latin-1"))


def _page(data: bytes) -> object:
    kind = "application/json" if data.startswith(b"{") else "text/html"
    return parse_page(data, kind, "https://user:word@example.org/simple/a/")


def _document(data: bytes) -> object:
    document = Document(data.decode("utf-8", "replace"))
    return document.render({one.number: Outcome("`x`") for one in document.sections})


def _unpack(source: Path, target: Path) -> None:
    unpack(source, target, limits=_LIMITS)


def _elf(source: Path, _: Path) -> None:
    read_cache(source.read_bytes())
    read_elf(source)


def _closure(source: Path, _: Path) -> None:
    with scratch_store() as store:
        sunpack(source, store, limits=_LIMITS)


def _with_checksums(read: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """Return a reader of tar archives for which the headers' checksums are made right."""

    def reading(data: bytes) -> object:
        right = bytearray(data)
        for start in range(0, len(right) - 511, 512):
            if right[start + 257 : start + 262] == b"ustar":
                right[start + 148 : start + 156] = b" " * 8
                total = sum(right[start : start + 512])
                right[start + 148 : start + 156] = b"%06o\0 " % total
        return read(bytes(right))

    return reading


@lru_cache
def _tars() -> tuple[bytes, ...]:
    members = (folder("a"), file("a/b", b"x" * 100), symlink("l", "a"), hardlink("h", "a/b"))
    long = file("n" * 120 + "é", b"x")
    return (
        tar_bytes(*members, long, form=tarfile.PAX_FORMAT),
        tar_bytes(*members, long, form=tarfile.GNU_FORMAT),
        tar_bytes(*members, form=tarfile.USTAR_FORMAT),
    )


@lru_cache
def _archives() -> tuple[bytes, ...]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/", b"")
        archive.writestr("a/b", b"x" * 100)
        archive.writestr("é", b"y", zipfile.ZIP_STORED)
        link = zipfile.ZipInfo("l")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "a")
    tar = _tars()[2]
    packed = (gzip.compress(tar), bz2.compress(tar), lzma.compress(tar))
    return (tar, buffer.getvalue(), *packed)


@lru_cache
def _closures() -> tuple[bytes, ...]:
    with tempfile.TemporaryDirectory() as place:
        store = Store.init(f"{place}/store", Fsync.NONE)
        below = build(store, "a", entries={"file": b"x", "program*": b"y", "link": "file"})
        above = build(store, "b", [below], log=gzip.compress(b"log"))
        for form in ("tar", "zip"):
            spack(above, f"{place}/closure.{form}", store)
        store.session().close()
        forerunner(Path(place, "forerunner.zip"))
        with zipfile.ZipFile(f"{place}/forerunner.zip") as archive:
            entries = [file(one.filename, archive.read(one)) for one in archive.infolist()]
        found = [Path(place, f"closure.{form}").read_bytes() for form in ("tar", "zip")]
    return (*found, tar_bytes(*entries))


def _given(*samples: bytes) -> Callable[[], tuple[bytes, ...]]:
    return lambda: samples


#: All readers of foreign input by name.
READERS: Final = {
    "config": Reader(Config.parse, _given(_CONFIG.canonical)),
    "record": Reader(
        lambda data: Record.parse(data, "the record"),
        _given(Record({DREF: (RREF,)}, NAR_HASH, 10, nix={"path": "x"}).text()),
    ),
    "json": Reader(lambda data: parse_json(data, "the file"), _given(_LOCK, _CONFIG.canonical)),
    "reference": Reader(_references, _given(RREF.encode(), DREF.encode(), b"a-b")),
    "hash": Reader(lambda data: Hash.parse(data.decode("latin-1")), _given(NAR_HASH.encode())),
    "lock": Reader(parse_lock, _given(_LOCK)),
    "foreign-lock": Reader(
        _in_a_folder(lambda source, _: read_foreign(source)), _given(_LOCK, *_FOREIGN)
    ),
    "pylock": Reader(lambda data: EnvironmentLock.parse(data.decode("latin-1")), _given(_PYLOCK)),
    "drv": Reader(lambda data: aterm.parse(data, "a"), _given(_DRV)),
    "nar": Reader(
        _in_a_folder(lambda source, target: restore(io.BytesIO(source.read_bytes()), target)),
        _given(file_archive(b"contents")),
    ),
    "archive": Reader(_in_a_folder(_unpack), _archives),
    "layers": Reader(_with_checksums(layers.opened), lambda: (*_archives(), _AR)),
    "tar": Reader(_with_checksums(_in_a_folder(_unpack)), _tars),
    "closure": Reader(_with_checksums(_in_a_folder(_closure)), _closures),
    "index-page": Reader(_page, _given(*_PAGES)),
    "elf": Reader(_in_a_folder(_elf), lambda: (library(["liba.so"], rpath="$ORIGIN"),)),
    "temporary-roots": Reader(
        temproots.parse, _given(b"process 1 on host\n" + DREF.encode() + b"\n")
    ),
    "markdown": Reader(_document, _given(*_MARKDOWN)),
}

#: What readers stumble over.
PIECES: Final = (
    *(b"", b"\0", b"\xff", b'"', b"[" * 5000, b"{" * 2000, b"1e999", b"-1", b"NaN", b"null"),
    *(b"9" * 5000, b'{"a":1,"a":2}', b"\xed\xa0\x80", b"\\u", b"\\ud800", b"../", b"\n", b"//["),
)

__all__ = ["PIECES", "READERS", "Reader"]
