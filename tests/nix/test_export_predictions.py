"""The paths that plxnix predicts for an export are those that Nix computes from what it prints."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from plxnix import execute, fetchurl, mkfile, mknode
from plxnix.export.expression import expression
from plxnix.export.forms import Request, render
from plxnix.export.graph import ExportGraph
from plxnix.recipes.toolchain import HOST
from tests.export_samples import random_stages
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab

#: For each stage of each file, the paths that Nix computes.
PATHS = """\
map (file:
  builtins.mapAttrs (_: stage: [ stage.drvPath stage.outPath ]) (import file { }).stages
) [
%s
]
"""


def computed(nix_env: NixEnv, files: list[Path], folder: Path) -> list[dict[str, list[str]]]:
    """Return for each export the .drv and output path of each variable, from one run of Nix."""
    every = folder / "all.nix"
    every.write_text(PATHS % "\n".join(map(str, files)))
    printed = nix_env.run("nix-instantiate", "--eval", "--strict", "--json", every)
    found: list[dict[str, list[str]]] = json.loads(printed.stdout)
    return found


def predicted(graph: ExportGraph) -> dict[str, list[str]]:
    """Return what plxnix says: for each variable the .drv and the output path."""
    return {
        item.variable: [
            graph.instantiation.drv_path(item.node),
            graph.instantiation.path(item.node),
        ]
        for item in graph.items
    }


@settings(max_examples=2, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(st.integers(0, 2**32).map(Random))
def test_random_graphs(nix_env: NixEnv, tmp_path_factory: Any, random: Random) -> None:
    """100 random graphs of stages with awkward names and texts, also split into files."""
    folder = tmp_path_factory.mktemp("graphs")
    lab = Lab(folder / "store")
    graphs, files = [], []
    for number in range(100):
        graph = ExportGraph(random_stages(random, lab))
        split = number % 4 == 0
        place = folder / str(number)
        for name, text in render("nix", graph, Request("x", split=split)).items():
            path = place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text.encode())
        graphs.append(graph)
        files.append(place / "default.nix")
    for graph, file, found in zip(graphs, files, computed(nix_env, files, folder), strict=True):
        assert found == predicted(graph), file.read_text()


def test_the_config_can_be_read_back(nix_env: NixEnv, tmp_path: Path) -> None:
    """Each stage carries its reference and its config, as Nix values."""
    lab = Lab(tmp_path / "store")
    dref = execute('echo "$é" > "$out"', name="or", é='${x} "\\\n', registry=lab.registry)
    file = tmp_path / "default.nix"
    file.write_text(expression(ExportGraph(lab.closure(dref)), "x"))
    found = nix_env.evaluate(f"(import {file} {{ }}).passthru.plxnix")
    assert json.loads(found) == {
        "dref": dref,
        "config": lab.registry.derivations[dref].config.value(),
    }


def test_it_is_the_same_text_each_time(tmp_path: Path) -> None:
    """Another process, store and order of registration print the same bytes."""
    texts: set[str] = set()
    for place, order in (("one", 1), ("two", -1)):
        lab = Lab(tmp_path / place)
        names = ["a", "b", "c"][::order]
        files = {name: mkfile(name, name, registry=lab.registry) for name in names}
        top = execute("cat $files", files=[files[name] for name in "abc"], registry=lab.registry)
        graph = ExportGraph(lab.closure(top))
        texts.add(expression(graph, "x"))
        assert expression(ExportGraph(lab.closure(top)), "x") in texts
    assert len(texts) == 1


def test_comments_cannot_be_left(nix_env: NixEnv, tmp_path: Path) -> None:
    """A command line with line ends in it stays within the comment that holds it."""
    lab = Lab(tmp_path / "store")
    graph = ExportGraph(lab.closure(mkfile("a", "", registry=lab.registry)))
    file = tmp_path / "default.nix"
    file.write_bytes(expression(graph, "x\n}\r\u2028 */ ''\t").encode())
    assert computed(nix_env, [file], tmp_path) == [predicted(graph)]


class TestOverrides:
    """`overrides` replaces stages by the names of their variables."""

    def test_a_file_of_ones_own(self, nix_env: NixEnv, tmp_path: Path) -> None:
        """What depends on the stage is built with the replacement, and all else stays."""
        lab = Lab(tmp_path / "store")
        data = mkfile("data", f"native {tmp_path}", registry=lab.registry)
        other = mkfile("other", "o", registry=lab.registry)
        top = execute(f'cat {data / "data"} {other / "other"} > "$out"', registry=lab.registry)
        graph = ExportGraph(lab.closure(top))
        file = tmp_path / "default.nix"
        file.write_text(expression(graph, "x"))
        mine = tmp_path / "mine"
        mine.mkdir()
        (mine / "data").write_text("mine ")
        overrides = f"{{ data = {mine}; }}"
        built = nix_env.build(file, None, "--arg", "overrides", overrides)
        assert built.read_text() == "mine o"
        assert nix_env.build(file).read_text() == f"native {tmp_path}o"

    def test_a_name_that_is_none(self, nix_env: NixEnv, tmp_path: Path) -> None:
        """The names are the stages' own, made into variables."""
        lab = Lab(tmp_path / "store")
        odd = mknode({}, {}, "with", registry=lab.registry)
        graph = ExportGraph(lab.closure(execute(f"cat {odd}", registry=lab.registry)))
        assert [item.variable for item in graph.items] == ["with_", "execute"]
        file = tmp_path / "default.nix"
        file.write_text(expression(graph, "x"))
        names = nix_env.evaluate(f"builtins.attrNames (import {file} {{ }}).stages")
        assert json.loads(names) == ["execute", "with_"]


def test_parses(nix_env: NixEnv, tmp_path: Path) -> None:
    """A fetch alone, and several targets, are expressions that Nix parses and can build by name."""
    lab = Lab(tmp_path / "store")
    fetch = fetchurl("https://example.org/x", sha256="0" * 64, mode="", registry=lab.registry)
    files = [mkfile(name, "", registry=lab.registry) for name in ("if", "then")]
    for targets in (fetch, [fetch, *files]):
        file = tmp_path / "default.nix"
        file.write_text(expression(ExportGraph(lab.closure(targets), HOST), "x"))
        nix_env.run("nix-instantiate", "--parse", file)
    attribute = nix_env.run("nix-instantiate", file, "--attr", "if_").stdout
    assert attribute.strip().endswith("-if.drv")
