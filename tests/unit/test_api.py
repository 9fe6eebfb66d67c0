"""The table of contents: what `plxnix` offers, and what importing it costs."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
import typing
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

import plxnix

#: What must not be imported before it is needed: each costs more than all of plxnix's core.
HEAVY = {
    "asyncio",
    "click",
    "concurrent.futures",
    "email",
    "gzip",
    "hypothesis",
    "http.client",
    "importlib.metadata",
    "jinja2",
    "logging",
    "multiprocessing",
    "numpy",
    "random",
    "rich",
    "shutil",
    "socket",
    "ssl",
    "subprocess",
    "tarfile",
    "tempfile",
    "unittest",
    "urllib.request",
    "plxnix.builders.sandbox",
    "plxnix.nix.graph",
    "plxnix.realize.scheduling",
    "urllib3",
    "yaml",
    "zipfile",
}

#: What nearly each script imports.
CORE = "from plxnix import autostage, fsinit, instantiate, mklens, realize, selfref"


def imported_by(statement: str) -> set[str]:
    """Return the modules that a statement brings into a fresh interpreter."""
    script = (
        "import sys; before = set(sys.modules)\n"
        f"{statement}\n"
        "after = set(sys.modules) - before\n"
        "import json; print(json.dumps(sorted(after)))"
    )
    root = Path(plxnix.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(root)!r})\n{script}"],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(json.loads(done.stdout))


def test_all_is_sorted_and_complete() -> None:
    """`__all__` has each public name that is bound, once, in order; some are bound when used."""
    names: list[str] = vars(plxnix)["__all__"]
    assert [*names] == sorted(set(names))
    for name in names:
        getattr(plxnix, name)
    bound = {
        name
        for name, value in vars(plxnix).items()
        if not name.startswith("_")
        and not isinstance(value, ModuleType)
        and not hasattr(typing, name)
    }
    assert bound <= {*names}
    assert {*names} <= {*dir(plxnix)}


@pytest.mark.parametrize("name", vars(plxnix)["__all__"])
def test_each_name_is_ours_and_documented(name: str) -> None:
    """Each name is there; classes and functions are of plxnix and say what they do."""
    value = getattr(plxnix, name)
    # On Python 3.10 a generic alias takes itself for a class.
    if isinstance(value, (type, FunctionType)) and typing.get_origin(value) is None:
        assert value.__module__.startswith("plxnix.")
        assert value.__doc__


def test_type_checkers_see_the_same() -> None:
    """The stub has each name, and imports it from where it comes from."""
    stub = ast.parse(Path(plxnix.__file__).with_suffix(".pyi").read_text())
    shown = {
        (node.module, alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {(home, name) for name, home in vars(plxnix)["_HOMES"].items()}
    assert shown == {*homes, ("plxnix", "errors")}


def test_no_module_hides_a_name() -> None:
    """Whatever modules are imported first, a name is what its module defines."""
    script = (
        "import importlib, pkgutil, plxnix\n"
        "for found in pkgutil.walk_packages(plxnix.__path__, 'plxnix.'):\n"
        "    if found.name.count('.') < 2 and found.name != 'plxnix.__main__':\n"
        "        importlib.import_module(found.name)\n"
        "for name, home in plxnix._HOMES.items():\n"
        "    assert getattr(plxnix, name) is getattr(importlib.import_module(home), name), name\n"
        "import plxnix.realize.plan\n"
        "plxnix.realize, plxnix.errors.HashMismatch, plxnix.realize.__call__\n"
    )
    assert "plxnix.repl" in imported_by(script)


def test_unknown_name() -> None:
    """A name that is not there is an AttributeError, and an ImportError where it is imported."""
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = plxnix.no_such_name  # type: ignore[attr-defined]
    with pytest.raises(ImportError, match="no_such_name"):
        exec("from plxnix import no_such_name")  # noqa: S102 (a constant)


def test_star_import() -> None:
    """`from plxnix import *`, as users of Pylightnix write it, brings just these names."""
    assert "plxnix.function_stages" in imported_by("from plxnix import *")
    script = "from plxnix import *\nassert {*plxnix.__all__} <= {*dir()}"
    subprocess.run([sys.executable, "-c", f"import plxnix\n{script}"], check=True)


def test_importing_is_cheap() -> None:
    """Importing plxnix brings no other module of it along; the core brings nothing heavy."""
    ours = {name for name in imported_by("import plxnix") if name.startswith("plxnix")}
    assert ours == {"plxnix", "plxnix.errors", "plxnix.realize", "plxnix.version"}
    assert imported_by(CORE) & HEAVY == set()


def test_instantiating_is_cheap(tmp_path: Path) -> None:
    """Neither does using the core: a stage is instantiated, realized and found again."""
    done = (
        "from plxnix import *\n"
        f"fsinit({str(tmp_path / 'store')!r})\n"
        "def stage(r): return mkdrv({'name': 'x'}, match_only(), build_wrapper(lambda b: None))\n"
        "evaluate(stage); evaluate(stage)"
    )
    used = {"gzip", "shutil", "socket", "subprocess", "plxnix.builders.sandbox", "plxnix.nix.graph"}
    assert imported_by(done) & (HEAVY - used) == set()


def test_version() -> None:
    """The version is text of at least two numbers."""
    parts = plxnix.__version__.split(".")
    assert len(parts) >= 2
    assert all(part[0].isdigit() for part in parts)


def test_typed() -> None:
    """The package says that it carries its types (PEP 561)."""
    assert Path(plxnix.__file__).with_name("py.typed").exists()
