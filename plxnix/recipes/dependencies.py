"""Dependencies of a stage, as its builder sees them: native paths for the holes of its texts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from plxnix.errors import Unexportable
from plxnix.model import Context, DRef, RRef
from plxnix.nix.graph import Node, Package, Reference, Source, Text, references
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.store import Store


class Dependencies:
    """What a stage depends on, with what was selected for it in one realization.

    `further` are dependencies of dependencies that the stage reads, too.
    """

    def __init__(self, store: Store, dref: DRef, context: Context, work: Any) -> None:
        self.store = store
        self.dref = dref
        self.context = context
        self.further: Sequence[DRef] = ()
        self.lowering = _lowering(work)
        self._work = work

    @property
    def drefs(self) -> tuple[DRef, ...]:
        """The direct dependencies and the further ones."""
        return (*self.context, *self.further)

    def __iter__(self) -> Iterator[tuple[Lowered, RRef]]:
        """Yield the dependencies as Nix sees them, with what was selected for each."""
        further = {dref: self._work.selected[dref] for dref in self.further}
        for dref, rrefs in (*self.context.items(), *further.items()):
            for number, lowered in enumerate(self.lowering.of(dref)):
                yield lowered, lowered.rref or rrefs[number]

    def native(self, value: Text, sources: Path) -> str:
        """Fill the holes of a text with native paths; text files are written below `sources`."""
        return "".join(
            part if isinstance(part, str) else self._path(part, sources) for part in value
        )

    def inputs(self, node: Node, sources: Path) -> tuple[dict[str, str], dict[str, RRef]]:
        """Return what a builder may see: native paths, and realizations, by store paths.

        That is what the node refers to, and what is referred to in that, as for Nix.
        """
        inputs: dict[str, str] = {}
        origins: dict[str, RRef] = {}
        waiting: list[tuple[str, Lowered, RRef, str]] = []
        path_of = self.lowering.instantiation.path
        for reference in references(node):
            path = path_of(reference.node, reference.output)
            if isinstance(reference.node, Source):
                inputs[path] = self._source(reference.node, sources)
            else:
                waiting.append((path, *self._selected(reference.node), reference.output))
        while waiting:
            path, lowered, rref, output = waiting.pop()
            if path in origins:
                continue
            if lowered.node.existing is not None:
                for one in self._closure(path):
                    inputs[one] = one
                    origins.setdefault(one, rref)
                continue
            inputs[path], origins[path] = self._realized(lowered, rref, output), rref
            # A pin refers to nothing: Nix does not let it.
            said = {} if lowered.rref else self.store.record(rref).nix
            below = said.get("references", {})
            for other in said.get("output_references", {}).get(output, below):
                origin = RRef.parse(below.get(other, rref))
                for form in self.lowering.of(origin.dref):
                    for name in form.node.outputs if form.rref in (None, origin) else ():
                        if form.node.existing or path_of(form.node, name) == other:
                            waiting.append((other, form, origin, name))
        return inputs, origins

    def _path(self, reference: Reference, sources: Path) -> str:
        if isinstance(reference.node, Source):
            return self._source(reference.node, sources)
        return self._realized(*self._selected(reference.node), reference.output)

    def _source(self, source: Source, sources: Path) -> str:
        path = sources / source.name
        if not path.exists():
            path.write_text(source.contents, newline="")
        return os.fspath(path)

    def _selected(self, node: Node | Package) -> tuple[Lowered, RRef]:
        if isinstance(node, Package):
            raise Unexportable(f"{node.name} is a package of Nix", dref=self.dref)
        for lowered, rref in self:
            if lowered.node is node:
                return lowered, rref
        raise Unexportable(
            f"{self.dref} refers to {node.name}, which it does not depend on",
            "this is a defect of its recipe",
            self.dref,
        )

    def _realized(self, lowered: Lowered, rref: RRef, output: str) -> str:
        path = self.store.path(rref)
        if lowered.node.existing is not None:
            return self.lowering.instantiation.path(lowered.node)
        if lowered.rref is not None:
            # The text goes on to the file where there is only one.
            return path
        if lowered.outputs:
            return f"{path}/{output}"
        if lowered.flat:
            return f"{path}/{lowered.flat}"
        return f"{path}/{rref.name}" if self.store.record(rref).flat else path

    def _closure(self, path: str) -> list[str]:
        """Return what a path of the Nix store refers to, itself too; Nix is asked once for each."""
        from plxnix.nix import tools

        memo, key = self._work.memo, f"closure of {path}"
        if key not in memo:
            memo[key] = tools.closure([path])
        found: list[str] = memo[key]
        return found


def _lowering(work: Any) -> Lowering:
    """Return the lowering that all recipes of one realization share."""
    found = work.memo.get("lowering")
    if not isinstance(found, Lowering):
        made = Lowering(work.closure, work.selected.__getitem__)
        found = work.memo.setdefault("lowering", made)  # Another thread may have been quicker.
    return cast(Lowering, found)
