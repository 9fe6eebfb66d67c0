"""The distributions that a lock names: what is fetched for each package, all of it checked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote, urlsplit

from plxnix.errors import InvalidLock, InvalidValue
from plxnix.nix.hashes import Hash
from plxnix.pyenv.target import extra
from plxnix.recipes.urls import check_url

if TYPE_CHECKING:
    from packaging.pylock import Package

__all__ = ["AGAIN", "Distribution", "Reader", "around", "wrong"]

#: What to do about a lock that is wrong.
AGAIN: Final = "make it anew: plxnix env lock"

_FILENAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]*")
_SHA256: Final = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True)
class Distribution:
    """One thing to fetch and to install.

    `name` is normalized. `kind` is `wheel`, `sdist` (any archive of sources), `directory` or `vcs`.
    `sha256` is that of the file; for `directory` and `vcs` that of the tree's NAR. Of `url` and
    `path` (relative to the lock's folder, with slashes) one is empty. `filename` is the last part
    of either, and has no slash. `direct`: asked for by URL or path, so that `direct_url.json` is
    due. `requested`: named by who made the lock. `build`: for what is built, its build environment.
    `subdirectory` is where in the sources the project is; `commit` the commit of a `vcs`, which may
    have `submodules`.
    """

    name: str
    version: str
    kind: str
    filename: str
    url: str
    sha256: Hash
    path: str = ""
    requested: bool = False
    direct: bool = False
    editable: bool = False
    subdirectory: str = ""
    commit: str = ""
    submodules: bool = False
    build: tuple[Distribution, ...] = ()


@dataclass(frozen=True)
class Reader:
    """Reads distributions of the lock `where`, whose table has `sources` (hashes by name), and
    names those with `submodules`.
    """

    where: str
    sources: Mapping[str, str] = field(default_factory=dict)
    requested: Collection[str] = ()
    submodules: Collection[str] = ()

    def read(self, package: Package, source: Any) -> Distribution:
        """Return what a source of a package is; raise `InvalidLock` for what must not be there."""
        if source is package.vcs or source is package.directory:
            return self._tree(package, source)
        return self.file(package, source)

    def file(self, package: Package, source: Any) -> Distribution:
        """Return a file of a package, as `read` does."""
        name, version = str(package.name), str(package.version or "")
        direct = source is package.archive
        hashes = source.hashes
        if "sha256" not in hashes:
            raise self._wrong(
                name, f"has no sha256, but {', '.join(sorted(hashes))}: only that is taken"
            )
        if not _SHA256.fullmatch(hashes["sha256"]):
            raise self._wrong(
                name, f"has {hashes['sha256']!r:.80} as a sha256: it has 64 hex digits"
            )
        url, path = self._place(name, source.url, source.path)
        filename = getattr(source, "name", None) or unquote(
            (urlsplit(url).path if url else path).rpartition("/")[2]
        )
        if not _FILENAME.fullmatch(filename) or len(filename) > 200:
            raise self._wrong(name, f"has {filename!r:.80} as the name of a file")
        kind = "wheel" if filename.endswith(".whl") else "sdist"
        if direct and kind == "wheel":
            utils = extra("packaging.utils")
            try:
                named, number, _, _ = utils.parse_wheel_filename(filename)
            except (utils.InvalidWheelFilename, utils.InvalidVersion) as error:
                raise self._wrong(name, f"has an archive that is no wheel: {error}") from None
            if named != name:
                raise self._wrong(name, f"has a wheel of {named}: {filename!r}")
            version = version or str(number)
        return Distribution(
            name=name,
            version=version,
            kind=kind,
            filename=filename,
            url=url,
            sha256=Hash.parse(hashes["sha256"].lower(), "sha256"),
            path=path,
            requested=name in self.requested,
            direct=direct,
            subdirectory=self._inner(name, getattr(source, "subdirectory", None)),
        )

    def _tree(self, package: Package, source: Any) -> Distribution:
        """Return a directory or a commit, whose NAR hash is in our table."""
        name = str(package.name)
        kind = "vcs" if source is package.vcs else "directory"
        known = self.sources.get(name)
        if known is None:
            raise self._wrong(
                name, f"is a {kind} without a hash in [tool.plxnix.sources]: it cannot be pinned"
            )
        commit = ""
        if kind == "vcs":
            commit = source.commit_id
            if source.type != "git" or not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", commit):
                raise self._wrong(name, f"is at {source.type} {commit!r:.80}: only commits of git")
        url, path = self._place(name, getattr(source, "url", None), source.path, ("ssh", "git"))
        return Distribution(
            name=name,
            version=str(package.version or ""),
            kind=kind,
            filename=name,
            url=url,
            sha256=Hash.parse(known, "sha256"),
            path=path,
            requested=name in self.requested,
            direct=True,
            editable=bool(getattr(source, "editable", None)),
            subdirectory=self._inner(name, source.subdirectory),
            commit=commit,
            submodules=kind == "vcs" and name in self.submodules,
        )

    def _place(
        self, name: str, url: str | None, path: str | None, more: Sequence[str] = ()
    ) -> tuple[str, str]:
        if url:
            if url.lower().startswith("file:"):
                path = unquote(url[len("file:") :]).removeprefix("//")
                hint = "ask for the folder as it is"
                if not more:
                    hint = "uv takes such files from folders (UV_FIND_LINKS, --find-links): "
                    hint += "leave these out, and ask for the file itself"
                raise InvalidLock(
                    f"{self.where}: {name} cannot be fetched from {url!r:.300} elsewhere",
                    f"{hint}: -p {shlex.quote(path)}",
                    name,
                )
            try:
                check_url(url, ("http", "https", *more))
            except InvalidValue as error:
                raise self._wrong(name, f"cannot be fetched: {error.message}") from None
            return url, ""
        parts = (path or "").split("/")
        if path and {"", ".", ".."}.issuperset(parts) and not path.startswith("/"):
            raise around(self.where, name, path)
        if not path or path.startswith(("/", "~")) or "\\" in path or "\0" in path or "" in parts:
            raise self._wrong(name, f"has {path!r:.80} as a path: it is relative, with slashes")
        return "", path

    def _inner(self, name: str, subdirectory: str | None) -> str:
        if subdirectory and (
            subdirectory.startswith("/") or "\0" in subdirectory or ".." in subdirectory.split("/")
        ):
            raise self._wrong(name, f"has {subdirectory!r:.80} as a folder in its sources")
        return subdirectory or ""

    def _wrong(self, name: str, what: str) -> InvalidLock:
        return wrong(self.where, name, what)


def around(where: str, name: str, path: str) -> InvalidLock:
    """Return the error that a project of a lock holds the lock's own folder."""
    return InvalidLock(
        f"{where}: {name} is the project at {path!r}, which holds the lock's own folder: its hash "
        "would be part of itself",
        "put the folder of the environment elsewhere, outside of the project",
        name,
    )


def wrong(where: str, name: str, what: str) -> InvalidLock:
    """Return the error that something is wrong with one package of a lock."""
    return InvalidLock(f"{where}: {name} {what}", AGAIN, name)
