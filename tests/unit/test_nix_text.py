"""Nix expressions as text: how they look. That Nix reads them is tested in `tests/nix`."""

from __future__ import annotations

import pytest

from plxnix.errors import ExportError
from plxnix.nix import text
from plxnix.nix.graph import FixedOutput, Node, Reference, Source
from plxnix.nix.graph import text as join
from plxnix.nix.hashes import Hash


def test_strings() -> None:
    """Escapes are those that every version of Nix reads alike."""
    assert text.string('a"b\\c\n\r\t${x}$x$${é}') == '"a\\"b\\\\c\\n\\r\\t\\${x}$x$\\${é}"'


@pytest.mark.parametrize("content", ["a\0b", "x\udcff", chr(0xD800)])
def test_strings_that_nix_cannot_hold(content: str) -> None:
    """NUL and bytes that are not UTF-8 are refused, in strings, templates, names and values."""
    for printing in (text.string, text.attribute, text.value, lambda one: text.value({one: 1})):
        with pytest.raises(ExportError):
            printing(content)
    with pytest.raises(ExportError):
        text.template((content,), str)


def test_templates() -> None:
    """References are holes; a `$` before one is escaped; a lone reference is a string too."""
    one = Reference(Source("s", ""))
    assert text.template((), lambda _: "s") == '""'
    assert text.template((one,), lambda _: "s") == '"${s}"'
    assert text.template(join("a$", one, "{b}"), lambda _: "s.dev") == '"a\\$${s.dev}{b}"'
    assert text.template(("$", "{b}"), lambda _: "s") == '"\\${b}"'


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("a", "a"),
        ("a-b'_1", "a-b'_1"),
        ("or", '"or"'),
        ("rec", '"rec"'),
        ("true", "true"),
        ("1a", '"1a"'),
        ("a.b", '"a.b"'),
        ("", '""'),
        ("${x}", '"\\${x}"'),
        ("é", '"é"'),
        ("a\n", '"a\\n"'),
    ],
)
def test_attributes(name: str, printed: str) -> None:
    """Names are bare where they may be."""
    assert text.attribute(name) == printed


def test_holes() -> None:
    """The first output is the derivation itself."""
    node = Node("n", "s", ("/b",), outputs=("lib", "out"))
    assert text.hole(Reference(node, "lib"), "n") == "n"
    assert text.hole(Reference(node), "n") == "n.out"
    assert text.hole(Reference(Source("s", "")), "s") == "s"


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("hello", "hello"),
        ("hello-2.10.tar.gz", "hello-2-10-tar-gz"),
        ("2to3", "_2to3"),
        ("rec", "rec_"),
        ("builtins", "builtins_"),
        ("a?b=c", "a-b-c"),
        ("?", "_"),
        ("__sub", "_sub"),
        ("-a", "a"),
    ],
)
def test_variables(name: str, variable: str) -> None:
    """Variables are near to the names and hide nothing of Nix."""
    assert text.identifier(name) == variable


def test_variables_that_clash() -> None:
    """The first keeps its name; numbers avoid what others are called."""
    names = ["a.b", "a-b", "a-b-2", "a=b", "x"]
    assert text.unique(names) == {
        "a.b": "a-b",
        "a-b": "a-b-3",
        "a-b-2": "a-b-2",
        "a=b": "a-b-4",
        "x": "x",
    }
    assert text.unique({1: "a", 2: "a"}, reserved=["a"]) == {1: "a-2", 2: "a-3"}


def test_layout() -> None:
    """What fits is one line, what does not is one line each; attributes are sorted."""
    value = {
        "short": [1, -2, None, True, "x"],
        "empty": [[], {}],
        "long": ["a" * 40, {"b": "b" * 40, "a": "c" * 20}],
        "if": {"x.y": 1},
    }
    assert text.value(value) == (
        "{\n"
        "  empty = [ [ ] { } ];\n"
        '  "if" = { "x.y" = 1; };\n'
        "  long = [\n"
        f'    "{"a" * 40}"\n'
        "    {\n"
        f'      a = "{"c" * 20}";\n'
        f'      b = "{"b" * 40}";\n'
        "    }\n"
        "  ];\n"
        '  short = [ 1 (-2) null true "x" ];\n'
        "}"
    )
    assert max(len(line) for line in text.value(value).splitlines()) <= text.WIDTH


@pytest.mark.parametrize(
    "value", [1.0, float("nan"), 2**63, -(2**63) - 1, {1: 2}, b"x", {"a": {1}}, [object()]]
)
def test_values_that_are_refused(value: object) -> None:
    """Floats, numbers beyond 64 bits and what is not JSON."""
    with pytest.raises(ExportError):
        text.value(value)


def test_a_derivation() -> None:
    """One attribute a line, in a stable order; what is not needed is left out."""
    source = Source("s.txt", "a\n")
    node = Node(
        "name",
        "x86_64-linux",
        ("/bin/sh",),
        (("-c",), ("cp ", Reference(source), " $out; " + "x" * 60)),
        {"PATH": ("/bin",), "or": ()},
        outputs=("out", "dev"),
    )
    assert text.expression(source, lambda _: "") == 'builtins.toFile "s.txt" "a\\n"'
    assert text.expression(node, lambda _: "s", 2) == (
        "derivation {\n"
        '    name = "name";\n'
        '    system = "x86_64-linux";\n'
        '    builder = "/bin/sh";\n'
        "    args = [\n"
        '      "-c"\n'
        f'      "cp ${{s}} $out; {"x" * 60}"\n'
        "    ];\n"
        '    outputs = [ "out" "dev" ];\n'
        '    PATH = "/bin";\n'
        '    "or" = "";\n'
        "  }"
    )


def test_a_fixed_output() -> None:
    """Its hash is SRI, with the mode."""
    fixed = FixedOutput(Hash.of_bytes(b""), recursive=True)
    assert text.expression(Node("f", "builtin", ("b",), fixed=fixed), str) == (
        "derivation {\n"
        '  name = "f";\n'
        '  system = "builtin";\n'
        '  builder = "b";\n'
        '  outputHash = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";\n'
        '  outputHashAlgo = "";\n'
        '  outputHashMode = "recursive";\n'
        "}"
    )
