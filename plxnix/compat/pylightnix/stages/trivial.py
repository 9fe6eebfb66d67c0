"""Stages of small files, and stages made of stages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from plxnix.compat.pylightnix.configs import encode
from plxnix.compat.pylightnix.derivations import mkdrv
from plxnix.compat.pylightnix.errors import door, refuse
from plxnix.compat.pylightnix.names import cfgdict, mkconfig
from plxnix.compat.pylightnix.questions import drefcfg_
from plxnix.compat.pylightnix.storage import needed_registry
from plxnix.compat.pylightnix.types import (
    Context,
    DRef,
    Matcher,
    RealizeArg,
    Realizer,
    Registry,
    StorageSettings,
)
from plxnix.errors import NotRealized
from plxnix.recipes import files


@door()
def mknode(
    r: Registry, cfgdict: dict[str, Any], artifacts: dict[Any, bytes] = {}, name: str = "mknode"
) -> DRef:
    """Register a stage that consists of a config and of small files: `plxnix.mknode`."""
    dref = files.mknode(encode(cfgdict), artifacts, name, r)
    return DRef(r.store.add(r.derivations[dref].config))


def redefine(
    stage: Any,
    new_config: Callable[[dict[str, Any]], object] = lambda config: None,  # noqa: ARG005
    new_matcher: Matcher | None = None,
    new_realizer: Realizer | None = None,
) -> Any:
    """Return a stage that is `stage` with another config, matcher or realizer.

    `new_config` changes the dict that it gets.
    """

    @door()
    def changed(*args: Any, r: Registry | None = None, **kwargs: Any) -> DRef:
        registry = needed_registry(r)
        dref = stage(*args, r=registry, **kwargs)
        fields = cfgdict(drefcfg_(dref, registry.S))
        new_config(fields)
        builders = registry.builders
        old = builders.pop(dref)
        matcher = old.matcher if new_matcher is None else new_matcher
        realizer = old.realizer if new_realizer is None else new_realizer
        return mkdrv(mkconfig(fields), matcher, realizer, registry)

    return changed


def realized(stage: Any) -> Any:
    """Return a stage that is `stage`, but may not run: it has to be realized already."""

    def no_realizer(
        S: StorageSettings | None, dref: DRef, context: Context, rarg: RealizeArg
    ) -> NoReturn:
        del S, context, rarg
        refuse(f"{dref} was said to be realized, but is not", "realize it first", NotRealized)

    return redefine(stage, new_realizer=no_realizer)


__all__ = ["mknode", "realized", "redefine"]
