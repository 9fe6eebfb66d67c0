"""Build a wheel of an archive of sources: by the hook `build_wheel` of PEP 517.

    python -s -B wheel_builder.py

This file is alone: it is run by plxnix and by Nix, by the interpreter of the package's own build
environment. Variables: `out` is the folder to make, which holds the wheel and nothing else;
`source` the archive, or a folder, and `filename` its name; `subdirectory` where in it the project
is; `settings` the configuration settings as JSON; `patches` files, parted by blanks.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from typing import Any

#: What a project without `[build-system]` is built with (PEP 517, PEP 518).
LEGACY = "setuptools.build_meta:__legacy__"


def unpack(archive: str, filename: str, folder: str) -> str:
    """Unpack sources, and return their folder: the only one in the archive, or all of it."""
    if os.path.isdir(archive):
        shutil.copytree(archive, folder, symlinks=True)
        for place, folders, files in os.walk(folder):
            for name in (".", *folders, *files):
                path = os.path.join(place, name)
                if not os.path.islink(path):
                    os.chmod(path, os.stat(path).st_mode | 0o200)
        return folder
    os.mkdir(folder)
    if filename.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
    else:
        with tarfile.open(archive) as packed_tar:
            if hasattr(tarfile, "data_filter"):
                packed_tar.extractall(folder, filter="data")
            else:
                packed_tar.extractall(folder)
    found = os.listdir(folder)
    below = os.path.join(folder, found[0]) if len(found) == 1 else folder
    return below if os.path.isdir(below) else folder


def build_system(folder: str) -> dict[str, Any]:
    """Return the table `[build-system]` of a project."""
    path = os.path.join(folder, "pyproject.toml")
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for name in ("tomllib", "tomli", "setuptools._vendor.tomli", "setuptools.extern.tomli"):
        try:
            toml = importlib.import_module(name)
        except ImportError:
            continue
        table = toml.loads(text).get("build-system", {})
        return table if isinstance(table, dict) else {}
    sys.exit("pyproject.toml cannot be read by this Python: add tomli to the build environment")


def load(system: dict[str, Any], folder: str) -> Any:
    """Return the build backend."""
    paths = [os.path.normpath(os.path.join(folder, one)) for one in system.get("backend-path", [])]
    if any(not (one + "/").startswith(folder + "/") for one in paths):
        sys.exit(f"backend-path leads out of the sources: {system['backend-path']!r}")
    # The folder of this program is first, which is no place for modules.
    sys.path[:1] = paths
    name, _, attributes = system.get("build-backend", LEGACY).partition(":")
    try:
        backend = importlib.import_module(name)
    except ImportError as error:
        sys.exit(
            f"the build backend {name} cannot be imported: {error}; add what it needs to the "
            "locked build environment"
        )
    for one in filter(None, attributes.split(".")):
        backend = getattr(backend, one)
    return backend


def main() -> None:
    """Do what the module's documentation says."""
    given = os.environ
    folder = unpack(given["source"], given["filename"], os.path.join(os.getcwd(), "source"))
    for patch in given.get("patches", "").split():
        with open(patch, "rb") as file:
            subprocess.run(["patch", "-p1", "-d", folder], stdin=file, check=True)
    folder = os.path.realpath(os.path.join(folder, given.get("subdirectory", "")))
    out, settings = given["out"], json.loads(given.get("settings") or "null")
    # Build backends and compilers see none of what was for this program.
    for name in ("program", "filename", "settings", "source", "subdirectory", "patches", "out"):
        given.pop(name, None)
    os.mkdir(out)
    os.chdir(folder)
    sys.argv = ["build_wheel"]
    wheel = load(build_system(folder), folder).build_wheel(out, settings)
    if os.listdir(out) != [wheel]:
        sys.exit(f"the build backend said that it made {wheel!r}, but made {os.listdir(out)}")


if __name__ == "__main__":
    main()
