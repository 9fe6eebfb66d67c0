"""Commands with several outputs or with a hash are the same stages here and in Nix."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from plxnix import DRef, execute, selfref
from plxnix.builders.namespaces import HOST_PATHS
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.importing import import_graph
from plxnix.export.lock import lock
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.recipes.toolchain import NIXPKGS
from tests.nix.test_three_ways import compare
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab

Run = Callable[..., DRef]

#: Nix's own sandbox, with what ours shows.
SANDBOX = (
    *("--option", "sandbox", "true", "--option", "sandbox-fallback", "false"),
    *("--option", "sandbox-paths", " ".join(filter(os.path.exists, HOST_PATHS))),
)

STUB = Path(__file__).parent / "stub"


def library(run: Run, salt: Path, outputs: list[str]) -> DRef:
    """A library with headers that lead to it, and a page."""
    return run(
        'mkdir -p $out/lib $header; echo code > $out/lib/x; ln -s "$out/lib" $dev/lib\n'
        'echo "$out" > $header/x.h; env | sort > $man',
        name="library",
        outputs=outputs,
        header=[selfref, "dev", "include"],
        salt=str(salt),
    )


def built(nix_env: NixEnv, file: Path, *arguments: str) -> list[str]:
    """Build an expression in the sandbox of Nix and return the paths."""
    done = nix_env.run("nix-build", file, *SANDBOX, *arguments, cwd=file.parent)
    return str(done.stdout).split()


@pytest.mark.parametrize("outputs", [["out", "dev", "man"], ["dev", "man", "out"]])
def test_the_same_bytes(
    nix_env: NixEnv, bubblewrap: str, lab: Lab, run: Run, tmp_path: Path, outputs: list[str]
) -> None:
    """Each output, and what is made of it, has the NAR hash that Nix's has."""
    del bubblewrap
    below = library(run, tmp_path, outputs)
    above = run(
        f"mkdir $out; cat {below}/dev/include/x.h $man > $out/x; ln -s $dev $out/dev; "
        "ls /nix/store | sort | grep -v '^\\.' | grep -v -- ${out##*/} > $out/seen",
        name="above",
        dev=[below, "dev"],
        man=below / "man",
    )
    file = tmp_path / "default.nix"
    file.write_text(expression(ExportGraph(lab.closure([below, above])), "a test"))
    rrefs = [lab.realize(one, sandbox="on") for one in (below, above)]
    built(nix_env, file, "-A", "library.all", "-A", "above")
    top, nix = Path(lab.store.path(rrefs[0])), lab.store.record(rrefs[0]).nix
    assert nix["identical"] is True
    for output, path in nix["outputs"].items():
        assert nar_hash(top / output) == nar_hash(path), output
    assert nar_hash(lab.store.path(rrefs[1])) == nar_hash(lab.store.record(rrefs[1]).nix["path"])


def test_imported(nix_env: NixEnv, bubblewrap: str, lab: Lab, run: Run, tmp_path: Path) -> None:
    """What was built here goes into the Nix store, each output to its path; Nix builds nothing."""
    del bubblewrap
    below = library(run, tmp_path, ["out", "dev", "man"])
    above = run(f"cat {below}/dev/include/x.h > $out; echo $dev >> $out", name="above",
                dev=below / "dev" / "lib")  # fmt: skip
    closure = lab.closure(above)
    lab.realize(above, sandbox="on")
    graph = ExportGraph(closure)
    handed = {one.path: one.fresh for one in import_graph(graph)}
    (rref,) = lab.store.realizations(below)
    paths = lab.store.record(rref).nix["outputs"]
    assert {handed[path] for path in paths.values()} == {True}
    said = nix_env.run("nix-store", "--query", "--references", paths["dev"]).stdout.split()
    assert said == [paths["out"]]
    file = tmp_path / "default.nix"
    file.write_text(expression(graph, "a test"))
    dry = nix_env.run("nix-build", file, "--dry-run", "-A", "stages.library.all")
    assert "will be built" not in dry.stderr


def test_links(nix_env: NixEnv, lab: Lab, run: Run, tmp_path: Path) -> None:
    """An export of such a target is its first output; `all` gives a link for each."""
    file = tmp_path / "default.nix"
    dref = library(run, tmp_path, ["out", "dev", "man"])
    file.write_text(expression(ExportGraph(lab.closure(dref)), "a test"))
    built(nix_env, file)
    assert (tmp_path / "result").is_symlink()
    built(nix_env, file, "-A", "all")
    assert (tmp_path / "result-dev" / "include" / "x.h").exists()
    assert (tmp_path / "result-man").is_file()


