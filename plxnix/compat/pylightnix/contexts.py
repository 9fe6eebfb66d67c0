"""Contexts, which in Pylightnix are transitive: realizations by derivation."""

from __future__ import annotations

import json
import os

from plxnix.compat.pylightnix.errors import check, refuse
from plxnix.compat.pylightnix.names import assert_valid_context, assert_valid_refpath
from plxnix.compat.pylightnix.questions import rref2path
from plxnix.compat.pylightnix.types import Context, DRef, Path, RefPath, RRef, StorageSettings
from plxnix.errors import NotInStore


def mkcontext() -> Context:
    """Return an empty context."""
    return {}


def context_eq(a: Context, b: Context) -> bool:
    """Tell whether two contexts are the same."""
    return json.dumps(a) == json.dumps(b)


def context_add(ctx: Context, dref: DRef, rrefs: list[RRef] | None) -> Context:
    """Return a context with one derivation more."""
    check(dref not in ctx, f"the context has {dref} already: {ctx.get(dref)}, and now {rrefs}")
    return dict(sorted([(dref, sorted(rrefs) if rrefs else None), *ctx.items()]))


def context_deref(context: Context, dref: DRef) -> list[RRef]:
    """Return what a context has for a derivation; raise `NotInStore` if it has nothing."""
    if dref not in context:
        refuse(f"{dref} is not in the context", "it holds dependencies only", NotInStore)
    return context[dref]  # type: ignore[return-value]


def context_derefpath(
    context: Context, refpath: RefPath, S: StorageSettings | None = None
) -> list[Path]:
    """Return the paths that a refpath stands for."""
    assert_valid_refpath(refpath)
    rrefs = context_deref(context, DRef(refpath[0]))
    return [Path(os.path.join(rref2path(one, S), *refpath[1:])) for one in rrefs]


def context_serialize(c: Context) -> str:
    """Return a context as JSON."""
    assert_valid_context(c)
    return json.dumps(c, indent=4)


__all__ = [
    "context_add",
    "context_deref",
    "context_derefpath",
    "context_eq",
    "context_serialize",
    "mkcontext",
]
