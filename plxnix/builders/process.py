"""A builder's program, run as a plain process on this machine.

It gets the environment that Nix gives to builders and nothing of the user's own, but no sandbox: it
sees the whole machine, and its output is not at the path that Nix would give it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
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

#: For how long a builder may run on that has closed its output, in seconds. Nix kills it at once,
#: and so at times those of which the last program closes its output just before it exits.
_GRACE = 0.5


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
    `BuildFailed` if it cannot be started, closes its output and runs on, or does not exit with 0.
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
            mute = _pump(process, write_log, keeper)
            status = 0 if mute else process.wait()
    finally:
        if keeper and process.poll() is None:
            _kill_children(process)
        _kill_session(process.pid)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    if mute:
        raise BuildFailed(
            f"the builder of {stage} closed its output and ran on: it was killed, as Nix kills it",
            "redirect the output of its commands, { ...; } > /dev/null 2>&1, and not its own",
            stage,
        )
    if status != 0:
        said = f"was killed by signal {-status}" if status < 0 else f"exited with {status}"
        raise BuildFailed(
            f"the builder of {stage} {said}", "its output says why: `plxnix log`", stage
        )


def _pump(
    process: subprocess.Popen[bytes], write_log: Callable[[bytes], object], keeper: bool
) -> bool:
    """Copy the builder's output until it exits; what it left behind is not awaited.

    Return whether it runs on, though it and all it has started have closed the pipe; a `keeper`'s
    own end of the pipe does not count.
    """
    import selectors
    import subprocess

    if process.stdout is None:
        return False
    descriptor = process.stdout.fileno()
    heard = time.monotonic()
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while process.poll() is None:
            if selector.select(0.05):
                data = os.read(descriptor, _PIECE)
                if not data:
                    try:
                        process.wait(_GRACE)
                    except subprocess.TimeoutExpired:
                        return True
                    return False
                write_log(data)
            elif keeper and _is_closed(process.pid, os.fstat(descriptor).st_ino):
                if time.monotonic() - heard > _GRACE:
                    return True
                continue
            heard = time.monotonic()
    # Others may hold the pipe, and fill it for ever: only what is in it now was the builder's.
    _kill_session(process.pid)
    left = bytes_waiting(descriptor)
    while left > 0:
        data = os.read(descriptor, min(left, _PIECE))
        if not data:
            break
        left -= len(data)
        write_log(data)
    return False


def _is_closed(keeper: int, pipe: int) -> bool:
    """Tell whether a keeper's child runs, and neither it nor what it has started holds a pipe."""
    waiting = children = _children(keeper)
    if not all(map(_is_running, children)):
        return False
    while waiting:
        if any(_holds(number, pipe) for number in waiting):
            return False
        waiting = [child for number in waiting for child in _children(number)]
    # A process that is exiting holds nothing any more.
    return bool(children) and all(map(_is_running, children))


def _children(number: int) -> list[int]:
    """Return the children of a process; none if this kernel does not say."""
    found: list[int] = []
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{number}/task"):
            with suppress(OSError), open(f"/proc/{number}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found


def _is_running(number: int) -> bool:
    """Tell whether a process is there and has not begun to exit."""
    try:
        with open(f"/proc/{number}/stat", "rb") as file:
            state, *others = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    exiting = 0x4  # PF_EXITING, from <linux/sched.h>
    return state not in b"ZX" and not int(others[5]) & exiting


def _holds(number: int, pipe: int) -> bool:
    """Tell whether a process has a pipe open, or cannot be asked."""
    try:
        for descriptor in os.listdir(f"/proc/{number}/fd"):
            with suppress(FileNotFoundError):
                if os.readlink(f"/proc/{number}/fd/{descriptor}") == f"pipe:[{pipe}]":
                    return True
    except (FileNotFoundError, ProcessLookupError):
        return False
    except OSError:
        return True
    return False


def bytes_waiting(descriptor: int) -> int:
    """Return how many bytes can be read from a pipe at once."""
    import fcntl
    import termios

    count = fcntl.ioctl(descriptor, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)


def _kill_children(process: subprocess.Popen[bytes]) -> None:
    """Kill the children of a process, and give it time to see that and to end."""
    import subprocess

    children = _children(process.pid)
    for child in children:
        # It cannot be another of that number, as its parent has not waited for it yet.
        with suppress(ProcessLookupError, PermissionError):
            os.kill(child, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(5 if children else 0)


def _kill_session(leader: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
