"""What changes the hash of code, what does not, and what is refused."""

from __future__ import annotations

import doctest
import functools
import importlib
import linecache
import os
import runpy
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from plxnix.codehash import codehash, explain
from plxnix.errors import CodeHashError

ROOT = Path(__file__).parents[2]

PROJECT = {
    "mymod.py": """
        import functools
        import helpers
        from helpers import scale as s, Base
        from pack import exported
        import pack.inner as inner

        FACTOR = 2
        low, high = 0, 10
        table = {}
        table["a"] = 1
        try:
            import json as codec
        except ImportError:
            codec = None
        if FACTOR > 1:
            MODE = "big"
        else:
            MODE = "small"

        class Model(Base):
            size = FACTOR
            def fit(self):
                return self.predict()
            def predict(self):
                return high

        def repeat(times):
            def decorate(function):
                @functools.wraps(function)
                def wrapper(*args):
                    return [function(*args) for _ in range(times)]
                return wrapper
            return decorate

        def plain(x=FACTOR):
            return s(x)

        def uses_model():
            return Model().fit()

        def uses_table():
            return table

        def uses_mode():
            return MODE

        def uses_pack():
            return exported(inner.VALUE)

        def uses_chain():
            return helpers.deep.bottom()

        def uses_local_import():
            import late
            return late.answer()

        @repeat(3)
        def decorated():
            return 1

        def annotated(model: "Model"):
            return model.fit()

        def shadowed(FACTOR):
            high = 1
            return [low for low in (FACTOR, high)]

        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)

        def unrelated():
            return "unrelated"
        """,
    "helpers.py": """
        import deep
        from deep import *

        class Base:
            def shared(self):
                return 1

        def scale(x):
            return bottom() * x
        """,
    "deep.py": """
        LIMIT = 5
        def bottom():
            return LIMIT
        """,
    "late.py": "def answer():\n    return 42\n",
    "pack/__init__.py": "from .inner import exported\n",
    "pack/inner.py": "VALUE = 1\ndef exported(x):\n    return x + 1\n",
}

