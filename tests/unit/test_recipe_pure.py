"""Pure stages: what the function receives, what is refused, what changes a stage and what not."""

from __future__ import annotations

import functools
import gzip
import json
import math
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    DRef,
    Registry,
    Store,
    autostage,
    current_registry,
    current_storage,
    execute,
    fetchlocal,
    instantiate,
    match_all,
    match_latest,
    mkfile,
    realize,
    rref2path,
    selfref,
)
from plxnix.errors import BuildFailed, CodeHashError, InvalidValue
from plxnix.function_stages import AutoStage
from plxnix.nix.hashes import Hash
from plxnix.store import Fsync

Load = Callable[..., Any]


def pure(**options: Any) -> Callable[[Any], AutoStage]:
    """`autostage` for pure stages."""
    return autostage(pure=True, **options)


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[Store]:
    """A store that is current."""
    with current_storage(Store.init(tmp_path / "store", Fsync.NONE)) as opened:
        assert opened is not None
        yield opened


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Write modules, which can import one another, and import the last of them."""
    folder = tmp_path / "modules"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)

    def loaded(**texts: str) -> Any:
        for name, text in texts.items():
            monkeypatch.delitem(sys.modules, name, raising=False)
            (folder / f"{name}.py").write_text(text)
        for name in texts:
            spec = util.spec_from_file_location(name, folder / f"{name}.py")
            assert spec is not None
            assert spec.loader is not None
            module = util.module_from_spec(spec)
            monkeypatch.setitem(sys.modules, name, module)
            spec.loader.exec_module(module)
        return module

    return loaded


def made(stage: Any, name: str = "out", sandbox: str = "auto") -> Any:
    """Realize a stage and return the JSON in a file of it."""
    path = Path(str(rref2path(realize(instantiate(stage), sandbox=sandbox)))) / name
    return json.loads(path.read_text())


def log_of(error: BuildFailed) -> str:
    """Return what a failed program printed."""
    return gzip.decompress(Path(error.log).read_bytes()).decode()


def factor(number: float) -> float:
    """Use another function and a module."""
    return math.floor(number) * TABLE["two"]


TABLE = {"one": 1}
TABLE["two"] = 2


@pytest.mark.parametrize("sandbox", ["off", "auto"])
class TestReceived:
    """What the function receives is what an ordinary stage's does."""

    def test_values(self, sandbox: str) -> None:
        """JSON of every kind arrives as it is, and so do the names of helpers."""
        given: dict[str, Any] = {
            "text": "é ' \" $out ${x} \\ \n `a`",
            "numbers": [0, -1, 10**30, 0.1, 1e300, -0.0],
            "plain": [None, True, False, [], {}, {"$path": 0, "a b": {"$out": []}}],
        }

        @pure(out=[selfref, "out"])
        def values(out: Path, text: str, numbers: Any, plain: Any, **rest: Any) -> None:
            out.write_text(json.dumps([text, numbers, plain, rest, factor(3.5)]))

        stage = functools.partial(values, more=1, **given)
        assert made(stage, sandbox=sandbox) == [*given.values(), {"more": 1}, 6]

    def test_dependencies(self, sandbox: str, tmp_path: Path) -> None:
        """Fields of dependencies are attributes, at any depth; refpaths and promises are paths."""
        file = tmp_path / "a b"
        file.write_text("fetched")
        digest = Hash.of_file(file).hex

        def fetch() -> DRef:
            return fetchlocal(digest, file, mode="")

        @pure(out=[selfref, "sub", "x"], source=fetch, rate=0.5)
        def below(out: Path, source: Any) -> None:
            out.parent.mkdir()
            out.write_text(source.out.read_text() + "!")

        @autostage(out=[selfref, "y"], salt=[1], below=below)
        def opaque(out: Path, below: Any) -> None:
            out.write_text(below.out.read_text() + "?")

        @pure(
            out=[selfref, "out"],
            folder=[selfref],
            one=opaque,
            several=[below, opaque],
            path=lambda: execute("mkdir $out; echo 7 > $out/z", name="seven"),
        )
        def above(out: Path, folder: Path, one: Any, several: Any, path: Any, rindex: int) -> None:
            assert folder == out.parent
            got = [one.out.read_text(), one.below.source.out.read_text(), one.below.rate, one.salt]
            got += [several[0].out.read_text(), (path._path / "z").read_text(), rindex]
            try:
                got.append(one.nothing)
            except AttributeError as error:
                got.append(str(error))
            out.write_text(json.dumps(got))

        assert made(above, sandbox=sandbox) == [
            *("fetched!?", "fetched", 0.5, [1], "fetched!", "7\n", 0),
            "opaque has no field 'nothing'; its fields are below, name, out, salt",
        ]

    def test_several_realizations(self, sandbox: str) -> None:
        """All that are selected arrive as a list, and so does one if it is asked for."""

        @autostage(out=[selfref, "x"], nouts=3, matcher=match_latest(3))
        def runs(out: Path, rindex: int) -> None:
            out.write_text(str(rindex))

        @pure(out=[selfref, "out"], runs=runs)
        def all_of_them(out: Path, runs: Any) -> None:
            out.write_text(json.dumps(sorted(one.out.read_text() for one in runs)))

        @pure(out=[selfref, "out"], one=all_of_them, always_multiref=True)
        def always(out: Path, one: Any) -> None:
            out.write_text(one[0].out[0].read_text() if isinstance(one[0].out, list) else "[0]")

        assert made(all_of_them, sandbox=sandbox) == ["0", "1", "2"]
        assert made(always, sandbox=sandbox) == [0]


