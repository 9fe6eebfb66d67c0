"""Plans: which stages would run, and why.

The reason names the input that made a stage stale: the parameter that changed since the last
derivation of the same name, the dependency that now selects another realization, or the matcher
that asks for more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from plxnix.config import Config
from plxnix.model import DRef, RRef, isdref, isrefpath
from plxnix.realize.registry import Closure, Derivation
from plxnix.store import Store


class PlannedStage(NamedTuple):
    """What would happen to one derivation: `rrefs` if it is cached, else the `reason` to run."""

    dref: DRef
    rrefs: tuple[RRef, ...] = ()
    reason: str = ""

    @property
    def would_run(self) -> bool:
        """Whether the realizer would be called."""
        return bool(self.reason)


@dataclass(frozen=True)
class Plan:
    """What `realize` would do to a closure: its stages, dependencies first."""

    stages: tuple[PlannedStage, ...]

    @property
    def would_run(self) -> tuple[PlannedStage, ...]:
        """The stages whose realizers would be called."""
        return tuple(stage for stage in self.stages if stage.would_run)

    def __iter__(self) -> Iterator[PlannedStage]:
        return iter(self.stages)

    def __str__(self) -> str:
        lines = [f"{stage.dref.name}: {stage.reason}" for stage in self.would_run]
        return "\n".join(lines) if lines else f"all {len(self.stages)} stages are realized"


def make_plan(closure: Closure, forced: frozenset[DRef]) -> Plan:
    """Decide for each stage whether it would run, without running anything.

    Cost: that of a realization in which everything is cached, and for stages that would run one
    listing of the store and a few configs.
    """
    store = closure.store
    selected: dict[DRef, list[RRef]] = {}
    stages = []
    reasons = Reasons(store)
    for dref, derivation in closure.derivations.items():
        pending = [dep for dep in derivation.config.dependencies if dep not in selected]
        if dref in forced:
            stages.append(PlannedStage(dref, reason="forced"))
        elif pending:
            names = ", ".join(closure.labels[dep] for dep in pending)
            stages.append(PlannedStage(dref, reason=f"depends on {names}, which would be realized"))
        else:
            context = {dep: selected[dep] for dep in derivation.config.dependencies}
            chosen = derivation.matcher(store, store.realizations(dref, context))
            if chosen is None:
                stages.append(PlannedStage(dref, reason=reasons.explain(derivation, context)))
            else:
                selected[dref] = chosen
                stages.append(PlannedStage(dref, tuple(chosen)))
    return Plan(tuple(stages))


class Reasons:
    """Finds out why stages have to run; it lists the store once, when first asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._namesakes: dict[str, list[DRef]] | None = None
        self._latest: dict[str, DRef | None] = {}

    def explain(self, derivation: Derivation, context: Mapping[DRef, list[RRef]]) -> str:
        """Return why no realization of `derivation` in `context` will do, as half a sentence."""
        dref = derivation.dref
        usable = self._store.realizations(dref, context)
        if usable:
            count = f"{len(usable)} realization" + ("s" if len(usable) > 1 else "")
            return f"{derivation.matcher!r} is not content with the {count} there are"
        others = self._store.realizations(dref)
        if others:
            return self._other_context(others, context)
        # It cannot be the derivation itself: that has no realizations.
        before = self._latest_realized(dref.name)
        if before is None:
            return "never realized"
        return f"{_changes(self._store.config(before), derivation.config)} since {before}"

    def _other_context(self, others: list[RRef], context: Mapping[DRef, list[RRef]]) -> str:
        last = max(others, key=lambda rref: (self._store.record(rref).started, rref))
        used = self._store.record(last).context
        changed = [dep.name for dep in context if used.get(dep) != tuple(context[dep])]
        return f"another realization of {', '.join(changed)} is selected than for {last}"

    def _latest_realized(self, name: str) -> DRef | None:
        """Return the derivation of that name that was realized last, or None; asked once a name."""
        if name not in self._latest:
            self._latest[name] = self._find_latest(name)
        return self._latest[name]

    def _find_latest(self, name: str) -> DRef | None:
        if self._namesakes is None:
            self._namesakes = {}
            for dref in self._store.derivations():
                self._namesakes.setdefault(dref.name, []).append(dref)
        found = []
        for dref in self._namesakes.get(name, ()):
            if self._store.realizations(dref):
                try:
                    found.append((os.stat(self._store.layout.derivation(dref)).st_mtime_ns, dref))
                except FileNotFoundError:
                    continue  # Another process has just removed it.
        return max(found)[1] if found else None


def _changes(before: Config, after: Config) -> str:
    """Say in half a sentence what differs between two configs."""
    said = []
    for key in sorted(before.keys() | after.keys()):
        if key not in before:
            said.append(f"{key} is new")
        elif key not in after:
            said.append(f"{key} is gone")
        elif before[key] != after[key]:
            said.append(_change(key, before[key], after[key]))
    if not said:
        return "nothing changed"
    return "; ".join(said[:4]) + (f"; and {len(said) - 4} more" if len(said) > 4 else "")


def _change(key: str, before: Any, after: Any) -> str:
    if key == "__source__":
        return "the code changed"
    if _reference(before) and _reference(after):
        return f"the dependency {key} ({_reference(after)}) changed"
    if len(repr(before)) + len(repr(after)) > 80:
        return f"{key} changed"
    return f"{key} changed from {before!r} to {after!r}"


def _reference(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value and (isrefpath(value) or isdref(value[0])) else None
    return DRef(value).name if isdref(value) else ""
