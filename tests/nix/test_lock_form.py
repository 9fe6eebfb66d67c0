"""The `lock` form, read by `plxnix.lib.fromLock` in real Nix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, Registry, execute, fetchurl, fsinit, instantiate, match_latest, mkfile
from plxnix.export.expression import expression
from plxnix.export.forms import Request, render
from plxnix.export.graph import DerivationGraph, ExportGraph
from plxnix.export.lock import LOCK, lock
from plxnix.export.lock_reader import read_lock
from plxnix.nix.graph import Instantiation, Node, Package, Reference, text
from plxnix.realize.registry import Closure
from plxnix.recipes.toolchain import BASICS, HOST, NIXPKGS, Locked, Toolchain, this_system
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.stage_samples import Lab

LIBRARY = Path(__file__).parents[2] / "nix" / "lib"
REQUEST = Request("plxnix export x.py -f lock")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def report() -> DRef:
    """A stage that reads a file of another, and one that is fetched."""
    data = mkfile("data", "one\n")
    empty = fetchurl("https://example.org/empty", EMPTY)
    return execute("cat $data $empty > $out", name="report", data=data / "data", empty=empty)


@pytest.fixture
def closure() -> Closure:
    """The closure of `report`."""
    return instantiate(report, registry=Registry(fsinit()))


def write(closure: Closure, folder: Path, toolchain: Toolchain = HOST) -> ExportGraph:
    """Write the lock into a folder."""
    graph = ExportGraph(closure, toolchain)
    (folder / LOCK).write_text(render("lock", graph, REQUEST)[LOCK])
    return graph


def read(folder: Path, more: str = "") -> str:
    """Return the expression that reads the lock of a folder."""
    return f"((import {LIBRARY}).fromLock {{ lock = {folder}/{LOCK}; {more} }})"


def test_the_stages_are_those_of_python(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """Stages by variable, the target by name and as the default, and what each one is."""
    graph = write(closure, tmp_path)
    expected = {
        item.variable: [
            graph.instantiation.drv_path(item.node),
            {"dref": item.lowered.dref, "kind": item.lowered.kind, "rref": None},
        ]
        for item in graph.items
        if item.lowered is not None
    }
    stages = f'removeAttrs {read(tmp_path)} [ "default" "targets" ]'
    said = f"builtins.mapAttrs (_: one: [ one.drvPath one.plxnix ]) ({stages})"
    assert json.loads(nix_env.evaluate(said)) == expected
    said = f"with {read(tmp_path)}; [ default.drvPath (map (one: one.drvPath) targets.report) ]"
    drv_path = expected["report"][0]
    assert json.loads(nix_env.evaluate(said)) == [drv_path, [drv_path]]


def test_a_set_is_a_lock_too(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """What was read from the file before, such as a lock that was changed, is accepted."""
    write(closure, tmp_path)
    value = f"builtins.fromJSON (builtins.readFile {tmp_path}/{LOCK})"
    said = f"((import {LIBRARY}).fromLock {{ lock = {value}; }}).default.drvPath"
    assert nix_env.evaluate(said) == nix_env.evaluate(f"{read(tmp_path)}.default.drvPath")


def test_an_override_is_used_by_those_that_depend_on_it(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    """A folder of the user's takes the place of a stage, and Nix builds with it."""
    write(closure, tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "data").write_text(f"mine {tmp_path}\n")
    (tmp_path / "nothing").write_text("")
    main = tmp_path / "main.nix"
    overrides = "overrides = { data = ./mine; empty = ./nothing; };"
    main.write_text(f"{read(tmp_path, overrides)}.default")
    assert nix_env.build(main).read_text() == f"mine {tmp_path}\n"


@pytest.mark.parametrize("count", [1, 2])
def test_pins_are_one_or_several(nix_env: NixEnv, tmp_path: Path, count: int) -> None:
    """Each realization that a matcher selected is a derivation, with its reference."""
    lab = Lab(tmp_path / "store")
    dref = lab.stage("runs", content=["1", "2", "3"], matcher=match_latest(count))
    lab.realize(dref)
    graph = write(lab.closure(dref), tmp_path)
    said = f"map (one: [ one.outPath one.plxnix.rref ]) {read(tmp_path)}.targets.runs"
    assert json.loads(nix_env.evaluate(said)) == [
        [graph.instantiation.path(item.node), item.lowered.rref]
        for item in graph.items
        if item.lowered is not None
    ]
    assert len(graph.items) == count


