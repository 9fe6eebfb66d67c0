"""`plxnix check` with a real Nix: it builds the stage as well, and again if it has it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef, execute, fetchlocal, mkfile, nix_build
from plxnix.checking import NIX, Checked, check
from plxnix.errors import AmbiguousMatch, ExportError
from plxnix.export.graph import ExportGraph
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from tests.command_line import CommandLine
from tests.http_server import Server
from tests.stage_samples import Lab

Run = Callable[..., DRef]


def one(lab: Lab, dref: DRef) -> Checked:
    """Check a stage, with Nix."""
    (found,) = check(lab.closure(dref), nix="on", pause=False)
    return found


@pytest.mark.usefixtures("nix_env", "bubblewrap")
class TestWithNix:
    """What Nix builds is compared."""

    def test_the_same(self, lab: Lab, run: Run) -> None:
        """Its own path, its inputs and a pin: equal bytes; the second time Nix builds again."""
        pin = lab.stage("pin", content=str(lab.root))
        data = mkfile("data", str(lab.root), registry=lab.registry)
        dref = run(
            'mkdir "$out"; cat "$pin/out" "$data/data" > "$out/x"; ln -s "$out/x" "$out/self"',
            pin=pin,
            data=data,
        )
        for _ in range(2):
            found = one(lab, dref)
            assert [build.builder for build in found.builds] == ["native", "native again", NIX]
            assert len({build.hash for build in found.builds}) == 1
            assert found.same
            assert tools.valid([found.builds[-1].path])

    def test_a_file(self, lab: Lab, run: Run) -> None:
        """A result that is a file is compared with the file."""
        found = one(lab, run('echo "$out" > "$out"; chmod +x "$out"'))
        assert found.same
        assert len({build.hash for build in found.builds}) == 1

    def test_another(self, lab: Lab, run: Run) -> None:
        """Where Nix gives other bytes, that is what differs; also if it did not the last time."""
        dref = run('mkdir "$out"; cp /proc/sys/kernel/random/uuid "$out/x"')
        found = one(lab, dref)
        assert [build.difference is None for build in found.builds] == [True, False, False]
        again = one(lab, dref)
        # What it has, and what it gives now.
        assert [build.builder for build in again.builds][2:] == [NIX, NIX]
        assert len({build.hash for build in again.builds}) == 4
        assert again.builds[3].path == f"{again.builds[2].path}.check"

    def test_two_results(self, lab: Lab, run: Run) -> None:
        """What has two results and so cannot be matched can be checked, and is shown with both."""
        pin = lab.stage("pin", content=str(lab.root))
        dref = run('cat "$pin/out" /proc/sys/kernel/random/uuid > "$out"', pin=pin)
        rref = lab.realize(dref)
        with pytest.raises(AmbiguousMatch, match=rref) as caught:
            lab.realize(dref, force_rebuild=True)
        assert "plxnix check" in caught.value.hint
        found = one(lab, dref)
        assert {build.rref for build in found.builds} == {None, *caught.value.candidates}
        assert len({build.hash for build in found.builds}) == 5

    def test_several_outputs(self, lab: Lab, run: Run) -> None:
        """Each output is compared with its counterpart."""
        dref = run(
            'mkdir "$out"; cp /proc/sys/kernel/random/uuid "$out/x"; echo "$out" > "$dev"',
            outputs=["out", "dev"],
        )
        first, again, out, dev = one(lab, dref).builds
        assert (first.difference, dev.difference) == (None, None)
        assert again.difference is not None
        assert again.difference.first.path == "out/x"
        assert out.difference is not None
        assert out.difference.first.path == "x"
        assert dev.path.endswith("-dev")

    def test_builds_of_nix(self, lab: Lab, tmp_path: Path) -> None:
        """A stage that Nix builds itself is not built with Nix once more."""
        dref = nix_build(
            'derivation { name = "d"; system = builtins.currentSystem; builder = "/bin/sh"; '
            f'args = [ "-c" "echo {tmp_path} > $out" ]; }}',
            registry=lab.registry,
        )
        top = execute('cat "$d" > "$out"', d=dref, registry=lab.registry)
        below, found = check(lab.closure(top), everything=True, nix="on", pause=False)
        assert (below.known, below.builds) == (True, ())
        assert below.without_nix == "it is a build of Nix"
        assert found.same
        assert len(found.builds) == 3

    def test_fetches_below(self, lab: Lab, run: Run, tmp_path: Path) -> None:
        """Nix sees the file of a fetch that only it needs; where that is gone, it fails alone."""
        archive = tmp_path / "a.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(__file__, "file")
        fetch = fetchlocal(Hash.of_file(archive).hex, archive, registry=lab.registry)
        drefs = [run('cp "$fetch/file" "$out"', fetch=fetch, number=one) for one in (1, 2)]
        lab.realize(fetch)
        assert one(lab, drefs[0]).same
        tools.run("nix-store", "--delete", *self.below(lab, fetch))
        archive.unlink()
        found = one(lab, drefs[1])
        assert "a.tar" in found.failed
        assert len(found.builds) == 2
        assert not found.same

    @staticmethod
    def below(lab: Lab, fetch: DRef) -> list[str]:
        """Return what Nix has fetched and unpacked for a fetch."""
        graph = ExportGraph(lab.closure(fetch))
        return [graph.instantiation.path(item.node) for item in reversed(graph.items)]

    def test_no_cache_is_asked(
        self, lab: Lab, run: Run, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is to be built is not downloaded: nobody is asked for it."""
        monkeypatch.setenv("NIX_CONFIG", f"substituters = {server.url('')}")
        assert one(lab, run('cat "$d/d" > "$out"', d=mkfile("d", "x", registry=lab.registry))).same
        assert server.requests == []

    def test_no_rights(self, lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where Nix cannot be used the check goes on without it, and says why."""
        monkeypatch.setenv("NIX_REMOTE", "unix:///no/such/socket")
        dref = run('echo > "$out"')
        (found,) = check(lab.closure(dref), pause=False)
        assert found.same
        assert "/no/such/socket" in found.without_nix
        with pytest.raises(ExportError, match="cannot run the programs"):
            one(lab, dref)


@pytest.mark.usefixtures("nix_env", "bubblewrap")
def test_command(plxnix: CommandLine, tmp_path: Path) -> None:
    """`plxnix check` shows what Nix gave in a line of its own."""
    file = plxnix.file(
        "from plxnix import execute\n"
        f"def tool(): return execute('echo {tmp_path} $out > $out', name='tool')\n"
    )
    done = plxnix.ok("check", f"{file}:tool", "--nix", "on", "-v")
    assert [row[1] for row in done.fields] == ["native", "native again", "nix"]
    assert len({row[4] for row in done.fields}) == 1
    assert "tool: the same bytes each time" in done.err
    assert "built tool by Nix in " in done.err
