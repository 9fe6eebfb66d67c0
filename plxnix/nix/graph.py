"""Graphs of derivations with holes: in order, and with the holes filled as Nix fills them."""

from __future__ import annotations

from collections.abc import Container, Iterable

from plxnix.errors import NixFormatError
from plxnix.nix.derivation import Derivation, Hasher, Output
from plxnix.nix.nodes import (
    RESERVED,
    Existing,
    FixedOutput,
    Node,
    Package,
    Reference,
    Source,
    Text,
    attributes,
    references,
    text,
)
from plxnix.nix.paths import text_path
from plxnix.nix.quoting import encode
from plxnix.ordering import dependencies_first

__all__ = [
    "RESERVED",
    "Existing",
    "FixedOutput",
    "Instantiation",
    "Node",
    "Package",
    "Reference",
    "Source",
    "Text",
    "attributes",
    "references",
    "text",
    "topological",
]


def topological(
    roots: Iterable[Node | Source | Package], known: Container[Node | Source | Package] = ()
) -> list[Node | Source | Package]:
    """Return the roots and all that they refer to, each once, dependencies first.

    The order follows from the order of roots and references alone. What is in `known` is left out,
    with what is only reached by it. Raises `NixFormatError` for a cycle. Cost: linear in the
    references; depth is not bounded.
    """

    def below(node: Node | Source | Package) -> list[Node | Source | Package]:
        found = references(node) if isinstance(node, Node) else []
        return [one.node for one in found if one.node not in known]

    return list(dependencies_first((root for root in roots if root not in known), below, _cycle))


def _cycle(path: list[Node | Source | Package]) -> NixFormatError:
    return NixFormatError(
        f"derivations depend on each other in a circle: {' -> '.join(one.name for one in path)}",
        "take one of these references out",
    )


class Instantiation:
    """The exact derivations of the nodes of a graph, each computed once; iterative."""

    def __init__(self) -> None:
        self._hasher = Hasher()
        self._derivations: dict[Node, Derivation] = {}
        self._sources: dict[Source, str] = {}

    def derivation(self, node: Node) -> Derivation:
        """Return what `nix-instantiate` gives for the node.

        Raises `InvalidName` and `NixFormatError` where Nix would refuse the node or one that it
        refers to, and for an existing derivation, of which only paths are known.
        """
        if node.existing is not None:
            raise NixFormatError(
                f"the derivation {node.name} is Nix's own, and not computed here",
                f"nix-store --query --binding can tell of {node.existing.package.drv_path}",
            )
        if node not in self._derivations:
            for one in topological([node], self._derivations):
                if isinstance(one, Node) and one.existing is None:
                    self._derivations[one] = self._fill(one)
        return self._derivations[node]

    def path(self, node: Node | Source | Package, output: str = "out") -> str:
        """Return the store path of one output of a node or locked package, or of a source.

        Raises `NixFormatError` if there is no such output, or the path cannot be known.
        """
        if isinstance(node, Package):
            return self._package_path(node, output)
        if isinstance(node, Source):
            if node not in self._sources:
                self._sources[node] = text_path(node.name, encode(node.contents))
            return self._sources[node]
        if node.existing is not None and output == "out":
            return self._package_path(node.existing.package, node.existing.output)
        found = self.derivation(node).outputs.get(output)
        if found is None:
            raise NixFormatError(
                f"{node.name} has no output {output!r}", f"it has {', '.join(node.outputs)}"
            )
        return found.path

    def drv_path(self, node: Node) -> str:
        """Return the path of the node's `.drv` file."""
        if node.existing is not None:
            return node.existing.package.drv_path
        return self.derivation(node).path

    def _package_path(self, package: Package, output: str) -> str:
        if not package.drv_path:
            raise NixFormatError(
                f"the path of the package {package.attribute} is not known without evaluating it",
                "export with the toolchain 'locked', which writes such paths down",
            )
        self._hasher.know(package.drv_path, package.modulo)
        for name, path in package.outputs:
            if name == output:
                return path
        raise NixFormatError(
            f"the package {package.attribute} has no output {output!r}",
            f"it has {', '.join(name for name, _ in package.outputs)}",
        )

    def _fill(self, node: Node) -> Derivation:
        if node.tools is not None:
            raise NixFormatError(
                f"the path of {node.name} depends on nixpkgs' runCommand",
                "export with the toolchain 'host' or 'locked' where paths have to be known",
            )
        env = {key: self._text(value) for key, value in attributes(node).items()}
        if node.outputs != ("out",):
            env["outputs"] = " ".join(node.outputs)
        inputs: dict[str, set[str]] = {}
        sources = set()
        for reference in references(node):
            if isinstance(reference.node, Source):
                sources.add(self.path(reference.node))
            elif isinstance(reference.node, Package):
                self.path(reference.node, reference.output)
                inputs.setdefault(reference.node.drv_path, set()).add(reference.output)
            elif reference.node.existing is not None:
                self.path(reference.node, reference.output)
                existing = reference.node.existing
                inputs.setdefault(existing.package.drv_path, set()).add(existing.output)
            else:
                drv_path = self._derivations[reference.node].path
                inputs.setdefault(drv_path, set()).add(reference.output)
        fixed = node.fixed
        outputs = (
            {name: Output("") for name in node.outputs}
            if fixed is None
            else {"out": Output.fixed(node.name, fixed.hash, fixed.recursive)}
        )
        return self._hasher.instantiate(
            Derivation(
                name=node.name,
                system=node.system,
                builder=env["builder"],
                args=tuple(self._text(one) for one in node.args),
                env=env,
                outputs=outputs,
                input_derivations={path: tuple(sorted(names)) for path, names in inputs.items()},
                input_sources=frozenset(sources),
            )
        )

    def _text(self, value: Text) -> str:
        return "".join(
            [part if isinstance(part, str) else self.path(part.node, part.output) for part in value]
        )
