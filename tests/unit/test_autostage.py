"""Stages made of functions: what becomes config, what the function receives, what is hashed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    Attrs,
    Build,
    DRef,
    Registry,
    RRef,
    Store,
    autostage,
    build_wrapper,
    current_registry,
    current_storage,
    drefcfg,
    instantiate,
    match_all,
    match_best,
    match_only,
    mkdrv,
    mklens,
    realize,
    realize1,
    realizeMany,
    selfref,
)
from plxnix.errors import InvalidConfig, InvalidValue, NoRegistry
from plxnix.function_stages import AutoStage
from plxnix.store import Fsync


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that is current."""
    with current_storage(Store.init(tmp_path / "store", Fsync.NONE)) as opened:
        assert opened is not None
        yield opened


def config_of(stage: Any, **changes: Any) -> dict[str, Any]:
    """Return the config of a stage without the hash of its code."""
    config = dict(drefcfg(instantiate(stage, **changes).dref))
    assert len(config.pop("__source__")) > 0
    return config


class TestConfig:
    """Decorator, defaults and call make the config together."""

    def test_minimal(self) -> None:
        """A bare decorator makes a stage of a function without parameters."""

        @autostage
        def minimal() -> None:
            """Do nothing."""

        assert isinstance(minimal, AutoStage)
        assert config_of(minimal) == {"name": "minimal"}
        assert isinstance(realize1(instantiate(minimal)), RRef)
        assert (vars(minimal)["__name__"], minimal.__doc__) == ("minimal", "Do nothing.")

    def test_name(self) -> None:
        """The name may be given, and the function may ask for it."""
        seen: list[str] = []

        @autostage(name="given")
        def stage(name: str) -> None:
            seen.append(name)

        assert realize1(instantiate(stage)).name == "given"
        assert seen == ["given"]

    def test_decorator_and_defaults(self) -> None:
        """Arguments of the decorator and defaults of parameters are the config alike."""
        seen: list[object] = []

        @autostage(a=1, out=[selfref, "file"])
        def stage(a: int, out: Path, b: list[int] = [1, 2], *, c: float = 0.5) -> None:  # noqa: B006
            seen.append((a, b, c))
            out.write_text("x")

        expected = {"name": "stage", "a": 1, "b": [1, 2], "c": 0.5, "out": ["__self__", "file"]}
        assert config_of(stage) == expected
        realize(instantiate(stage))
        assert seen == [(1, [1, 2], 0.5)]

    def test_unused_arguments_are_config(self) -> None:
        """What the decorator is given beyond the parameters is config, for those who depend."""

        @autostage(url="somewhere")
        def stage() -> None:
            """Take nothing."""

        rref = realize1(instantiate(stage))
        assert mklens(rref).url.val == "somewhere"

    def test_call_overrides(self) -> None:
        """Keywords of the call override, through instantiate and directly; the stage stays."""

        @autostage(a=1)
        def stage(a: int, b: int = 2) -> None:
            """Take two."""

        assert config_of(stage, a=3, b=4) == {"name": "stage", "a": 3, "b": 4}
        assert config_of(partial(stage, b=9)) == {"name": "stage", "a": 1, "b": 9}
        assert config_of(stage) == {"name": "stage", "a": 1, "b": 2}

    def test_given_twice(self) -> None:
        """A parameter with a default cannot be given to the decorator as well."""
        with pytest.raises(InvalidValue, match="a is given to the decorator and"):

            @autostage(a=1)
            def stage(a: int = 2) -> None:
                """Have one too many."""

    def test_missing(self) -> None:
        """Parameters without a value are all named; the call may give them."""

        @autostage(a=1)
        def stage(a: int, b: int, c: int) -> None:
            """Take three."""

        with pytest.raises(InvalidValue, match=r"stage has no value for b, c"):
            instantiate(stage)
        assert config_of(stage, b=1, c=2)["c"] == 2

    def test_not_json(self) -> None:
        """What a config cannot hold is refused with its name."""

        @autostage(shape=(1, 2))
        def stage(shape: object) -> None:
            """Take a shape."""

        with pytest.raises(InvalidConfig, match=r"config\.shape"):
            instantiate(stage)

    def test_any_keywords(self) -> None:
        """A function with **fields receives all the rest of the config."""
        seen: dict[str, object] = {}

        @autostage(a=1, b="two", out=[selfref, "f"])
        def stage(a: int, **fields: Any) -> None:
            fields["out"].touch()
            seen.update(fields, a=a)

        realize(instantiate(stage))
        assert seen.keys() == {"a", "b", "out"}
        assert seen["b"] == "two"


