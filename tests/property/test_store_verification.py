"""Verification finds each single change of a realization, and nothing where there is none."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import assume, given
from hypothesis import strategies as st

from plxnix.model import RRef
from plxnix.store import Store
from plxnix.store.verify import verify
from tests.store_samples import Entry, build, scratch_store

NAMES = st.sampled_from(["a", "b", ".hidden", "_private", "name with blanks", os.fsdecode(b"\xff")])
ENTRIES: st.SearchStrategy[Entry] = (
    st.binary(max_size=20) | st.none() | st.sampled_from(["a", "../b", "/nowhere"])
)
TREES = st.dictionaries(
    st.tuples(st.sampled_from(["", "dir/", "dir/deep/"]), NAMES, st.sampled_from(["", "*"])),
    ENTRIES,
    max_size=6,
)


def entries(tree: dict[tuple[str, str, str], Entry]) -> dict[str, Entry]:
    """Return what `plant` takes: one entry for each name, and stars for files only."""
    found: dict[str, Entry] = {}
    for (folder, name, star), content in tree.items():
        if f"{folder}{name}*" not in found and f"{folder}{name}" not in found:
            found[folder + name + (star if isinstance(content, bytes) else "")] = content
    return found


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Allow changes in a read-only folder for the block."""
    folder.chmod(0o755)
    try:
        yield
    finally:
        folder.chmod(0o555)


def change_bytes(path: Path, data: st.DataObject) -> None:
    """Change, add or take away a byte of a file."""
    mode = stat.S_IMODE(path.stat().st_mode)
    before = path.read_bytes()
    place = data.draw(st.integers(0, len(before)))
    kept = data.draw(st.integers(0, 1))
    after = before[:place] + data.draw(st.binary(max_size=1)) + before[place + kept :]
    assume(before != after)
    path.chmod(0o644)
    path.write_bytes(after)
    path.chmod(mode)


def change_mode(path: Path, data: st.DataObject) -> None:
    """Change the permissions of a file or folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    # The owner of a folder has to be able to list it, or even verifying is impossible.
    least = 0o500 if path.is_dir() else 0o400
    path.chmod(data.draw(st.integers(0, 0o7777).map(lambda new: new | least).filter(mode.__ne__)))


def add(folder: Path, data: st.DataObject) -> None:
    """Add a file, folder, link or pipe."""
    path = folder / data.draw(NAMES.map(lambda name: f"{name}2"))
    with writable(folder):
        kind = data.draw(st.sampled_from(["file", "folder", "link", "pipe"]))
        if kind == "file":
            path.touch(0o444)
        elif kind == "folder":
            path.mkdir(0o555)
        elif kind == "link":
            path.symlink_to("a")
        else:
            os.mkfifo(path)


def replace(path: Path, data: st.DataObject) -> None:
    """Remove or rename an entry, or put something of another kind or target in its place."""
    with writable(path.parent):
        how = data.draw(st.sampled_from(["remove", "rename", "link", "folder", "file"]))
        if how == "rename":
            path.rename(path.with_name("renamed"))
            return
        assume(how != "folder" or path.is_symlink() or not path.is_dir() or any(path.iterdir()))
        assume(how != "file" or path.is_symlink() or not path.is_file() or path.stat().st_size)
        if path.is_dir() and not path.is_symlink():
            for below in (path, *path.rglob("*")):
                if below.is_dir() and not below.is_symlink():
                    below.chmod(0o755)
            shutil.rmtree(path)
        else:
            path.unlink()
        if how == "link":
            path.symlink_to("another target")
        elif how == "folder":
            path.mkdir(0o555)
        elif how == "file":
            path.touch(0o444)


def mutate(top: Path, data: st.DataObject) -> None:
    """Change one thing in a published tree."""
    paths = sorted(top.rglob("*"))
    folders = [top, *(path for path in paths if path.is_dir() and not path.is_symlink())]
    files = [path for path in paths if path.is_file() and not path.is_symlink()]
    kind = data.draw(st.sampled_from(["bytes", "mode", "add", "replace"]))
    if kind == "bytes":
        assume(files)
        change_bytes(data.draw(st.sampled_from(files)), data)
    elif kind == "mode":
        change_mode(data.draw(st.sampled_from([*files, *folders])), data)
    elif kind == "add":
        add(data.draw(st.sampled_from(folders)), data)
    else:
        assume(paths)
        replace(data.draw(st.sampled_from(paths)), data)


def family(store: Store, tree: dict[tuple[str, str, str], Entry]) -> list[RRef]:
    """Publish the tree with something that it was made from and something made from it."""
    below = build(store, "below")
    rref = build(store, "subject", [below], entries(tree))
    return [below, rref, build(store, "above", [rref])]


@given(TREES)
def test_what_was_published_is_whole(tree: dict[tuple[str, str, str], Entry]) -> None:
    """A store in which nothing was changed has no damage."""
    with scratch_store() as store:
        family(store, tree)
        assert list(verify(store)) == []


@given(TREES, st.data())
def test_each_change_is_found(tree: dict[tuple[str, str, str], Entry], data: st.DataObject) -> None:
    """Any one changed byte, name, permission, link or entry is laid at its realization's door."""
    with scratch_store() as store:
        _, rref, _ = family(store, tree)
        mutate(Path(store.path(rref)), data)
        found = list(verify(store))
        assert found
        assert {damage.rref for damage in found} == {rref}
        assert {damage.kind for damage in found} <= {"artifacts", "mode"}


@given(st.data())
def test_a_changed_record_is_found(data: st.DataObject) -> None:
    """A record that was cut short, or whose hashes were touched, is laid at its door too."""
    with scratch_store() as store:
        _, rref, _ = family(store, {})
        path = Path(store.layout.record(rref))
        text = path.read_bytes()
        if data.draw(st.booleans()):
            text = text[: data.draw(st.integers(0, len(text) - 2))]
        else:
            start = text.index(data.draw(st.sampled_from([b"rref:", b"sha256-"])))
            place = data.draw(st.integers(start, start + 40))
            other = bytes([text[place] ^ 1])
            text = text[:place] + other + text[place + 1 :]
        path.unlink()
        path.write_bytes(text)
        path.chmod(0o444)
        assert {damage.rref for damage in verify(store)} == {rref}
