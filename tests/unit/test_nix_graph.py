"""Derivations, their text, and derivations with holes."""

from __future__ import annotations

from dataclasses import replace
from time import process_time

import pytest

from plxnix.errors import InvalidName, NixFormatError
from plxnix.nix import aterm, quoting
from plxnix.nix.derivation import Derivation, Hasher, Output, placeholder
from plxnix.nix.graph import (
    RESERVED,
    FixedOutput,
    Instantiation,
    Node,
    Package,
    Reference,
    Source,
    Text,
    attributes,
    references,
    text,
    topological,
)
from plxnix.nix.hashes import Hash

SHELL = text("/bin/sh")
HELLO = Hash.of_bytes(b"hello\n")


def node(name: str = "name", **env: Text) -> Node:
    """Return a node with variables."""
    return Node(name, "x86_64-linux", SHELL, env=env)


PLAIN = Derivation("name", "s", "/b", (), {"a": "b"}, {"out": Output("")}, {}, frozenset())


# -- text of derivations -----------------------------------------------------------------------


def test_quoting() -> None:
    """Five characters are escaped, all others stand as they are."""
    assert quoting.quote('a"b\\c\n\r\t\x01é$') == '"a\\"b\\\\c\\n\\r\\t\x01é$"'


GOOD = PLAIN.aterm().decode()


@pytest.mark.parametrize(
    ("damaged", "offset"),
    [
        ("", 0),
        ("derive" + GOOD[6:], 0),
        (GOOD[:-1], len(GOOD) - 1),
        (GOOD + "\n", len(GOOD)),
        (GOOD.replace('"a"', '"a\\x"'), GOOD.index('"a"')),
        (GOOD.replace('("a"', '("a'), None),
        (GOOD.replace('("a","b")', '("b",""),("a","b")'), None),
        (GOOD.replace('("a","b")', '("a","b"),("a","b")'), None),
        (GOOD.replace('("a","b")', '("a","b"),'), None),
        (GOOD.replace('("a","b")', ',("a","b")'), None),
        (GOOD.replace('("a","b")', '("a","b","c")'), None),
        (GOOD.replace(",", ", "), None),
        (GOOD.replace("[],", "[,],", 1), None),
    ],
)
def test_text_that_nix_would_not_write_is_refused(damaged: str, offset: int | None) -> None:
    """The error names the offset."""
    with pytest.raises(NixFormatError, match=r"at offset \d+") as caught:
        aterm.parse(damaged, "name")
    if offset is not None:
        assert f"at offset {offset}:" in str(caught.value)


def test_parsing_is_linear() -> None:
    """A megabyte of escapes and a hundred thousand arguments are read in a moment."""
    large = replace(PLAIN, args=("x",) * 100_000, env={"a": '\\"\n' * 300_000})
    start = process_time()
    assert aterm.parse(large.aterm(), "name") == large
    assert process_time() - start < 60


def test_masking_hides_output_paths_only() -> None:
    """The outputs and the variables of their names are empty, all else stays."""
    made = Hasher().instantiate(PLAIN)
    assert made.outputs["out"].path == made.env["out"] != ""
    assert made.aterm(masked=True).decode() == made.aterm().decode().replace(made.env["out"], "")


def test_changed_copies_have_their_own_path() -> None:
    """The path that was computed once is not carried over to another derivation."""
    assert PLAIN.path != replace(PLAIN, builder="/c").path
    assert replace(PLAIN) == PLAIN


def test_inputs_must_be_known() -> None:
    """A derivation whose input was not given cannot be hashed, and the error names the input."""
    made = replace(PLAIN, input_derivations={"/nix/store/x.drv": ("out",)})
    with pytest.raises(NixFormatError, match=r"/nix/store/x\.drv"):
        Hasher().instantiate(made)


