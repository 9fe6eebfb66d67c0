"""Which package needs which: asked of uv, since a lock does not say (PEP 751 need not)."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from plxnix.builders.package_index import normalized
from plxnix.errors import InvalidLock, ResolutionFailed
from plxnix.pyenv import uv
from plxnix.pyenv.lock import EnvironmentLock

if TYPE_CHECKING:
    from packaging.pylock import Package

__all__ = ["needs"]

_LINE: Final = re.compile(r"(?P<what>[^\s#-].*?|-e .*?)(?:\s+#\s+via\s+(?P<via>.*))?")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def needs(lock: EnvironmentLock) -> dict[str, tuple[str, ...]]:
    """Return for each package those that it needs, and for "" those that nobody else needs.

    uv resolves the inputs of the lock once more, bound to its versions, and says for each package
    what it is there for. What was asked for is below "" too. Raises `ResolutionFailed`, also if the
    inputs have changed since.
    """
    inputs, names = lock.inputs, {str(one.name) for one in lock.pylock.packages}
    if inputs.ready:
        # It may be for more platforms than were asked for.
        names = {one.name for target in inputs.targets for one in lock.choose(target)}
    pinned = "".join(
        f"{one.name}=={one.version}" + (f" ; {one.marker}\n" if one.marker else "\n")
        for one in lock.pylock.packages
        if one.version is not None and not one.is_direct
    )
    with tempfile.TemporaryDirectory(prefix="plxnix-") as place:
        file = Path(place) / "pinned.txt"
        file.write_text(pinned)
        if inputs.ready:
            base, sources, options = Path(place), ["-"], inputs.surroundings()
            text = pinned + "".join(_reference(lock, one) for one in lock.pylock.packages)
        else:
            base, options = inputs.base(lock.folder), inputs.options(lock.folder)
            sources, text = inputs.sources(lock.folder)
        said = uv.run(
            *("pip", "compile", "--quiet", "--no-header", "--annotation-style", "line"),
            *("--constraints", str(file), *options, "--", *sources),
            folder=base,
            text=text,
        )
    found = _read(said, lock, names)
    _complete(found)
    return {name: tuple(sorted(below)) for name, below in sorted(found.items())}


def _read(said: str, lock: EnvironmentLock, names: set[str]) -> dict[str, set[str]]:
    """Read what uv says: a line for each package, with those that it is there for."""
    found: dict[str, set[str]] = {name: set() for name in ("", *names)}
    seen: set[str] = set()
    for line in said.splitlines():
        match = _LINE.fullmatch(line)
        if match is None:
            continue
        named = _NAME.match(match["what"])
        name = normalized(named[0]) if named else ""
        if name not in names:
            name = _at(lock, match["what"])
        seen.add(name)
        whys = [normalized(one) for one in (match["via"] or "").split(", ") if _NAME.fullmatch(one)]
        for why in whys:
            found.setdefault(why, set()).add(name)
        if not whys or name in lock.requested:
            found[""].add(name)
    if lost := names - seen:
        raise ResolutionFailed(
            f"{lock.where} has packages that its inputs no longer need: {', '.join(sorted(lost))}",
            "make it anew: plxnix env lock",
        )
    return found


def _reference(lock: EnvironmentLock, package: Package) -> str:
    """Return the requirement of a package that is at a path or a URL; "" for others."""
    source = package.directory or package.archive or package.vcs
    if source is None:
        return ""
    url = getattr(source, "url", None) or (lock.folder / str(source.path)).resolve().as_uri()
    if package.vcs is not None:
        url = f"{package.vcs.type}+{url}@{package.vcs.commit_id}"
    inner = f"#subdirectory={source.subdirectory}" if source.subdirectory else ""
    return f"{package.name} @ {url}{inner}" + (f" ; {package.marker}\n" if package.marker else "\n")


def _at(lock: EnvironmentLock, what: str) -> str:
    """Return the package that uv calls by its place, since that is how it was asked for."""
    places = [one for one in lock.pylock.packages if one.is_direct]
    for package in places:
        source = package.directory or package.archive
        path = getattr(source, "path", None) or ""
        if path and Path(path).name == Path(what.removeprefix("-e ")).name:
            return str(package.name)
    if len(places) == 1:
        return str(places[0].name)
    raise InvalidLock(f"{lock.where} has no package for {what!r}", "make it anew: plxnix env lock")


def _complete(found: dict[str, set[str]]) -> None:
    """Put below "" one package of each circle that nothing else leads to."""
    reached: set[str] = set()

    def reach(name: str) -> None:
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one not in reached:
                reached.add(one)
                waiting.extend(found.get(one, ()))

    reach("")
    for name in sorted(found):
        if name not in reached:
            found[""].add(name)
            reach(name)
