"""Parcels: what travels between the process that schedules and those that work for it.

A `Task` goes out, an `Answer` comes back. Functions are pickled by cloudpickle, those of the user's
own modules by value: a worker that lives long, or that has another version of the file, runs the
code that was hashed. Where a worker does not see the store, realizations travel as NAR archives.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from plxnix.config import Config
from plxnix.errors import BuildFailed, MissingExtra
from plxnix.forking import process_lock
from plxnix.model import DRef, RRef
from plxnix.nix import nar
from plxnix.realize.registry import RealizeArguments, Realizer
from plxnix.store import Fsync, Store, arrival, tree

if TYPE_CHECKING:
    from traceback import FrameSummary


@dataclass(frozen=True)
class Parcel:
    """One realization: its record, packed log and artifacts."""

    rref: RRef
    record: bytes
    log: bytes
    archive: bytes


@dataclass(frozen=True)
class Supplies:
    """Realizations with the configs that they and a stage refer to, dependencies first."""

    configs: tuple[bytes, ...]
    parcels: tuple[Parcel, ...]


@dataclass(frozen=True)
class Task:
    """One attempt, to be made elsewhere.

    `store` is the path of the store, which the worker sees if it sees `proof` in there. `call` is
    the pickled realizer with its arguments. `token` tells one task from all others. `mark` is a
    file in the store that the worker removes when it begins, or "".
    """

    dref: DRef
    config: bytes
    context: dict[DRef, list[RRef]]
    call: bytes
    store: str
    proof: str
    fsync: Fsync
    keep_failed: bool
    search: tuple[str, ...]
    token: str
    mark: str = ""
    supplies: Supplies | None = None


@dataclass
class Answer:
    """What came of a task.

    `lacks_store`: the worker sees no store, and has no supplies. `parcels` are what was made, if it
    has a store of its own; `said` are remarks on it.
    """

    rrefs: list[RRef] = field(default_factory=list)
    seconds: float = 0.0
    output: bytes = b""
    lacks_store: bool = False
    parcels: tuple[Parcel, ...] = ()
    error: BaseException | None = None
    cause: BaseException | None = None
    traceback: str = ""
    frames: list[FrameSummary] = field(default_factory=list)
    said: tuple[str, ...] = ()


_guard = process_lock()
_own: tuple[int, list[Any]] = (0, [])


def require_cloudpickle() -> Any:
    """Import cloudpickle; raise `MissingExtra`."""
    try:
        import cloudpickle  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        raise MissingExtra("cloudpickle", "dask") from None
    return cloudpickle


def pack_call(dref: DRef, realizer: Realizer, arguments: RealizeArguments) -> bytes:
    """Pickle a realizer with its arguments; raise `BuildFailed` if that cannot be.

    Raises `MissingExtra` if cloudpickle is not installed.
    """
    cloudpickle = require_cloudpickle()
    with _guard:
        known = set(cloudpickle.list_registry_pickle_by_value())
        own = [one for one in _own_modules() if one.__name__ not in known]
        for module in own:
            cloudpickle.register_pickle_by_value(module)
        try:
            packed: bytes = cloudpickle.dumps((realizer, dict(arguments)))
        except Exception as error:  # whatever the user's objects raise
            raise BuildFailed(
                f"the realizer of {dref} cannot be sent to another process: {error}",
                "make what it uses inside of the function, or realize with executor='threads' or "
                "jobs=1",
                dref,
            ) from error
        finally:
            for module in own:
                cloudpickle.unregister_pickle_by_value(module)
    return packed


def _own_modules() -> list[Any]:
    """Return the modules of the user's own that are loaded; looked up anew when others come."""
    global _own
    from plxnix.codehash.library import is_own

    if _own[0] != len(sys.modules):
        found = []
        for name, module in list(sys.modules.items()):
            file = getattr(module, "__file__", None)
            named = name != "__main__" and getattr(module, "__name__", None) == name
            if named and isinstance(file, str) and is_own(file):
                found.append(module)
        _own = len(sys.modules), found
    return _own[1]


def unpack_call(dref: DRef, call: bytes) -> tuple[Realizer, Mapping[str, Any]]:
    """Return a realizer and its arguments: what `pack_call` packed.

    Raises `BuildFailed` where that cannot be read.
    """
    try:
        realizer, arguments = pickle.loads(call)  # noqa: S301 (of the process that we work for)
    except Exception as error:  # whatever is missing here, or is another version
        raise BuildFailed(
            f"the worker cannot read the realizer of {dref}: {type(error).__name__}: {error}",
            "it needs the same Python, and the libraries that the stage uses, as are here",
            dref,
        ) from error
    return realizer, arguments


def pack_supplies(store: Store, config: Config, context: Mapping[DRef, list[RRef]]) -> Supplies:
    """Pack all that a stage may look at: what it was selected, and what that was made from."""
    below = {rref for rrefs in context.values() for rref in rrefs}
    rrefs = arrival.closure(store, below)
    drefs = [*config.dependencies, *arrival.derivations(store, rrefs)]
    configs = tuple(store.config(dref).canonical for dref in dict.fromkeys(drefs))
    return Supplies(configs, tuple(pack(store, rref) for rref in rrefs))


def pack(store: Store, rref: RRef) -> Parcel:
    """Pack a realization; it has to fit into memory."""
    with open(store.layout.record(rref), "rb") as file:
        record = file.read()
    try:
        with open(store.layout.log(rref), "rb") as file:
            log = file.read()
    except FileNotFoundError:
        log = b""
    return Parcel(rref, record, log, b"".join(nar.dump(store.path(rref))))


def unpack(store: Store, parcels: Iterable[Parcel]) -> None:
    """Publish realizations that are not in a store yet, each checked against its reference.

    The caller keeps their derivations, whose configs are in the store. Raises what `arrival.admit`
    does.
    """
    import os

    for parcel in parcels:
        if os.path.isdir(store.layout.realization(parcel.rref)):
            continue
        folder = store.session().file(parcel.rref.name)
        nar.restore(io.BytesIO(parcel.archive), folder)
        tree.freeze(folder)
        arrival.admit(store, parcel.rref, folder, parcel.record, parcel.log)
