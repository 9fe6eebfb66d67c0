"""plxnix: one graph, two builders, one hash.

Stages written in Python are realized in an immutable store of their own; what is deterministic in
the graph leaves as real Nix derivations, and what is not goes along as pinned results.

This is the table of contents; each name is documented where it is defined, and loaded when it is
asked for. `__init__.pyi` says the same to type checkers.
"""

from plxnix import errors as errors
from plxnix import realize, version

del realize  # the package: loaded now, it does not take the function's place when it is used

__version__ = version.VERSION

#: The names that each module defines.
_CONTENTS = {
    "plxnix.archives": "spack sunpack",
    "plxnix.attributes": "Attrs",
    "plxnix.collecting": "collect_garbage",
    "plxnix.compat.oldest": "Manager instantiate_inplace realize_inplace store_initialize",
    "plxnix.config": "Config",
    "plxnix.either": (
        "Left Right either_isLeft either_isRight either_loadR either_matcher either_paths "
        "either_realizer either_stage either_status mkdrvE mkleft mkright realizeE "
        "realizeManyE"
    ),
    "plxnix.errors": "PlxnixError",
    "plxnix.fetching": "fetch",
    "plxnix.folders": "dirrw mklogdir",
    "plxnix.function_stages": "autostage",
    "plxnix.lens": "Lens mklens",
    "plxnix.locking.stage": "fetchlock",
    "plxnix.model": (
        "Context DRef Name RRef RefPath claim isdref isrefpath isrref isselfpath mkname "
        "mkrefpath promise rref2dref selfref"
    ),
    "plxnix.pyenv.stage": "python_env",
    "plxnix.realize.build": (
        "Build build_cattrs build_config build_context build_deref build_deref_ build_environ "
        "build_name build_outpath build_outpaths build_path build_paths build_setoutpaths "
        "build_wrapper"
    ),
    "plxnix.realize.matchers": (
        "at_least exact latest match match_all match_best match_exact match_latest match_only "
        "match_some number texthash"
    ),
    "plxnix.realize.plan": "Plan",
    "plxnix.realize.realizing": "evaluate realize realize1 realizeMany",
    "plxnix.realize.registry": (
        "Closure Derivation Matcher Realizer Registry current_registry instantiate mkconfig mkdrv"
    ),
    "plxnix.recipes.execute": "execute",
    "plxnix.recipes.fetch": "fetchlocal fetchurl",
    "plxnix.recipes.files": "mkfile mknode",
    "plxnix.recipes.git": "fetchgit",
    "plxnix.recipes.nix_build": "nix_build",
    "plxnix.recipes.pypi": "fetchpypi",
    "plxnix.recipes.tree": "fetchtree",
    "plxnix.recipes.unpack": "unpack",
    "plxnix.redefinition": "realized redefine",
    "plxnix.repl": (
        "ReplHelper repl_build repl_cancel repl_continue repl_continue1 repl_continueBuild "
        "repl_continueMany repl_realize repl_result repl_rref repl_rrefs"
    ),
    "plxnix.shell_functions": (
        "catref diff du find linkdref linkrref linkrrefs lsref rmref shell shellref"
    ),
    "plxnix.store": "Store current_storage current_store fsinit",
    "plxnix.store.copying": "copyclosure",
    "plxnix.store.query": (
        "alldrefs allrrefs dref2path drefcfg drefdeps drefdeps1 drefrrefs path2rref rref2path "
        "rrefbdelta rrefbstart rrefbstop rrefctx rrefdeps rrefdeps1"
    ),
}
_HOMES = {name: module for module, names in _CONTENTS.items() for name in names.split()}

__all__ = sorted(["__version__", *_HOMES])

_HOMES["Path"] = "pathlib"  # Pylightnix has a class of this name; not in `__all__`


def __getattr__(name: str) -> object:
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'plxnix' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
