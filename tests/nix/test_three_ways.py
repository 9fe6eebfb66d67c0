"""Three ways, one path: computed in Python, evaluated from the expression, read from the lock."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from plxnix.export.expression import expression
from plxnix.export.graph import DerivationGraph
from plxnix.export.lock import lock
from plxnix.export.lock_reader import parse_lock
from plxnix.nix.graph import FixedOutput, Node, Reference, Source, Text, text
from plxnix.nix.hashes import ALGORITHMS, Hash
from plxnix.nix.text import attribute
from plxnix.recipes.nix_fetch import PROXIES
from plxnix.recipes.toolchain import HOST
from tests.nix_environment import NixEnv
from tests.nix_samples import random_string

LIBRARY = Path(__file__).parents[2] / "nix" / "lib"

#: Graphs are tried many at a time, as a call of Nix costs more than they do; what fails is shown,
#: but not made smaller.
BATCHES, BATCH = 20, 55

_NAMES = ("a", "b", "with", "or", "0", "a.b", "a-b", "default", "targets", "stage", "pkgs", "__sub")
_VARIABLES = ("PATH", "a", "b-c", "d.e", "or", "type", "outPath", "drvPath", "é", "A'", "${x}", '"')
_OUTPUTS = (("out",), ("out",), ("out",), ("out", "dev"), ("lib", "out"), ("bin",), ("z", "a_1"))


class Graphs:
    """Draws graphs: of chains, diamonds, fixed outputs, fetches, pins and several outputs."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.targets: list[Node | Source] = []

    def draw(self) -> list[Node]:
        """Draw the nodes of one graph, dependencies first."""
        self.targets = [
            Source(f"{number}.txt", self._string()) for number in range(self.random.randrange(3))
        ]
        chain = self.random.random() < 0.2
        nodes: list[Node] = []
        for _ in range(self.random.randrange(1, 9)):
            node = self.random.choices(
                (self._plain, self._fixed, self._fetch, self._pin), (6, 2, 1, 1)
            )[0]()
            if chain and nodes and not node.comment:
                node.env["below"] = text(Reference(nodes[-1], nodes[-1].outputs[-1]))
            nodes.append(node)
            self.targets.append(node)
        return nodes

    def _plain(self, fixed: FixedOutput | None = None) -> Node:
        outputs = ("out",) if fixed else self.random.choice(_OUTPUTS)
        variables = self.random.sample(_VARIABLES, self.random.randrange(4))
        return Node(
            name=self._name(),
            system=self.random.choice(("x86_64-linux", "builtin", "riscv64.x+y_z-w")),
            builder=text("/bin/sh", *self._text(1)),
            args=tuple(self._text() for _ in range(self.random.randrange(3))),
            env={name: self._text() for name in variables},
            outputs=outputs,
            fixed=fixed,
        )

    def _fixed(self) -> Node:
        return self._plain(FixedOutput(self._hash(), self.random.random() < 0.5))

    def _fetch(self) -> Node:
        url = text(self._string())
        return Node(
            name=self._name(),
            system="builtin",
            builder=text("builtin:fetchurl"),
            env={
                "executable": text(""),
                "impureEnvVars": text(PROXIES),
                "preferLocalBuild": text("1"),
                "unpack": text(""),
                "url": url,
                "urls": url,
            },
            fixed=FixedOutput(self._hash()),
        )

    def _pin(self) -> Node:
        # As `Lowering` makes them.
        return Node(
            name=self._name(),
            system=HOST.system,
            builder=HOST.shell(),
            args=(text("-c"), text('printf "%s\\n" "$message" >&2; exit 1')),
            env={"message": text(self._string())},
            fixed=FixedOutput(self._hash("sha256"), recursive=True),
            comment="pin of something",
        )

    def _hash(self, algorithm: str = "") -> Hash:
        # Few contents, so that different derivations have one output path now and then.
        contents = bytes([self.random.randrange(2)])
        return Hash.of_bytes(contents, algorithm or self.random.choice(list(ALGORITHMS)))

    def _name(self) -> str:
        if self.random.random() < 0.6:
            return self.random.choice(_NAMES)
        length = self.random.choice((1, 5, 190))
        return "n" + "".join(self.random.choices("abcXYZ019+-._?=", k=length)).removesuffix(".drv")

    def _string(self) -> str:
        if self.random.random() < 0.01:
            return random_string(self.random, 12) * 500
        return random_string(self.random)

    def _text(self, pieces: int = 3) -> Text:
        parts: list[str | Reference] = []
        for _ in range(self.random.randrange(pieces + 1)):
            parts.append(self._string())
            if self.targets and self.random.random() < 0.6:
                target = self.random.choice(self.targets)
                outputs = target.outputs if isinstance(target, Node) else ("out",)
                parts.append(Reference(target, self.random.choice(outputs)))
        # Not always joined: what stands side by side has to be seen together.
        return text(*parts) if self.random.random() < 0.5 else tuple(parts)


