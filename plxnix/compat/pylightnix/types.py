"""The types of Pylightnix: paths and references are strings, closures and derivations tuples."""

from __future__ import annotations

# ruff: noqa: UP007, UP035 (forms are those of Pylightnix)
from collections import OrderedDict as _OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator, MutableMapping
from copy import deepcopy as _deepcopy
from typing import (
    IO,
    TYPE_CHECKING,
    Any,
    Dict,
    Generic,
    List,
    NamedTuple,
    NewType,
    Optional,
    Set,
    SupportsAbs,
    Tuple,
    TypeVar,
    Union,
)

from plxnix import model as _model
from plxnix.realize import build as _build
from plxnix.realize import registry as _registry

if TYPE_CHECKING:
    from plxnix.store import Store


class Path(str):
    """A path, as a string that type checkers tell from other strings."""


class SPath(Path):
    """A path of a store."""


class StorageSettings(NamedTuple):
    """Where a store is: see `core.fsroot`."""

    root: Path | None = None
    storage: Path | None = None
    tmpdir: Path | None = None


class Hash(str):
    """A sha256 in 64 hex digits."""


class HashPart(str):
    """The 32 hex digits of a hash that stand in a reference."""


class DRef(_model.DRef):
    """A reference to a derivation."""


class RRef(_model.RRef):
    """A reference to a realization."""


class Name(_model.Name):
    """The name of a stage."""


RefPath = list[Any]


class PylightnixException(Exception):
    """Base of the exceptions that Pylightnix has classes for."""


class PromiseException(PylightnixException):
    """A realizer broke its promises: `failed` lists the folder and the refpath of each."""

    def __init__(self, dref: DRef, failed: list[tuple[Path, RefPath]]) -> None:
        missing = sorted({"/".join(refpath[1:]) for _, refpath in failed})
        super().__init__(f"the realizer of {dref} did not make what it promised: {missing}")
        self.dref = dref
        self.failed = failed


_REF = TypeVar("_REF")


class Output(Generic[_REF]):
    """What a realizer gives before its promises are checked, or a matcher that looks at them."""

    def __init__(self, val: Iterable[_REF]) -> None:
        self.val: list[_REF] = list(val)


Context = dict[DRef, list[RRef] | None]
InstantiateArg = dict[str, Any]
RealizeArg = dict[str, Any]
Matcher = Callable[[StorageSettings | None, list[RRef]], list[RRef] | None]
MatcherO = Callable[[StorageSettings | None, Output[RRef]], Output[RRef] | None]
Realizer = Callable[[StorageSettings | None, DRef, Context, RealizeArg], list[Path]]
RealizerO = Callable[[StorageSettings | None, DRef, Context, RealizeArg], Output[Path]]


class Derivation(NamedTuple):
    """A derivation's reference with its two functions."""

    dref: DRef
    matcher: Matcher
    realizer: Realizer


class Closure(NamedTuple):
    """What a stage returned, with all derivations of its registry."""

    result: Any
    targets: list[DRef]
    derivations: list[Derivation]
    S: StorageSettings | None


class Config:
    """A dict that defines a stage; `plxnix.Config` checks it when it becomes a derivation."""

    def __init__(self, d: dict[Any, Any]) -> None:
        self.val: dict[Any, Any] = _deepcopy(d)

    def __repr__(self) -> str:
        return f"Config({self.val!r})"


class RConfig(Config):
    """A config in which promises are refpaths of the derivation."""


class ConfigAttrs:
    """A config whose fields are attributes."""

    def __init__(self, d: dict[str, Any]) -> None:
        self.__dict__.update(d)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class BuildArgs(NamedTuple):
    """What a `Build` is made of."""

    S: StorageSettings | None
    dref: DRef
    context: Context
    starttime: str | None
    stoptime: str | None
    iarg: InstantiateArg
    rarg: RealizeArg


class Build(_build.Build):
    """One run of a realizer; subclasses are made by `build_wrapper_`, from `BuildArgs` too."""

    outpaths: Output[Path] | None  # type: ignore[assignment]

    def __init__(self, ba: BuildArgs) -> None:
        from plxnix.compat.pylightnix.storage import store_of

        super().__init__(store_of(ba.S), ba.dref, ba.context, ba.rarg)  # type: ignore[arg-type]
        self.S = ba.S
        self.dref: DRef = ba.dref
        self.context: Context = ba.context  # type: ignore[assignment]
        self.iarg = ba.iarg
        self.rarg = ba.rarg
        self.starttime = ba.starttime
        self.stoptime = ba.stoptime
        self.outpaths = None
        self.cattrs_cache: ConfigAttrs | None = None


class Registry(_registry.Registry):
    """Where stages put their derivations.

    It is a registry of plxnix, so that native stages may register here as well; `builders` shows
    its derivations as tuples with the functions of Pylightnix.
    """

    def __init__(self, S: StorageSettings | None = None) -> None:
        self.S = S
        self.derivations: dict[_model.DRef, _registry.Derivation] = {}
        self.in_instantiate = False

    def __repr__(self) -> str:
        return f"Registry({self.S!r}, {len(self.derivations)} derivations)"

    @property
    def store(self) -> Store:  # type: ignore[override]
        """The store, which need not exist before it is asked for."""
        from plxnix.compat.pylightnix.storage import store_of

        return store_of(self.S)

    @property
    def builders(self) -> MutableMapping[DRef, Derivation]:
        """The derivations by their references; it can be changed."""
        from plxnix.compat.pylightnix.functions import Builders

        return Builders(self)


DRefLike = TypeVar("DRefLike", bound=DRef)
StageResult = Union[DRef, list[DRef], dict[Any, DRef], tuple[DRef, ...]]
Stage = Callable[..., StageResult]

OrderedDict = _OrderedDict
deepcopy = _deepcopy

__all__ = [
    "IO",
    "Any",
    "Build",
    "BuildArgs",
    "Callable",
    "Closure",
    "Config",
    "ConfigAttrs",
    "Context",
    "DRef",
    "DRefLike",
    "Derivation",
    "Dict",
    "Generator",
    "Generic",
    "Hash",
    "HashPart",
    "InstantiateArg",
    "Iterable",
    "Iterator",
    "List",
    "Matcher",
    "MatcherO",
    "Name",
    "NamedTuple",
    "NewType",
    "Optional",
    "OrderedDict",
    "Output",
    "Path",
    "PromiseException",
    "PylightnixException",
    "RConfig",
    "RRef",
    "RealizeArg",
    "Realizer",
    "RealizerO",
    "RefPath",
    "Registry",
    "SPath",
    "Set",
    "Stage",
    "StageResult",
    "StorageSettings",
    "SupportsAbs",
    "Tuple",
    "TypeVar",
    "Union",
    "deepcopy",
]