Load = Callable[..., ModuleType]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Write the project, with a change to one of its files, into a new folder, and import it."""
    before = set(sys.modules)
    counter = iter(range(1000))

    def forget() -> None:
        for name in set(sys.modules) - before:
            if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
                del sys.modules[name]

    def load(
        file: str = "", old: str = "", new: str = "", project: dict[str, str] = PROJECT
    ) -> ModuleType:
        forget()
        folder = tmp_path / f"project{next(counter)}"
        for name, text in project.items():
            text = textwrap.dedent(text)
            if name == file:
                assert old in text
                text = text.replace(old, new)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
        monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
        importlib.invalidate_caches()
        return importlib.import_module("mymod")

    yield load
    forget()


def one(load: Load, text: str) -> str:
    """Hash `stage` of a module of that text."""
    return codehash([load(project={"mymod.py": text}).stage])


CHANGES = [
    ("plain", "mymod.py", "return s(x)", "return s(x + 1)"),
    ("plain", "mymod.py", "x=FACTOR", "x=3"),
    ("plain", "mymod.py", "FACTOR = 2", "FACTOR = 3"),
    ("plain", "helpers.py", "bottom() * x", "bottom() - x"),
    ("plain", "deep.py", "LIMIT = 5", "LIMIT = 6"),
    ("uses_model", "mymod.py", "return high", "return low"),
    ("uses_model", "mymod.py", "0, 10", "0, 11"),
    ("uses_model", "mymod.py", "size = FACTOR", "size = -FACTOR"),
    ("uses_model", "helpers.py", "return 1", "return 2"),
    ("annotated", "mymod.py", "return high", "return low"),
    ("uses_table", "mymod.py", 'table["a"] = 1', 'table["a"] = 2'),
    ("uses_mode", "mymod.py", '"small"', '"tiny"'),
    ("uses_mode", "mymod.py", "if FACTOR > 1", "if FACTOR > 2"),
    ("uses_mode", "mymod.py", "FACTOR = 2", "FACTOR = 3"),
    ("uses_pack", "pack/inner.py", "x + 1", "x + 2"),
    ("uses_pack", "pack/inner.py", "VALUE = 1", "VALUE = 2"),
    ("uses_chain", "deep.py", "LIMIT = 5", "LIMIT = 6"),
    ("uses_local_import", "late.py", "42", "43"),
    ("decorated", "mymod.py", "return 1\n", "return 2\n"),
    ("decorated", "mymod.py", "@repeat(3)", "@repeat(4)"),
    ("decorated", "mymod.py", "range(times)", "range(times + 1)"),
    ("even", "mymod.py", "n != 0", "n != 1"),
    ("odd", "mymod.py", "n == 0", "n == 1"),
]


@pytest.mark.parametrize(("name", "file", "old", "new"), CHANGES)
def test_a_change_of_what_is_used_alters_the_hash(
    load: Load, name: str, file: str, old: str, new: str
) -> None:
    """Bodies, defaults, constants, bases, decorators and helpers two imports away all count."""
    before = codehash([getattr(load(), name)])
    after = codehash([getattr(load(file, old, new), name)])
    assert before != after


UNUSED = [
    ("plain", "mymod.py", '"unrelated"', '"other"'),
    ("plain", "helpers.py", "return 1", "return 2"),
    ("plain", "late.py", "42", "43"),
    ("shadowed", "mymod.py", "FACTOR = 2", "FACTOR = 3"),
    ("shadowed", "mymod.py", "0, 10", "1, 11"),
    ("uses_table", "mymod.py", "FACTOR = 2", "FACTOR = 3"),
    ("even", "deep.py", "LIMIT = 5", "LIMIT = 6"),
]


@pytest.mark.parametrize(("name", "file", "old", "new"), UNUSED)
def test_a_change_of_what_is_not_used_keeps_the_hash(
    load: Load, name: str, file: str, old: str, new: str
) -> None:
    """Other functions of the same modules, and globals that a local name hides, do not count."""
    before = codehash([getattr(load(), name)])
    after = codehash([getattr(load(file, old, new), name)])
    assert before == after


def test_the_hash_is_of_the_promised_form(load: Load) -> None:
    """It is 64 hexadecimal digits, and the order and number of objects count."""
    module = load()
    value = codehash([module.plain])
    assert len(value) == 64
    assert int(value, 16) >= 0
    assert len({value, codehash([module.plain] * 2), codehash([])}) == 3
    assert codehash([module.even, module.odd]) != codehash([module.odd, module.even])


LOOKS = [
    "def stage(a, b=1):\n    return f(a, b)\n",
    "def stage(a, b=1):  # comment\n\n  # more\n  return f(a, b)\n",
    'def stage(a, b=1):\n    """Say."""\n    return f(a, b)\n',
    "def stage(\n        a,\n        b=1,\n):\n\treturn f(\n\t\ta,\n b,\n\t)\n",
    "def stage(a, b = 1):\n    return \\\n        f(a, b);\n",
    "# -*- coding: utf-8 -*-\n'''Module.'''\n\n\ndef stage(a,b=1):\n        return f(a,b)",
    "def stage(a, b=1):\n    return f(a, b)\n    'unreachable'\n",
]


@pytest.mark.parametrize("text", LOOKS)
def test_looks_do_not_count(load: Load, text: str) -> None:
    """Comments, docstrings, indentation, line breaks and trailing commas leave the hash alone."""
    assert one(load, text) == one(load, LOOKS[0])


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("'a'", '"a"', True),
        ("'a'", "'''a'''", True),
        ("'a'", "u'a'", True),
        (r"'\n'", r"'\x0a'", True),
        (r"r'\n'", r"'\\n'", True),
        (r"'\d'", r"'\\d'", True),
        ("b'a'", "'a'", False),
        (r"b'\xe9'", "'é'", False),
        ("f'a{x}'", 'f"a{x}"', True),
        ("f'a{x}'", "f'a{y}'", False),
        ("f'a{x}'", "'a{x}'", False),
        ("f'{x!r:>{y}}'", "F'{x!r:>{y}}'", True),
        ("f'{{x}}é{x}'", "f'{{x}}e{x}'", False),
        ("(1)", "1", False),
        ("(1,)", "(1)", False),
        ("(1, 2,)", "(1, 2)", True),
        ("[1,]", "[1]", True),
        ("{1,}", "{1}", True),
        ("x[1,]", "x[1]", False),
        ("x[1, 2,]", "x[1, 2]", True),
        ("(lambda a, b: a,)", "(lambda a, b: a)", False),
        ("print(1,)", "print(1)", True),
        ("1000", "1_000", False),
        ("1", "1.0", False),
        ("x if y else 1", "y if x else 1", False),
    ],
)
@pytest.mark.filterwarnings("ignore:.*invalid escape")
def test_literals_count_by_value(load: Load, left: str, right: str, same: bool) -> None:
    """Quotes, prefixes and escapes do not matter; values, tuples and parentheses do."""
    hashes = [
        one(load, f"x = y = 1\ndef stage(x, y):\n    return {text}\n") for text in (left, right)
    ]
    assert (hashes[0] == hashes[1]) is same


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("if x:\n        'a'\n    return 1", "if x:\n        return 1"),
        ("if x:\n        y = 1\n        y = 2", "if x:\n        y = 1\n    y = 2"),
        ("x = 1; return x", "return x"),
        ("return x", "return\n    x"),
        ("y = x\n    (x,) = y", "y = x\n    (x) = y"),
    ],
)
def test_structure_counts(load: Load, left: str, right: str) -> None:
    """What is in which block, and where a statement ends, is part of the code."""
    assert one(load, f"def stage(x):\n    {left}\n") != one(load, f"def stage(x):\n    {right}\n")


def test_one_line_of_statements_is_as_many_lines(load: Load) -> None:
    """A semicolon ends a statement as a line does."""
    assert one(load, "def stage(x):\n    x = 1; return x\n") == one(
        load, "def stage(x):\n    x = 1\n    return x\n"
    )


def test_stage_decorators_are_skipped(load: Load) -> None:
    """The decorators of stages do not count, whatever name they are imported by; others do."""
    text = """
        def autostage(**k): return lambda f: f
        def other(**k): return lambda f: f
        @{}(a=1)
        def stage():
            return 1
    """
    first = one(load, text.format("autostage"))
    assert first == one(load, text.format("autostage").replace("a=1", "a=2"))
    assert first == one(load, "def stage():\n    return 1\n")
    assert first != one(load, text.format("other"))
    alias = "from plxnix import autostage as st\n@st\ndef stage():\n    return 1\n"
    assert codehash([load(project={"mymod.py": alias}).stage.function]) == first
    module = load(project={"mymod.py": textwrap.dedent(text.format("other"))})
    assert codehash([module.stage], skip_decorators=frozenset({"other"})) == first


def test_a_stage_used_by_a_stage_is_source(load: Load) -> None:
    """What a stage calls is followed, be it a function or a decorated stage."""
    text = """
        from plxnix import autostage
        @autostage
        def first():
            return {}
        def stage():
            return first()
    """
    modules = [load(project={"mymod.py": text.format(value)}) for value in (1, 2)]
    assert len({codehash([module.stage]) for module in modules}) == 2
    assert len({codehash([module.first]) for module in modules}) == 2


def test_closures_count_by_what_they_hold(load: Load) -> None:
    """Plain values count by value, whatever their order; functions and classes by their source."""
    module = load(
        project={
            "mymod.py": """
            def make(held):
                def inner(x):
                    return held
                return inner
            def one(): return 1
            def two(): return 2
            class A:
                x = 1
            class B:
                x = 1
            """
        }
    )
    holds = [1, 2, True, 1.0, "1", b"1", None, (1,), [1], {1}, {"a": 1}, {1: "a"}, [module.one]]
    holds += [module.one, module.two, module.A, module.B, {"f": module.one}, 10**5000]
    holds += [functools.partial(module.one, 1), functools.partial(module.one, 2), len, max, os]
    holds += [str.upper, bytes.upper, str.lower, [].append, object(), module.A()]
    hashes = [codehash([module.make(held)]) for held in holds]
    assert len(set(hashes)) == len(holds)
    assert codehash([module.make({"a": 1, "b": 2})]) == codehash([module.make({"b": 2, "a": 1})])
    assert codehash([module.make({3, 1, 2})]) == codehash([module.make({2, 3, 1})])
    assert codehash([module.make(object())]) == codehash([module.make(object())])


def test_a_value_in_itself_is_refused(load: Load) -> None:
    """A list that contains itself has no hash."""
    held: list[Any] = []
    held.append(held)
    text = "def make(held):\n    return lambda: held\n"
    with pytest.raises(CodeHashError, match="nested too deeply"):
        codehash([load(project={"mymod.py": text}).make(held)])


def test_lambdas_are_told_apart_by_line_and_value(load: Load) -> None:
    """A lambda alone on a line is itself; those that share one are the statement and defaults."""
    module = load(
        project={
            "mymod.py": """
            alone = lambda x: x + 1
            other = lambda x: x + 2
            many = [lambda x, i=i: x * i for i in range(3)]
            pair = (lambda: 1, lambda: 2)
            """
        }
    )
    assert codehash([module.alone]) != codehash([module.other])
    assert len({codehash([function]) for function in module.many}) == 3
    assert codehash([module.pair[0]]) == codehash([module.pair[1]])


def test_methods_count_with_their_class(load: Load) -> None:
    """A bound method, or a function of a class, depends on the methods it may call."""
    before, after = load(), load("mymod.py", "return high", "return low")
    assert codehash([before.Model().fit]) != codehash([after.Model().fit])
    assert codehash([before.Model.fit]) != codehash([after.Model.fit])
    assert codehash([before.Model]) != codehash([after.Model])


def test_a_module_is_all_of_it(load: Load) -> None:
    """A module as an object counts whole, with what it imports."""
    before = codehash([load()])
    assert before != codehash([load("mymod.py", '"unrelated"', '"other"')])
    assert before != codehash([load("deep.py", "LIMIT = 5", "LIMIT = 6")])
    assert before == codehash([load("mymod.py", "FACTOR = 2", "FACTOR = 2  # two")])


def test_registrations_belong_to_what_they_change(load: Load) -> None:
    """A function registered by a decorator of an object counts for who uses the object."""
    text = """
        import functools
        @functools.singledispatch
        def show(x): return 0
        @show.register
        def _(x: int): return {}
        def stage(): return show(1)
    """
    assert one(load, text.format(1)) != one(load, text.format(2))


COLLECTING = """
TABLE = {{}}
TABLE["more"] = len
def {0}
def one(): return {1}
{2}
{3}def other(): return 1
def stage(): return TABLE["one"]()
"""


@pytest.mark.parametrize(
    ("collect", "call"),
    [
        ("collect(f): TABLE[f.__name__] = f; return f\n@collect", ""),
        ("collect(f):\n    if f: TABLE.update({'one': f})\n    return f\n@collect", ""),
        ("collect(f): TABLE[f.__name__] = f", "collect(one)"),
        (
            "collect(name):\n    def take(f):\n        TABLE[name] = f\n        return f\n"
            "    return take\n@collect('one')",
            "",
        ),
    ],
)
def test_what_a_function_collects_belongs_to_its_table(load: Load, collect: str, call: str) -> None:
    """Who reads a table depends on what decorators and calls have put into it; others do not."""
    above = """
        import tables
        from tables import TABLE, one as beside, other as apart, collect
        def stage(): return TABLE
        def again(): return tables.TABLE
    """

    def hashes(number: int) -> dict[str, str]:
        tables = COLLECTING.format(
            collect, number, call, collect.rpartition("\n")[2] + "\n" if not call else ""
        )
        module = load(project={"mymod.py": above, "tables.py": tables})
        found = {name: codehash([getattr(module.tables, name)]) for name in ("stage", "other")}
        found |= {f"{name} above": codehash([getattr(module, name)]) for name in ("stage", "again")}
        return {**found, "one": codehash([module.beside]), "collect": codehash([module.collect])}

    old, new = hashes(1), hashes(2)
    changed = {name for name in old if old[name] != new[name]}
    assert changed == {"stage", "stage above", "again above", "one"}


def test_a_change_anywhere_in_a_cycle_counts(load: Load) -> None:
    """Of functions that call one another in a ring, each depends on all."""
    text = "def f{0}(): return f{1}(){2}\n"
    ring = "".join(text.format(i, (i + 1) % 5, "{}" if i == 3 else "") for i in range(5))
    modules = [load(project={"mymod.py": ring.format(change)}) for change in ("", " + 1")]
    for name in ("f0", "f1", "f2", "f3", "f4"):
        assert len({codehash([getattr(module, name)]) for module in modules}) == 2


def test_a_module_attribute_made_at_run_time_is_all_of_the_module(load: Load) -> None:
    """Where no statement binds the attribute, any of the module's statements may have made it."""
    main = "import late\ndef stage(): return late.made\n"
    hashes = {
        codehash([load(project={"mymod.py": main, "late.py": late}).stage])
        for late in ("globals()['made'] = 1\n", "globals()['made'] = 2\n")
    }
    assert len(hashes) == 2


