"""Targets: stages as the command line names them, `FILE.py:stage` or `package.module:stage`.

The file is imported once, as a module with its own name and its folder on `sys.path`, with a
registry current: what stages at module level register is found there. The store is that of the
registry, whatever store the file itself opens with `fsinit`, so that all commands of one command
line look into the same store.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from plxnix.autostage import AutoStage
from plxnix.errors import InvalidValue, PlxnixError, TargetError, UnknownStage
from plxnix.model import DRef, isdref
from plxnix.realize.registry import (
    REGISTRY_ARGUMENTS,
    Closure,
    Registry,
    current_registry,
    instantiate,
)

#: Stages with these names are taken if the target names none.
DEFAULTS = ("default", "main")

#: Where code that is not the user's own lies: plxnix itself and the standard library.
_FOREIGN = tuple(os.path.dirname(os.path.abspath(one)) + os.sep for one in (__file__, os.__file__))


def load(target: str, registry: Registry, arguments: Mapping[str, Any] | None = None) -> Closure:
    """Import what `target` names and instantiate its stage with keyword `arguments`.

    Without a stage it is the one called `default` or `main`, else the only one that no other uses.

    Raises `UnknownStage` if there is no such file, module or stage, or the choice is not clear;
    `InvalidValue` for arguments that the stage does not take; `TargetError` for whatever the user's
    code raises, with the places in that code and the original as its cause.
    """
    place, _, name = target.partition(":")
    if not place or target.startswith(("dref:", "rref:")):
        raise UnknownStage(
            f"{target!r} does not name a stage",
            "write FILE.py:stage: a reference alone does not say how to realize it",
        )
    module = import_target(place, registry)
    name = name or _default(place, module, registry)
    stage = _named(place, module, name)
    _check_arguments(name, stage, arguments or {})
    chosen = _registry_of(stage, module, registry)
    try:
        with current_registry(chosen):
            return instantiate(stage, registry=chosen, **(arguments or {}))
    except (Exception, SystemExit) as error:
        raise _translated(error, f"the stage {name}") from error


def import_target(place: str, registry: Registry) -> ModuleType:
    """Import a file or a module with `registry` current; see `load` for errors."""
    is_file = place.endswith(".py") or "/" in place or os.path.isfile(place)
    try:
        with current_registry(registry):
            return _import_file(place) if is_file else _import_module(place)
    except UnknownStage:
        raise
    except (Exception, SystemExit) as error:
        raise _translated(error, place) from error


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


def user_frames(error: BaseException) -> list[str]:
    """Return the places in the user's code that an error went through, innermost last."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename:
        # It was met on the way into that file, so there is no frame for it.
        return [f"{_short(error.filename)}:{error.lineno}: {(error.text or '').strip()}"]
    return [
        f"{_short(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in traceback.extract_tb(error.__traceback__)
        if _is_users(frame.filename)
    ]


# -- importing -------------------------------------------------------------------------------------


def _import_file(place: str) -> ModuleType:
    path = Path(place).resolve()
    if not path.is_file():
        raise UnknownStage(f"there is no file {place!r}", _other_file(place))
    name = path.stem
    known = sys.modules.get(name)
    if known is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        # A module of the same name is in use by somebody else.
        name = f"plxnix_target_{name}"
    specification = importlib.util.spec_from_file_location(
        name, path, loader=importlib.machinery.SourceFileLoader(name, str(path))
    )
    if specification is None or specification.loader is None:
        raise UnknownStage(f"{place!r} cannot be imported", "a target is a Python file")
    module = importlib.util.module_from_spec(specification)
    _search(str(path.parent))
    sys.modules[name] = module
    try:
        specification.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _import_module(place: str) -> ModuleType:
    _search(os.getcwd())
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and f"{place}.".startswith(f"{error.name}."):
            raise UnknownStage(
                f"there is no file and no module {place!r}", _other_file(place)
            ) from None
        raise


def _search(folder: str) -> None:
    # It stays there, as for a script: realizers may import their neighbours when they run.
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _other_file(place: str) -> str:
    if os.path.isfile(f"{place}.py"):
        return f"there is {place}.py"
    folder = Path(place).parent
    beside = sorted(str(path) for path in folder.glob("*.py")) if folder.is_dir() else []
    close = _close(os.path.normpath(place), beside)
    return close.strip() or "a target is FILE.py:stage or package.module:stage"


# -- stages ----------------------------------------------------------------------------------------


