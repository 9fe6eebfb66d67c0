"""Lenses: `mklens(x).data.out.syspath` looks through configs, references and files alike.

A lens is a start and a list of steps. It walks when it is asked for a value (`val`, `syspath`,
`contents`, ...), and it knows at each step from which realization it came, so that the path of a
dependency of a dependency is the one that was really used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from plxnix.attributes import NoSuchField
from plxnix.errors import LensError, PlxnixError
from plxnix.model import Context, DRef, RefPath, RRef, isdref, isrref
from plxnix.places import Place, Reader, is_place
from plxnix.realize.build import Build
from plxnix.realize.registry import Closure
from plxnix.store import Store, current_store


class Lens:
    """A view of something inside a config, a derivation, a realization, a build, or a JSON file.

    Attributes lead further in; `lens["name"]` and `get(name)` do the same for names that are taken,
    `lens[0]` leads to an item of a list, or to one of several realizations. Raises `LensError`
    where a step or an answer is impossible.
    """

    __slots__ = ("_closure", "_given", "_start", "_steps")

    def __init__(
        self,
        store: Store | None,
        start: Place,
        steps: tuple[str | int, ...],
        closure: Closure | None,
    ) -> None:
        self._given = store
        self._start = start
        self._steps = steps
        self._closure = closure

    @property
    def _reader(self) -> Reader:
        return Reader(self._given, repr(self))

    def __getattr__(self, name: str) -> Lens:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return self.get(name)

    def __getitem__(self, name: str | int) -> Lens:
        return self.get(name)

    def __iter__(self) -> Iterator[Lens]:
        """Iterate over the items of a list, or over several realizations."""
        fields = self._fields(self._walk())[0]
        return iter([self.get(key) for key in fields if isinstance(key, int)])

    def __dir__(self) -> list[str]:
        try:
            fields = map(str, self._fields(self._walk())[0])
        except PlxnixError:
            fields = map(str, ())
        return [*super().__dir__(), *fields]

    def get(self, name: str | int) -> Lens:
        """Return the lens one step further in; raise `LensError` if there is no such field."""
        further = Lens(self._given, self._start, (*self._steps, name), self._closure)
        further._walk()
        return further

    @property
    def optval(self) -> Any:
        """The value as it is, possibly None."""
        return self._walk().value

    @property
    def val(self) -> Any:
        """The value as it is; None is an error. Can be assigned to if the start is a dict."""
        value = self.optval
        if value is None:
            raise self._error("is None", "use optval if that is expected")
        return value

    @val.setter
    def val(self, value: Any) -> None:
        # The steps exist: `get` has seen to it.
        holder: Any = self._start.value
        for step in self._steps[:-1]:
            holder = holder[step] if _is_plain(holder) else None
        if not self._steps or not _is_plain(holder):
            raise self._error("cannot be assigned to", "only fields of plain dicts can")
        holder[self._steps[-1]] = value

    def resolve(self) -> Any:
        """Return the value with references as realizations and refpaths as paths, at any depth.

        Where several realizations were selected there is a list. Raises `LensError` if it is not
        known which are meant.
        """
        return self._reader.resolve(self._walk())

    @property
    def refpath(self) -> RefPath:
        """The value as a refpath."""
        value = self.val
        if not is_place(value):
            raise self._error(f"is {value!r}, no refpath", "a refpath is [dref, 'dir', 'file']")
        return RefPath(value)

    @property
    def dref(self) -> DRef:
        """The derivation that the value refers to, or is a realization or closure of."""
        value = self._reader.reference(self._walk()).value
        if isrref(value):
            return RRef(value).dref
        if isdref(value):
            return DRef(value)
        raise self._error(f"is {value!r}, no reference", "point the lens at a stage")

    @property
    def rref(self) -> RRef:
        """The realization that was selected for the reference at this place."""
        rrefs = self.rrefs
        if len(rrefs) != 1:
            raise self._error(f"stands for {len(rrefs)} realizations", "use rrefs")
        return rrefs[0]

    @property
    def rrefs(self) -> list[RRef]:
        """The realizations that were selected for the reference at this place."""
        place = self._reader.reference(self._walk())
        if isrref(place.value):
            return [RRef(place.value)]
        if not isdref(place.value):
            raise self._error(f"is {place.value!r}, no reference", "point the lens at a stage")
        return self._reader.selected(place, DRef(place.value))

    @property
    def syspath(self) -> Path:
        """The path on disk that a refpath, a promise, a reference or a build stands for."""
        paths = self.syspaths
        if len(paths) != 1:
            raise self._error(f"stands for {len(paths)} paths", "use syspaths")
        return paths[0]

    @property
    def syspaths(self) -> list[Path]:
        """The paths on disk, one for each selected realization."""
        return self._reader.paths(self._reader.reference(self._walk()))

    @property
    def contents(self) -> str:
        """The text of the file that `syspath` is."""
        path = self.syspath
        try:
            return path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise self._error(
                f"cannot be read from {path}: {error}", "is it a text file?"
            ) from None

    @property
    def closure(self) -> Closure:
        """The closure of the derivation at this place, if the lens started from a closure."""
        if self._closure is None:
            raise self._error("knows no closure", "start with mklens(instantiate(...))")
        return self._closure.part(self.dref)

    def _walk(self) -> Place:
        place = self._start
        for number, step in enumerate(self._steps):
            # Errors are to show how far the way led.
            here = Lens(self._given, self._start, self._steps[:number], self._closure)
            fields, place = here._fields(place)
            if step not in fields:
                raise NoSuchField(
                    f"{here!r} has no field {step!r}",
                    f"the fields are {', '.join(sorted(map(str, fields))) or 'none'}",
                )
            place = place._replace(value=fields[step])
        return place

    def _fields(self, place: Place) -> tuple[Mapping[Any, Any], Place]:
        """Return what can be stepped into from a place, and the place that holds for it."""
        reader = self._reader
        return reader.fields(reader.reference(place))

    def _error(self, said: str, hint: str) -> LensError:
        return self._reader.error(said, hint)

    def __repr__(self) -> str:
        return "mklens(...)" + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in self._steps
        )


def _is_plain(value: Any) -> bool:
    return isinstance(value, (dict, list))


def mklens(
    value: Any,
    build: Build | None = None,
    rref: str | None = None,
    context: Context | None = None,
    closure: Closure | None = None,
    output_index: int = 0,
    store: Store | None = None,
) -> Lens:
    """Make a lens on a reference, a refpath, a `Build`, a `Closure` or a dict.

    `build`, `rref` or `context` say how references are resolved where `value` itself does not;
    `output_index` chooses among the output folders of a build.

    In a realizer: `mklens(build).data.out.syspath`. On a result: `mklens(rref).rate.val`.
    """
    if closure is None and isinstance(value, Closure):
        closure = value
    builder = value if isinstance(value, Build) else build
    opened = store or (builder.store if builder else closure.store if closure else None)
    if context is None and builder is not None:
        context = builder.context
    if context is None and rref is not None:
        context = {
            RRef.parse(rref).dref: (RRef(rref),),
            **(opened or current_store()).record(rref).context,
        }
    root = own = None
    if builder is not None:
        own = builder.dref
        root = builder.outpaths[output_index] if builder.outpaths else None
    if isinstance(value, str) and isrref(value):
        value = RRef(value)
    return Lens(opened, Place(value, context, own, root), (), closure)