def test_wrong_output_paths_are_found() -> None:
    """A derivation from elsewhere is only added if its output paths follow from it."""
    made = Hasher().instantiate(PLAIN)
    assert Hasher().add(made) == made.path
    for wrong in (
        replace(made, builder="/other"),
        replace(made, outputs={"out": Output(made.env["out"] + "x")}),
        replace(made, env={**made.env, "out": "/elsewhere"}),
        replace(made, env={"a": "b"}),
    ):
        with pytest.raises(NixFormatError, match="does not follow"):
            Hasher().add(wrong)


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("sha256", "abc"),
        ("r:", "00" * 32),
        ("x:sha256", "00" * 32),
        ("sha384", "00" * 48),
        ("sha256", HELLO.base32),
    ],
)
def test_broken_fixed_outputs_are_refused(algorithm: str, digest: str) -> None:
    """An algorithm that Nix lacks, and a hash that is not in hex."""
    broken = replace(PLAIN, outputs={"out": Output("", algorithm, digest)})
    with pytest.raises(NixFormatError, match="fixed output"):
        Hasher().instantiate(broken)


def test_the_placeholder_of_out() -> None:
    """It is what `builtins.placeholder "out"` gives."""
    assert placeholder("out") == "/1rz4g4znpzjwh1xymhjpm42vipw92pr73vdgl6xs1hycac8kf2n9"


# -- graphs ------------------------------------------------------------------------------------


def test_references_are_told_apart_by_node() -> None:
    """Two nodes are never equal; two references to one output of one node are."""
    one, other = node(), node()
    assert one != other
    assert Reference(one) == Reference(one, "out") != Reference(other)
    assert Reference(one, "dev") != Reference(one)
    assert {Reference(one), Reference(one)} == {Reference(one)}
    assert Reference(Source("a", "b")) == Reference(Source("a", "b"))


def test_references_come_once_in_order() -> None:
    """Builder first, then arguments, then variables."""
    a, b, c = Reference(node("a")), Reference(node("b")), Reference(Source("c", ""))
    user = Node("user", "s", text(b, "/bin"), (text(c), text(b)), {"x": text(a, c)})
    assert references(user) == [b, c, a]


def test_cycles_are_shown() -> None:
    """A circle is an error that names its members, also one of a node with itself."""
    a, b, c = node("a"), node("b"), node("c")
    a.env["x"] = text(Reference(b))
    b.env["x"] = text(Reference(c))
    c.env["x"] = text(Reference(b))
    with pytest.raises(NixFormatError, match="b -> c -> b"):
        topological([a])
    a.env["x"] = text(Reference(a))
    with pytest.raises(NixFormatError, match="a -> a"):
        Instantiation().path(a)


def test_known_nodes_are_left_out() -> None:
    """What is known is not visited again, nor what only it refers to."""
    a = node("a")
    b = node("b", x=text(Reference(a)))
    c = node("c", x=text(Reference(b)), y=text(Reference(Source("s", ""))))
    assert topological([c], {b}) == [Source("s", ""), c]
    assert topological([c, a, c]) == [a, b, Source("s", ""), c]


def test_what_derivation_is_called_with() -> None:
    """Name, system and builder; for a fixed output how Nix is told its hash."""
    fixed = Node("f", "s", SHELL, env={"x": text("y")}, fixed=FixedOutput(HELLO, recursive=True))
    assert attributes(fixed) == {
        "name": ("f",),
        "system": ("s",),
        "builder": ("/bin/sh",),
        "outputHash": (HELLO.sri,),
        "outputHashAlgo": (),
        "outputHashMode": ("recursive",),
        "x": ("y",),
    }
    assert attributes(replace(fixed, fixed=FixedOutput(HELLO)))["outputHashMode"] == ("flat",)
    env = Instantiation().derivation(node()).env
    assert set(env) == {"name", "system", "builder", "out"}
    several = replace(node(), outputs=("z", "out"))
    assert Instantiation().derivation(several).env["outputs"] == "z out"


def test_fetches_are_those_of_nix() -> None:
    """The vector `fetchurl-nix-file`: the .drv of `<nix/fetchurl.nix>` for an SRI hash."""
    url = text("file:///tmp/some/file.txt")
    fetch = Node(
        "file.txt",
        "builtin",
        text("builtin:fetchurl"),
        env={
            "executable": (),
            "impureEnvVars": text("http_proxy https_proxy ftp_proxy all_proxy no_proxy"),
            "preferLocalBuild": text("1"),
            "unpack": (),
            "url": url,
            "urls": url,
        },
        fixed=FixedOutput(HELLO),
    )
    assert (
        Instantiation().drv_path(fetch)
        == "/nix/store/j0saqsjyp09832cs7wf5r51l90yg8w76-file.txt.drv"
    )


