"""Registries: where stages put their derivations, and the closures that come out.

A stage is a function that calls `mkdrv` (itself, or through `autostage` or a recipe) and returns
the reference. `instantiate` calls it and collects all that its result depends on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property, wraps
from typing import Any, ParamSpec, TypeAlias, TypeVar

from plxnix.config import Config
from plxnix.errors import InvalidValue, MissingRealizer, NoRegistry, RecursiveInstantiate
from plxnix.model import Context, DRef, RRef, isdref
from plxnix.ordering import dependencies_first
from plxnix.realize.labels import Labels
from plxnix.store import Store, current_storage, current_store

#: Extra arguments that the caller of `realize` passes to one stage's realizer; they are not hashed.
RealizeArguments: TypeAlias = Mapping[str, Any]

#: Selects among realizations, or returns None: "none will do, realize".
Matcher: TypeAlias = Callable[[Store, list[RRef]], "list[RRef] | None"]

#: Makes realizations: returns folders, one for each, on the store's file system if it can.
Realizer: TypeAlias = Callable[[Store, DRef, Context, RealizeArguments], "Iterable[Any]"]

#: Names under which a stage may take the registry as an argument.
REGISTRY_ARGUMENTS = ("registry", "r", "m")

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Derivation:
    """A config with the two functions that belong to it; only the config is hashed.

    `resources` are what the realizer needs while it runs, such as `{"cpus": 2, "gpus": 1}`.
    """

    dref: DRef
    config: Config
    matcher: Matcher
    realizer: Realizer
    resources: Mapping[str, float] = field(default_factory=dict)


def runs_here(realizer: Realizer) -> bool:
    """Tell whether a realizer has to run in the process that schedules: recipes and the like do."""
    return hasattr(realizer, "lower") or getattr(realizer, "runs_here", False) is True


class Registry:
    """The derivations that stages have registered, in that order, for one store.

    Without `store` it is the current one; the default store is made if it does not exist yet.
    """

    def __init__(self, store: Store | None = None) -> None:
        self.store = current_store(store, create=True)
        self.derivations: dict[DRef, Derivation] = {}

    def __repr__(self) -> str:
        return f"Registry({self.store!r}, {len(self.derivations)} derivations)"


@dataclass(frozen=True)
class Closure:
    """Targets with everything they depend on, ready to be realized.

    `result` is what the stage returned: a reference, or lists, tuples and dicts of references;
    `targets` are the references in it. `derivations` holds the targets and all their dependencies,
    dependencies first.
    """

    result: Any
    targets: tuple[DRef, ...]
    derivations: Mapping[DRef, Derivation]
    store: Store

    @property
    def dref(self) -> DRef:
        """The only target; raise `InvalidValue` if there are several."""
        if len(self.targets) != 1:
            raise InvalidValue(
                f"the closure has {len(self.targets)} targets: {', '.join(self.targets)}",
                "use `targets`, or instantiate one stage at a time",
            )
        return self.targets[0]

    @cached_property
    def labels(self) -> Labels:
        """What its stages are called where some of them have the same name."""
        return Labels(one.config for one in self.derivations.values())

    def part(self, dref: DRef) -> Closure:
        """Return the closure of one of the derivations; raise `MissingRealizer` for a stranger."""
        below = _below([dref], self.derivations)
        return Closure(dref, (dref,), below, self.store)


_current: ContextVar[Registry | None] = ContextVar("plxnix_registry", default=None)

#: The registries in which this thread is instantiating a stage at the moment.
_instantiating: ContextVar[tuple[Registry, ...]] = ContextVar("plxnix_instantiating", default=())


@contextmanager
def current_registry(registry: Registry) -> Iterator[Registry]:
    """Let stages in the block register in `registry`, and make its store the current one."""
    token = _current.set(registry)
    try:
        with current_storage(registry.store):
            yield registry
    finally:
        _current.reset(token)


def find_registry(registry: Registry | None = None) -> Registry:
    """Return `registry`, else the current one; raise `NoRegistry`."""
    found = registry or _current.get()
    if found is None:
        raise NoRegistry(
            "a stage was called outside of any registry",
            "pass it to instantiate(), or call it in `with current_registry(Registry()):`",
        )
    return found


def takes_registry(function: Callable[P, T]) -> Callable[P, T]:
    """Let a stage take its registry as `r=`, `m=`, `registry=`, or as a positional argument.

    Inside, it is the current one. This is how stages of all ages of Pylightnix are called: the
    older ones take it first, the newer ones last.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        given = next((value for value in args if isinstance(value, Registry)), None)
        if given is not None:
            args = tuple(v for v in args if not isinstance(v, Registry))  # type: ignore[assignment]
        for name in REGISTRY_ARGUMENTS:
            value = kwargs.pop(name, None)
            if value is not None and not isinstance(value, Registry):
                raise InvalidValue(
                    f"{name}= is {value!r:.80}, but it is the name of the registry",
                    "call the parameter otherwise",
                )
            given = value or given
        if given is None:
            return function(*args, **kwargs)
        with current_registry(given):
            return function(*args, **kwargs)

    return call


def mkconfig(value: Mapping[str, Any]) -> Config:
    """Make a config of a dict, typically of `locals()`: registries among the values are left out.

    Raises what `Config` raises.
    """
    if not isinstance(value, Mapping):
        return Config(value)
    return Config({k: v for k, v in value.items() if not isinstance(v, Registry)})