class TestRun:
    """How the program runs."""

    def test_environment_of_the_interpreter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Hashes are not random, and nothing of this process gets in."""
        monkeypatch.setenv("PYTHONPATH", "/somewhere")
        monkeypatch.setenv("SECRET", "x")

        @pure(out=[selfref, "out"])
        def told(out: Path) -> None:
            import os

            names = sorted({*os.environ} & {"PYTHONHASHSEED", "SECRET", "SOURCE_DATE_EPOCH"})
            found = [name for name in sys.path if "plxnix" in name or "somewhere" in name]
            out.write_text(json.dumps([names, found, sys.flags.hash_randomization]))

        assert made(told) == [["PYTHONHASHSEED", "SOURCE_DATE_EPOCH"], [], 0]

    def test_env(self) -> None:
        """The interpreter is that of a stage, which sees nothing but what is in it."""

        def env() -> DRef:
            return execute(
                'mkdir -p $out/bin; printf "#!/bin/sh\\nMARK=1 exec python3 \\"\\$@\\"\\n" '
                "> $out/bin/python; chmod +x $out/bin/python",
                name="env",
            )

        @pure(out=[selfref, "out"], env=env)
        def told(out: Path) -> None:
            import os

            out.write_text(os.environ["MARK"])

        assert made(told) == 1

    def test_what_is_left_out(self) -> None:
        """Stages that no name in the code leads to are no inputs; asking for them says why."""

        @pure(out=[selfref, "out"], source=lambda: mkfile("source", "1"), rate=2)
        def below(out: Path, source: Any, rate: int) -> None:
            out.write_text(source.out.read_text() * rate)

        @pure(out=[selfref, "out"], one=below)
        def above(out: Path, one: Any) -> None:
            try:
                getattr(one, "sou" + "rce")
            except AttributeError as error:
                out.write_text(json.dumps([str(error), one.rate, one.out.read_text()]))

        said, rate, text = made(above)
        assert said.startswith(
            "below.source leads to other stages, and no name in the stage's code"
        )
        assert (rate, text) == (2, "11")

    def test_failure(self) -> None:
        """An exception is shown by its place in the program, without the runner's frames."""

        @pure(out=[selfref, "out"])
        def fails(out: Path) -> None:
            del out
            raise ValueError("on purpose")

        with pytest.raises(BuildFailed) as caught:
            made(fails)
        shown = log_of(caught.value)
        assert "fails.py" in shown
        assert "on purpose" in shown
        assert "run-fails.py" not in shown

    def test_a_package_that_is_not_there(self) -> None:
        """It is named, with the way to have it."""

        @pure(out=[selfref, "out"])
        def fails(out: Path) -> None:
            import no_such_package.inner  # type: ignore[import-not-found]

            out.write_text(str(no_such_package))

        with pytest.raises(BuildFailed) as caught:
            made(fails)
        assert "its Python has no no_such_package: give it one that has, env=" in caught.value.hint

    def test_promise(self) -> None:
        """A promise that is not kept is a failure, for Nix too."""

        @pure(out=[selfref, "out"])
        def lazy(out: Path) -> None:
            del out

        with pytest.raises(BuildFailed) as caught:
            made(lazy)
        assert "has not made what it promised: out" in log_of(caught.value)


