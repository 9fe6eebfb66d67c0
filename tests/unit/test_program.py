"""Programs of functions: what goes along, how it is spelled, how it runs."""

from __future__ import annotations

import ast
import inspect
import json
import linecache
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.codehash.units import Unit
from plxnix.errors import InvalidValue
from plxnix.purecode import program, runner_file
from plxnix.purecode.spelling import literal, quoted, spell

Write = Callable[..., Any]

#: Modules of Python that have about everything in them.
CORPUS = ("ast", "asyncio.tasks", "dataclasses", "textwrap")


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write modules (`__` for a dot), and return the object `stage` of the last of them."""
    monkeypatch.syspath_prepend(tmp_path)

    def written(**texts: str) -> Any:
        for name, text in texts.items():
            file = tmp_path / (name.replace("__", "/") + ".py")
            for folder in reversed(file.relative_to(tmp_path).parents):
                (tmp_path / folder).mkdir(exist_ok=True)
                if folder.name:
                    (tmp_path / folder / "__init__.py").touch()
            file.write_text(textwrap.dedent(text))
        for loaded in list(sys.modules):
            if loaded.partition(".")[0] in {one.partition("__")[0] for one in texts}:
                monkeypatch.delitem(sys.modules, loaded)
        return import_module(name.replace("__", ".")).stage

    return written


def run(text: str, folder: Path, **arguments: Any) -> subprocess.CompletedProcess[str]:
    """Run a program by the runner, in a folder of its own; the stage writes `out`."""
    place = folder / "run"
    place.mkdir()
    (place / "program.py").write_text(text)
    data = {"arguments": {"out": {"$out": ["out"]}, **arguments}, "promises": [["out"]]}
    (place / "inputs.json").write_text(json.dumps({**data, "stages": []}))
    return subprocess.run(
        [sys.executable, "-s", "-B", runner_file(), place / "program.py", place / "inputs.json"],
        check=False,
        capture_output=True,
        text=True,
        env={"out": str(place / "out")},
        cwd=place,
    )


def result(stage: Any, folder: Path) -> str:
    """Return what a stage writes when its program runs, where no module of the test is."""
    done = run(program(stage), folder)
    assert done.returncode == 0, done.stderr
    return (folder / "run" / "out" / "out").read_text()


class TestSpelling:
    """Source from normalised tokens means what the source means."""

    @pytest.mark.parametrize("name", CORPUS)
    def test_of_python(self, name: str) -> None:
        """Modules of Python's own, without their docstrings, have the same tree."""
        text = inspect.getsource(import_module(name))
        unit = Unit("corpus.py", text, "", True)
        spelled = spell(unit.tokens(unit.tree, frozenset()))
        assert ast.dump(bare(spelled)) == ast.dump(bare(text))

    @pytest.mark.parametrize(
        "text",
        [
            "if x: a = 1; b = 2\nelse: c\n",
            "def f(): 'doc'\n",
            "class A:\n    'doc'\nclass B: pass\n",
            "def f():\n    def g():\n        'doc'\n    return g\n",
            "try:\n    'a'\nexcept E:\n    'b'\nfinally:\n    'c'\nx\n",
            "x = a[1:-2, ::3]; y = -a ** -b; z = *a, *b; f(*a, **b, c=-1)\n",
            "from . import x\nfrom ...y import z\nfrom ... import w\n",
            "f = lambda *a, b=1, **c: {k: -v for k, v in a}\n",
            "1 .real; 1.0.real; x = 1 if y else 2\n",
            "x: int = 3\ndef f(a: int = 1, /, *, b: str) -> 'x': ...\n",
            """x = ["it's", "a" 'b', b"\\x00", r"\\d", f'{x!r:>{w}}', 'é\\u2028\\ud800']\n""",
            "x = '''\n''', f\"\"\"\n {y}\"\"\"\n",
            "match x:\n    case [1, *_] | {'a': b}: a; b\n    case A(c=2) if d: pass\n",
            "@a.b(c)\n@d\nasync def f():\n    async with a as b, c: await d\n",
            "while (n := f(x)): continue\nassert not (yield), x @ y\n",
        ],
    )
    def test_of_traps(self, text: str) -> None:
        """Single lines, empty blocks, signs, dots, and texts of all kinds."""
        unit = Unit("trap.py", text, "", True)
        spelled = spell(unit.tokens(unit.tree, frozenset()))
        assert ast.dump(bare(spelled)) == ast.dump(bare(text))

    @given(st.text())
    def test_texts(self, text: str) -> None:
        """A literal is its value, in one line."""
        assert ast.literal_eval(quoted(text)) == text
        assert len(quoted(text).splitlines()) == 1

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.binary(),
            lambda inner: (
                st.lists(inner)
                | st.tuples(inner, inner)
                | st.tuples(inner)
                | st.dictionaries(st.text(), inner)
            ),
        )
    )
    def test_literals(self, value: Any) -> None:
        """So is that of any plain value, whose parts have their types."""
        text = literal(value)
        assert text is not None
        found = eval(text, {"float": float})  # noqa: S307
        assert repr(found) == repr(value)

    def test_sets(self) -> None:
        """Sets have an order in the text."""
        assert literal({"b", "a", "c"}) == '{"a", "b", "c"}'
        assert (
            literal((set(), frozenset(), frozenset({1}))) == "(set(), frozenset(), frozenset({1}))"
        )
        assert literal([object()]) is None


