"""`plxnix nix import`: Nix takes what was built here for its own, or is not given it."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef, RRef, fetchlocal, fetchtree, match_latest, mkfile, mknode, unpack
from plxnix.errors import ExportError, NotRealized
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.importing import import_graph, import_realizations
from plxnix.export.register import register
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from tests.command_line import CommandLine
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab
from tests.waiting import wait_for

Run = Callable[..., DRef]

STAGES = """
from plxnix import execute

def below():
    return execute('mkdir "$out"; echo {salt} > "$out/x"', name="below")

def top():
    return execute('echo "$below $out" > "$out"', name="top", below=below())
"""


def path_of(lab: Lab, dref: DRef) -> str:
    """Return where Nix has the result of a realized stage."""
    path: str = lab.store.record(lab.realize(dref)).nix["path"]
    return path


def query(what: str, path: str) -> list[str]:
    """Ask Nix about a path."""
    return sorted(tools.run("nix-store", "--query", what, path).split())


@pytest.mark.usefixtures("bubblewrap")
class TestGraphs:
    """`import_graph` with all that there is."""

    def test_nothing_is_left_to_build(
        self, nix_env: NixEnv, lab: Lab, run: Run, tmp_path: Path
    ) -> None:
        """Fetches, pins, files, trees and commands: `nix-build` of the export builds nothing."""
        archive = tmp_path / "a.tar"
        subprocess.run(["tar", "-cf", archive, "-C", Path(__file__).parent, "stub"], check=True)
        digest = Hash.of_file(archive).hex
        whole = fetchlocal(digest, archive, mode="", registry=lab.registry)
        parts = [
            unpack(whole, registry=lab.registry),
            fetchlocal(digest, archive, name="again", registry=lab.registry),
            mknode({"salt": str(tmp_path)}, {"a/b": str(tmp_path)}, "node", registry=lab.registry),
            mkfile("file", str(tmp_path), registry=lab.registry),
            lab.stage("pin", content=str(tmp_path)),
        ]
        below = run('mkdir "$out"; echo "$parts $out" > "$out/x"', name="below", parts=parts)
        top = run('echo "$below" > "$out"; chmod +x "$out"', name="top", below=below)
        lab.realize(top)
        graph = ExportGraph(lab.closure(top))
        handed = import_graph(graph)
        assert all(one.fresh for one in handed)
        # The archive that was unpacked at once is not here, and needs not be there.
        assert len({one.path for one in handed}) == len(graph.items) - 1
        file = tmp_path / "default.nix"
        file.write_text(expression(graph, "made by a test"))
        archive.unlink()
        asked = nix_env.run("nix-build", "--no-out-link", "--dry-run", file)
        assert "will be built" not in asked.stderr
        assert "will be fetched" not in asked.stderr
        built = nix_env.build(file, None, "--max-jobs", "0")
        assert str(built) == path_of(lab, top)
        assert not any(one.fresh or one.other for one in import_graph(graph))

    def test_what_nix_knows_of_it(self, nix_env: NixEnv, lab: Lab, run: Run) -> None:
        """Deriver, references, its own among them, size and hash are those of a build of Nix."""
        data = mkfile("data", str(lab.root), registry=lab.registry)
        pin = lab.stage("pin", content=str(lab.root))
        below = run('mkdir "$out"; ln -s "$data" "$out/data"', name="below", data=data)
        top = run(
            'mkdir "$out"; echo "$pin" > "$out/a"; echo "$out/x" > "$out/b"; '
            'readlink "$below/data" > "$out/c"',
            name="top",
            below=below,
            pin=pin,
        )
        lab.realize(top)
        graph = ExportGraph(lab.closure(top))
        import_graph(graph)
        path = path_of(lab, top)
        deriver = graph.instantiation.drv_path(graph.targets[top][0].node)
        (pinned,) = (graph.instantiation.path(i.node) for i in graph.items if i.node.name == "pin")
        # Not that of `below`, which only tells where `data` is.
        assert query("--references", path) == sorted([path, path_of(lab, data), pinned])
        assert query("--references", path_of(lab, below)) == [path_of(lab, data)]
        assert query("--deriver", path) == [deriver]
        assert query("--size", path) == [str(nar_hash(path)[1])]
        known = query("--references", path), query("--hash", path)
        tools.run("nix-store", "--verify-path", path)
        tools.run("nix-store", "--delete", path)
        nix_env.run("nix-store", "--realise", deriver)
        assert (query("--references", path), query("--hash", path)) == known

    def test_several_outputs(self, nix_env: NixEnv, lab: Lab, run: Run, tmp_path: Path) -> None:
        """Outputs of one derivation may refer to each other, in whatever order they are named."""
        two = run(
            'mkdir "$out" "$lib"; echo "$lib/x" > "$out/y"; echo x > "$lib/x"',
            name="two",
            outputs=["out", "lib"],
        )
        top = run(f'cat {two / "out" / "y"} > "$out"', name="top")
        lab.realize(top)
        graph = ExportGraph(lab.closure(top))
        import_graph(graph)
        outputs = lab.store.record(lab.realize(two)).nix["outputs"]
        assert query("--references", outputs["out"]) == [outputs["lib"]]
        assert query("--references", path_of(lab, top)) == [outputs["lib"]]
        file = tmp_path / "default.nix"
        file.write_text(expression(graph, "made by a test"))
        assert str(nix_env.build(file, None, "--max-jobs", "0")) == path_of(lab, top)

    def test_what_nix_has_built_otherwise(self, nix_env: NixEnv, lab: Lab, run: Run) -> None:
        """What Nix has made other bytes of stays as it is; that is told."""
        dref = run('cp /proc/sys/kernel/random/uuid "$out"')
        lab.realize(dref)
        graph = ExportGraph(lab.closure(dref))
        (drv_path,) = register(graph).values()
        nix_env.run("nix-store", "--realise", drv_path)
        before = Path(path_of(lab, dref)).read_bytes()
        (handed,) = import_graph(graph)
        assert (handed.fresh, handed.other) == (False, True)
        assert Path(path_of(lab, dref)).read_bytes() == before

    def test_what_is_not_realized(self, nix_env: NixEnv, lab: Lab, run: Run) -> None:
        """What is not realized cannot be imported; nothing goes in."""
        assert nix_env.version
        below = run('echo > "$out"', name="below")
        top = run('cat "$below" > "$out"', below=below)
        lab.realize(below)
        with pytest.raises(NotRealized, match="never realized"):
            import_graph(ExportGraph(lab.closure(top)))
        assert not tools.valid([path_of(lab, below)])


@pytest.mark.usefixtures("nix_env", "bubblewrap")
class TestRefusals:
    """What Nix would not have made is not given to it."""

    def test_without_a_sandbox(self, lab: Lab, run: Run) -> None:
        """What was made without a sandbox, or from such, is refused, and the culprit named."""
        first = run('echo > "$out"', name="first")
        second = run('cat "$first" > "$out"', name="second", first=first)
        third = run('cat "$second" > "$out"', name="third", second=second)
        culprit = lab.realize(first, sandbox="off")
        top = lab.realize(third)
        ways: list[Callable[[], object]] = [
            lambda: import_graph(ExportGraph(lab.closure(third))),
            lambda: import_realizations(lab.store, [top]),
        ]
        for way in ways:
            with pytest.raises(ExportError, match="not claimed to have the bytes of Nix") as caught:
                way()
            assert culprit in caught.value.message
            assert "made without a sandbox" in caught.value.message
            assert "--sandbox on" in caught.value.hint
        assert not tools.valid([path_of(lab, one) for one in (first, second, third)])

    def test_pins(self, lab: Lab, run: Run) -> None:
        """Code, and commands with competing results, have no path but that of their pins."""
        for dref in (
            lab.stage("pin", content=str(lab.root)),
            run('echo > "$out"', deterministic=False),
            run('echo "$out" > "$out"', nouts=2, matcher=match_latest(1)),
        ):
            rref = lab.realize(dref)
            with pytest.raises(ExportError, match="is a result that Nix could not build") as caught:
                import_realizations(lab.store, [rref])
            assert f"plxnix nix add {rref.short}" in caught.value.hint

    @pytest.mark.parametrize("there", [False, True])
    def test_a_changed_one(self, lab: Lab, run: Run, there: bool) -> None:
        """What was changed since is refused, also if Nix has what it was."""
        dref = run('mkdir "$out"; echo > "$out/x"')
        rref = lab.realize(dref)
        if there:
            import_graph(ExportGraph(lab.closure(dref)))
        file = Path(lab.store.path(rref), "x")
        file.chmod(0o644)
        file.write_text("changed")
        with pytest.raises(ExportError, match="was changed after it was realized"):
            import_graph(ExportGraph(lab.closure(dref)))
        assert bool(tools.valid([path_of(lab, dref)])) is there

    def test_a_daemon_that_does_not_trust(
        self, lab: Lab, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nix_env: NixEnv
    ) -> None:
        """A daemon that takes nothing unsigned from this user: what to do is said."""
        if not nix_env.private:
            pytest.skip("the store is the machine's own")
        dref = run('echo > "$out"')
        lab.realize(dref)
        graph = ExportGraph(lab.closure(dref))
        folder = tmp_path / "conf"
        folder.mkdir()
        folder.joinpath("nix.conf").write_text("trusted-users =\nbuild-users-group =\n")
        place = Path("/nix/var/nix/daemon-socket/socket")
        daemon = subprocess.Popen(
            ["nix-daemon"],
            env={**nix_env.environment, "NIX_CONF_DIR": str(folder)},
            stderr=subprocess.DEVNULL,
        )
        try:
            with socket.socket(socket.AF_UNIX) as trial:
                wait_for(lambda: trial.connect_ex(str(place)) == 0)
            monkeypatch.setenv("NIX_REMOTE", "daemon")
            with pytest.raises(ExportError, match="from trusted users only") as caught:
                import_graph(graph)
            assert "trusted-users" in caught.value.hint
        finally:
            daemon.terminate()
            daemon.wait()
            place.unlink(missing_ok=True)


@pytest.mark.usefixtures("nix_env", "bubblewrap")
class TestRealizations:
    """`import_realizations` knows from records alone."""

    def test_with_what_it_refers_to(self, lab: Lab, run: Run, tmp_path: Path) -> None:
        """A result goes with those that it refers to, and theirs; others stay behind."""
        file = tmp_path / "file"
        file.write_text(f"fetched {tmp_path}")
        fetch = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
        pin = lab.stage("pin", content=str(lab.root))
        behind = run('echo behind > "$out"', name="behind")
        below = run(
            'mkdir "$out"; echo "$pin $fetch $out" > "$out/x"; cat "$behind" > "$out/y"',
            name="below",
            pin=pin,
            fetch=fetch,
            behind=behind,
        )
        top = run('echo "$below" > "$out"', name="top", below=below)
        rref: RRef = lab.realize(top)
        handed = import_realizations(lab.store, [rref])
        assert {one.rref.name for one in handed} == {"file", "pin", "below", "top"}
        assert len(query("--requisites", path_of(lab, top))) == 4
        assert query("--references", path_of(lab, below))[0].startswith("/nix/store/")
        assert path_of(lab, below) in query("--references", path_of(lab, below))
        assert not tools.valid([path_of(lab, behind)])
        assert not any(one.fresh for one in import_realizations(lab.store, [rref]))

    def test_fixed_ones(self, lab: Lab, tmp_path: Path) -> None:
        """Fetches of files and of trees go where `nix add` puts them."""
        file = tmp_path / "file"
        file.write_text(f"fetched {tmp_path}")
        archive, folder = tmp_path / "a.tar", tmp_path / "folder"
        folder.mkdir()
        (folder / "file").write_text(str(tmp_path))
        subprocess.run(["tar", "-cf", archive, "-C", tmp_path, "folder"], check=True)
        hashes = Hash.of_file(file).hex, nar_hash(folder)[0].sri
        for fetch in (
            fetchlocal(hashes[0], file, mode="", registry=lab.registry),
            fetchtree(archive.as_uri(), hash=hashes[1], registry=lab.registry),
        ):
            (handed,) = import_realizations(lab.store, [lab.realize(fetch)])
            assert handed.path == path_of(lab, fetch)

    def test_fixed_commands(self, lab: Lab, run: Run, tmp_path: Path) -> None:
        """So does a command whose hash is given, with a graph and without."""
        file = tmp_path / "x"
        file.write_text("x\n")
        digest = nar_hash(file)[0].sri
        fixed = run('echo x > "$out"', name="fixed", hash=digest)
        top = run('echo "$fixed" > "$out"', name="top", fixed=fixed)
        rref = lab.realize(top)
        handed = import_realizations(lab.store, [rref])
        assert [one.path for one in handed] == [path_of(lab, fixed), path_of(lab, top)]
        assert query("--references", path_of(lab, top)) == [path_of(lab, fixed)]
        tools.run("nix-store", "--delete", path_of(lab, top), path_of(lab, fixed))
        assert all(one.fresh for one in import_graph(ExportGraph(lab.closure(top))))


@pytest.mark.usefixtures("nix_env", "bubblewrap")
class TestCommand:
    """`plxnix nix import` and `plxnix nix add`."""

    @pytest.fixture
    def plxnix(self, plxnix: CommandLine, tmp_path: Path) -> CommandLine:
        """The command line, with a file of stages."""
        plxnix.file(STAGES.replace("{salt}", str(tmp_path)))
        return plxnix

    def test_target(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """A target is imported with all of it; a link keeps it; again, all is there."""
        target = tmp_path / "stages.py:top"
        plxnix.ok("realize", target)
        done = plxnix.ok("nix", "import", "--target", target, "-o", tmp_path / "link")
        assert len(done.lines) == 2
        assert "added 2 to the Nix store" in done.err
        link = tmp_path / "link"
        assert str(link.readlink()) == done.lines[-1]
        # Not `--query --roots`, which looks at the processes of the whole machine.
        roots = Path("/nix/var/nix/gcroots/auto").iterdir()
        assert link in [root.readlink() for root in roots]
        again = plxnix.ok("nix", "import", "--target", target, "--json")
        assert [one["added"] for one in again.json] == [False, False]
        assert "all 2 paths were in the Nix store" in again.err

    def test_reference(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """A reference will do."""
        (rref,) = plxnix.ok("realize", tmp_path / "stages.py:top").lines
        done = plxnix.ok("nix", "import", rref[5:17], "--json")
        assert [one["rref"] for one in done.json][-1] == rref
        assert json.dumps(done.json)

    def test_usage(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """Nothing to import is a usage error; so is a place that is taken, before anything runs."""
        plxnix.fails("nix", "import", status=2)
        plxnix.ok("realize", tmp_path / "stages.py:top")
        (tmp_path / "taken").mkdir()
        target = tmp_path / "stages.py:top"
        err = plxnix.fails("nix", "import", "--target", target, "-o", tmp_path / "taken")
        assert "is no symbolic link" in err