class TestSupplied:
    """The build and the number of the realization are made for each run."""

    def test_build(self) -> None:
        """A parameter `build` receives the Build; it is not config."""
        seen: list[Build] = []

        @autostage(a=1)
        def stage(build: Build, a: int) -> None:
            assert mklens(build).a.val == a
            seen.append(build)

        closure = instantiate(stage)
        realize(closure, realize_args={closure.dref: {"x": 1}})
        assert (seen[0].dref, seen[0].arguments) == (closure.dref, {"x": 1})

    def test_several_results(self) -> None:
        """The function runs once for each of nouts realizations, and is told which one it makes."""

        @autostage(nouts=3, out=[selfref, "out.txt"])
        def stage(rindex: int, out: Path, build: Build) -> None:
            assert out.parent == build.outpaths[rindex]
            out.write_text(str(rindex))

        rrefs = realizeMany(instantiate(stage))
        assert sorted(mklens(rref).out.contents for rref in rrefs) == ["0", "1", "2"]

    def test_matcher(self) -> None:
        """The default selects all of the latest run; a matcher selects among them."""

        @autostage(nouts=3, matcher=match_best("out"), out=[selfref, "out"])
        def stage(rindex: int, out: Path) -> None:
            out.write_text(str(rindex))

        assert mklens(realize1(instantiate(stage))).out.contents == "2"
        assert len(instantiate(stage).store.realizations(instantiate(stage).dref)) == 3


class TestDependencies:
    """Other stages arrive as objects with their config as attributes."""

    @staticmethod
    def data(**options: Any) -> AutoStage:
        """Return a stage with a parameter and a promise."""

        @autostage(out=[selfref, "data.txt"], rate=3, **options)
        def data(out: Path, rate: int, build: Build) -> None:
            index = build.outpaths.index(out.parent)
            out.write_text(f"{rate} {index}")

        return data

    def test_called_in_the_decorator(self) -> None:
        """A stage called in the decorator, with changes, is a dependency: the way of the readme."""
        seen: list[object] = []
        data = self.data()
        with current_registry(Registry()):

            @autostage(source=data(rate=5))
            def train(source: Attrs) -> None:
                seen.append((source.rate, source.out.read_text(), source.name, source._rref.name))

            rref = realize1(instantiate(train))
        assert seen == [(5, "5 0", "data", "data")]
        assert mklens(rref).source.out.contents == "5 0"

    def test_uncalled(self) -> None:
        """The stage itself, or a function of the registry, is called when it is instantiated."""
        data = self.data()

        @autostage(a=data, b=lambda r: data(rate=4, r=r), c=lambda: data(rate=6), d=[data])
        def train(a: Attrs, b: Attrs, c: Attrs, d: list[Attrs], build: Build) -> None:
            (build.outpaths[0] / "out").write_text(f"{a.rate} {b.rate} {c.rate} {d[0].rate}")

        rref = realize1(instantiate(train))
        assert Path(mklens(rref).syspath, "out").read_text() == "3 4 6 3"

    def test_default(self) -> None:
        """A default may be a stage too."""
        data = self.data()

        @autostage
        def train(source=lambda r: data(rate=141, r=r)) -> None:  # type: ignore[no-untyped-def]
            assert source.rate == 141

        assert mklens(realize1(instantiate(train))).source.rate.val == 141

    def test_nested_containers(self) -> None:
        """References and stages are found at any depth of lists and dicts."""
        seen: list[object] = []
        data = self.data()

        @autostage(all={"x": [[data], {"y": data}], "z": 1})
        def train(all: dict[str, Any]) -> None:  # noqa: A002
            seen.append((all["x"][0][0].rate, all["x"][1]["y"].out.name, all["z"]))

        realize(instantiate(train))
        assert seen == [(3, "data.txt", 1)]

    def test_lists_of_references(self) -> None:
        """A list of references is a list of dependencies, even one of a single reference."""
        seen: list[list[int]] = []
        data = self.data()

        @autostage
        def train(sources: list[Attrs]) -> None:
            seen.append([source.rate for source in sources])

        with current_registry(Registry()):
            one, two = data(rate=1), data(rate=2)
            realize(instantiate(train, sources=[two, one]))
            realize(instantiate(train, sources=[one]))
        assert seen == [[2, 1], [1]]

    def test_refpaths(self) -> None:
        """A refpath arrives as a path."""
        seen: list[str] = []
        data = self.data()

        @autostage
        def train(source: Path) -> None:
            seen.append(source.read_text())

        with current_registry(Registry()):
            realize(instantiate(train, source=data() / "data.txt"))
            realize(instantiate(train, source=[data(rate=8), "data.txt"]))
        assert seen == ["3 0", "8 0"]

    def test_several_realizations(self) -> None:
        """Where several are selected the function receives a list; likewise for refpaths."""
        seen: list[object] = []
        data = self.data(nouts=2, matcher=match_all())

        @autostage
        def train(source: list[Attrs], path: list[Path]) -> None:
            seen.append(sorted(one.out.read_text() for one in source))
            seen.append(sorted(one.read_text() for one in path))

        with current_registry(Registry()):
            realize(instantiate(train, source=data(), path=[data(), "data.txt"]))
        assert seen == [["3 0", "3 1"]] * 2

    def test_always_lists(self) -> None:
        """With always_multiref a dependency is a list even if one is selected, at each level."""
        seen: list[object] = []
        data = self.data()

        @autostage(source=data)
        def middle(source: Attrs) -> None:
            seen.append(source.rate)

        @autostage(source=middle, always_multiref=True)
        def train(source: list[Attrs]) -> None:
            seen.append(source[0].source[0].rate)

        realize(instantiate(train))
        assert seen == [3, 3]

    def test_of_other_kinds(self) -> None:
        """Stages made by mkdrv are dependencies as any."""

        def plain(r: Registry) -> DRef:
            return mkdrv({"name": "plain", "x": 7}, match_only(), build_wrapper(lambda _: None), r)

        @autostage(source=plain)
        def train(source: Attrs) -> None:
            assert source.x == 7

        realize(instantiate(train))


