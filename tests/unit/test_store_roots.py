"""Roots: links that keep realizations."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from plxnix.errors import InvalidReference, NotInStore, StoreError
from plxnix.model import RRef
from plxnix.store import Store
from plxnix.store.roots import Root, add_root, remove_root, remove_stale, roots
from plxnix.store.verify import verify
from tests.store_samples import build


@pytest.fixture
def rref(store: Store) -> RRef:
    """A realization in it."""
    return build(store, "one", entries={"dir/file": b"text"})


def registrations(store: Store) -> list[str]:
    """List what is registered."""
    folder = Path(store.layout.gcroots, "auto")
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_a_link_becomes_a_root(store: Store, rref: RRef, tmp_path: Path) -> None:
    """The link leads to the artifacts and is listed; doing it again changes nothing."""
    link = tmp_path / "result"
    for _ in range(2):
        assert add_root(store, link, rref) == link
        assert (link / "dir" / "file").read_text() == "text"
        assert roots(store) == [Root(str(link), rref)]
        assert len(registrations(store)) == 1
    assert list(verify(store)) == []


def test_a_link_is_replaced(store: Store, rref: RRef, tmp_path: Path) -> None:
    """A root that is made again leads elsewhere, and no other file is left over."""
    other = build(store, "two")
    link = tmp_path / "results" / "last"
    link.parent.mkdir()
    add_root(store, link, rref)
    add_root(store, str(link), other)
    assert roots(store) == [Root(str(link), other)]
    assert os.listdir(link.parent) == ["last"]
    link.unlink()
    link.symlink_to("nowhere")
    add_root(store, link, rref)
    assert roots(store) == [Root(str(link), rref)]


@pytest.mark.parametrize("kind", ["file", "folder", "full"])
def test_only_links_are_replaced(store: Store, rref: RRef, tmp_path: Path, kind: str) -> None:
    """A file or folder at the link's place is left alone, and nothing is registered."""
    link = tmp_path / "result"
    if kind == "file":
        link.write_text("mine")
    else:
        link.mkdir()
        if kind == "full":
            (link / "file").write_text("mine")
    with pytest.raises(StoreError, match="no symbolic link") as caught:
        add_root(store, link, rref)
    assert str(link) in caught.value.message
    assert not link.is_symlink()
    assert (roots(store), registrations(store)) == ([], [])


def test_what_cannot_be_rooted(store: Store, rref: RRef, tmp_path: Path) -> None:
    """A realization that is not there, a missing folder, a place in the store are refused."""
    with pytest.raises(InvalidReference):
        add_root(store, tmp_path / "result", "one")
    with pytest.raises(NotInStore):
        add_root(store, tmp_path / "result", RRef.make("0" * 32, rref.dref))
    with pytest.raises(StoreError, match="cannot make the root"):
        add_root(store, tmp_path / "missing" / "result", rref)
    with pytest.raises(StoreError, match="inside the store"):
        add_root(store, Path(store.layout.store, "result"), rref)
    assert not os.path.lexists(tmp_path / "result")
    assert list(verify(store)) == []