def test_nixpkgs(nix_env: NixEnv, lab: Lab, run: Run, tmp_path: Path) -> None:
    """As commands of a package set they are what they are, from the text and from the lock."""
    below = library(run, tmp_path, ["out", "dev", "man"])
    fixed = run("echo $salt > $out", name="fixed", salt=str(tmp_path),
                hash=Hash.of_bytes(f"{tmp_path}\n".encode()).sri, hash_mode="flat")  # fmt: skip
    above = run(f"cat {below / 'dev' / 'include' / 'x.h'} {fixed} > $out", name="above")
    graph = ExportGraph(lab.closure(above), NIXPKGS)
    file, locked = tmp_path / "default.nix", tmp_path / "plxnix.lock.json"
    file.write_text(expression(graph, "a test"))
    locked.write_text(lock(graph, "a test"))
    library_file = Path(__file__).parents[2] / "nix" / "lib"
    by_lock = tmp_path / "by-lock.nix"
    by_lock.write_text(
        f"(import {library_file}).fromLock {{ lock = {locked}; pkgs = import {STUB} {{ }}; }}"
    )
    (one,) = built(nix_env, file, "--arg", "pkgs", f"import {STUB} {{ }}")
    (two,) = built(nix_env, by_lock, "-A", "above")
    assert one == two
    assert Path(one).read_text().splitlines()[1:] == [str(tmp_path)]


def test_a_hash(nix_env: NixEnv, bubblewrap: str, lab: Lab, run: Run, tmp_path: Path) -> None:
    """A command with a hash is built by Nix to the same path, and then taken from there."""
    del bubblewrap
    digest = Hash.of_bytes(f"{tmp_path} 1 secret\n".encode())
    dref = run(
        "echo $salt $NIX_OUTPUT_CHECKED $TOKEN > $out; test -e /etc/resolv.conf",
        name="fetched",
        salt=str(tmp_path),
        impureEnvVars="TOKEN",
        hash=digest.sri,
        hash_mode="flat",
    )
    file = tmp_path / "default.nix"
    file.write_text(expression(ExportGraph(lab.closure(dref)), "a test"))
    os.environ["TOKEN"] = "secret"
    try:
        (path,) = built(nix_env, file)
        (again,) = built(nix_env, file)
    finally:
        del os.environ["TOKEN"]
    assert path == again
    # Without the variable it would have another hash, so it is not built here.
    rref = lab.realize(dref, sandbox="on")
    assert lab.store.record(rref).nix["path"] == path
    assert nar_hash(Path(lab.store.path(rref), "fetched")) == nar_hash(path)


def random_graph(random: Random, lab: Lab, salt: str) -> list[DRef]:
    """Register commands with outputs that refer to outputs of those before them."""
    stages: list[tuple[DRef, list[str]]] = []
    for number in range(random.randrange(1, 7)):
        outputs = random.choice([["out"], ["out", "dev"], ["b", "out"], ["lib"], ["z", "a_1", "y"]])
        env: dict[str, Any] = {"salt": f"{salt} {number}"}
        script = "true"
        for below, names in random.sample(stages, min(len(stages), random.randrange(3))):
            output = random.choice(names)
            path: Any = below / output if names != ["out"] else below
            env[f"v{len(env)}"] = random.choice([path, [path], f"-I{path}:", f"{path}/x"])
            script += f"\ncat {path}/y"
        own = [selfref] if outputs == ["out"] else [selfref, random.choice(outputs)]
        env["own"] = random.choice([[*own, "p"], own])
        fixed: dict[str, Any] = {}
        if outputs == ["out"] and random.random() < 0.3:
            fixed = {"hash": Hash.of_bytes(random.randbytes(1)).sri}
            fixed["hash_mode"] = random.choice(["flat", "recursive"])
        dref = execute(script, name=random.choice("abc"), outputs=outputs, environment=env,
                       registry=lab.registry, **fixed)  # fmt: skip
        stages.append((dref, outputs))
    return [dref for dref, _ in stages]


def test_three_ways_give_one_path(nix_env: NixEnv, lab: Lab) -> None:
    """Paths of all outputs are the same computed, evaluated and from the lock, of 60 graphs."""
    random = Random(7)  # noqa: S311
    graphs = [
        ExportGraph(lab.closure(random_graph(random, lab, str(number)))) for number in range(60)
    ]
    compare(nix_env, [*graphs])
