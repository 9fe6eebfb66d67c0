"""Reading the requirements that files have, one text each, and where they are to be found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plxnix.errors import InvalidValue
from plxnix.pyenv.target import extra
from plxnix.pyenv.toml import loads

__all__ = ["indexes", "of_file", "of_project", "shown"]

#: How deep files of requirements may include each other.
_DEPTH = 16

#: Options that say where packages are.
_INDEX = re.compile(r"(-f|-i|--(?:find-links|index-url|extra-index-url))[\s=]*(.+)")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
_LONG = {"-f": "--find-links", "-i": "--index-url"}


def of_file(path: Path) -> Iterator[str]:
    """Return the requirements of a file and of those that it includes, without its options.

    Raises `InvalidValue` for what cannot be read, and for too many files in each other.
    """
    return (line for _, line in _lines(path) if not line.startswith("-"))


def indexes(path: Path) -> Iterator[str]:
    """Return the options of a file, and of those that it includes, that say where packages are.

    They have their long names, and absolute paths; what a path has of variables is filled in.
    Raises what `of_file` raises.
    """
    for folder, line in _lines(path):
        if line == "--no-index":
            yield line
        elif found := _INDEX.fullmatch(line):
            option, place = _LONG.get(found[1], found[1]), found[2]
            if option == "--find-links":
                place = _VARIABLE.sub(lambda one: os.environ.get(one[1], one[0]), place)
                place = place if "://" in place else os.path.abspath(folder / place)
            yield f"{option} {place}"


def _lines(path: Path, depth: int = _DEPTH) -> Iterator[tuple[Path, str]]:
    """Return each line without its comment, and the folder of its file."""
    if depth == 0:
        raise InvalidValue(
            f"{shown(path)} includes files {_DEPTH} deep", "does one include itself?"
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidValue(f"{shown(path)} is not UTF-8: {error}", "save it as that") from None
    except OSError as error:
        raise InvalidValue(f"{shown(path)} cannot be read: {error.strerror}") from None
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        bare = re.sub(r"(^|\s)#.*", "", line).strip()
        included = re.fullmatch(r"(?:-r|--requirement)[\s=]*(.+)", bare)
        if included is not None and "://" not in included[1]:
            yield from _lines(path.parent / included[1], depth - 1)
        elif bare:
            yield path.parent, bare


def shown(path: Path) -> str:
    """Return a path as messages have it."""
    return repr(os.path.normpath(path))


def of_project(path: Path, extras: tuple[str, ...], groups: tuple[str, ...]) -> Iterator[str]:
    """Return the requirements of a `pyproject.toml`, with those of its extras and groups.

    What a build backend would add (`dynamic`) is not there.
    """
    content = loads(path.read_text(errors="replace"), os.fspath(path))
    project = content.get("project", {})
    yield from _texts(project.get("dependencies", []))
    canonical = extra("packaging.utils").canonicalize_name
    optional, named = (
        {canonical(name): part for name, part in parts.items()}
        for parts in (
            project.get("optional-dependencies", {}),
            content.get("dependency-groups", {}),
        )
    )
    for one in extras:
        yield from _texts(optional.get(canonical(one), []))
    waiting, seen = [canonical(one) for one in groups], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        part = named.get(name, [])
        yield from _texts(part)
        included = [one.get("include-group") for one in part if isinstance(one, dict)]
        waiting += [canonical(one) for one in included if isinstance(one, str)]


def _texts(part: list[Any]) -> Iterator[str]:
    return (one for one in part if isinstance(one, str))
