"""Using environments without Nix: their variables, code for shells, programs that run in them.

An environment is a folder like a virtual one, and needs nothing but its `bin` to be found first.
What Python compiles is kept in a cache of the user's own, as the store is not to be written to.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from plxnix.errors import InvalidValue
from plxnix.export.output import write_files
from plxnix.model import RRef
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.realize.registry import Closure, Registry, instantiate
from plxnix.recipes.toolchain import Host
from plxnix.store import Store
from plxnix.store.roots import add_root

#: The shells that `activation` writes code for.
SHELLS = ("bash", "fish", "sh", "zsh")

#: Variables that would lead an interpreter away from its environment.
_MISLEADING = ("PYTHONHOME", "__PYVENV_LAUNCHER__")

_CACHE = "PYTHONPYCACHEPREFIX"


def cache_folder() -> Path:
    """Return the folder of what can be made again: `$XDG_CACHE_HOME/plxnix`."""
    place = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(place):
        place = os.path.join(os.path.expanduser("~"), ".cache")
    return Path(place) / "plxnix"


def variables(tree: str, outer: Mapping[str, str]) -> dict[str, str]:
    """Return `outer`, the variables of a process, as they are for one in an environment."""
    inner = {key: value for key, value in outer.items() if key not in _MISLEADING}
    inner.setdefault(_CACHE, str(cache_folder() / "bytecode"))
    path = outer.get("PATH", os.defpath)
    return {**inner, "PATH": f"{tree}/bin{os.pathsep}{path}", "VIRTUAL_ENV": tree}


# -- code for shells -------------------------------------------------------------------------------

_POSIX = """\
if [ -n "${{_PLXNIX_OLD_PATH+set}}" ]; then deactivate; fi
deactivate() {{
    PATH="$_PLXNIX_OLD_PATH"; export PATH
    if [ -n "${{_PLXNIX_OLD_HOME+set}}" ]; then
        PYTHONHOME="$_PLXNIX_OLD_HOME"; export PYTHONHOME
    fi
    if [ -n "${{_PLXNIX_OLD_PS1+set}}" ]; then PS1="$_PLXNIX_OLD_PS1"; fi
    if [ -n "${{_PLXNIX_OWN_CACHE+set}}" ]; then unset {cache}; fi
    unset VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    unset _PLXNIX_OLD_PATH _PLXNIX_OLD_HOME _PLXNIX_OLD_PS1 _PLXNIX_OWN_CACHE
    unset -f deactivate
    hash -r 2>/dev/null || true
}}
_PLXNIX_OLD_PATH="$PATH"
if [ -n "${{PYTHONHOME+set}}" ]; then _PLXNIX_OLD_HOME="$PYTHONHOME"; unset PYTHONHOME; fi
if [ -z "${{{cache}+set}}" ]; then
    {cache}={bytecode}; export {cache}; _PLXNIX_OWN_CACHE=1
fi
VIRTUAL_ENV={tree}; export VIRTUAL_ENV
VIRTUAL_ENV_PROMPT={name}; export VIRTUAL_ENV_PROMPT
PATH="$VIRTUAL_ENV/bin:$PATH"; export PATH
if [ -z "${{VIRTUAL_ENV_DISABLE_PROMPT-}}" ] && [ -n "${{PS1-}}" ]; then
    _PLXNIX_OLD_PS1="$PS1"; PS1="($VIRTUAL_ENV_PROMPT) $PS1"
fi
hash -r 2>/dev/null || true
"""

_FISH = """\
if set -q _PLXNIX_OLD_PATH; deactivate; end
function deactivate
    set -gx PATH $_PLXNIX_OLD_PATH
    if set -q _PLXNIX_OLD_HOME; set -gx PYTHONHOME $_PLXNIX_OLD_HOME; end
    if set -q _PLXNIX_OWN_CACHE; set -e {cache}; end
    if functions -q _plxnix_old_prompt
        functions -e fish_prompt
        functions -c _plxnix_old_prompt fish_prompt
        functions -e _plxnix_old_prompt
    end
    set -e VIRTUAL_ENV VIRTUAL_ENV_PROMPT
    set -e _PLXNIX_OLD_PATH _PLXNIX_OLD_HOME _PLXNIX_OWN_CACHE
    functions -e deactivate
end
set -g _PLXNIX_OLD_PATH $PATH
if set -q PYTHONHOME; set -g _PLXNIX_OLD_HOME $PYTHONHOME; set -e PYTHONHOME; end
if not set -q {cache}; set -gx {cache} {bytecode}; set -g _PLXNIX_OWN_CACHE 1; end
set -gx VIRTUAL_ENV {tree}
set -gx VIRTUAL_ENV_PROMPT {name}
set -gx PATH $VIRTUAL_ENV/bin $PATH
if test -z "$VIRTUAL_ENV_DISABLE_PROMPT"; and functions -q fish_prompt
    functions -c fish_prompt _plxnix_old_prompt
    function fish_prompt
        printf '(%s) ' $VIRTUAL_ENV_PROMPT
        _plxnix_old_prompt
    end
