"""The sources of a lock in Nix: the paths that the lock has, and what Nix fetches there."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import pytest

from plxnix import fetchlock, fsinit, instantiate, realize1
from plxnix.export.forms import Request, render
from plxnix.export.graph import ExportGraph
from plxnix.export.lock_reader import parse_lock, read_lock
from plxnix.recipes.toolchain import HOST, NIXPKGS
from tests.archive_trees import file, folder, symlink, tar_bytes
from tests.command_line import CommandLine
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv

LIBRARY = Path(__file__).parents[2] / "nix" / "lib"
REQUEST = Request("plxnix export stages.py")


@pytest.fixture
def filled(plxnix: CommandLine, server: Server, tmp_path: Path) -> CommandLine:
    """A lock with a file, a versioned one, a tree, and one by its hash only."""
    mark = str(tmp_path).encode()
    tree = tar_bytes(
        folder("top"), file("top/run", mark, 0o755), symlink("top/link", "run"), folder("top/empty")
    )
    plxnix.ok("lock", "add", "data", server.answer("/a%20b.csv", Answer(mark)))
    server.answer("/x-1.2.csv", Answer(mark + b"x"))
    plxnix.ok("lock", "add", "x", server.url("/x-{version}.csv"), "--version", "1.2")
    plxnix.ok("lock", "add", "tree", server.answer("/top.tar", Answer(tree)), "--unpack")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        program = zipfile.ZipInfo("top/run")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, mark)
        archive.writestr("top/data", mark)
    url = server.answer("/top.zip", Answer(zipped.getvalue()))
    plxnix.ok("lock", "add", "zipped", url, "--unpack")
    url = server.answer("/y.csv", Answer(mark + b"y"))
    told = plxnix.ok("prefetch", url, "--no-nix", "--hash-type", "sha512").lines
    plxnix.ok("lock", "add", "known", url, "--hash", told[0])
    return plxnix


def in_nix(nix_env: NixEnv, lock: Path) -> dict[str, str]:
    """Return the paths of all sources, as Nix evaluates them in pure mode as far as it can."""
    expression = (
        f"builtins.mapAttrs (_: one: builtins.unsafeDiscardStringContext (toString one)) "
        f"((import {LIBRARY}).fromLock {{ lock = {lock}; }}).sources"
    )
    found: dict[str, str] = json.loads(nix_env.evaluate(expression, "--read-write-mode"))
    return found


def test_paths_are_those_of_the_lock(nix_env: NixEnv, filled: CommandLine, tmp_path: Path) -> None:
    """Nix, the lock, and the stages of Python have one path for each source."""
    lock = tmp_path / "plxnix.lock.json"
    recorded = {name: one["path"] for name, one in filled.ok("lock", "show", "--json").json.items()}
    assert in_nix(nix_env, lock) == recorded
    fsinit()
    for name, path in recorded.items():
        graph = ExportGraph(instantiate(fetchlock, name), HOST)
        (root,) = graph.roots
        assert graph.instantiation.path(root.node) == path
        printed = render("lock", ExportGraph(instantiate(fetchlock, name), NIXPKGS), REQUEST)
        found = parse_lock(printed["plxnix.lock.json"].encode()).derivations
        assert path in {place for one in found.values() for place in one.paths.values()}
    assert {name: one.predicted for name, one in read_lock(lock).sources.items()} == recorded


def test_nix_fetches_what_python_fetches(
    nix_env: NixEnv, filled: CommandLine, server: Server, tmp_path: Path
) -> None:
    """`nix-build` of a source has the contents that the stage has."""
    expression = tmp_path / "default.nix"
    expression.write_text(
        f"((import {LIBRARY}).fromLock {{ lock = ./plxnix.lock.json; }}).sources\n"
    )
    store = fsinit()
    for name in ("data", "x"):
        built = nix_env.build(expression, name)
        (single,) = Path(store.path(realize1(instantiate(fetchlock, name)))).iterdir()
        assert built.read_bytes() == single.read_bytes()
    paths = in_nix(nix_env, tmp_path / "plxnix.lock.json")
    tree = Path(paths["tree"])
    assert sorted(os.listdir(tree)) == ["empty", "link", "run"]
    assert filled.ok("lock", "verify", "--refetch").out == b""
    assert server.count("/top.tar") == 3  # added, by Nix, verified


@pytest.mark.parametrize("form", ["nix", "lock", "drv"])
def test_stages_are_exported(
    nix_env: NixEnv, filled: CommandLine, tmp_path: Path, form: str
) -> None:
    """A tree from a lock is built by Nix from its archive, at the path that the lock has."""
    del filled
    fsinit()
    path = json.loads(Path("plxnix.lock.json").read_text())["sources"]["tree"]["path"]
    graph = ExportGraph(instantiate(fetchlock, "tree"), HOST)
    if form == "drv":
        from plxnix.export import register

        register.register(graph)
        nix_env.run("nix-store", "--realise", graph.instantiation.drv_path(graph.roots[0].node))
    else:
        exported = tmp_path / "exported"
        exported.mkdir()
        for name, text in render(form, graph, REQUEST).items():
            (exported / name).write_text(text)
        expression = exported / "default.nix"
        if form == "lock":
            expression.write_text(
                f"((import {LIBRARY}).fromLock {{ lock = ./plxnix.lock.json; }}).default\n"
            )
        assert str(nix_env.build(expression)) == path
    assert sorted(os.listdir(path)) == ["empty", "link", "run"]


def test_a_tree_without_its_archive(
    nix_env: NixEnv, filled: CommandLine, tmp_path: Path, server: Server
) -> None:
    """If the archive's hash is not known, the build says what to run, and that makes it build."""
    text = json.loads(Path("plxnix.lock.json").read_text())
    del text["sources"]["tree"]["archive"]
    # A tree of its own, so that no other test has built it.
    tree = tar_bytes(folder("t"), file("t/x", str(tmp_path).encode() + b"alone"))
    url = server.answer("/t.tar", Answer(tree))
    Path("plxnix.lock.json").write_text(json.dumps(text))
    told = filled.ok("prefetch", url, "--unpack", "--no-nix", "--json").json
    filled.ok("lock", "add", "alone", url, "--unpack", "--hash", told["hash"])
    fsinit()
    expression = tmp_path / "default.nix"
    graph = ExportGraph(instantiate(fetchlock, "alone"), HOST)
    expression.write_text(render("nix", graph, REQUEST)["default.nix"])
    failed = nix_env.run("nix-build", "--no-out-link", expression, check=False)
    assert failed.returncode != 0
    assert "plxnix prefetch --unpack" in failed.stderr
    filled.ok("prefetch", url, "--unpack", "--nix")
    assert str(nix_env.build(expression)) == told["path"]


def test_verify_reads_the_nix_store(nix_env: NixEnv, filled: CommandLine, tmp_path: Path) -> None:
    """What the Nix store has at a source's path is compared to its hash."""
    if not nix_env.private:
        pytest.skip("this damages the Nix store")
    paths = in_nix(nix_env, tmp_path / "plxnix.lock.json")
    assert filled.ok("lock", "verify").out == b""
    damaged = Path(paths["tree"], "run")
    damaged.chmod(0o755)
    damaged.write_bytes(b"damaged")
    verdict = filled("lock", "verify")
    damaged.write_bytes(str(tmp_path).encode())
    assert verdict.status == 1
    assert [line.partition(": specified")[0] for line in verdict.lines] == [
        f"tree: {paths['tree']}"
    ]
    damaged.chmod(0o555)
    assert filled.ok("lock", "verify").out == b""
