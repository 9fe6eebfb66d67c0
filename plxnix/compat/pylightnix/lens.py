"""Lenses of Pylightnix: those of plxnix, with its arguments and answers."""

from __future__ import annotations

from pathlib import Path as _Path
from typing import Any, NamedTuple

from plxnix import lens as native
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.questions import rrefctx
from plxnix.compat.pylightnix.storage import store_of, tlstorage
from plxnix.compat.pylightnix.types import (
    Build,
    Closure,
    Context,
    DRef,
    Path,
    RefPath,
    Registry,
    RRef,
    StorageSettings,
)
from plxnix.errors import LensError
from plxnix.model import DRef as _DRef
from plxnix.model import RRef as _RRef
from plxnix.model import isdref, isrefpath, isrref
from plxnix.places import Place
from plxnix.realize.build import Build as _Build


class LensContext(NamedTuple):
    """How a lens resolves references: by a context, in a store; and promises, by a folder."""

    S: StorageSettings | None
    build_path: Path | None
    context: Context | None
    closure: Closure | None


class Lens:
    """A view into configs, references and files; `mklens` makes it.

    Attributes lead further in; `val` and the other properties end the way.
    """

    def __init__(
        self, ctx: LensContext, start: Any, steps: list[str], own: str | None = None
    ) -> None:
        self._ctx = ctx
        self._own = own
        self._start = start
        self._steps = steps

    @door()
    def _native(self) -> native.Lens:
        found = _mknative(self._start, self._ctx, self._own)
        for step in self._steps:
            found = found.get(step)
        return found

    def __getattr__(self, key: str) -> Lens:
        if key.startswith("__") and key.endswith("__"):
            raise AttributeError(key)
        return self.get(key)

    def get(self, key: str) -> Lens:
        """Return the lens one step further in."""
        further = Lens(self._ctx, self._start, [*self._steps, key], self._own)
        further._native()
        return further

    @property
    def optval(self) -> Any:
        """The value as it is."""
        return traverse(self, "optval")

    @property
    def val(self) -> Any:
        """The value as it is, unless it is None; it can be set below a dict."""
        value = traverse(self, "val")
        check(value is not None, f"{lens_repr(self, 'val')} is None", "use optval", LensError)
        return value

    @val.setter
    def val(self, v: Any) -> None:
        mutate(self, v, lens_repr(self, "val"))

    @property
    @door()
    def refpath(self) -> RefPath:
        """The value, if it is a refpath."""
        return list(self._native().refpath)

    @property
    @door()
    def dref(self) -> DRef:
        """The derivation that the value refers to."""
        return DRef(self._native().dref)

    @property
    def syspath(self) -> Path:
        """The path that the value stands for."""
        return val2path(traverse(self, "syspath"), self._ctx, self)

    @property
    def contents(self) -> str:
        """The text of the file that the value stands for."""
        path = self.syspath
        try:
            return _Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            refuse(f"cannot read {path}: {error}", "is it a text file?", LensError)

    @property
    @door()
    def rref(self) -> RRef:
        """The realization that the value refers to."""
        return RRef(self._native().rref)

    @property
    def closure(self) -> Closure:
        """The closure of the derivation that the value refers to."""
        dref = traverse(self, "closure")
        check(isdref(dref), f"{lens_repr(self, 'closure')} is {dref!r}", kind=LensError)
        closure = self._ctx.closure
        if closure is None:
            refuse("the lens knows no closure", "start with mklens(closure)", LensError)
        return Closure(dref, [dref], closure.derivations, self._ctx.S)


