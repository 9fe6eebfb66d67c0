"""What plxnix computes and prints is what the installed Nix computes and reads."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from plxnix.nix import aterm, nar, paths, text
from plxnix.nix.graph import Instantiation, Node, Reference, Source
from plxnix.nix.graph import text as join
from plxnix.nix.hashes import Hash
from tests.nix_environment import NixEnv
from tests.nix_samples import (
    ODD,
    Tree,
    let,
    random_graph,
    random_string,
    trees,
    write,
)

#: Random cases are tried hundreds at a time, as each call of Nix costs more than they do; so the
#: seed of a failure is shown, but not made smaller.
randoms = st.integers(0, 2**32).map(Random)
batched = settings(max_examples=2, phases=(Phase.explicit, Phase.reuse, Phase.generate))


def evaluate(nix_env: NixEnv, expression: str) -> Any:
    """Evaluate an expression of any length; files rather than arguments, which have a limit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "default.nix")
        path.write_bytes(expression.encode())
        printed = nix_env.run("nix-instantiate", "--eval", "--strict", "--json", path)
    return json.loads(printed.stdout)


def listed(expressions: Sequence[str]) -> str:
    """Print a list of expressions."""
    return "[\n" + "\n".join(f"({one})" for one in expressions) + "\n]"


@batched
@given(randoms)
def test_strings_are_read_as_they_were(nix_env: NixEnv, random: Random) -> None:
    """1,000 strings of everything that is easily escaped wrongly come back from Nix."""
    strings = [*ODD, *(a + b for a in ODD for b in ODD)]
    strings += [random_string(random, 12) for _ in range(1000 - len(strings))]
    assert len(strings) == 1000
    assert evaluate(nix_env, text.value(strings)) == strings


@batched
@given(randoms)
def test_holes_are_holes_and_text_is_text(nix_env: NixEnv, random: Random) -> None:
    """Around a reference every string stays what it was, also where a `$` stands before it."""
    source = Source("s", "contents")
    reference = Reference(source)
    path = Instantiation().path(source)
    cases: list[list[str | Reference]] = [
        [random_string(random, 3), reference, random_string(random, 3), reference]
        for _ in range(500)
    ]
    cases += [["$" * count, reference, "{x}"] for count in range(5)]
    cases += [["\\" * count + "$", reference] for count in range(5)]
    # Not joined, so that a `$` and a `{` meet only in print.
    texts = [*(join(*case) for case in cases), ("$", "{s}")]
    printed = [text.template(one, lambda _: "s") for one in texts]
    expression = f"let s = {text.expression(source, lambda _: '')}; in {listed(printed)}"
    expected = ["".join(path if part is reference else str(part) for part in one) for one in texts]
    assert evaluate(nix_env, expression) == expected


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.text(alphabet="ab$ {}\"\\'\n", max_size=60),
        lambda inner: (
            st.lists(inner, max_size=6)
            | st.dictionaries(
                st.text(alphabet="a-'.$ {_", max_size=6) | st.sampled_from(sorted(text.KEYWORDS)),
                inner,
                max_size=6,
            )
        ),
        max_leaves=200,
    )
)
@settings(max_examples=20)
def test_values_are_read_as_they_were(nix_env: NixEnv, value: Any) -> None:
    """JSON values come back from Nix, and stay whole as elements of a list."""
    expression = f"[ {text.value(value, 2)} {text.value(value)} ]"
    assert evaluate(nix_env, expression) == [value, value]


def test_whole_numbers_at_the_edges(nix_env: NixEnv) -> None:
    """The least and the largest whole number, and negative ones as arguments."""
    numbers = [-(2**63), -(2**63) + 1, -1, 0, 2**63 - 1]
    assert evaluate(nix_env, text.value(numbers)) == numbers
    negative = text.value(-5)
    assert evaluate(nix_env, f"builtins.toString {negative}") == "-5"


@batched
@given(randoms)
def test_graphs_are_instantiated_alike(nix_env: NixEnv, random: Random) -> None:
    """Of 200 random graphs, Nix computes the same .drv and output paths from the printed text."""
    expected, printed = [], []
    for _ in range(200):
        nodes = random_graph(random)
        instantiation = Instantiation()
        expected.append(
            [
                [
                    instantiation.drv_path(node),
                    *(instantiation.path(node, output) for output in node.outputs),
                ]
                for node in nodes
            ]
        )
        printed.append(let(nodes, partial(_paths, nodes)))
    for graph, found, wanted in zip(
        printed, evaluate(nix_env, listed(printed)), expected, strict=True
    ):
        assert found == wanted, graph


def _paths(nodes: list[Node], names: Any) -> str:
    rows = []
    for node in nodes:
        bound = names(Reference(node, node.outputs[0]))
        outputs = [f"{names(Reference(node, output))}.outPath" for output in node.outputs]
        rows.append("[ " + " ".join([f"{bound}.drvPath", *outputs]) + " ]")
    return "[\n" + "\n".join(rows) + "\n]"


def test_nix_writes_the_text_that_we_print(nix_env: NixEnv, tmp_path: Path) -> None:
    """The .drv files of random graphs, in the store, are byte for byte ours."""
    random = Random(1)  # noqa: S311
    nodes = [node for _ in range(20) for node in random_graph(random)]
    expression = tmp_path / "default.nix"
    roots = let(nodes, lambda names: listed([names(Reference(n, n.outputs[0])) for n in nodes]))
    expression.write_bytes(roots.encode())
    nix_env.run("nix-instantiate", expression)
    instantiation = Instantiation()
    for node in nodes:
        derivation = instantiation.derivation(node)
        written = Path(derivation.path).read_bytes()
        assert written == derivation.aterm()
        assert aterm.parse(written, node.name) == derivation


@settings(max_examples=5)
@given(st.lists(trees, min_size=5, max_size=10))
def test_archives_are_those_of_nix(nix_env: NixEnv, several: list[Tree]) -> None:
    """`nix-store --dump` writes the same archive; `nix-store --add` gives the same path."""
    with tempfile.TemporaryDirectory() as folder:
        tops = []
        for number, tree in enumerate(several):
            tops.append(os.path.join(folder, f"tree{number}"))
            write(tree, os.fsencode(tops[-1]))
        loop = 'for one in "$@"; do nix-store --dump "$one" | sha256sum; done'
        sums = nix_env.run("sh", "-c", loop, "sh", *tops).stdout.split()[::2]
        found = [nar.nar_hash(top)[0] for top in tops]
        assert [one.hex for one in found] == sums
        added = nix_env.run("nix-store", "--add", *tops).stdout.split()
        names = [os.path.basename(top) for top in tops]
        assert added == [paths.source_path(*pair) for pair in zip(names, found, strict=True)]


def test_a_large_file_is_hashed_as_by_nix(nix_env: NixEnv, tmp_path: Path) -> None:
    """Sizes around those at which files are read in pieces give Nix's archive."""
    for size in (nar.PIECE - 1, nar.PIECE, nar.PIECE + 1, 3 * nar.PIECE + 5):
        path = tmp_path / "file"
        path.write_bytes(b"x" * size)
        path.chmod(0o644)
        for executable in (False, True):
            path.chmod(0o755 if executable else 0o644)
            archive = b"".join(nar.dump(path))
            printed = nix_env.run("sh", "-c", 'nix-store --dump "$1" | sha256sum', "sh", path)
            assert printed.stdout.split()[0] == hashlib.sha256(archive).hexdigest()
            assert nar.nar_hash(path) == (Hash.of_bytes(archive), len(archive))
