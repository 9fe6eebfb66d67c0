"""Functions as stages, in Pylightnix's way: dependencies arrive with their configs unrolled."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

from plxnix.compat.pylightnix.build import build_wrapper
from plxnix.compat.pylightnix.contexts import context_deref, context_derefpath
from plxnix.compat.pylightnix.derivations import Targets, mkdrv, unpack_closure_arg_
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.hashing import pyobjhash
from plxnix.compat.pylightnix.matching import match_latest
from plxnix.compat.pylightnix.names import mkconfig
from plxnix.compat.pylightnix.questions import drefcfg
from plxnix.compat.pylightnix.realizing import realize
from plxnix.compat.pylightnix.types import (
    Build,
    Context,
    DRef,
    Matcher,
    Path,
    PylightnixException,
    Registry,
    StageResult,
    StorageSettings,
)
from plxnix.compat.pylightnix.values import isdref, isrefpath, isselfpath, traverse_dict


class Attrs:
    """A realization: the fields of its config are attributes, `_rref` is its reference."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def unroll(
    ctx: Context,
    dref: DRef,
    b: Build | None,
    rindex: int,
    max_depth: int | None = None,
    always_multiref: bool = False,
    S: StorageSettings | None = None,
) -> Attrs:
    """Return the config of a derivation as attributes: dependencies unrolled, refpaths as paths.

    Below `max_depth` dependencies are references. `b` gives the output folders of a derivation
    that is being realized; `rindex` says which of them, or which realization, is meant.
    """

    def visit(_: Any, value: Any) -> Any:
        if isdref(value):
            return _dependency(ctx, DRef(value), max_depth, always_multiref, S)
        if isselfpath(value):
            refuse(f"{dref} has the promise {value} unresolved")
        if not isrefpath(value):
            return value
        if value[0] != dref:
            return list(context_derefpath(ctx, value, S))
        if dref in ctx:
            return context_derefpath(ctx, value, S)[rindex]
        if b is None or b.outpaths is None:
            refuse(f"{dref} has no output folders yet")
        return Path(os.path.join(b.outpaths.val[rindex], *value[1:]))

    config = drefcfg(dref, S)
    traverse_dict(config.val, visit)
    attrs = Attrs()
    attrs.__dict__.update(config.val)
    return attrs


def _dependency(
    ctx: Context,
    dref: DRef,
    max_depth: int | None,
    always_multiref: bool,
    S: StorageSettings | None,
) -> Any:
    rrefs = context_deref(ctx, dref)
    found: list[Any] = list(rrefs)
    if max_depth is None or max_depth > 0:
        deeper = None if max_depth is None else max_depth - 1
        found = []
        for index, rref in enumerate(rrefs):
            attrs = unroll(ctx, dref, None, index, deeper, always_multiref, S)
            attrs.__dict__["_rref"] = rref
            found.append(attrs)
    return found[0] if len(found) == 1 and not always_multiref else found


def unrollR(
    sr: StageResult,
    ctx: Context,
    max_depth: int | None = None,
    always_multiref: bool = False,
    S: StorageSettings | None = None,
) -> Any:
    """Return what a stage returned, with its references unrolled."""

    def visit(_: Any, value: Any) -> Any:
        if not isdref(value):
            return value
        depth = None if max_depth is None else max_depth + 1
        return _dependency(ctx, DRef(value), depth, always_multiref, S)

    holder = {0: deepcopy(sr)}
    traverse_dict(holder, visit)
    return holder[0]


def realizeU(
    arg: Targets,
    *args: Any,
    max_depth: int | None = None,
    always_multiref: bool = False,
    **kwargs: Any,
) -> Any:
    """Realize a closure and return its result unrolled."""
    result, closure = unpack_closure_arg_(arg)
    found, _, context = realize((result, closure), *args, **kwargs)
    return unrollR(found, context, max_depth, always_multiref, closure.S)


