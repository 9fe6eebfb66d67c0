"""Targets: files and modules of stages, and errors in them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from plxnix import Closure, Registry, Store
from plxnix.errors import InvalidValue, PlxnixError, TargetError, UnknownStage
from plxnix.module_stages import stages
from plxnix.targets import import_target, load

HEAD = "from plxnix import DRef, Registry, autostage, match_only, mkdrv, selfref\n"
CHAIN = HEAD + (
    "@autostage()\ndef first(): ...\n"
    "@autostage(one=first)\ndef second(one): ...\n"
    "@autostage(two=lambda: second())\ndef third(two): ...\n"
)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry over a store; the folder is current, and modules are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(sys.modules)
    yield Registry(Store.init(tmp_path / "store"))
    for name in sys.modules.keys() - before.keys():
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
    sys.path_importer_cache.clear()


def write(text: str, name: str = "experiment.py") -> str:
    """Write a file below the current folder and return its name."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


def names(closure: Closure) -> list[str]:
    """Return the names of a closure's targets."""
    return [dref.name for dref in closure.targets]


def test_a_stage_of_a_file(registry: Registry) -> None:
    """`FILE.py:stage` is that stage, with its closure."""
    closure = load(f"{write(CHAIN)}:second", registry)
    assert names(closure) == ["second"]
    assert [dref.name for dref in closure.derivations] == ["first", "second"]


def test_a_stage_of_a_module(registry: Registry) -> None:
    """`package.module:stage` is looked for from the current folder."""
    write(CHAIN, "parcel/inner.py")
    assert names(load("parcel.inner:first", registry)) == ["first"]


def test_the_only_stage_that_no_other_uses_is_the_default(registry: Registry) -> None:
    """Uses are seen in configs, in lambdas there, and in the code of functions."""
    assert names(load(write(CHAIN), registry)) == ["third"]
    text = CHAIN + "def whole(size: int = 3) -> DRef:\n    return third(name=f'whole{size}')\n"
    assert names(load(write(text, "another.py"), registry)) == ["whole3"]


@pytest.mark.parametrize("name", ["default", "main"])
def test_stages_called_default_or_main_are_taken(registry: Registry, name: str) -> None:
    """A stage of that name is the default even if there are others, or if one uses it."""
    text = CHAIN + f"@autostage()\ndef {name}(): ...\n@autostage(x={name})\ndef other(x): ...\n"
    assert names(load(write(text), registry)) == [name]


def test_several_candidates_are_listed(registry: Registry) -> None:
    """Without a clear default the error says what could be written."""
    text = CHAIN + "@autostage()\ndef alone(): ...\n"
    with pytest.raises(UnknownStage) as caught:
        load(write(text), registry)
    assert caught.value.hint == "say which: experiment.py:third or experiment.py:alone"


def test_stages_at_module_level(registry: Registry) -> None:
    """Stages that are called while the file is imported are registered, and may be targets."""
    text = HEAD + (
        "@autostage(size=1)\ndef data(size): ...\n"
        "big = data(size=9, name='big')\n"
        "@autostage(data=big)\ndef use(data): ...\n"
        "pair = [big, data()]\n"
    )
    place = write(text)
    assert names(load(f"{place}:big", registry)) == ["big"]
    assert names(load(f"{place}:pair", registry)) == ["big", "data"]
    assert [dref.name for dref in load(f"{place}:use", registry).derivations] == ["big", "use"]


def test_a_file_with_a_registry_of_its_own(registry: Registry) -> None:
    """A reference that was registered in the file's own registry is found there."""
    text = HEAD + (
        "mine = Registry()\n"
        "made = mkdrv({'name': 'made'}, match_only(), lambda *_: [], registry=mine)\n"
        "@autostage(r=mine, x=made)\ndef stage(x): ...\n"
    )
    place = write(text)
    assert names(load(f"{place}:made", registry)) == ["made"]
    assert names(load(f"{place}:stage", registry)) == ["stage"]


