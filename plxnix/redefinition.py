"""Stages made of stages: another config, matcher or realizer, or no realizer at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import update_wrapper
from typing import Any, NoReturn

from plxnix.config import Config
from plxnix.errors import InvalidValue, MissingRealizer, NoRegistry, NotRealized
from plxnix.function_stages import AutoStage
from plxnix.model import Context, DRef, isdref
from plxnix.realize.plan import Reasons
from plxnix.realize.registry import (
    Derivation,
    Matcher,
    RealizeArguments,
    Realizer,
    Registry,
    call_stage,
    current_registry,
    find_registry,
    mkdrv,
    takes_registry,
)
from plxnix.store import Store


def redefine(
    stage: Any,
    new_config: Mapping[str, Any] | Callable[[dict[str, Any]], Any] | None = None,
    new_matcher: Matcher | None = None,
    new_realizer: Realizer | None = None,
) -> Callable[..., Any]:
    """Return a stage that is `stage` with another config, matcher or realizer.

    `new_config` is a mapping of fields to change, or a function that changes the dict it gets or
    returns another. Arguments of the new stage go to `stage`, which is a function, or references
    that the registry knows. Only what `stage` returns is redefined, not what it depends on. A new
    realizer or matcher under an unchanged config replaces the old one in the whole registry: the
    derivation is the same.

    Raises, when it is called, what `mkdrv` raises; `InvalidValue` if `new_config` gives no mapping.
    """

    def change(derivation: Derivation) -> Derivation:
        return replace(
            derivation,
            config=_changed(derivation.config, new_config),
            matcher=new_matcher or derivation.matcher,
            realizer=new_realizer or derivation.realizer,
        )

    return redefined(stage, change)


def realized(stage: Any) -> Callable[..., Any]:
    """Return a stage that is `stage`, but never runs: it has to be realized already.

    Otherwise realizing it raises `NotRealized`, which says why `stage` would have to run. What it
    depends on may run.
    """

    def change(derivation: Derivation) -> Derivation:
        def refuse(
            store: Store, dref: DRef, context: Context, arguments: RealizeArguments
        ) -> NoReturn:
            del arguments
            selected = {below: list(rrefs) for below, rrefs in context.items()}
            raise NotRealized(
                f"{dref} was said to be realized, but: "
                f"{Reasons(store).explain(derivation, selected)}",
                "realize the stage itself first, without realized()",
                dref,
            )

        refuse.runs_here = True  # type: ignore[attr-defined]
        return replace(derivation, realizer=refuse)

    return redefined(stage, change)


def redefined(stage: Any, change: Callable[[Derivation], Derivation]) -> Callable[..., Any]:
    """Return a stage whose derivations are those that `stage` returns, passed through `change`."""

    @takes_registry
    def changed(*args: Any, **kwargs: Any) -> Any:
        registry = _registry(stage)
        with current_registry(registry):
            result = call_stage(stage, registry, args, kwargs) if callable(stage) else stage

            def register(dref: DRef) -> DRef:
                if dref not in registry.derivations:
                    raise MissingRealizer(
                        f"the registry does not know {dref}",
                        "call the stage with the same registry",
                        dref,
                    )
                new = change(registry.derivations[dref])
                return mkdrv(new.config, new.matcher, new.realizer, resources=new.resources)

            return _each(result, register)

    if isinstance(stage, AutoStage):
        return RedefinedStage(stage, changed)
    if callable(stage):
        update_wrapper(changed, stage)
    return changed


class RedefinedStage(AutoStage):
    """An `autostage` whose call is another one; it takes the same arguments."""

    def __init__(self, stage: AutoStage, call: Callable[..., Any]) -> None:
        self.__dict__.update(stage.__dict__)
        self._call = call

    def __call__(self, given: Registry | None = None, /, **changes: Any) -> DRef:
        """Register the stage's derivation, with `changes` to its config."""
        dref: DRef = self._call(*(() if given is None else (given,)), **changes)
        return dref


def _registry(stage: Any) -> Registry:
    """Return the current registry, else the one that an `autostage` was given."""
    try:
        return find_registry()
    except NoRegistry:
        own = getattr(stage, "registry", None)
        if not isinstance(own, Registry):
            raise
        return own


def _changed(
    config: Config, change: Mapping[str, Any] | Callable[[dict[str, Any]], Any] | None
) -> Config:
    if change is None:
        return config
    fields = config.value()
    if isinstance(change, Mapping):
        return Config({**fields, **change})
    given = change(fields)
    if given is not None and not isinstance(given, Mapping):
        raise InvalidValue(
            f"new_config returned {given!r:.80}", "it changes the dict it gets, or returns a dict"
        )
    return given if isinstance(given, Config) else Config(fields if given is None else given)


def _each(result: Any, function: Callable[[DRef], DRef]) -> Any:
    """Apply `function` to each reference in what a stage returned."""
    if isinstance(result, str):
        return function(DRef(result)) if isdref(result) else result
    if isinstance(result, Mapping):
        return {key: _each(item, function) for key, item in result.items()}
    if isinstance(result, (list, tuple, set, frozenset)):
        items = [_each(item, function) for item in result]
        return tuple(items) if isinstance(result, tuple) else items
    return result
