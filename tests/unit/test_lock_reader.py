"""Locks as Python writes and reads them: text, round trips, hostile input."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix import DRef, execute, fetchurl, match_latest, mkfile, unpack
from plxnix.errors import ExportError, InvalidValue, NixFormatError, PlxnixError
from plxnix.export.graph import DerivationGraph, ExportGraph
from plxnix.export.lock import DEEP, lock
from plxnix.export.lock_reader import parse_lock, read_lock
from plxnix.export.locked import Lock
from plxnix.nix.graph import FixedOutput, Instantiation, Node, Package, Reference, Source, text
from plxnix.nix.hashes import Hash
from plxnix.recipes.toolchain import HOST, NIXPKGS, Toolchain
from tests.nix_samples import random_graph
from tests.stage_samples import Lab

HASH = Hash.of_bytes(b"")


def stages(lab: Lab, greeting: str = "hello") -> DRef:
    """Register one stage of each kind: a fetch, a part, files, a pin and a command."""
    registry = lab.registry
    archive = fetchurl("https://example.org/a.tar.gz", HASH.hex, mode="", registry=registry)
    opaque = lab.stage("opaque", content=["1", "2"], matcher=match_latest(2))
    lab.realize(opaque)
    tree = unpack(archive, registry=registry)
    return execute(
        f"\n  cat $text {opaque} > $out\n  echo {greeting}\n  ls {tree}\n",
        name="report",
        text=mkfile("text", "one\ntwo\n", registry=registry) / "text",
        registry=registry,
    )


def written(lab: Lab, toolchain: Toolchain = HOST, greeting: str = "hello") -> str:
    """Write the lock of the stages."""
    return lock(ExportGraph(lab.closure(stages(lab, greeting)), toolchain), "plxnix export x.py")


def parsed(value: Any) -> Lock:
    """Read a lock that is given as a value."""
    return parse_lock(json.dumps(value).encode())


# -- writing -----------------------------------------------------------------------------------


@given(st.integers(0, 2**32).map(Random))
def test_the_text_is_that_of_the_json_module(random: Random) -> None:
    """Sorted keys, two blanks of indentation, no escapes that are not needed."""
    said = lock(DerivationGraph(random_graph(random)), "é \\ \n \u2028 command")
    value = json.loads(said)
    assert said == json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    assert value["version"] == 1
    assert value["generated"]["with"] == "é \\ \n \u2028 command"


def test_equal_stages_give_equal_text(lab: Lab, tmp_path: Path) -> None:
    """Another store, another order of registration: the same lock."""
    other = Lab(tmp_path / "other")
    mkfile("unrelated", "", registry=other.registry)
    assert written(other) == written(lab)


def test_a_changed_line_is_a_small_diff(lab: Lab, tmp_path: Path) -> None:
    """One line of a script changes: the line and the stage's reference do."""
    before = written(lab).splitlines()
    after = written(Lab(tmp_path / "other"), greeting="bonjour").splitlines()
    assert len(before) == len(after)
    pairs = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert len(pairs) == 3
    assert sum("report" in one for one, _ in pairs) == 2
    assert '          "  echo bonjour\\n",' in after


def test_text_is_split_at_line_feeds_only() -> None:
    """Other things that Python takes for ends of lines stay in the middle."""
    contents = "a\u2028b\x0bc\r\nd\re\n\nf"
    source = Reference(Source("s", contents))
    env = {"v": text(contents), "w": text(contents, source)}
    value = json.loads(lock(DerivationGraph([Node("n", "x", text("/bin/sh"), env=env)]), ""))
    lines = ["a\u2028b\x0bc\r\n", "d\re\n", "\n", "f"]
    assert value["derivations"]["n"]["env"] == {
        "v": lines,
        "w": [*lines, {"file": "s", "contents": lines}],
    }


