"""Nodes: a graph of definitions and values, and its digest."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence

from plxnix.codehash.units import Unit


class Node:
    """One definition or value: its own text, and links to what it uses, each under a name."""

    __slots__ = ("_find", "_links", "body", "digest", "label", "unit")

    def __init__(
        self,
        body: str | bytes,
        find: Callable[[], Iterator[tuple[str, Node]]] | None = None,
        label: str = "",
        unit: Unit | None = None,
    ) -> None:
        self.body = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
        self.label = label
        self.unit = unit
        self.digest = b""
        self._find = find
        self._links: list[tuple[str, Node]] | None = None

    @property
    def links(self) -> list[tuple[str, Node]]:
        """What the node uses; found when first asked for."""
        if self._links is None:
            self._links = list(self._find()) if self._find else []
        return self._links


def external(name: str, wrapped: Node | None = None) -> Node:
    """Make the node of something of which only the name counts."""
    links = [] if wrapped is None else [("wrapped", wrapped)]
    return Node(f"name\0{name}", lambda: iter(links))


def digest(*parts: bytes) -> bytes:
    """Hash a sequence of byte strings: 32 bytes of SHA-256."""
    state = hashlib.sha256()
    for part in parts:
        state.update(b"%d:" % len(part))
        state.update(part)
    return state.digest()


def combined(roots: Sequence[Node]) -> str:
    """Hash nodes and all that they use, in 64 hex digits."""
    for root in roots:
        if not root.digest:
            _settle(root)
    return digest(b"plxnix code 1", *(root.digest for root in roots)).hex()


def listed(roots: Sequence[Node]) -> list[tuple[str, str]]:
    """List the nodes that have a label, roots first, each with 12 hex digits for its own body."""
    home: Unit | None = None
    found: list[tuple[str, str]] = []
    seen: set[Node] = set()
    stack = [*reversed(roots)]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        home = home or node.unit
        if node.label:
            outside = node.unit is not None and node.unit is not home
            name = f"{node.unit.label}.{node.label}" if node.unit and outside else node.label
            found.append((name, digest(node.body).hex()[:12]))
        stack.extend(target for _, target in reversed(node.links))
    return found


def _settle(root: Node) -> None:
    """Give a digest to every node below, by Tarjan's algorithm; linear in nodes and links.

    A node that is in no cycle is hashed with the digests of what it links to. Those of a cycle are
    hashed together, in an order that does not depend on where the cycle was entered.
    """
    order: dict[Node, int] = {root: 0}
    low: dict[Node, int] = {root: 0}
    path = [root]
    waiting = [(root, iter(root.links))]
    while waiting:
        node, links = waiting[-1]
        for _, target in links:
            if target.digest:
                continue
            if target not in order:
                order[target] = low[target] = len(order)
                path.append(target)
                waiting.append((target, iter(target.links)))
                break
            low[node] = min(low[node], order[target])
        else:
            waiting.pop()
            if waiting:
                above = waiting[-1][0]
                low[above] = min(low[above], low[node])
            if low[node] == order[node]:
                cycle = [path.pop()]
                while cycle[-1] is not node:
                    cycle.append(path.pop())
                _close(cycle)


def _close(cycle: Sequence[Node]) -> None:
    """Hash nodes that reach one another: each by itself, then with its neighbours, then all."""
    alone = {
        node: digest(
            node.body, *(part for name, to in node.links for part in (name.encode(), to.digest))
        )
        for node in cycle
    }
    if len(cycle) == 1:
        cycle[0].digest = alone[cycle[0]]
        return
    near = {
        node: digest(alone[node], *(alone.get(to, b"") for _, to in node.links)) for node in cycle
    }
    whole = digest(*sorted(near.values()))
    for node in cycle:
        node.digest = digest(whole, near[node])