def test_what_counts_as_a_stage(registry: Registry) -> None:
    """Stages: autostage functions, functions with a registry or `-> DRef`, references. No more."""
    text = HEAD + (
        "from plxnix import fetchurl, instantiate\n"
        "@autostage()\ndef a(): ...\n"
        "def b(r): ...\n"
        "def c(registry=None): ...\n"
        "def d(x: Registry): ...\n"
        "def e() -> 'DRef': ...\n"
        "f = a()\n"
        "def helper(x): ...\n"
        "def _private(r): ...\n"
        "number = 5\n"
    )
    assert list(stages(import_target(write(text), registry))) == list("abcdef")


def test_arguments_reach_the_stage(registry: Registry) -> None:
    """Keyword arguments go to the function or replace config fields."""
    text = CHAIN + "def whole(r, *, size) -> DRef:\n    return third(name=f'whole{size}')\n"
    place = write(text)
    assert names(load(f"{place}:whole", registry, {"size": 4})) == ["whole4"]
    assert names(load(f"{place}:first", registry, {"name": "renamed"})) == ["renamed"]


@pytest.mark.parametrize(
    ("stage", "arguments", "said"),
    [
        ("whole", {"sise": 3}, "takes no argument 'sise'"),
        ("whole", {}, "needs a value for size"),
        ("third", {"tow": 3}, "takes no argument 'tow'"),
        ("fixed", {"size": 3}, "takes no size"),
    ],
)
def test_wrong_arguments(
    registry: Registry, stage: str, arguments: dict[str, int], said: str
) -> None:
    """Arguments that a stage does not take, or lacks, are named; nothing enters a config."""
    text = CHAIN + "def whole(size) -> DRef: ...\nfixed = first()\n"
    with pytest.raises(InvalidValue, match=said):
        load(f"{write(text)}:{stage}", registry, arguments)


def test_arguments_of_dependencies(registry: Registry) -> None:
    """For an argument of what a stage depends on, the hint has the call that passes it there."""
    place = write(CHAIN + "@autostage(second=second)\ndef last(second): ...\n")
    with pytest.raises(InvalidValue) as caught:
        load(f"{place}:last", registry, {"one": "x"})
    assert "last(second=second(one=one))" in caught.value.hint
    with pytest.raises(InvalidValue) as caught:
        load(f"{place}:last", registry, {"other": "x"})
    assert "last(" not in caught.value.hint


def test_unknown_stage_suggests(registry: Registry) -> None:
    """A typing error in a stage's name gets the name that is like it, and all of them."""
    with pytest.raises(UnknownStage) as caught:
        load(f"{write(CHAIN)}:secnod", registry)
    assert caught.value.hint == "is it second? its stages are first, second, third"


@pytest.mark.parametrize(
    ("target", "said", "hint"),
    [
        ("experimnet.py:third", "there is no file 'experimnet.py'", "is it experiment.py?"),
        ("third", "there is no file and no module 'third'", "is it experiment.py:third?"),
        ("sub/experiment:third", "there is no file", "FILE.py:stage"),
        ("absent.module:third", "there is no file and no module 'absent.module'", "FILE.py"),
        ("experiment.inner:third", "no module 'experiment.inner'", "is it experiment.py?"),
        ("dref:0123456789abcdef0123456789abcdef-x", "does not name a stage", "FILE.py:stage"),
        (":third", "does not name a stage", "FILE.py:stage"),
        ("", "does not name a stage", "FILE.py:stage"),
    ],
)
def test_unknown_files_and_modules(registry: Registry, target: str, said: str, hint: str) -> None:
    """What is no file and no module is said, with what it may have been."""
    write(CHAIN)
    with pytest.raises(UnknownStage) as caught:
        load(target, registry)
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_a_file_without_stages(registry: Registry) -> None:
    """A file that defines none says what a stage looks like, or which functions may return one."""
    with pytest.raises(UnknownStage, match="defines no stage") as caught:
        load(write("x = 1\n"), registry)
    assert "a stage is a function with @autostage" in caught.value.hint
    with pytest.raises(UnknownStage, match="defines no stage") as caught:
        load(write("def one(): ...\ndef _two(): ...\n", "other.py"), registry)
    assert caught.value.hint == "if a function returns one: other.py:one"


