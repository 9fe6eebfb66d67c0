"""Whatever bytes the readers are given, they read them or raise an error of plxnix."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.builders.archive import unpack
from plxnix.config import Config
from plxnix.errors import PlxnixError
from plxnix.export.lock_reader import parse_lock
from plxnix.locking.importing import read_foreign
from plxnix.model import DRef, RRef
from plxnix.nix import aterm
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import file_archive
from plxnix.nix.nar_reading import restore
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.store import Record
from tests.archive_trees import file, folder, hardlink, symlink, tar_bytes

DREF = DRef("dref:" + "1" * 32 + "-a")
RREF = RRef("rref:" + "2" * 32 + "-" + "1" * 32 + "-a")
NAR_HASH = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

CONFIG = Config({"name": "a", "below": [str(DREF), "out"], "rate": 0.5, "deep": [[{"x": None}]]})

DRV = (
    b'Derive([("out","/nix/store/00000000000000000000000000000000-a","","")],[],[],'
    b'"x86_64-linux","/bin/sh",["-c","echo \\"a\\" > $out"],[("out","a"),("x","y\\n")])'
)

LOCK = (
    b'{"version":1,"sources":{"a":{"url":"https://example.org/a.tar.gz","hash":"'
    + NAR_HASH.encode()
    + b'"}}}'
)

PYLOCK = b"""lock-version = "1.0"
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

TAR = tar_bytes(folder("a"), file("a/b", b"x" * 100), symlink("l", "a"), hardlink("h", "a/b"))


def _in_a_folder(reader: Callable[[Path, Path], object]) -> Callable[[bytes], object]:
    def read(data: bytes) -> object:
        with tempfile.TemporaryDirectory() as place:
            source = Path(place, "source")
            source.write_bytes(data)
            return reader(source, Path(place, "target"))

    return read


#: Readers, each with bytes that are right.
READERS: dict[str, tuple[Callable[[bytes], object], bytes]] = {
    "config": (Config.parse, CONFIG.canonical),
    "record": (
        lambda data: Record.parse(data, "the record"),
        Record({DREF: (RREF,)}, NAR_HASH, 10, nix={"path": "x"}).text(),
    ),
    "lock": (parse_lock, LOCK),
    "foreign lock": (_in_a_folder(lambda source, _: read_foreign(source)), LOCK),
    "pylock": (
        lambda data: EnvironmentLock.parse(data.decode("latin-1")),
        PYLOCK,
    ),
    "drv": (lambda data: aterm.parse(data, "a"), DRV),
    "nar": (
        _in_a_folder(lambda source, target: restore(io.BytesIO(source.read_bytes()), target)),
        file_archive(b"contents"),
    ),
    "archive": (_in_a_folder(unpack), TAR),
    "reference": (lambda data: RRef.parse(data.decode("latin-1")), RREF.encode()),
    "hash": (lambda data: Hash.parse(data.decode("latin-1")), NAR_HASH.encode()),
}

#: What readers stumble over.
PIECES = st.sampled_from(
    [
        *(b"", b"\0", b"\xff", b'"', b"[" * 5000, b"{" * 2000, b"1e999", b"-1", b"NaN", b"null"),
        *(b"9" * 5000, b'{"a":1,"a":2}', b"\xed\xa0\x80", b"\\u", b"\\ud800", b"../", b"\n"),
    ]
)


@st.composite
def mutated(draw: st.DrawFn, right: bytes) -> bytes:
    """Draw bytes that are right but for a few places."""
    data = right
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + draw(st.sampled_from([0, 1, 8, 99])))))
        piece = draw(PIECES | st.binary(max_size=8) | st.just(data[: draw(st.integers(0, 64))]))
        data = data[:start] + piece + data[end:]
    return data[: draw(st.sampled_from([len(data), draw(st.integers(0, len(data)))]))]


@pytest.mark.parametrize("name", READERS)
def test_right_bytes_are_read(name: str) -> None:
    """What the others are made from is right."""
    reader, right = READERS[name]
    reader(right)


@pytest.mark.parametrize("name", READERS)
@given(data=st.data())
def test_mutated_bytes(name: str, data: st.DataObject) -> None:
    """A few wrong bytes are read, or refused by a typed error."""
    reader, right = READERS[name]
    with suppress(PlxnixError):
        reader(data.draw(mutated(right)))


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    """Any bytes at all are read, or refused by a typed error."""
    with suppress(PlxnixError):
        READERS[name][0](data)
