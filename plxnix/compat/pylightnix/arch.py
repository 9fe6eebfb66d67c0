"""Archives and copying with the signatures of Pylightnix: see `plxnix.archives`.

No `apack` is needed. A name that has not the suffix of an archive that can be written is an error.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable

from plxnix.archives import spack as native_spack
from plxnix.archives import sunpack as native_sunpack
from plxnix.compat.pylightnix.errors import check, door
from plxnix.compat.pylightnix.names import rref2dref
from plxnix.compat.pylightnix.questions import rrefctx
from plxnix.compat.pylightnix.storage import store_of
from plxnix.compat.pylightnix.types import DRef, Path, RRef, StorageSettings
from plxnix.store.arrival import closure
from plxnix.store.copying import copyclosure as native_copyclosure


def _program(name: str) -> str:
    found = shutil.which(os.environ.get(f"PYLIGHTNIX_{name.upper()}", name))
    check(found, f"the program {name} is not here", "nothing of plxnix needs it")
    return str(found)


def APACK() -> str:
    """Return the path of apack, which plxnix does not use."""
    return _program("apack")


def AUNPACK() -> str:
    """Return the path of aunpack, which plxnix does not use."""
    return _program("aunpack")


@door()
def spack(roots: list[RRef], out: Path, S: StorageSettings | None = None) -> None:
    """Write realizations and all that they were made from into an archive.

    With each goes its whole derivation: all other realizations of it, selected or not.
    """
    store = store_of(S)
    drefs = {rref.dref for rref in closure(store, roots)}
    everything = [rref for dref in sorted(drefs) for rref in store.realizations(dref)]
    native_spack(everything, out, store)


@door()
def sunpack(archive: Path, S: StorageSettings | None = None) -> None:
    """Bring the realizations of an archive into a store."""
    native_sunpack(archive, store_of(S))


def deref_(ctxr: RRef, dref: DRef, S: StorageSettings | None) -> list[RRef]:
    """Return what was selected for `dref` where `ctxr` was made; itself for its own derivation."""
    if dref == rref2dref(ctxr):
        return [ctxr]
    return list(rrefctx(ctxr, S)[dref] or [])


@door()
def copyclosure(
    rrefs_S: Iterable[RRef], S: StorageSettings | None, D: StorageSettings | None = None
) -> None:
    """Copy realizations and all that they were made from out of the store `S` into `D`."""
    native_copyclosure(list(rrefs_S), store_of(S), store_of(D))


__all__ = ["APACK", "AUNPACK", "copyclosure", "deref_", "spack", "sunpack"]
