"""A folder that is a Python environment for Nix: a lock, three Nix files, and what these need.

It can be copied to another machine: the functions of Nix that read the lock, the builder, and
copies of local projects and files are in its folder `plxnix`, and nothing leads out of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from plxnix.errors import InvalidValue
from plxnix.export.environment import NIXPKGS
from plxnix.export.output import write_files
from plxnix.nix.text import string
from plxnix.pyenv.copies import COPIES, has, local_sources, write_copy
from plxnix.pyenv.lock import EnvironmentLock

__all__ = ["LIBRARY", "LOCK", "TOOLCHAINS", "Written", "render", "write_folder"]

#: The lock's name in the folder, and that of the folder of what all such folders share.
LOCK: Final = "pylock.toml"
LIBRARY: Final = "plxnix"

#: Where the Python of an environment is from.
TOOLCHAINS: Final = ("host", "nixpkgs")

#: What the flake of a universal lock is for, beside the lock's own platforms.
_SYSTEMS: Final = ("x86_64-linux", "aarch64-linux", "x86_64-darwin", "aarch64-darwin")

#: Which files were written, and their hashes: so that those which people have edited are known.
#: Beside these it has the toolchain.
_WRITTEN: Final = f"{LIBRARY}/written.json"
_TOOLCHAIN: Final = "toolchain"

_HERE: Final = Path(__file__).parent

#: What is copied into `LIBRARY`.
_SHARED: Final = (
    _HERE / "builder.py",
    _HERE / "wheel_builder.py",
    _HERE / "nixlib",
    _HERE.parent / "recipes" / "git.sh",
)


@dataclass(frozen=True)
class Written:
    """What `write_folder` did: names of files that are new, and of edited ones that it kept."""

    changed: tuple[str, ...]
    kept: tuple[str, ...]


def render(lock: EnvironmentLock, toolchain: str = "host") -> dict[str, str]:
    """Return the files of a folder for a lock, by name; raise `InvalidValue` for no toolchain."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    if toolchain not in TOOLCHAINS:
        raise InvalidValue(f"no toolchain is {toolchain!r}", f"there are {', '.join(TOOLCHAINS)}")
    environment = Environment(
        loader=PackageLoader("plxnix.pyenv", "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Nix, not HTML; values are quoted as strings of Nix
    )
    nixpkgs = toolchain == "nixpkgs"
    platforms = [str(one) for one in lock.plxnix.get("platforms", ["x86_64-linux"])]
    first = platforms[0]
    universal = lock.plxnix.get("inputs", {}).get("universal", False)
    systems = list(dict.fromkeys([*map(_system, platforms), *(_SYSTEMS if universal else ())]))
    known = {
        "nixpkgs": nixpkgs,
        "url": string(NIXPKGS),
        "pkgs": "import <nixpkgs> { }" if nixpkgs else "null",
        "python": f"python{lock.plxnix.get('python', '3')}",
        "platform": "" if first in systems else string(first),
        "systems": [string(one) for one in systems],
    }
    names = ("default.nix", "shell.nix", "flake.nix")
    files = {name: environment.get_template(f"{name}.j2").render(known) for name in names}
    return {**files, LOCK: lock.text, **_shared()}


def write_folder(
    folder: str | os.PathLike[str],
    lock: EnvironmentLock,
    toolchain: str | None = None,
    force: bool = False,
) -> Written:
    """Write a folder for a lock, all of its files or none, behind copies of local sources.

    Without a `toolchain` it keeps that which it has, and a new one has `host`.
    A file that was edited since it was written is kept, unless `force`. A copy that has the hash of
    the lock stays; then its source need not be there. Raises `InvalidValue` if a file is in the
    way that was never written by this, or a source cannot be read, `HashMismatch` if one is not as
    it was locked, `ExportError` if something cannot be written.
    """
    place = Path(folder)
    written = _written(place)
    toolchain = toolchain or written.get(_TOOLCHAIN, "host")
    files = render(lock, toolchain)
    changed, kept, foreign = [], [], []
    for name, text in files.items():
        there = _contents(place / name)
        if there is None or there == text.encode():
            changed += [name] if there is None else []
        elif name == LOCK or force or written.get(name) == _hash(there):
            changed.append(name)
        elif name in written:
            kept.append(name)
        else:
            foreign.append(name)
    local = {f"{COPIES}/{name}": (name, *found) for name, found in local_sources(lock).items()}
    stale = [name for name, (_, _, digest) in local.items() if not has(place / name, digest.sri)]
    for name in stale:
        ours = force or has(place / name, written.get(name, ""))
        foreign += [name] if os.path.lexists(place / name) and not ours else []
    if foreign:
        raise InvalidValue(
            f"{os.fspath(folder)!r} has {', '.join(foreign)}, which plxnix did not write",
            "take another folder, or --force to write over it",
        )
    for name in stale:
        write_copy(*local[name], place / name)
    hashes = {name: _hash(text.encode()) for name, text in files.items() if name != LOCK}
    hashes.update({name: written[name] for name in kept})
    hashes.update({name: digest.sri for name, (_, _, digest) in local.items()})
    hashes[_TOOLCHAIN] = toolchain
    ready = {place / name: text for name, text in files.items() if name not in kept}
    known = json.dumps(hashes, indent=1, sort_keys=True) + "\n"
    write_files({**ready, place / _WRITTEN: known})
    for name, digest in written.items():
        copy = place / name
        ours = copy.parent.resolve() == place.resolve() / COPIES
        if ours and name not in local and has(copy, digest):
            shutil.rmtree(copy) if copy.is_dir() else copy.unlink()
    return Written((*changed, *stale), tuple(kept))


def _system(platform: str) -> str:
    """Return the system of Nix that a platform of wheels belongs to."""
    machine, _, kind = platform.partition("-")
    return f"{machine}-{'darwin' if kind == 'darwin' else 'linux'}"


def _shared() -> dict[str, str]:
    """Return what is copied into the folder, by name."""
    found = {}
    for top in _SHARED:
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file():
                below = path.relative_to(top.parent).as_posix()
                found[f"{LIBRARY}/{below}"] = path.read_text(encoding="utf-8")
    return found


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _contents(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidValue(f"{os.fspath(path)!r}: {error.strerror}") from None


def _written(place: Path) -> Mapping[str, str]:
    data = _contents(place / _WRITTEN)
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
