"""Builders as plain processes: what they see, what is kept of them, and that they end."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from plxnix.builders import process
from plxnix.builders.process import run_process
from plxnix.errors import BuildFailed
from tests.waiting import PATIENCE, is_gone, wait_for

PATH = {"PATH": "/usr/local/bin:/usr/bin:/bin"}


def shell(script: str, folder: Path, variables: Mapping[str, str] = PATH) -> str:
    """Run a script as a builder and return what it printed."""
    log = bytearray()
    run_process("dref:stage", "/bin/bash", ["-c", script], variables, str(folder), log.extend)
    return log.decode()


class TestSurroundings:
    """A builder sees what Nix gives to builders."""

    def test_the_environment_is_that_of_nix(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Exactly these variables, and none of the user's."""
        monkeypatch.setenv("SECRET_OF_THE_USER", "x")
        variables = {"PATH": "/bin:/usr/bin", "a": "1\n2", "é": "ü"}
        printed = shell("env -0", tmp_path, variables).strip("\0").split("\0")
        found = dict(line.split("=", 1) for line in printed)
        for set_by_bash in ("SHLVL", "_", "OLDPWD"):
            found.pop(set_by_bash, None)
        folder = str(tmp_path)
        assert found == {
            **variables,
            "HOME": "/homeless-shelter",
            "NIX_BUILD_CORES": str(os.cpu_count()),
            "NIX_LOG_FD": "2",
            "NIX_STORE": "/nix/store",
            "TERM": "xterm-256color",
            **dict.fromkeys(("NIX_BUILD_TOP", "PWD", "TEMP", "TEMPDIR", "TMP", "TMPDIR"), folder),
        }

    def test_the_derivation_wins(self, tmp_path: Path) -> None:
        """A variable of the derivation takes the place of one that every builder gets."""
        assert shell("echo $HOME $TMPDIR", tmp_path, {"HOME": "/h", "TMPDIR": "/t"}) == "/h /t\n"

    def test_no_path_unless_given(self, tmp_path: Path) -> None:
        """Without PATH in the derivation there is the one that Nix sets, where nothing is."""
        assert shell("echo $PATH", tmp_path, {}) == "/path-not-set\n"

    def test_the_folder(self, tmp_path: Path) -> None:
        """It starts in its folder."""
        assert shell("pwd", tmp_path) == f"{tmp_path}\n"

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        """Standard input is empty: a builder that asks gets no answer, and does not wait."""
        ours, (reading, writing) = os.dup(0), os.pipe()
        try:
            os.write(writing, b"what the user types\n")
            os.dup2(reading, 0)
            assert shell("read -r line || echo none", tmp_path) == "none\n"
        finally:
            os.dup2(ours, 0)
            for descriptor in (ours, reading, writing):
                os.close(descriptor)

    def test_a_session_of_its_own(self, tmp_path: Path) -> None:
        """It has no terminal, and signals to the user's session do not reach it."""
        session = int(shell("ps -o sid= -p $$", tmp_path))
        assert session != os.getsid(0)
        assert "none" in shell("exec 3</dev/tty || echo none", tmp_path)


