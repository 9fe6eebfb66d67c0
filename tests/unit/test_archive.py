"""`unpack` and `is_archive`: formats, modes, links, strip, and what damage looks like."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from plxnix.builders.archive import is_archive, unpack
from plxnix.errors import ArchiveError, HostileArchive
from tests.archive_trees import Entry, file, folder, hardlink, pax, snapshot, symlink, tar_bytes

ENTRIES = [
    folder("top"),
    file("top/file", b"text\n"),
    file("top/program", b"#!/bin/sh\n", 0o755),
    symlink("top/link", "file"),
    hardlink("top/hard", "top/program"),
    folder("top/empty"),
]
TREE = {
    b"top": ("folder", False, b""),
    b"top/file": ("file", False, b"text\n"),
    b"top/program": ("file", True, b"#!/bin/sh\n"),
    b"top/link": ("symlink", False, b"file"),
    b"top/hard": ("file", True, b"#!/bin/sh\n"),
    b"top/empty": ("folder", False, b""),
}


def write(tmp_path: Path, data: bytes, name: str = "archive") -> Path:
    """Write an archive."""
    path = tmp_path / name
    path.write_bytes(data)
    return path


def tree(tmp_path: Path, *entries: Entry, strip: int = 0) -> dict[bytes, tuple[str, bool, bytes]]:
    """Pack members with tar, unpack them, and return the tree."""
    unpack(write(tmp_path, tar_bytes(*entries)), tmp_path / "tree", strip=strip)
    return snapshot(tmp_path / "tree")


SUFFIXES = (
    ".tar .tar.gz .tgz .tar.bz2 .tbz .tbz2 .tar.xz .txz .tar.lzma .tlz .tar.zst .zip .whl .jar "
    "-1.0.TAR.GZ"
)


@pytest.mark.parametrize("suffix", SUFFIXES.split())
def test_archives_are_known_by_their_suffix(suffix: str) -> None:
    """Every suffix of a format that `unpack` reads is known, in any case."""
    assert is_archive(f"name{suffix}")


@pytest.mark.parametrize("name", ["a", "a.gz", "tar", "a.tar.txt", "a.zip.asc", "", "atar"])
def test_other_files_are_no_archives(name: str) -> None:
    """A file that is only compressed, or has another suffix, is no archive."""
    assert not is_archive(name)


@pytest.mark.parametrize(
    ("compress", "form"),
    [
        (bytes, tarfile.PAX_FORMAT),
        (bytes, tarfile.GNU_FORMAT),
        (bytes, tarfile.USTAR_FORMAT),
        (gzip.compress, tarfile.PAX_FORMAT),
        (bz2.compress, tarfile.PAX_FORMAT),
        (lzma.compress, tarfile.PAX_FORMAT),
        (lambda data: lzma.compress(data, lzma.FORMAT_ALONE), tarfile.PAX_FORMAT),
        (lambda data: gzip.compress(data[:700]) + gzip.compress(data[700:]), tarfile.PAX_FORMAT),
    ],
    ids=["pax", "gnu", "ustar", "gzip", "bzip2", "xz", "lzma", "gzip in two members"],
)
def test_every_format_gives_the_tree(
    tmp_path: Path, compress: Callable[[bytes], bytes], form: int
) -> None:
    """Whatever the format and compression, and without help from the name, the tree is the same."""
    unpack(write(tmp_path, compress(tar_bytes(*ENTRIES, form=form))), tmp_path / "tree")
    assert snapshot(tmp_path / "tree") == TREE


def test_zstandard_needs_a_program_or_a_new_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can read Zstandard the error says what is needed, and nothing is left."""
    monkeypatch.setenv("PATH", str(tmp_path))
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        archive = write(tmp_path, b"\x28\xb5\x2f\xfd" + bytes(100), "a.tar.zst")
        with pytest.raises(ArchiveError, match=r"Python 3\.14 or the program zstd"):
            unpack(archive, tmp_path / "tree")
        assert not (tmp_path / "tree").exists()
    else:
        unpack(write(tmp_path, zstd.compress(tar_bytes(*ENTRIES))), tmp_path / "tree")
        assert snapshot(tmp_path / "tree") == TREE


