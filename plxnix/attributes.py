"""Attributes: realizations as Python objects, the way stages receive their dependencies.

`data.out` is the path that the stage `data` promised as `out`, `data.rate` its parameter,
`data.source.url` a parameter of its own dependency. Nothing is read before it is asked for, so that
a deep graph costs only what is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plxnix.errors import LensError
from plxnix.model import Context, DRef, RRef, isdref, isrefpath
from plxnix.store import Store


class View:
    """How the values of one config are shown: references as attributes, refpaths as paths.

    `own` is the derivation itself and `root` the folder in which its promises are found. With
    `multiple` dependencies are lists even if only one realization is selected.
    """

    __slots__ = ("context", "multiple", "own", "root", "store")

    def __init__(
        self, store: Store, context: Context, own: DRef, root: Path, multiple: bool = False
    ) -> None:
        self.store = store
        self.context = context
        self.own = own
        self.root = root
        self.multiple = multiple

    def show(self, value: Any) -> Any:
        """Return `value` with references, refpaths and promises replaced, at any depth."""
        if isinstance(value, str):
            return self._dependency(DRef(value)) if isdref(value) else value
        if isrefpath(value):
            if value[0] == self.own:
                return self.root.joinpath(*value[1:])
            paths = [
                Path(self.store.path(rref), *value[1:]) for rref in self._selected(DRef(value[0]))
            ]
            return self._one_or_all(paths)
        if isinstance(value, list):
            if value and value[0] == self.own:
                return self.root
            return [self.show(item) for item in value]
        if isinstance(value, Mapping):
            return {key: self.show(item) for key, item in value.items()}
        return value

    def _dependency(self, dref: DRef) -> Any:
        return self._one_or_all(
            [Attrs(self.store, rref, self.multiple) for rref in self._selected(dref)]
        )

    def _selected(self, dref: DRef) -> tuple[RRef, ...]:
        return tuple(self.context[dref])

    def _one_or_all(self, found: list[Any]) -> Any:
        return found[0] if len(found) == 1 and not self.multiple else found


class Attrs:
    """A realization whose config's fields are attributes; `_rref` and `_path` are its own.

    Raises `LensError` (an `AttributeError` too) for a field that the config does not have.
    """

    __slots__ = ("_fields", "_multiple", "_rref", "_store")

    def __init__(self, store: Store, rref: RRef, multiple: bool = False) -> None:
        self._store = store
        self._rref = rref
        self._multiple = multiple
        self._fields: dict[str, Any] | None = None

    @property
    def _path(self) -> Path:
        return Path(self._store.path(self._rref))

    def _load(self) -> dict[str, Any]:
        if self._fields is None:
            self._fields = self._store.config(self._rref.dref).resolved()
        return self._fields

    def __getattr__(self, name: str) -> Any:
        if name in Attrs.__slots__ or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(name)  # Asked for while the object is copied or unpickled.
        fields = self._load()
        if name not in fields:
            raise NoSuchField(
                f"{self._rref} has no field {name!r}", f"its fields are {', '.join(sorted(fields))}"
            )
        context = self._store.record(self._rref).context
        view = View(self._store, context, self._rref.dref, self._path, self._multiple)
        return view.show(fields[name])

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._load()]

    def __repr__(self) -> str:
        return f"Attrs({self._rref})"


class NoSuchField(LensError, AttributeError):
    """A realization was asked for a field that its config does not have."""
