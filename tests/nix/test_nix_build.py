"""Stages that are builds of Nix: identity, links, roots, dependents here and in exports."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plxnix import Build, DRef, RRef, autostage, execute, nix_build
from plxnix.checking import Check
from plxnix.cli import main
from plxnix.errors import (
    BuildFailed,
    ExportError,
    InvalidValue,
    StoreError,
    ToolFailed,
    ToolMissing,
)
from plxnix.export.expression import expression
from plxnix.export.forms import Request, render
from plxnix.export.graph import ExportGraph
from plxnix.export.register import register
from plxnix.model import selfref
from plxnix.nix import tools
from plxnix.nix.evaluation import forget
from plxnix.nix.nar import nar_hash
from plxnix.recipes.toolchain import this_system
from plxnix.store.copying import copyclosure
from plxnix.store.gc import collect, plan_gc
from plxnix.store.roots import add_root
from plxnix.store.verify import verify
from tests.conftest import missing
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("nix_env", "registered")

#: A program, what it needs at run time, and headers; `word` is in all that is built.
SET = """\
{ word ? "hello" }:
let
  run = name: attributes: script: derivation ({
    inherit name;
    system = builtins.currentSystem;
    builder = "/bin/sh";
    args = [ "-c" "PATH=/usr/bin:/bin; set -e; ${script}\n:" ];
  } // attributes);
in
rec {
  data = run "data" { } "echo '@MARK@ ${word}' > $out";
  pair.hello = run "hello-1" { outputs = [ "out" "dev" ]; } ''
    mkdir -p $out/bin $dev/include
    printf '#!/bin/sh\\ncat ${data}\\n' > $out/bin/hello
    chmod +x $out/bin/hello
    echo '#define WORD' > $dev/include/hello.h
  '';
  empty = run "empty" { } "mkdir $out";
  broken = run "broken" { } "echo it fails on purpose >&2; exit 3";
}
"""


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """Text that makes the derivations of a test its own."""
    return f"{tmp_path.name}-{os.urandom(6).hex()}"


@pytest.fixture
def place(tmp_path: Path, mark: str) -> Path:
    """A folder with a `default.nix`; beside it, `flake` has the same as a flake."""
    folder = tmp_path / "the set"
    folder.mkdir()
    (folder / "default.nix").write_text(SET.replace("@MARK@", mark))
    system = "builtins.currentSystem"
    flake = tmp_path / "flake"
    flake.mkdir()
    shutil.copy(folder / "default.nix", flake)
    (flake / "flake.nix").write_text(
        "{ outputs = { self }: let all = import ./default.nix { }; in {\n"
        f"  packages.${{{system}}} = {{ inherit (all) data; hello = all.pair.hello; "
        "default = all.data; };\n  odd.hello = all.pair.hello; }; }\n"
    )
    return folder


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """A store and a registry; nothing is remembered of other tests."""
    forget()
    yield Lab(tmp_path / "store")
    forget()


def links(lab: Lab, rref: RRef) -> dict[str, str]:
    """Return the links that a realization consists of."""
    folder = Path(lab.store.path(rref))
    return {one.name: os.readlink(one) for one in folder.iterdir()}


class TestForms:
    """What may be named."""

    def test_a_file(self, nix_env: NixEnv, lab: Lab, place: Path) -> None:
        """A file with an attribute gives links to what `nix-build` gives, and a record of it."""
        dref = nix_build(file=place / "default.nix", attribute="pair.hello")
        built = nix_env.build(place / "default.nix", "pair.hello")
        rref = lab.realize(dref)
        assert dref.name == "hello-1"
        assert links(lab, rref) == {"bin": f"{built}/bin"}
        nix = lab.store.record(rref).nix
        assert (nix["path"], nix["identical"]) == (str(built), True)
        assert nix["derivation"] == nix_env.instantiate(place / "default.nix", "pair.hello")
        assert lab.leftovers() == []

    def test_a_folder_and_arguments(self, lab: Lab, place: Path) -> None:
        """A folder is its `default.nix`; functions are called with the arguments."""
        dref = nix_build(file=place, attribute="data", args={"word": 'a "b"\n${c}'})
        rref = lab.realize(dref)
        assert 'a "b"\n' not in dref
        assert list(links(lab, rref)) == ["data"]

    def test_an_output(self, nix_env: NixEnv, lab: Lab, place: Path) -> None:
        """Another output is another stage of the same derivation."""
        arguments: dict[str, Any] = {"attribute": "pair.hello", "registry": lab.registry}
        first = nix_build(file=place, **arguments)
        dev = nix_build(file=place, output="dev", **arguments)
        assert first != dev
        (link,) = links(lab, lab.realize(dev)).values()
        assert Path(link, "hello.h").read_text() == "#define WORD\n"
        assert Path(link).parent == nix_env.build(place / "default.nix", "pair.hello.dev")
        with pytest.raises(InvalidValue, match="has no output 'doc'"):
            nix_build(file=place, output="doc", **arguments)

    def test_an_expression(self, lab: Lab, place: Path) -> None:
        """Text may end in a comment, and be a function; a file as the output is one link."""
        text = f"{{ word }}: (import {place.parent}/link {{ inherit word; }}).data # or so"
        (place.parent / "link").symlink_to(place)
        dref = nix_build(text, args={"word": "w"}, name="named")
        rref = lab.realize(dref)
        assert Path(lab.store.path(rref), "named").read_text().endswith(" w\n")
        assert lab.store.record(rref).flat

    @pytest.mark.parametrize("name", ["#hello", "#odd.hello"])
    def test_a_flake(self, place: Path, name: str) -> None:
        """Packages of this system come first, then other outputs."""
        file = nix_build(file=place, attribute="pair.hello")
        flake = nix_build(flake=f"{place.parent}/flake{name}")
        assert flake == file

    def test_the_default_of_a_flake(self, place: Path) -> None:
        """Without an attribute it is the default package."""
        flake = nix_build(flake=str(place.parent / "flake"))
        assert flake == nix_build(file=place, attribute="data")

    @pytest.mark.parametrize("reference", ["path:./flake#hello", "./flake#hello", "flake#hello"])
    def test_a_relative_flake(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, reference: str
    ) -> None:
        """Paths are relative to the process's folder; a name without `./` is of the registry."""
        monkeypatch.chdir(place.parent)
        if reference.startswith("flake"):
            with pytest.raises(ToolFailed, match="flake:flake"):
                nix_build(flake=reference)
            return
        flake = nix_build(flake=reference)
        assert flake == nix_build(file=place, attribute="pair.hello")

    def test_an_empty_output(self, lab: Lab, place: Path) -> None:
        """It is an empty folder."""
        rref = lab.realize(nix_build(file=place, attribute="empty"))
        assert links(lab, rref) == {}


class TestIdentity:
    """The `.drv` alone makes the stage."""

    def test_a_comment(self, lab: Lab, place: Path) -> None:
        """A comment in the file, or another file of the same value, is the same stage."""
        file = place / "default.nix"
        first = nix_build(file=file, attribute="data")
        lab.realize(first)
        file.write_text("# a comment\n" + file.read_text())
        assert nix_build(file=file, attribute="data") == first
        other = f"(import {place.parent}/'x' {{ }}).data".replace("'x'", "other.nix")
        shutil.copy(file, place.parent / "other.nix")
        assert nix_build(other) == first

    def test_a_change(self, lab: Lab, place: Path) -> None:
        """Another derivation is another stage, also within a process."""
        file = place / "default.nix"
        first = nix_build(file=file, attribute="data")
        file.write_text(file.read_text().replace("echo '", "echo 'more "))
        second = nix_build(file=file, attribute="data")
        assert first != second
        assert "more" in Path(lab.store.path(lab.realize(second)), "data").read_text()

    def test_evaluated_once(
        self, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The same question is asked once a process: the second time without Nix's programs."""
        first = nix_build(file=place, attribute="data")
        monkeypatch.setenv("PATH", os.fspath(tmp_path))
        assert nix_build(file=place, attribute="data") == first
        with pytest.raises(ToolMissing, match="nix-instantiate") as caught:
            nix_build(file=place, attribute="empty")
        assert "install Nix" in caught.value.hint


_FAILING = """derivation {
  name = "failing";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-c" "echo my log is $((6 * 7)); exit 1" ];
}"""


class TestErrors:
    """What is wrong is said in Nix's own words."""

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"expression": "{ }: nothing"}, "undefined variable 'nothing'"),
            ({"expression": "1 +"}, "syntax error"),
            ({"expression": "{ a }: a"}, "without required argument 'a'"),
            ({"expression": "throw ''my words''"}, "my words"),
            ({"expression": f"import ({_FAILING})"}, "my log is 42"),
            ({"expression": "{ a.b = 1; }", "attribute": "a.c"}, "no attribute 'c'; there are: b"),
            ({"expression": "{ a = builtins; }", "attribute": "a.c"}, "no attribute 'c'\n"),
            ({"expression": "{ a = 1; }", "attribute": "a.c"}, "no attribute 'c' of a int"),
        ],
    )
    def test_evaluation(self, arguments: dict[str, str], message: str) -> None:
        """What Nix says is wrong is in the message, and not how it was asked."""
        with pytest.raises(ToolFailed, match=message) as caught:
            nix_build(**arguments)  # type: ignore[arg-type]
        assert "builtins.foldl'" not in caught.value.message

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({}, "nothing to build"),
            ({"expression": "1", "file": "x"}, "expression and file"),
            ({"expression": "1"}, "1 is no derivation but a int"),
            ({"expression": "{ a = { }; }", "attribute": "a"}, "attribute a of .* but a set"),
            ({"file": "/no/where.nix"}, "no Nix file '/no/where.nix'"),
            ({"flake": "/no/where"}, "no flake in '/no/where'"),
            ({"flake": "x#y", "attribute": "z"}, "got an attribute"),
            ({"expression": "1", "attribute": "a..b"}, "no attribute path"),
        ],
    )
    def test_arguments(self, arguments: dict[str, str], message: str) -> None:
        """What is no derivation, or not asked for in one way, is refused."""
        with pytest.raises(InvalidValue, match=message):
            nix_build(**arguments)  # type: ignore[arg-type]

    def test_no_function(self, place: Path) -> None:
        """Arguments for what takes none are refused."""
        with pytest.raises(InvalidValue, match="is no function"):
            nix_build(f'(import "{place}" {{ }}).data', args={"a": 1})

    def test_a_build(self, lab: Lab, place: Path) -> None:
        """A build that fails shows Nix's last lines, and the log has them all."""
        dref = nix_build(file=place, attribute="broken")
        with pytest.raises(BuildFailed, match="it fails on purpose") as caught:
            lab.realize(dref)
        assert "nix-store" not in caught.value.message
        assert os.path.exists(caught.value.log)
        assert lab.leftovers() == []


