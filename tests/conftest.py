"""What every test stands on: a home and a store of its own, and Nix where it is asked for."""

from __future__ import annotations

import functools
import importlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from plxnix import DRef, current_registry, execute
from plxnix.cli import progress
from plxnix.store import Fsync, Store, current
from plxnix.store.session import end_sessions
from tests.command_line import STAGES, CommandLine
from tests.http_server import Server
from tests.nix_environment import FOREIGN_VARIABLES, NixEnv, NixUnavailable, configuration, enter
from tests.stage_samples import Lab
from tests.waiting import PATIENCE
from tests.wheels import Index

#: No failure for being slow: not of an example, nor of drawing it.
_UNHURRIED: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
}
settings.register_profile("dev", max_examples=50, **_UNHURRIED)
settings.register_profile("ci", derandomize=False, print_blob=True, **_UNHURRIED)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev")
)

#: Fixtures that need a tool of the machine; a test that uses one gets the marker of that name.
TOOL_MARKERS = {"nix_env": "nix", "bubblewrap": "bubblewrap"}

LOOPBACK = "127.0.0.1,localhost,::1"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers; let interrupts reach the processes that tests start.

    Shells start what runs in the background with interrupts ignored, and that is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for fixture, marker in TOOL_MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: uses the fixture {fixture}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need a tool, so that `-m 'not nix'` leaves them out."""
    for item in items:
        for fixture in set(getattr(item, "fixturenames", ())) & TOOL_MARKERS.keys():
            item.add_marker(TOOL_MARKERS[fixture])


def missing(reason: str) -> None:
    """Skip the test for want of a tool; with `CI=true` fail, as nothing may go untested there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def needed(module: str) -> Any:
    """Import a module of the extras; without it tests are skipped, and fail with `CI=true`."""
    if os.environ.get("CI") == "true":
        return importlib.import_module(module)
    return pytest.importorskip(module)


@pytest.fixture(scope="session", autouse=True)
def machine_nix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NixEnv | str]:
    """Set Nix up for this process, for all tests alike; the value is why not, if not.

    It serves every test, so that none of them, in whatever order, sees the machine's own settings
    and store. Tests take `nix_env`.
    """
    folder = tmp_path_factory.mktemp("nix")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        for variable in FOREIGN_VARIABLES:
            patch.delenv(variable, raising=False)
        for variable, value in configuration(folder).items():
            patch.setenv(variable, value)
        try:
            found: NixEnv | str = stack.enter_context(enter(folder))
        except NixUnavailable as reason:
            found = str(reason)
        yield found


@pytest.fixture(scope="session")
def nix_env(machine_nix: NixEnv | str) -> NixEnv:
    """Real Nix, without network, sandbox and the user's settings (see `tests/README.md`)."""
    if isinstance(machine_nix, str):
        missing(machine_nix)
    assert isinstance(machine_nix, NixEnv)
    return machine_nix


@pytest.fixture(scope="session")
def bubblewrap() -> str:
    """The path of a `bwrap` that works here: user namespaces are allowed."""
    program = shutil.which("bwrap")
    if program is None:
        missing("bubblewrap is not installed; `apt-get install bubblewrap` on Debian")
    assert program is not None
    trial = subprocess.run(
        [program, "--ro-bind", "/", "/", "--unshare-all", "true"],
        check=False,
        capture_output=True,
        text=True,
    )
    if trial.returncode != 0:
        missing(f"bubblewrap cannot make its namespaces here: {trial.stderr.strip()}")
    return program


@pytest.fixture(scope="session")
def matplotlib_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder for matplotlib's font list: it takes seconds to make, so once a session."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture(autouse=True)
def private_surroundings(
    tmp_path: Path, matplotlib_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Give each test a home, XDG folders and a native store (`tmp_path/"plxnix"`) of its own.

    The folder of the store is not made, and no store is the current one, whatever `fsinit` was
    called with in another test. No other `PLXNIX_*` variable is set. Its descriptors are closed
    after it: thousands of tests, each with stores of its own, share a process.
    """
    for variable in list(os.environ):
        if variable.startswith("PLXNIX_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PLXNIX_ROOT", str(tmp_path / "plxnix"))
    monkeypatch.setattr(current, "_default", None)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for variable, folder in (
        ("XDG_CACHE_HOME", ".cache"),
        ("XDG_CONFIG_HOME", ".config"),
        ("XDG_DATA_HOME", ".local/share"),
        ("XDG_STATE_HOME", ".local/state"),
    ):
        monkeypatch.setenv(variable, str(home / folder))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.setenv("MPLCONFIGDIR", str(matplotlib_folder))
    for variable in ("no_proxy", "NO_PROXY"):
        others = os.environ.get(variable)
        monkeypatch.setenv(variable, f"{LOOPBACK},{others}" if others else LOOPBACK)
    yield
    end_sessions()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """An empty store, not the current one."""
    return Store.init(tmp_path / "store", Fsync.NONE)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A store and a registry."""
    return Lab(tmp_path / "store")


@pytest.fixture
def registered(lab: Lab) -> Iterator[None]:
    """Let stages register in the lab without naming its registry; `lab.again()` is not followed."""
    with current_registry(lab.registry):
        yield


@pytest.fixture
def run(lab: Lab) -> Callable[..., DRef]:
    """`execute` in the lab's registry."""
    return functools.partial(execute, registry=lab.registry)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on loopback."""
    with Server() as running:
        yield running


@pytest.fixture
def index(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    """An index of Python packages on loopback, that uv is told to use, and no other."""
    for variable in ("UV_INDEX", "UV_EXTRA_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("UV_HTTP_TIMEOUT", str(round(PATIENCE)))
    made = Index(server, tmp_path / "files")
    monkeypatch.setenv("UV_DEFAULT_INDEX", made.url)
    return made


@pytest.fixture
def body(tmp_path: Path) -> bytes:
    """Contents that no other test has in the Nix store."""
    return f"of {tmp_path} {os.urandom(8).hex()}\n".encode()


@pytest.fixture
def plxnix(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> CommandLine:
    """The command line in an empty folder; nothing takes long enough to be announced."""
    monkeypatch.setattr(progress, "PATIENCE", PATIENCE)
    monkeypatch.chdir(tmp_path)
    return CommandLine(tmp_path, capfdbinary)


@pytest.fixture
def reported(plxnix: CommandLine) -> None:
    """Realize the report of `STAGES` for the command line."""
    plxnix.file(STAGES)
    plxnix.ok("realize", "stages.py:report")
