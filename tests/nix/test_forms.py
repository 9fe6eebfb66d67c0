"""Each form of an export, taken by real Nix."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plxnix import (
    DRef,
    Registry,
    Store,
    autostage,
    current_registry,
    execute,
    fsinit,
    instantiate,
    mkfile,
    realize,
    selfref,
)
from plxnix.errors import ExportError, InvalidValue, NixFormatError
from plxnix.export import register
from plxnix.export.forms import FORMS, Request, place, render
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.export.output import write_files
from plxnix.export.shown import shown
from plxnix.export.toolchain_lock import locked_toolchain, wanted_packages
from plxnix.nix import tools
from plxnix.realize.registry import Closure
from plxnix.recipes.toolchain import HOST, NIXPKGS, Toolchain
from tests.nix_environment import NixEnv

REQUEST = Request("plxnix export stages.py")


def program(greeting: str = "hello") -> DRef:
    """A stage with a program that prints a file of another stage."""
    text = mkfile("greeting.txt", f"{greeting}\n")
    return execute(
        name="hello",
        program=[selfref, "bin", "hello"],
        text=text / "greeting.txt",
        tools=["gcc"],
        command="""
            mkdir -p "$out/bin"
            echo '#!/bin/sh' > "$out/bin/hello"
            echo "cat $text" >> "$out/bin/hello"
            chmod +x "$out/bin/hello"
        """,
    )


@pytest.fixture
def closure() -> Closure:
    """The closure of `program`, in a store of the test's own."""
    return instantiate(program, registry=Registry(fsinit()))


def write(closure: Closure, form: str, folder: Path, toolchain: Toolchain = HOST) -> Path:
    """Write a form below a folder and return the folder."""
    files = render(form, ExportGraph(closure, toolchain), REQUEST)
    write_files(place(files, f"{folder}/"))
    return folder


