"""Nix's programs: the only module of plxnix that runs them.

What is asked of Nix here goes to `nix-store` and `nix-instantiate`, whose output is the same in all
versions since 2.8; that of the newer `nix ...` commands is not. Every call ends: it has a timeout,
in seconds, after which the program is stopped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final

from plxnix.errors import InvalidValue, NixFormatError, ToolFailed, ToolMissing
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import PIECE
from plxnix.nix.paths import STORE
from plxnix.stopping import interrupted_by

if TYPE_CHECKING:
    import subprocess

#: Seconds that a question to Nix, and that a build may take.
TIMEOUT: Final = 600.0
BUILD_TIMEOUT: Final = 86400.0

#: Seconds that a program has to stop its own builders before it is killed.
GRACE: Final = 5.0

#: How many paths go into one command line, whose length has a limit.
BATCH: Final = 500

#: How many lines of what a program printed go into the message of an error.
SHOWN_LINES: Final = 12

_INSTALLATION: Final = {
    "bwrap": "install bubblewrap: `apt-get install bubblewrap` on Debian",
}


def find(program: str) -> str:
    """Return the path of a program; raise `ToolMissing`, which says how to install it."""
    found = shutil.which(program)
    if found is None:
        raise ToolMissing(
            f"the program {program} is not installed, or not on PATH",
            _INSTALLATION.get(
                program, "install Nix: nixos.org/download, or `apt-get install nix-bin` on Debian"
            ),
        )
    return found


def available() -> bool:
    """Tell whether Nix is installed here; it may still refuse this user its store."""
    return all(shutil.which(one) for one in ("nix-store", "nix-instantiate", "nix-build"))


def version() -> tuple[int, ...]:
    """Return the version of Nix, such as `(2, 8, 0)`.

    Raises `ToolMissing`, `ToolFailed`, and `NixFormatError` if it tells none.
    """
    printed = run("nix-store", "--version")
    words = printed.split()
    numbers = words[-1].partition("pre")[0].split(".") if words else []
    found = tuple(int(one) for one in numbers if one.isdigit())
    if not found:
        raise NixFormatError(
            f"nix-store tells no version: {printed!r:.200}", "is it Nix that is first on PATH?"
        )
    return found


def run(
    program: str,
    *args: str | os.PathLike[str],
    input: bytes | BinaryIO | Iterable[bytes] | None = None,  # noqa: A002  # as subprocess has it
    timeout: float | None = None,
    env: Mapping[str, str] | None = None,
    said: Callable[[str], object] | None = None,
) -> str:
    """Run a program and return what it printed, as text (UTF-8, other bytes by surrogateescape).

    `input` is fed to it in pieces, so it may be larger than memory; without it, it reads nothing.
    `env` is added to the environment. `timeout` is in seconds, `TIMEOUT` if not given. `said` gets
    the stderr of a program that succeeds.

    Raises `ToolMissing`; `ToolFailed` with the last lines that it printed, its status and all of
    stderr, where the status of a program that was stopped at the timeout is 124.
    """
    import subprocess
    from tempfile import TemporaryFile
    from threading import Timer

    command = [find(program), *(os.fspath(one) for one in args)]
    limit = TIMEOUT if timeout is None else timeout
    late: list[bool] = []
    # Files rather than pipes: a program that prints much cannot block while it is being fed.
    with TemporaryFile() as stdout, TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=None if env is None else {**os.environ, **env},
        )

        def expire() -> None:
            if process.poll() is None:
                late.append(True)
                _stop(process)

        clock = Timer(limit, expire)
        clock.daemon = True
        clock.start()
        try:
            with interrupted_by(process.terminate):
                if input is not None and process.stdin is not None:
                    _feed(process.stdin, input)
                status = process.wait()
        finally:
            clock.cancel()
            _stop(process)
        errors = _contents(stderr).decode("utf-8", "replace")
        if status != 0:
            raise _failure(program, args, 124 if late else status, errors, limit)
        if said is not None:
            said(errors)
        return _contents(stdout).decode("utf-8", "surrogateescape")


def _feed(stdin: IO[bytes], source: bytes | BinaryIO | Iterable[bytes]) -> None:
    if isinstance(source, bytes):
        pieces: Iterable[bytes] = (source,)
    elif hasattr(source, "read"):
        pieces = iter(lambda: source.read(PIECE), b"")
    else:
        pieces = source
    try:
        with stdin:
            for piece in pieces:
                stdin.write(piece)
    except BrokenPipeError:
        # It does not want more; its status says whether that is an error.
        pass


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that still runs: Nix ends its builders when asked, but not when killed."""
    from subprocess import TimeoutExpired

    if process.poll() is None:
        process.terminate()
        try:
            process.wait(GRACE)
        except TimeoutExpired:
            process.kill()
            process.wait()