@pytest.mark.parametrize("bad", ["a\0b", "\udc80"])
@pytest.mark.parametrize("where", ["env", "source", "command"])
def test_what_nix_cannot_have_is_refused(bad: str, where: str) -> None:
    """NUL and bytes that are not UTF-8 are errors before anything is written."""
    said = text(Reference(Source("s", bad))) if where == "source" else text(bad)
    env = {} if where == "command" else {"v": said}
    graph = DerivationGraph([Node("n", "x", text("/bin/sh"), env=env)])
    with pytest.raises((ExportError, NixFormatError)):
        lock(graph, bad if where == "command" else "")


# -- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("toolchain", [HOST, NIXPKGS], ids=lambda one: one.name)
def test_reading_gives_back_what_was_written(
    lab: Lab, tmp_path: Path, toolchain: Toolchain
) -> None:
    """Derivations, kinds, references, paths and targets survive; so does the order."""
    graph = ExportGraph(lab.closure(stages(lab)), toolchain)
    path = tmp_path / "plxnix.lock.json"
    path.write_text(lock(graph, "the command"))
    found = read_lock(path)
    assert (found.command, found.toolchain) == ("the command", toolchain.name)
    assert found.derivations.keys() == {item.variable for item in graph.items}
    assert found.targets == {
        dref: tuple(item.variable for item in items) for dref, items in graph.targets.items()
    }
    kinds = []
    for item in graph.items:
        one = found.derivations[item.variable]
        kinds.append(one.kind)
        assert one.dref == (item.lowered.dref if item.lowered else None)
        assert one.rref == (item.lowered.rref if item.lowered else None)
        if toolchain is HOST:
            assert one.drv_path == graph.instantiation.drv_path(item.node)
            assert one.paths == {"out": graph.instantiation.path(item.node)}
        else:
            assert one.drv_path == ""
            assert ("out" in one.paths) == (item.node.fixed is not None)
    assert sorted(kinds) == ["derivation"] * 3 + ["fixed-output"] + ["pin"] * 2


@given(st.integers(0, 2**32).map(Random))
def test_writing_what_was_read_gives_the_same_text(random: Random) -> None:
    """A lock of any derivations survives a round trip to the byte."""
    said = lock(DerivationGraph(random_graph(random)), "")
    nodes = {name: one.node for name, one in parse_lock(said.encode()).derivations.items()}
    exact = Instantiation()
    again = parse_lock(lock(DerivationGraph([*nodes.values()]), "").encode()).derivations.values()
    # Clashing names are numbered in the order of the derivations, which may be another.
    assert {one.drv_path for one in again} == {exact.drv_path(node) for node in nodes.values()}


def test_packages_that_are_locked_survive() -> None:
    """Their derivations are in the lock, so that paths are known after reading."""
    out = "/nix/store/00000000000000000000000000000000-bash"
    bash = Package("bash", f"{out}.drv", (("out", out),), HASH.hex)
    graph = DerivationGraph([Node("n", "x86_64-linux", text(Reference(bash), "/bin/bash"))])
    (one,) = parse_lock(lock(graph, "").encode()).derivations.values()
    assert one.drv_path == graph.instantiation.drv_path(graph.roots[0].node)


@pytest.mark.parametrize("count", [DEEP, DEEP + 1])
def test_deep_locks_say_their_order(count: int) -> None:
    """Far deeper than Python recurses is no matter; what Nix cannot recurse has its order."""
    nodes: list[Node] = []
    for number in range(count):
        below = text(Reference(nodes[-1])) if nodes else text("")
        nodes.append(Node(f"n{number}", "x", text("/bin/sh"), env={"below": below}))
    said = lock(DerivationGraph(nodes[-1:]), "")
    found = parse_lock(said.encode())
    assert [*found.derivations] == [node.name for node in nodes]
    assert json.loads(said).get("order", []) == ([*found.derivations] if count > DEEP else [])


# -- hostile input -----------------------------------------------------------------------------


