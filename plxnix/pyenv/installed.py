"""What is in an environment: its interpreter, its distributions and the modules that these bring.

An environment is a folder like a virtual one: `bin/python`, `lib/pythonX.Y/site-packages`. Nothing
of it is run.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from plxnix.builders.package_index import normalized
from plxnix.errors import InvalidValue

#: Top-level folders that some wheels bring along by mistake, and no module to import.
_STRAY = ("__main__", "bench", "benchmarks", "docs", "examples", "scripts", "test", "tests")

#: What pyvenv.cfg says of the interpreter.
_VERSION = re.compile(r"(?m)^version = (3\.\d+)")

#: How deep the packages of a namespace are looked for.
_DEPTH = 4


@dataclass
class Installed:
    """A distribution in an environment: what its folder `NAME-VERSION.dist-info` says.

    `files` are the paths in RECORD, relative to the environment, with their hash and size as
    written there; empty where RECORD has none.
    """

    name: str
    version: str
    requires: tuple[str, ...] = ()
    requires_python: str = ""
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def site_packages(tree: str) -> str:
    """Return the folder of an environment's modules; raise `InvalidValue` if there is none.

    An environment without packages has none: then it is not there.
    """
    found = sorted(Path(tree).glob("lib/python3*/site-packages"))
    with suppress(OSError):
        if not found and (version := _VERSION.search(_read(f"{tree}/pyvenv.cfg"))):
            return f"{tree}/lib/python{version[1]}/site-packages"
    if len(found) != 1:
        raise InvalidValue(
            f"{tree!r} is no Python environment: it has {len(found)} folders "
            "lib/pythonX.Y/site-packages",
            "give the folder of an environment: plxnix env FOLDER makes one",
        )
    return str(found[0])


def interpreter(tree: str) -> str:
    """Return the path of an environment's interpreter; raise `InvalidValue` if it is gone."""
    python = f"{tree}/bin/python"
    if not os.path.exists(python):
        leads = f", a link to {os.readlink(python)!r}" if os.path.islink(python) else ""
        raise InvalidValue(
            f"the interpreter of the environment {tree!r} is not there{leads}",
            "make the environment again with a Python of this machine",
        )
    return python


def installed(tree: str, site: str) -> list[Installed]:
    """Read what is installed, sorted by name; faults in RECORD are noted in the result."""
    found = []
    for entry in sorted(os.listdir(site)) if os.path.isdir(site) else ():
        if entry.endswith(".dist-info"):
            found.append(_installed(tree, site, entry))
    return sorted(found, key=lambda one: normalized(one.name))


def _installed(tree: str, site: str, entry: str) -> Installed:
    from email.parser import HeaderParser  # brings sockets along

    name, _, version = entry.removesuffix(".dist-info").partition("-")
    folder = f"{site}/{entry}"
    try:
        headers = HeaderParser().parsestr(_read(f"{folder}/METADATA"))
    except OSError:
        return Installed(name, version, faults=[f"{entry} has no METADATA"])
    one = Installed(
        str(headers.get("Name", name)),
        str(headers.get("Version", version)),
        tuple(str(value) for value in headers.get_all("Requires-Dist", [])),
        str(headers.get("Requires-Python", "")),
    )
    try:
        rows = list(csv.reader(_read(f"{folder}/RECORD").splitlines()))
    except (OSError, csv.Error):
        one.faults.append(f"{entry} has no RECORD that can be read")
        return one
    for row in rows:
        if len(row) != 3:
            one.faults.append(f"RECORD has a line of {len(row)} fields: {','.join(row)!r}")
            continue
        place = os.path.normpath(os.path.join(site, row[0]))
        if not place.startswith(f"{tree}/"):
            one.faults.append(f"RECORD lists {row[0]!r}, which is outside of the environment")
        else:
            one.files[os.path.relpath(place, tree)] = (row[1], row[2])
    return one


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace", newline="") as file:
        return file.read()


def top_modules(files: Iterable[str], site: str) -> list[str]:
    """Return the modules that a distribution brings, by the paths of its files below `site`.

    That is each top-level module and package; of a namespace, which has no `__init__`, the packages
    in it. Folders of data, tests beside packages and what no `import` could name are left out.
    """
    paths = [path[len(site) + 1 :].split("/") for path in files if path.startswith(f"{site}/")]
    packages = {tuple(path[:-1]) for path in paths if _module(path[-1]) == "__init__"}
    found = set()
    for path in paths:
        name = _module(path[-1])
        folder = tuple(path[:-1])
        if path[-1].endswith(f"{name}.so") and (folder or name.startswith("lib")):
            continue  # A library. Extension modules in packages say what they are built for.
        if not name or len(folder) > _DEPTH or not all(map(str.isidentifier, (*folder, name))):
            continue
        above = [folder[:depth] for depth in range(1, len(folder) + 1)]
        first = next((one for one in above if one in packages), None)
        found.add(".".join(first or (*folder, name)))
    return sorted(one for one in found if one.split(".")[0] not in _STRAY)


def _module(file: str) -> str:
    name, _, rest = file.partition(".")
    return name if rest == "py" or f".{rest}".endswith(".so") else ""
