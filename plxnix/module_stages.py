"""Stages of a module: which there are, and which one is meant."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from types import CodeType, FunctionType, ModuleType
from typing import Any

from plxnix.errors import UnknownStage
from plxnix.function_stages import AutoStage
from plxnix.model import DRef, isdref
from plxnix.realize.registry import REGISTRY_ARGUMENTS, Registry

#: Stages with these names are taken if the target names none.
DEFAULTS = ("default", "main")


def stages(module: ModuleType) -> dict[str, Any]:
    """Return the stages that a module defines, in the order of their definition.

    They are `autostage` functions, functions that take a registry or are annotated to return a
    `DRef`, and references; names that start with an underscore are the module's own affair.
    """
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and _is_stage(value, module)
    }


def _is_stage(value: Any, module: ModuleType) -> bool:
    if isinstance(value, AutoStage):
        return value.function.__module__ == module.__name__
    if not _is_own(value, module):
        return isdref(value)
    result = value.__annotations__.get("return")
    return str(getattr(result, "__name__", result)).strip("\"'").endswith("DRef") or any(
        takes_registry(parameter) for parameter in inspect.signature(value).parameters.values()
    )


def _is_own(value: Any, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def takes_registry(parameter: inspect.Parameter) -> bool:
    """Tell whether a parameter stands for a registry."""
    annotation = str(getattr(parameter.annotation, "__name__", parameter.annotation))
    return parameter.name in REGISTRY_ARGUMENTS or annotation in ("Registry", "Manager")


def named_stage(place: str, module: ModuleType, name: str) -> Any:
    """Return the stage of a name, or a reference or list of that name; raise `UnknownStage`."""
    found = vars(module).get(name)
    if callable(found) or isdref(found) or isinstance(found, (list, tuple, dict)):
        return found
    raise UnknownStage(f"{place} has no stage {name!r}", _listed(list(stages(module)), name))


def _listed(names: list[str], typed: str = "") -> str:
    """List stages for a hint, with the one that was probably meant first."""
    if not names:
        return "a stage is a function with @autostage, or one annotated '-> DRef'"
    return f"{close_to(typed, names)}its stages are {', '.join(names)}"


def close_to(typed: str, names: Iterable[str]) -> str:
    """Return a question for a hint: is it the name that is closest to what was typed?"""
    from difflib import get_close_matches

    close = get_close_matches(typed, list(names), 1)
    return f"is it {close[0]}? " if close else ""


def default_stage(place: str, module: ModuleType, registry: Registry) -> str:
    """Name the stage to take if none was named; see `targets.load`."""
    found = stages(module)
    for name in DEFAULTS:
        if name in found:
            return name
    used = {_key(other) for stage in found.values() for other in _uses(stage, registry)}
    names = [name for name, stage in found.items() if _key(stage) not in used]
    if len(names) == 1:
        return names[0]
    if not found:
        own = [name for name, value in vars(module).items() if _is_own(value, module)]
        ways = " or ".join(f"{place}:{name}" for name in own if not name.startswith("_"))
        raise UnknownStage(
            f"{place} defines no stage",
            f"if a function returns one: {ways}" if ways else _listed([]),
        )
    raise UnknownStage(
        f"{place} has {len(found)} stages and none is called default",
        f"say which: {' or '.join(f'{place}:{name}' for name in names or found)}",
    )


def _key(stage: Any) -> Any:
    return str(stage) if isinstance(stage, str) else id(stage)


def _uses(stage: Any, registry: Registry) -> Iterator[Any]:
    """Yield what a stage refers to, as far as that can be seen without calling it."""
    if isinstance(stage, AutoStage):
        yield from _values(stage.config)
    elif isinstance(stage, FunctionType):
        function = inspect.unwrap(stage)
        space = getattr(function, "__globals__", {})
        for name in _names(function.__code__):
            yield space.get(name)
        yield from _values(list(function.__defaults__ or ()))
    elif isdref(stage) and stage in registry.derivations:
        yield from registry.derivations[DRef(stage)].config.dependencies


def _values(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for item in value.values():
            yield from _values(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _values(item)
    else:
        yield value
        if isinstance(value, FunctionType) and value.__name__ == "<lambda>":
            for name in _names(value.__code__):
                yield value.__globals__.get(name)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)