def sample() -> Any:
    """Return the value of a lock in which there is some of everything."""
    lower = Node("lower", "x86_64-linux", text("/bin/sh"), outputs=("out", "dev"))
    fixed = Node(
        "fixed", "x86_64-linux", text("/bin/sh"), fixed=FixedOutput(HASH), comment="pin of x"
    )
    upper = Node(
        "upper",
        "x86_64-linux",
        text("/bin/sh"),
        args=(text("a\n", Reference(lower, "dev"), Reference(Source("s", "1\n2"))),),
        env={"v": text(Reference(fixed)), "p": text(Reference(Package("bash")))},
    )
    value = json.loads(lock(DerivationGraph([upper]), "command"))
    value["targets"] = {f"dref:{'0' * 32}-upper": {"name": "upper", "variables": ["upper"]}}
    return value


Change = Callable[[Any], Any]


def _set(*path: Any) -> Change:
    """Return a change of the sample: the last of `path` is put at the place of the others."""

    def change(value: Any) -> None:
        *places, last, new = path
        for place in places:
            value = value[place]
        value[last] = new

    return change


_UPPER = ("derivations", "upper")
_ARGUMENT = (*_UPPER, "args", 0)

CHANGES: dict[str, tuple[Change, str]] = {
    "a newer version": (_set("version", 2), "version 2"),
    "a version that is text": (_set("version", "1"), "version"),
    "a version that is true": (_set("version", True), "version"),
    "no derivations": (lambda value: value.pop("derivations"), "derivations"),
    "something unknown": (_set("surprise", 1), "surprise"),
    "derivations in a list": (_set("derivations", []), "object"),
    "a derivation that is text": (_set("derivations", "upper", "x"), "object"),
    "no builder": (lambda value: value["derivations"]["upper"].pop("builder"), "builder"),
    "an empty builder": (_set(*_UPPER, "builder", ""), "builder"),
    "a field that is not known": (_set(*_UPPER, "__impure", "1"), "__impure"),
    "a name that is a path": (_set(*_UPPER, "name", "../x"), "../x"),
    "a name that is a number": (_set(*_UPPER, "name", 1), "name"),
    "a system with quotes": (_set(*_UPPER, "system", '"'), "system"),
    "a kind that is not known": (_set(*_UPPER, "kind", "magic"), "magic"),
    "a kind that does not fit": (_set(*_UPPER, "kind", "pin"), "pin"),
    "outputs twice": (_set(*_UPPER, "outputs", ["a", "a"]), "outputs"),
    "no outputs": (_set(*_UPPER, "outputs", []), "outputs"),
    "an odd output": (_set(*_UPPER, "outputs", ["a b"]), "a b"),
    "a reserved variable": (_set(*_UPPER, "env", "__structuredAttrs", "1"), "structured"),
    "a variable with NUL": (_set(*_UPPER, "env", "v", "a\0b"), "NUL"),
    "bytes that are not UTF-8": (_set(*_UPPER, "env", "v", "\udc80"), "UTF-8"),
    "a variable that is a set": (_set(*_UPPER, "env", "v", {"outPath": "/etc"}), "list"),
    "a part that is a set": (_set(*_UPPER, "env", "v", [{"outPath": "/etc"}]), "upper"),
    "a part that is a number": (_set(*_ARGUMENT, 0, 1), "object"),
    "a reference to nothing": (_set(*_ARGUMENT, 1, {"ref": "x", "output": "out"}), "'x'"),
    "a reference to a list": (_set(*_ARGUMENT, 1, {"ref": [], "output": "out"}), "text"),
    "an output that is not there": (_set(*_ARGUMENT, 1, "output", "doc"), "doc"),
    "a file with a bad name": (_set(*_ARGUMENT, 2, "file", "a/b"), "a/b"),
    "a file of numbers": (_set(*_ARGUMENT, 2, "contents", [1]), "text"),
    "a circle": (
        _set("derivations", "lower", "args", [[{"ref": "upper", "output": "out"}]]),
        "circle",
    ),
    "a circle of one": (
        _set("derivations", "lower", "args", [[{"ref": "lower", "output": "out"}]]),
        "circle",
    ),
    "a hash that is none": (_set("derivations", "fixed", "fixed", "hash", "sha256-x"), "sha256"),
    "a hash in hex": (_set("derivations", "fixed", "fixed", "hash", HASH.hex), "SRI"),
    "a hash that is a list": (_set("derivations", "fixed", "fixed", "hash", []), "hash"),
    "a mode that is not known": (_set("derivations", "fixed", "fixed", "mode", "git"), "git"),
    "a path of its own": (_set("derivations", "lower", "drvPath", "/nix/store/x"), "drvPath"),
    "a variable that is code": (
        lambda value: value["derivations"].update({"x; y": value["derivations"]["lower"]}),
        "x; y",
    ),
    "a variable of ours": (
        lambda value: value["derivations"].update(targets=value["derivations"]["lower"]),
        "targets",
    ),
    "a target that is no reference": (_set("targets", {"x": {}}), "'x'"),
    "a target that is not there": (
        _set("targets", f"dref:{'0' * 32}-upper", "variables", ["x"]),
        "'x'",
    ),
    "a target of another name": (_set("targets", f"dref:{'0' * 32}-upper", "name", "x"), "name"),
    "a reference that is none": (_set(*_UPPER, "dref", "dref:x"), "dref:x"),
    "tools without a script": (_set("derivations", "lower", "tools", []), "script"),
    "an order with a gap": (_set("order", ["upper"]), "order"),
    "a package without hash": (
        _set("packages", {"bash": {"drvPath": "x", "outputs": []}}),
        "modulo",
    ),
    "a package at no path": (
        _set("packages", {"bash": {"drvPath": "x", "outputs": [], "modulo": HASH.hex}}),
        "store path",
    ),
}


