"""A builder's program, run as a plain process on this machine.

It gets the environment that Nix gives to builders and nothing of the user's own, but no sandbox: it
sees the whole machine, and its output is not at the path that Nix would give it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from plxnix.errors import BuildFailed
from plxnix.stopping import interrupted_by

if TYPE_CHECKING:
    import subprocess

#: What a builder finds besides its derivation's own variables (nix-facts, Nix 2.8 to 2.34).
_FIXED = {
    "HOME": "/homeless-shelter",
    "NIX_LOG_FD": "2",
    "NIX_STORE": "/nix/store",
    "PATH": "/path-not-set",
    "TERM": "xterm-256color",
}

#: Variables that name the folder in which a builder starts.
_FOLDER = ("NIX_BUILD_TOP", "PWD", "TEMP", "TEMPDIR", "TMP", "TMPDIR")

#: How much output is read at once, in bytes.
_PIECE = 1 << 16


def builder_environment(
    environment: Mapping[str, str], folder: str, fixed: bool = False
) -> dict[str, str]:
    """Return all variables of a builder that starts in `folder`; the derivation's own win.

    That of a `fixed` output is told so, and given those of this process that its variable
    `impureEnvVars` lists, empty where this process has none, as by Nix.
    """
    impure = environment.get("impureEnvVars", "").split() if fixed else ()
    return {
        **_FIXED,
        **dict.fromkeys(_FOLDER, folder),
        "NIX_BUILD_CORES": str(os.cpu_count() or 1),
        **environment,
        **({"NIX_OUTPUT_CHECKED": "1"} if fixed else {}),
        **{name: os.environ.get(name, "") for name in impure},
    }


def run_process(
    stage: str,
    builder: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: str,
    write_log: Callable[[bytes], object],
    descriptors: Sequence[int] = (),
    keeper: bool = False,
) -> None:
    """Run the builder of `stage` in `folder` and wait for it and all it started.

    `environment` is the derivation's; it wins over what every builder gets. Standard input is
    empty; standard output and error go to `write_log` in pieces as they come; `descriptors` stay
    open for it. Whatever is still running in the builder's session when it exits is killed. A
    `keeper` is a program that runs the builder as its child and ends when that does; if it has to
    be stopped, the child is killed first, so that nobody writes to the folder afterwards. Raises
    `BuildFailed` if it cannot be started or does not exit with 0.
    """
    import subprocess

    variables = builder_environment(environment, folder)
    try:
        process = subprocess.Popen(
            [builder, *arguments],
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=descriptors,
            umask=0o022,
        )
    except (OSError, ValueError) as error:
        raise BuildFailed(
            f"cannot start {builder!r}, the builder of {stage}: {error}",
            "is it an executable file?",
            stage,
        ) from error

    def kill() -> None:
        if process.poll() is None:
            if keeper:
                _kill_children(process)
            _kill_session(process.pid)

    try:
        with interrupted_by(kill):
            _pump(process, write_log)
            status = process.wait()
    finally:
        if keeper and process.poll() is None:
            _kill_children(process)
        _kill_session(process.pid)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if status != 0:
        said = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
        raise BuildFailed(
            f"the builder of {stage} {said}", "its output says why: `plxnix log`", stage
        )


def _pump(process: subprocess.Popen[bytes], write_log: Callable[[bytes], object]) -> None:
    """Copy the builder's output until it exits; what it left behind is not awaited."""
    import selectors

    if process.stdout is None:
        return
    descriptor = process.stdout.fileno()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while process.poll() is None:
            if selector.select(0.05):
                data = os.read(descriptor, _PIECE)
                if not data:
                    # It has closed its output and may still work.
                    return
                write_log(data)
    # Others may hold the pipe, and fill it for ever: only what is in it now was the builder's.
    _kill_session(process.pid)
    left = _waiting(descriptor)
    while left > 0:
        data = os.read(descriptor, min(left, _PIECE))
        if not data:
            return
        left -= len(data)
        write_log(data)


def _waiting(descriptor: int) -> int:
    """Return how many bytes can be read from a pipe at once."""
    import fcntl
    import termios

    count = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)


def _kill_children(process: subprocess.Popen[bytes]) -> None:
    """Kill the children of a process, and give it time to see that and to end."""
    import subprocess

    try:
        with open(f"/proc/{process.pid}/task/{process.pid}/children") as file:
            children = file.read().split()
    except OSError:
        return  # This kernel does not say.
    for child in children:
        # It cannot be another of that number, as its parent has not waited for it yet.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(int(child), signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5 if children else 0)


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
