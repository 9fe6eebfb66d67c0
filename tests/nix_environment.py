"""Real Nix for the tests, with a configuration and, where possible, a store of its own.

`enter` is called once in each process that runs tests. It has two arrangements:

private
    A new mount namespace in which an empty folder is mounted over `/nix`. Paths are the true ones
    (`/nix/store/...`), each worker starts from an empty store and a new database, tests may collect
    garbage, and the machine's store is never seen. Needs the right to mount (root with
    `CAP_SYS_ADMIN`, also in a user namespace) and Nix programs that are not in `/nix` themselves.

shared
    The machine's own `/nix`, by its own database or daemon, and only the settings are ours. Two
    databases over one store would delete each other's paths, so there is no middle way.

`tests/README.md` says which other arrangements were tried.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import PATIENCE

#: What to do when Nix is missing; shown by the skip or the failure.
INSTALLATION = "install Nix: `apt-get install nix-bin` on Debian, nixos.org/download elsewhere"

#: Variables by which a user's own settings would reach the tests.
FOREIGN_VARIABLES = (
    "IN_NIX_SHELL",
    "NIX_BUILD_CORES",
    "NIX_BUILD_SHELL",
    "NIX_CONFIG",
    "NIX_DATA_DIR",
    "NIX_LOCALSTATE_DIR",
    "NIX_LOG_DIR",
    "NIX_PATH",
    "NIX_PROFILES",
    "NIX_REMOTE",
    "NIX_STATE_DIR",
    "NIX_STORE_DIR",
    "NIX_USER_CONF_FILES",
)

_SETTINGS = """\
build-users-group =
experimental-features = nix-command flakes
flake-registry = {registry}
fsync-metadata = false
sandbox = false
substituters =
warn-dirty = false
"""

# From <sched.h>, <sys/mount.h>.
_CLONE_NEWNS = 0x00020000
_MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2


class NixUnavailable(Exception):
    """Nix cannot be used here; the message says why and what to install or do."""


class NixCommandFailed(AssertionError):
    """A command of `NixEnv.run` failed; the message holds what it printed."""


@dataclass(frozen=True)
class NixEnv:
    """Nix as the tests see it.

    `private`: the store belongs to this worker alone, so it may be emptied. Otherwise it is the
    machine's, and may hold anything, also what an earlier run of the tests has built. `version`:
    that of the Nix programs, as `(2, 8, 0)`.
    """

    private: bool
    version: tuple[int, ...]

    @property
    def environment(self) -> dict[str, str]:
        """The variables for a program that runs Nix: those of this process, at this moment."""
        return dict(os.environ)

    def run(
        self,
        *command: str | os.PathLike[str],
        check: bool = True,
        cwd: str | os.PathLike[str] | None = None,
        variables: Mapping[str, str] | None = None,
        stdin: str = "",
        timeout: float = PATIENCE,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and return what it printed, as text.

        `variables` are added to the environment; `timeout` is in seconds. Raises
        `NixCommandFailed` if `check` and the status is not zero.
        """
        result = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env={**self.environment, **(variables or {})},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and result.returncode != 0:
            words = " ".join(str(word) for word in command)
            raise NixCommandFailed(
                f"{words}: status {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def build(
        self, expression: str | os.PathLike[str], attribute: str | None = None, *options: str
    ) -> Path:
        """Build a Nix file (or `.drv`) with `nix-build` and return its last output's path.

        Leaves no `result` link, and so no root.
        """
        selection = () if attribute is None else ("--attr", attribute)
        command = ("nix-build", "--no-out-link", os.fspath(expression), *selection, *options)
        return Path(self.run(*command).stdout.splitlines()[-1])

    def instantiate(
        self, expression: str | os.PathLike[str], attribute: str | None = None, *options: str
    ) -> str:
        """Instantiate a Nix file with `nix-instantiate` and return the path of its `.drv`."""
        selection = () if attribute is None else ("--attr", attribute)
        command = ("nix-instantiate", os.fspath(expression), *selection, *options)
        return self.run(*command).stdout.splitlines()[-1].partition("!")[0]

    def collect(self) -> None:
        """Collect the garbage of the store, which has to be private.

        Nix looks for roots in all processes, and fails at one that ends meanwhile or is in a folder
        too deep: so it is shown none but itself, where that is possible.
        """
        if not self.private:
            raise NixUnavailable("the garbage of a shared store is not for tests to collect")
        alone = ("unshare", "--pid", "--fork", "--mount-proc")
        possible = shutil.which("unshare") and self.run(*alone, "true", check=False).returncode == 0
        self.run(*(alone if possible else ()), "nix-store", "--gc")

    def evaluate(self, expression: str, *options: str) -> str:
        """Evaluate Nix text strictly with `nix-instantiate` and return the value as JSON text.

        Paths in it are not copied into the store, unless `--read-write-mode` is among the options.
        """
        command = ("nix-instantiate", "--eval", "--strict", "--json", *options, "--expr")
        return self.run(*command, expression).stdout


