"""Locks of Python environments: `pylock.toml` (PEP 751) with one table of ours, `[tool.plxnix]`.

A lock is taken for hostile: it may have been edited by hand, or come from elsewhere. What is not as
it must be is an error that names the package.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plxnix.errors import InvalidLock, InvalidValue, NoDistribution
from plxnix.model import path_text
from plxnix.pyenv.distribution import AGAIN, Distribution, Reader, wrong
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.providers import Providers, provider_orders
from plxnix.pyenv.table import checked_table
from plxnix.pyenv.target import Target, extra
from plxnix.pyenv.toml import loads
from plxnix.pyenv.wheel_tags import told_wheels

if TYPE_CHECKING:
    from packaging.pylock import Package, Pylock

__all__ = ["Distribution", "EnvironmentLock"]


@dataclass(frozen=True)
class EnvironmentLock:
    """A lock that has been read; `folder` is what its paths are relative to."""

    pylock: Pylock
    text: str
    folder: Path
    where: str = "pylock.toml"
    plxnix: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> EnvironmentLock:
        """Read a file; raise `InvalidLock`, `OSError`, or `MissingExtra` without packaging."""
        place = Path(path_text(path, "the lock"))
        try:
            text = place.read_bytes().decode()
        except UnicodeDecodeError as error:
            raise InvalidLock(f"{os.fspath(path)!r} is not UTF-8: {error}", AGAIN) from None
        return cls.parse(text, place.parent, os.fspath(path))

    @classmethod
    def parse(
        cls, text: str, folder: str | os.PathLike[str] = ".", where: str = "pylock.toml"
    ) -> EnvironmentLock:
        """Read a text, as `read` reads a file; every distribution in it is checked."""
        pylock = extra("packaging.pylock")
        try:
            content = loads(text, where)
        except InvalidValue as error:
            raise InvalidLock(error.message, AGAIN) from None
        try:
            read = pylock.Pylock.from_dict(content)
        except (pylock.PylockValidationError, pylock.PylockUnsupportedVersionError) as error:
            named = _named(content, str(error))
            raise InvalidLock(f"{where}{_of(named)}: {error}", AGAIN, named) from None
        ours = (read.tool or {}).get("plxnix", {})
        lock = cls(read, text, Path(folder), where, checked_table(ours, where))
        _ = list(lock._files())
        return lock

    @classmethod
    def of_tables(cls, tables: Sequence[Any], where: str) -> EnvironmentLock:
        """Return the lock of packages that are tables as in `[[packages]]`."""
        content = {"lock-version": "1.0", "created-by": "plxnix", "packages": tables}
        pylock = extra("packaging.pylock")
        try:
            read = pylock.Pylock.from_dict(content)
        except pylock.PylockValidationError as error:
            raise InvalidLock(f"{where}: {error}", AGAIN) from None
        return cls(read, "", Path(), where)

    # -- what is in it -------------------------------------------------------------------------

    def files(self) -> Iterator[Distribution]:
        """Return all files in it, for whatever platform, and of what is built with, too.

        Raises `InvalidLock`.
        """
        yield from self._files()
        for name, tables in self.plxnix.get("build", {}).items():
            yield from self._within(f"build of {name}", tables)._files()
        if self.installer is not None:
            yield self.installer

    @property
    def installer(self) -> Distribution | None:
        """The wheel of PyPA's installer that environments are built with; None without ours."""
        table = self.plxnix.get("installer")
        if table is None:
            return None
        wheel = {key: table[key] for key in ("url", "path") if key in table}
        wheel["hashes"] = {"sha256": table.get("sha256")}
        content = {"name": table.get("name"), "version": table.get("version"), "wheels": [wheel]}
        return self._within("installer", [content]).select(Target())[0]

    @property
    def requested(self) -> frozenset[str]:
        """The names of the packages that were asked for, as far as that is known."""
        return frozenset(self.plxnix.get("requested", ()))

    @property
    def inputs(self) -> Inputs:
        """What it was made from; raise `InvalidLock` if it does not say."""
        table = self.plxnix.get("inputs")
        if table is None:
            raise InvalidLock(
                f"{self.where} does not say what it was made from",
                "take it as a requirement: plxnix env lock -r pylock.toml",
            )
        above = {key: self.plxnix[key] for key in ("python", "platforms") if key in self.plxnix}
        return Inputs.from_table({**table, **above}, self.where)

    def select(
        self,
        target: Target,
        extras: Collection[str] = (),
        groups: Collection[str] | None = None,
        providers: Providers | None = None,
    ) -> tuple[Distribution, ...]:
        """Return what to install on `target`, sorted by name, with what builds it.

        `groups`: dependency groups; None for those that the lock has as its default. `providers`:
        None for those that it was made with. A package that they do not name is taken from its best
        wheel, and from its sdist only where the lock has no wheel of it at all. Costs one
        evaluation for each package. Raises `NoDistribution` if a package has nothing for `target`,
        `InvalidLock` for what must not be in a lock, and `InvalidValue` for unknown extras, groups
        and providers.
        """
        return tuple(
            one if one.kind == "wheel" else replace(one, build=self._build(one.name, target))
            for one in self.choose(target, extras, groups, providers)
        )

    def choose(
        self,
        target: Target,
        extras: Collection[str] = (),
        groups: Collection[str] | None = None,
        providers: Providers | None = None,
    ) -> tuple[Distribution, ...]:
        """Return what `select` returns, without build environments, which need not be there."""
        if providers is None:
            providers = self.inputs.providers if "inputs" in self.plxnix else {}
        pylock = extra("packaging.pylock")
        self._check_names("extra", extras, self.pylock.extras or ())
        self._check_names("group", groups or (), self.pylock.dependency_groups or ())
        orders = provider_orders(providers, {str(one.name) for one in self.pylock.packages})
        default = orders.get("_default")

        def sdist_first(name: str) -> bool:
            order = orders.get(name, default)
            return order is not None and order[:1] == ("sdist",)

        found = []
        try:
            for package, source in self.pylock.select(
                environment=target.markers(),
                tags=target.tags(),
                extras=extras,
                dependency_groups=groups,
                prefer_sdist_predicate=sdist_first,
            ):
                found.append(
                    self._taken(package, source, orders.get(package.name, default), target)
                )
        except pylock.PylockSelectError as error:
            raise self._unselectable(str(error), target) from None
        return tuple(sorted(found, key=lambda one: one.name))

    @property
    def _reader(self) -> Reader:
        ours = self.plxnix
        submodules = ours.get("submodules", ())
        return Reader(self.where, ours.get("sources", {}), self.requested, submodules)

    # -- one package ---------------------------------------------------------------------------

    def _files(self) -> Iterator[Distribution]:
        for package in self.pylock.packages:
            for one in (package.sdist, *(package.wheels or ()), package.archive):
                if one is not None:
                    yield self._reader.file(package, one)

    def _taken(
        self, package: Package, source: Any, order: tuple[str, ...] | None, target: Target
    ) -> Distribution:
        one = self._reader.read(package, source)
        if order is not None and not one.direct and one.kind not in order:
            only = ", ".join(order) or "nixpkgs, which only Nix has"
            raise NoDistribution(
                f"{self.where}: {package.name} has no {' or '.join(order) or 'package'} for "
                f"{target}; its providers are: {only}{_wheels(package, target)}",
                f"add {one.kind!r} to its providers, or lock another version",
                package.name,
            )
        if order is None and one.kind == "sdist" and package.wheels:
            raise NoDistribution(
                f"{self.where}: {package.name} {package.version} has no wheel for {target}"
                f"{_wheels(package, target)}",
                f"its sdist is built if you say so (--provider {package.name}=sdist); or lock "
                "another version, or another platform",
                package.name,
            )
        return one

    def _build(self, name: str, target: Target) -> tuple[Distribution, ...]:
        """Return the locked build environment of a package; what is built for it has its own."""
        tables = self.plxnix.get("build", {}).get(name)
        if tables is None:
            raise wrong(
                self.where, name, "is built from sources, but its build environment is not locked"
            )
        rest = {key: value for key, value in self.plxnix["build"].items() if key != name}
        return self._within(f"build of {name}", tables, rest).select(target)

    def _within(
        self, what: str, tables: Sequence[Any], build: Mapping[str, Any] | None = None
    ) -> EnvironmentLock:
        within = self.of_tables(tables, f"{self.where}: {what}")
        return replace(within, folder=self.folder, plxnix={"build": build or {}})

    # -- errors --------------------------------------------------------------------------------

    def _check_names(self, what: str, asked: Iterable[str], known: Iterable[str]) -> None:
        for one in asked:
            if one not in known:
                names = ", ".join(sorted(known)) or "none"
                raise InvalidValue(f"{self.where} has no {what} {one!r}", f"it has {names}")

    def _unselectable(self, said: str, target: Target) -> NoDistribution:
        places = re.findall(r"packages\[(\d+)\]", said)
        if not places:
            return NoDistribution(
                f"{self.where} is not for {target}: {said}",
                "lock it for this Python and platform, or with --universal",
            )
        package = self.pylock.packages[int(places[0])]
        if len(places) > 1:
            return NoDistribution(
                f"{self.where}: {package.name} is there twice for {target}",
                f"their markers must exclude each other; {AGAIN}",
                package.name,
            )
        if package.requires_python and "does not satisfy" in said:
            what, hint = f"needs Python {package.requires_python}, but this is for {target}", ""
        else:
            what, hint = (
                f"has no wheel for {target}{_wheels(package, target)}",
                "and there is no sdist: ",
            )
        return NoDistribution(
            f"{self.where}: {package.name} {package.version or ''} {what}",
            f"{hint}lock another version, or another platform",
            package.name,
        )


def _wheels(package: Package, target: Target) -> str:
    return told_wheels([wheel.filename for wheel in package.wheels or ()], target)


def _named(content: Mapping[str, Any], said: str) -> str:
    """Return the name of the package that a message of packaging is about, if it can be told."""
    place = re.search(r"packages\[(\d+)\]", said)
    packages = content.get("packages")
    if place is None or not isinstance(packages, list) or int(place[1]) >= len(packages):
        return ""
    name = packages[int(place[1])].get("name") if isinstance(packages[int(place[1])], dict) else ""
    return name if isinstance(name, str) else ""


def _of(name: str) -> str:
    return f": {name}" if name else ""