end
"""


def activation(tree: str, shell: str = "sh", name: str = "env") -> str:
    """Return code that a shell evaluates to be in an environment, until `deactivate`.

    As in virtual environments; evaluated in another environment it takes that one's place. Raises
    `InvalidValue` for a shell that is not one of `SHELLS`.
    """
    if shell not in SHELLS:
        raise InvalidValue(f"no shell is {shell!r}", f"there are {', '.join(SHELLS)}")
    quote = _fish_quote if shell == "fish" else shlex.quote
    return (_FISH if shell == "fish" else _POSIX).format(
        cache=_CACHE,
        bytecode=quote(str(cache_folder() / "bytecode")),
        tree=quote(tree),
        name=quote(name),
    )


def _fish_quote(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def user_shell() -> str:
    """Return the kind of the user's shell as far as `$SHELL` says it, else `sh`."""
    name = os.path.basename(os.environ.get("SHELL", ""))
    return name if name in SHELLS else "sh"


# -- running ---------------------------------------------------------------------------------------


def run(command: Sequence[str], environment: Mapping[str, str], folder: str | None = None) -> int:
    """Run a command and return its exit status, 128 and more if a signal ended it.

    It has the terminal; what interrupts this process is for it alone. Raises `InvalidValue` if it
    cannot be started.
    """
    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise InvalidValue(
            f"there is no program {command[0]!r} in the environment, nor in PATH",
            "does a package of the environment bring it?",
        )
    try:
        process = subprocess.Popen(
            [command[0], *command[1:]], executable=program, env=dict(environment), cwd=folder
        )
    except OSError as error:
        raise InvalidValue(
            f"{program!r} cannot be run: {error.strerror}", "is it made for this machine?"
        ) from error
    with _passing_signals(process):
        status = process.wait()
    return status if status >= 0 else 128 - status


@contextmanager
def _passing_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Leave what the terminal sends to a process, and send it what ends this one."""

    def send(number: int, frame: FrameType | None) -> None:
        del frame
        with suppress(ProcessLookupError):
            process.send_signal(number)

    before = {}
    with suppress(ValueError):  # Threads other than the first one get no signals.
        for number in (signal.SIGINT, signal.SIGQUIT):
            before[number] = signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            before[number] = signal.signal(number, send)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def keep_latest(store: Store, rref: RRef, place: str) -> None:
    """Keep the environment of a lock at `place` until the next one of it, or the lock, is gone.

    Those of locks that are gone are given up now.
    """
    top = f"{store.layout.gcroots}/environments"
    folder = f"{top}/{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}"
    os.makedirs(folder, exist_ok=True)
    Path(f"{folder}/lock").write_bytes(os.fsencode(place))
    add_root(store, f"{folder}/environment", rref)
    for entry in os.listdir(top):
        with suppress(OSError):
            if not os.path.lexists(Path(f"{top}/{entry}/lock").read_bytes()):
                shutil.rmtree(f"{top}/{entry}")


# -- from requests to environments -----------------------------------------------------------------


def request_folder(inputs: Inputs) -> Path:
    """Return the folder in which the lock of a request is kept; it depends on all of the inputs."""
    said = {"python": inputs.python, "platforms": list(inputs.platforms), **inputs.table()}
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]
    return cache_folder() / "requests" / key


def lock_request(inputs: Inputs, refresh: bool = False) -> EnvironmentLock:
    """Return the lock of a request: the one that was made before, unless `refresh`.

    A new one appears at once, whole. Raises what `resolve` raises.
    """
    from plxnix.pyenv.resolving import resolve

    folder = request_folder(inputs)
    path = folder / "pylock.toml"
    if not refresh:
        with suppress(FileNotFoundError, InvalidValue):
            return EnvironmentLock.read(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_files({path: resolve(inputs, folder).text})
    return EnvironmentLock.read(path)


def find_interpreter(version: str) -> str:
    """Return what `python_env` takes for a Python of this version on this machine.

    That is the version where the toolchain has such a Python, else the path of the one that runs
    this, or of one in PATH that runs: not that of a pyenv which has it, but does not give it, for
    which the newest that it has stands in. Raises `InvalidValue` if there is none.
    """
    from plxnix.pyenv.stage import Interpreter

    short = ".".join(version.split(".")[:2])
    if any(os.access(f"{folder}/python{short}", os.X_OK) for folder in Host.folders):
        return short
    own = getattr(sys, "_base_executable", sys.executable)
    if short == f"{sys.version_info[0]}.{sys.version_info[1]}" and os.path.exists(own):
        return str(os.path.realpath(own))
    for folder in map(os.path.abspath, os.get_exec_path()):
        found = [f"{folder}/python{short}"]
        if os.path.basename(folder) == "shims":
            held = Path(folder).parent.glob(f"versions/{short}.*/bin/python{short}")
            found += sorted(map(str, held), key=lambda one: [len(one), one], reverse=True)
        for program in found:
            if os.access(program, os.X_OK):
                with suppress(InvalidValue):
                    Interpreter.of(program)
                    return os.path.realpath(program)
    raise InvalidValue(
        f"this machine has no Python {short}", "install it, or say which: --python PATH"
    )


def environment_closure(
    lock: EnvironmentLock, store: Store, python: str | None = None, name: str = "python-env"
) -> Closure:
    """Return what is to be realized for the environment of a lock on this machine.

    `python` is a version or the path of an interpreter; by default what the lock was made for.
    Raises what `python_env` raises.
    """
    from plxnix.pyenv.stage import python_env

    if python is None or "/" not in python:
        wanted = python or str(lock.plxnix.get("python") or "")
        python = find_interpreter(wanted) if wanted else None
    registry = Registry(store)
    return instantiate(python_env, lock, python, name=name, registry=registry)
