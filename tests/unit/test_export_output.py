"""Writing the files of an export: each whole or not at all, and where they go."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from plxnix.errors import ExportError, InvalidValue
from plxnix.export.forms import place
from plxnix.export.output import write_files


def entries(folder: Path) -> dict[str, str]:
    """Return all files below a folder, hidden ones too."""
    return {
        os.fspath(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestWriting:
    """`write_files`."""

    def test_files_in_new_folders(self, tmp_path: Path) -> None:
        """Folders are made; text is UTF-8 with its own line ends; everybody may read."""
        files = {tmp_path / "a" / "b" / "c.nix": "é\r\n", tmp_path / "d": ""}
        write_files(files)
        assert (tmp_path / "a/b/c.nix").read_bytes() == "é\r\n".encode()
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o644
        assert set(entries(tmp_path)) == {"a/b/c.nix", "d"}

    def test_an_old_one_is_replaced(self, tmp_path: Path) -> None:
        """A new text takes the place of the old at once: who reads the old keeps it."""
        file = tmp_path / "file"
        write_files({file: "old"})
        with file.open() as opened:
            write_files({file: "new"})
            assert opened.read() == "old"
        assert entries(tmp_path) == {"file": "new"}

    def test_a_link_leads_where_it_led(self, tmp_path: Path) -> None:
        """What a link points to is replaced, with its mode; the link stays."""
        target = tmp_path / "target"
        target.write_text("old")
        target.chmod(0o600)
        link = tmp_path / "link"
        link.symlink_to("target")
        write_files({link: "new"})
        assert os.readlink(link) == "target"
        assert target.read_text() == "new"
        assert stat.S_IMODE(target.stat().st_mode) == 0o600

    def test_a_pipe_is_written_to(self, tmp_path: Path) -> None:
        """What is no file, as `/dev/stdout` or a pipe, is neither read nor replaced."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        try:
            write_files({pipe: "text"})
            assert os.read(reader, 100) == b"text"
        finally:
            os.close(reader)
        assert pipe.is_fifo()
        assert list(tmp_path.glob("*pipe*")) == [pipe]

    def test_what_is_the_same_stays(self, tmp_path: Path) -> None:
        """A file that has the text already is not touched."""
        file = tmp_path / "file"
        write_files({file: "text"})
        os.utime(file, (1, 1))
        before = file.stat()
        write_files({file: "text", tmp_path / "other": ""})
        assert (file.stat().st_ino, file.stat().st_mtime) == (before.st_ino, 1)

    def test_all_or_nothing(self, tmp_path: Path) -> None:
        """If one cannot be written, none is replaced, and nothing is left over."""
        old = {"a": "old", "file": "x"}
        for name, text in old.items():
            (tmp_path / name).write_text(text)
        for bad, text in ((tmp_path / "file" / "below", ""), (tmp_path / "b", "\udc80")):
            with pytest.raises(ExportError, match="cannot write "):
                write_files({tmp_path / "a": "new", bad: text})
            assert entries(tmp_path) == old

    def test_a_folder_in_the_way(self, tmp_path: Path) -> None:
        """Where a folder is, no file is put, and its contents stay."""
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "kept").write_text("kept")
        with pytest.raises(ExportError):
            write_files({tmp_path / "a": "new"})
        assert entries(tmp_path) == {"a/kept": "kept"}

    def test_a_failing_rename(self, tmp_path: Path) -> None:
        """What is not yet in place when something fails is removed."""
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "kept").write_text("kept")
        with pytest.raises(ExportError):
            write_files({tmp_path / "b": "1", tmp_path / "c": "2"})
        assert entries(tmp_path) == {"b/kept": "kept"}


class TestPlacing:
    """`place`: what `-o` means."""

    def test_a_file(self) -> None:
        """One file goes where it is told to."""
        assert place({"default.nix": "x"}, "a/b.nix") == {Path("a/b.nix"): "x"}

    def test_a_folder(self, tmp_path: Path) -> None:
        """Files go into a folder that ends in a slash or is one; names stay."""
        files = {"default.nix": "x", "stages/a.nix": "y"}
        expected = {tmp_path / "default.nix": "x", tmp_path / "stages/a.nix": "y"}
        assert place(files, f"{tmp_path}/") == place(files, str(tmp_path)) == expected
        assert place(files, f"{tmp_path}/new/") == {
            tmp_path / "new" / name: text for name, text in files.items()
        }

    def test_several_into_one(self, tmp_path: Path) -> None:
        """Several files do not fit into one."""
        with pytest.raises(InvalidValue, match="has 2 files"):
            place({"a": "", "b": ""}, f"{tmp_path}/x")
