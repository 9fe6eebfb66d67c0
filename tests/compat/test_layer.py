"""The layer works on plxnix's own store, with plxnix's own stages beside it."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

import plxnix
from plxnix.compat import pylightnix as p
from plxnix.compat.pylightnix.core import native_closure
from plxnix.recipes.fetch import Fetch
from tests.http_server import Answer, Server


def writer(text: str) -> p.Realizer:
    """Return a realizer that writes a file."""

    def make(build: p.Build) -> None:
        Path(p.build_outpath(build), "out").write_text(text)

    return p.build_wrapper(make)


def test_one_store() -> None:
    """Without settings of its own the layer uses plxnix's current store, and both see all."""
    store = plxnix.fsinit()
    with p.current_registry(p.mkregistry()) as registry:
        dref = p.mkdrv(p.mkconfig({"name": "a"}), p.match_only(), writer("1"))
        rref = p.realize1(p.instantiate(dref))
    assert registry.store.root == store.root == p.fsroot()
    assert plxnix.Store(store.root).realizations(dref) == [rref]
    assert os.listdir(p.rref2path(rref)) == ["out"]
    assert isinstance(p.rref2path(rref), str)


def test_settings_say_where(tmp_path: Path) -> None:
    """A path gets `_pylightnix` at its end; the folders are those of a store of plxnix."""
    p.fsinit(str(tmp_path), use_as_default=False)
    store = plxnix.Store(tmp_path / "_pylightnix")
    settings = p.mksettings(store.root)
    assert p.fsstorage(settings) == store.layout.store
    with p.current_storage(settings):
        assert plxnix.current_store().root == store.root
        assert p.fsroot() == store.root


def test_only_a_store_is_removed(tmp_path: Path) -> None:
    """`remove_existing` removes a store, and nothing of a folder that is none or holds more."""
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "thesis").touch()
    settings = p.mksettings(str(tmp_path))
    p.fsinit(settings, remove_existing=True, use_as_default=False)
    assert (tmp_path / "downloads" / "thesis").exists()
    (tmp_path / "mine").touch()
    p.realize1(p.instantiate(lambda r: p.mknode(r, {}), S=settings))
    p.fsinit(settings, remove_existing=True, use_as_default=False)
    assert not list(p.alldrefs(settings))
    assert (tmp_path / "mine").exists()


def test_registry_without_a_store() -> None:
    """A registry can be made, shown and left out of a config before there is a store."""
    registry = p.mkregistry()
    assert "0 derivations" in repr(registry)
    assert p.cfgdict(p.mkconfig({"r": registry, "a": 1})) == {"a": 1}


def test_no_realization_selected() -> None:
    """A matcher that selects none of a target's is an error, not a result of None."""
    plxnix.fsinit()

    def stage(r: p.Registry) -> p.DRef:
        return p.mkdrv(p.mkconfig({"name": "a"}), lambda *_: [], writer(""), r)

    for function in (p.realize, p.realizeMany):
        with pytest.raises(AssertionError, match="selected no realization"):
            function(p.instantiate(stage))


def test_triple_and_transitive_context() -> None:
    """`realize` gives result, closure and context; `rrefctx` has dependencies of dependencies."""
    plxnix.fsinit()

    def stages(r: p.Registry) -> p.DRef:
        first = p.mkdrv(p.mkconfig({"name": "a"}), p.match_only(), writer("1"), r)
        second = p.mkdrv(p.mkconfig({"name": "b", "of": first}), p.match_only(), writer("2"), r)
        return p.mkdrv(p.mkconfig({"name": "c", "of": second}), p.match_only(), writer("3"), r)

    result, closure, context = p.realize(p.instantiate(stages))
    assert p.isclosure(closure)
    assert sorted(p.undref(dref)[1] for dref in context) == ["a", "b", "c"]
    (rref,) = context[result] or []  # type: ignore[index]
    below = p.rrefctx(rref)
    assert below == {dref: rrefs for dref, rrefs in context.items() if dref != result}
    _, _, again = p.realize(closure, dry_run=True)
    assert again == context


def test_order_of_keys_does_not_matter() -> None:
    """Unlike in Pylightnix, two configs that are equal are one derivation."""
    one, two = p.mkconfig({"a": 1, "b": 2}), p.mkconfig({"b": 2, "a": 1})
    assert p.cfghash(one) == p.cfghash(two)


def test_numbers_that_json_does_not_know() -> None:
    """NaN and infinities come back as they were."""
    plxnix.fsinit()
    with p.current_registry(p.mkregistry()):
        config = p.mkconfig({"a": float("inf"), "b": [float("nan")]})
        dref = p.mkdrv(config, p.match_only(), writer(""))
    found = p.cfgdict(p.drefcfg_(dref))
    assert found["a"] == float("inf")
    assert found["b"][0] != found["b"][0]


