"""Archives made to do harm: each is refused, or stays inside, and nothing outside is touched."""

from __future__ import annotations

import gzip
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from plxnix.builders.archive import Limits, unpack
from plxnix.builders.archive_members import Budget, RuleBroken
from plxnix.errors import ArchiveError, HostileArchive
from tests.archive_trees import Entry, file, folder, hardlink, pax, snapshot, symlink, tar_bytes

MEBIBYTE = 1 << 20


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Give a folder for the archive and its tree, and check that nothing beside it was touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("precious")
    place = tmp_path / "place"
    place.mkdir()
    before = snapshot(outside), sorted(tmp_path.iterdir())
    yield place
    assert (snapshot(outside), sorted(tmp_path.iterdir())) == before


def refuse(place: Path, data: bytes, rule: str, limits: Limits | None = None) -> HostileArchive:
    """Unpack an archive that is refused by a rule, leaving nothing."""
    archive = place / "evil.archive"
    archive.write_bytes(data)
    with pytest.raises(HostileArchive, match=rule) as caught:
        unpack(archive, place / "tree", limits=limits)
    assert str(archive) in caught.value.message
    assert list(place.iterdir()) == [archive]
    return caught.value


def deep_links() -> list[Entry]:
    """Return the shape of CVE-2025-4517: links whose resolved path is longer than PATH_MAX."""
    name = "d" * 247
    entries: list[Entry] = []
    path = ""
    for step in "abcdefghijklmnop":
        entries += [folder(path + name), symlink(path + step, name)]
        path += name + "/"
    bridge = "/".join("abcdefghijklmnop") + "/" + "l" * 254
    return [
        *entries,
        symlink(bridge, "../" * 16),
        symlink("escape", f"{bridge}/../../outside"),
        hardlink("flag", "escape/file"),
        file("flag", b"overwritten"),
    ]


