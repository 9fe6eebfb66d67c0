"""Build contexts of Pylightnix."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from plxnix.compat.pylightnix.contexts import context_deref
from plxnix.compat.pylightnix.derivations import output_realizer
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.files import trycatch, writestr
from plxnix.compat.pylightnix.functions import START, STOP
from plxnix.compat.pylightnix.names import (
    assert_valid_refpath,
    cfgcattrs,
    cfgdict,
    cfgname,
)
from plxnix.compat.pylightnix.questions import (
    drefcfg,
    rref2path,
    rrefbdelta,
    rrefbstart,
    rrefbstop,
)
from plxnix.compat.pylightnix.repl import (
    ERR_INACTIVE_RH,
    ReplHelper,
    paused,
    repl_cancel,
    repl_continue1,
)
from plxnix.compat.pylightnix.storage import store_of
from plxnix.compat.pylightnix.timing import timestring
from plxnix.compat.pylightnix.types import (
    Build,
    BuildArgs,
    Context,
    DRef,
    InstantiateArg,
    Name,
    Output,
    Path,
    PylightnixException,
    RConfig,
    RealizeArg,
    Realizer,
    RefPath,
    RRef,
    StorageSettings,
)
from plxnix.compat.pylightnix.values import isrefpath
from plxnix.errors import RealizeError
from plxnix.store import tree

B = TypeVar("B", bound=Build)


class BuildError(PylightnixException):
    """The function of a realizer raised `exception`; `outpaths` are its folders.

    They are there to be looked at while the process lives.
    """

    def __init__(
        self,
        S: StorageSettings | None,
        dref: DRef,
        outpaths: Output[Path] | None,
        exception: Exception,
        msg: str = "",
    ) -> None:
        super().__init__(msg)
        self.S = S
        self.dref = dref
        self.exception = exception
        self.outpaths: list[Path] = outpaths.val if outpaths else []

    def __str__(self) -> str:
        return f"cannot realize {self.dref}: {self.exception}"


@door()
def mkbuildargs(
    S: StorageSettings | None,
    dref: DRef,
    context: Context,
    starttime: str | None,
    stoptime: str | None,
    iarg: InstantiateArg,
    rarg: RealizeArg,
) -> BuildArgs:
    """Return what a `Build` is made of."""
    store_of(S).config(dref)  # raises NotInStore
    return BuildArgs(S, dref, context, starttime, stoptime, iarg, rarg)


def build_wrapper_(
    f: Callable[[Any], object],
    ctr: Callable[[BuildArgs], Any],
    nouts: int | None = 1,
    starttime: str | None = "AUTO",
    stoptime: str | None = "AUTO",
) -> Realizer:
    """Make a realizer of a function of one build, which `ctr` makes.

    What the function raises leaves as `BuildError`. A time that is given stands for that of the
    clock; None leaves it to plxnix.
    """
    for name, time in (("starttime", starttime), ("stoptime", stoptime)):
        check(time is None or isinstance(time, str), f"{name} is {time!r}", "it is text, or None")

    def wrapped(
        S: StorageSettings | None, dref: DRef, context: Context, rarg: RealizeArg
    ) -> Output[Path]:
        b = ctr(mkbuildargs(S, dref, context, starttime, stoptime, {}, rarg))
        if nouts is not None:
            build_markstart(b, nouts)
        try:
            f(b)
        except Exception as error:  # whatever the user's code raises; it stays as the cause
            build_markstop_noexcept(b)
            raise BuildError(S, dref, b.outpaths, error) from error
        outpaths = Output(build_outpaths(b))
        build_markstop(b)
        return outpaths

    return output_realizer(wrapped)


def build_wrapper(
    f: Callable[[Build], object],
    nouts: int | None = 1,
    starttime: str | None = "AUTO",
    stoptime: str | None = "AUTO",
) -> Realizer:
    """Make a realizer of a function of one `Build`."""
    return build_wrapper_(f, Build, nouts, starttime, stoptime)


def build_config(b: Build) -> RConfig:
    """Return the config of what is being realized."""
    return drefcfg(b.dref, b.S)


def build_context(b: Build) -> Context:
    """Return the (transitive) context of what is being realized."""
    return b.context


def build_cattrs(b: Build) -> Any:
    """Return the config as an object with attributes, the same each time."""
    if b.cattrs_cache is None:
        b.cattrs_cache = cfgcattrs(build_config(b))
    return b.cattrs_cache


@door()
def build_markstart(b: Build, nouts: int) -> list[Path]:
    """Make the output folders, and note the time."""
    check(nouts > 0, f"there are to be {nouts!r} outputs", "there is at least one")
    check(b.outpaths is None, f"the output folders of {b.dref} are already made")
    work = store_of(b.S).session()
    paths = [Path(work.folder(b.dref.name)) for _ in range(nouts)]
    for path in paths:
        if b.starttime is not None:
            time = timestring() if b.starttime == "AUTO" else b.starttime
            writestr(os.path.join(path, START), time)
    b.outpaths = Output(paths)
    return paths


def build_setoutpaths(b: Build, nouts: int) -> list[Path]:
    """Make the output folders: an older name."""
    return build_markstart(b, nouts)


def build_markstop(b: Build) -> None:
    """Note the time at which the outputs were done."""
    if b.stoptime is not None:
        time = timestring() if b.stoptime == "AUTO" else b.stoptime
        for path in b.outpaths.val if b.outpaths else ():
            writestr(os.path.join(path, STOP), time)


def build_markstop_noexcept(b: Build) -> None:
    """Note the time if that is possible."""
    trycatch(lambda: build_markstop(b), None, lambda found: found)


def build_outpaths(b: Build) -> list[Path]:
    """Return the output folders."""
    if b.outpaths is None:
        refuse(
            f"the output folders of {b.dref} are not made yet",
            "give nouts to build_wrapper, or call build_markstart",
        )
    return b.outpaths.val


def build_outpath(b: Build) -> Path:
    """Return the only output folder."""
    paths = build_outpaths(b)
    check(len(paths) == 1, f"{b.dref} has {len(paths)} output folders", "use build_outpaths")
    return paths[0]


def build_name(b: Build) -> Name:
    """Return the name of what is being realized."""
    return cfgname(build_config(b))


def build_deref_(b: Build, dref: DRef) -> list[RRef]:
    """Return what was selected for a dependency."""
    return context_deref(build_context(b), dref)


def build_deref(b: Build, dref: DRef) -> RRef:
    """Return the one realization that was selected for a dependency."""
    rrefs = build_deref_(b, dref)
    check(len(rrefs) == 1, f"{len(rrefs)} realizations of {dref} are selected", "use build_deref_")
    return rrefs[0]


def build_paths(b: Build, refpath: RefPath) -> list[Path]:
    """Return the paths that a refpath stands for."""
    assert_valid_refpath(refpath)
    if refpath[0] == b.dref:
        return [Path(os.path.join(path, *refpath[1:])) for path in build_outpaths(b)]
    rrefs = build_deref_(b, DRef(refpath[0]))
    return [Path(os.path.join(rref2path(rref, b.S), *refpath[1:])) for rref in rrefs]


def build_path(b: Build, refpath: RefPath) -> Path:
    """Return the one path that a refpath stands for."""
    paths = build_paths(b, refpath)
    check(len(paths) == 1, f"{refpath} stands for {len(paths)} paths", "use build_paths")
    return paths[0]


def build_environ(b: Build, env: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return environment variables with the fields of the config; refpaths are paths."""
    variables = dict(os.environ if env is None else env)
    for key, value in cfgdict(build_config(b)).items():
        paths = build_paths(b, value) if isrefpath(value) else []
        variables[str(key)] = str(paths[0] if len(paths) == 1 else value)
    return variables