def test_it_works_in_flakes(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """A flake evaluates and builds from a lock, in pure mode and without network."""
    graph = write(closure, tmp_path)
    for file in LIBRARY.glob("*.nix"):
        (tmp_path / "lib").mkdir(exist_ok=True)
        (tmp_path / "lib" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "flake.nix").write_text(
        "{ outputs = { self }: { packages.x86_64-linux = "
        f"removeAttrs ((import ./lib/from-lock.nix) {{ lock = ./{LOCK}; }})"
        ' [ "targets" ]; }; }'
    )
    shown = nix_env.run("nix", "eval", "--raw", f"path:{tmp_path}#packages.x86_64-linux.report")
    assert shown.stdout == graph.instantiation.path(graph.roots[0].node)
    nix_env.run("nix", "build", "--no-link", f"path:{tmp_path}#packages.x86_64-linux.data")


# -- package sets ------------------------------------------------------------------------------


def test_commands_of_nixpkgs_are_those_of_the_expression(
    nix_env: NixEnv, closure: Closure, stub_nixpkgs: Path, tmp_path: Path
) -> None:
    """With the toolchain `nixpkgs`, the lock gives the derivations that the expression gives."""
    graph = write(closure, tmp_path, NIXPKGS)
    (tmp_path / "default.nix").write_text(expression(graph, ""))
    pkgs = f"pkgs = import {stub_nixpkgs} {{ }};"
    ways = [
        f"(import {tmp_path}/default.nix {{ {pkgs} }}).drvPath",
        f"{read(tmp_path, pkgs)}.default.drvPath",
    ]
    found = json.loads(nix_env.evaluate(f"[ {' '.join(f'({one})' for one in ways)} ]"))
    assert found[0] == found[1]


def test_a_package_set_that_is_missing_is_named(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    """Without `pkgs`, the message says what needs it."""
    write(closure, tmp_path, NIXPKGS)
    with pytest.raises(NixCommandFailed, match="give fromLock the package set as pkgs"):
        nix_env.evaluate(f"{read(tmp_path)}.default.drvPath")


def test_locked_packages_are_predicted(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """With locked packages, Python knows the paths that Nix evaluates with the package set."""
    exact, packages, printed = Instantiation(), {}, []
    for name in BASICS:
        node = Node(name, this_system(), text("/bin/sh"), outputs=("out", "dev"))
        outputs = tuple((one, exact.path(node, one)) for one in node.outputs)
        modulo = exact._hasher.modulo_of(exact.drv_path(node))
        packages[name] = Package(name, exact.drv_path(node), outputs, modulo)
        printed.append(
            f'{name} = derivation {{ name = "{name}"; system = "{this_system()}"; '
            'builder = "/bin/sh"; outputs = [ "out" "dev" ]; };'
        )
    graph = write(closure, tmp_path, Locked(packages, this_system()))
    expected = graph.instantiation.drv_path(graph.roots[0].node)
    pkgs = f"pkgs = {{ {' '.join(printed)} }};"
    assert json.loads(nix_env.evaluate(f"{read(tmp_path, pkgs)}.default.drvPath")) == expected
    assert read_lock(tmp_path / LOCK).derivations["report"].drv_path == expected


# -- depth and hostility -----------------------------------------------------------------------


def test_a_chain_deeper_than_the_stack_of_nix(nix_env: NixEnv, tmp_path: Path) -> None:
    """Of 15,000 stages in a row Nix evaluates the last one."""
    nodes: list[Node] = []
    for number in range(15_000):
        below = text(Reference(nodes[-1])) if nodes else text("")
        nodes.append(Node(f"n{number}", "x", text("/bin/sh"), env={"below": below}))
    graph = DerivationGraph(nodes[-1:])
    (tmp_path / LOCK).write_text(lock(graph, ""))
    said = nix_env.evaluate(f"{read(tmp_path)}.{graph.roots[0].variable}.drvPath")
    assert json.loads(said) == graph.instantiation.drv_path(nodes[-1])


BAD: dict[str, tuple[Any, str]] = {
    "version": ({"version": 7}, "its version is 7, and this library reads 1"),
    "none": ({"version": None}, "its version is null"),
    "odd": ({"version": {"outPath": "/etc"}}, "its version is"),
    "derivations": ({"derivations": []}, "derivations is no object"),
    "targets": ({"targets": []}, "targets is no object"),
    "missing": (
        {"targets": {"x": {"name": "report", "variables": ["nothing"]}}},
        'a target is "nothing", which is not in it',
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_lock_is_refused(
    nix_env: NixEnv, closure: Closure, tmp_path: Path, name: str
) -> None:
    """The message of Nix says what is wrong with the lock."""
    write(closure, tmp_path)
    changes, message = BAD[name]
    value = {**json.loads((tmp_path / LOCK).read_text()), **changes}
    (tmp_path / LOCK).write_text(json.dumps(value))
    with pytest.raises(NixCommandFailed) as caught:
        nix_env.evaluate(f"{read(tmp_path)}.default.drvPath")
    assert f"plxnix lock: {message}" in str(caught.value)


def test_nul_is_refused_where_nix_would_cut(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    r"""A NUL in the lock is an error; the six characters `\u0000` are text like any other."""
    write(closure, tmp_path)
    value = json.loads((tmp_path / LOCK).read_text())
    for text_, legal in (("\\u0000", True), ("\\\0", False), ("\0", False), ("\\\\u0000", True)):
        value["derivations"]["report"]["env"]["odd"] = text_
        (tmp_path / LOCK).write_text(json.dumps(value))
        if legal:
            assert json.loads(nix_env.evaluate(f"{read(tmp_path)}.report.odd")) == text_
            continue
        with pytest.raises(NixCommandFailed, match="holds a NUL character"):
            nix_env.evaluate(f"{read(tmp_path)}.report.odd")


def test_text_is_never_evaluated(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """Names, variables and scripts that are Nix code stay text, or are refused as names."""
    write(closure, tmp_path)
    code = '${builtins.throw "evaluated"}"; in builtins.throw "evaluated'
    value = json.loads((tmp_path / LOCK).read_text())
    value["derivations"]["report"]["env"]["odd"] = code
    value["derivations"][code] = value["derivations"]["data"]
    (tmp_path / LOCK).write_text(json.dumps(value))
    assert json.loads(nix_env.evaluate(f"{read(tmp_path)}.default.odd")) == code
    names = json.loads(nix_env.evaluate(f"builtins.attrNames {read(tmp_path)}"))
    assert code in names
