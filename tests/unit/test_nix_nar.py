"""NAR archives: odd files, hostile archives, and how much memory they take."""

from __future__ import annotations

import gc
import io
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plxnix.errors import InvalidValue, NixFormatError
from plxnix.nix import nar


def word(text: bytes | str) -> bytes:
    """Return a string of the format."""
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def words(*texts: bytes | str) -> bytes:
    """Return several strings of the format."""
    return b"".join(map(word, texts))


def file(contents: bytes | str = "x") -> bytes:
    """Return a file as part of an archive."""
    return words("(", "type", "regular", "contents", contents, ")")


def folder(*entries: tuple[bytes | str, bytes]) -> bytes:
    """Return a folder as part of an archive, with the entries as they are."""
    inner = b"".join(
        words("entry", "(", "name", name, "node") + node + word(")") for name, node in entries
    )
    return words("(", "type", "directory") + inner + word(")")


def archive(node: bytes) -> bytes:
    """Return an archive."""
    return word("nix-archive-1") + node


def restore(data: bytes, path: Path, limit: int | None = None) -> int:
    """Unpack bytes."""
    return nar.restore(io.BytesIO(data), path, limit)


def test_the_format_by_hand(tmp_path: Path) -> None:
    """The helpers above write what `dump` writes."""
    (tmp_path / "top").mkdir()
    (tmp_path / "top" / "b").write_text("x")
    (tmp_path / "top" / "a").symlink_to("b")
    link = words("(", "type", "symlink", "target", "b", ")")
    assert b"".join(nar.dump(tmp_path / "top")) == archive(folder(("a", link), ("b", file())))
    assert restore(archive(file("12345678")), tmp_path / "file") == 136 - 16
    assert (tmp_path / "file").read_text() == "12345678"


def test_the_x_bit_of_a_file_can_be_told(tmp_path: Path) -> None:
    """`executable` overrides the bit of a file, in both directions."""
    path = tmp_path / "file"
    path.write_text("x")
    path.chmod(0o644)
    plain = nar.nar_hash(path)
    program = nar.nar_hash(path, executable=True)
    path.chmod(0o744)
    assert nar.nar_hash(path) == program != plain
    assert nar.nar_hash(path, executable=False) == plain
    path.chmod(0o655)
    assert nar.nar_hash(path) == plain


def test_what_no_archive_can_hold_is_named(tmp_path: Path) -> None:
    """A fifo and a socket are refused, at the top and below, without being opened."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "below").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "below" / "socket"))
        for path, name in ((tmp_path / "fifo", "fifo"), (tmp_path / "below", "socket")):
            with pytest.raises(NixFormatError, match=name):
                nar.nar_hash(path)


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_file_that_was_replaced_leads_nowhere(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was a file when it was listed is neither followed nor waited for when it is opened."""
    (tmp_path / "file").write_text("secret")
    status = os.lstat(tmp_path / "file")
    path = tmp_path / "replaced"
    if kind == "link":
        path.symlink_to("file")
    else:
        os.mkfifo(path)
    monkeypatch.setattr(os, "lstat", lambda _: status)
    with pytest.raises((OSError, NixFormatError), match="replaced"):
        nar.nar_hash(path)


def test_a_missing_path_is_an_error_of_the_system(tmp_path: Path) -> None:
    """There is nothing to archive."""
    with pytest.raises(FileNotFoundError):
        nar.nar_hash(tmp_path / "missing")