def repl_buildargs(rh: ReplHelper | None = None) -> BuildArgs:
    """Return what a `Build` of the paused stage is made of."""
    found, _ = paused(rh)
    if found.dref is None or found.context is None:
        refuse(ERR_INACTIVE_RH, kind=RealizeError)
    return mkbuildargs(found.S, found.dref, found.context, "AUTO", "AUTO", {}, found.rarg or {})


def repl_build(rh: ReplHelper | None = None, nouts: int | None = 1) -> Build:
    """Return a `Build` of the paused stage, with output folders unless `nouts` is None."""
    build = Build(repl_buildargs(rh))
    if nouts is not None:
        build_markstart(build, nouts)
    return build


def repl_continueBuild(b: Build, rh: ReplHelper | None = None) -> RRef | None:
    """Make realizations of the output folders of a build, and go on."""
    build_markstop(b)
    return repl_continue1(build_outpaths(b), rh=rh)


def repl_cancelBuild(b: Build, rh: ReplHelper | None = None) -> None:
    """Give up, and remove the output folders of a build."""
    repl_cancel(rh)
    for path in b.outpaths.val if b.outpaths else ():
        tree.remove(path)


__all__ = [
    "BuildError",
    "build_cattrs",
    "build_config",
    "build_context",
    "build_deref",
    "build_deref_",
    "build_environ",
    "build_markstart",
    "build_markstop",
    "build_markstop_noexcept",
    "build_name",
    "build_outpath",
    "build_outpaths",
    "build_path",
    "build_paths",
    "build_setoutpaths",
    "build_wrapper",
    "build_wrapper_",
    "mkbuildargs",
    "repl_build",
    "repl_buildargs",
    "repl_cancelBuild",
    "repl_continueBuild",
    "rrefbdelta",
    "rrefbstart",
    "rrefbstop",
]