class TestRegistries:
    """Where a stage registers."""

    def test_named(self, tmp_path: Path) -> None:
        """The decorator's registry, the call's in all its forms, then the current one."""
        first, second = (Registry(Store.init(tmp_path / name)) for name in ("first", "second"))

        @autostage(r=first)
        def stage() -> None:
            """Do nothing."""

        assert stage() in first.derivations
        for options in ({"r": second}, {"registry": second}, {"m": second}):
            second.derivations.clear()
            assert stage(**options) in second.derivations
        second.derivations.clear()
        assert stage(second) in second.derivations
        assert stage(r=None) in first.derivations
        with current_registry(second):
            assert autostage(name="free")(lambda: None)(r=None) in second.derivations

    def test_outside(self) -> None:
        """Without any registry the call says what to do."""

        @autostage
        def stage() -> None:
            """Do nothing."""

        with pytest.raises(NoRegistry, match="current_registry"):
            stage()

    def test_parameters_called_like_registries(self) -> None:
        """Parameters of the function may be called r or m: they are config as others."""
        seen: list[object] = []

        @autostage(m=0.5)
        def stage(m: float, r: int = 3) -> None:
            seen.append((m, r))

        assert config_of(stage) == {"name": "stage", "m": 0.5, "r": 3}
        assert config_of(stage, m=2.5)["m"] == 2.5
        realize(instantiate(stage))
        assert seen == [(0.5, 3)]


class TestSource:
    """Code is a part of what a stage is."""

    def test_code(self) -> None:
        """Other code is another derivation."""

        @autostage(name="same")
        def one() -> None:
            print("x")

        @autostage(name="same")
        def two() -> None:
            print("y")

        assert len(one.source) == 64
        assert one.source != two.source
        assert instantiate(one).dref != instantiate(two).dref

    def test_source_dependencies(self) -> None:
        """Further objects count as the stage's code."""

        def make(*deps: object) -> AutoStage:
            @autostage(name="same", sourcedeps=deps)
            def stage() -> None:
                """Do nothing."""

            return stage

        assert make().source == make().source
        assert len({make().source, make("v1").source, make("v2").source}) == 3

    def test_version(self) -> None:
        """A version stands in for the code."""

        def make(version: str, code: Any) -> DRef:
            return instantiate(autostage(name="same", version=version)(code)).dref

        assert make("1", lambda: 1) == make("1", lambda: 2)
        assert make("1", lambda: 1) != make("2", lambda: 1)


SCRIPT = """
import sys
from pathlib import Path
from plxnix import *

def helper(value):
    return {"b": 1, "a": value}

@autostage(out=[selfref, "out"], rate=0.5)
def data(out, rate):
    with open(sys.argv[1], "a") as runs:
        runs.write("data\\n")
    out.write_text(str(helper(rate)))

@autostage(source=data, out=[selfref, "out"], kinds={"x": [1], "y": None})
def train(source, out, kinds):
    with open(sys.argv[1], "a") as runs:
        runs.write("train\\n")
    out.write_text(source.out.read_text())

print(realize1(instantiate(train)))
"""


def test_other_processes_find_it(tmp_path: Path) -> None:
    """Processes with other seeds of Python's hashes build once and give the same reference."""
    script, runs = tmp_path / "script.py", tmp_path / "runs"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[2]
    found = set()
    for seed in ("1", "2", "random"):
        process = subprocess.run(
            [sys.executable, str(script), str(runs)],
            env={
                "PYTHONPATH": str(root),
                "PYTHONHASHSEED": seed,
                "PLXNIX_ROOT": str(tmp_path / "shared"),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        found.add(process.stdout)
    assert len(found) == 1
    assert runs.read_text().split() == ["data", "train"]