def test_nix_form_builds_and_tells_what_its_stages_are(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    """The expression builds; its stages are reachable, with reference, config and description."""
    write(closure, "nix", tmp_path)
    built = nix_env.build(tmp_path)
    assert nix_env.run(str(built / "bin" / "hello")).stdout == "hello\n"
    said = json.loads(
        nix_env.evaluate(
            f"let f = import {tmp_path} {{ }}; in [ f.passthru.plxnix f.stages.greeting-txt.meta "
            "f.meta.mainProgram ]"
        )
    )
    assert said[0] == {
        "dref": closure.dref,
        "config": closure.derivations[closure.dref].config.value(),
    }
    assert said[1] == {"description": "greeting.txt, a stage of plxnix"}
    assert said[2] == "hello"


def test_a_stage_can_be_overridden(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """What `overrides` replaces is used by the stages that depend on it."""
    write(closure, "nix", tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    (other / "greeting.txt").write_text("bonjour\n")
    built = nix_env.build(
        tmp_path, None, "--arg", "overrides", f'{{ greeting-txt = "${{{other}}}"; }}'
    )
    assert nix_env.run(str(built / "bin" / "hello")).stdout == "bonjour\n"


def test_split_files_give_the_same_derivation(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    """A file for each stage, and the same `.drv` path as in one file."""
    graph = ExportGraph(closure)
    files = render("nix", graph, Request(REQUEST.command, split=True))
    assert set(files) == {"default.nix", "stages/hello.nix", "stages/greeting-txt.nix"}
    write_files(place(files, f"{tmp_path}/"))
    expected = graph.instantiation.drv_path(graph.roots[0].node)
    assert nix_env.instantiate(tmp_path) == expected


def test_exports_are_equal_to_the_byte(closure: Closure) -> None:
    """Each form is a function of the graph and the command line."""
    for form in FORMS:
        first = render(form, ExportGraph(closure), REQUEST)
        again = instantiate(program, registry=Registry(closure.store))
        assert render(form, ExportGraph(again), REQUEST) == first, form


def test_flake_builds_runs_checks_and_develops(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    """A flake with no inputs serves all of Nix's own commands, offline."""
    flake = f"path:{write(closure, 'flake', tmp_path / 'flake')}"
    shown = json.loads(nix_env.run("nix", "flake", "show", "--json", flake).stdout)
    assert shown["packages"]["x86_64-linux"].keys() >= {"default", "hello", "greeting-txt"}
    assert shown["apps"]["x86_64-linux"]["hello"]["type"] == "app"
    nix_env.run("nix", "flake", "check", flake)
    nix_env.run("nix", "build", flake, "--out-link", str(tmp_path / "result"))
    assert (tmp_path / "result" / "bin" / "hello").exists()
    assert nix_env.run("nix", "run", f"{flake}#hello").stdout == "hello\n"
    said = nix_env.run("nix", "develop", flake, "-c", "sh", "-c", "echo $hello; hello").stdout
    path = str((tmp_path / "result").readlink())
    assert said == f"{path}\nhello\n"


def test_flake_in_one_file(nix_env: NixEnv, closure: Closure, tmp_path: Path) -> None:
    """A flake that goes into one file holds its graph and its shell."""
    files = render("flake", ExportGraph(closure), Request("x", single=True))
    assert list(files) == ["flake.nix"]
    (tmp_path / "flake").mkdir()
    (tmp_path / "flake" / "flake.nix").write_text(files["flake.nix"])
    flake = f"path:{tmp_path / 'flake'}"
    nix_env.run("nix", "flake", "check", flake)
    assert nix_env.run("nix", "run", f"{flake}#hello").stdout == "hello\n"
    said = nix_env.run("nix", "develop", flake, "-c", "sh", "-c", "cat $greeting_txt/greeting.txt")
    assert said.stdout == "hello\n"


def test_flake_over_nixpkgs(
    nix_env: NixEnv, closure: Closure, tmp_path: Path, stub_nixpkgs: Path
) -> None:
    """With the toolchain nixpkgs the flake has them as an input, which can be overridden."""
    write(closure, "flake", tmp_path / "flake", NIXPKGS)
    override = ("--override-input", "nixpkgs", f"path:{stub_nixpkgs}", "--no-write-lock-file")
    flake = f"path:{tmp_path / 'flake'}"
    nix_env.run("nix", "flake", "check", flake, *override)
    assert nix_env.run("nix", "run", f"{flake}#hello", *override).stdout == "hello\n"
    said = nix_env.run("nix", "develop", flake, *override, "-c", "sh", "-c", "echo $hello").stdout
    assert said.startswith("/nix/store/")


def test_shell_has_paths_as_variables_and_programs(
    nix_env: NixEnv, closure: Closure, tmp_path: Path
) -> None:
    """A `shell.nix` by itself: each stage's path in a variable, its programs on PATH."""
    files = render("shell", ExportGraph(closure), Request("x", envrc=True))
    assert files[".envrc"] == "use nix\n"
    (tmp_path / "shell.nix").write_text(files["shell.nix"])
    for options in ((), ("--pure",)):
        said = nix_env.run(
            *("nix-shell", *options, "--run", "cat $greeting_txt/greeting.txt; hello"),
            cwd=tmp_path,
            variables={"NIX_BUILD_SHELL": "/bin/bash"},
        ).stdout
        assert said == "hello\nhello\n"


def test_registered_derivations_build_unevaluated(nix_env: NixEnv, closure: Closure) -> None:
    """The `drv` form puts derivations into the store that Nix builds, twice without harm."""
    del nix_env
    graph = ExportGraph(closure)
    paths = register.register(graph)
    assert register.register(graph) == paths
    (built,) = tools.build(register.targets(graph, paths))
    assert built == graph.instantiation.path(graph.roots[0].node)
    assert Path(built, "bin", "hello").exists()


def test_json_is_what_nix_shows(nix_env: NixEnv, closure: Closure) -> None:
    """The `json` form has for each derivation what `nix show-derivation` prints."""
    graph = ExportGraph(closure)
    paths = register.register(graph)
    command = (
        ("nix", "derivation", "show") if nix_env.version >= (2, 19) else ("nix", "show-derivation")
    )
    printed = json.loads(nix_env.run(*command, *paths.values()).stdout)
    assert json.loads(render("json", graph, REQUEST)["derivations.json"]) == printed


def test_json_of_newer_versions(closure: Closure) -> None:
    """The forms of Nix 2.26 and 2.34 name inputs and outputs as these versions do."""
    graph = ExportGraph(closure)
    one = graph.instantiation.derivation(graph.roots[0].node)
    middle = shown([one], (2, 26))[one.path]
    (inputs,) = middle["inputDrvs"].values()
    assert inputs == {"dynamicOutputs": {}, "outputs": ["out"]}
    newest = shown([one], (2, 34))
    assert newest["version"] == 4
    assert newest["derivations"][Path(one.path).name]["outputs"]["out"] == {
        "path": Path(one.outputs["out"].path).name
    }


def test_locked_toolchain_predicts_paths(
    nix_env: NixEnv, closure: Closure, tmp_path: Path, stub_nixpkgs: Path
) -> None:
    """Packages are evaluated once; afterwards paths are right without Nix, and it builds."""
    lock = tmp_path / "plxnix.toolchain.json"
    packages = f"import {stub_nixpkgs} {{ }}"
    toolchain, text = locked_toolchain(lock, closure, packages)
    lock.write_text(text)
    assert "gcc" in wanted_packages(closure)
    graph = ExportGraph(closure, toolchain)
    write(closure, "nix", tmp_path, toolchain)
    arguments = ("--arg", "pkgs", packages)
    assert nix_env.instantiate(tmp_path, None, *arguments) == graph.instantiation.drv_path(
        graph.roots[0].node
    )
    again, same = locked_toolchain(lock, closure, None)
    assert same == text
    paths = register.register(ExportGraph(closure, again))
    (built,) = tools.build(paths["hello"])
    assert nix_env.run(f"{built}/bin/hello").stdout == "hello\n"


def test_nixpkgs_toolchain_cannot_predict(closure: Closure) -> None:
    """Paths that depend on a package set which is not evaluated are an error, not a guess."""
    graph = ExportGraph(closure, NIXPKGS)
    with pytest.raises(NixFormatError, match="depends on nixpkgs"):
        graph.instantiation.drv_path(graph.roots[0].node)


def test_damaged_toolchain_lock(closure: Closure, tmp_path: Path) -> None:
    """A lock that is no lock, of another version or with wrong paths is refused by name."""
    lock = tmp_path / "plxnix.toolchain.json"
    package = {"drv": "/etc/passwd", "modulo": "0" * 64, "outputs": [{"name": "out", "path": "x"}]}
    whole = {"version": 1, "system": "x86_64-linux", "nixpkgs": "x", "packages": {}}
    needed = dict.fromkeys(wanted_packages(closure), package)
    for damage in ["", "[]", "{}", json.dumps({**whole, "version": 2})]:
        lock.write_text(damage)
        with pytest.raises(ExportError, match="toolchain"):
            locked_toolchain(lock, closure, None)
    lock.write_text(json.dumps({**whole, "packages": needed}))
    with pytest.raises(ExportError, match="damaged at"):
        locked_toolchain(lock, closure, None)


def test_drawings_show_kinds_and_edges(nix_env: NixEnv) -> None:
    """Pins, fetches and derivations look different; each dependency is one arrow."""
    del nix_env
    store = fsinit()
    with current_registry(Registry(store)):

        @autostage(out=[selfref, "x"], nouts=2)
        def results(out: Path, rindex: int) -> None:
            out.write_text(str(rindex))

        closure = instantiate(execute(f"cat {results()} > $out || :", name="use"))
    realize(closure)
    graph = ExportGraph(closure)
    dot = render("dot", graph, REQUEST)["graph.dot"]
    assert dot.count(" -> ") == 2
    assert dot.count("shape=note") == 2
    mermaid = render("mermaid", graph, REQUEST)["graph.mmd"]
    assert mermaid.count(" --> ") == 2
    assert "classDef pin " in mermaid
    assert len(add_graph(graph)) == 2


def test_several_files_need_a_folder(closure: Closure, tmp_path: Path) -> None:
    """A form of several files does not go into one file, and an unknown form is an error."""
    files = render("flake", ExportGraph(closure), REQUEST)
    with pytest.raises(InvalidValue, match="3 files"):
        place(files, str(tmp_path / "one.nix"))
    with pytest.raises(InvalidValue, match="no form 'xml'"):
        render("xml", ExportGraph(closure), REQUEST)


def test_stores_are_not_needed_for_deterministic_graphs(tmp_path: Path) -> None:
    """Where nothing opaque is above, export works on a fresh store: nothing is realized."""
    store = Store.init(tmp_path / "fresh")
    closure = instantiate(program, registry=Registry(store))
    render("nix", ExportGraph(closure), REQUEST)
    assert [store.realizations(dref) for dref in closure.derivations] == [[], []]