HOSTILE: dict[str, tuple[list[Entry], str]] = {
    "absolute": ([file("/outside")], "absolute"),
    "parent": ([file("../outside/file")], r"'\.\.'"),
    "parent inside": ([file("a/../../outside/file")], r"'\.\.'"),
    "parent that stays": ([folder("a"), file("a/../b")], r"'\.\.'"),
    "parent folder": ([folder("..")], r"'\.\.'"),
    "through a link": ([symlink("a", "../../outside"), file("a/file")], "to be a folder"),
    "through an inner link": ([folder("b"), symlink("a", "b"), file("a/c")], "to be a folder"),
    "folder through a link": ([symlink("a", "../../outside"), folder("a/b")], "to be a folder"),
    "link through a link": ([symlink("a", "../.."), symlink("a/b", "c")], "to be a folder"),
    "deep links": (deep_links(), "to be a folder"),
    "folder over a link": ([symlink("a", "../../outside"), folder("a")], "to be a folder"),
    "folder over a file": ([file("a"), folder("a")], "to be a folder"),
    "below a file": ([file("a"), file("a/b")], "to be a folder"),
    "file over a folder": ([folder("a"), file("a")], "replace a folder"),
    "link over a folder": ([folder("a"), symlink("a", "..")], "replace a folder"),
    "link over a full folder": ([file("a/b"), symlink("a", "..")], "replace a folder"),
    "hard link out": ([hardlink("a", "../outside/file")], r"'\.\.'"),
    "absolute hard link": ([hardlink("a", "/etc/passwd")], "absolute"),
    "hard link to a link": (
        [symlink("a", "../../outside/file"), hardlink("b", "a"), file("b")],
        "hard link to 'a'",
    ),
    "hard link through a link": (
        [symlink("a", "../../outside"), hardlink("b", "a/file")],
        "hard link to 'a/file'",
    ),
    "hard link to a folder": ([folder("a"), hardlink("b", "a")], "hard link to 'a'"),
    "hard link to nothing": ([hardlink("b", "a")], "hard link to 'a'"),
    "hard link below a file": ([file("a"), hardlink("b", "a/c")], "hard link to 'a/c'"),
    "hard link to the top": ([hardlink("b", ".")], "hard link to"),
    "character device": ([file("a", b"", kind=tarfile.CHRTYPE)], "device"),
    "block device": ([file("a", b"", kind=tarfile.BLKTYPE)], "device"),
    "fifo": ([file("a", b"", kind=tarfile.FIFOTYPE)], "fifo"),
    "unknown kind": ([file("a", b"", kind=b"Q")], "unknown kind"),
    "newline": ([file("a\nb")], "control character"),
    "terminal escape": ([file("\x1b[2Ja")], "control character"),
    "delete": ([file("a\x7f")], "control character"),
    "NUL": ([pax(file("a"), path="a\0b")], "control character"),
    "no name": ([file("")], "empty"),
    "top as a file": ([file(".")], "top folder"),
    "top as a link": ([symlink("./", "../../outside"), file("file")], "top folder"),
    "5000 deep": ([file("a/" * 5000 + "b")], "5001 folders deep"),
    "long component": ([file("a" * 256)], "component of 256 bytes"),
    "link without target": ([symlink("a", "")], "without a target"),
    "target with NUL": ([pax(symlink("a", "b"), linkpath="b\0c")], "NUL"),
    "target too long": ([symlink("a", "b" * 4096)], "over 4095 bytes"),
    "negative size": ([pax(file("a"), size="-1024")], "negative"),
    "huge header": ([pax(file("a"), comment="x" * (2 * MEBIBYTE))], "header is over"),
    "huge sparse": (
        [pax(file("a"), GNU__sparse__size=str(1 << 50), GNU__sparse__map="0,4")],
        "unpacks to more than",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_tar_is_refused(place: Path, case: str) -> None:
    """The archive is refused by the rule it breaks, and nothing of it is left."""
    entries, rule = HOSTILE[case]
    refuse(place, tar_bytes(*entries), rule)


def test_the_member_is_named(place: Path) -> None:
    """The error names the member, escaped and in bounds, however long and odd its name is."""
    error = refuse(place, tar_bytes(file("good"), file("bad\x1b]0;\n")), "control")
    assert r"'bad\x1b]0;\n'" in error.message
    assert "\x1b" not in error.message
    assert len(refuse(place, tar_bytes(file("a/" * 5000 + "b")), "deep").message) < 1000


def test_a_trailing_slash_does_not_hide_a_file(place: Path) -> None:
    """A file whose name says folder is refused if it has contents, and a folder if not."""
    with_data = tar_bytes(file("a/", kind=b"7"), form=tarfile.GNU_FORMAT)
    refuse(place, with_data, "folder by its name")
    (place / "b.tar").write_bytes(tar_bytes(file("a/", b"", kind=b"7"), form=tarfile.GNU_FORMAT))
    unpack(place / "b.tar", place / "tree")
    assert snapshot(place / "tree") == {b"a": ("folder", False, b"")}


def test_headers_without_end_are_refused(place: Path) -> None:
    """Thousands of headers that each announce another are refused, without a deep recursion."""
    header = tarfile.TarInfo("x")
    header.type = tarfile.XGLTYPE
    blocks = header.tobuf(tarfile.USTAR_FORMAT)
    refuse(place, blocks * 20_000 + tar_bytes(file("a")), "more than 16 headers")


@pytest.mark.parametrize("field", ["total", "ratio"])
def test_a_bomb_is_refused(place: Path, field: str) -> None:
    """What unpacks to more than the total, or to too many times its size, is refused on the way."""
    data = gzip.compress(tar_bytes(file("zeros", bytes(20 * MEBIBYTE))))
    limits = {
        "total": Limits(bytes=MEBIBYTE),
        "ratio": Limits(ratio=100, ratio_from=MEBIBYTE),
    }[field]
    refuse(place, data, "unpacks to more than", limits)
    unpack(place / "evil.archive", place / "tree")


def test_the_default_ratio_refuses_a_bomb() -> None:
    """By default a kilobyte may become a gibibyte, and not a byte more; a larger file may."""
    budget = Budget(Limits(), 1024)
    budget.take(1 << 30)
    with pytest.raises(RuleBroken, match="1000 times its 1024 bytes"):
        budget.take(1)
    Budget(Limits(), 2 << 20).take((1 << 30) + 1)


def test_zeros_after_the_end_count_too(place: Path) -> None:
    """A small tree with endless zeros behind it is refused, since they are decompressed."""
    data = gzip.compress(tar_bytes(file("a")) + bytes(20 * MEBIBYTE))
    refuse(place, data, "unpacks to more than", Limits(bytes=MEBIBYTE))


def test_hard_links_count_in_full(place: Path) -> None:
    """Copies that hard links stand for are paid from the same budget."""
    links = [hardlink(f"link{number}", "a") for number in range(20)]
    data = tar_bytes(file("a", bytes(100_000)), *links)
    refuse(place, data, "unpacks to more than", Limits(bytes=MEBIBYTE))


def test_members_are_limited(place: Path) -> None:
    """More members than allowed are refused, implied folders included."""
    flat = tar_bytes(*(file(f"f{number}", b"") for number in range(11)))
    refuse(place, flat, "more than 10 members", Limits(members=10))
    deep = tar_bytes(file("/".join("abcdefghijk"), b""))
    refuse(place, deep, "more than 10 members", Limits(members=10))


def test_the_same_file_over_and_over_is_limited(place: Path) -> None:
    """A duplicate is a member as well."""
    data = tar_bytes(*(file("a", b"") for _ in range(11)))
    refuse(place, data, "more than 10 members", Limits(members=10))


def test_special_bits_are_dropped(place: Path) -> None:
    """Setuid, setgid, sticky and writable-by-all bits do not survive; the executable bit does."""
    (place / "a.tar").write_bytes(
        tar_bytes(folder("d", 0o7777), file("d/a", mode=0o7777), file("d/b", mode=0o6077))
    )
    unpack(place / "a.tar", place / "tree")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (place / "tree").rglob("*")}
    assert modes == {"d": 0o755, "a": 0o755, "b": 0o644}


def test_a_folder_without_permissions_is_still_filled(place: Path) -> None:
    """A folder of mode 0 gets its files and can be removed again."""
    (place / "a.tar").write_bytes(tar_bytes(folder("d", 0), file("d/a")))
    unpack(place / "a.tar", place / "tree")
    assert set(snapshot(place / "tree")) == {b"d", b"d/a"}


def test_names_of_windows_are_only_names(place: Path) -> None:
    """Drives, backslashes and device names mean nothing here and stay inside."""
    names = ["C:", "C:\\Windows\\a", "\\\\server\\share", "..\\up", "NUL", "a:stream", "a. "]
    (place / "a.tar").write_bytes(tar_bytes(*(file(name) for name in names)))
    unpack(place / "a.tar", place / "tree")
    assert sorted(os.listdir(place / "tree")) == sorted(names)


def test_links_that_point_out_are_data(place: Path) -> None:
    """Links to anywhere are kept as they are, as with tar, and replaced rather than followed."""
    out = str(place.parent / "outside" / "file")
    entries = [
        symlink("kept", out),
        symlink("replaced", out),
        file("replaced"),
        symlink("again", "one"),
        symlink("again", "two"),
    ]
    (place / "a.tar").write_bytes(tar_bytes(*entries))
    unpack(place / "a.tar", place / "tree")
    assert snapshot(place / "tree") == {
        b"kept": ("symlink", False, os.fsencode(out)),
        b"replaced": ("file", False, b"data"),
        b"again": ("symlink", False, b"two"),
    }


# -- zip ---------------------------------------------------------------------------------------


def zip_entry(name: str, mode: int = stat.S_IFREG | 0o644, system: int = 3) -> zipfile.ZipInfo:
    """Describe a member; zipfile would mend the name in its constructor, so it is set after."""
    entry = zipfile.ZipInfo("x")
    entry.filename = name
    entry.create_system = system
    entry.external_attr = mode << 16
    return entry


def write_zip(path: Path, *entries: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    """Write an archive and return its bytes."""
    with (
        warnings.catch_warnings(),
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        warnings.simplefilter("ignore", UserWarning)  # about duplicates
        for entry, data in entries:
            archive.writestr(entry, data, zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.unlink()
    return data


LINK = stat.S_IFLNK | 0o777

HOSTILE_ZIP: dict[str, tuple[list[tuple[zipfile.ZipInfo, bytes]], str]] = {
    "absolute": ([(zip_entry("/outside"), b"")], "absolute"),
    "parent": ([(zip_entry("../outside/file"), b"evil")], r"'\.\.'"),
    "parent of Windows": ([(zip_entry("..\\outside\\file", 0, 0), b"evil")], r"'\.\.'"),
    "absolute of Windows": ([(zip_entry("\\outside", 0, 0), b"evil")], "absolute"),
    "through a link": (
        [(zip_entry("a", LINK), b"../../outside"), (zip_entry("a/file"), b"evil")],
        "to be a folder",
    ),
    "folder over a link": (
        [(zip_entry("a", LINK), b"../../outside"), (zip_entry("a/"), b"")],
        "to be a folder",
    ),
    "file over a folder": ([(zip_entry("a/"), b""), (zip_entry("a"), b"")], "replace a folder"),
    "device": ([(zip_entry("a", stat.S_IFBLK), b"")], "device"),
    "fifo": ([(zip_entry("a", stat.S_IFIFO), b"")], "fifo"),
    "socket": ([(zip_entry("a", stat.S_IFSOCK), b"")], "socket"),
    "NUL": ([(zip_entry("a\0b"), b"")], "control"),
    "newline": ([(zip_entry("a\nb"), b"")], "control"),
    "5000 deep": ([(zip_entry("a/" * 5000), b"")], "5000 folders deep"),
    "empty link": ([(zip_entry("a", LINK), b"")], "without a target"),
    "endless link": ([(zip_entry("a", LINK), b"b" * 5 * MEBIBYTE)], "over 4095 bytes"),
}


@pytest.mark.parametrize("case", HOSTILE_ZIP)
def test_a_hostile_zip_is_refused(place: Path, case: str) -> None:
    """The archive is refused by the rule it breaks, and nothing of it is left."""
    entries, rule = HOSTILE_ZIP[case]
    refuse(place, write_zip(place / "a.zip", *entries), rule)


def test_a_zip_bomb_is_refused(place: Path) -> None:
    """What is decompressed counts, not what the directory says."""
    data = write_zip(place / "a.zip", (zip_entry("zeros"), bytes(20 * MEBIBYTE)))
    refuse(place, data, "100 times its", Limits(ratio=100, ratio_from=MEBIBYTE))


def test_an_encrypted_zip_is_named(place: Path) -> None:
    """An encrypted member is an error that says so, and no question for a password."""
    data = bytearray(write_zip(place / "a.zip", (zip_entry("a"), b"data")))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (place / "a.zip").write_bytes(data)
    with pytest.raises(ArchiveError, match="encrypted"):
        unpack(place / "a.zip", place / "tree")
    assert not (place / "tree").exists()


def test_duplicates_in_a_zip_are_replaced(place: Path) -> None:
    """The later of two files with one name stays, and a link is replaced and not followed."""
    entries = [
        (zip_entry("a"), b"one"),
        (zip_entry("a"), b"two"),
        (zip_entry("b", LINK), b"../../outside/file"),
        (zip_entry("b"), b"three"),
    ]
    (place / "a.zip").write_bytes(write_zip(place / "a.zip", *entries))
    unpack(place / "a.zip", place / "tree")
    assert snapshot(place / "tree") == {
        b"a": ("file", False, b"two"),
        b"b": ("file", False, b"three"),
    }