_ZSTD = """#!/bin/sh
# Stands for zstd(1): says what zstd says.
if [ -e {folder}/broken ]; then echo "premature end" >&2; exit 1; fi
tail -c +5
"""


def test_zstandard_by_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's output is read; when it fails, its words are in the error."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "zstd").write_text(_ZSTD.format(folder=tmp_path))
    (programs / "zstd").chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    from plxnix.builders.archive_zstd import _Program

    archive = write(tmp_path, b"\x28\xb5\x2f\xfd" + b"data")
    program = _Program(str(programs / "zstd"), archive)
    assert (program.read(100), program.read(100)) == (b"data", b"")
    program.close()
    (tmp_path / "broken").touch()
    program = _Program(str(programs / "zstd"), archive)
    with pytest.raises(EOFError, match="premature end"):
        program.read(100)
    program.close()


def test_modes_are_those_of_a_store(tmp_path: Path) -> None:
    """Files become 0644 or 0755 by their owner's bit, folders 0755, whatever the umask."""
    archive = write(
        tmp_path, tar_bytes(folder("d", 0o700), file("d/a", mode=0o600), file("d/b", mode=0o100))
    )
    before = os.umask(0o077)
    try:
        unpack(archive, tmp_path / "tree")
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert {name: modes[name] for name in ("tree", "d", "a", "b")} == {
        "tree": 0o755,
        "d": 0o755,
        "a": 0o644,
        "b": 0o755,
    }


def test_a_hard_link_is_a_file_of_its_own(tmp_path: Path) -> None:
    """The copy keeps its contents when the first file is replaced or changed."""
    found = tree(tmp_path, file("a", b"one"), hardlink("b", "a"), file("a", b"two"))
    assert (found[b"a"][2], found[b"b"][2]) == (b"two", b"one")
    assert (tmp_path / "tree" / "a").stat().st_nlink == 1


def test_a_hard_link_to_itself_changes_nothing(tmp_path: Path) -> None:
    """A file that is listed again as a link to itself stays."""
    assert tree(tmp_path, file("a", b"one"), hardlink("a", "./a"))[b"a"][2] == b"one"


def test_names_are_taken_as_tar_takes_them(tmp_path: Path) -> None:
    """A leading `./`, doubled slashes and inner dots do not count; parents are implied."""
    assert set(tree(tmp_path, folder("."), file("./a//b/./c"), file("d/e"))) == {
        b"a",
        b"a/b",
        b"a/b/c",
        b"d",
        b"d/e",
    }


def test_names_need_not_be_text(tmp_path: Path) -> None:
    """Names are bytes: not UTF-8, at the limit of 255, with spaces, quotes, dashes."""
    names = [b"\xff\xfe", b"a" * 255, b" -rf *'\"\\", "é".encode(), "e\u0301".encode()]
    entries = [file(name.decode("utf-8", "surrogateescape")) for name in names]
    assert set(tree(tmp_path, *entries)) == set(names)


def test_strip_leaves_leading_folders_out(tmp_path: Path) -> None:
    """`strip` works on names and on what hard links stand for, but not on symbolic links."""
    assert tree(tmp_path, *ENTRIES, strip=1) == {
        path.removeprefix(b"top/"): entry for path, entry in TREE.items() if path != b"top"
    }


def test_strip_skips_what_is_too_short(tmp_path: Path) -> None:
    """Members that have no more components than are stripped are left out, as with tar."""
    found = tree(tmp_path, file("readme", b"x" * 5000), folder("a/b"), file("a/b/c"), strip=2)
    assert set(found) == {b"c"}


