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
import re
import sys
from collections.abc import Mapping
from inspect import Parameter
from pathlib import Path
from types import ModuleType
from typing import Any

from plxnix.errors import InvalidValue, UnknownStage
from plxnix.function_stages import AutoStage
from plxnix.model import isdref
from plxnix.module_stages import close_to, default_stage, named_stage, takes_registry
from plxnix.realize.registry import Closure, Registry, current_registry, instantiate
from plxnix.user_errors import translated
from plxnix.written import read, wanted_by


def load(
    target: str,
    registry: Registry,
    arguments: Mapping[str, Any] | None = None,
    written: Mapping[str, str] | None = None,
) -> Closure:
    """Import what `target` names and instantiate its stage with keyword `arguments`.

    Arguments may also be given as they are `written` in a shell: they are read as what the stage's
    parameters want (see `written.read`). Without a stage it is the one called `default` or `main`,
    else the only one that no other uses.

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
    name = name or default_stage(place, module, registry)
    stage = named_stage(place, module, name)
    values = {**(arguments or {}), **_read(stage, written or {})}
    _check_arguments(name, stage, values)
    chosen = _registry_of(stage, module, registry)
    try:
        with current_registry(chosen):
            return instantiate(stage, registry=chosen, **values)
    except (Exception, SystemExit) as error:
        raise translated(error, f"the stage {name}") from error


def import_target(place: str, registry: Registry) -> ModuleType:
    """Import a file or a module with `registry` current; see `load` for errors."""
    is_file = place.endswith(".py") or "/" in place or os.path.isfile(place)
    try:
        with current_registry(registry):
            return _import_file(place) if is_file else _import_module(place)
    except UnknownStage:
        raise
    except (Exception, SystemExit) as error:
        raise translated(error, place) from error


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
    if place.isidentifier():
        for file in sorted(filter(Path.is_file, folder.glob("*.py"))):
            if place in functions_in(file):
                return f"is it {file}:{place}?"
    beside = sorted(str(path) for path in folder.glob("*.py")) if folder.is_dir() else []
    close = close_to(os.path.normpath(place), beside)
    return close.strip() or "a target is FILE.py:stage or package.module:stage"


def _deeper(name: str, stage: Any, key: str) -> str:
    """Say for a hint how a dependency gets an argument that only it takes."""
    for field, other in stage.config.items() if isinstance(stage, AutoStage) else ():
        if isinstance(other, AutoStage) and key in other.config:
            inner = other.config["name"]
            call = f"{name}({field}={inner}({key}={key}))"
            return f"; {inner} takes {key}: write a function that returns {call}"
    return ""


def functions_in(file: Path) -> list[str]:
    """Return the public functions that a file seems to define: it is read, if it can be."""
    try:
        text = file.read_text(errors="replace")
    except OSError:
        return []
    return re.findall(r"^def ([^\W_]\w*)", text, re.MULTILINE)


def _registry_of(stage: Any, module: ModuleType, registry: Registry) -> Registry:
    """Return the registry that knows a stage: the file may have made one of its own."""
    if isinstance(stage, AutoStage) and stage.registry is not None:
        return stage.registry
    if isdref(stage) and stage not in registry.derivations:
        for value in vars(module).values():
            if isinstance(value, Registry) and stage in value.derivations:
                return value
    return registry


def _read(stage: Any, written: Mapping[str, str]) -> dict[str, Any]:
    parameters = _parameters(stage) or {}
    others = next((p for p in parameters.values() if p.kind is p.VAR_KEYWORD), None)
    config = stage.config if isinstance(stage, AutoStage) else {}
    return {
        name: read(text, wanted_by(parameters.get(name, others), config.get(name, Parameter.empty)))
        for name, text in written.items()
    }


def _parameters(stage: Any) -> Mapping[str, Parameter] | None:
    try:
        return inspect.signature(stage).parameters
    except (TypeError, ValueError):
        return None


def _check_arguments(name: str, stage: Any, arguments: Mapping[str, Any]) -> None:
    if not callable(stage):
        if arguments:
            raise InvalidValue(
                f"{name} is a finished reference and takes no {', '.join(arguments)}",
                "name the function that makes it",
            )
        return
    parameters = _parameters(stage)
    if parameters is None:
        return
    given = {p.name: p for p in parameters.values() if not takes_registry(p)}
    variadic = (Parameter.VAR_KEYWORD, Parameter.VAR_POSITIONAL)
    known = [key for key, p in given.items() if p.kind not in variadic]
    if isinstance(stage, AutoStage):
        known = list(dict.fromkeys([*stage.config, *known]))
    open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in given.values())
    for key in arguments:
        if key not in known and not open_ended:
            raise InvalidValue(
                f"the stage {name} takes no argument {key!r}",
                f"{close_to(key, known)}it takes {', '.join(known) or 'none'}"
                f"{_deeper(name, stage, key)}",
            )
    if not isinstance(stage, AutoStage):  # which checks that itself
        missing = [k for k in known if given[k].default is Parameter.empty]
        wanted = [key for key in missing if key not in arguments]
        if wanted:
            raise InvalidValue(
                f"the stage {name} needs a value for {', '.join(wanted)}",
                f"give it: -a {wanted[0]}=VALUE",
            )