@takes_registry
def mkdrv(
    config: Config | Mapping[str, Any],
    matcher: Matcher,
    realizer: Realizer,
    registry: Registry | None = None,
    *,
    resources: Mapping[str, float] | None = None,
) -> DRef:
    """Register a derivation and return its reference; its config is written when it is realized.

    `resources` (not hashed) is what the realizer needs while it runs: `cpus` (1 if not said),
    `gpus`, and names of your own. The registry is the current one, or is passed as `registry=`,
    first or last. Raises `NoRegistry`, `InvalidValue` for a matcher or realizer that cannot be
    called as one, `MissingRealizer` if the config refers to what the registry does not know, and
    what `Config` raises.
    """
    registry = find_registry()  # `takes_registry` has made the given one the current one
    checked = config if isinstance(config, Config) else mkconfig(config)
    for dependency in checked.dependencies:
        if dependency not in registry.derivations:
            raise _unknown(dependency, checked.dref, registry.derivations)
    _check_takes(matcher, 2, "matcher", "a matcher is made by a call, as in match_latest()")
    _check_takes(realizer, 4, "realizer", "build_wrapper(function) makes one of a function")
    dref = registry.store.know(checked)
    registry.derivations[dref] = Derivation(dref, checked, matcher, realizer, resources or {})
    return dref


def _check_takes(value: Any, count: int, what: str, hint: str) -> None:
    """Refuse what cannot be called, and functions of fewer arguments."""
    code = getattr(value, "__code__", None)
    if not callable(value) or (
        code is not None and code.co_argcount < count and not code.co_flags & inspect.CO_VARARGS
    ):
        raise InvalidValue(f"not a {what}: {value!r:.80}", hint)


def _unknown(
    dependency: DRef, dref: str, derivations: Mapping[DRef, Derivation]
) -> MissingRealizer:
    for other in derivations:
        if other.dhash == dependency.dhash:
            return MissingRealizer(
                f"{dref} mentions {dependency}, but the derivation is called {other}",
                "in a string a reference has to end before the next character of a name: "
                f"write {other}/... or use a refpath",
                dref,
            )
    return MissingRealizer(
        f"{dref or 'the result'} refers to {dependency}, which this registry does not know",
        "call both stages with one registry: a reference alone does not say how to realize it",
        dref,
    )


def instantiate(
    stage: Any,
    *args: Any,
    registry: Registry | None = None,
    store: Store | None = None,
    **kwargs: Any,
) -> Closure:
    """Call a stage, or take references, and return the closure of what comes out.

    `stage` is a function that returns references, or a reference, or a container of references
    that are in `registry` (default: the current one, else a fresh one over `store`). Further
    arguments go to the function. Nothing is realized. Cost is linear in the closure's edges.

    Raises `RecursiveInstantiate` if a stage calls it, `MissingRealizer`, `InvalidValue` if no
    reference comes out or `store` is not the registry's.
    """
    found = (
        registry or kwargs.pop("r", None) or _current.get() or Registry(current_store(store, True))
    )
    if store is not None and store.root != found.store.root:
        raise InvalidValue(
            f"the store {store.root} is not that of the registry, {found.store.root}",
            "pass one of them, or make the registry with Registry(store)",
        )
    if any(other is found for other in _instantiating.get()):
        raise RecursiveInstantiate(
            "instantiate() was called by a stage that is being instantiated",
            "a stage calls other stages directly and puts what they return into its config",
        )
    result = stage
    if callable(stage):
        token = _instantiating.set((*_instantiating.get(), found))
        try:
            result = call_stage(stage, found, args, kwargs)
        finally:
            _instantiating.reset(token)
    targets = tuple(dict.fromkeys(_references(result)))
    if not targets:
        raise InvalidValue(
            f"there is no derivation reference in {result!r:.200}",
            "a stage returns what mkdrv returned, or a list or dict of that",
        )
    return Closure(result, targets, _below(targets, found.derivations), found.store)


def call_stage(
    stage: Callable[..., Any], registry: Registry, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> Any:
    """Call a stage with `registry` current, passing it as an argument where it asks for one."""
    with current_registry(registry):
        position = _registry_argument(stage)
        if position == "":
            return stage(registry, *args, **kwargs)
        if position is not None:
            return stage(*args, **{position: registry, **kwargs})
        return stage(*args, **kwargs)


def _registry_argument(stage: Callable[..., Any]) -> str | None:
    """Return "" if the first argument takes the registry, a keyword's name, or None."""
    try:
        parameters = inspect.signature(stage).parameters
    except (TypeError, ValueError):
        return None
    for index, (name, parameter) in enumerate(parameters.items()):
        annotation = str(getattr(parameter.annotation, "__name__", parameter.annotation))
        if name in REGISTRY_ARGUMENTS or annotation in ("Registry", "Manager"):
            positional = parameter.kind <= parameter.POSITIONAL_OR_KEYWORD
            return "" if index == 0 and positional else name
    return None


def _references(value: Any) -> Iterator[DRef]:
    if isinstance(value, str):
        if isdref(value):
            yield DRef(value)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _references(item)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            yield from _references(item)


def _below(targets: Iterable[DRef], known: Mapping[DRef, Derivation]) -> dict[DRef, Derivation]:
    """Return the targets and all they depend on, dependencies first."""

    def below(dref: DRef) -> Iterable[DRef]:
        if dref not in known:
            raise _unknown(dref, "", known)
        return known[dref].config.dependencies

    return {dref: known[dref] for dref in dependencies_first(targets, below, _circle)}


def _circle(way: list[DRef]) -> InvalidValue:
    return InvalidValue(f"{way[0]} depends on itself through {way[1]}", "its config is not its own")