@pytest.mark.parametrize(
    ("text", "said", "frames"),
    [
        ("x = 1\ndef f(:\n", "experiment.py:2: SyntaxError: ", ["experiment.py:2: def f(:"]),
        ("import absent_module\n", "experiment.py:1: ModuleNotFoundError", None),
        (
            "def f():\n    return 1 / 0\nf()\n",
            "experiment.py:2: ZeroDivisionError: division by zero",
            ["experiment.py:3 in <module>: f()", "experiment.py:2 in f: return 1 / 0"],
        ),
        ("raise SystemExit('no data')\n", "experiment.py:1: exit: no data", None),
        (
            "import json\njson.loads('{')\n",
            "experiment.py:2: JSONDecodeError",
            ["experiment.py:2 in <module>: json.loads('{')"],
        ),
        (
            "from plxnix import mkname\nmkname('a b')\n",
            "experiment.py:2: not a name for a stage: 'a b'",
            ["experiment.py:2 in <module>: mkname('a b')"],
        ),
    ],
)
def test_errors_while_importing(
    registry: Registry, text: str, said: str, frames: list[str] | None
) -> None:
    """What a file raises is told with the places in that file, and only those."""
    with pytest.raises(TargetError) as caught:
        load(write(text), registry)
    assert caught.value.message.startswith(said)
    assert caught.value.__cause__ is not None
    if frames is not None:
        assert list(caught.value.frames) == frames
    assert "experiment" not in sys.modules


def test_errors_while_instantiating(registry: Registry) -> None:
    """What a stage raises is told with its place; a hint of plxnix is kept."""
    text = HEAD + "def stage(r):\n    return mkdrv({'x': (1,)}, match_only(), None)\n"
    with pytest.raises(TargetError) as caught:
        load(f"{write(text)}:stage", registry)
    assert caught.value.message.startswith("experiment.py:3: config.x is of type tuple")
    assert "write a list" in caught.value.hint
    with pytest.raises(TargetError, match="there is no derivation reference in 5"):
        load(f"{write(HEAD + 'def stage(r): return 5', 'five.py')}:stage", registry)


def test_a_file_is_imported_once_under_its_own_name(registry: Registry) -> None:
    """Two targets in one file share the module, which pickle and inspect find by its name."""
    place = write(CHAIN + "with open('count', 'a') as file: file.write('x')\n")
    load(f"{place}:first", registry)
    load(f"{place}:second", registry)
    assert Path("count").read_text() == "x"
    assert isinstance(sys.modules["experiment"], ModuleType)


def test_a_file_may_have_the_name_of_a_module_in_use(registry: Registry) -> None:
    """A file called like a module that is loaded replaces nothing."""
    import json

    assert names(load(f"{write(CHAIN, 'sub/json.py')}:first", registry)) == ["first"]
    assert sys.modules["json"] is json


def test_a_file_imports_its_neighbours(registry: Registry) -> None:
    """The file's folder is on sys.path, for realizers that import later too."""
    write("size = 7\n", "sub/neighbour.py")
    text = HEAD + "import neighbour\n@autostage(size=neighbour.size)\ndef stage(size): ...\n"
    closure = load(write(text, "sub/experiment.py"), registry)
    assert closure.derivations[closure.dref].config["size"] == 7
    assert str(Path("sub").resolve()) in sys.path


def test_errors_are_of_plxnix(registry: Registry) -> None:
    """All errors of targets are PlxnixErrors, so that the command line prints one message."""
    for text in ("1 / 0\n", "raise KeyError('x')\n", "x = 1\n"):
        with pytest.raises(PlxnixError):
            load(write(text), registry)
