"""What Nix builds from an export is what plxnix has made of the same stages."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from plxnix import DRef, execute, fetchlocal, match_best, mkfile, mknode, unpack
from plxnix.errors import Unexportable
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.model import selfref
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.stage_samples import Lab


def export(lab: Lab, targets: DRef | list[DRef], file: Path) -> ExportGraph:
    """Write an expression that needs nothing but Nix and this machine."""
    graph = ExportGraph(lab.closure(targets))
    file.write_text(expression(graph, f"made in {file}"))
    return graph


def both(nix_env: NixEnv, lab: Lab, drefs: list[DRef], folder: Path) -> None:
    """Build stages natively and with Nix, and compare their NAR hashes."""
    rrefs = [lab.realize(dref) for dref in drefs]
    graph = export(lab, drefs, folder / "default.nix")
    nix_env.build(folder / "default.nix")
    for dref, rref in zip(drefs, rrefs, strict=True):
        (item,) = graph.targets[dref]
        native = Path(lab.store.path(rref))
        record = lab.store.record(rref)
        assert record.nix["path"] == graph.instantiation.path(item.node)
        if record.flat or (item.lowered is not None and item.lowered.flat):
            (native,) = native.iterdir()
        assert nar_hash(record.nix["path"]) == nar_hash(native), dref


def run(folder: Path, *command: str) -> None:
    """Run a program of this machine."""
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def tree(folder: Path) -> Path:
    """Make a tree with whatever an archive may hold."""
    top = folder / "top"
    (top / "dir" / "empty").mkdir(parents=True)
    (top / "dir" / "file").write_text("text")
    (top / "program").write_text("#!/bin/sh\n")
    (top / "program").chmod(0o755)
    (top / "odd name é $x").write_bytes(bytes(range(256)))
    (top / "private").write_text("")
    (top / "private").chmod(0o600)
    (top / "link").symlink_to("dir/file")
    (top / "nowhere").symlink_to("/no/such/place")
    os.link(top / "dir" / "file", top / "hard")
    return top


class TestRecipes:
    """Each recipe, by both builders."""

    def test_files(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """Text, bytes, odd names, folders, nothing."""
        registry, salt = lab.registry, str(tmp_path)
        drefs = [
            mkfile("text", f"é\r\n'' ${{x}} \\ {salt}", registry=registry),
            mkfile("bytes", bytes(range(256)) * 4, registry=registry),
            mkfile("nul", salt + "\0\n\n", registry=registry),
            mknode({"salt": salt}, {}, "nothing", registry=registry),
            mknode(
                {"salt": salt},
                {"-rf": "1", "a b/'c'/$d": "2", "a b/e": b"\xff", "\n": "", "*": "3"},
                "odd",
                registry=registry,
            ),
        ]
        both(nix_env, lab, drefs, tmp_path)

    def test_commands(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """Commands that make files and folders, on what others have made."""
        registry = lab.registry
        data = mkfile("data", f"{tmp_path}\n", registry=registry)
        file = execute(f'tr a-z A-Z < {data / "data"} > "$out"', name="file", registry=registry)
        folder = execute(
            """
                mkdir -p "$out/bin" "$out/empty"
                printf '%s\\n' "$list" "$number" "$yes" "$no" "$text" > "$table"
                cat "$above" > "$out/copy"
                printf '#!/bin/sh\\necho hello\\n' > "$out/bin/hello"
                chmod +x "$out/bin/hello"
                ln -s copy "$out/link"
            """,
            name="folder",
            table=[selfref, "table"],
            environment={
                "list": ["a", ["b", ""], [], 3],
                "number": -(2**70),
                "yes": True,
                "no": False,
                "text": " é ''${x} \"\\\n\t$",
            },
            above=file,
            registry=registry,
        )
        program = execute(
            name="program",
            builder="/bin/bash",
            arguments=["-c", 'printf "<%s>" "$@" > "$out"', "", "", "a\nb", data / "data"][:5],
            registry=registry,
        )
        printed = execute(f"{folder / 'bin' / 'hello'} > $out", name="printed", registry=registry)
        both(nix_env, lab, [data, file, folder, program, printed], tmp_path)

    def test_archives(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """Archives of real tar and zip, fetched and unpacked in every way."""
        registry = lab.registry
        place = tree(tmp_path).parent
        run(place, "tar", "-czf", "a.tar.gz", "top")
        run(place, "tar", "-cJf", "a.tar.xz", "--format=posix", "top")
        run(place, "zip", "-qry", "a.zip", "top")
        drefs = []
        for name in ("a.tar.gz", "a.tar.xz", "a.zip"):
            digest = Hash.of_file(place / name).hex
            for mode in ("", "unpack", "unpack,remove"):
                drefs.append(fetchlocal(digest, place / name, mode=mode, registry=registry))
            whole = fetchlocal(digest, place / name, mode="", registry=registry)
            drefs.append(unpack(whole, "unpacked", registry=registry))
            if not name.endswith("zip"):
                drefs.append(unpack(whole, "stripped", strip=1, registry=registry))
                drefs.append(unpack(whole, "stripped", strip=2, registry=registry))
        both(nix_env, lab, drefs, tmp_path)

    def test_odd_names_of_files(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """A fetch whose file Nix would not call so is found by its native name in both."""
        registry = lab.registry
        place = tmp_path / "a b é$x.txt"
        place.write_text(str(tmp_path))
        fetch = fetchlocal(Hash.of_file(place).hex, place, mode="", registry=registry)
        copy = execute('cp "$file" "$out"', name="copy", file=fetch / place.name, registry=registry)
        both(nix_env, lab, [fetch, copy], tmp_path)


class TestPins:
    """Results that Nix cannot make go along by their hashes."""

    def test_missing_then_added(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """Without its pin the build says what to do; with it, it builds the same."""
        pin = lab.stage("pin", content=f"made in {tmp_path}")
        top = execute(f'cat {pin / "out"} > "$out"', name="top", registry=lab.registry)
        rref = lab.realize(top)
        graph = export(lab, top, tmp_path / "default.nix")
        (chosen,) = lab.store.realizations(pin)
        with pytest.raises(NixCommandFailed, match=f"plxnix nix add {chosen}"):
            nix_env.build(tmp_path / "default.nix")
        add_graph(graph)
        built = nix_env.build(tmp_path / "default.nix")
        assert built.read_bytes() == Path(lab.store.path(rref), "top").read_bytes()

    def test_several(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """Those that the matcher selected come in its order, the best first."""
        scores = [f"0.{number}" for number in (2, 9, 5, 7)]
        runs = lab.stage(
            "runs", content=[*scores], matcher=match_best("out", top=3), salt=str(tmp_path)
        )
        top = execute(
            f'for one in $runs; do cat $one/out >> "$out"; echo >> "$out"; done; '
            f'cat {runs / "out"} >> "$out"',
            runs=runs,
            registry=lab.registry,
        )
        rref = lab.realize(top)
        add_graph(export(lab, top, tmp_path / "default.nix"))
        built = nix_env.build(tmp_path / "default.nix").read_text()
        assert built == "0.9\n0.7\n0.5\n0.90.70.5"
        assert built == Path(lab.store.path(rref), rref.name).read_text()

    def test_a_file(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """A pinned command whose result is a file is that file for what depends on it."""
        pin = execute(
            'echo "$salt" > "$out"',
            name="pin",
            deterministic=False,
            salt=str(tmp_path),
            registry=lab.registry,
        )
        top = execute(
            f'cat {pin} {pin / "pin"} "$same" > "$out"',
            name="top",
            same=pin,
            registry=lab.registry,
        )
        rref = lab.realize(top)
        add_graph(export(lab, top, tmp_path / "default.nix"))
        built = nix_env.build(tmp_path / "default.nix").read_text()
        assert built == f"{tmp_path}\n" * 3
        assert built == Path(lab.store.path(rref), "top").read_text()

    def test_a_pin_alone(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """A target that only plxnix can make is its own pin; several become a set."""
        runs = lab.stage("runs", content=["1", "2"], salt=str(tmp_path))
        rrefs = lab.realize(runs)
        graph = export(lab, runs, tmp_path / "default.nix")
        add_graph(graph)
        names = [item.variable for item in graph.targets[runs]]
        assert names == ["runs", "runs-2"]
        for name, rref in zip(names, rrefs, strict=True):
            built = nix_env.build(tmp_path / "default.nix", name)
            assert (built / "out").read_text() == lab.text(rref)

    def test_unrealized(self, lab: Lab) -> None:
        """A stage that has to be realized first is named, with what to run."""
        pin = lab.stage("pin")
        top = execute(f"cat {pin}", registry=lab.registry)
        with pytest.raises(Unexportable, match="never realized") as caught:
            ExportGraph(lab.closure(top))
        assert caught.value.dref == pin
        assert "its realizer is Python code" in caught.value.message
        assert "plxnix realize" in caught.value.hint

    def test_explained(self, lab: Lab, tmp_path: Path) -> None:
        """For each stage: how it leaves, why, and by which realizations."""
        registry = lab.registry
        fetch = fetchlocal("0" * 64, tmp_path / "x", mode="", registry=registry)
        below = lab.stage("below")
        runs = lab.stage("runs", below, content=["1", "2"])
        rrefs = lab.realize(runs)
        top = execute("true", data=fetch, runs=runs, registry=registry)
        rows = ExportGraph(lab.closure(top)).explain()
        assert {(row.dref, row.kind, row.reason, row.rrefs) for row in rows} == {
            (fetch, "fixed-output", "its hash is given", ()),
            (below, "left out", "only pinned stages depend on it", ()),
            (runs, "pin", "its realizer is Python code", tuple(rrefs)),
            (top, "derivation", "its config says all that is done", ()),
        }
        order = [row.dref for row in rows]
        assert order.index(below) < order.index(runs) < order.index(top)
