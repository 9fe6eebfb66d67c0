"""What a lock is made from: requirements and options, which the lock keeps, to be made again."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from plxnix.errors import InvalidLock, InvalidValue
from plxnix.pyenv.requirements import indexes, of_file, of_project, shown
from plxnix.pyenv.target import Target, extra
from plxnix.pyenv.toml import loads

__all__ = ["Inputs"]

#: Credentials in a URL; a user alone is none for ssh.
_SECRET = re.compile(r"(?<=http)s?://[^/\s@]*@|://[^/\s@]*:[^/\s@]*@")

_HASH = re.compile(r"\s--hash[=\s]+(\w+):([0-9A-Fa-f]+)")

#: Files of other tools, which uv does not read, with what to give instead.
_FOREIGN = {
    "Pipfile": "give what `pipenv requirements` writes",
    "Pipfile.lock": "give what `pipenv requirements` writes",
    "environment.yml": "its packages may be wheels today: give a file of requirements",
    "pdm.lock": "give its pyproject.toml, or what `pdm export` writes",
    "pixi.lock": "its packages may be wheels today: give a file of requirements",
    "poetry.lock": "give its pyproject.toml, or what `poetry export` writes",
}


@dataclass(frozen=True)
class Inputs:
    """Requirements and options; paths of files are relative to the folder of the lock.

    `files` are requirements files, `pyproject.toml`, or one `pylock.toml` or `uv.lock`, told by
    their names; requirements files and constraints may be URLs. Paths in requirements are relative
    to the folder of the first file, where uv runs; those of `requirements`, which begin with `./`
    or `../`, to that of the lock. `platforms` are those that the lock is proven for; with more than
    one, or with `universal`, it is good for all that the packages are good for. `providers` are
    those of `select`, `collisions` those of `python_env`.
    """

    requirements: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    python: str = "3.11"
    platforms: tuple[str, ...] = ("x86_64-linux",)
    universal: bool = False
    exclude_newer: str = ""
    providers: Mapping[str, str] = field(default_factory=dict)
    collisions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.requirements and not self.files and not self.groups:
            raise InvalidValue("there are no requirements", "give -r FILE, or -p NAME")
        if not self.platforms:
            raise InvalidValue("there are no platforms to lock for")
        for one in (*self.requirements, *self.files, *self.constraints):
            if not one or one.startswith("-") or "\n" in one or "\0" in one:
                raise InvalidValue(f"not a requirement, nor the name of a file: {one!r:.80}")
            if _SECRET.search(one):
                raise InvalidValue(
                    f"{_SECRET.sub('://****@', one)!r:.200} holds a user or a password",
                    "a lock is kept and shared: put credentials into ~/.netrc",
                )
        for one in self.files:
            if hint := _FOREIGN.get(os.path.basename(one)):
                raise InvalidValue(f"{one!r} is of a kind that is not read", hint)
            if is_url(one) and (self.ready or one.endswith("pyproject.toml")):
                raise InvalidValue(f"{one!r} is not read from a URL", "download it first")
        if self.ready and (len(self.files) > 1 or self.requirements or self.constraints):
            raise InvalidValue(
                f"{self.files[0]!r} is a lock already, so it takes nothing beside it",
                "make an environment of it alone, or of requirements",
            )
        for one in self.collisions:
            if not one or one.startswith("/") or not one.isprintable():
                raise InvalidValue(
                    f"not a pattern of paths in an environment: {one!r:.80}",
                    "such as 'lib/*/site-packages/tests/*'",
                )
        _ = self.targets

    @classmethod
    def from_table(cls, table: Mapping[str, Any], where: str) -> Inputs:
        """Read the table that `table` wrote; raise `InvalidLock` for another one."""
        given: dict[str, Any] = {}
        for one in fields(cls):
            if one.name not in table:
                continue
            value, fits = table[one.name], False
            if one.name == "providers":
                fits = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
            elif one.name == "universal":
                fits = isinstance(value, bool)
            elif one.name in ("python", "exclude_newer"):
                fits = isinstance(value, str)
            elif isinstance(value, list) and all(isinstance(item, str) for item in value):
                value, fits = tuple(value), True
            if not fits:
                raise InvalidLock(f"{where}: [tool.plxnix.inputs] {one.name} is {value!r:.80}")
            given[one.name] = value
        try:
            return cls(**given)
        except InvalidLock:
            raise
        except InvalidValue as error:
            raise InvalidLock(
                f"{where}: [tool.plxnix.inputs]: {error.message}", error.hint
            ) from None

    def table(self) -> dict[str, Any]:
        """Return what the lock keeps: what is not empty, without Python and the platforms."""
        held = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.name not in ("python", "platforms")
        }
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in held.items()
            if value not in ((), "", False, {})
        }

    @property
    def targets(self) -> tuple[Target, ...]:
        """What the lock has to be good for."""
        return tuple(Target(self.python, platform) for platform in self.platforms)

    @property
    def ready(self) -> bool:
        """Whether the first file is a lock already, so that there is nothing to resolve."""
        return bool(self.files) and is_lock(self.files[0])

    def options(self, folder: Path) -> list[str]:
        """Return the options of `uv pip compile` that stand for these.

        Raises `InvalidValue` if a file is not there.
        """
        found = self.surroundings()
        for one in (*self.files, *self.constraints):
            if not is_url(one) and not (folder / one).is_file():
                raise InvalidValue(
                    f"there is no file {os.path.normpath(folder / one)!r}",
                    "its name is in -r or -c",
                )
        there = self._seen_from(folder)
        found += [word for one in self.constraints for word in ("--constraints", there(one))]
        found += [word for one in self.extras for word in ("--extra", one)]
        projects = [one for one in self.files if _is_project_file(one)]
        for group in self.groups:
            found += ["--group", f"{there(projects[0])}:{group}" if projects else group]
        for name, order in self.providers.items():
            if name != "_default" and order.split(",")[0].strip() == "sdist":
                found += ["--no-binary", name]
        return found

    def base(self, folder: Path) -> Path:
        """Return the folder in which uv runs for a lock in `folder`."""
        found = self.files and not is_url(self.files[0])
        return (folder / self.files[0]).parent if found else folder

    def sources(self, folder: Path) -> tuple[list[str], str]:
        """Return the files for uv, as seen from `base`, and the text of what is no file (`-`).

        A `pyproject.toml` that is of no project is none of them: it is there for its groups. Raises
        `InvalidValue` if no group is asked for.
        """
        there = self._seen_from(folder)
        lines = [there(one) if is_local(one) else one for one in self.requirements]
        found = [
            there(one)
            for one in self.files
            if not _is_project_file(one) or self._of_project(folder / one)
        ]
        return found + ["-"] * bool(lines), "".join(f"{one}\n" for one in lines)

    def _of_project(self, path: Path) -> bool:
        content = loads(path.read_text(errors="replace"), os.fspath(path))
        if "project" in content or "build-system" in content:
            return True
        if any((path.parent / name).exists() for name in ("setup.py", "setup.cfg")):
            return True
        if not self.groups:
            raise InvalidValue(
                f"{shown(path)} is of no project: it has no [project], nor [build-system]",
                "--group NAME takes one of its [dependency-groups]"
                if "dependency-groups" in content
                else "give a file of requirements",
            )
        return False

    def _seen_from(self, folder: Path) -> Callable[[str], str]:
        folder = folder.resolve()
        base = os.path.abspath(self.base(folder))

        def seen(path: str) -> str:
            if is_url(path):
                return path
            found = os.path.relpath(os.path.abspath(folder / path), base)
            return found if found.startswith(".") else f"./{found}"

        return seen

    def surroundings(self) -> list[str]:
        """Return those options that hold for what builds packages too: platform and time."""
        found = ["--python-version", self.python.removesuffix("t")]
        if self.universal or len(self.platforms) > 1:
            found.append("--universal")
        else:
            found += ["--python-platform", self.targets[0].uv_platform()]
        if self.exclude_newer:
            found += ["--exclude-newer", self.exclude_newer]
        return found

    def indexes(self, folder: Path) -> str:
        """Return lines that say where packages are, as the requirements files do."""
        read = [one for one in self.files if not (self.ready or _is_project_file(one))]
        found = (line for one in read if not is_url(one) for line in indexes(folder / one))
        return "".join(f"{line}\n" for line in dict.fromkeys(found))

    def requested(self, folder: Path) -> set[str]:
        """Return the normalized names that are asked for; what has no name is left out."""
        return set(self._pinned(folder))

    def hashes(self, folder: Path) -> dict[str, set[str]]:
        """Return for each package that a file gives a `--hash=sha256:` all of these, in hex.

        Raises `InvalidValue` for one with other hashes only: a lock could not hold them.
        """
        return {name: found for name, found in self._pinned(folder).items() if found}

    def _pinned(self, folder: Path) -> dict[str, set[str]]:
        requirements = extra("packaging.requirements")
        canonical = extra("packaging.utils").canonicalize_name
        found: dict[str, set[str]] = {}
        for line in self._lines(folder):
            given = _HASH.findall(line)
            digests = {two.lower() for one, two in given if one == "sha256"}
            try:
                name = requirements.Requirement(_HASH.sub("", line).strip()).name
            except requirements.InvalidRequirement:
                continue
            if given and not digests:
                raise InvalidValue(
                    f"{name} has a hash that nothing is compared with: {given[0][0]}",
                    "give the sha256, as `pip hash FILE` does; others may be beside it",
                )
            found.setdefault(canonical(name), set()).update(digests)
        return found

    def _lines(self, folder: Path) -> Iterator[str]:
        yield from self.requirements
        for one in self.files:
            if _is_project_file(one):
                yield from of_project(folder / one, self.extras, self.groups)
            elif not is_lock(one) and not is_url(one):
                yield from of_file(folder / one)


def is_lock(name: str) -> bool:
    """Tell by its name whether a file is a lock: `pylock.toml`, `pylock.NAME.toml`, `uv.lock`."""
    return bool(re.fullmatch(r"pylock(\.[^.]+)?\.toml|uv\.lock", os.path.basename(name)))


def is_local(requirement: str) -> bool:
    """Tell whether a requirement is a path: it begins with `/`, `./` or `../`, or is `.[EXTRA]`."""
    return bool(re.match(r"/|\.\.?(?:/|\[|$)", requirement))


def is_url(name: str) -> bool:
    """Tell whether what is named as a file is at a URL; uv reads it then."""
    return name.lower().startswith(("https://", "http://"))


def _is_project_file(name: str) -> bool:
    return os.path.basename(name) == "pyproject.toml"