def computed(graph: DerivationGraph) -> dict[str, list[str]]:
    """Return the path of each derivation and of its outputs, as Python has them."""
    exact = graph.instantiation
    return {
        item.variable: [
            exact.drv_path(item.node),
            *(exact.path(item.node, output) for output in item.node.outputs),
        ]
        for item in graph.items
    }


def asked(graph: DerivationGraph) -> str:
    """Print the function that asks Nix for the same of derivations by variable."""
    rows = []
    for item in graph.items:
        found = f"found.{item.variable}"
        outputs = " ".join(f"{found}.{attribute(one)}.outPath" for one in item.node.outputs)
        rows.append(f"{item.variable} = [ {found}.drvPath {outputs} ];")
    return "found: { " + " ".join(rows) + " }"


def evaluated(nix_env: NixEnv, folder: Path, values: list[str]) -> list[dict[str, list[str]]]:
    """Evaluate expressions in one call of Nix."""
    path = folder / "all.nix"
    path.write_text("[\n" + "\n".join(f"({one})" for one in values) + "\n]\n")
    printed = nix_env.run("nix-instantiate", "--eval", "--strict", "--json", path)
    found: list[dict[str, list[str]]] = json.loads(printed.stdout)
    return found


def compare(nix_env: NixEnv, graphs: list[DerivationGraph]) -> None:
    """Compare the three ways for some graphs."""
    from_text, from_lock = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number, graph in enumerate(graphs):
            printed, written = folder / f"{number}.nix", folder / f"{number}.json"
            printed.write_bytes(expression(graph, "a command").encode())
            written.write_bytes(lock(graph, "a command").encode())
            from_text.append(f"({asked(graph)}) (import ./{number}.nix {{ }}).stages")
            read = f"(import {LIBRARY}).fromLock {{ lock = ./{number}.json; }}"
            from_lock.append(f"({asked(graph)}) ({read})")
        ways = [evaluated(nix_env, folder, one) for one in (from_text, from_lock)]
    for graph, by_text, by_lock in zip(graphs, *ways, strict=True):
        expected, said = computed(graph), lock(graph, "a command")
        assert by_text == expected, expression(graph, "a command")
        assert by_lock == expected, said
        # Python reads the lock as Nix does, and again each path follows from what it says.
        read_back = parse_lock(said.encode()).derivations.values()
        again = {one.variable: [one.drv_path, *one.paths.values()] for one in read_back}
        assert again == expected


def test_three_ways_give_one_path(
    nix_env: NixEnv, capsys: pytest.CaptureFixture[str], record_property: Any
) -> None:
    """Of 1,100 graphs, .drv and output paths are the same computed, evaluated and from the lock."""
    counted = {"graphs": 0, "derivations": 0}

    @settings(max_examples=BATCHES, phases=(Phase.explicit, Phase.reuse, Phase.generate))
    @given(st.integers(0, 2**32).map(Random))
    def batch(random: Random) -> None:
        graphs = [DerivationGraph(Graphs(random).draw()) for _ in range(BATCH)]
        compare(nix_env, graphs)
        counted["graphs"] += len(graphs)
        counted["derivations"] += sum(len(graph.items) for graph in graphs)

    batch()
    assert counted["graphs"] >= 1000
    for what, count in counted.items():
        record_property(what, count)
    with capsys.disabled():
        print(
            f"\nthree ways, one path: {counted['graphs']} graphs, "
            f"{counted['derivations']} derivations"
        )


def test_depth_is_no_matter(nix_env: NixEnv) -> None:
    """A chain of 5,000 derivations, far deeper than Python recurses, has one path in three ways."""
    nodes: list[Node] = []
    for number in range(5000):
        below = text(Reference(nodes[-1])) if nodes else text("")
        node = Node(f"n{number}", "x86_64-linux", text("/bin/sh"), env={"below": below})
        nodes.append(node)
    compare(nix_env, [DerivationGraph(nodes)])


def test_a_wide_diamond(nix_env: NixEnv) -> None:
    """Twelve layers of three, each referring to all of the layer before, are no more than 36."""
    layer: list[Node] = []
    for depth in range(12):
        below = tuple(Reference(one) for one in layer)
        layer = [
            Node(f"d{depth}-{place}", "x86_64-linux", text("/bin/sh"), env={"below": below})
            for place in range(3)
        ]
    graph = DerivationGraph(layer)
    assert len(graph.items) == 36
    compare(nix_env, [graph])