@door()
def mklens(
    x: Any,
    o: Path | None = None,
    b: Build | None = None,
    rref: RRef | None = None,
    ctx: Context | None = None,
    closure: Closure | None = None,
    build_output_idx: int = 0,
    S: StorageSettings | None = None,
    r: Registry | None = None,
) -> Lens:
    """Make a lens on a reference, a refpath, a build, a closure or a dict.

    `b`, `rref` and `ctx` say how references are resolved, `o` and `build_output_idx` where promises
    are found.
    """
    build = b if b is not None else x if isinstance(x, Build) else None
    for holder in (build, closure, x if isinstance(x, Closure) else None, r):
        if S is None and holder is not None:
            S = holder.S
    if ctx is None and build is not None:
        ctx = build.context
    if ctx is None and rref is not None:
        ctx = rrefctx(rref, S)
    if ctx is None and isrref(x):
        ctx = {**rrefctx(RRef(x), S), DRef(RRef(x).dref): [RRef(x)]}
    if o is None and build is not None and build.outpaths is not None:
        o = build.outpaths.val[build_output_idx]
    if closure is None and isinstance(x, Closure):
        closure = x
    own = build.dref if build is not None else None
    return Lens(LensContext(S, o, ctx, closure), x, [], own)


def lens_repr(l: Lens, accessor: str) -> str:
    """Write a lens as it was made."""
    return f"mklens(x).{'.'.join([*map(str, l._steps), accessor])}"


def traverse(l: Lens, hint: str) -> Any:
    """Return the value at which a lens points."""
    del hint
    if not l._steps:
        return l._start
    value = l._native().optval
    if isinstance(value, list) and isrefpath(value):
        return list(value)
    if isinstance(value, str) and isdref(value):
        return DRef(value)
    return value


@door()
def mutate(l: Lens, v: Any, hint: str) -> None:
    """Set the value at which a lens points, if it started from a dict."""
    del hint
    l._native().val = v


def val2dict(v: Any, ctx: LensContext) -> dict[str, Any] | None:
    """Return the fields of a value, or None if it has none."""
    with door():
        lens = _mknative(v, ctx)
        try:
            fields, _ = lens._fields(lens._walk())
        except LensError:
            if isrefpath(v):
                raise
            return None
        return {key: value for key, value in fields.items() if isinstance(key, str)}


@door()
def val2rref(v: Any, ctx: LensContext) -> RRef:
    """Return the realization that a value refers to."""
    return RRef(_mknative(v, ctx).rref)


@door()
def val2path(v: Any, ctx: LensContext, lens: Lens | None = None) -> Path:
    """Return the path that a value stands for."""
    found = _mknative(v, ctx) if lens is None else lens._native()
    if isinstance(v, Build) and ctx.build_path is None:
        refuse(f"the output folders of {v.dref} are not made yet", kind=LensError)
    return Path(ctx.build_path if isinstance(v, Build) else found.syspath)


def _mknative(start: Any, ctx: LensContext, own: str | None = None) -> native.Lens:
    """Return a lens of plxnix at the beginning of the way; `own` is the derivation being built."""
    store = store_of(ctx.S) if tlstorage(ctx.S) is not None or _refers(start) else None
    root = _Path(ctx.build_path) if ctx.build_path is not None else None
    if isinstance(start, Closure):
        check(len(start.targets) == 1, "the closure has several targets", kind=LensError)
        start = start.targets[0]
    if isinstance(start, Build):
        build = _Build.__new__(_Build)
        build.__dict__.update(start.__dict__)
        build.outpaths = [root] if root is not None else []
        start = build
    context = None
    if ctx.context is not None:
        context = {_DRef(dref): tuple(rrefs or ()) for dref, rrefs in ctx.context.items()}
    if own is None and root is not None and isrefpath(start) and start[0] not in (context or ()):
        own = start[0]
    if isinstance(start, str) and isrref(start):
        start = _RRef(start)
    place = Place(start, context, _DRef(own) if own is not None else None, root)
    return native.Lens(store, place, (), None)


def _refers(value: Any) -> bool:
    return isinstance(value, (str, list, Build, Closure))


__all__ = [
    "Lens",
    "LensContext",
    "lens_repr",
    "mklens",
    "mutate",
    "traverse",
    "val2dict",
    "val2path",
    "val2rref",
]