class TestOutput:
    """What a builder prints arrives, in its order, while it runs."""

    def test_both_streams_in_order(self, tmp_path: Path) -> None:
        """Output and errors are one log."""
        assert shell("echo 1; echo 2 >&2; echo 3", tmp_path) == "1\n2\n3\n"

    def test_much_output(self, tmp_path: Path) -> None:
        """More than a pipe holds arrives whole, also what is printed last."""
        printed = shell("seq 300000", tmp_path)
        assert printed.splitlines() == [str(number) for number in range(1, 300001)]

    def test_the_last_words(self, tmp_path: Path) -> None:
        """What is still in the pipe when the builder exits is not lost."""
        script = "printf '%060000d' 0; printf end"
        for _ in range(5):
            assert shell(script, tmp_path).endswith("0end")

    def test_as_it_comes(self, tmp_path: Path) -> None:
        """The log is written before the builder has ended."""
        seen: list[bytes] = []

        def look(data: bytes) -> None:
            seen.append(data)
            (tmp_path / "seen").touch()

        script = "echo a; until [ -e seen ]; do sleep 0.01; done; echo b"
        run_process("s", "/bin/bash", ["-c", script], PATH, str(tmp_path), look)
        assert seen == [b"a\n", b"b\n"]

    @pytest.mark.parametrize(
        "script", ["exec >&-; SLOW", "exec 2>&-; SLOW", "{ SLOW; } > /dev/null 2>&1"]
    )
    def test_a_stream_closed(self, tmp_path: Path, script: str) -> None:
        """A builder that closes one stream, or whose commands print nowhere, is awaited."""
        shell(script.replace("SLOW", "sleep 0.7; touch done"), tmp_path)
        assert (tmp_path / "done").exists()

    @pytest.mark.parametrize("closing", [">&- 2>&-", "> /dev/null 2>&1"])
    def test_all_streams_closed(self, tmp_path: Path, closing: str) -> None:
        """A builder that closes its output and runs on is killed, as by Nix."""
        with pytest.raises(BuildFailed, match="closed its output and ran on"):
            shell(f"exec {closing}; sleep {PATIENCE}; touch done", tmp_path)
        assert not (tmp_path / "done").exists()

    def test_all_streams_closed_at_the_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the programs of the GNU project do it: what counts is how the builder exits."""
        monkeypatch.setattr(process, "_GRACE", PATIENCE)
        shell("exec >&- 2>&-; touch done", tmp_path)
        assert (tmp_path / "done").exists()
        with pytest.raises(BuildFailed, match="exited with 3"):
            shell("exec >&- 2>&-; exit 3", tmp_path)

    def test_somebody_else_holds_the_output(self, tmp_path: Path) -> None:
        """While anybody can still print to the log, the builder may go on, as in Nix."""
        script = (
            "{ until [ -e done ]; do sleep 0.01; done; echo late; touch said; "
            f"sleep {PATIENCE}; }} & exec >&- 2>&-\n"
            "sleep 0.7; touch done; until [ -e said ]; do sleep 0.01; done"
        )
        assert shell(script, tmp_path) == "late\n"
        assert (tmp_path / "done").exists()


class TestEnding:
    """Nothing of a builder runs on."""

    def test_a_daemon_with_the_pipe(self, tmp_path: Path) -> None:
        """A background process that keeps the output open is not awaited, and is killed."""
        began = time.monotonic()
        pid = int(shell(f"sleep {PATIENCE} & echo $!", tmp_path))
        assert time.monotonic() - began < PATIENCE
        wait_for(lambda: is_gone(pid))

    def test_a_daemon_that_prints_for_ever(self, tmp_path: Path) -> None:
        """It does not hold up the end, though there is always something to read."""
        pieces = 0

        def slowly(_: bytes) -> None:
            nonlocal pieces
            pieces += 1
            time.sleep(0.005)
            if pieces > 20_000:
                raise AssertionError("it does not end")

        run_process("s", "/bin/bash", ["-c", "yes & sleep 0.1"], PATH, str(tmp_path), slowly)

    def test_a_daemon_in_another_session(self, tmp_path: Path) -> None:
        """One that has left the session cannot be killed without a sandbox; nor is it awaited."""
        script = (
            "trap '' PIPE; setsid bash -c 'touch begun; while echo; do :; done; touch left' &\n"
            "until [ -e begun ]; do sleep 0.01; done"
        )
        shell(script, tmp_path)
        wait_for((tmp_path / "left").exists)

    def test_an_interruption(self, tmp_path: Path) -> None:
        """When the waiting is interrupted, the builder and what it started are killed."""
        pids: list[int] = []

        def interrupt(data: bytes) -> None:
            pids.extend(map(int, data.split()))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_process(
                "s",
                "/bin/bash",
                ["-c", f"sleep {PATIENCE} & echo $! $$; wait"],
                PATH,
                str(tmp_path),
                interrupt,
            )
        assert len(pids) == 2
        wait_for(lambda: all(map(is_gone, pids)))

    def test_no_descriptors_are_left(self, tmp_path: Path) -> None:
        """Neither pipes nor processes stay behind, with success and without."""
        gc.collect()  # What other tests have left is not to go meanwhile.
        before = len(os.listdir("/proc/self/fd"))
        for status in (0, 1):
            for _ in range(3):
                try:
                    shell(f"exit {status}", tmp_path)
                except BuildFailed:
                    assert status
        assert len(os.listdir("/proc/self/fd")) == before


class TestFailing:
    """A builder that does not exit with 0 has failed."""

    def test_a_status(self, tmp_path: Path) -> None:
        """The message has the stage and the status."""
        with pytest.raises(BuildFailed, match="the builder of dref:stage exited with 3") as caught:
            shell("exit 3", tmp_path)
        assert caught.value.dref == "dref:stage"

    def test_a_signal(self, tmp_path: Path) -> None:
        """A killed builder is told from one that exits."""
        with pytest.raises(BuildFailed, match="was killed by signal 9"):
            shell("kill -9 $$", tmp_path)

    @pytest.mark.parametrize("builder", ["/no/such/program", "/etc/passwd", "/", "a\0b"])
    def test_no_program(self, tmp_path: Path, builder: str) -> None:
        """A builder that is no program is named."""
        with pytest.raises(BuildFailed, match="cannot start") as caught:
            run_process("s", builder, [], PATH, str(tmp_path), bytearray().extend)
        assert repr(builder) in caught.value.message

    def test_a_variable_too_long(self, tmp_path: Path) -> None:
        """What the system refuses is an error of the build, not of ours."""
        with pytest.raises(BuildFailed, match="cannot start"):
            shell("true", tmp_path, {"long": "x" * (1 << 18)})
