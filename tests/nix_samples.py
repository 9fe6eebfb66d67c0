"""What the tests of Nix's formats share: golden vectors of real Nix, random trees and graphs.

`tests/vectors/nix-vectors.json` was made with Nix 2.8.0, 2.26.3 and 2.34.8, which agree on all of
it but on the case that says `"agree": false`.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

from hypothesis import strategies as st

from plxnix.nix.graph import FixedOutput, Node, Package, Reference, Source, Text, text, topological
from plxnix.nix.hashes import ALGORITHMS, Hash
from plxnix.nix.text import expression, hole, unique

VECTORS = Path(__file__).with_name("vectors") / "nix-vectors.json"


@cache
def vectors() -> dict[str, Any]:
    """Return the golden vectors."""
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


def data(value: Any) -> bytes:
    """Return the bytes that a vector gives in one of its forms."""
    if isinstance(value, str):
        return value.encode()
    if "text" in value:
        return str(value["text"]).encode()
    if "base64" in value:
        return base64.b64decode(value["base64"])
    if "zeros" in value:
        return bytes(value["zeros"])
    piece, count = value["repeat"]
    return str(piece).encode() * int(count)


# -- trees -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class File:
    """A file of a tree."""

    contents: bytes
    executable: bool = False


@dataclass(frozen=True)
class Link:
    """A symbolic link of a tree."""

    target: bytes


Tree: TypeAlias = "File | Link | dict[bytes, Any]"


def tree_of_vector(value: Any) -> Tree:
    """Return the tree that a vector describes."""
    if value["type"] == "regular":
        return File(data(value["contents"]), value["executable"])
    if value["type"] == "symlink":
        return Link(os.fsencode(value["target"]))
    return {os.fsencode(name): tree_of_vector(one) for name, one in value["entries"].items()}


def write(tree: Tree, path: bytes) -> None:
    """Make a tree at a path that is free."""
    if isinstance(tree, File):
        with open(path, "wb") as file:
            file.write(tree.contents)
        os.chmod(path, 0o755 if tree.executable else 0o644)
    elif isinstance(tree, Link):
        os.symlink(tree.target, path)
    else:
        os.mkdir(path)
        for name, one in tree.items():
            write(one, path + b"/" + name)


def read(path: bytes) -> Tree:
    """Return the tree at a path."""
    if os.path.islink(path):
        return Link(os.readlink(path))
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return File(file.read(), bool(os.stat(path).st_mode & 0o100))
    return {name: read(path + b"/" + name) for name in os.listdir(path)}


_file_names = (
    st.binary(min_size=1, max_size=12)
    .map(lambda name: name.replace(b"/", b"_").replace(b"\0", b"-"))
    .filter(lambda name: name not in (b".", b".."))
)
_files = st.builds(File, st.binary(max_size=40), st.booleans())
_links = st.builds(Link, st.binary(min_size=1, max_size=20).filter(lambda name: b"\0" not in name))

#: Trees with any names, links and contents.
trees: st.SearchStrategy[Tree] = st.recursive(
    _files | _links, lambda inner: st.dictionaries(_file_names, inner, max_size=5), max_leaves=12
)


# -- graphs ------------------------------------------------------------------------------------

#: What is easily got wrong in a string: escapes, holes, guards, line ends, other alphabets.
ODD = (
    *('"', "\\", "$", "${", "$${", "$$", "{", "}", "''", "''${", "\n", "\r", "\r\n", "\t", " "),
    *("\x01", "\x7f", "\u2028", "\u00e9", "\u96ea", "\U0001f600", "a", "/", "\\n", "\\${x}", "#"),
)

_NAME_CHARS = "abcXYZ019+-._?="
_VARIABLES = (
    "PATH",
    "a",
    "b-c",
    "d.e",
    "",
    "or",
    "rec",
    "type",
    "outPath",
    "drvPath",
    "\u00e9",
    "A'",
)
_OUTPUTS = (("out",), ("out",), ("out", "dev"), ("lib", "out"), ("bin",), ("z", "a_1", "_"))


def random_string(random: Random, pieces: int = 6) -> str:
    """Return a short string that is full of traps."""
    return "".join(random.choices(ODD, k=random.randrange(pieces + 1)))


def random_graph(random: Random, size: int = 8) -> list[Node]:
    """Return nodes that refer to those before them: diamonds, fixed outputs, several outputs."""
    targets: list[Node | Source] = [
        Source(f"source{number}", random_string(random)) for number in range(2)
    ]
    nodes: list[Node] = []
    for _ in range(random.randrange(1, size + 1)):
        fixed = None
        outputs = random.choice(_OUTPUTS)
        if random.random() < 0.3:
            algorithm = random.choice(list(ALGORITHMS))
            # Few contents, so that different derivations have one output path now and then.
            contents = bytes([random.randrange(2)])
            fixed = FixedOutput(Hash.of_bytes(contents, algorithm), random.random() < 0.5)
            outputs = ("out",)
        variables = {name for name in random.sample(_VARIABLES, 4) if name}
        node = Node(
            name=_random_name(random),
            system=random.choice(("x86_64-linux", "builtin", "riscv64.x+y_z-w")),
            builder=text("/bin/sh", *_random_text(random, targets, 1)),
            args=tuple(_random_text(random, targets) for _ in range(random.randrange(3))),
            env={name: _random_text(random, targets) for name in sorted(variables)},
            outputs=outputs,
            fixed=fixed,
        )
        nodes.append(node)
        targets.append(node)
    return nodes


def _random_name(random: Random) -> str:
    if random.random() < 0.5:
        return random.choice(("a", "b", "derivation", "with", "0", "a.b", "a-b"))
    name = "n" + "".join(random.choices(_NAME_CHARS, k=random.randrange(8)))
    return name.removesuffix(".drv")


def _random_text(random: Random, targets: list[Node | Source], pieces: int = 3) -> Text:
    parts: list[str | Reference] = []
    for _ in range(random.randrange(pieces + 1)):
        parts.append(random_string(random, 3))
        if random.random() < 0.6:
            target = random.choice(targets)
            outputs = target.outputs if isinstance(target, Node) else ("out",)
            parts.append(Reference(target, random.choice(outputs)))
    return text(*parts)


def let(nodes: list[Node], body: Callable[[Callable[[Reference], str]], str]) -> str:
    """Print `let ... in body`, where `body` gets the function that names references.

    The `let` binds the nodes and all that they refer to, which are no packages.
    """
    bound: dict[object, str] = unique({node: node.name for node in topological(nodes)})

    def names(reference: Reference) -> str:
        return hole(reference, bound[reference.node])

    lines = [
        f"  {bound[node]} = {expression(node, names, 2)};\n"
        for node in topological(nodes)
        if not isinstance(node, Package)
    ]
    return f"let\n{''.join(lines)}in\n{body(names)}\n"