def test_the_sample_is_read() -> None:
    """What the changes below are made to is a lock."""
    assert [*parsed(sample()).derivations] == ["fixed", "lower", "upper"]


@pytest.mark.parametrize("name", CHANGES)
def test_a_bad_lock_is_refused_and_said_why(name: str) -> None:
    """Whatever is wrong is an error of ours that names it."""
    change, expected = CHANGES[name]
    value = sample()
    change(value)
    with pytest.raises((InvalidValue, ExportError)) as caught:
        parsed(value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "JSON"),
        (b"\xff", "UTF-8"),
        (b"\xef\xbb\xbf{}", "JSON"),
        (b"[1]", "object"),
        (b"{}", "version"),
        (b'{"version": 1, "version": 1}', "twice"),
        (b'{"version": NaN}', "NaN"),
        (b'{"version": 1.0}', "1.0"),
        (b"[" * 200_000, "nested"),
        (b'{"version": ' + b"1" * 10_000 + b"}", ""),
    ],
)
def test_what_is_no_lock_is_refused(data: bytes, expected: str) -> None:
    """Other JSON, and what is none."""
    with pytest.raises(InvalidValue) as caught:
        parse_lock(data)
    assert expected in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """No file, or a folder."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InvalidValue, match="cannot read the lock"):
            read_lock(path)


_JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 0, -1, 2**70, 0.5, "", "x", "\0", "upper", [], ["x"], [[]], {}, {"ref": "upper"}]
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List the places of a value, each as the way to it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in pairs:
        yield (*path, key)
        if isinstance(one, (dict, list)):
            yield from _places(one, (*path, key))


SAMPLE = sample()
PLACES = [*_places(SAMPLE)]


@given(st.sampled_from(PLACES), _JUNK | st.just("removed"))
def test_any_damage_is_an_error_of_ours_or_none(path: tuple[Any, ...], junk: Any) -> None:
    """Put anything anywhere, or take anything out: nothing but our own errors comes of it."""
    value = copy.deepcopy(SAMPLE)
    inner = value
    for place in path[:-1]:
        inner = inner[place]
    if junk == "removed":
        del inner[path[-1]]
    else:
        inner[path[-1]] = junk
    with suppress(PlxnixError):
        parsed(value)