def test_headers_that_are_no_members_are_passed_by(tmp_path: Path) -> None:
    """A global pax header (as of git archive) and a volume label make no file."""
    with tarfile.open(tmp_path / "a.tar", "w", pax_headers={"comment": "0" * 40}) as archive:
        archive.addfile(tarfile.TarInfo("a"))
        label = tarfile.TarInfo("label")
        label.type = b"V"
        archive.addfile(label)
    unpack(tmp_path / "a.tar", tmp_path / "tree")
    assert set(snapshot(tmp_path / "tree")) == {b"a"}


def test_an_empty_archive_is_an_empty_tree(tmp_path: Path) -> None:
    """Archives without members, tar and zip, give an empty folder."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w"):
        pass
    for number, data in enumerate([tar_bytes(), (tmp_path / "a.zip").read_bytes()]):
        unpack(write(tmp_path, data), tmp_path / f"tree{number}")
        assert snapshot(tmp_path / f"tree{number}") == {}


def test_an_archive_without_its_end_marker_is_whole(tmp_path: Path) -> None:
    """Tar's end marker may be missing, as GNU tar allows."""
    data = tar_bytes(file("a", b"x" * 512)).rstrip(b"\0")
    assert len(data) % 512 == 0
    unpack(write(tmp_path, data), tmp_path / "tree")
    assert snapshot(tmp_path / "tree") == {b"a": ("file", False, b"x" * 512)}


def test_a_sparse_file_has_its_true_name_and_size(tmp_path: Path) -> None:
    """The records for sparse files count, also where stand-ins for them come last."""
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "é"}
    entry, data = file("x", b"1\n600\n4\n".ljust(512, b"\0") + b"data")
    entry.pax_headers = {**sparse, "GNU.sparse.realsize": "3000000", "path": "GNUSparseFile.1/é"}
    assert tree(tmp_path, (entry, data)) == {
        "é".encode(): ("file", False, bytes(600) + b"data" + bytes(2_999_396))
    }


# -- zip ---------------------------------------------------------------------------------------


def test_a_zip_made_on_unix_keeps_modes_and_links(tmp_path: Path) -> None:
    """Executable bits, symbolic links and folders come from the Unix mode."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name, mode, data in (
            ("d/", stat.S_IFDIR | 0o700, b""),
            ("d/program", stat.S_IFREG | 0o755, b"run"),
            ("d/file", 0o644, b"text"),
            ("link", stat.S_IFLNK | 0o777, b"d/file"),
        ):
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    unpack(tmp_path / "a.zip", tmp_path / "tree")
    assert snapshot(tmp_path / "tree") == {
        b"d": ("folder", False, b""),
        b"d/program": ("file", True, b"run"),
        b"d/file": ("file", False, b"text"),
        b"link": ("symlink", False, b"d/file"),
    }


def test_a_zip_made_elsewhere_has_plain_files(tmp_path: Path) -> None:
    """Without Unix modes nothing is executable or a link; backslashes part folders, as in unzip."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("x")
        entry.filename = "d\\file"
        entry.create_system = 0
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, b"text")
    unpack(tmp_path / "a.zip", tmp_path / "tree")
    assert snapshot(tmp_path / "tree") == {
        b"d": ("folder", False, b""),
        b"d/file": ("file", False, b"text"),
    }