@door()
def autodrv_(
    *,
    nouts: int = 1,
    matcher: Matcher | None = None,
    always_multiref: bool = False,
    sourcedeps: Sequence[Any] = (),
    r: Registry | None = None,
    **kwargs: Any,
) -> Callable[[Callable[..., object]], DRef]:
    """Return a decorator that registers a derivation, whose realizer is the function.

    The function gets the build, and for each output the arguments as an object.
    """
    selecting = match_latest(nouts) if matcher is None else matcher

    @door()
    def decorate(f: Callable[..., object]) -> DRef:
        config = {k: v(r=r) if callable(v) else v for k, v in kwargs.items() if k != "r"}
        config["__source__"] = pyobjhash([f, *sourcedeps])

        def make(b: Build) -> None:
            given = []
            for index in range(len(b.outpaths.val if b.outpaths else ())):
                attrs = unroll(b.context, b.dref, b, index, None, always_multiref, b.S)
                del attrs.__dict__["__source__"]
                if nouts > 1 or always_multiref:
                    attrs.__dict__["rindex"] = index
                given.append(attrs)
            f(b, given)

        return mkdrv(mkconfig(config), selecting, build_wrapper(make, nouts), r)

    return decorate


def autodrv(
    *args: Any, sourcedeps: Sequence[Any] = (), **kwargs: Any
) -> Callable[[Callable[..., object]], DRef]:
    """Return a decorator that registers a derivation: the function is called for each output."""

    def decorate(f: Callable[..., object]) -> DRef:
        def each(build: Build, given: list[Attrs]) -> None:
            for one in given:
                f(build=build, **one.__dict__)

        return autodrv_(*args, sourcedeps=[f, *sourcedeps], **kwargs)(each)

    return decorate


def wrapsig(
    f: Callable[..., object], extargs: dict[str, Any]
) -> tuple[dict[str, Any], Callable[[Build, dict[str, Any]], object]]:
    """Return a function's defaults with `extargs`, and the function as one of a build and a dict.

    Raises `PylightnixException` for an argument that is given twice.
    """
    parameters = inspect.signature(f).parameters
    args = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    twice = sorted(args.keys() & extargs.keys())
    if twice:
        raise PylightnixException(f"given twice: {', '.join(twice)}")
    args.update(extargs)

    def call(build: Build, given: dict[str, Any]) -> object:
        passed = {name: value for name, value in given.items() if name in parameters}
        if "build" in parameters:
            passed["build"] = build
        if "rindex" in parameters:
            check("rindex" in given, f"{f!r} wants rindex", "give nouts= to the decorator")
            passed["rindex"] = given["rindex"]
        return f(**passed)

    return args, call


def autostage_(
    f: Callable[..., object] | None = None,
    *,
    nouts: int = 1,
    matcher: Matcher | None = None,
    always_multiref: bool = False,
    sourcedeps: Sequence[Any] = (),
    r: Registry | None = None,
    **decokw: Any,
) -> Any:
    """Make a stage of a function of a build and the arguments for each output."""
    own = r

    def decorate(f: Callable[..., object]) -> Callable[..., DRef]:
        def stage(r: Registry | None = None, **stagekw: Any) -> DRef:
            def each(build: Build, given: list[Attrs]) -> None:
                f(build, given)

            return autodrv_(
                sourcedeps=[f, *sourcedeps],
                nouts=nouts,
                matcher=matcher,
                always_multiref=always_multiref,
                r=r or own,
                **{**decokw, **stagekw},
            )(each)

        return stage

    return decorate if f is None else decorate(f)


def autostage(
    fn: Callable[..., object] | None = None,
    *,
    sourcedeps: Sequence[Any] = (),
    r: Registry | None = None,
    **kwargs: Any,
) -> Any:
    """Make a stage of a function: arguments of the decorator and defaults are its config.

    Promises arrive as paths, references as `Attrs` or lists of them, `build` and `rindex` if the
    function has them, other values as they are. A function in place of a value is called with the
    registry, and stands for the reference that it returns.
    """

    def decorate(f: Callable[..., object]) -> Callable[..., DRef]:
        config, call = wrapsig(f, kwargs)

        def each(build: Build, given: list[Attrs]) -> None:
            for one in given:
                call(build, one.__dict__)

        stage: Callable[..., DRef] = autostage_(each, sourcedeps=[f, *sourcedeps], r=r, **config)
        return stage

    return decorate if fn is None else decorate(fn)


__all__ = [
    "Attrs",
    "autodrv",
    "autodrv_",
    "autostage",
    "autostage_",
    "realizeU",
    "unroll",
    "unrollR",
    "wrapsig",
]