def test_a_global_set_by_a_function_is_followed(load: Load) -> None:
    """`global` in a function binds the name as a statement of the module does."""
    text = """
        def setup():
            global state
            state = {}
        def stage(): return state
    """
    assert one(load, text.format(1)) != one(load, text.format(2))


def test_plain_values_and_paths(tmp_path: Path) -> None:
    """A `str` is a tag; a `Path` is contents, those of Python files without their looks."""
    file, script, folder = tmp_path / "data", tmp_path / "a.py", tmp_path / "folder"
    file.write_bytes(b"x = 1")
    script.write_text("x = 1  # one\n")
    assert codehash(["data"]) != codehash([file])
    assert codehash(["a"]) != codehash(["b"])
    before = codehash([script])
    script.write_text("x  =  1\n")
    assert codehash([script]) == before
    script.write_text("not python at all")
    assert codehash([script]) != before
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "one").write_bytes(b"1")
    hashes = {codehash([folder])}
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_bytes(b"")
    hashes.add(codehash([folder]))
    assert len(hashes) == 1
    (folder / "sub" / "one").rename(folder / "one")
    hashes.add(codehash([folder]))
    (folder / "one").write_bytes(b"2")
    hashes.add(codehash([folder]))
    assert len(hashes) == 3
    with pytest.raises(CodeHashError, match="cannot be read"):
        codehash([tmp_path / "missing"])


