"""The `drv` form: derivations go into the Nix store without anything being evaluated."""

from __future__ import annotations

from collections.abc import Iterator

from plxnix.errors import ExportError
from plxnix.export.graph import ExportGraph
from plxnix.nix import tools
from plxnix.nix.graph import Node, Package, Source, topological
from plxnix.nix.quoting import encode
from plxnix.nix.stream import StoreFile, export_stream


def register(graph: ExportGraph) -> dict[str, str]:
    """Put the derivations of a graph into the Nix store; return `.drv` paths by variable.

    One call of `nix-store --import`, which all versions of Nix have; it needs the right to write to
    the store, or to be a trusted user of its daemon. Raises `ExportError` if a locked package is
    not in the store, `ToolMissing`, `ToolFailed`.
    """
    instantiation = graph.lowering.instantiation
    paths = {item.variable: instantiation.drv_path(item.node) for item in graph.items}
    nodes = topological(item.node for item in graph.items)
    _check_packages(_packages(nodes))
    imported = tools.import_paths(export_stream(_files(graph, nodes)))
    missing = set(paths.values()) - tools.valid(paths.values())
    if missing:
        raise ExportError(
            f"Nix took {len(imported)} paths but not {', '.join(sorted(missing))}",
            "please report this as a defect",
        )
    return paths


def targets(graph: ExportGraph, paths: dict[str, str]) -> list[str]:
    """Return the `.drv` paths of the targets of a graph that was registered."""
    return [paths[item.variable] for several in graph.targets.values() for item in several]


def _files(graph: ExportGraph, nodes: list[Node | Source | Package]) -> Iterator[StoreFile]:
    instantiation = graph.lowering.instantiation
    for node in nodes:
        if isinstance(node, Source):
            yield StoreFile(instantiation.path(node), encode(node.contents))
        elif isinstance(node, Node) and node.existing is None:
            derivation = instantiation.derivation(node)
            references = (*derivation.input_derivations, *derivation.input_sources)
            yield StoreFile(derivation.path, derivation.aterm(), tuple(set(references)))


def _packages(nodes: list[Node | Source | Package]) -> list[Package]:
    """Return the derivations that others have made."""
    existing = [node.existing for node in nodes if isinstance(node, Node)]
    return [
        *(node for node in nodes if isinstance(node, Package)),
        *(one.package for one in existing if one is not None),
    ]


def _check_packages(packages: list[Package]) -> None:
    wanted = {package.drv_path: package.attribute for package in packages}
    missing = set(wanted) - tools.valid(wanted)
    if missing:
        names = ", ".join(sorted(wanted[path] for path in missing))
        raise ExportError(
            f"the derivations of these packages are not in the Nix store: {names}",
            "evaluate them there: remove the toolchain's lock and export again",
        )
