"""The `svg`, `dot` and `mermaid` forms: drawings of the graph.

A box for each derivation, an arrow from each to those that need it; fetches, derivations and pins
look different.
"""

from __future__ import annotations

from collections.abc import Iterator

from plxnix.export.expression import comment
from plxnix.export.forms import Request
from plxnix.export.graph import ExportGraph, Item
from plxnix.export.picture import Box, Picture
from plxnix.nix.graph import Node, references


def write_svg(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write the graph as a picture: `graph.svg`."""
    return {"graph.svg": _picture(graph, request).svg()}


def write_dot(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write the graph in Graphviz' DOT language: `graph.dot`."""
    return {"graph.dot": _picture(graph, request).dot()}


def write_mermaid(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write the graph as a Mermaid flowchart: `graph.mmd`."""
    return {"graph.mmd": _picture(graph, request).mermaid()}


def _picture(graph: ExportGraph, request: Request) -> Picture:
    boxes = {
        item.variable: Box(label(item), item.kind, told=item.node.comment) for item in graph.items
    }
    arrows = ((one.variable, other.variable) for one, other in edges(graph))
    return Picture(boxes, arrows, comment(request.command))


def label(item: Item) -> str:
    """Return what a derivation is called in a drawing: its name, for pins with a piece of hash."""
    if item.lowered is not None and item.lowered.rref is not None:
        return f"{item.node.name} {item.lowered.rref.rhash[:8]}"
    return item.node.name


def edges(graph: ExportGraph) -> Iterator[tuple[Item, Item]]:
    """Yield pairs of a derivation and one that needs it, each pair once, in a stable order."""
    for item in graph.items:
        needed = {r.node: None for r in references(item.node) if isinstance(r.node, Node)}
        for node in needed:
            yield graph.item(node), item