def configuration(folder: Path) -> dict[str, str]:
    """Write `nix.conf` and an empty flake registry; return the variables that lead to them."""
    registry = folder / "registry.json"
    registry.write_text('{"flakes":[],"version":2}\n')
    (folder / "nix.conf").write_text(_SETTINGS.format(registry=registry))
    # An empty list, so that the user's own file in ~/.config/nix is not read either.
    return {"NIX_CONF_DIR": str(folder), "NIX_USER_CONF_FILES": ""}


@contextmanager
def enter(folder: Path) -> Iterator[NixEnv]:
    """Give this process its Nix, the private arrangement if that is possible.

    `folder` is new and empty, and outside `/nix`. The variables of `configuration` must be in the
    environment. Threads that were started before keep seeing the old `/nix`. Raises
    `NixUnavailable`.
    """
    program = shutil.which("nix-build")
    if program is None or shutil.which("nix-store") is None:
        raise NixUnavailable(f"Nix is not installed; {INSTALLATION}")
    own = folder / "nix"
    (own / "store").mkdir(parents=True)
    (own / "var" / "nix").mkdir(parents=True)
    hides_nix = os.path.realpath(program).startswith("/nix/")
    if not hides_nix and _mount_over(own, "/nix"):
        try:
            yield NixEnv(private=True, version=_version())
        finally:
            _libc().umount2(b"/nix", _MNT_DETACH)
            shutil.rmtree(own)
        return
    if not _shared_usable():
        raise NixUnavailable(
            "Nix is installed, but this user may not write to its store; "
            "run the tests under `unshare --map-root-user --mount`, or with a Nix daemon"
        )
    yield NixEnv(private=False, version=_version())


def _version() -> tuple[int, ...]:
    # Nix 2.8 opens the store even for this: so only when it is the right one.
    printed = subprocess.run(
        ["nix-store", "--version"], check=True, capture_output=True, text=True
    ).stdout
    numbers = printed.split()[-1].partition("pre")[0]
    return tuple(int(part) for part in numbers.split(".") if part.isdigit())


def _shared_usable() -> bool:
    if os.path.exists("/nix/var/nix/daemon-socket/socket"):
        return True
    place = "/nix/store" if os.path.isdir("/nix/store") else "/nix"
    return os.access(place, os.W_OK)


def _mount_over(source: Path, target: str) -> bool:
    """Mount a folder over another for this thread and what it starts; False if not allowed."""
    if not os.path.isdir(target):
        return False
    libc = _libc()
    entered: int = libc.unshare(_CLONE_NEWNS)
    if entered != 0:
        return False
    libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
    mounted: int = libc.mount(os.fsencode(source), os.fsencode(target), None, _MS_BIND, None)
    return mounted == 0


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount.argtypes = (
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_ulong,
        ctypes.c_void_p,
    )
    return libc
