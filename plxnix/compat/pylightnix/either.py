"""Either stages of Pylightnix; see `plxnix.either` for ours."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from plxnix import either as native
from plxnix.compat.pylightnix.contexts import context_deref
from plxnix.compat.pylightnix.derivations import mkdrv, output_validate
from plxnix.compat.pylightnix.errors import check, door
from plxnix.compat.pylightnix.realizing import realize1, realizeMany
from plxnix.compat.pylightnix.storage import fstmpdir, store_of
from plxnix.compat.pylightnix.types import (
    Closure,
    Config,
    Context,
    DRef,
    Matcher,
    MatcherO,
    Output,
    Path,
    RealizeArg,
    Realizer,
    RealizerO,
    Registry,
    RRef,
    StorageSettings,
)

_REF = TypeVar("_REF")

ExceptionText = str


class Either(Generic[_REF]):
    """A success, `right`, or a failure, `left`: what stands for it, and the text of the error."""

    def __init__(
        self,
        right: Output[_REF] | None = None,
        left: tuple[list[_REF], ExceptionText] | None = None,
    ) -> None:
        check(right is not None or left is not None, "neither right nor left is given")
        self.right = right
        self.left = left


def mkright(o: Output[_REF]) -> Either[_REF]:
    """Make a success."""
    return Either(o, None)


@door()
def mkleft(paths: list[Path], exc: ExceptionText) -> Either[Path]:
    """Make a failure, writing the error into each folder."""
    if paths:
        native.mkleft(paths, exc)
    return Either(None, (paths, exc))


def either_paths(e: Either[_REF]) -> list[_REF]:
    """Return the folders or realizations."""
    if e.right is not None:
        return e.right.val
    return _left(e)


def either_isRight(e: Either[_REF]) -> bool:
    """Tell whether this is a success."""
    return e.right is not None


def either_isLeft(e: Either[_REF]) -> bool:
    """Tell whether this is a failure."""
    return e.left is not None


def either_status(e: Either[_REF]) -> ExceptionText | None:
    """Return the text of the error, or None."""
    return e.left[1] if e.left is not None else None


@door()
def either_loadR(rrefs: list[RRef], S: StorageSettings | None) -> Either[RRef]:
    """Return realizations as a success, or as a failure if any of them is one."""
    found = native.either_loadR(rrefs, store_of(S))
    if isinstance(found, native.Left):
        return Either(None, (list(rrefs), found.status))
    return Either(Output(rrefs), None)


def either_validate(dref: DRef, e: Either[Path], S: StorageSettings | None = None) -> list[Path]:
    """Return the folders; those of a success are checked for what was promised."""
    return output_validate(dref, e.right, S) if e.right is not None else _left(e)


def either_realizer(
    f: Callable[[StorageSettings | None, DRef, Context, RealizeArg], Output[Path]],
) -> Realizer:
    """Return a realizer that turns exceptions and failed direct dependencies into failures."""

    def attempt(
        S: StorageSettings | None, dref: DRef, ctx: Context, ra: RealizeArg
    ) -> Either[Path]:
        for below in store_of(S).config(dref).dependencies:
            error = either_status(either_loadR(context_deref(ctx, DRef(below)), S))
            if error is not None:
                return mkleft([_folder(S)], error)
        try:
            return mkright(f(S, dref, ctx, ra))
        except Exception:  # noqa: BLE001 (whatever it raises is the result)
            return mkleft([_folder(S)], traceback.format_exc())

    def realize(S: StorageSettings | None, dref: DRef, ctx: Context, ra: RealizeArg) -> list[Path]:
        return either_validate(dref, attempt(S, dref, ctx, ra), S)

    return realize


def either_matcher(m: MatcherO) -> Matcher:
    """Return a matcher that asks `m` about successes; if there is a failure, all are selected."""

    def ask(S: StorageSettings | None, rrefs: list[RRef]) -> list[RRef] | None:
        either = either_loadR(rrefs, S)
        if either.right is None:
            return _left(either)
        chosen = m(S, either.right)
        return chosen.val if chosen is not None else None

    return ask


def mkdrvE(
    config: Config, matcher: MatcherO, realizer: RealizerO, m: Registry | None = None
) -> DRef:
    """Register a derivation whose failure is a result."""
    return mkdrv(config, either_matcher(matcher), either_realizer(realizer), m)


def realizeE(
    closure: Closure,
    force_rebuild: list[DRef] | bool = [],
    assert_realized: list[DRef] = [],
    realize_args: dict[DRef, RealizeArg] = {},
) -> Either[RRef]:
    """Realize a closure of one target with one realization, as a success or failure."""
    rref = realize1(closure, force_rebuild, assert_realized, realize_args)
    return either_loadR([rref], _settings(closure))


def realizeManyE(
    arg: Closure | tuple[Any, Closure],
    force_rebuild: list[DRef] | bool = [],
    assert_realized: list[DRef] = [],
    realize_args: dict[DRef, RealizeArg] = {},
) -> Either[RRef]:
    """Realize a closure of one target, as a success or failure."""
    rrefs = realizeMany(arg, force_rebuild, assert_realized, realize_args)
    return either_loadR(rrefs, _settings(arg))


def _settings(arg: Closure | tuple[Any, Closure]) -> StorageSettings | None:
    closure = arg if isinstance(arg, Closure) else arg[1]
    return closure.S


def _left(e: Either[_REF]) -> list[_REF]:
    check(e.left is not None and len(e.left[0]) > 0, "a failure with nothing that stands for it")
    return e.left[0] if e.left is not None else []


def _folder(S: StorageSettings | None) -> Path:
    from tempfile import mkdtemp

    return Path(mkdtemp(prefix="either_tmp", dir=fstmpdir(S)))
