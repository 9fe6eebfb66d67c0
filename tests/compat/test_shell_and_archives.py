"""The compatibility layer's shell functions, archives, copying and collection."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plxnix.compat import pylightnix
from plxnix.compat.pylightnix import arch, bashlike, garb
from plxnix.compat.pylightnix.types import DRef, RRef, StorageSettings
from plxnix.errors import InvalidReference, NotInStore
from plxnix.store.verify import verify


def settings(folder: Path) -> StorageSettings:
    """Make a store and return its settings."""
    found = pylightnix.mkSS(str(folder))
    pylightnix.fsinit(found, use_as_default=False)
    return found


@pytest.fixture
def S(tmp_path: Path) -> StorageSettings:  # noqa: N802
    """The settings of an empty store."""
    return settings(tmp_path / "store")


def stage(name: str, text: str = "text\n", **fields: Any) -> Any:
    """Return a stage that writes a text, and depends on what is in its fields."""

    def define(r: Any) -> DRef:
        below = {key: value(r) for key, value in fields.items()}

        def make(build: Any) -> None:
            Path(pylightnix.build_outpath(build), "out").write_text(text)

        config = pylightnix.mkconfig({"name": name, **below})
        return pylightnix.mkdrv(
            config, pylightnix.match_latest(), pylightnix.build_wrapper(make), r
        )

    return define


def realized(what: Any, S: StorageSettings) -> RRef:  # noqa: N803
    """Realize a stage."""
    rref: RRef = pylightnix.realize1(pylightnix.instantiate(what, S=S))
    return rref


def dref_of(rref: RRef) -> DRef:
    """Return the derivation of a realization."""
    return pylightnix.rref2dref(rref)


def test_listing_and_reading(S: StorageSettings) -> None:  # noqa: N803
    """Context and times are listed among the artifacts, and can be read there."""
    below = stage("below")
    rref = realized(stage("above", below=below), S)
    assert {"out", "context.json"} <= {*bashlike.lsref(rref, S)}
    assert bashlike.lsref(dref_of(rref), S) == ["config.json", rref.rhash]
    assert bashlike.catref(rref, ["out"], S) == ["text\n"]
    context = "".join(bashlike.catref(rref, ["context.json"], S))
    assert next(iter(pylightnix.rrefctx(rref, S))) in context
    ((start,), (stop,)) = (
        bashlike.catref(rref, [f"__build{what}__.txt"], S) for what in ("start", "stop")
    )
    assert start == pylightnix.rrefbstart(rref, S)
    assert stop == pylightnix.rrefbstop(rref, S)


@pytest.mark.parametrize("function", [bashlike.lsref, bashlike.rmref, bashlike.shell])
def test_garbage(S: StorageSettings, function: Any) -> None:  # noqa: N803
    """What is no reference is an AssertionError, and one of plxnix's own."""
    for kind in (AssertionError, InvalidReference):
        with pytest.raises(kind):
            function("garbage", S=S)
    with pytest.raises(AssertionError):
        bashlike.catref(DRef("garbage"), ["x"], S)  # type: ignore[arg-type]


def test_removing_by_force(S: StorageSettings) -> None:  # noqa: N803
    """A realization is removed whatever depends on it; one that is gone is not there."""
    rref = realized(stage("above", below=stage("below")), S)
    (below,) = pylightnix.rrefdeps([rref], S)
    bashlike.rmref(below, S)
    assert below not in {*pylightnix.allrrefs(S)}
    with pytest.raises(FileNotFoundError):
        bashlike.rmref(below, S)
    with pytest.raises(NotInStore):
        bashlike.rmref(below, S)
    bashlike.rmref(dref_of(rref), S)
    assert dref_of(rref) not in {*pylightnix.alldrefs(S)}


def test_diff_prints(S: StorageSettings, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: N803
    """Configs are compared line by line, of references and of stages."""
    rref = realized(stage("one"), S)
    bashlike.diff(rref, stage("two"), S)
    out = capsys.readouterr().out
    assert '+    "name": "two"' in out
    assert out.startswith(f"--- {dref_of(rref)}\n+++ dref:")
    bashlike.diff(rref, dref_of(rref), S)
    assert capsys.readouterr().out == ""


def test_links(S: StorageSettings, tmp_path: Path) -> None:  # noqa: N803
    """Links are relative and replaced; the format has a time and a name."""
    rref = realized(stage("one"), S)
    for _ in range(2):
        (link,) = bashlike.linkrrefs([rref], pylightnix.Path(tmp_path), "x-%(N)s", S)
        assert os.path.samefile(link, pylightnix.rref2path(rref, S))
        assert not os.path.isabs(os.readlink(link))
    link = bashlike.linkdref(dref_of(rref), pylightnix.Path(tmp_path / "new"), S=S)
    assert os.path.basename(link) == "_rref_one"
    assert os.path.samefile(link, pylightnix.dref2path(dref_of(rref), S))
    assert str(pylightnix.rrefbstart(rref, S)) in bashlike.linkrref(
        rref, pylightnix.Path(tmp_path), S=S
    )


@pytest.mark.parametrize("name", ["a.zip", "a.tar.gz"])
def test_archives(S: StorageSettings, tmp_path: Path, name: str) -> None:  # noqa: N803
    """A closure goes to a file and into another store; so it does without a file."""
    rref = realized(stage("above", below=stage("below")), S)
    file = pylightnix.Path(tmp_path / name)
    other = settings(tmp_path / "other")
    arch.spack([rref], file, S)
    arch.sunpack(file, other)
    assert {*pylightnix.allrrefs(other)} == {*pylightnix.allrrefs(S)}
    third = settings(tmp_path / "third")
    arch.copyclosure([rref], other, third)
    assert {*pylightnix.allrrefs(third)} == {*pylightnix.allrrefs(S)}
    (below,) = pylightnix.rrefdeps([rref], S)
    assert arch.deref_(rref, dref_of(below), S) == [below]
    assert arch.deref_(rref, dref_of(rref), S) == [rref]
    with pytest.raises(AssertionError):
        arch.spack([rref], pylightnix.Path(tmp_path / "a.rar"), S)
    with pytest.raises(AssertionError):
        arch.sunpack(pylightnix.Path(tmp_path / "missing.zip"), S)


def test_collection(
    S: StorageSettings,  # noqa: N803
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What links lead to stays with all it needs; the rest is printed and goes."""
    kept = realized(stage("above", below=stage("below")), S)
    gone = realized(stage("gone"), S)
    bashlike.linkrref(kept, pylightnix.Path(tmp_path / "links"), S=S)
    places = [pylightnix.Path(tmp_path / one) for one in ("links", "missing")]
    keep = garb.gc_exceptions(places, S)
    assert keep == ([], [kept])
    assert garb.gc_candidates(keep, S) == ({dref_of(gone)}, {gone})
    assert garb.gc_candidates(keep, S) == pylightnix.store_gc(*keep, S)
    with pytest.raises(AssertionError, match="terminal"):
        garb.gc(places, S=S)
    with pytest.raises(AssertionError):
        garb.gc(places, interactive=True, verbose=False, S=S)
    garb.gc(places, interactive=False, S=S)
    assert gone in capsys.readouterr().out
    assert {*pylightnix.allrrefs(S)} == {kept, *pylightnix.rrefdeps([kept], S)}
    assert list(verify(pylightnix.storage.store_of(S))) == []


def test_sizes_for_people() -> None:
    """Sizes are written in K, M and G."""
    assert [garb.diskspace_h(1 << power) for power in (9, 10, 20, 30)] == [
        "   0 K",
        "   1 K",
        "   1 M",
        "   1 G",
    ]
