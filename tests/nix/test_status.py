"""`plxnix nix status`: what exists where, and what to do next."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef, RRef, fetchlocal, match_latest
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add
from plxnix.export.importing import import_graph, import_realizations
from plxnix.export.register import register
from plxnix.export.status import Status, status
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from tests.command_line import CommandLine
from tests.stage_samples import Lab

Run = Callable[..., DRef]


def states(lab: Lab, dref: DRef) -> dict[str, Status]:
    """Return the status of each stage by its name."""
    return {str(one.dref.name): one for one in status(lab.closure(dref)).stages}


@pytest.mark.usefixtures("nix_env", "bubblewrap")
class TestStages:
    """The status of each stage."""

    def test_from_nothing_to_everything(self, lab: Lab, run: Run, tmp_path: Path) -> None:
        """What `next` says leads from nothing to all being there."""
        file = tmp_path / "file"
        file.write_text(str(tmp_path))
        fetch = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
        code = lab.stage("code", content=["a", "b"], matcher=match_latest(2), salt=str(tmp_path))
        base = run('cat "$fetch" > "$out"', name="base", fetch=fetch)
        top = run('cat $code "$base" > "$out" || :', name="top", code=code, base=base)

        found = states(lab, top)
        assert {name: (one.kind, one.state, one.realized) for name, one in found.items()} == {
            "file": ("fixed-output", "absent", 0),
            "code": ("opaque", "unknown", 0),
            "base": ("derivation", "absent", 0),
            "top": ("unknown", "unknown", 0),
        }
        assert list(found)[-1] == "top"
        assert {one.next for one in found.values()} == {"plxnix realize"}
        assert found["top"].places == ()

        lab.realize(top)
        graph = ExportGraph(lab.closure(top))
        found = states(lab, top)
        assert {name: (one.kind, one.state, one.identical) for name, one in found.items()} == {
            "file": ("fixed-output", "absent", True),
            "code": ("pin", "absent", None),
            "base": ("derivation", "absent", True),
            "top": ("derivation", "absent", True),
        }
        assert {place.path for one in found.values() for place in one.places} == {
            graph.instantiation.path(item.node) for item in graph.items
        }
        assert (found["code"].realized, len(found["code"].selected)) == (2, 2)

        register(graph)
        assert {one.state for one in states(lab, top).values()} == {"registered"}
        for one in found.values():
            program, group, verb, *hashes = one.next.split()
            assert (program, group) == ("plxnix", "nix")
            for digits in hashes:
                (rref,) = (each for each in one.selected if each.rhash.startswith(digits))
                if verb == "add":
                    add(lab.store, rref)
                else:
                    import_realizations(lab.store, [rref])
        found = states(lab, top)
        assert {(one.state, one.next) for one in found.values()} == {("valid", "")}

    def test_what_is_not_identical(self, lab: Lab, run: Run) -> None:
        """What was made without a sandbox cannot be imported; `next` does not say so."""
        dref = run('echo > "$out"')
        lab.realize(dref, sandbox="off")
        (found,) = states(lab, dref).values()
        assert found.identical is False
        assert found.next == "nix-build of an export, or plxnix realize --force --sandbox on"

    def test_one_of_two(self, lab: Lab) -> None:
        """Of several pins those count that are missing."""
        dref = lab.stage("two", content=["a", f"b{lab.root}"], matcher=match_latest(2))
        rrefs: list[RRef] = lab.realize(dref)
        add(lab.store, rrefs[0])
        (found,) = states(lab, dref).values()
        assert [place.state for place in found.places] == ["valid", "absent"]
        assert found.state == "absent"
        assert found.next == f"plxnix nix add {rrefs[1].short}"

    def test_several_outputs(self, lab: Lab, run: Run) -> None:
        """A stage with several outputs has several places."""
        dref = run('mkdir "$out" "$dev"', outputs=["out", "dev"])
        lab.realize(dref)
        (found,) = states(lab, dref).values()
        outputs = lab.store.record(found.selected[0]).nix["outputs"]
        assert [place.path for place in found.places] == [outputs["out"], outputs["dev"]]
        import_graph(ExportGraph(lab.closure(dref)))
        (found,) = states(lab, dref).values()
        assert found.state == "valid"

    def test_many(
        self, lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Nix is called once, however many stages there are."""
        folder = tmp_path / "bin"
        folder.mkdir()
        calls = tmp_path / "calls"
        program = folder / "nix-store"
        program.write_text(f'#!/bin/sh\necho >> {calls}\nexec {tools.find("nix-store")} "$@"\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        top = run('echo > "$out"')
        for number in range(60):
            top = run('cat "$below" > "$out"', name=f"n{number}", below=top)
        assert len(states(lab, top)) == 61
        assert calls.read_text() == "\n"


def test_without_nix(lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Nix, what is known here is shown, with the reason why Nix tells nothing."""
    dref = run('echo > "$out"')
    monkeypatch.setenv("PATH", str(tmp_path))
    overview = status(lab.closure(dref))
    assert "nix-store is not installed" in overview.without_nix
    (found,) = overview.stages
    assert (found.kind, found.state, found.next) == ("derivation", "unknown", "plxnix realize")
    assert found.places[0].path.startswith("/nix/store/")


@pytest.mark.usefixtures("nix_env", "bubblewrap")
def test_command(plxnix: CommandLine, tmp_path: Path) -> None:
    """A line for each stage, dependencies first, and all of it as JSON."""
    file = plxnix.file(
        "from plxnix import execute, mkfile\n"
        f"def below(): return mkfile('below', {str(tmp_path)!r})\n"
        "def top(n=1): return execute('cat $b/below > $out', name='top', b=below())\n"
    )
    done = plxnix.ok("nix", "status", f"{file}:top", "-a", "n=it is")
    realize = f"plxnix realize {file}:top -a 'n=it is'"
    assert [(DRef(row[0]).name, row[1], row[2], row[4], row[6]) for row in done.fields] == [
        ("below", "derivation", "0", "absent", realize),
        ("top", "derivation", "0", "absent", realize),
    ]
    assert "0 of 2 stages are in the Nix store" in done.err
    plxnix.ok("realize", f"{file}:top")
    plxnix.ok("nix", "import", "--target", f"{file}:top")
    done = plxnix.ok("nix", "status", f"{file}:top", "--json")
    assert [(one["state"], one["identical"], one["next"]) for one in done.json] == [
        ("valid", True, ""),
        ("valid", True, ""),
    ]
    assert done.json[1]["places"][0]["derivation"].endswith("-top.drv")
