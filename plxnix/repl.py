"""Pausing a realization: look around in a Python shell, make artifacts by hand, go on or give up.

    repl_realize(instantiate(train))       # stands still before `train`
    build = repl_build()                   # what its realizer would have been called with
    my_train(build); my_test(build)        # as often as need be
    rref = repl_continueBuild(build)       # the folders become realizations, and it goes on

All functions take the `ReplHelper` that `repl_realize` returned as `helper`; without it they mean
the last pause of this process. While a realization is paused garbage collection leaves its stages
alone, and any stage can be realized, by this process too. A helper that is forgotten gives up by
itself; the end of the process always does.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from plxnix.errors import InvalidValue, RealizeError
from plxnix.model import Context, DRef, RRef
from plxnix.paused import ReplHelper
from plxnix.realize.build import Build, build_setoutpaths
from plxnix.realize.realizing import replace_references
from plxnix.realize.registry import Closure, RealizeArguments
from plxnix.realize.run import Observer
from plxnix.realize.work import Pause, named, prepare
from plxnix.store import Store

__all__ = [
    "ReplHelper",
    "repl_build",
    "repl_cancel",
    "repl_continue",
    "repl_continue1",
    "repl_continueBuild",
    "repl_continueMany",
    "repl_realize",
    "repl_result",
    "repl_rref",
    "repl_rrefs",
]

#: The helper that functions mean when they are given none: the last one made.
_latest: ReplHelper | None = None


def repl_realize(
    closure: Closure,
    force_interrupt: bool | Collection[DRef] = True,
    realize_args: Mapping[DRef, RealizeArguments] | None = None,
    *,
    interrupt_failed: bool = False,
    force_rebuild: bool | Collection[DRef] = False,
    assert_realized: Collection[DRef] = (),
    keep_failed: bool = False,
    observer: Observer | None = None,
    sandbox: str | None = None,
) -> ReplHelper:
    """Realize a closure, and stand still before the stages that `force_interrupt` names.

    True stands for the targets, False for none of them. It stands still there even if a
    realization exists. With `interrupt_failed` it also stands still where a realizer fails: `error`
    is the exception then, and `repl_build` gives the folders as the realizer left them. Further
    arguments are those of `realize`. The result of a realization without a pause is
    `repl_result(helper)`.

    Raises what `realize` raises.
    """
    global _latest
    work = prepare(
        closure, force_rebuild, assert_realized, realize_args, keep_failed, observer, sandbox
    )
    work.pauses = named(closure, force_interrupt, "force_interrupt")
    work.pauses_at_failures = interrupt_failed
    helper = ReplHelper(work)
    helper.previous = weakref.ref(_latest) if _latest is not None else None
    _latest = helper
    helper.advance()
    return helper


def repl_build(
    helper: ReplHelper | None = None,
    nouts: int | None = 1,
    constructor: Callable[[Store, DRef, Context, RealizeArguments], Build] = Build,
) -> Build:
    """Return a `Build` of the paused stage, with `nouts` output folders.

    At a failed stage the folders are those that the realizer left, if it left any. With None, call
    `build_setoutpaths`; a subclass of `Build` is given as `constructor`, as for `build_wrapper`.
    Folders that do not become realizations are removed when the realization goes on.
    """
    found, pause = _paused(helper)
    dref = pause.derivation.dref
    build = constructor(found.store, dref, pause.context, found.work.arguments.get(dref, {}))
    left = [folder for folder in pause.folders if folder.is_dir()]
    if left and not found.builds:
        build.outpaths = left
    elif nouts is not None:
        build_setoutpaths(build, nouts)
    found.builds.append(build)
    return build


def repl_continue(
    out_paths: Iterable[str | os.PathLike[str]] | None = None,
    out_rrefs: Iterable[RRef] | None = None,
    helper: ReplHelper | None = None,
) -> Any:
    """Go on from a pause; return the result as `realize` does, or None at the next pause.

    `out_paths` are folders that become realizations of the paused stage, `out_rrefs` are
    realizations that it has; either way its dependents use just these, whatever its matcher says.
    Without them the stage's realizer runs now.

    Raises `PromiseMissing` if a folder lacks what the config promises (the pause stays),
    `InvalidValue`, `RealizeError` if nothing is paused, and what realizers raise.
    """
    found, pause = _paused(helper)
    chosen: list[RRef] | None = None
    if out_paths is not None and out_rrefs is not None:
        raise InvalidValue("out_paths and out_rrefs are both given", "give one of them")
    if out_paths is not None:
        if isinstance(out_paths, (str, os.PathLike)):
            out_paths = [out_paths]
        folders = [Path(path) for path in out_paths]
        if not folders:
            raise InvalidValue("out_paths is empty", "give at least one folder, or no out_paths")
        chosen = list(dict.fromkeys(found.work.adopt(pause, folders, found.started)))
    elif out_rrefs is not None:
        chosen = _realizations(found, pause, out_rrefs)
    found.advance(chosen)
    return repl_result(found)


def repl_continueMany(  # noqa: N802 (Pylightnix's name)
    out_paths: Iterable[str | os.PathLike[str]] | None = None,
    out_rrefs: Iterable[RRef] | None = None,
    helper: ReplHelper | None = None,
) -> list[RRef] | None:
    """Do `repl_continue`; return what was selected for the only target, or None at a pause."""
    found, _ = _paused(helper)
    repl_continue(out_paths, out_rrefs, found)
    return repl_rrefs(found)


def repl_continue1(
    out_paths: Iterable[str | os.PathLike[str]] | None = None,
    out_rrefs: Iterable[RRef] | None = None,
    helper: ReplHelper | None = None,
) -> RRef | None:
    """Do `repl_continue`; return the only realization of the only target, or None at a pause."""
    found, _ = _paused(helper)
    repl_continue(out_paths, out_rrefs, found)
    return repl_rref(found)


def repl_continueBuild(  # noqa: N802 (Pylightnix's name)
    build: Build, helper: ReplHelper | None = None
) -> RRef | None:
    """Make realizations of the output folders of `build` and go on; see `repl_continue1`.

    Raises `InvalidValue` if `build` is of another stage than the paused one.
    """
    found, pause = _paused(helper)
    if build.dref != pause.derivation.dref:
        raise InvalidValue(
            f"the build is of {build.dref}, but the pause is at {pause.derivation.dref}",
            "take the build from repl_build()",
        )
    return repl_continue1(build.outpaths, helper=found)


def repl_result(helper: ReplHelper | None = None) -> Any:
    """Return the result of a realization as `realize` does, or None if it is not done."""
    found = _any(helper)
    return replace_references(found.work.closure.result, found.selected) if found.done else None


def repl_rrefs(helper: ReplHelper | None = None) -> list[RRef] | None:
    """Return what was selected for the only target, or None if the realization is not done."""
    found = _any(helper)
    return list(found.selected[found.work.closure.dref]) if found.done else None


def repl_rref(helper: ReplHelper | None = None) -> RRef | None:
    """Return the only realization of the only target, or None if the realization is not done.

    Raises `InvalidValue` if there are several.
    """
    rrefs = repl_rrefs(helper)
    if rrefs is not None and len(rrefs) != 1:
        raise InvalidValue(f"{len(rrefs)} realizations were selected, not one", "use repl_rrefs")
    return rrefs[0] if rrefs else None


def repl_cancel(helper: ReplHelper | None = None) -> None:
    """Give up a paused realization: its folders are removed, what was realized before stays.

    Raises `RealizeError` if nothing is paused.
    """
    found, _ = _paused(helper)
    found.cancel()


def _any(helper: ReplHelper | None) -> ReplHelper:
    found = helper or _latest
    if found is None:
        raise RealizeError("nothing has been realized by repl_realize yet", "call it first")
    return found


def _paused(helper: ReplHelper | None) -> tuple[ReplHelper, Pause]:
    """Return the helper meant (without one, the last that is paused) and its pause."""
    found = helper or _latest
    while helper is None and found is not None and found.pause is None:
        found = found.previous() if found.previous is not None else None
    if found is None or found.pause is None:
        raise RealizeError(
            f"{'this realization is not' if found else 'no realization is'} paused",
            "repl_realize(instantiate(stage)) pauses before a stage",
        )
    return found, found.pause


def _realizations(helper: ReplHelper, pause: Pause, rrefs: Iterable[RRef]) -> list[RRef]:
    """Check that these are realizations of the paused stage in its context."""
    dref = pause.derivation.dref
    known = helper.store.realizations(dref, pause.context)
    chosen = [RRef(rrefs)] if isinstance(rrefs, str) else list(rrefs)
    for rref in chosen:
        if rref not in known:
            raise InvalidValue(
                f"{rref!r} is no realization of {dref} from the dependencies selected here",
                f"there are {', '.join(known) or 'none'}",
            )
    if not chosen:
        raise InvalidValue("out_rrefs is empty", "give at least one, or no out_rrefs")
    return chosen