def test_without_source_it_is_refused_with_a_way_out() -> None:
    """Code of `exec` has no source: the error names the function and says what to do."""
    scope: dict[str, Any] = {"__name__": "__main__"}
    # A name of its own: in Python 3.13 the text of `python -c` is kept under "<string>".
    exec(compile("def made(): return 1", "<nowhere>", "exec"), scope)  # noqa: S102
    with pytest.raises(CodeHashError, match=r"made: .*(\n.*)*version="):
        codehash([scope["made"]])


def test_code_that_was_registered_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of a notebook see what the names are bound to now, in whatever cell."""
    scope: dict[str, Any] = {"__name__": "__main__"}

    def cell(number: int, text: str) -> None:
        filename = f"<ipython-input-{number}>"
        entry = (len(text), None, text.splitlines(keepends=True), filename)
        monkeypatch.setitem(linecache.cache, filename, entry)
        exec(compile(text, filename, "exec"), scope)  # noqa: S102

    cell(1, "rate = 1\ndef helper():\n    return rate\nclass Empty:\n    size = 1\n")
    cell(2, "import os\ndef stage():\n    return helper(), os.path.join('a')\n")
    before, empty = codehash([scope["stage"]]), codehash([scope["Empty"]])
    assert codehash([scope["stage"]]) == before
    cell(3, "rate = 2\n")
    changed = codehash([scope["stage"]])
    cell(4, "def helper():\n    return -rate\n")
    cell(5, "class Empty:\n    size = 2\n")
    assert len({before, changed, codehash([scope["stage"]])}) == 3
    assert codehash([scope["Empty"]]) != empty


def test_doctests_have_source() -> None:
    """A function that an example of a doctest defines can be hashed."""
    text = """
        >>> def stage(): return 1
        >>> len(codehash([stage]))
        64
    """
    test = doctest.DocTestParser().get_doctest(text, {"codehash": codehash}, "example", None, 0)
    assert doctest.DocTestRunner().run(test).failed == 0


def test_the_source_is_that_of_the_loaded_module(load: Load) -> None:
    """An edit counts once the module has been loaded again, not before."""
    module = load()
    before = codehash([module.plain])
    file = Path(str(module.__file__))
    file.write_text(file.read_text().replace("return s(x)", "return s(x - 1)"))
    assert codehash([module.plain]) == before
    importlib.reload(module)
    assert codehash([module.plain]) != before


def test_a_helper_that_was_reloaded_or_replaced_is_read_anew(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What counts is the module that has the name now, as it was loaded last."""
    module = load()
    hashes = {codehash([module.plain])}
    file = Path(str(module.helpers.__file__))
    file.write_text(file.read_text().replace("bottom() * x", "bottom() - x"))
    importlib.reload(module.helpers)
    hashes.add(codehash([module.plain]))
    other = tmp_path / "other.py"
    other.write_text(file.read_text().replace("bottom() - x", "bottom() + x"))
    spec = spec_from_file_location("helpers", other)
    assert spec is not None
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "helpers", module_from_spec(spec))
        hashes.add(codehash([module.plain]))
    assert len(hashes) == 3


