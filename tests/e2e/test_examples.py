"""The examples, as a user runs them: command lines in processes, and real Nix."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plxnix.nix.nar import nar_hash
from tests.conftest import missing
from tests.hello_source import SHA256, hello_tarball
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv
from tests.waiting import PATIENCE

EXAMPLES = Path(__file__).parents[2] / "examples"
DIGITS = f"{EXAMPLES / 'digits.py'}:report"

#: Programs that GNU Hello is built with, and the Debian packages that have them.
BUILD_TOOLS = {"gcc": "gcc", "make": "make"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder that is not the project's; the package is the one under test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))


def start(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """Start a command of plxnix."""
    return subprocess.Popen(
        [sys.executable, "-m", "plxnix", *arguments],
        env={**os.environ, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def plxnix(*arguments: str, **variables: str) -> tuple[str, str]:
    """Run a command that has to succeed; return what it printed, and what it said."""
    with start(*arguments, **variables) as process:
        out, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    return out, said


def realize(target: str, *arguments: str, **variables: str) -> Any:
    """Realize a target and return what `--json` says of it."""
    return json.loads(plxnix("realize", target, "--json", *arguments, **variables)[0])


def names(drefs: list[str]) -> list[str]:
    """Return the names in references."""
    return [dref[38:] for dref in drefs]


class TestDigits:
    """Training, choosing among the results, a report; then all of it in Nix."""

    def test_from_data_to_nix(self, nix_env: NixEnv, tmp_path: Path) -> None:
        """Realized once, asked for again, changed, and built by Nix to the same bytes."""
        first = realize(DIGITS, OMP_NUM_THREADS="1")
        stages = ["digits.csv.gz", "digits", "train", "vote", "plot", "digits-report"]
        assert sorted(names(first["realized"])) == sorted(stages)
        report = Path(first["targets"][0]["paths"][0])
        assert (report / "digits.png").read_bytes().startswith(b"\x89PNG")
        page = (report / "index.html").read_text()
        kept = [float(line) for line in page.split("<pre>")[1].split()[:3]]
        assert kept == sorted(kept, reverse=True)
        assert kept[-1] > 0.8

        out, said = plxnix("realize", DIGITS, PYTHONHASHSEED="7")
        assert out.split() == first["targets"][0]["rrefs"]
        assert "nothing to do: all 6 stages are realized" in said

        changed, _ = plxnix("realize", DIGITS, "--arg", "hidden=24", "--dry-run", "--json")
        plan = {names([row["dref"]])[0]: row for row in json.loads(changed)}
        assert [name for name in stages if not plan[name]["would_run"]] == stages[:2]
        assert plan["train"]["reason"].startswith("hidden changed from 16 to 24 since dref:")

        text = plxnix("export", DIGITS, "--toolchain", "host", "-o", "default.nix")[1]
        assert "wrote default.nix" in text
        paths = plxnix("nix", "add", "--target", DIGITS)[0].split()
        assert len(paths) == 5  # three models, their votes, the plot
        built = nix_env.build(tmp_path / "default.nix")
        assert nar_hash(built) == nar_hash(report)

        rows = json.loads(plxnix("export", DIGITS, "--explain", "--json")[0])
        kinds = {names([row["dref"]])[0]: (row["kind"], len(row["rrefs"])) for row in rows}
        assert kinds == {
            "digits.csv.gz": ("left out", 0),
            "digits": ("left out", 0),
            "train": ("pin", 3),
            "vote": ("pin", 1),
            "plot": ("pin", 1),
            "digits-report": ("derivation", 0),
        }

    def test_two_processes_build_once(self) -> None:
        """Of two that want the same at once, with other hash seeds, one builds and one waits."""
        target = f"{EXAMPLES / 'digits.py'}:digits"
        plxnix("init")
        both = [start("realize", target, "--json", PYTHONHASHSEED=seed) for seed in ("1", "2")]
        found = []
        for process in both:
            with process:
                out, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, said
            found.append(json.loads(out))
        assert found[0]["targets"] == found[1]["targets"]
        assert sorted(names(found[0]["realized"] + found[1]["realized"])) == [
            "digits",
            "digits.csv.gz",
        ]


class TestHello:
    """GNU Hello from its sources, by both builders."""

    @pytest.fixture
    def mirror(self) -> Any:
        """A hashed mirror on loopback that has the tarball; the tools that build it are here."""
        for program, package in BUILD_TOOLS.items():
            if shutil.which(program) is None:
                missing(f"{program} is not installed; `apt-get install {package}` on Debian")
        with Server() as server:
            server.answer(f"/sha256/{SHA256}", Answer(hello_tarball().read_bytes()))
            yield server

    def test_built_here_and_by_nix(self, nix_env: NixEnv, mirror: Server, tmp_path: Path) -> None:
        """The program greets, wherever it was built, and the tarball is fetched once."""
        # Without the Nix store: another test of this process may have put the tarball there.
        variables = {"PLXNIX_HASHED_MIRRORS": mirror.url("/"), "PLXNIX_NIX_STORE": "off"}
        target = f"{EXAMPLES / 'hello.py'}:greeting"
        realized = realize(target, **variables)
        assert names(realized["realized"]) == [
            "hello-2.10.tar.gz",
            "hello-source",
            "hello-2.10",
            "greeting",
        ]
        (place,) = realized["targets"][0]["paths"]
        assert Path(place, "greeting").read_text() == "Hello, world!\n"
        (program,) = realize(f"{EXAMPLES / 'hello.py'}:hello")["targets"][0]["paths"]
        assert greet(Path(program)) == "Hello, world!\n"
        assert mirror.count(f"/sha256/{SHA256}") == 1

        plxnix("export", target, "--toolchain", "host", "-o", "default.nix")
        (tarball,) = plxnix("nix", "add", "--target", target)[0].split()
        assert tarball.endswith("-hello-2.10.tar.gz")
        assert nix_env.build(tmp_path / "default.nix").read_text() == "Hello, world!\n"
        built = nix_env.build(tmp_path / "default.nix", "stages.hello-2-10")
        assert greet(built) == "Hello, world!\n"
        # The sources were unpacked by our reader here, and by tar there.
        sources = nix_env.build(tmp_path / "default.nix", "stages.hello-source")
        (unpacked,) = realize(f"{EXAMPLES / 'hello.py'}:tree")["targets"][0]["paths"]
        assert nar_hash(sources) == nar_hash(unpacked)

    def test_from_elsewhere(self, mirror: Server) -> None:
        """The arguments say where the sources come from, and which release they are."""
        mirror.answer("/there/hello-2.10.tar.gz", Answer(hello_tarball().read_bytes()))
        place = mirror.url("/there/hello-{version}.tar.gz")
        target = f"{EXAMPLES / 'hello.py'}:tree"
        arguments = ("-a", f"url={place}", "-a", "version=2.10")
        realized = realize(target, *arguments, PLXNIX_NIX_STORE="off")
        assert names(realized["realized"]) == ["hello-2.10.tar.gz", "hello-source"]
        assert mirror.count("/there/hello-2.10.tar.gz") == 1


def greet(folder: Path) -> str:
    """Run the program."""
    return subprocess.run(
        [folder / "bin" / "hello"],
        check=True,
        capture_output=True,
        text=True,
        env={"LC_ALL": "C"},
    ).stdout


class TestDemo:
    """`make demo`, beyond the installation."""

    def demo(self, place: Path, **variables: str) -> str:
        """Run it and return what it prints."""
        result = subprocess.run(
            [sys.executable, EXAMPLES / "demo.py"],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PLXNIX_DEMO": str(place), "COLUMNS": "100", **variables},
            timeout=PATIENCE,
        )
        assert result.returncode == 0, result.stdout
        return result.stdout

    def test_it_runs_to_the_end(self, nix_env: NixEnv, tmp_path: Path) -> None:
        """All steps succeed, everything is below its folder, and the end says where to look."""
        place = tmp_path / "demo"
        said = self.demo(place)
        assert said.count("would run\t") == 4
        assert "nothing to do: all 6 stages are realized" in said
        assert "byte for byte" in said
        (picture,) = (line.split()[-1] for line in said.splitlines() if "the picture:" in line)
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
        natively, by_nix = ((place / name).resolve() for name in ("report", "nix-report"))
        assert nar_hash(natively) == nar_hash(by_nix)
        assert {path.name for path in tmp_path.iterdir()} == {"demo", "home"}
        assert nix_env.version

        again = self.demo(place, PATH=os.fspath(tmp_path))
        assert "there is no Nix on this machine" in again
        assert again.count("nothing to do") == 4

    def test_nix_that_cannot_build(self, nix_env: NixEnv, tmp_path: Path) -> None:
        """Where Nix cannot build with the machine's programs, that step is left out, and why."""
        said = self.demo(tmp_path / "demo", NIX_CONFIG="build-users-group = no-such-group")
        assert "no-such-group" in said
        assert "left out, as it cannot build" in said
        assert nix_env.version
