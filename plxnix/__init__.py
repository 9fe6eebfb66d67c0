"""plxnix: one graph, two builders, one hash.

Stages written in Python are realized in an immutable store of their own; what is deterministic in
the graph leaves as real Nix derivations, and what is not goes along as pinned results.

This is the table of contents; each name is documented where it is defined.
"""

from typing import TYPE_CHECKING, Any

from plxnix.attributes import Attrs
from plxnix.autostage import autostage
from plxnix.config import Config
from plxnix.errors import PlxnixError
from plxnix.lens import Lens, mklens
from plxnix.model import (
    Context,
    DRef,
    Name,
    RefPath,
    RRef,
    isdref,
    isrefpath,
    isrref,
    isselfpath,
    mkname,
    mkrefpath,
    rref2dref,
    selfref,
)
from plxnix.realize.build import (
    Build,
    build_cattrs,
    build_config,
    build_context,
    build_deref,
    build_deref_,
    build_environ,
    build_name,
    build_outpath,
    build_outpaths,
    build_path,
    build_paths,
    build_setoutpaths,
    build_wrapper,
)
from plxnix.realize.matchers import (
    at_least,
    exact,
    latest,
    match,
    match_all,
    match_best,
    match_exact,
    match_latest,
    match_only,
    match_some,
    number,
    texthash,
)
from plxnix.realize.plan import Plan
from plxnix.realize.realizing import evaluate, realize, realize1, realizeMany
from plxnix.realize.registry import (
    Closure,
    Derivation,
    Matcher,
    Realizer,
    Registry,
    current_registry,
    instantiate,
    mkconfig,
    mkdrv,
)
from plxnix.store import Store, current_storage, current_store, fsinit
from plxnix.store.query import (
    alldrefs,
    allrrefs,
    dref2path,
    drefcfg,
    drefdeps,
    drefdeps1,
    drefrrefs,
    path2rref,
    rref2path,
    rrefbdelta,
    rrefbstart,
    rrefbstop,
    rrefctx,
    rrefdeps,
    rrefdeps1,
)
from plxnix.version import VERSION as __version__

if TYPE_CHECKING:
    from plxnix.either import (
        Left,
        Right,
        either_isLeft,
        either_isRight,
        either_loadR,
        either_matcher,
        either_paths,
        either_realizer,
        either_stage,
        either_status,
        mkdrvE,
        mkleft,
        mkright,
        realizeE,
        realizeManyE,
    )
    from plxnix.fetching import fetch
    from plxnix.locking.stage import fetchlock
    from plxnix.recipes import (
        execute,
        fetchlocal,
        fetchtree,
        fetchurl,
        mkfile,
        mknode,
        nix_build,
        unpack,
    )
    from plxnix.redefinition import realized, redefine
    from plxnix.repl import (
        ReplHelper,
        repl_build,
        repl_cancel,
        repl_continue,
        repl_continue1,
        repl_continueBuild,
        repl_continueMany,
        repl_realize,
        repl_result,
        repl_rref,
        repl_rrefs,
    )

__all__ = [
    "Attrs",
    "Build",
    "Closure",
    "Config",
    "Context",
    "DRef",
    "Derivation",
    "Left",
    "Lens",
    "Matcher",
    "Name",
    "Plan",
    "PlxnixError",
    "RRef",
    "Realizer",
    "RefPath",
    "Registry",
    "ReplHelper",
    "Right",
    "Store",
    "__version__",
    "alldrefs",
    "allrrefs",
    "at_least",
    "autostage",
    "build_cattrs",
    "build_config",
    "build_context",
    "build_deref",
    "build_deref_",
    "build_environ",
    "build_name",
    "build_outpath",
    "build_outpaths",
    "build_path",
    "build_paths",
    "build_setoutpaths",
    "build_wrapper",
    "current_registry",
    "current_storage",
    "current_store",
    "dref2path",
    "drefcfg",
    "drefdeps",
    "drefdeps1",
    "drefrrefs",
    "either_isLeft",
    "either_isRight",
    "either_loadR",
    "either_matcher",
    "either_paths",
    "either_realizer",
    "either_stage",
    "either_status",
    "evaluate",
    "exact",
    "execute",
    "fetch",
    "fetchlocal",
    "fetchlock",
    "fetchtree",
    "fetchurl",
    "fsinit",
    "instantiate",
    "isdref",
    "isrefpath",
    "isrref",
    "isselfpath",
    "latest",
    "match",
    "match_all",
    "match_best",
    "match_exact",
    "match_latest",
    "match_only",
    "match_some",
    "mkconfig",
    "mkdrv",
    "mkdrvE",
    "mkfile",
    "mkleft",
    "mklens",
    "mkname",
    "mknode",
    "mkrefpath",
    "mkright",
    "nix_build",
    "number",
    "path2rref",
    "realize",
    "realize1",
    "realizeE",
    "realizeMany",
    "realizeManyE",
    "realized",
    "redefine",
    "repl_build",
    "repl_cancel",
    "repl_continue",
    "repl_continue1",
    "repl_continueBuild",
    "repl_continueMany",
    "repl_realize",
    "repl_result",
    "repl_rref",
    "repl_rrefs",
    "rref2dref",
    "rref2path",
    "rrefbdelta",
    "rrefbstart",
    "rrefbstop",
    "rrefctx",
    "rrefdeps",
    "rrefdeps1",
    "selfref",
    "texthash",
    "unpack",
]

#: These are loaded when they are asked for: a script without them starts in half the time.
_LATER = {
    "plxnix.either": (
        "Left",
        "Right",
        "either_isLeft",
        "either_isRight",
        "either_loadR",
        "either_matcher",
        "either_paths",
        "either_realizer",
        "either_stage",
        "either_status",
        "mkdrvE",
        "mkleft",
        "mkright",
        "realizeE",
        "realizeManyE",
    ),
    "plxnix.fetching": ("fetch",),
    "plxnix.locking.stage": ("fetchlock",),
    "plxnix.recipes": (
        "execute",
        "fetchlocal",
        "fetchtree",
        "fetchurl",
        "mkfile",
        "mknode",
        "nix_build",
        "unpack",
    ),
    "plxnix.redefinition": ("realized", "redefine"),
    "plxnix.repl": (
        "ReplHelper",
        "repl_build",
        "repl_cancel",
        "repl_continue",
        "repl_continue1",
        "repl_continueBuild",
        "repl_continueMany",
        "repl_realize",
        "repl_result",
        "repl_rref",
        "repl_rrefs",
    ),
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    for module, names in _LATER.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'plxnix' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *(name for names in _LATER.values() for name in names)})
