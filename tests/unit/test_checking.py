"""`plxnix check`: what is built again and compared, and what is said of it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from plxnix import DRef, execute, fetchlocal, match_latest, mkfile
from plxnix.checking import AGAIN, FIRST, STORE, Check, check
from plxnix.cli import progress
from plxnix.errors import BuildFailed, InvalidValue, StoreError
from plxnix.nix.hashes import Hash
from tests.command_line import CommandLine
from tests.stage_samples import Lab

PATTERNS = """
from plxnix import autostage, execute, mkfile, selfref

def same():
    return execute('mkdir "$out"; cp "$data/d" "$out"', name="same", data=mkfile("d", "data"))

def random():
    return execute(
        'mkdir "$out"; cp "$below/d" "$out"; date +%s > "$out/time"; '
        'head -c 8 /dev/urandom > "$out/z"',
        name="random",
        below=same(),
    )

@autostage(out=[selfref, "n"])
def code(out):
    import secrets
    out.write_text(secrets.token_hex())

def above():
    return execute('cat "$code/n" > "$out"', name="above", code=code())

def broken():
    return execute('echo why; exit 3', name="broken")
"""


def stored(lab: Lab) -> dict[str, int]:
    """Return how many realizations of each stage are in the store."""
    return {dref.name: len(lab.store.realizations(dref)) for dref in lab.store.derivations()}


class TestNatively:
    """What two builds here give."""

    def test_the_same(self, lab: Lab) -> None:
        """Equal builds are equal; what they depend on is realized, and they are not published."""
        below = mkfile("below", "x", registry=lab.registry)
        dref = execute('cat "$below/below" > "$out"', below=below, registry=lab.registry)
        (found,) = check(lab.closure(dref), nix="off", pause=False)
        assert [one.builder for one in found.builds] == [FIRST, AGAIN]
        assert len({one.hash for one in found.builds}) == 1
        assert found.same
        assert all((one.seconds or 0) > 0 for one in found.builds)
        assert stored(lab) == {"below": 1}
        assert lab.leftovers() == []

    def test_a_time(self, lab: Lab) -> None:
        """A time in seconds shows, however short the build is."""
        dref = execute('date +%s > "$out"', registry=lab.registry)
        (found,) = check(lab.closure(dref), nix="off")
        assert not found.same
        difference = found.builds[1].difference
        assert difference is not None
        assert difference.first.kind == "contents"
        assert "SOURCE_DATE_EPOCH" in difference.hint
        assert lab.leftovers() == []

    def test_what_is_stored(self, lab: Lab, tmp_path: Path) -> None:
        """What was realized before is compared too, and counts where the bytes have to be equal."""
        switch = tmp_path / "switch"
        switch.write_text("1")
        dref = execute(f'cat {switch} > "$out"', registry=lab.registry)
        rref = lab.realize(dref, sandbox="off")
        (found,) = check(lab.closure(dref), nix="off", sandbox="off", pause=False)
        assert found.same
        assert (found.builds[-1].builder, found.builds[-1].rref) == (STORE, rref)
        switch.write_text("2")
        (found,) = check(lab.closure(dref), nix="off", sandbox="off", pause=False)
        assert [one.difference is None for one in found.builds] == [True, True, False]
        assert not found.same

    def test_code(self, lab: Lab) -> None:
        """Python code is run twice; its stored results may be others."""
        contents = iter("abbcc")
        dref = lab.stage("code", content=lambda _: next(contents))
        lab.realize(dref)
        (found,) = check(lab.closure(dref), pause=False)
        assert found.free == found.without_nix == "its realizer is Python code"
        assert [one.difference is None for one in found.builds] == [True, True, False]
        assert found.same
        assert lab.runs == ["code"] * 3

    def test_several_results(self, lab: Lab) -> None:
        """Each result of a run is compared with its counterpart."""
        dref = lab.stage("two", content=["a", "b"], matcher=match_latest(2))
        (found,) = check(lab.closure(dref), pause=False)
        assert [(one.builder, one.output) for one in found.builds] == [
            *((FIRST, 0), (AGAIN, 0), (FIRST, 1), (AGAIN, 1))
        ]
        assert found.same

    def test_everything(self, lab: Lab, tmp_path: Path) -> None:
        """All stages are checked on demand; a fetch is known by its hash, and code may differ."""
        file = tmp_path / "file"
        file.write_text("contents")
        fetch = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
        contents = iter("abc")
        code = lab.stage("code", content=lambda _: next(contents))
        top = execute('cat "$fetch" > "$out"', fetch=fetch, code=code, registry=lab.registry)
        found = {
            str(one.dref.name): one
            for one in check(lab.closure(top), everything=True, nix="off", pause=False)
        }
        *below, above = found
        assert (set(below), above) == ({"file", "code"}, "execute")
        assert found["file"].known
        assert found["file"].builds == ()
        assert found["code"].builds[1].difference is not None
        assert all(one.same for one in found.values())
        assert stored(lab) == {"file": 1, "code": 1}

    def test_a_fetch(self, lab: Lab, tmp_path: Path) -> None:
        """A fetch that is asked for itself is fetched twice."""
        file = tmp_path / "file"
        file.write_text("contents")
        fetch = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
        (found,) = check(lab.closure(fetch), pause=False)
        assert len(found.builds) == 2
        assert found.without_nix == "its hash is given"

    def test_a_failure(self, lab: Lab) -> None:
        """A stage that fails is an error, and leaves nothing but its log."""
        dref = execute("echo why; exit 3", registry=lab.registry)
        with pytest.raises(BuildFailed, match="exited with 3") as caught:
            check(lab.closure(dref), nix="off", pause=False)
        assert os.path.exists(caught.value.log)
        assert lab.leftovers() == []

    def test_a_folder_of_somebody_else(self, lab: Lab, tmp_path: Path) -> None:
        """What a realizer did not make itself stays as it is."""
        from plxnix import mkdrv

        own = tmp_path / "own"
        own.mkdir()
        (own / "file").write_text("x")
        (own / "file").chmod(0o640)
        dref = mkdrv({"name": "own"}, match_latest(), lambda *_: [own], lab.registry)
        (found,) = check(lab.closure(dref), pause=False)
        assert found.same
        assert (own / "file").stat().st_mode & 0o777 == 0o640

    def test_keeping(self, lab: Lab, tmp_path: Path) -> None:
        """Both trees are kept on demand, writable; a place that is taken is refused before."""
        dref = execute(
            'mkdir -p "$out/d"; date +%s%N > "$out/d/f"; ln -s d "$out/l"', registry=lab.registry
        )
        check(lab.closure(dref), nix="off", keep=tmp_path / "kept", pause=False)
        place = tmp_path / "kept" / f"execute-{dref.short}"
        one, two = place / "native", place / "native-again"
        assert (one / "d" / "f").read_text() != (two / "d" / "f").read_text()
        assert os.readlink(two / "l") == "d"
        assert (one / "d").stat().st_mode & 0o200
        with pytest.raises(StoreError, match="is there already"):
            Check(lab.closure(dref), keep=tmp_path / "kept")

    def test_choices(self, lab: Lab) -> None:
        """What Nix is to do is one of three words."""
        with pytest.raises(InvalidValue, match="nix is 'no'"):
            Check(lab.closure(mkfile("x", "", registry=lab.registry)), nix="no")


class TestCommand:
    """`plxnix check`."""

    @pytest.fixture
    def plxnix(self, plxnix: CommandLine) -> CommandLine:
        """The command line, with a file of stages."""
        plxnix.file(PATTERNS)
        return plxnix

    def test_the_same(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """A line for each build, with hashes; what was compared is said."""
        done = plxnix.ok("check", tmp_path / "stages.py:same", "--nix", "off")
        assert [(DRef(row[0]).name, row[1], row[5]) for row in done.fields] == [
            ("same", "native", ""),
            ("same", "native again", ""),
        ]
        assert done.fields[0][4] == done.fields[1][4]
        assert "same: the same bytes each time" in done.err

    def test_which_build_runs(
        self, plxnix: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What takes long is announced with the build that it is."""
        monkeypatch.setattr(progress, "PATIENCE", 0)
        plxnix.file(PATTERNS.replace('"$out"; cp "$data/d"', '"$out"; sleep 1; cp "$data/d"'))
        done = plxnix.ok("check", tmp_path / "stages.py:same", "--nix", "off")
        said = [re.sub(r" in .*", "", line) for line in done.err.splitlines() if "buil" in line]
        assert said == [
            "building same natively (1 of 2) ...",
            "built same natively (1 of 2)",
            "building same again (2 of 2) ...",
            "built same again (2 of 2)",
        ]

    def test_another(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """The first path that differs is shown with its diff, and the status is 1."""
        done = plxnix("check", tmp_path / "stages.py:random", "--nix", "off")
        assert done.status == 1
        assert done.fields[1][5] == "differs"
        assert "error: random is not the same: time has other contents" in done.err
        assert "\n  @@ -1 +1 @@\n  -1" in done.err
        assert "2 paths differ; the others: z" in done.err
        assert "SOURCE_DATE_EPOCH" in done.err

    def test_json(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """All of it as JSON."""
        done = plxnix("check", tmp_path / "stages.py:random", "--all", "--nix", "off", "--json")
        assert done.status == 1
        assert [(one["same"], one["asked"]) for one in done.json] == [
            (True, False),
            (True, False),
            (False, True),
        ]
        difference = done.json[2]["builds"][1]["difference"]
        assert (difference["path"], difference["kind"], difference["count"]) == (
            "time",
            "contents",
            2,
        )

    def test_code(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """Of Python code it is said that it may differ; below a target it does not matter."""
        done = plxnix("check", tmp_path / "stages.py:code")
        assert done.status == 1
        assert "it may: its realizer is Python code" in done.err
        done = plxnix.ok("check", tmp_path / "stages.py:above", "--all", "--nix", "off")
        assert "code: differs from others, as it may" in done.err

    def test_a_failure(self, plxnix: CommandLine, tmp_path: Path) -> None:
        """A stage that fails is reported as `realize` does."""
        err = plxnix.fails("check", tmp_path / "stages.py:broken", "--nix", "off")
        assert "the builder of dref:" in err
        assert "| why" in err