class TestIdentity:
    """What changes a stage."""

    HELPERS = (
        "import math\nRATE = 2\n\ndef used(x):\n    return x * RATE\n\ndef other():\n    pass\n"
    )
    STAGE = (
        "import helpers\nfrom plxnix import autostage, selfref\n\n"
        "@autostage(pure=True, out=[selfref, 'out'])\n"
        "def stage(out):\n    out.write_text(str(helpers.used(3)))\n"
    )

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("    pass", "    return 1"),
            ("import math\n", "import cmath as math\n"),
            ("def used(x):\n", 'def used(x):\n    """Say."""\n    # why\n\n'),
            ("x * RATE", "x  *  \\\n        RATE"),
        ],
    )
    def test_unrelated_edits(self, load: Load, old: str, new: str) -> None:
        """Edits of what is not used, comments, docstrings and layout change nothing."""
        before = instantiate(load(helpers=self.HELPERS, stages=self.STAGE).stage).dref
        edited = self.HELPERS.replace(old, new)
        assert edited != self.HELPERS
        assert instantiate(load(helpers=edited, stages=self.STAGE).stage).dref == before

    @pytest.mark.parametrize(("old", "new"), [("RATE = 2", "RATE = 3"), ("x * RATE", "RATE * x")])
    def test_edits(self, load: Load, old: str, new: str) -> None:
        """Edits of a helper that is used do; the plan says that it is the code."""
        stage = load(helpers=self.HELPERS, stages=self.STAGE).stage
        assert made(stage) == 6
        edited = load(helpers=self.HELPERS.replace(old, new), stages=self.STAGE).stage
        plan = realize(instantiate(edited), dry_run=True)
        assert "the code changed" in str(plan)
        assert len(str(plan)) < 200

    def test_two_modules(self, load: Load) -> None:
        """Definitions of one name in two modules stay apart; modules may import each other."""
        module = load(
            one="def name():\n    return 'one'\n\nclass Base:\n    def say(self): return name()\n",
            two="import one\n\ndef name():\n    from one import Base\n"
            "    return 'two ' + Base().say()\n",
            stages="from two import name\nfrom one import name as first\nimport two as other\n"
            "from plxnix import autostage, selfref\n"
            "@autostage(pure=True, out=[selfref, 'out'])\n"
            "def stage(out):\n    import json\n"
            "    out.write_text(json.dumps([name(), first(), other.name()]))\n",
        )
        assert made(module.stage) == ["two one", "one", "two one"]


class TestRefused:
    """What cannot be a pure stage is refused, by an error that says what to do."""

    def registered(self, stage: Any) -> DRef:
        """Register a stage, for its code to be read."""
        with current_registry(Registry()):
            return DRef(stage())

    @pytest.mark.parametrize(
        "options", [{"nouts": 2}, {"version": "1"}, {"sourcedeps": [math]}], ids=str
    )
    def test_options(self, options: Any) -> None:
        """Options that mean nothing here."""
        with pytest.raises(InvalidValue, match=next(iter(options))):

            @pure(**options)
            def stage() -> None:
                pass

    @pytest.mark.parametrize("name", ["build", "env", "tools"])
    def test_parameters(self, name: str) -> None:
        """Parameters that have another meaning."""
        found: dict[str, Any] = {}
        exec(f"def stage({name}): pass", found)  # noqa: S102
        with pytest.raises(InvalidValue, match=f"has a parameter {name}"):
            pure()(found["stage"])

    def test_kinds(self) -> None:
        """What is no plain function."""

        async def coroutine() -> None:
            pass

        def generator() -> Iterator[int]:
            yield 1

        for one in (
            coroutine,
            generator,
            print,
            Path,
            functools.partial(factor, 1),
            self.test_kinds,
        ):
            with pytest.raises(InvalidValue, match="cannot be a pure stage"):
                pure()(one)

    def test_no_source(self) -> None:
        """A function that is in no file."""
        found: dict[str, Any] = {}
        exec("def stage(): pass", found)  # noqa: S102
        with pytest.raises(CodeHashError, match="put the function into a file"):
            self.registered(pure()(found["stage"]))

    def test_closures(self, tmp_path: Path) -> None:
        """A closure over what is no literal; the variable, its type and the way out are named."""
        with (tmp_path / "f").open("w") as file:
            for value, kind in ((file, "TextIOWrapper"), (threading.Lock(), "_thread.lock")):

                @pure()
                def stage(value: Any = None) -> None:
                    del value

                held = value

                @pure()
                def other() -> None:
                    print(held)  # noqa: B023

                with pytest.raises(InvalidValue, match=f"'held', of type .*{kind}"):
                    self.registered(other)

    def test_plxnix(self) -> None:
        """Something of plxnix in the function: it is not there when it runs."""

        @pure()
        def stage() -> None:
            print(mkfile)

        with pytest.raises(InvalidValue, match="there is no plxnix"):
            self.registered(stage)

    def test_file(self) -> None:
        """The place of the source: files next to it are not there."""

        @pure()
        def stage() -> None:
            print(__file__)

        with pytest.raises(InvalidValue, match="__file__"):
            self.registered(stage)

    def test_env(self) -> None:
        """An environment that is no stage."""

        @pure(env="python3")
        def stage() -> None:
            pass

        with pytest.raises(InvalidValue, match="bin/python"):
            self.registered(stage)


def test_matcher() -> None:
    """The default matcher takes the only realization; another makes the stage a pin."""

    @pure(out=[selfref, "out"])
    def stage(out: Path) -> None:
        out.write_text("1")

    assert made(stage) == 1
    assert made(pure(matcher=match_all(), out=[selfref, "out"])(stage.function)) in ([], 1)
