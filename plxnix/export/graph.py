"""The graph to be exported: the derivations of a closure, in order, named and explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from plxnix.config import Config
from plxnix.errors import Unexportable
from plxnix.model import DRef, RRef
from plxnix.nix.graph import Instantiation, Node, Source, topological
from plxnix.nix.text import unique
from plxnix.realize.plan import make_plan
from plxnix.realize.registry import Closure
from plxnix.recipes.lowering import Lowered, Lowering, why_pinned
from plxnix.recipes.toolchain import HOST, Toolchain
from plxnix.recipes.urls import sources

#: Variables of the exported file itself.
OURS = frozenset(
    (
        *("about", "default", "fetchurl", "lines", "name", "overrides", "pin", "pkgs", "sources"),
        *("stage", "stages", "targets"),
    )
)


@dataclass(frozen=True)
class Item:
    """One derivation of an export: its Nix variable, and the stage it stands for.

    `lowered` is None for a derivation that is only a part of a stage, such as the fetch below an
    unpacking.
    """

    variable: str
    node: Node
    lowered: Lowered | None

    @property
    def kind(self) -> str:
        """What it is: `fixed-output`, `derivation` or `pin`."""
        if self.lowered is not None:
            return self.lowered.kind
        if self.node.fixed is None:
            return "derivation"
        return "pin" if self.node.comment.startswith("pin of ") else "fixed-output"


@dataclass(frozen=True)
class Explained:
    """How one stage is exported: `kind` is `fixed-output`, `derivation` or `pin`."""

    dref: DRef
    kind: str
    reason: str
    rrefs: tuple[RRef, ...] = ()


class DerivationGraph:
    """Derivations in order, each bound to a variable: what all forms print.

    `items` come dependencies first, and `roots` are those asked for. `targets` gives the items of
    each target, where the derivations are those of stages. Cost is linear in the edges.
    """

    #: The folder that files are written to, if it is known: paths in them are relative to it.
    folder = ""

    def __init__(
        self,
        roots: Sequence[Node],
        toolchain: Toolchain = HOST,
        lowered: Iterable[Lowered] = (),
        instantiation: Instantiation | None = None,
    ) -> None:
        self.toolchain = toolchain
        self.instantiation = Instantiation() if instantiation is None else instantiation
        nodes = [node for node in topological(roots) if isinstance(node, Node)]
        stages = {form.node: form for form in lowered}
        names = unique({node: _label(node, stages.get(node)) for node in nodes}, OURS)
        self.items = [Item(names[node], node, stages.get(node)) for node in nodes]
        self._by_node: dict[Node | Source, Item] = {item.node: item for item in self.items}
        self.roots = [self.item(node) for node in roots]
        self.targets: dict[DRef, list[Item]] = {}

    def item(self, node: Node | Source) -> Item:
        """Return the item of a derivation."""
        return self._by_node[node]

    def urls(self, item: Item) -> list[str]:
        """Return all URLs of a fetch, for a toolchain whose fetcher takes several; else none."""
        del item
        return []

    def config(self, dref: DRef) -> Config | None:
        """Return the config of a stage, if the derivations are those of stages."""
        del dref
        return None


class ExportGraph(DerivationGraph):
    """A closure lowered for one toolchain.

    A target has more than one item where its matcher selected several realizations. Raises
    `Unexportable` for a stage that can leave as a pin only and is not realized.
    """

    def __init__(
        self,
        closure: Closure,
        toolchain: Toolchain = HOST,
        selected: Mapping[DRef, Sequence[RRef]] | None = None,
    ) -> None:
        """Lower a closure; `selected` are the realizations of its pins, if that is known."""
        self.closure = closure
        self._selected = selected
        self._reasons: dict[DRef, str] = {}
        self.lowering = Lowering(closure, self._select, toolchain)
        forms = {dref: self.lowering.of(dref) for dref in closure.targets}
        super().__init__(
            [form.node for several in forms.values() for form in several],
            toolchain,
            [form for several in self.lowering.lowered().values() for form in several],
            self.lowering.instantiation,
        )
        for dref, several in forms.items():
            self.targets[dref] = [self.item(form.node) for form in several]

    def urls(self, item: Item) -> list[str]:
        """Return all URLs of a fetch, for a toolchain whose fetcher takes several; else none."""
        if self.toolchain.name != "nixpkgs":
            return []
        return sources(self.closure.derivations[DRef(item.node.comment)].config)

    def config(self, dref: DRef) -> Config | None:
        """Return the config of a stage."""
        return self.closure.derivations[dref].config

    def explain(self) -> list[Explained]:
        """Return how each stage of the closure is exported, and why, dependencies first."""
        lowered = self.lowering.lowered()
        said = []
        for dref, derivation in self.closure.derivations.items():
            forms = lowered.get(dref)
            if forms is None:
                said.append(Explained(dref, "left out", "only pinned stages depend on it"))
                continue
            rrefs = tuple(form.rref for form in forms if form.rref is not None)
            reason = (
                why_pinned(derivation) or why_known(forms[0]) or "its config says all that is done"
            )
            said.append(Explained(dref, forms[0].kind, reason, rrefs))
        return said

    def _select(self, dref: DRef) -> Sequence[RRef]:
        """Return the realizations that stand for a stage that Nix cannot build."""
        if self._selected is None:
            plan = make_plan(self.closure, frozenset())
            self._selected = {stage.dref: stage.rrefs for stage in plan}
            self._reasons = {stage.dref: stage.reason for stage in plan}
        rrefs = self._selected.get(dref, ())
        if not rrefs:
            why = why_pinned(self.closure.derivations[dref])
            raise Unexportable(
                f"{dref} can be exported as a finished result only, since {why}; and it is not "
                f"realized: {self._reasons.get(dref, 'nothing is selected')}",
                "realize it first: `plxnix realize` with the same target and arguments",
                dref,
            )
        return rrefs


def why_known(lowered: Lowered) -> str:
    """Say why a stage cannot have other bytes; empty if it can."""
    if lowered.node.existing is not None:
        return "it is a build of Nix"
    return "its hash is given" if lowered.node.fixed is not None else ""


def _label(node: Node, lowered: Lowered | None) -> str:
    """Return what a derivation is called in the export, before clashes are resolved."""
    if lowered is None or not lowered.flat:
        return node.name
    return lowered.dref.name