@pytest.mark.parametrize("key", [*sorted(RESERVED), "out", "", "a=b", "a\0"])
def test_variables_that_nix_reserves_are_refused(key: str) -> None:
    """A variable that would change what the derivation is, or that cannot be one."""
    with pytest.raises(NixFormatError, match="variable"):
        Instantiation().derivation(replace(node(), env={key: text("x")}))


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": ()},
        {"outputs": ("out", "out")},
        {"outputs": ("drv",)},
        {"outputs": ("a b",)},
        {"outputs": ("out\n",)},
        {"outputs": ("dev",), "fixed": FixedOutput(HELLO)},
        {"outputs": ("out", "dev"), "fixed": FixedOutput(HELLO)},
        {"system": ""},
        {"system": 'a"b'},
        {"builder": ()},
        {"builder": ("",)},
        {"builder": ("a\0b",)},
        {"args": (("a\0b",),)},
        {"env": {"a": ("a\0b",)}},
    ],
)
def test_nodes_that_are_no_derivations_are_refused(changes: dict[str, object]) -> None:
    """What Nix would refuse, or could not read back, is refused by name."""
    with pytest.raises(NixFormatError, match="name"):
        Instantiation().derivation(replace(node(), **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "a b", "x.drv", ".x", "y" * 208])
def test_names_are_checked(name: str) -> None:
    """Nodes and sources have legal names."""
    with pytest.raises(InvalidName):
        Instantiation().derivation(node(name))


def test_missing_outputs_are_named() -> None:
    """A reference to an output that is not there is an error where it is used."""
    user = node("user", x=text(Reference(node("a"), "dev")))
    with pytest.raises(NixFormatError, match="no output 'dev'"):
        Instantiation().derivation(user)


def test_inputs_of_one_derivation_are_merged() -> None:
    """Two equal nodes are one derivation, whose outputs are united."""
    outputs = ("out", "dev")
    one, two = replace(node(), outputs=outputs), replace(node(), outputs=outputs)
    user = node("user", x=text(Reference(one)), y=text(Reference(two, "dev")))
    instantiation = Instantiation()
    assert instantiation.derivation(user).input_derivations == {
        instantiation.drv_path(one): ("dev", "out")
    }


def test_locked_packages_stand_for_their_derivations() -> None:
    """What depends on a locked package has the paths as if it depended on the derivation."""
    several = replace(node(), outputs=("out", "dev"))
    instantiation = Instantiation()
    made = instantiation.derivation(several)
    outputs = tuple((name, output.path) for name, output in made.outputs.items())
    package = Package("some.package", made.path, outputs, made.modulo({}).hex())
    by_node = node("user", x=text(Reference(several, "dev")))
    by_package = node("user", x=text(Reference(package, "dev")))
    assert Instantiation().derivation(by_package) == instantiation.derivation(by_node)
    with pytest.raises(NixFormatError, match="no output 'lib'"):
        instantiation.path(package, "lib")
    with pytest.raises(NixFormatError, match="not known"):
        instantiation.path(Package("some.package"))


def test_long_chains_are_fast_and_no_recursion() -> None:
    """Ten thousand derivations in a row, each with three inputs, take about a second."""
    nodes: list[Node] = []
    for number in range(10_000):
        holes = [Reference(one) for one in nodes[-3:]]
        nodes.append(node(f"n{number}", PATH=text("/bin"), deps=text(*holes)))
    instantiation = Instantiation()
    start = process_time()
    instantiation.path(nodes[-1])
    # Of this process: on a busy machine more than alone; what is quadratic takes a thousand times.
    assert process_time() - start < 60
    start = process_time()
    assert len({instantiation.path(one) for one in nodes}) == len(nodes)
    assert process_time() - start < 60
