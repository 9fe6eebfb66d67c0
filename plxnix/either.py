"""Either: failure as a result, so that one failed stage does not end an experiment.

    @either_stage
    @autostage(rate=0.1, out=[selfref, "model"])
    def train(rate, out): ...

A stage of this kind whose realizer raises gets a *left* realization, which holds the traceback and
nothing else; a success is *right*. Stages of this kind that depend on a left one become left
without running; ordinary stages run, and ask with `either_status` what became of their
dependencies.

    match realizeE(instantiate(train)):
        case Right(rrefs): ...
        case Left(_, error): print(error)
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from plxnix.attributes import Attrs
from plxnix.config import Config
from plxnix.errors import InvalidValue
from plxnix.model import Context, DRef, RRef
from plxnix.realize.matchers import latest
from plxnix.realize.realizing import realize1, realizeMany
from plxnix.realize.registry import (
    Closure,
    Derivation,
    Matcher,
    RealizeArguments,
    Realizer,
    Registry,
    mkconfig,
    mkdrv,
    runs_here,
    takes_registry,
)
from plxnix.realize.run import Artifact, current_run
from plxnix.redefinition import redefined
from plxnix.store import Store, current_store

T = TypeVar("T")

_HERE = os.path.join(os.path.dirname(__file__), "")

#: The file of a realization that says it is left, and why.
STATUS = "either_status.txt"

#: The field in configs of these stages: their realizations are not those of ordinary stages.
FIELD = "__either__"


@dataclass(frozen=True)
class Right(Generic[T]):
    """Success: what was made."""

    items: tuple[T, ...]


@dataclass(frozen=True)
class Left(Generic[T]):
    """Failure: what stands for it, and the text of the error."""

    items: tuple[T, ...]
    status: str


Either: TypeAlias = Right[T] | Left[T]


def mkright(items: Iterable[T]) -> Right[T]:
    """Make a success of folders or realizations."""
    return Right(tuple(items))


def mkleft(folders: Iterable[str | os.PathLike[str]], error: str) -> Left[Path]:
    """Make a failure of folders, writing the error into each; raise `InvalidValue` if one has it.

    The realizer of such a stage may return it to say that it failed.
    """
    paths = tuple(Path(folder) for folder in folders)
    if not paths:
        raise InvalidValue("a failure needs a folder to stand in", "give at least one")
    for path in paths:
        try:
            with open(path / STATUS, "x", encoding="utf-8", errors="backslashreplace") as file:
                file.write(error)
        except FileExistsError:
            raise InvalidValue(
                f"{path} has the file {STATUS} already", "that name is kept for failures"
            ) from None
    return Left(paths, error)


def either_paths(either: Either[T]) -> list[T]:
    """Return the folders or realizations of a success or failure."""
    return list(either.items)


def either_isRight(either: Any, store: Store | None = None) -> bool:  # noqa: N802
    """Tell whether this is a success; see `either_status` for what can be asked."""
    return either_status(either, store) is None


def either_isLeft(either: Any, store: Store | None = None) -> bool:  # noqa: N802
    """Tell whether this is a failure; see `either_status` for what can be asked."""
    return either_status(either, store) is not None


def either_status(either: Either[Any] | Attrs | str, store: Store | None = None) -> str | None:
    """Return the text of the error, or None for a success.

    `either` is a `Right` or `Left`, a realization, or a dependency as a stage gets it. Realizations
    of ordinary stages are successes. Raises `InvalidReference`, `NotInStore`. Cost: at most one
    small read.
    """
    if isinstance(either, Right):
        return None
    if isinstance(either, Left):
        return either.status
    rref = either._rref if isinstance(either, Attrs) else either
    opened = either._store if isinstance(either, Attrs) else current_store(store)
    try:
        return Path(opened.path(rref), STATUS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def either_loadR(  # noqa: N802 (Pylightnix's name)
    rrefs: Sequence[RRef], store: Store | None = None
) -> Either[RRef]:
    """Return realizations as a success, or as a failure if any of them is left."""
    errors = [error for rref in rrefs if (error := either_status(rref, store)) is not None]
    return Left(tuple(rrefs), "\n".join(errors)) if errors else Right(tuple(rrefs))


def either_realizer(
    realizer: Callable[[Store, DRef, Context, RealizeArguments], Any],
) -> Realizer:
    """Return a realizer that turns an exception of `realizer`, or a left dependency, into a left.

    `realizer` may also return a `Right` or `Left`. Interrupts pass through. A result that lacks
    what was promised is an error as ever.
    """

    def attempt(
        store: Store, dref: DRef, context: Context, arguments: RealizeArguments
    ) -> list[Any]:
        for rrefs in context.values():
            for rref in rrefs:
                error = either_status(rref, store)
                if error is not None:
                    return _left(store, dref, f"{dref} depends on {rref}, which failed:\n{error}")
        try:
            given = realizer(store, dref, context, arguments)
            if isinstance(given, Left):
                return [Artifact(path, failed=True) for path in given.items]
            if isinstance(given, Right):
                return list(given.items)
            return [given] if isinstance(given, (str, os.PathLike)) else list(given or ())
        except Exception as error:  # noqa: BLE001 (whatever it raises is the result)
            # Without the frames of plxnix on the way to the user's code: a result is no place for
            # where plxnix is on this machine.
            place = error.__traceback__
            while place is not None and place.tb_frame.f_code.co_filename.startswith(_HERE):
                place = place.tb_next
            return _left(store, dref, "".join(traceback.format_exception(None, error, place)))

    # A recipe asks what only the process that schedules knows.
    attempt.runs_here = runs_here(realizer)  # type: ignore[attr-defined]
    return attempt


def _left(store: Store, dref: DRef, error: str) -> list[Artifact]:
    folder = Path(store.session().folder(dref.name))
    run = current_run()
    if run is not None:
        run.folders.append(folder)
        run.log.write(error.encode(errors="replace"))
    return [Artifact(path, failed=True) for path in mkleft([folder], error).items]


@dataclass(frozen=True)
class EitherMatcher:
    """A matcher that asks another one about the successes, and falls back on the latest failure.

    So a failure is not tried again until it is forced, and a success is preferred from then on.
    """

    matcher: Matcher

    def __call__(self, store: Store, rrefs: list[RRef]) -> list[RRef] | None:
        """Select from `rrefs`."""
        failed = [rref for rref in rrefs if either_isLeft(rref, store)]
        chosen = self.matcher(store, [rref for rref in rrefs if rref not in failed])
        if chosen is not None or not failed:
            return chosen
        key = latest()
        return [max(sorted(failed), key=lambda rref: key(store, rref) or 0)]

    def __repr__(self) -> str:
        return f"either_matcher({self.matcher!r})"


def either_matcher(matcher: Matcher) -> Matcher:
    """Return a matcher that selects among successes by `matcher`, else the latest failure."""
    return EitherMatcher(matcher)


@takes_registry
def mkdrvE(  # noqa: N802 (Pylightnix's name)
    config: Config | Mapping[str, Any],
    matcher: Matcher,
    realizer: Realizer,
    registry: Registry | None = None,
) -> DRef:
    """Do what `mkdrv` does, for a stage whose failure is a result.

    The config gets the field `__either__`, so it is another derivation than the ordinary one.
    """
    del registry
    marked = {**mkconfig(config), FIELD: True}
    return mkdrv(marked, either_matcher(matcher), either_realizer(realizer))


def either_stage(stage: Any) -> Any:
    """Return `stage`, changed so that its failure is a result; it works on stages of all kinds.

    See the module. Recipes changed so are exported as pins.
    """

    def change(derivation: Derivation) -> Derivation:
        return replace(
            derivation,
            config=Config({**derivation.config, FIELD: True}),
            matcher=either_matcher(derivation.matcher),
            realizer=either_realizer(derivation.realizer),
        )

    return redefined(stage, change)


def realizeE(closure: Closure, *args: Any, **kwargs: Any) -> Either[RRef]:  # noqa: N802
    """Realize a closure with one target and one realization; return it as a success or failure.

    Further arguments are those of `realize`.
    """
    return either_loadR([realize1(closure, *args, **kwargs)], closure.store)


def realizeManyE(closure: Closure, *args: Any, **kwargs: Any) -> Either[RRef]:  # noqa: N802
    """Realize a closure with one target; return what was selected as a success or failure.

    Further arguments are those of `realize`.
    """
    return either_loadR(realizeMany(closure, *args, **kwargs), closure.store)