@pytest.mark.parametrize("size", [10, 3 * nar.PIECE])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_that_changes_is_refused(
    size: int, change: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that shrinks or grows while it is read is named, and no archive is finished."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        os.truncate(path, size + change)
        return found

    monkeypatch.setattr(os, "fstat", fstat)
    with pytest.raises(NixFormatError, match=f"file changed from {size} bytes"):
        nar.nar_hash(path)


def test_pieces_are_small_and_memory_does_not_grow(tmp_path: Path) -> None:
    """Archiving a file of 200 MiB gives pieces of 1 MiB at most and takes less than 64 MiB."""
    path = tmp_path / "large"
    with path.open("wb") as large:
        large.truncate(200 << 20)
    assert max(map(len, nar.dump(path))) <= nar.PIECE
    program = (
        "import sys; from plxnix.nix import nar\n"
        "nar.nar_hash(sys.argv[1])\n"
        "print(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    root = Path(nar.__file__).parents[2]
    printed = subprocess.run(
        [sys.executable, "-c", program, path],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert int(printed.stdout.split()[1]) < 64 << 10  # kB


def test_many_levels_and_many_entries(tmp_path: Path) -> None:
    """Depth is no recursion, and a folder of many entries comes in several pieces."""
    deep = tmp_path / "deep"
    deep.joinpath(*["d"] * 200).mkdir(parents=True)
    wide = tmp_path / "wide"
    wide.mkdir()
    for number in range(1000):
        (wide / f"file{number}").write_bytes(b"x" * number)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(150)
    try:
        digest, size = nar.nar_hash(deep)
    finally:
        sys.setrecursionlimit(limit)
    assert size == len(b"".join(nar.dump(deep)))
    pieces = list(nar.dump(wide))
    assert len(pieces) > 1
    (tmp_path / "copy").mkdir()
    for one in (deep, wide):
        copy = tmp_path / "copy" / one.name
        restore(b"".join(nar.dump(one)), copy)
        assert nar.nar_hash(copy) == nar.nar_hash(one)
    assert digest == nar.nar_hash(tmp_path / "copy" / "deep")[0]


HOSTILE = {
    "no archive": b"hello, this is not an archive",
    "empty": b"",
    "other version": word("nix-archive-2") + file(),
    "cut": archive(file())[:-1],
    "cut in contents": archive(file("x" * 100))[:100],
    "unknown type": archive(words("(", "type", "regulas", "contents", "x", ")")),
    "file without contents": archive(words("(", "type", "regular", ")")),
    "file with two contents": archive(
        words("(", "type", "regular", "contents", "x", "contents", "y", ")")
    ),
    "executable with a value": archive(
        words("(", "type", "regular", "executable", "1", "contents", "x", ")")
    ),
    "padding": archive(file()).replace(b"x\0\0\0\0\0\0\0", b"x\0\0\0\0\0\0\1"),
    "padding of a name": archive(folder(("a", file()))).replace(b"a\0\0\0\0\0", b"a\0\0\0\0\1"),
    "huge file": archive(words("(", "type", "regular", "contents") + b"\xff" * 8),
    "huge name": archive(words("(", "type", "directory", "entry", "(", "name") + b"\xff" * 8),
    "long name": archive(folder(("n" * 256, file()))),
    "empty name": archive(folder(("", file()))),
    "dot": archive(folder((".", file()))),
    "dot dot": archive(folder(("..", file()))),
    "slash": archive(folder(("a/b", file()))),
    "absolute": archive(folder(("/tmp/plxnix-hostile", file()))),
    "nul": archive(folder(("a\0b", file()))),
    "twice": archive(folder(("a", file()), ("a", file()))),
    "unsorted": archive(folder(("b", file()), ("a", file()))),
    "sorted by length": archive(folder(("b", file()), ("aa", file()))),
    "link without target": archive(words("(", "type", "symlink", "target", "", ")")),
    "link with nul": archive(words("(", "type", "symlink", "target", "a\0b", ")")),
    "through a link": archive(
        folder(
            ("a", words("(", "type", "symlink", "target", "..", ")")),
            ("a", folder(("escaped", file()))),
        )
    ),
    "entry in a file": archive(
        words("(", "type", "regular", "contents", "x", "entry", "(", "name", "a", "node")
    ),
    "node before name": archive(
        words("(", "type", "directory", "entry", "(", "node") + file() + words(")", ")")
    ),
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_archives_are_refused_and_leave_nothing(data: bytes, tmp_path: Path) -> None:
    """The error says at which byte; nothing is left at the destination or beside it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(NixFormatError, match=r"at byte \d+"):
        restore(data, inner / "out")
    assert os.listdir(inner) == []
    assert sorted(os.listdir(tmp_path)) == before


def test_depth_is_bounded(tmp_path: Path) -> None:
    """An archive of endless folders ends with an error."""
    opening = words("(", "type", "directory")
    level = words("entry", "(", "name", "d", "node")
    with pytest.raises(NixFormatError, match="256 folders"):
        restore(archive((opening + level) * 300), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_size_is_bounded_before_it_is_written(tmp_path: Path) -> None:
    """With a limit, a file that says it is larger is refused before a byte of it is read."""
    data = archive(file("x" * 1000))
    assert restore(data, tmp_path / "fits", limit=len(data)) == len(data)
    with pytest.raises(NixFormatError, match="larger than the 500 bytes"):
        restore(data, tmp_path / "out", limit=500)
    with pytest.raises(NixFormatError, match="larger"):
        restore(data, tmp_path / "out", limit=len(data) - 1)
    endless = archive(words("(", "type", "regular", "contents") + (1 << 50).to_bytes(8, "little"))
    with pytest.raises(NixFormatError, match="larger"):
        restore(endless, tmp_path / "out", limit=1 << 40)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling"])
def test_what_exists_is_kept(kind: str, tmp_path: Path) -> None:
    """A destination that exists, if only as a dangling link, is refused and not touched."""
    path = tmp_path / "out"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
        (path / "a").write_text("mine")
    else:
        path.symlink_to(tmp_path / "elsewhere")
    before = os.lstat(path)
    with pytest.raises(InvalidValue, match="exists"):
        restore(archive(folder(("a", file()))), path)
    assert os.lstat(path).st_ino == before.st_ino
    assert not (tmp_path / "elsewhere").exists()


def test_a_place_taken_meanwhile_is_kept(tmp_path: Path) -> None:
    """If somebody makes the destination while the archive is read, theirs is not removed."""
    path = tmp_path / "out"

    class Meanwhile(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            path.mkdir(exist_ok=True)
            return super().read(size)

    with pytest.raises(FileExistsError):
        nar.restore(Meanwhile(archive(folder())), path)
    assert path.is_dir()


def test_streams_may_give_less_than_asked(tmp_path: Path) -> None:
    """A stream that gives a few bytes at a time, as a socket does, is read to the end."""

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(3, size or 0))

    data = archive(folder(("a", file("contents")), ("b", folder(("c", file())))))
    assert nar.restore(Slow(data), tmp_path / "out") == len(data)
    assert b"".join(nar.dump(tmp_path / "out")) == data


def test_an_archive_that_is_not_read_to_its_end_closes_its_files(tmp_path: Path) -> None:
    """Giving up in the middle of a large file leaves no descriptor open."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * (2 * nar.PIECE))
    gc.collect()  # What other tests have left is not to go meanwhile.
    before = len(os.listdir("/proc/self/fd"))
    pieces: Iterator[bytes] = nar.dump(path)
    next(pieces)
    del pieces
    assert len(os.listdir("/proc/self/fd")) == before
