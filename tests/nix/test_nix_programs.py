"""What plxnix asks of Nix: instantiate, build, add, import, and what is valid."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from plxnix.errors import ToolFailed
from plxnix.nix import nar, paths, tools
from plxnix.nix.graph import FixedOutput, Instantiation, Node, text
from plxnix.nix.hashes import ALGORITHMS, Hash
from plxnix.nix.quoting import encode
from plxnix.nix.text import expression
from tests.nix_environment import NixEnv

pytestmark = pytest.mark.usefixtures("nix_env")


def shell(name: str, script: str, mark: object, outputs: tuple[str, ...] = ("out",)) -> Node:
    """Return a node that runs a shell script; `mark` makes it this test's own."""
    return Node(
        name,
        "x86_64-linux" if os.uname().machine == "x86_64" else f"{os.uname().machine}-linux",
        text("/bin/sh"),
        (text("-c"), text(script, "\n:\n")),
        {"mark": text(str(mark))},
        outputs,
    )


def printed(node: Node) -> str:
    """Print a node without references."""
    return expression(node, lambda reference: reference.output)


def test_the_version(nix_env: NixEnv) -> None:
    """It is that of the installed Nix."""
    assert tools.available()
    assert tools.version() == nix_env.version


def test_expressions_and_files_are_instantiated(tmp_path: Path) -> None:
    """Text, a file, and one attribute of it give the paths that we compute."""
    node = shell("n", "echo > $lib", tmp_path, outputs=("lib", "out"))
    expected = [Instantiation().drv_path(node)]
    assert tools.instantiate(printed(node)) == expected
    file = tmp_path / "default.nix"
    file.write_text(f'{{ a = {printed(node)}; b = throw "no"; }}')
    assert tools.instantiate(file, "--attr", "a") == expected
    with pytest.raises(ToolFailed, match="undefined variable"):
        tools.instantiate("missing")


def test_builds_give_all_outputs(tmp_path: Path) -> None:
    """Outputs are at the predicted paths; links to them are roots if asked for."""
    node = shell("n", "echo one > $out; echo two > $dev", tmp_path, outputs=("out", "dev"))
    instantiation = Instantiation()
    (drv_path,) = tools.instantiate(printed(node))
    expected = {instantiation.path(node), instantiation.path(node, "dev")}
    assert tools.valid(expected) == set()
    assert set(tools.build(drv_path)) == expected
    assert tools.valid([*expected, drv_path]) == {*expected, drv_path}
    link = tmp_path / "result"
    assert set(tools.build([drv_path], link)) == expected
    assert os.readlink(link) == instantiation.path(node)
    roots = tools.run("nix-store", "--query", "--roots", instantiation.path(node))
    assert str(link) in roots


def test_failed_builds_show_why(tmp_path: Path) -> None:
    """The builder's last words are in the error; a wrong hash has the status 102."""
    broken = shell("broken", "echo the last words; exit 7", tmp_path)
    with pytest.raises(ToolFailed, match="the last words"):
        tools.build(tools.instantiate(printed(broken)))
    wrong = shell("wrong", "echo other > $out", tmp_path)
    fixed = FixedOutput(Hash.of_bytes(str(tmp_path).encode()))
    pinned = Node("wrong", wrong.system, wrong.builder, wrong.args, wrong.env, fixed=fixed)
    with pytest.raises(ToolFailed, match="hash mismatch") as caught:
        tools.build(tools.instantiate(printed(pinned)))
    assert caught.value.status == 102


def test_validity_of_many_paths(tmp_path: Path) -> None:
    """More paths than one command line holds."""
    file = tmp_path / "file"
    file.write_text(str(tmp_path))
    there = tools.add_fixed(file)
    others = [paths.text_path(f"n{number}", os.urandom(8)) for number in range(3 * tools.BATCH)]
    assert tools.valid([*others, there]) == {there}
    with pytest.raises(ToolFailed):
        tools.valid(["/elsewhere"])


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_files_go_where_they_are_expected(algorithm: str, tmp_path: Path) -> None:
    """Of each algorithm, flat and recursive; a flat file has lost its x bit."""
    file = tmp_path / "file"
    file.write_text(f"{tmp_path} {algorithm}")
    file.chmod(0o755)
    digest = Hash.of_file(file, algorithm)
    added = tools.add_fixed(file, algorithm)
    assert added == paths.fixed_path("file", digest)
    assert not os.stat(added).st_mode & 0o111
    assert tools.add_fixed(file, algorithm, name="other.txt") == paths.fixed_path(
        "other.txt", digest
    )
    of_archive = Hash.of_bytes(b"".join(nar.dump(file)), algorithm)
    added = tools.add_fixed(file, algorithm, recursive=True)
    assert added == paths.fixed_path("file", of_archive, recursive=True)
    assert os.stat(added).st_mode & 0o111


def test_links_are_followed_when_flat(tmp_path: Path) -> None:
    """A flat file is what its link leads to, under the link's name."""
    (tmp_path / "file").write_text("contents")
    (tmp_path / "link").symlink_to("file")
    expected = paths.fixed_path("link", Hash.of_bytes(b"contents"))
    assert tools.add_fixed(tmp_path / "link") == expected


@pytest.mark.parametrize("name", [None, "other"])
def test_trees_go_where_they_are_expected(name: str | None, tmp_path: Path) -> None:
    """Also under another name, and from a place whose name is no legal one."""
    tree = tmp_path / ("tree" if name is None else 'a "strange" ${name}')
    tree.mkdir()
    (tree / "file").write_text(str(tmp_path))
    (tree / "link").symlink_to("nowhere")
    digest, _ = nar.nar_hash(tree)
    added = tools.add_fixed(tree, recursive=True, name=name)
    assert added == paths.source_path(name or "tree", digest)
    assert tools.valid([added]) == {added}
    assert nar.nar_hash(added)[0] == digest


def test_exports_are_imported(nix_env: NixEnv, tmp_path: Path) -> None:
    """A stream that Nix has exported comes in again; a broken one is an error."""
    file = tmp_path / "file"
    file.write_text(str(tmp_path))
    added = tools.add_fixed(file)
    stream = encode(tools.run("nix-store", "--export", added))
    if nix_env.private:
        tools.run("nix-store", "--delete", added)
        assert tools.valid([added]) == set()
    assert tools.import_paths(io.BytesIO(stream)) == [added]
    assert tools.import_paths([stream[:100], stream[100:]]) == [added]
    assert tools.valid([added]) == {added}
    with pytest.raises(ToolFailed):
        tools.import_paths([stream[:-40]])