def test_relative_places(
    store: Store, rref: RRef, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative link is one below the current folder, whatever that is later, links resolved."""
    (tmp_path / "real").mkdir()
    (tmp_path / "alias").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert add_root(store, "alias/result", rref) == tmp_path / "real" / "result"
    monkeypatch.chdir("/")
    (tmp_path / "alias").unlink()
    assert roots(store) == [Root(str(tmp_path / "real" / "result"), rref)]


def test_odd_names(store: Store, rref: RRef, tmp_path: Path) -> None:
    """A link may have a name that is not UTF-8, or has blanks and line ends."""
    for name in (os.fsdecode(b"\xff"), "a b\nc", "x" * 200):
        add_root(store, tmp_path / name, rref)
        assert Root(str(tmp_path / name), rref) in roots(store)
        remove_root(store, tmp_path / name)
    assert roots(store) == []


def test_direct_roots(store: Store, rref: RRef, tmp_path: Path) -> None:
    """Links below `gcroots/` count, made by hand or not, relative or into the result."""
    folder = Path(store.layout.gcroots)
    add_root(store, folder / "pinned", rref)
    (folder / "users").mkdir()
    (folder / "users" / "relative").symlink_to(os.path.relpath(store.path(rref), folder / "users"))
    (folder / "users" / "deep").symlink_to(store.path(rref) + "/dir/file")
    (folder / "notes").write_text("no link")
    (folder / "elsewhere").symlink_to(tmp_path)
    names = ["pinned", "users/deep", "users/relative"]
    assert roots(store) == [Root(str(folder / name), rref) for name in names]
    assert registrations(store) == []
    remove_root(store, folder / "pinned")
    assert len(roots(store)) == 2
    with store.deleting():
        store.remove([rref])
        assert remove_stale(store) == []
    assert roots(store) == []
    assert (folder / "users" / "deep").is_symlink()


def test_other_ways_into_the_store(store: Store, rref: RRef, tmp_path: Path) -> None:
    """A link through another link, or by another path of the store, keeps what it leads to."""
    add_root(store, tmp_path / "result", rref)
    (tmp_path / "alias").symlink_to("store")
    (tmp_path / "result").unlink()
    (tmp_path / "result").symlink_to(store.path(rref).replace("/store/", "/alias/", 1))
    assert roots(store) == [Root(str(tmp_path / "result"), rref)]
    (tmp_path / "first").symlink_to(store.path(rref))
    (tmp_path / "result").unlink()
    (tmp_path / "result").symlink_to("first")
    assert roots(store) == [Root(str(tmp_path / "result"), rref)]
    assert roots(Store(tmp_path / "alias")) == roots(store)


@pytest.mark.parametrize("fate", ["gone", "moved", "file", "elsewhere", "removed"])
def test_stale_registrations(store: Store, rref: RRef, tmp_path: Path, fate: str) -> None:
    """A link that is gone, replaced, or leads to nothing keeps nothing, and is then forgotten."""
    link = tmp_path / "result"
    add_root(store, link, rref)
    add_root(store, tmp_path / "kept", build(store, "two"))
    if fate == "removed":
        with store.deleting():
            store.remove([rref])
    elif fate == "moved":
        link.rename(tmp_path / "other")
    else:
        link.unlink()
        if fate == "file":
            link.write_text("mine")
        elif fate == "elsewhere":
            link.symlink_to(tmp_path)
    assert [root.path for root in roots(store)] == [str(tmp_path / "kept")]
    assert len(registrations(store)) == 2
    with store.deleting():
        assert remove_stale(store) == [str(link)]
        assert remove_stale(store) == []
    assert len(registrations(store)) == 1
    assert os.path.lexists(link) == (fate in ("file", "elsewhere", "removed"))


def test_removing_roots(store: Store, rref: RRef, tmp_path: Path) -> None:
    """Link and registration go; a link that leads elsewhere by now stays."""
    link = tmp_path / "result"
    add_root(store, link, rref)
    remove_root(store, link)
    assert (roots(store), registrations(store)) == ([], [])
    assert not os.path.lexists(link)
    add_root(store, link, rref)
    link.unlink()
    link.symlink_to(tmp_path)
    remove_root(store, link)
    assert link.is_symlink()
    for place in (link, tmp_path / "missing", Path(store.layout.gcroots, "none")):
        with pytest.raises(StoreError, match="is no root"):
            remove_root(store, place)


def test_roots_wait_for_a_collection(store: Store, rref: RRef, tmp_path: Path) -> None:
    """While garbage is deleted no root is made, or it might be made for what is going."""
    worker = threading.Thread(target=add_root, args=(store, tmp_path / "result", rref))
    with store.deleting():
        worker.start()
        worker.join(0.1)
        assert worker.is_alive()
        assert not os.path.lexists(tmp_path / "result")
    worker.join(60)
    assert len(roots(store)) == 1


def test_links_that_cannot_be_read(store: Store, rref: RRef, tmp_path: Path) -> None:
    """A link in a folder that may not be read might keep something, so it is not passed over."""
    private = tmp_path / "private"
    private.mkdir()
    add_root(store, private / "result", rref)
    private.chmod(0)
    try:
        if os.access(private, os.X_OK):
            pytest.skip("this user, root most likely, may enter every folder")
        with pytest.raises(StoreError, match="cannot read the root"):
            roots(store)
        with store.deleting(), pytest.raises(StoreError):
            remove_stale(store)
    finally:
        private.chmod(0o700)
    assert len(roots(store)) == 1