def test_times_are_no_artifacts() -> None:
    """Two runs with one result are one realization; the time is that which was given."""
    plxnix.fsinit()
    when = p.timestring(1e9)

    def stage(r: p.Registry) -> p.DRef:
        realizer = p.build_wrapper(lambda build: None, starttime=when)  # noqa: ARG005
        return p.mkdrv(p.mkconfig({"name": "a"}), p.match_latest(), realizer, r)

    closure = p.instantiate(stage)
    rref = p.realize1(closure)
    time.sleep(0.01)
    assert p.realize1(closure, force_rebuild=True) == rref
    assert p.rrefbstart(rref) == when
    assert p.parsetime(when) == 1e9


def test_broken_promise_and_raising_function() -> None:
    """They leave as `PromiseException` and `BuildError`, with what callers look at."""
    plxnix.fsinit()

    def promising(r: p.Registry) -> p.DRef:
        config = p.mkconfig({"name": "a", "file": [p.selfref, "sub", "file"]})
        return p.mkdrv(config, p.match_only(), writer(""), r)

    def raising(r: p.Registry) -> p.DRef:
        def make(build: p.Build) -> None:
            raise ValueError(build.dref)

        return p.mkdrv(p.mkconfig({"name": "b"}), p.match_only(), p.build_wrapper(make), r)

    with pytest.raises(p.PromiseException) as broken:
        p.realize(p.instantiate(promising))
    assert [refpath[1:] for _, refpath in broken.value.failed] == [["sub", "file"]]
    with pytest.raises(p.BuildError) as raised:
        p.realize(p.instantiate(raising))
    assert isinstance(raised.value.exception, ValueError)
    assert str(raised.value.exception) == raised.value.dref
    assert all(os.path.isdir(path) for path, _ in broken.value.failed)
    assert [os.path.isdir(path) for path in raised.value.outpaths] == [True]


def test_promise_of_a_bare_realizer() -> None:
    """A realizer that checks nothing itself is checked by plxnix, with the same exception."""
    plxnix.fsinit()

    def stage(r: p.Registry) -> p.DRef:
        def make(
            settings: p.StorageSettings | None,
            dref: p.DRef,
            context: p.Context,
            arguments: p.RealizeArg,
        ) -> list[p.Path]:
            del dref, context, arguments
            return [p.Path(p.mkdtemp(dir=p.fstmpdir(settings)))]

        config = p.mkconfig({"name": "a", "file": [p.selfref, "file"]})
        return p.mkdrv(config, p.match_only(), make, r)

    with pytest.raises(p.PromiseException) as broken:
        p.realize(p.instantiate(stage))
    assert [refpath[1:] for _, refpath in broken.value.failed] == [["file"]]


def test_native_stage_in_a_legacy_registry() -> None:
    """A stage of plxnix registers here, and a legacy stage depends on it."""
    plxnix.fsinit()

    def stages(r: p.Registry) -> p.DRef:
        below = plxnix.mkfile("note", "text", registry=r)
        r.store.add(r.derivations[below].config)

        def make(build: p.Build) -> None:
            text = Path(p.build_path(build, [p.DRef(below), "note"])).read_text()
            Path(p.build_outpath(build), "out").write_text(text * 2)

        config = p.mkconfig({"name": "a", "below": below})
        return p.mkdrv(config, p.match_only(), p.build_wrapper(make), r)

    rref = p.realize1(p.instantiate(stages))
    assert Path(p.rref2path(rref), "out").read_text() == "texttext"


def test_fetchurl_is_a_recipe() -> None:
    """A fetch of the layer is plxnix's, so it can be exported, and promises `out_path`."""
    plxnix.fsinit()
    digest = hashlib.sha256(b"data").hexdigest()
    with Server() as server:
        url = server.answer("/file", Answer(b"data"))
        closure = p.instantiate(p.fetchurl, url=url, sha256=digest, mode="as-is")
        rref = p.realize1(closure)
    (derivation,) = native_closure(closure[1]).derivations.values()
    assert isinstance(derivation.realizer, Fetch)
    assert Path(p.mklens(rref).out_path.syspath).read_bytes() == b"data"
    assert p.mklens(rref).sha256.val == digest


def test_dirhash_is_the_old_one(tmp_path: Path) -> None:
    """The hash of a folder with one file is that of the file; names do not count."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_bytes(b"data")
    (tmp_path / "folder" / "_b").write_bytes(b"more")
    expected = hashlib.sha256(b"data").hexdigest()
    assert p.dirhash(str(tmp_path / "folder")) == expected
    assert p.filehash(str(tmp_path / "folder" / "a")) == expected
