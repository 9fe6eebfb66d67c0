"""What of a closure exists where: in the native store, and in the Nix store.

Everything is known without building anything: the paths are computed, the native store is listed,
and Nix is asked once which of the paths it has.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from plxnix.errors import ToolFailed, ToolMissing
from plxnix.model import DRef, RRef
from plxnix.nix import tools
from plxnix.nix.graph import Instantiation
from plxnix.realize.plan import make_plan
from plxnix.realize.registry import Closure
from plxnix.recipes.lowering import Lowered, Lowering, why_pinned

VALID, REGISTERED, ABSENT, UNKNOWN = "valid", "registered", "absent", "unknown"


@dataclass(frozen=True)
class Place:
    """One path of a stage in the Nix store, and whether it is there.

    `state` is `valid`; `registered`, if only the derivation is there; `absent`; or `unknown`.
    `rref` is the realization of which it is the pin, if it is one.
    """

    path: str
    derivation: str
    state: str = UNKNOWN
    rref: RRef | None = None


@dataclass(frozen=True)
class Status:
    """What there is of one stage.

    `kind` is `fixed-output`, `derivation`, `pin`, `nix` (a build of Nix itself), `opaque` (a pin to
    be, which is not realized) or `unknown` (it depends on such); the last two have no path yet.
    `realized` counts the realizations, `selected` are those that are meant, and `reason` says why
    none is. `identical` is the claim to have Nix's bytes, None without a realization and for a pin,
    of which Nix has no others. `next` is what brings it into the Nix store, empty if it is there.
    """

    dref: DRef
    kind: str
    realized: int
    selected: tuple[RRef, ...]
    reason: str
    places: tuple[Place, ...]
    identical: bool | None
    next: str = ""

    @property
    def state(self) -> str:
        """The state of all its places: that of the one that is furthest from being there."""
        order = (UNKNOWN, ABSENT, REGISTERED, VALID)
        return min((one.state for one in self.places), key=order.index, default=UNKNOWN)


@dataclass(frozen=True)
class Overview:
    """The state of each stage of a closure, dependencies first, and why Nix tells nothing."""

    stages: tuple[Status, ...]
    without_nix: str = ""


def status(closure: Closure, realize: str = "plxnix realize") -> Overview:
    """Return what exists where of all stages of a closure, for the toolchain `host`.

    `realize` is the command that realizes the closure, for `Status.next`.
    Cost: that of a plan, a listing for each stage, and one call of Nix for 500 paths.
    """
    plan = {stage.dref: stage for stage in make_plan(closure, frozenset())}
    lowering = Lowering(closure, lambda dref: plan[dref].rrefs)
    forms = _forms(closure, lowering, {dref for dref in plan if plan[dref].rrefs})
    places = {
        dref: [place for form in several for place in _places(form, lowering.instantiation)]
        for dref, several in forms.items()
    }
    asked = {path for some in places.values() for one in some for path in (one[0], one[1])}
    there, without_nix = _ask(asked)
    found = []
    for dref, stage in plan.items():
        known = tuple(
            Place(path, drv, UNKNOWN if without_nix else _state(path, drv, there), rref)
            for path, drv, rref in places.get(dref, ())
        )
        kind = _kind(forms.get(dref, ()), why_pinned(closure.derivations[dref]))
        identical = None
        if stage.rrefs and kind not in ("pin", "opaque", "unknown"):
            identical = closure.store.record(stage.rrefs[0]).nix.get("identical") is True
        one = Status(
            dref,
            kind,
            len(closure.store.realizations(dref)),
            stage.rrefs,
            stage.reason,
            known,
            identical,
        )
        found.append(replace(one, next=_next(one, realize, dref in closure.targets)))
    return Overview(tuple(found), without_nix)


def _next(one: Status, realize: str, asked: bool) -> str:
    """Return what brings a stage into the Nix store; `asked`: it is a target of `realize`."""
    if one.state == VALID:
        return ""
    if not one.selected:
        return realize
    if one.kind == "nix":
        return f"nix-store --realise {one.places[0].derivation}"
    if one.kind in ("pin", "fixed-output"):
        missing = [place.rref for place in one.places if place.rref and place.state != VALID]
        hashes = " ".join(rref.short for rref in missing or one.selected)
        return f"plxnix nix add {hashes}"
    if one.identical:
        return f"plxnix nix import {one.selected[0].short}"
    return "nix-build of an export" + (f", or {realize} --force --sandbox on" if asked else "")


def _forms(
    closure: Closure, lowering: Lowering, realized: set[DRef]
) -> dict[DRef, tuple[Lowered, ...]]:
    """Lower all stages that can be: pins have to be realized, and so what others depend on."""
    forms: dict[DRef, tuple[Lowered, ...]] = {}
    for dref, derivation in closure.derivations.items():
        if why_pinned(derivation):
            if dref in realized:
                forms[dref] = lowering.of(dref)
        elif all(dep in forms for dep in derivation.config.dependencies):
            forms[dref] = lowering.of(dref)
    return forms


def _places(form: Lowered, instantiation: Instantiation) -> list[tuple[str, str, RRef | None]]:
    drv_path = instantiation.drv_path(form.node)
    return [
        (instantiation.path(form.node, output), drv_path, form.rref) for output in form.node.outputs
    ]


def _ask(paths: set[str]) -> tuple[set[str], str]:
    """Return which paths Nix has, and why it cannot be asked, empty if it can."""
    try:
        return (tools.valid(sorted(paths)) if paths else set()), ""
    except (ToolMissing, ToolFailed) as error:
        return set(), error.message.splitlines()[0]


def _state(path: str, drv_path: str, there: set[str]) -> str:
    if path in there:
        return VALID
    return REGISTERED if drv_path in there else ABSENT


def _kind(forms: tuple[Lowered, ...], pinned: str) -> str:
    if not forms:
        return "opaque" if pinned else "unknown"
    return "nix" if forms[0].node.existing is not None else forms[0].kind
