"""The layer has every public name of Pylightnix's modules, with the same parameters."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

#: A line for each name: `module: name`, or `module: name(parameters)`; taken from its sources.
LINES = (Path(__file__).parent / "interface.txt").read_text().splitlines()
MODULES = sorted({line.partition(":")[0] for line in LINES})

#: Parameters that we have beyond those of Pylightnix, at the end.
MORE = {"lens.val2path": ["lens"], "garb.gc_exceptions": ["S"]}


@pytest.mark.parametrize("module", MODULES)
def test_names_and_parameters(module: str) -> None:
    """Each name of a module is there, and its parameters have the names and the order they had."""
    found = importlib.import_module(f"plxnix.compat.pylightnix.{module}")
    wrong = []
    for line in LINES:
        where, _, rest = line.partition(": ")
        if where != module:
            continue
        name, _, parameters = rest.rstrip(")").partition("(")
        if not hasattr(found, name):
            wrong.append(f"{name} is missing")
        elif "(" in rest:
            ours = [
                parameter.name
                for parameter in inspect.signature(getattr(found, name)).parameters.values()
                if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            ]
            wanted = [part for part in parameters.split(", ") if part]
            if ours != wanted + MORE.get(f"{module}.{name}", []):
                wrong.append(f"{name} has {ours}, not {wanted}")
    assert wrong == []


@pytest.mark.parametrize("module", [name for name in MODULES if name != "types"])
def test_package_hands_on(module: str) -> None:
    """What a module defines can be imported from the package as well."""
    package = importlib.import_module("plxnix.compat.pylightnix")
    names = [
        line.partition(": ")[2].partition("(")[0]
        for line in LINES
        if line.startswith(f"{module}: ") and "(" in line
    ]
    assert [name for name in names if not hasattr(package, name)] == []
