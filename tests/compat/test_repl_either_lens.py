"""Pauses, failures as results, and lenses, as Pylightnix has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path as _Path
from typing import Any

import pytest

from plxnix.compat.pylightnix import repl
from plxnix.compat.pylightnix.build import (
    build_outpath,
    build_wrapper,
    repl_build,
    repl_cancelBuild,
    repl_continueBuild,
)
from plxnix.compat.pylightnix.core import (
    allrrefs,
    instantiate,
    mkdrv,
    output_validate,
    realize,
    realize1,
    realizeMany,
    rref2path,
    rrefctx,
)
from plxnix.compat.pylightnix.either import (
    Either,
    either_isLeft,
    either_isRight,
    either_loadR,
    either_paths,
    either_realizer,
    either_status,
    mkdrvE,
    mkleft,
    mkright,
    realizeE,
    realizeManyE,
)
from plxnix.compat.pylightnix.lens import lens_repr, mklens, val2dict, val2path, val2rref
from plxnix.compat.pylightnix.matching import match_only
from plxnix.compat.pylightnix.names import mkconfig
from plxnix.compat.pylightnix.storage import fsinit, fstmpdir, mkSS
from plxnix.compat.pylightnix.types import (
    Build,
    Closure,
    Context,
    DRef,
    Output,
    Path,
    Registry,
    RRef,
    StorageSettings,
)
from plxnix.compat.pylightnix.utils import selfref
from plxnix.errors import LensError, PlxnixError


@pytest.fixture
def settings(tmp_path: _Path) -> Iterator[StorageSettings]:
    """Return settings of a new store; no pause outlives the test."""
    found = mkSS(str(tmp_path / "legacy"))
    fsinit(found, use_as_default=False)
    yield found
    repl.PYLIGHTNIX_REPL_HELPER = None


def stage(r: Registry, name: str, text: str = "made", **fields: Any) -> DRef:
    """Register a stage that writes a promised file."""

    def make(b: Build) -> None:
        _Path(build_outpath(b), "out").write_text(text)

    config = mkconfig({"name": name, "out": [selfref, "out"], **fields})
    return mkdrv(config, match_only(), build_wrapper(make), r)


def pair(r: Registry) -> DRef:
    """Register two stages, and return the upper one."""
    return stage(r, "above", below=stage(r, "below", deep={"x": 33}))


class TestRepl:
    """Pausing."""

    def test_build_by_hand(self, settings: StorageSettings) -> None:
        """A pause before the target; what is made by hand goes on, promised or not."""
        rh = repl.repl_realize(instantiate(pair, S=settings))
        assert (repl.repl_rref(rh), repl.repl_result(rh)) == (None, None)
        b = repl_build()
        assert b.dref == rh.dref
        _Path(build_outpath(b), "other").write_text("hand")
        rref = repl_continueBuild(b)
        assert isinstance(rref, RRef)
        assert os.listdir(rref2path(rref, settings)) == ["other"]
        assert rh.gen is None
        assert repl.repl_rref(rh) == rref
        assert repl.repl_result(rh) == [rref]

    def test_step_by_step(self, settings: StorageSettings) -> None:
        """Each pause has a context; in the end it is that of `realize`."""

        def both(r: Registry) -> dict[str, DRef]:
            above = pair(r)
            return {"above": above, "below": next(iter(r.builders))}

        arg = instantiate(both, S=settings)
        rh = repl.repl_realize(arg, force_interrupt=True)
        assert (rh.dref, rh.context) == (arg[0]["below"], {})
        result, context = repl.repl_continue()
        assert (result, rh.dref) == (arg[0], arg[0]["above"])
        assert [*context] == [arg[0]["below"]]
        result, context = repl.repl_continue(rh=rh)
        assert context == realize(arg)[2]
        assert repl.repl_result(rh) == {key: context[dref] for key, dref in result.items()}

    def test_dependents_use_it(self, settings: StorageSettings) -> None:
        """What is handed over in the middle is what dependents are made from."""
        target, closure = instantiate(pair, S=settings)
        below = closure.derivations[0].dref
        rh = repl.repl_realize((target, closure), force_interrupt=[below])
        b = repl_build(rh)
        _Path(build_outpath(b), "out").write_text("777")
        assert b.outpaths is not None
        rref = repl.repl_continue1(output_validate(b.dref, b.outpaths, settings), rh=rh)
        assert rref is not None
        (used,) = rrefctx(rref, settings)[below] or []
        assert _Path(rref2path(used, settings), "out").read_text() == "777"

    def test_given_realizations(self, settings: StorageSettings) -> None:
        """A realization that exists can be chosen, also one made meanwhile."""
        arg = instantiate(pair, S=settings)
        repl.repl_realize(arg)
        rrefs = realizeMany(arg)
        assert repl.repl_continueMany(out_rrefs=rrefs) == rrefs

    def test_cancel(self, settings: StorageSettings) -> None:
        """Cancelled is cancelled; folders go, and what was realized stays."""
        rh = repl.repl_realize(instantiate(pair, S=settings))
        b = repl_build(rh)
        folder = build_outpath(b)
        repl_cancelBuild(b)
        assert rh.gen is None
        assert not os.path.exists(folder)
        assert len(list(allrrefs(settings))) == 1
        for act in (repl.repl_continue, repl.repl_cancel, repl_build):
            with pytest.raises(AssertionError, match="not paused"):
                act(rh=rh)

    def test_refused(self, settings: StorageSettings) -> None:
        """What was guarded by assert is an error of plxnix that is an AssertionError too."""
        arg = instantiate(pair, S=settings)
        with pytest.raises(AssertionError, match="33"):
            repl.repl_realize(arg, force_interrupt=33)  # type: ignore[arg-type]
        with pytest.raises(AssertionError) as caught:
            repl.repl_continue()
        assert isinstance(caught.value, PlxnixError)
        repl.repl_realize(arg)
        with pytest.raises(AssertionError, match="both"):
            repl.repl_continue([], [])
        with pytest.raises(AssertionError, match="nothing"):
            repl.repl_continue(out_paths=[])
        with pytest.raises(AssertionError, match="nothing"):
            repl.repl_continue(out_rrefs=[])
        repl.repl_cancel()

    def test_a_realizer_raises(self, settings: StorageSettings) -> None:
        """What a realizer raises comes out, and the session is over."""

        def bad(r: Registry) -> DRef:
            def make(b: Build) -> None:
                raise ValueError(f"not {b.dref}")

            return mkdrv(mkconfig({"name": "bad"}), match_only(), build_wrapper(make), r)

        rh = repl.repl_realize(instantiate(bad, S=settings))
        with pytest.raises(Exception, match="not dref:"):
            repl.repl_continue()
        assert rh.gen is None


def trial(r: Registry, name: str, *, fails: bool, **fields: Any) -> DRef:
    """Register a stage whose failure is a result."""

    def make(S: Any, dref: DRef, ctx: Context, ra: Any) -> Output[Path]:  # noqa: N803
        from tempfile import mkdtemp

        if fails:
            raise ValueError(f"{name} failed")
        folder = mkdtemp(dir=fstmpdir(S))
        _Path(folder, "out").write_text(f"{dref} {len(ctx)} {ra}")
        return Output([Path(folder)])

    def select(S: Any, o: Output[RRef]) -> Output[RRef] | None:  # noqa: N803
        del S
        return Output(o.val[:1]) if o.val else None

    return mkdrvE(mkconfig({"name": name, "out": [selfref, "out"], **fields}), select, make, r)


class TestEither:
    """Failure as a result."""

    @pytest.mark.parametrize("fails", [False, True])
    def test_inherited(self, settings: StorageSettings, fails: bool) -> None:
        """A stage above a failure fails with the same text, without running."""

        def above(r: Registry) -> DRef:
            return trial(r, "above", fails=False, below=trial(r, "below", fails=fails))

        arg = instantiate(above, S=settings)
        e = realizeManyE(arg)
        assert (either_isLeft(e), either_isRight(e)) == (fails, not fails)
        assert ("below failed" in str(either_status(e))) == fails
        (rref,) = either_paths(e)
        assert os.listdir(rref2path(rref, settings)) == ["either_status.txt" if fails else "out"]
        assert either_status(realizeE(arg[1])) == either_status(e)
        assert either_status(either_loadR([rref], settings)) == either_status(e)

    def test_values(self, tmp_path: _Path) -> None:
        """A failure is written into its folder, once; a success is not."""
        folder = Path(tmp_path)
        left = mkleft([folder], "why")
        assert (either_status(left), either_paths(left)) == ("why", [folder])
        assert (tmp_path / "either_status.txt").read_text() == "why"
        assert either_paths(mkright(Output([1, 2]))) == [1, 2]
        with pytest.raises(AssertionError):
            mkleft([folder], "again")
        with pytest.raises(AssertionError):
            Either()
        with pytest.raises(AssertionError):
            either_paths(mkleft([], "nothing"))

    def test_interrupt(self, settings: StorageSettings) -> None:
        """Ctrl-C is no result."""

        def interrupted(r: Registry) -> DRef:
            def interrupt(*_: Any) -> Output[Path]:
                raise KeyboardInterrupt

            return mkdrv(mkconfig({"name": "x"}), match_only(), either_realizer(interrupt), r)

        with pytest.raises(KeyboardInterrupt):
            realize1(instantiate(interrupted, S=settings))
        assert list(allrrefs(settings)) == []


class TestLens:
    """Lenses."""

    def test_realization(self, settings: StorageSettings) -> None:
        """Answers are strings, as all paths and references are."""
        target, closure = instantiate(pair, S=settings)
        rref = realize1((target, closure))
        lens = mklens(rref, S=settings)
        below = closure.derivations[0].dref
        assert (lens.rref, lens.dref, lens.below.dref, lens.below.val) == (
            rref,
            target,
            below,
            below,
        )
        assert lens.below.deep.x.val == 33
        assert isinstance(lens.below.out.syspath, str)
        assert lens.below.out.contents == "made"
        assert lens.below.out.refpath == [below, "out"]
        assert lens.below.rref == (rrefctx(rref, settings)[below] or [])[0]
        assert lens.syspath == rref2path(rref, settings)
        assert lens_repr(lens.below.deep, "val") == "mklens(x).below.deep.val"
        assert (val2dict(rref, lens._ctx) or {})["name"] == "above"
        assert val2dict(3, lens._ctx) is None
        assert val2rref(below, lens._ctx) == lens.below.rref
        assert val2path([below, "out"], lens._ctx) == lens.below.out.syspath

    def test_build(self, settings: StorageSettings) -> None:
        """In a realizer promises are below the output folder."""
        seen: list[Any] = []

        def top(r: Registry) -> DRef:
            def make(b: Build) -> None:
                lens = mklens(b)
                _Path(lens.out.syspath).write_text(lens.below.out.contents)
                seen.append((lens.syspath, lens.out.syspath, mklens([b.dref, "x"], b=b).syspath))
                assert mklens({"p": [b.dref, "x"]}, b=b).p.syspath == seen[0][2]

            config = {"name": "top", "below": stage(r, "below"), "out": [selfref, "out"]}
            return mkdrv(mkconfig(config), match_only(), build_wrapper(make), r)

        rref = realize1(instantiate(top, S=settings))
        assert mklens(rref, S=settings).out.contents == "made"
        ((folder, out, other),) = seen
        assert (out, other) == (f"{folder}/out", f"{folder}/x")

    def test_closures_and_derivations(self, settings: StorageSettings) -> None:
        """A closure leads to that of a dependency; a derivation knows no realization."""
        target, closure = instantiate(pair, S=settings)
        part = mklens(closure).below.closure
        assert isinstance(part, Closure)
        assert mklens(realize1(part), S=settings).deep.x.val == 33
        lens = mklens(target, S=settings)
        assert os.path.isdir(lens.syspath)
        for question in ("rref", "closure"):
            with pytest.raises(AssertionError):
                getattr(lens, question)
        with pytest.raises(AssertionError):
            _ = lens.below.out.syspath

    def test_dicts(self) -> None:
        """Fields that are there can be set, without any store."""
        d = {"foo": "a", "none": None, "deep": {"x": 1}}
        mklens(d).foo.val += "b"
        mklens(d).deep.x.val = 2
        assert d == {"foo": "ab", "none": None, "deep": {"x": 2}}
        assert mklens(d).none.optval is None
        with pytest.raises(AssertionError) as caught:
            mklens(d).new.val = 1
        assert isinstance(caught.value, LensError)
        for ask in (
            lambda: mklens(d).none.val,
            lambda: mklens(d).deep.x.syspath,
            lambda: mklens(d).foo.refpath,
            lambda: mklens(d).foo.get("x"),
            lambda: mklens(d).foo.contents,
        ):
            with pytest.raises(AssertionError):
                ask()
