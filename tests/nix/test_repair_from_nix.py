"""Repair from the Nix store: what it has by the same hash takes the place of what is damaged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix import Store, fetchurl
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add
from plxnix.model import DRef, RRef
from plxnix.nix.hashes import Hash
from plxnix.realize.realizing import realize1
from plxnix.realize.registry import Registry, instantiate
from plxnix.recipes.execute import execute
from plxnix.repairing import repair_store
from plxnix.store import Fsync
from plxnix.store.verify import verify
from tests.nix_environment import NixEnv
from tests.store_samples import build

pytestmark = pytest.mark.usefixtures("nix_env")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store."""
    return Store.init(tmp_path / "store", Fsync.NONE)


def damaged(store: Store, rref: RRef) -> Path:
    """Damage the first file of a realization, but no other name that it may have."""
    path = min(path for path in Path(store.path(rref)).rglob("*") if path.is_file())
    path.parent.chmod(0o755)
    path.unlink()
    path.write_bytes(b"damaged")
    path.chmod(0o444)
    path.parent.chmod(0o555)
    return path


def repaired(store: Store) -> set[str]:
    """Repair, and return how."""
    fresh = Store(store.root)
    done = repair_store(fresh, list(verify(fresh)))
    assert list(verify(Store(store.root))) == []
    return {one.how for one in done}


def test_a_pin_comes_back(store: Store, tmp_path: Path) -> None:
    """A result of Python code that was put into the Nix store is copied from there."""
    entries = {"a": os.fsencode(tmp_path), "dir/run*": b"#!", "link": "a", "empty": None}
    rref = build(store, "model", entries=entries)
    add(store, rref)
    place = damaged(store, rref)
    assert repaired(store) == {"taken from the Nix store"}
    assert place.read_bytes() == os.fsencode(tmp_path)


def test_a_fetched_file_comes_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fetched file is copied from where Nix has it, though its server is gone."""
    source = tmp_path / "source.txt"
    source.write_text(f"from {tmp_path}")

    def stage() -> DRef:
        return fetchurl(url=source.as_uri(), hash=Hash.of_file(source, "sha256").sri)

    rref = realize1(instantiate(stage, registry=Registry(store)))
    add(store, rref)
    source.unlink()
    place = damaged(store, rref)
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
    fresh = Store(store.root)
    assert not repair_store(fresh, list(verify(fresh)))[0].how
    monkeypatch.delenv("PLXNIX_NIX_STORE")
    assert not place.exists()
    fresh = Store(store.root)
    (done,) = repair_store(fresh, list(verify(fresh, [rref])))
    assert done.how == "taken from the Nix store"
    assert place.read_text() == f"from {tmp_path}"


def test_what_nix_has_built_comes_back(
    store: Store, tmp_path: Path, nix_env: NixEnv, bubblewrap: str
) -> None:
    """A result of the sandbox is taken from Nix, which has built the same derivation."""
    del bubblewrap
    command = f"mkdir $out; echo {tmp_path} > $out/text"

    def stage() -> DRef:
        return execute(name="built", command=command)

    closure = instantiate(stage, registry=Registry(store))
    rref = realize1(closure, sandbox="on")
    file = tmp_path / "default.nix"
    file.write_text(expression(ExportGraph(closure), "made by a test"))
    assert str(nix_env.build(file)) == store.record(rref).nix["path"]
    place = damaged(store, rref)
    assert repaired(store) == {"taken from the Nix store"}
    assert place.read_text() == f"{tmp_path}\n"