def collect_nix(nix_env: NixEnv) -> None:
    """Collect the garbage of the private Nix store."""
    if not nix_env.private:
        pytest.skip("the Nix store is shared")
    nix_env.collect()


class TestRoots:
    """What is linked is kept in Nix, for as long as it is linked."""

    def test_kept_and_given_up(self, nix_env: NixEnv, lab: Lab, place: Path) -> None:
        """Nix's collection keeps it, until the realization is removed."""
        rref = lab.realize(nix_build(file=place, attribute="pair.hello"))
        path = Path(lab.store.record(rref).nix["path"])
        collect_nix(nix_env)
        assert (path / "bin" / "hello").exists()
        assert list(verify(lab.store)) == []
        assert main(["--store", os.fspath(lab.root), "rm", "-y", rref]) == 0
        assert os.listdir(lab.store.layout.nixroots) == []
        collect_nix(nix_env)
        assert not path.exists()

    def test_collected_here(self, nix_env: NixEnv, lab: Lab, place: Path) -> None:
        """Garbage collection of this store takes the roots of what it deletes, and of the gone."""
        keep, drop = (
            lab.realize(nix_build(file=place, attribute=name)) for name in ("pair.hello", "empty")
        )
        add_root(lab.store, place / "keep", keep)
        stale = Path(lab.store.layout.nix_root(RRef(f"{keep[:-3]}xyz")))
        stale.symlink_to(place)
        collect(lab.store, plan_gc(lab.store))
        assert os.listdir(lab.store.layout.nixroots) == [Path(lab.store.layout.nix_root(keep)).name]
        collect_nix(nix_env)
        assert not os.path.exists(lab.store.layout.realization(drop))
        assert list(verify(lab.store)) == []

    def test_copied(
        self, nix_env: NixEnv, lab: Lab, place: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In another store it has a root of its own; where Nix does not have it, it is refused."""
        rref = lab.realize(nix_build(file=place, attribute="pair.hello"))
        other = Lab(place.parent / "other")
        with monkeypatch.context() as patch:
            patch.setenv("PATH", os.fspath(place))
            with pytest.raises(StoreError, match="links to what is not in the Nix store here"):
                copyclosure([rref], lab.store, other.store)
        assert other.store.realizations(rref.dref) == []
        copyclosure([rref], lab.store, other.store)
        lab.store.remove([rref])
        collect_nix(nix_env)
        assert list(verify(other.store)) == []
        assert Path(other.store.path(rref), "bin", "hello").exists()

    def test_damage(self, nix_env: NixEnv, lab: Lab, place: Path) -> None:
        """Verification tells of a missing root, then of what is gone; realizing anew repairs."""
        dref = nix_build(file=place, attribute="pair.hello")
        rref = lab.realize(dref)
        collect_nix(nix_env)
        root = Path(lab.store.layout.nix_root(rref))
        (known,) = [
            one for one in Path("/nix/var/nix/gcroots/auto").iterdir() if one.readlink() == root
        ]
        known.unlink()
        (damage,) = verify(lab.store)
        assert "does not know" in damage.message
        root.unlink()
        (damage,) = verify(lab.store)
        assert (damage.kind, damage.path) == ("nix", str(root))
        collect_nix(nix_env)
        (damage,) = verify(lab.store)
        assert "is gone from the Nix store" in damage.message
        lab.realize(dref, force_rebuild=True)
        assert list(verify(lab.store)) == []


def reading(lab: Lab, hello: DRef) -> DRef:
    """Register a command that runs a program of Nix, and writes where it is."""
    return execute(
        f'mkdir "$out"; {hello}/bin/hello > "$out/said"; echo {hello} "$include" > "$out/where"',
        name="reading",
        include=nix_build(
            file=Path(lab.root).parent / "the set", attribute="pair.hello", output="dev"
        )
        / "include",
    )


class TestDependents:
    """Stages of all kinds see what Nix has built."""

    def test_python(self, lab: Lab, place: Path, mark: str) -> None:
        """A Python stage runs the program at its refpath."""
        hello = nix_build(file=place, attribute="pair.hello", program=[selfref, "bin", "hello"])

        def content(build: Build) -> str:
            program = Path(build.store.path(build.context[hello][0]), "bin", "hello")
            return tools.run(os.fspath(program))

        rref = lab.realize(lab.stage("python", hello, content=content))
        assert lab.text(rref) == f"{mark} hello\n"

    def test_a_promise_not_kept(self, lab: Lab, place: Path) -> None:
        """A promise is looked for behind the links."""
        dref = nix_build(file=place, attribute="pair.hello", program=[selfref, "bin", "other"])
        with pytest.raises(Exception, match="promised bin/other"):
            lab.realize(dref)

    @pytest.mark.usefixtures("bubblewrap")
    def test_a_pure_stage(self, nix_env: NixEnv, lab: Lab, place: Path, mark: str) -> None:
        """A pure stage runs the program in the sandbox, and gives what `nix-build` gives."""
        if not Path("/usr/bin/python3").exists():
            missing("there is no /usr/bin/python3 here")
        below = nix_build(file=place, attribute="pair.hello", program=[selfref, "bin", "hello"])

        @autostage(pure=True, hello=below, out=[selfref, "out"])
        def stage(hello: Any, out: Path) -> None:
            import subprocess

            program = hello.program
            out.write_text(f"{program} {subprocess.check_output([program], text=True)}")

        dref = stage(lab.registry)
        rref = lab.realize(dref, sandbox="on")
        assert (Path(lab.store.path(rref)) / "out").read_text().endswith(f" {mark} hello\n")
        exported = place.parent / "pure.nix"
        exported.write_text(expression(ExportGraph(lab.closure(dref)), "plxnix export"))
        built = nix_env.build(exported)
        assert nar_hash(built)[0].sri == lab.store.record(rref).nar_hash

    @pytest.mark.usefixtures("bubblewrap")
    @pytest.mark.parametrize("sandbox", ["on", "off"])
    def test_a_command(
        self, nix_env: NixEnv, lab: Lab, place: Path, mark: str, sandbox: str
    ) -> None:
        """A command gives the bytes of `nix-build` of its export, at the same path."""
        hello = nix_build(file=place, attribute="pair.hello")
        dref = reading(lab, hello)
        later = execute(
            f'cat {dref}/where > "$out"; cat $(cut -d" " -f1 "$out")/bin/hello', name="later"
        )
        rref = lab.realize(later, sandbox=sandbox)
        exported = place.parent / "export" / "default.nix"
        exported.parent.mkdir()
        graph = ExportGraph(lab.closure(later))
        graph.folder = os.fspath(exported.parent)
        exported.write_text(expression(graph, "plxnix export"))
        assert "../the set" not in exported.read_text().split("the set")[0]
        built = nix_env.build(exported)
        record = lab.store.record(rref)
        assert record.nix["path"] == str(built)
        assert record.nix["derivation"] == nix_env.instantiate(exported)
        made = Path(lab.store.path(rref), "later").read_bytes()
        assert made == built.read_bytes()
        assert lab.store.record(rref).nix["identical"] is (sandbox == "on")
        (said,) = lab.store.realizations(dref)
        assert Path(lab.store.path(said), "said").read_text() == f"{mark} hello\n"


@pytest.mark.usefixtures("bubblewrap")
def test_checked(lab: Lab, place: Path) -> None:
    """`check` compares the links, and does not let Nix build again what is its own."""
    hello = nix_build(file=place, attribute="pair.hello")
    dref = execute(f'{hello}/bin/hello > "$out"', name="said")
    found = {one.dref: one for one in Check(lab.closure(dref), everything=True).run()}
    assert all(one.same for one in found.values())
    assert "Nix" in found[hello].without_nix
    assert found[dref].without_nix == ""
    assert {one.builder for one in found[dref].builds} == {"native", "native again", "nix"}


class TestExports:
    """Existing derivations in all forms."""

    def test_expressions(self, nix_env: NixEnv, lab: Lab, place: Path) -> None:
        """Computed, evaluated and registered paths are one, also for strings over several lines."""
        odd = f"""
          # With a string that must not be indented.
          let all = import "{place}" {{ word = "a
            b"; }}; in all.pair
        """
        stages = [
            nix_build(file=place, attribute="pair.hello"),
            nix_build(flake=f"{place.parent}/flake#hello", name="by-flake"),
            nix_build(odd, attribute="hello", output="dev"),
        ]
        target = execute(" ".join(["echo", *stages, '> "$out"']))
        graph = ExportGraph(lab.closure([target, *stages]))
        expected = [graph.instantiation.drv_path(item.node) for item in graph.roots]
        for folder in ("", os.fspath(place.parent / "a" / "b")):
            graph.folder = folder
            file = Path(folder or place, "export.nix")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(expression(graph, "plxnix export"))
            found = {
                nix_env.instantiate(
                    file, f"stages.{item.variable}", "--extra-experimental-features", "flakes"
                ): item.variable
                for item in graph.roots
            }
            assert list(dict.fromkeys(expected)) == list(found)
        split = place.parent / "a" / "split"
        graph.folder = os.fspath(split)
        for name, text in render("nix", graph, Request("x", split=True)).items():
            (split / name).parent.mkdir(parents=True, exist_ok=True)
            (split / name).write_text(text)
        options = ("--extra-experimental-features", "flakes")
        assert (
            nix_env.instantiate(split, f"stages.{graph.roots[0].variable}", *options)
            == (expected[0])
        )
        assert register(graph)[graph.roots[0].variable] == expected[0]
        assert nix_env.build(expected[0]).exists()

    def test_other_forms(self, lab: Lab, place: Path) -> None:
        """A lock says that it cannot; the rest can."""
        hello = nix_build(file=place, attribute="data")
        graph = ExportGraph(lab.closure(execute(f'cat {hello} > "$out"')))
        with pytest.raises(ExportError, match="data is an expression of Nix") as caught:
            render("lock", graph, Request("x"))
        assert "nix, flake" in caught.value.hint
        for form in ("shell", "json", "dot", "mermaid"):
            assert render(form, graph, Request("x", single=True))
        with pytest.raises(ExportError, match="a flake reads only what is in its own folder"):
            render("flake", graph, Request("x"))
        graph.folder = os.fspath(place.parent)
        assert '(./. + "/the set")' in render("flake", graph, Request("x"))["default.nix"]

    def test_a_flake(self, nix_env: NixEnv, lab: Lab, place: Path, stub_nixpkgs: Path) -> None:
        """A flake beside the file builds the same."""
        flake = place.parent / "flake"
        file = (flake / "default.nix").rename(flake / "all.nix")
        text = file.read_text().replace("builtins.currentSystem", f'"{this_system()}"')
        file.write_text(text)
        hello = nix_build(file=file, attribute="data")
        graph = ExportGraph(lab.closure(execute(f'cat {hello} > "$out"')))
        graph.folder = os.fspath(flake)
        for name, one in render("flake", graph, Request("x")).items():
            (flake / name).write_text(one)
        override = ("--override-input", "nixpkgs", f"path:{stub_nixpkgs}")
        printed = nix_env.run(
            *("nix", "eval", "--raw", f"path:{flake}#default.outPath", "--no-write-lock-file"),
            *override,
        ).stdout
        assert printed == graph.instantiation.path(graph.roots[0].node)