def _is_stage(value: Any, module: ModuleType) -> bool:
    if isinstance(value, AutoStage):
        return value.function.__module__ == module.__name__
    if not inspect.isfunction(value):
        return isdref(value)
    if value.__module__ != module.__name__:
        return False
    result = value.__annotations__.get("return")
    return str(getattr(result, "__name__", result)).strip("\"'").endswith("DRef") or any(
        _takes_registry(parameter) for parameter in inspect.signature(value).parameters.values()
    )


def _takes_registry(parameter: inspect.Parameter) -> bool:
    annotation = str(getattr(parameter.annotation, "__name__", parameter.annotation))
    return parameter.name in REGISTRY_ARGUMENTS or annotation in ("Registry", "Manager")


def _named(place: str, module: ModuleType, name: str) -> Any:
    found = vars(module).get(name)
    if callable(found) or isdref(found) or isinstance(found, (list, tuple, dict)):
        return found
    raise UnknownStage(f"{place} has no stage {name!r}", _listed(list(stages(module)), name))


def _listed(names: list[str], typed: str = "") -> str:
    if not names:
        return "a stage is a function with @autostage, or one annotated '-> DRef'"
    return f"{_close(typed, names)}its stages are {', '.join(names)}"


def _close(typed: str, names: Iterable[str]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(typed, list(names), 1)
    return f"is it {close[0]}? " if close else ""


def _default(place: str, module: ModuleType, registry: Registry) -> str:
    found = stages(module)
    for name in DEFAULTS:
        if name in found:
            return name
    used = {_key(other) for stage in found.values() for other in _uses(stage, registry)}
    names = [name for name, stage in found.items() if _key(stage) not in used]
    if len(names) == 1:
        return names[0]
    if not found:
        raise UnknownStage(f"{place} defines no stage", _listed([]))
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


def _registry_of(stage: Any, module: ModuleType, registry: Registry) -> Registry:
    """Return the registry that knows a stage: the file may have made one of its own."""
    if isinstance(stage, AutoStage) and stage.registry is not None:
        return stage.registry
    if isdref(stage) and stage not in registry.derivations:
        for value in vars(module).values():
            if isinstance(value, Registry) and stage in value.derivations:
                return value
    return registry


def _check_arguments(name: str, stage: Any, arguments: Mapping[str, Any]) -> None:
    if not callable(stage):
        if arguments:
            raise InvalidValue(
                f"{name} is a finished reference and takes no {', '.join(arguments)}",
                "name the function that makes it",
            )
        return
    try:
        parameters = inspect.signature(stage).parameters.values()
    except (TypeError, ValueError):
        return
    given = {p.name: p for p in parameters if not _takes_registry(p)}
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    known = [key for key, p in given.items() if p.kind not in variadic]
    if isinstance(stage, AutoStage):
        known = list(dict.fromkeys([*stage.config, *known]))
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in given.values())
    for key in arguments:
        if key not in known and not open_ended:
            raise InvalidValue(
                f"the stage {name} takes no argument {key!r}",
                _close(key, known) + f"it takes {', '.join(known)}" if known else "it takes none",
            )
    if not isinstance(stage, AutoStage):  # which checks that itself
        missing = [k for k in known if given[k].default is inspect.Parameter.empty]
        wanted = [key for key in missing if key not in arguments]
        if wanted:
            raise InvalidValue(
                f"the stage {name} needs a value for {', '.join(wanted)}",
                f"give it: -a {wanted[0]}=VALUE",
            )


# -- errors of the user's code ---------------------------------------------------------------------


def _translated(error: BaseException, what: str) -> TargetError:
    """Return an error that says where in the user's code something was raised."""
    if isinstance(error, TargetError):
        return error
    frames = user_frames(error)
    if isinstance(error, PlxnixError):
        said, hint = error.message, error.hint
    elif isinstance(error, SystemExit):
        said, hint = f"exit: {error.code}", "let it raise an exception instead"
    elif isinstance(error, SyntaxError):
        said, hint = f"{type(error).__name__}: {error.msg}", ""
    else:
        said, hint = f"{type(error).__name__}: {error}", ""
    place = frames[-1].split(" ")[0].rstrip(":") if frames else what
    return TargetError(f"{place}: {said}", hint, frames)


def _is_users(path: str) -> bool:
    foreign = path.startswith(("<", *_FOREIGN)) or f"{os.sep}site-packages{os.sep}" in path
    return not foreign and os.path.basename(path) != "plxnix"


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