def test_a_docstring_on_the_line_of_its_function_does_not_count(load: Load) -> None:
    """It goes with the semicolon after it."""
    assert one(load, "def stage(): 'doc'; return 1\n") == one(load, "def stage(): return 1\n")


def test_a_file_run_twice_is_read_twice(tmp_path: Path) -> None:
    """Each `runpy.run_path` of an edited file has its own hash."""
    file = tmp_path / "script.py"
    hashes = set()
    for value in (1, 2):
        file.write_text(f"def stage():\n    return {value}\n")
        hashes.add(codehash([runpy.run_path(str(file))["stage"]]))
    assert len(hashes) == 2


def test_no_user_code_runs(load: Load) -> None:
    """Properties, special methods and modules that are not loaded stay still."""
    module = load(
        project={
            "mymod.py": """
            class Trap:
                def fail(self, *a): raise SystemExit("user code ran")
                __getattribute__ = __eq__ = __repr__ = __hash__ = __call__ = fail
                __class__ = property(fail)
            class Meta(type):
                def __getattribute__(self, name): raise SystemExit("user code ran")
            class Odd(metaclass=Meta):
                x = 1
            def make(held):
                return lambda: held
            def lazy():
                import bomb.inner
                return bomb.inner.go()
            trap = Trap()
            """,
            "bomb/__init__.py": "raise SystemExit('user code ran')\n",
            "bomb/inner.py": "def go():\n    return 1\n",
        }
    )
    for item in (module.trap, module.make(module.trap), module.make(module.Odd), module.Odd):
        codehash([item])
    covered = [name for name, _ in explain([module.lazy])]
    assert covered == ["lazy", "inner.go"]
    assert "bomb" not in sys.modules