def _contents(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _failure(
    program: str, args: Sequence[object], status: int, stderr: str, limit: float
) -> ToolFailed:
    first = " ".join([program, *map(str, args)])
    command = first if len(first) <= 200 else first[:200] + " ..."
    what = f"was stopped after {limit:g} seconds" if status == 124 else f"failed ({status})"
    shown = last_lines(stderr)
    return ToolFailed(
        f"{command} {what}{':' if shown else ', and said nothing'}{shown}",
        "the lines above are its own; run the command by hand to see all" if shown else "",
        status,
        stderr,
    )


def last_lines(printed: str) -> str:
    """Return the last lines that a program printed, each below what comes before, indented."""
    lines = [line for line in printed.splitlines() if line.strip()]
    return "".join(f"\n    {line}" for line in lines[-SHOWN_LINES:])


# -- what plxnix asks of Nix -------------------------------------------------------------------


def instantiate(source: str | os.PathLike[str], *options: str) -> list[str]:
    """Evaluate an expression and return the paths of its `.drv` files, now in the Nix store.

    `source` is the text of an expression, or the path of a file as an `os.PathLike`. `options` go
    to `nix-instantiate`. Raises `ToolFailed`.
    """
    given: list[str] = ["--expr", source] if isinstance(source, str) else [os.fspath(source)]
    printed = run("nix-instantiate", *given, *options)
    # It prints X.drv!lib where the first output is not `out`.
    return [line.partition("!")[0] for line in printed.splitlines()]


def build(
    paths: str | Sequence[str],
    out_link: str | os.PathLike[str] | None = None,
    timeout: float = BUILD_TIMEOUT,
) -> list[str]:
    """Build `.drv` files, or fetch other store paths, and return the paths of all their outputs.

    With `out_link`, links to the outputs are made there (`LINK`, `LINK-2`, ...) that keep them from
    garbage collection. Raises `ToolFailed`; its status is 102 if a fixed output has another hash.
    """
    wanted = [paths] if isinstance(paths, str) else list(paths)
    if not wanted:
        return []
    root = () if out_link is None else ("--add-root", os.path.abspath(out_link), "--indirect")
    printed = run("nix-store", "--realise", *wanted, *root, timeout=timeout)
    found = printed.splitlines()
    # With a root it prints the links.
    return [os.readlink(one) if out_link is not None else one for one in found]


def add_root(path: str, link: str | os.PathLike[str]) -> None:
    """Make `link` a link to a valid store path, and a root that keeps it from Nix's collection.

    A link that is there is replaced. Who removes the link gives the root up. Raises `ToolFailed`.
    """
    place = os.path.abspath(link)
    run("nix-store", "--realise", path, "--add-root", place, "--indirect")


def closure(paths: Iterable[str]) -> list[str]:
    """Return valid store paths with all that they refer to, sorted; raise `ToolFailed`."""
    return sorted(set(run("nix-store", "--query", "--requisites", *paths).split()))


def valid(paths: Iterable[str]) -> set[str]:
    """Return those of the store paths that the Nix store has. Cost: one call for 500 paths."""
    wanted = list(dict.fromkeys(paths))
    missing: set[str] = set()
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        missing.update(run("nix-store", "--check-validity", "--print-invalid", *batch).split())
    return set(wanted) - missing


def nar_hashes(paths: Iterable[str]) -> dict[str, Hash]:
    """Return the hash of the NAR of each of these valid store paths, as Nix's database has it.

    Cost: one call for 500 paths. Raises `ToolFailed`.
    """
    wanted = list(dict.fromkeys(paths))
    found: list[Hash] = []
    for start in range(0, len(wanted), BATCH):
        printed = run("nix-store", "--query", "--hash", *wanted[start : start + BATCH])
        found += map(Hash.parse, printed.split())
    return dict(zip(wanted, found, strict=True))


def add_fixed(
    path: str | os.PathLike[str],
    algorithm: str = "sha256",
    recursive: bool = False,
    name: str | None = None,
) -> str:
    """Put a file, or a tree if `recursive`, into the Nix store and return its path there.

    The path is that of a fixed output with this hash and `name` (the last part of `path` if not
    given). A flat file loses its x bit, which its hash does not cover. Nix computes the path, so it
    cannot be wrong. Raises `InvalidValue` if `path` is no file and not `recursive`, `ToolFailed`.
    """
    from tempfile import TemporaryDirectory

    place = Path(os.path.abspath(path))
    name = name or place.name
    if not recursive:
        if not place.is_file():
            raise InvalidValue(f"{place} is not a file", "pass recursive=True for a folder")
        # A link is refused by Nix, and an x bit would stay under a hash that does not see it.
        if place.is_symlink() or place.stat().st_mode & 0o111 or place.name != name:
            with TemporaryDirectory(prefix="plxnix-") as folder:
                copy = Path(folder) / name
                shutil.copyfile(place, copy)
                return _add_fixed(copy, algorithm, recursive)
    elif place.name != name:
        if algorithm == "sha256":
            return _add_named(place, name)
        raise InvalidValue(
            f"{place} cannot go into the Nix store as {name} by {algorithm}",
            "use sha256, or give the folder that name",
        )
    return _add_fixed(place, algorithm, recursive)


def _add_fixed(place: Path, algorithm: str, recursive: bool) -> str:
    mode = ("--recursive",) if recursive else ()
    return run("nix-store", "--add-fixed", *mode, algorithm, place, timeout=BUILD_TIMEOUT).strip()


def _add_named(place: Path, name: str) -> str:
    # `nix-store` takes the name from the path; this does not, and needs no copy of the tree.
    expression = "{ path, name }: builtins.path { inherit path name; }"
    printed = run(
        "nix-instantiate",
        *("--eval", "--read-write-mode", "--expr", expression),
        *("--argstr", "path", os.fspath(place), "--argstr", "name", name),
        timeout=BUILD_TIMEOUT,
    )
    return printed.strip().strip('"')


def import_paths(stream: BinaryIO | Iterable[bytes]) -> list[str]:
    """Put the paths of an export stream into the Nix store and return them; old ones are kept.

    Nix checks the output paths of derivations, but not that a `.drv` file or a fixed output has the
    contents that its path says: import only what was computed here, and use `add_fixed` for fixed
    outputs. Raises `ToolFailed`, after which the paths before the fault are there.
    """
    printed = run("nix-store", "--import", input=stream, timeout=BUILD_TIMEOUT)
    return [line for line in printed.splitlines() if line.startswith(STORE)]