def bare(text: str) -> ast.Module:
    """Parse source without docstrings and `pass`."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            inside = getattr(node, field, None)
            if isinstance(inside, list):
                kept = [one for one in inside if not _is_idle(one)]
                setattr(node, field, kept)
    return tree


def _is_idle(node: ast.AST) -> bool:
    is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Pass) or (
        is_text and isinstance(getattr(node.value, "value", None), str)  # type: ignore[attr-defined]
    )


class TestPieces:
    """What goes along."""

    def test_packages(self, write: Write, tmp_path: Path) -> None:
        """Relative imports, submodules, star imports and imports of a circle work."""
        stage = write(
            pkg__deep__low="from ..top import name\nLOW = 'low'\ndef low(): return LOW + name()\n",
            pkg__stars="__all__ = ['star', 'other']\ndef star(): return 'star'\nother = 1\n",
            pkg__top="def name():\n    from pkg.deep import low\n    return '+' + low.LOW\n",
            stages="""
                from __future__ import annotations
                from typing import TYPE_CHECKING
                import pkg.deep.low
                import pkg.stars as shining, sys
                from pkg.stars import *
                from math import *
                try:
                    import no_such_module
                except ImportError:
                    no_such_module = None
                if TYPE_CHECKING:
                    from plxnix import DRef
                UNUSED = 1
                def helper(x: DRef) -> DRef: return x
                def stage(out: Registry) -> Registry:
                    helper(1)
                    found = [pkg.deep.low.low(), star(), shining.star(), no_such_module, floor(1.5)]
                    out.write_text(repr(found))
            """,
        )
        assert result(stage, tmp_path) == "['low+low', 'star', 'star', None, 1]"
        text = program(stage)
        assert "UNUSED" not in text
        assert "other" not in text
        assert "import sys" not in text
        assert "Registry" not in text
        assert "import DRef" not in text
        assert str(tmp_path) not in text

    def test_module_as_an_object(self, write: Write, tmp_path: Path) -> None:
        """A module that is more than its attributes goes along with all that is in it."""
        stage = write(
            tools="import json as j\nfrom plxnix import selfref\ndef f(): return j.dumps(A)\n"
            "A = 1\nif __name__ == '__main__': raise SystemExit\n",
            stages="import tools\ndef stage(out): out.write_text(getattr(tools, 'f')())\n",
        )
        assert result(stage, tmp_path) == "1"

    def test_state(self, write: Write, tmp_path: Path) -> None:
        """So do statements that change what a name stands for, in their order."""
        stage = write(
            stages="""
                import functools
                TABLE = {}
                def register(function):
                    TABLE[function.__name__] = function
                    return function
                TABLE["x"] = len
                TABLE.update(y=str)
                @functools.singledispatch
                def show(x): return "?"
                @show.register
                def _(x: int): return "int"
                def stage(out): out.write_text(f"{sorted(TABLE)} {show(1)}")
            """
        )
        assert result(stage, tmp_path) == "['x', 'y'] int"

    def test_closure(self, tmp_path: Path) -> None:
        """Literals, functions, classes and modules that a nested function sees."""
        import collections as held

        rate = {"a": (1, {2}), "b": b"\0'"}

        def count(
            n: int,
            text: str = f"""a
  {1 + 1}""",
        ) -> str:
            return text if not n else count(n - 1)

        class Local:
            def go(self) -> Any:
                return rate

        def stage(out: Path) -> None:
            out.write_text(repr([count(2), Local().go(), held.Counter("a"), ast.Pass.__name__]))

        expected = repr(["a\n  2", rate, held.Counter("a"), "Pass"])
        assert result(stage, tmp_path) == expected

    @pytest.mark.parametrize("where", ["TABLE", "tables.TABLE"])
    def test_what_a_function_collects(self, write: Write, tmp_path: Path, where: str) -> None:
        """What decorators and calls put into a table goes along with the table, in its order."""
        stage = write(
            tables="""
                TABLE = {}
                def collect(function):
                    TABLE[function.__name__] = function
                    return function
                @collect
                def one(): return 1
                def two(): return one() + 1
                collect(two)
                def unused(): return 3
            """,
            stages=f"""
                import tables
                from tables import TABLE
                def stage(out): out.write_text(str({{k: f() for k, f in {where}.items()}}))
            """,
        )
        assert result(stage, tmp_path) == "{'one': 1, 'two': 2}"
        assert "unused" not in program(stage)

    def test_who_is_collected_goes_alone(self, write: Write) -> None:
        """A function that is in a table which its stage does not read needs no others in it."""
        stage = write(
            stages="""
                TABLE = []
                def collect(function): TABLE.append(function); return function
                @collect
                def one(): return 1
                @collect
                def two(): return 2
                def stage(out): out.write_text(str(one()))
            """
        )
        text = program(stage)
        assert "one" in text
        assert "two" not in text

    @pytest.mark.parametrize(
        ("held", "said"),
        [("wrapped", 101), ("plain", 1), ("cached", 1), ("TABLE.get", None), ("abs", 1)],
    )
    def test_closure_over_what_is_at_the_top(
        self, write: Write, tmp_path: Path, held: str, said: int | None
    ) -> None:
        """What a closure holds is what the module has, whatever `functools.wraps` calls it."""
        text = f"""
            import functools
            def hundred_more(function):
                @functools.wraps(function)
                def call(n): return function(n) + 100
                return call
            def plain(n): return n
            wrapped = hundred_more(plain)
            cached = functools.lru_cache(plain)
            TABLE = {{}}
            def make(held):
                def stage(out): out.write_text(str(held(1)))
                return stage
            stage = make({held})
        """
        stage = write(stages=text)
        if said is None:
            with pytest.raises(InvalidValue, match="'held'"):
                program(stage)
        else:
            assert result(stage, tmp_path) == str(said)

    def test_recursion_and_decorators(self, write: Write) -> None:
        """A function may call itself; decorators below that of the stage go along."""
        stage = write(
            stages="""
                import functools
                def autostage(**options): return lambda function: function
                def twice(function):
                    @functools.wraps(function)
                    def call(out, n): return function(out, n) * 2
                    return call
                @autostage(n=no) if False else autostage(pure=True)
                @twice
                def stage(out, n=2):
                    if n: out.write_text(out.read_text() + "x" if out.exists() else "x")
                    return stage(out, n - 1) if n else 0
            """.replace("@autostage(n=no) if False else autostage(pure=True)", "@autostage(n=1)")
        )
        text = program(stage)
        assert "@twice" in text
        assert "autostage" not in text

    def test_names_of_two_scopes(self) -> None:
        """A name that means two things in one scope of the program is refused."""
        TABLE = [1]  # noqa: N806

        def stage() -> Any:
            return TABLE, other()

        def other() -> Any:
            return uses_the_global()

        def uses_the_global() -> Any:
            return globals_of_this_module()

        assert program(stage)

        def clash() -> Any:
            return CORPUS_IN_TWO_PLACES, reads_global()

        CORPUS_IN_TWO_PLACES = 1  # noqa: N806
        with pytest.raises(InvalidValue, match="two variables called 'CORPUS_IN_TWO_PLACES'"):
            program(clash_with(clash))

    def test_separators(self, write: Write, tmp_path: Path) -> None:
        """A text that looks like the beginning of a module is none."""
        stage = write(
            stages="x = 1\ndef stage(out): out.write_text(f'''\n# ==== module x\n{x}''')\n"
        )
        assert result(stage, tmp_path) == "\n# ==== module x\n1"


def globals_of_this_module() -> int:
    """Use a name of this module."""
    return len(CORPUS)


CORPUS_IN_TWO_PLACES = 2


def reads_global() -> int:
    """Be at the top of the module."""
    return CORPUS_IN_TWO_PLACES


def clash_with(function: Any) -> Any:
    """Make a nested function that reads a global of the same name as a variable of `function`."""

    def inner() -> Any:
        return function(), CORPUS_IN_TWO_PLACES

    return inner


class TestRunner:
    """The runner by itself."""

    def test_old_interpreters(self, tmp_path: Path) -> None:
        """Code that the interpreter cannot read is said to be that."""
        done = run("# ==== program s\n# ==== module s\nfresh syntax\n", tmp_path)
        assert done.returncode == 1
        assert f"is Python {sys.version.split()[0]}, which cannot read" in done.stderr
        assert "Choose another interpreter" in done.stderr
        assert "runner.py" not in done.stderr

    @pytest.mark.parametrize("code", ["0", "3", "'text'"])
    def test_exit(self, tmp_path: Path, code: str) -> None:
        """A stage that leaves has failed."""
        body = f"import sys\ndef stage(out): sys.exit({code})\n__stage__ = stage\n"
        done = run(f"# ==== program s\n# ==== module s\n{body}", tmp_path)
        assert done.returncode == 1
        assert 'program.py", line 4, in stage' in done.stderr


class TestNotebooks:
    """Stages that are defined in cells, which are no files."""

    @pytest.fixture(params=["<ipython-input-{}-{}>", "/tmp/ipykernel_7/{1}.py"])
    def cell(
        self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
    ) -> Callable[[str], Any]:
        """Run cells in one namespace, under the names of IPython or of its kernel."""
        monkeypatch.setattr(linecache, "cache", {})
        namespace: dict[str, Any] = {"__name__": "__main__"}
        count = 0

        def ran(text: str) -> Any:
            nonlocal count
            count += 1
            filename = request.param.format(count, zlib.crc32(text.encode()))
            lines = text.splitlines(keepends=True)
            linecache.cache[filename] = (len(text), None, lines, filename)
            exec(compile(text, filename, "exec"), namespace)  # noqa: S102
            return namespace["stage"]

        return ran

    def test_what_is_used_is_in_other_cells(
        self, cell: Callable[[str], Any], tmp_path: Path
    ) -> None:
        """Imports, classes, functions and values of all cells go along; magics do not."""
        cell("stage = None\nfrom plxnix import *\nif 0: get_ipython().system('ls')")
        cell("import math\nimport dataclasses\nK = 3\n")
        cell("@dataclasses.dataclass\nclass Two:\n  v: int = 2")
        cell("def helper(x):\n  return math.sqrt(x) * K * Two().v\n")
        stage = cell("def stage(out):\n  out.write_text(str(helper(4)))\n")
        assert "ipython" not in program(stage)
        assert result(stage, tmp_path) == "12.0"

    def test_names_stand_for_what_they_do_now(self, cell: Callable[[str], Any]) -> None:
        """What cells that ran before have bound to them does not go along."""
        cell("stage = None\nK = 3\ndef helper():\n  return K")
        stage = cell("def stage(out):\n  out.write_text(str(helper()))\n")
        first = program(stage)
        assert "K = 3" in first
        assert "K = 4" in program(cell("K = 4"))
        assert program(cell("K = 3")) == first
        other = program(cell("def helper():\n  return 5"))
        assert "K" not in other
        assert "return 5" in other
        assert "return K" in program(cell("stage = stage\nK = 3\ndef helper():\n  return K"))

    def test_closures(self, cell: Callable[[str], Any], tmp_path: Path) -> None:
        """Functions within functions are found on their lines, with what they hold."""
        cell("stage = None\n" * 5)
        stage = cell(
            "def maker(n):\n  def inner(x):\n    return x * n\n"
            "  def stage(out):\n    out.write_text(str(inner(5)))\n  return stage\nstage = maker(7)"
        )
        assert result(stage, tmp_path) == "35"
