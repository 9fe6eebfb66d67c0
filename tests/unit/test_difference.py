"""What differs between two trees: which path is first, and what is shown of it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.builders import layers
from plxnix.builders.difference import Difference, compare
from plxnix.builders.file_difference import AFTER, BEFORE, SHOWN_LINES
from plxnix.nix.nar import PIECE, nar_hash

Tree = dict[str, bytes]


def make(folder: Path, tree: Tree) -> Path:
    """Write files below a new folder."""
    folder.mkdir()
    for name, contents in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(contents)
    return folder


@pytest.fixture
def differ(tmp_path: Path) -> Callable[[Tree, Tree], Difference]:
    """Compare two trees, which must differ."""

    def function(one: Tree, two: Tree) -> Difference:
        found = compare(make(tmp_path / "one", one), make(tmp_path / "two", two))
        assert found is not None
        return found

    return function


Differ = Callable[[Tree, Tree], Difference]


class TestPaths:
    """Which paths differ, and how."""

    def test_none(self, tmp_path: Path) -> None:
        """Trees with the same archive do not differ, whatever their times and other modes."""
        one = make(tmp_path / "one", {"a/b": b"x", "c": b""})
        two = make(tmp_path / "two", {"a/b": b"x", "c": b""})
        os.utime(two / "c", (7, 7))
        (two / "c").chmod(0o600)
        assert compare(one, two) is None

    def test_the_order_of_an_archive(self, differ: Differ) -> None:
        """The first path is the first in a NAR, where folders are opened where they are named."""
        found = differ({"a/z": b"1", "a.b": b"1", "b": b"1"}, {"a/z": b"2", "a.b": b"2", "b": b"2"})
        assert [one.path for one in found.changes] == ["a/z", "a.b", "b"]
        assert (found.first.path, found.count) == ("a/z", 3)

    def test_missing_and_extra(self, differ: Differ) -> None:
        """What only one side has is named once, a folder with all that is in it."""
        found = differ({"both": b"", "old/x": b"", "old/y": b""}, {"both": b"", "new": b""})
        assert [(one.path, one.kind) for one in found.changes] == [
            ("new", "extra"),
            ("old", "missing"),
        ]
        assert found.first.said == "is only in the second: a file"
        assert found.count == 2

    @pytest.mark.parametrize(
        ("change", "kind", "said"),
        [
            (lambda path: path.chmod(0o755), "executable", "is not executable and then is"),
            (lambda path: (path.unlink(), path.mkdir()), "kind", "is a file and then a folder"),
            (lambda path: (path.unlink(), path.symlink_to("x")), "kind", "is a file and then a li"),
        ],
    )
    def test_kinds(
        self, tmp_path: Path, change: Callable[[Path], object], kind: str, said: str
    ) -> None:
        """The x bit and the kind of an entry count."""
        one, two = make(tmp_path / "one", {"f": b"x"}), make(tmp_path / "two", {"f": b"x"})
        change(two / "f")
        found = compare(one, two)
        assert found is not None
        assert (found.first.path, found.first.kind) == ("f", kind)
        assert found.first.said.startswith(said)

    def test_links(self, tmp_path: Path) -> None:
        """So do the targets of links, which are not followed."""
        one, two = make(tmp_path / "one", {}), make(tmp_path / "two", {})
        (one / "link").symlink_to("/no/where")
        (two / "link").symlink_to("/no/there")
        found = compare(one, two)
        assert found is not None
        assert found.first.said == "is a link to '/no/where' and then to '/no/there'"

    def test_single_files(self, tmp_path: Path) -> None:
        """Two files may be compared; their path is empty."""
        (tmp_path / "one").write_text("1\n")
        (tmp_path / "two").write_text("2\n")
        found = compare(tmp_path / "one", tmp_path / "two")
        assert found is not None
        assert found.first.path == ""
        assert found.lines == ("@@ -1 +1 @@", "-1", "+2")

    def test_names_that_are_no_text(self, tmp_path: Path) -> None:
        """Names may be any bytes."""
        for name, contents in (("one", b"1"), ("two", b"2")):
            folder = make(tmp_path / name, {})
            with open(os.fsencode(folder) + b"/\xff\n", "wb") as file:
                file.write(contents)
        found = compare(tmp_path / "one", tmp_path / "two")
        assert found is not None
        assert os.fsencode(found.first.path) == b"\xff\n"


class TestContents:
    """What is shown of files that differ."""

    def test_text(self, differ: Differ) -> None:
        """Text is shown as a unified diff, with the true numbers of its lines."""
        lines = [f"line {number}" for number in range(1, 2001)]
        old = "\n".join(lines) + "\n"
        found = differ({"f": old.encode()}, {"f": old.replace("line 1500\n", "else\n").encode()})
        assert found.lines == (
            "@@ -1497,7 +1497,7 @@",
            " line 1497",
            " line 1498",
            " line 1499",
            "-line 1500",
            "+else",
            " line 1501",
            " line 1502",
            " line 1503",
        )
        assert found.offset == old.index("line 1500")

    def test_the_end_of_a_text(self, differ: Differ) -> None:
        """A line feed at the end that only one has is seen."""
        assert differ({"f": b"a\nb"}, {"f": b"a\nb\n"}).lines[-2:] == (
            "-b (and no line feed)",
            "+b",
        )

    @pytest.mark.parametrize("offset", [0, 15, 16, 5000, BEFORE, BEFORE + 1, PIECE - 1, PIECE + 5])
    def test_bytes(self, differ: Differ, offset: int) -> None:
        """Other contents are shown in hex, from the byte that differs; so is what ends early."""
        same = bytes(offset)
        found = differ({"f": same + b"\x01\xff"}, {"f": same})
        assert found.offset == offset
        assert found.lines[0] == f"at byte {offset} ({offset:#x}):"
        (old,) = (line for line in found.lines if " 01" in line and line.startswith("- "))
        place = offset % 16
        assert old.split("  ")[1].split()[place : place + 1] == ["01"]
        ends = f"+ (it ends at byte {offset})"
        assert (found.lines[-1] == ends) is (place == 0)

    def test_bounds(self, differ: Differ) -> None:
        """However much differs, little is told; long lines are cut."""
        old = "".join(f"{number}{'x' * 300}\n" for number in range(100_000))
        new = "".join(f"{number}{'y' * 300}\n" for number in range(100_000))
        found = differ({"f": old.encode()}, {"f": new.encode()})
        assert len(found.lines) == SHOWN_LINES + 1
        assert found.lines[-1].startswith("... and ")
        assert max(map(len, found.lines)) < 200
        assert sum(map(len, found.lines)) < AFTER

    @given(st.binary(max_size=60), st.binary(max_size=60))
    def test_any_two_files(
        self, tmp_path_factory: pytest.TempPathFactory, one: bytes, two: bytes
    ) -> None:
        """Two files differ exactly if their archives do, and at the byte that says so."""
        folder = tmp_path_factory.mktemp("pair")
        (folder / "one").write_bytes(one)
        (folder / "two").write_bytes(two)
        found = compare(folder / "one", folder / "two")
        same = nar_hash(folder / "one") == nar_hash(folder / "two")
        assert (found is None) is same
        if found is not None:
            assert found.offset is not None
            assert one[: found.offset] == two[: found.offset]
            assert one[found.offset :][:1] != two[found.offset :][:1]
            assert found.lines


def packed(kind: str, time: int, text: bytes) -> bytes:
    """Make a file of a kind that holds `text` and has a time in it, if that kind has times."""
    file = io.BytesIO()
    if kind == "gzip":
        return gzip.compress(text, mtime=time)
    if kind == "ar":
        head = f"{'x/':16}{time:<12}{0:<6}{0:<6}{644:<8}{len(text):<10}`\n"
        return b"!<arch>\n" + head.encode() + text + b"\n" * (len(text) % 2)
    if kind == "zip":
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(zipfile.ZipInfo("x", (2000, 1, 1, 0, 0, time * 2)), text)
        return file.getvalue()
    if kind in ("bzip2", "xz"):
        return bz2.compress(text) if kind == "bzip2" else lzma.compress(text)
    with tarfile.open(fileobj=file, mode="w") as tar:
        entry = tarfile.TarInfo("x")
        entry.size, entry.mtime = len(text), time
        tar.addfile(entry, io.BytesIO(text))
    return file.getvalue()


class TestLayers:
    """What holds others is looked into."""

    @pytest.mark.parametrize("kind", ["gzip", "tar", "zip", "ar"])
    def test_listed(self, differ: Differ, kind: str) -> None:
        """Times are named where only they differ, with what to do."""
        found = differ({"f": packed(kind, 1, b"text\n")}, {"f": packed(kind, 2, b"text\n")})
        assert kind in found.lines[0]
        assert [line[0] for line in found.lines[1:]] == ["@", "-", "+"]
        assert (":02" if kind != "zip" else ":04") in found.lines[-1]
        assert kind.replace("ar", "") in found.hint
        assert "usual causes" not in found.hint

    @pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "tar", "zip", "ar"])
    def test_within(self, differ: Differ, kind: str) -> None:
        """Text within is compared as such, and the cause is looked for there."""
        old, new = b"at 10:11:12 in it\n", b"at 10:11:13 in it\n"
        found = differ({"f": packed(kind, 1, old)}, {"f": packed(kind, 1, new)})
        name = {"tar": ", x", "zip": ", x", "ar": ", x/"}.get(kind, "")
        assert found.lines == (
            f"within {kind}{name}:",
            "@@ -1 +1 @@",
            "-at 10:11:12 in it",
            "+at 10:11:13 in it",
        )
        assert found.hint.startswith("it holds a time")

    def test_several_deep(self, differ: Differ) -> None:
        """An archive that is compressed, in an archive."""

        def nested(text: bytes) -> bytes:
            return packed("zip", 1, packed("gzip", 1, packed("tar", 1, text)))

        found = differ({"f": nested(b"one\n")}, {"f": nested(b"two\n")})
        assert found.lines[:3] == ("within zip, x:", "within gzip:", "within tar, x:")
        assert found.lines[-2:] == ("-one", "+two")

    def test_namesakes(self, differ: Differ) -> None:
        """Of members of one name, as a library may have, the one that differs is found."""
        last = packed("ar", 1, b"same")[8:]
        found = differ(
            {"f": packed("ar", 1, b"one\n") + last}, {"f": packed("ar", 1, b"two\n") + last}
        )
        assert found.lines == ("within ar, x/:", "@@ -1 +1 @@", "-one", "+two")

    def test_packed_in_another_way(self, differ: Differ) -> None:
        """The same in it, but other bytes: that is said."""
        text = b"text" * 1000
        found = differ({"f": lzma.compress(text)}, {"f": lzma.compress(text, preset=0)})
        assert found.lines == ("within xz all is the same",)
        assert "packed in another way" in found.hint

    @pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "tar", "zip", "ar"])
    @given(place=st.integers(0, 200), byte=st.integers(0, 255))
    def test_damaged(
        self, tmp_path_factory: pytest.TempPathFactory, kind: str, place: int, byte: int
    ) -> None:
        """A damaged one is compared all the same."""
        folder = tmp_path_factory.mktemp("pair")
        good = packed(kind, 1, b"some text that is in it")
        bad = bytearray(good)
        bad[place % len(good)] = byte
        (folder / "one").write_bytes(good)
        (folder / "two").write_bytes(bad)
        found = compare(folder / "one", folder / "two")
        assert (found is None) is (bytes(bad) == good)
        assert found is None or found.lines

    def test_more_than_can_be_held(self, differ: Differ, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is larger in it than may be held is compared by its bytes."""
        monkeypatch.setattr(layers, "LONGEST", 100)
        found = differ({"f": packed("xz", 1, b"a" * 101)}, {"f": packed("xz", 1, b"b" * 101)})
        assert found.lines[0].startswith("at byte")

    @pytest.mark.parametrize("kind", ["sparse tar", "zip of bzip2", "ar with a size below 0"])
    def test_bombs(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        """What would grow without bounds as it is opened is not looked into."""
        monkeypatch.setattr(layers, "LONGEST", 1 << 20)
        file = io.BytesIO()
        if kind == "sparse tar":
            entry = tarfile.TarInfo("x")
            entry.type = tarfile.GNUTYPE_SPARSE
            head = bytearray(entry.tobuf(tarfile.GNU_FORMAT))
            head[483:494] = b"00004000001"
            head[148:156] = b" " * 8
            head[148:155] = b"%06o\0" % sum(head)
            file.write(head + bytes(1024))
        elif kind == "zip of bzip2":
            with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
                archive.writestr("x", b"x")
        else:
            file.write(packed("ar", 1, b"x").replace(b"1         `", b"-60       `"))
        assert layers.opened(file.getvalue()) is None


class TestOtherBytes:
    """What is found in files that are neither text nor hold others, and in long lines."""

    def test_texts(self, differ: Differ) -> None:
        """Texts that only one side has are named, wherever they are: not the first byte's."""
        old, new = (
            b"\0\1" + end + bytes(100_000) + b"built in /build/" + end * 6 + b"\0"
            for end in (b"a", b"b")
        )
        found = differ({"f": old}, {"f": new})
        assert found.lines[-3:] == (
            "texts in it:",
            "-built in /build/aaaaaa",
            "+built in /build/bbbbbb",
        )
        assert "--sandbox on" in found.hint

    def test_noise(self, differ: Differ) -> None:
        """Random bytes hold texts by chance, of which nobody learns anything."""
        old, new = (random.Random(seed).randbytes(1 << 20) for seed in (1, 2))  # noqa: S311
        assert "texts in it:" not in differ({"f": old}, {"f": new}).lines

    @pytest.mark.parametrize("before", [0, 100, 300, 20_000])
    def test_long_lines(self, differ: Differ, before: int) -> None:
        """Of a long line that part is shown in which it differs, letters counted, not bytes."""
        found = differ(
            {"f": ("é" * before + "old" + "x" * 500).encode()},
            {"f": ("é" * before + "new" + "x" * 500).encode()},
        )
        assert all(word in line for word, line in zip(("old", "new"), found.lines[1:], strict=True))

    @pytest.mark.parametrize(
        ("old", "new"), [(b"a\nb\nc\n", b"c\na\nb\n"), (b'{"a": 1, "b": 2}', b'{"b": 2, "a": 1}')]
    )
    def test_another_order(self, differ: Differ, old: bytes, new: bytes) -> None:
        """The same in another order is called so."""
        assert "another order" in differ({"f": old}, {"f": new}).hint

    @pytest.mark.parametrize(("old", "new"), [(b"a + b", b"a - b"), (b"a", b"b")])
    def test_no_other_order(
        self, differ: Differ, monkeypatch: pytest.MonkeyPatch, old: bytes, new: bytes
    ) -> None:
        """Other signs between the same words are not, nor is what is too long to be searched."""
        monkeypatch.setattr(layers, "LONGEST", 4 if len(old) == 1 else 32)
        found = differ({"f": old * 4 + b"x"}, {"f": new * 4 + b"x"})
        assert "another order" not in found.hint


class TestHints:
    """What is guessed of the cause."""

    @pytest.mark.parametrize(
        ("name", "old", "new", "word"),
        [
            ("x.pyc", b"\0\0\0\1", b"\0\0\0\2", "invalidation-mode"),
            ("x.gz", b"\x1f\x8b\x08\0\x01\0\0\0", b"\x1f\x8b\x08\0\x02\0\0\0", "gzip -n"),
            ("x.a", b"!<arch>\nx/  1\0", b"!<arch>\nx/  2\0", "ranlib -D"),
            ("x.zip", b"PK\3\4\1", b"PK\3\4\2", "times of its files"),
            ("x.zip", b"PK" + bytes(BEFORE) + b"1", b"PK" + bytes(BEFORE) + b"2", "times of its"),
            ("x", b"at 2026-01-02 10:11:12\n", b"at 2026-01-02 10:11:13\n", "SOURCE_DATE_EPOCH"),
            ("x", b"in /build/1-x/out\n", b"in /build/2-x/out\n", "--sandbox on"),
            ("x", b"1\n", b"2\n", "usual causes"),
        ],
    )
    def test_each(self, differ: Differ, name: str, old: bytes, new: bytes, word: str) -> None:
        """Each common cause is known by the file or by what stands around the place."""
        assert word in differ({name: old}, {name: new}).hint