def test_installed_packages_count_by_name_only(load: Load) -> None:
    """Of Python and of installed packages nothing is covered but the name."""
    text = "import os, hypothesis\ndef stage():\n    return {}(1)\n"
    module = load(project={"mymod.py": text.format("hypothesis.given")})
    assert [name for name, _ in explain([module.stage])] == ["stage"]
    assert len(codehash([os.path.join, os, hypothesis_version, len, Path, Path("/dev/null").name]))


def hypothesis_version() -> str:
    """Return something of an installed package."""
    return "1"


def test_explain_lists_what_is_covered(load: Load) -> None:
    """Names carry their module where it is another one; a change shows in its own line only."""
    before = explain([load().plain])
    assert [name for name, _ in before] == [
        "plain",
        "FACTOR",
        "helpers.scale",
        "deep.bottom",
        "deep.LIMIT",
    ]
    assert all(len(digest) == 12 for _, digest in before)
    after = explain([load("deep.py", "LIMIT = 5", "LIMIT = 6").plain])
    assert {name for name, _ in {*before} - {*after}} == {"deep.LIMIT"}


def test_deeply_nested_code_is_hashed_or_refused(load: Load) -> None:
    """Generated code of thousands of terms is no trouble."""
    total = " + ".join(["1"] * 2500)
    assert one(load, f"def stage():\n    return {total}\n") != one(
        load, f"def stage():\n    return {total} + 2\n"
    )


def test_a_thousand_stages_in_a_chain_are_fast(load: Load) -> None:
    """The cost is linear: a chain in which each stage uses the last takes well under seconds."""
    lines = ["def stage0():\n    return 0\n"]
    lines += [
        f"def stage{i}():\n    # {i}\n    return stage{i - 1}() + {i}\n" for i in range(1, 1000)
    ]
    module = load(project={"mymod.py": "\n".join(lines)})
    start = time.process_time()
    hashes = {codehash([getattr(module, f"stage{i}")]) for i in reversed(range(1000))}
    elapsed = time.process_time() - start
    assert len(hashes) == 1000
    assert elapsed < 5  # of this process; it takes a tenth of that, and more on a busy machine


@pytest.mark.parametrize("seed", ["0", "1", "random"])
def test_every_process_agrees(load: Load, tmp_path: Path, seed: str) -> None:
    """Neither the salt of `hash()`, nor the folder, nor running instead of importing matters."""
    names = sorted({name for name, *_ in CHANGES})
    module = load()
    expected = [codehash([getattr(module, name)]) for name in names]
    expected.append(codehash([{"a", "b", "c", "d"}]))
    source = Path(str(module.__file__))
    script = source.with_name("script.py")
    code = (
        "\nfrom plxnix.codehash import codehash\n"
        f"print(*[codehash([globals()[n]]) for n in {names}], codehash([{{'a', 'b', 'c', 'd'}}]))\n"
    )
    script.write_text(source.read_text() + code)
    done = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == expected
