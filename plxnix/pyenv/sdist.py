"""Wheels of what has none: a stage that builds one from sources, without the network.

It runs in an environment of its own, of the build distributions that the lock has for the package.
Compilers are those of the toolchain: on `host`, those of this machine decide about the result.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plxnix.errors import InvalidValue
from plxnix.model import DRef, isdref
from plxnix.pyenv.lock import Distribution, EnvironmentLock
from plxnix.recipes.execute import execute
from plxnix.recipes.files import mkfile

if TYPE_CHECKING:
    from plxnix.pyenv.stage import Interpreter

__all__ = ["wheel_stage"]

#: What makes the bytes of a build depend on nothing but its inputs; the time is the oldest that a
#: zip archive can hold.
CLEAN = {
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "0",
    "SOURCE_DATE_EPOCH": "315532800",
    "TZ": "UTC",
    "PIP_NO_INDEX": "1",
    "PYTHONNOUSERSITE": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}

_COMMAND = """\
umask 022
export PATH="$buildenv/bin:$PATH"
"$buildenv/bin/python" -s -B "$program"
"""


def wheel_stage(
    one: Distribution,
    lock: EnvironmentLock,
    interpreter: Interpreter,
    override: Mapping[str, Any],
) -> DRef:
    """Register the stage whose result is a folder with one wheel of a distribution.

    `override` is what `python_env` has for the package. Raises what `python_env` does.
    """
    from plxnix.pyenv.stage import environment, source_stage

    buildenv = environment(
        one.build,
        lock,
        interpreter,
        name=f"{one.name}-build-env",
        wheels=[_file(item, "build") for item in override.get("build", ())],
    )
    source = source_stage(one, lock)
    variables = {**CLEAN, **override.get("environment", {})}
    if one.subdirectory:
        variables["subdirectory"] = one.subdirectory
    if override.get("settings"):
        variables["settings"] = json.dumps(override["settings"], sort_keys=True)
    patches = [_file(item, "patches") for item in override.get("patches", ())]
    return execute(
        _COMMAND,
        name="-".join(filter(None, (one.name, one.version, "wheel"))),
        tools=list(override.get("tools", ())),
        environment={
            **variables,
            "buildenv": buildenv,
            "program": [mkfile("wheel-builder.py", _builder()), "wheel-builder.py"],
            "filename": one.filename,
            "source": [source, one.filename] if one.kind == "sdist" else source,
            **({"patches": patches} if patches else {}),
        },
    )


def _file(item: object, what: str) -> Any:
    """Return a stage or a refpath as it is, and a local file as a stage."""
    if isinstance(item, list) or isdref(item):
        return item
    if not isinstance(item, str | os.PathLike):
        raise InvalidValue(f"{what} has {item!r:.80}", "give paths of files, stages or refpaths")
    path = Path(item)
    try:
        return [mkfile(path.name, path.read_bytes()), path.name]
    except OSError as error:
        raise InvalidValue(f"{what} names {os.fspath(item)!r}: {error.strerror}") from None


@functools.cache
def _builder() -> str:
    return Path(__file__).with_name("wheel_builder.py").read_text(encoding="utf-8")