def test_names_in_a_zip_are_bytes(tmp_path: Path) -> None:
    """Names marked as UTF-8 and raw names made on Unix come out as they went in."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("é-marked", b"")
        raw = zipfile.ZipInfo("e-raw__")
        raw.create_system = 3
        archive.writestr(raw, b"")
    data = (tmp_path / "a.zip").read_bytes().replace(b"e-raw__", "é-raw_".encode())
    unpack(write(tmp_path, data), tmp_path / "tree")
    assert set(snapshot(tmp_path / "tree")) == {"é-marked".encode(), "é-raw_".encode()}


# -- damage ------------------------------------------------------------------------------------

# Contents that do not compress, so that a cut in the middle is a cut in a file.
NOISE = b"".join(sha256(b"%d" % number).digest() for number in range(600))
DAMAGED = tar_bytes(file("a", NOISE), file("b"))


def packed(kind: str) -> bytes:
    """Return an archive in one of the formats."""
    compress: dict[str, Callable[[bytes], bytes]] = {
        "tar": bytes,
        "gzip": gzip.compress,
        "bzip2": bz2.compress,
        "xz": lzma.compress,
    }
    return compress[kind](DAMAGED)


def fail(tmp_path: Path, data: bytes, match: str = "is damaged") -> None:
    """Unpack what cannot be unpacked; the archive is named, and nothing is left."""
    archive = write(tmp_path, data)
    with pytest.raises(ArchiveError, match=match) as caught:
        unpack(archive, tmp_path / "tree")
    assert not isinstance(caught.value, HostileArchive)
    assert str(archive) in caught.value.message
    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("kind", ["tar", "gzip", "bzip2", "xz"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_a_truncated_archive_is_damaged(tmp_path: Path, kind: str, keep: float) -> None:
    """An archive that ends early is an error, wherever it ends within its members."""
    data = packed(kind)
    end = DAMAGED.index(b"data") if kind == "tar" else len(data)
    fail(tmp_path, data[: int(end * keep)])


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz"])
def test_a_missing_checksum_is_damage(tmp_path: Path, kind: str) -> None:
    """Compressed data without its last bytes is an error although all members are there."""
    fail(tmp_path, packed(kind)[:-4])


def test_a_wrong_checksum_of_gzip_is_damage(tmp_path: Path) -> None:
    """The checksum behind the last member is looked at."""
    data = bytearray(packed("gzip"))
    data[-8] ^= 1
    fail(tmp_path, bytes(data))


def test_a_damaged_header_is_not_the_end(tmp_path: Path) -> None:
    """A header with a wrong checksum is an error, although the standard library stops there."""
    data = bytearray(tar_bytes(file("a"), file("b"), form=tarfile.USTAR_FORMAT))
    data[1024] ^= 1
    fail(tmp_path, bytes(data), "no header at byte 1024")


def test_a_cut_header_is_not_the_end(tmp_path: Path) -> None:
    """An archive that ends inside a header is an error."""
    data = tar_bytes(file("a"), file("b"), form=tarfile.USTAR_FORMAT)
    fail(tmp_path, data[:1100], "no header at byte 1024")


def test_a_wrong_checksum_of_zip_is_damage(tmp_path: Path) -> None:
    """A member of a zip whose contents do not fit its checksum is an error."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a", b"contents")
    fail(tmp_path, (tmp_path / "a.zip").read_bytes().replace(b"contents", b"contentz", 1), "CRC")


@pytest.mark.parametrize(
    "data",
    [b"", b"text\n" * 1000, b"PK\x03\x04", b"\x1f\x8b", bytes(range(99, 199))],
    ids=["empty", "text", "zip", "gzip", "noise"],
)
def test_what_is_no_archive_is_named(tmp_path: Path, data: bytes) -> None:
    """Files that are no archives at all are errors."""
    fail(tmp_path, data)


@pytest.mark.parametrize("size", ["x", "9" * 30, ""])
def test_numbers_that_are_none_are_damage(tmp_path: Path, size: str) -> None:
    """Records with sizes that make no sense are errors and not exceptions of the parser."""
    archive = write(tmp_path, tar_bytes(pax(file("a"), GNU__sparse__size=size)))
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "tree")
    assert not (tmp_path / "tree").exists()


def test_the_destination_is_new(tmp_path: Path) -> None:
    """A destination that is there, also as a dangling link, is an error and stays as it is."""
    archive = write(tmp_path, tar_bytes(file("a")))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    (tmp_path / "link").symlink_to("nowhere")
    for name in ("folder", "link"):
        with pytest.raises(ArchiveError, match="exists already"):
            unpack(archive, tmp_path / name)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["mine"]
    assert not (tmp_path / "nowhere").exists()


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    """An archive that is not there is an error, and no destination is made."""
    with pytest.raises(ArchiveError, match="No such file"):
        unpack(tmp_path / "none.tar", tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
