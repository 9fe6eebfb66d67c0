"""The build context: what a realizer written in Python sees while it runs.

`build_wrapper(f)` turns a function of one `Build` into a realizer. The `build_*` functions answer
its questions: the config, the paths of dependencies, the folders to write into.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

from plxnix.config import Config
from plxnix.errors import InvalidRefpath, InvalidValue, NotInStore
from plxnix.model import Context, DRef, Name, RefPath, RRef, claim, isrefpath, isselfpath, selfref
from plxnix.realize.registry import RealizeArguments, Realizer
from plxnix.realize.run import current_run
from plxnix.store import Store

T = TypeVar("T")


class Build:
    """One run of a realizer.

    `outpaths` are the folders whose contents become realizations, one each; `arguments` is what
    the caller of `realize` passed for this stage. A subclass may carry state of its own; give it
    to `build_wrapper` as `constructor`.
    """

    def __init__(
        self, store: Store, dref: DRef, context: Context, arguments: RealizeArguments | None = None
    ) -> None:
        self.store = store
        self.dref = dref
        self.context = context
        self.arguments: RealizeArguments = arguments or {}
        self.config: Config = store.config(dref)
        self.outpaths: list[Path] = []
        self._attributes: SimpleNamespace | None = None

    def __repr__(self) -> str:
        return f"<build of {self.dref} in {', '.join(map(str, self.outpaths)) or 'no folder yet'}>"


def build_wrapper(
    function: Callable[[Any], object],
    nouts: int | None = 1,
    constructor: Callable[[Store, DRef, Context, RealizeArguments], Build] = Build,
) -> Realizer:
    """Make a realizer of `function`, which takes a `Build` and writes into its output folders.

    There are `nouts` of them, made before the call; with None the function makes them itself by
    `build_setoutpaths`. What it returns is not looked at.
    """

    def realizer(
        store: Store, dref: DRef, context: Context, arguments: RealizeArguments
    ) -> list[Path]:
        build = constructor(store, dref, context, arguments)
        if nouts is not None:
            build_setoutpaths(build, nouts)
        function(build)
        return build.outpaths

    return realizer


def build_setoutpaths(build: Build, nouts: int) -> list[Path]:
    """Make `nouts` empty output folders, once in a build; raise `InvalidValue` the second time."""
    if build.outpaths:
        raise InvalidValue(
            f"the output folders of {build.dref} are already made: {len(build.outpaths)}",
            "say build_wrapper(f, nouts=None) if the realizer itself sets their number",
        )
    if not isinstance(nouts, int) or nouts < 1:
        raise InvalidValue(f"nouts is {nouts!r}", "it is a whole number of at least 1")
    work = build.store.session()
    build.outpaths = [Path(work.folder(build.dref.name)) for _ in range(nouts)]
    run = current_run()
    if run is not None:
        run.folders.extend(build.outpaths)
    return build.outpaths


def build_outpaths(build: Build) -> list[Path]:
    """Return the output folders; raise `InvalidValue` if they are not made yet."""
    if not build.outpaths:
        raise InvalidValue(
            f"the output folders of {build.dref} are not made yet",
            "call build_setoutpaths(build, n) first, or give nouts to build_wrapper",
        )
    return build.outpaths


def build_outpath(build: Build) -> Path:
    """Return the only output folder; raise `InvalidValue` if there are several or none."""
    return _single(build_outpaths(build), "output folder", build)


def build_config(build: Build) -> Config:
    """Return the config of the derivation being realized."""
    return build.config


def build_context(build: Build) -> dict[DRef, list[RRef]]:
    """Return the realizations that were selected for each direct dependency."""
    return {dref: list(rrefs) for dref, rrefs in build.context.items()}


def build_cattrs(build: Build) -> Any:
    """Return the config as an object with attributes; promises are refpaths of this derivation.

    The same object comes each time, so a realizer may keep things in it.
    """
    if build._attributes is None:
        build._attributes = SimpleNamespace(**build.config.resolved())
    return build._attributes


def build_name(build: Build) -> Name:
    """Return the name of the derivation being realized."""
    return build.dref.name


def build_deref_(build: Build, dref: str) -> list[RRef]:
    """Return the realizations selected for a direct dependency; raise `NotInStore` for others."""
    found = build.context.get(DRef.parse(dref))
    if found is None:
        raise NotInStore(
            f"{dref} is no dependency of {build.dref}",
            "put the reference into the config: dependencies are found there",
            dref,
        )
    return list(found)


def build_deref(build: Build, dref: str) -> RRef:
    """Return the one realization selected for a dependency; raise `InvalidValue` if several."""
    return _single(build_deref_(build, dref), f"realization of {dref}", build)


def build_paths(build: Build, refpath: list[Any]) -> list[Path]:
    """Return the paths that a refpath or a promise stands for: one for each realization or output.

    `[dref]` alone stands for the folder. Raises `InvalidRefpath`, `NotInStore`.
    """
    if not isinstance(refpath, list) or not refpath:
        raise InvalidRefpath(f"not a refpath: {refpath!r}", "it is a list: [dref, 'dir', 'file']")
    parts = RefPath.make("", refpath[1:])[1:]
    if refpath[0] in (build.dref, selfref, claim):
        return [path.joinpath(*parts) for path in build_outpaths(build)]
    roots = (build.store.path(rref) for rref in build_deref_(build, refpath[0]))
    return [Path(root, *parts) for root in roots]


def build_path(build: Build, refpath: list[Any]) -> Path:
    """Return the one path that a refpath stands for; raise `InvalidValue` if there are several."""
    return _single(build_paths(build, refpath), f"path of {RefPath(refpath)}", build)


def build_environ(build: Build, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables for a program that the realizer runs.

    They are those of `environment` (default: the process's) and one for each top-level field of
    the config: refpaths and references as paths, several of them joined by blanks, other values as
    text; lists and objects that are no refpaths are left out.
    """
    result = dict(os.environ if environment is None else environment)
    for key, value in build.config.items():
        if isinstance(value, (bool, int, float, str)) and not _is_dependency(build, value):
            result[key] = str(value)
        elif isinstance(value, str):
            result[key] = " ".join(map(str, build_paths(build, [value])))
        elif isrefpath(value) or isselfpath(value):
            result[key] = " ".join(map(str, build_paths(build, value)))
    return result


def _is_dependency(build: Build, value: Any) -> bool:
    return isinstance(value, str) and value in build.context


def _single(found: list[T], what: str, build: Build) -> T:
    if len(found) != 1:
        raise InvalidValue(
            f"{build.dref} has not one {what} but {len(found)}",
            "use the function that returns a list (build_outpaths, build_deref_, build_paths)",
        )
    return found[0]
