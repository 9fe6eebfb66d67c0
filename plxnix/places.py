"""Places that lenses get to: what can be entered there, and what stands there on the disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from plxnix.errors import LensError
from plxnix.model import Context, DRef, RefPath, RRef, isdref, isrefpath, isrref
from plxnix.realize.build import Build, build_outpaths
from plxnix.realize.registry import Closure
from plxnix.store import Store, current_store


class Place(NamedTuple):
    """Where a lens has got to: a value, and how references and promises in it are resolved."""

    value: Any
    context: Context | None = None
    own: DRef | None = None
    root: Path | None = None


def is_place(value: Any) -> bool:
    """Tell whether a value is a refpath, or `[dref]`: that names a whole realization."""
    return isrefpath(value) or (isinstance(value, list) and len(value) == 1 and isdref(value[0]))


class Reader:
    """Reads places in a store, which need not exist unless there are references.

    `said` is what errors call the lens.
    """

    __slots__ = ("given", "said")

    def __init__(self, given: Store | None, said: str) -> None:
        self.given = given
        self.said = said

    @property
    def _store(self) -> Store:
        return self.given or current_store()

    def resolve(self, place: Place) -> Any:
        """Return the value with references as realizations and refpaths as paths, at any depth."""
        value = place.value
        if isinstance(value, Closure):
            return self.resolve(place._replace(value=value.result))
        if isinstance(value, (Build, RefPath)) or isrefpath(value):
            paths = self.paths(place)
            return paths[0] if len(paths) == 1 else paths
        if isdref(value):
            rrefs = self.selected(place, DRef(value))
            return rrefs[0] if len(rrefs) == 1 else rrefs
        if isinstance(value, Mapping):
            return {key: self.resolve(place._replace(value=one)) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.resolve(place._replace(value=one)) for one in value]
        return value

    def reference(self, place: Place) -> Place:
        """Turn a closure into its reference, and a reference into its only realization if known."""
        value = place.value
        if isinstance(value, Closure):
            value = value.result
        if isdref(value) and place.context is not None:
            selected = place.context.get(DRef(value), ())
            if len(selected) == 1:
                value = selected[0]
        return place if value is place.value else place._replace(value=value)

    def fields(self, place: Place) -> tuple[Mapping[Any, Any], Place]:
        """Return what can be stepped into from a place, and the place that holds for it."""
        value = place.value
        if isinstance(value, Build):
            root = value.outpaths[0] if len(value.outpaths) == 1 else place.root
            return value.config.resolved(), Place(value, value.context, value.dref, root)
        if isrref(value):
            rref, root = RRef(value), Path(self._store.path(value))
            context = self._store.record(rref).context
            return self._store.config(rref.dref).resolved(), Place(value, context, rref.dref, root)
        if isdref(value):
            config = self._store.config(value).resolved()
            several = dict(enumerate((place.context or {}).get(DRef(value), ())))
            # Each of several was made from something of its own.
            further = None if several else place.context
            return {**config, **several}, Place(value, further, DRef(value))
        if isrefpath(value):
            return self._json(place), place
        if isinstance(value, Mapping):
            return value, place
        if isinstance(value, (list, tuple)):
            return dict(enumerate(value)), place
        raise self.error(f"cannot be entered at {value!r:.80}", "it has no fields")

    def paths(self, place: Place) -> list[Path]:
        """Return the paths on disk that a value stands for, one for each realization."""
        value = place.value
        if isinstance(value, Build):
            return build_outpaths(value)
        if isrref(value):
            return [Path(self._store.path(value))]
        if isdref(value):
            if place.context is None or value not in place.context:
                return [Path(self._store.layout.derivation(DRef(value)))]
            return [Path(self._store.path(one)) for one in self.selected(place, DRef(value))]
        if not is_place(value):
            raise self.error(f"is {value!r}, which is no place on disk", "point it at a refpath")
        if place.own != value[0]:
            selected = self.selected(place, DRef(value[0]))
            return [Path(self._store.path(one), *value[1:]) for one in selected]
        if place.root is None:
            raise self.error("is promised, not realized", "look at a realization")
        return [place.root.joinpath(*value[1:])]

    def _json(self, place: Place) -> Mapping[str, Any]:
        path = self.paths(place)[0]
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError):
            value = None
        if not isinstance(value, dict):
            raise self.error(f"meets {path}", "only JSON files with an object have fields")
        return value

    def selected(self, place: Place, dref: DRef) -> list[RRef]:
        """Return the realizations that were selected for a reference at a place."""
        if place.context is None or dref not in place.context:
            raise self.error(
                f"does not know which realization of {dref} is meant",
                "start from a realization or a build, or pass context= or rref= to mklens",
            )
        return list(place.context[dref])

    def error(self, said: str, hint: str) -> LensError:
        """Make the error for a step or an answer that is impossible."""
        return LensError(f"{self.said} {said}", hint)
