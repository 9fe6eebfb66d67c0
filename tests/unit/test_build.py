"""The build context: what a realizer sees while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    Build,
    DRef,
    RRef,
    build_cattrs,
    build_config,
    build_context,
    build_deref,
    build_deref_,
    build_environ,
    build_name,
    build_outpath,
    build_outpaths,
    build_path,
    build_paths,
    build_setoutpaths,
    build_wrapper,
    claim,
    isselfpath,
    match_all,
    mkconfig,
    mkdrv,
    mklens,
    promise,
    selfref,
)
from plxnix.errors import InvalidRefpath, InvalidValue, NotInStore
from tests.stage_samples import Lab


def run(
    lab: Lab, look: Callable[[Build], object], nouts: int | None = 1, **fields: Any
) -> tuple[DRef, Any]:
    """Realize a stage in which `look` is called; return its reference and what it selects."""
    config = {"name": "looked", **fields}
    dref = mkdrv(config, match_all(), build_wrapper(look, nouts), registry=lab.registry)
    return dref, lab.realize(dref)


def test_config_and_name(lab: Lab) -> None:
    """The config is as it was registered, the name is the derivation's."""
    seen: list[object] = []

    def look(build: Build) -> None:
        seen.extend([build_config(build), build_name(build), build.dref, build.store])

    dref, _ = run(lab, look, rate=3)
    assert seen == [lab.store.config(dref), "looked", dref, lab.store]


def test_attributes(lab: Lab) -> None:
    """The config as an object: promises name this derivation, and what is set on it stays."""
    below = lab.stage("below")

    def look(build: Build) -> None:
        fields = build_cattrs(build)
        assert (fields.rate, fields.below) == (3, below)
        assert build_path(build, fields.out) == build_outpath(build) / "file"
        build_path(build, fields.out).touch()
        fields.mine = 1
        assert build_cattrs(build).mine == 1
        assert "mine" not in build_config(build)

    run(lab, look, rate=3, below=below, out=[selfref, "file"])


def test_output_folders(lab: Lab) -> None:
    """The folders are empty, distinct, writable, and what is in them is published."""

    def look(build: Build) -> None:
        paths = build_outpaths(build)
        assert len(set(paths)) == 3
        for number, path in enumerate(paths):
            assert [*path.iterdir()] == []
            (path / "out").write_text(str(number))

    _, rrefs = run(lab, look, nouts=3)
    assert sorted(map(lab.text, rrefs)) == ["0", "1", "2"]


def test_single_output_folder(lab: Lab) -> None:
    """Asking for the only folder where there are several is an error."""

    def look(build: Build) -> None:
        with pytest.raises(InvalidValue, match="not one output folder but 2"):
            build_outpath(build)
        for number, path in enumerate(build.outpaths):
            (path / str(number)).touch()

    run(lab, look, nouts=2)
    run(lab, lambda build: (build_outpath(build) / "x").touch(), other=1)


def test_the_realizer_sets_the_number(lab: Lab) -> None:
    """With nouts=None there are no folders until the realizer makes them, once."""

    def look(build: Build) -> None:
        for question in (build_outpaths, build_outpath):
            with pytest.raises(InvalidValue, match="not made yet"):
                question(build)
        made = build_setoutpaths(build, 2)
        assert made == build_outpaths(build) == build.outpaths
        (made[1] / "x").touch()
        with pytest.raises(InvalidValue, match="already made: 2"):
            build_setoutpaths(build, 2)

    _, rrefs = run(lab, look, nouts=None)
    assert len(rrefs) == 2


@pytest.mark.parametrize("number", [0, -1, 1.0, "2", None])
def test_bad_number_of_outputs(lab: Lab, number: Any) -> None:
    """A number of outputs is a whole number of at least one."""

    def look(build: Build) -> None:
        with pytest.raises(InvalidValue, match="at least 1"):
            build_setoutpaths(build, number)
        build_setoutpaths(build, 1)

    run(lab, look, nouts=None)


class TestDependencies:
    """Questions about the realizations of dependencies."""

    @staticmethod
    def ask(lab: Lab, question: Callable[[Build, DRef, DRef], object]) -> tuple[RRef, list[RRef]]:
        """Ask in a stage with a dependency `one` and another, `two`, with two realizations."""
        one = lab.stage("one")
        two = lab.stage("two", content=["a", "b"], matcher=match_all())
        run(lab, lambda build: question(build, one, two), one=one, two=[two])
        return lab.realize(one), lab.realize(two)

    def test_context(self, lab: Lab) -> None:
        """The context has what was selected for each direct dependency."""
        seen: list[dict[DRef, list[RRef]]] = []
        one, two = self.ask(lab, lambda build, *_: seen.append(build_context(build)))
        assert seen == [{one.dref: [one], two[0].dref: two}]

    def test_dereference(self, lab: Lab) -> None:
        """One realization, or the list of them."""
        seen: list[object] = []

        def look(build: Build, one: DRef, two: DRef) -> None:
            seen.extend([build_deref(build, one), build_deref_(build, two)])
            with pytest.raises(InvalidValue, match="use the function that returns a list"):
                build_deref(build, two)

        one, two = self.ask(lab, look)
        assert seen == [one, two]

    def test_paths(self, lab: Lab) -> None:
        """Refpaths stand for paths in each realization, `[dref]` for the folders."""

        def look(build: Build, one: DRef, two: DRef) -> None:
            assert build_path(build, [one, "out"]).read_text() == "one"
            assert build_path(build, one / "out").read_text() == "one"
            assert sorted(p.read_text() for p in build_paths(build, [two, "out"])) == ["a", "b"]
            assert build_path(build, [one]) == Path(lab.store.path(build_deref(build, one)))
            assert build_path(build, [one, "dir/x", "y"]) == build_path(build, [one]) / "dir/x/y"
            with pytest.raises(InvalidValue, match="but 2"):
                build_path(build, [two, "out"])

        self.ask(lab, look)

    def test_own_paths(self, lab: Lab) -> None:
        """Promises, written with selfref or with the derivation itself, are in the outputs."""

        def look(build: Build, one: DRef, two: DRef) -> None:
            del one, two
            expected = build_outpath(build) / "x" / "y"
            assert build_path(build, [selfref, "x", "y"]) == expected
            assert build_path(build, [build.dref, "x", "y"]) == expected
            assert build_path(build, [selfref]) == build_outpath(build)

        self.ask(lab, look)

    def test_strangers(self, lab: Lab) -> None:
        """What is not in the config is no dependency, realized or not."""
        stranger = lab.stage("stranger")
        lab.realize(stranger)

        def look(build: Build, one: DRef, two: DRef) -> None:
            del one, two
            for question in (
                lambda: build_deref(build, stranger),
                lambda: build_deref_(build, stranger),
                lambda: build_path(build, [stranger, "out"]),
            ):
                with pytest.raises(NotInStore, match="no dependency") as caught:
                    question()
                assert caught.value.reference == stranger

        self.ask(lab, look)

    @pytest.mark.parametrize("parts", [["..", "x"], ["a/../../b"], ["/etc"], [""], [3]])
    def test_paths_do_not_lead_out(self, lab: Lab, parts: list[Any]) -> None:
        """A refpath made at run time is checked as one in a config."""

        def look(build: Build, one: DRef, two: DRef) -> None:
            del two
            for head in (one, selfref):
                with pytest.raises(InvalidRefpath):
                    build_paths(build, [head, *parts])

        self.ask(lab, look)

    @pytest.mark.parametrize("value", [[], "text", None, ("a",), {}])
    def test_no_refpath(self, lab: Lab, value: Any) -> None:
        """What is no list with a reference is an error that shows it."""

        def look(build: Build, *_: DRef) -> None:
            with pytest.raises(InvalidRefpath):
                build_paths(build, value)

        self.ask(lab, look)


class TestEnvironment:
    """Variables for a program that the realizer runs."""

    def test_values(self, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
        """Plain values are text, references and refpaths are paths, all else is left out."""
        one = lab.stage("one")
        two = lab.stage("two", content=["a", "b"], matcher=match_all())
        monkeypatch.setenv("FROM_OUTSIDE", "x")
        seen: list[dict[str, str]] = []

        def look(build: Build) -> None:
            (build_outpath(build) / "file").touch()
            seen.append(build_environ(build))
            seen.append(build_environ(build, {"ONLY": "y", "text": "overridden"}))

        _, rref = run(
            lab,
            look,
            text="t",
            number=3,
            ratio=0.5,
            flag=True,
            nothing=None,
            one=one,
            file=[one, "out"],
            several=[two, "out"],
            out=[selfref, "file"],
            plain=[1, 2],
            references=[one],
            deep={"a": 1},
        )
        environment, only = seen
        path = Path(lab.store.path(lab.realize(one)))
        assert environment["FROM_OUTSIDE"] == "x"
        assert {key: environment[key] for key in ("name", "text", "number", "ratio", "flag")} == {
            "name": "looked",
            "text": "t",
            "number": "3",
            "ratio": "0.5",
            "flag": "True",
        }
        assert (environment["one"], environment["file"]) == (str(path), str(path / "out"))
        assert sorted(Path(p).read_text() for p in environment["several"].split(" ")) == ["a", "b"]
        assert environment["out"].endswith("/file")
        assert not environment.keys() & {"nothing", "plain", "references", "deep"}
        assert (only["ONLY"], only["text"]) == ("y", "t")
        assert "FROM_OUTSIDE" not in only
        assert isinstance(rref, RRef)


class TestOwnBuilds:
    """A subclass of Build may carry a realizer's own state."""

    def test_constructor(self, lab: Lab) -> None:
        """The wrapper makes builds with the constructor it is given."""

        class Counting(Build):
            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                self.steps = 0

        def look(build: Counting) -> None:
            build.steps += 1
            assert build.steps == 1

        realizer = build_wrapper(look, constructor=Counting)
        dref = mkdrv({"name": "own"}, match_all(), realizer, registry=lab.registry)
        lab.realize(dref)
        lab.realize(dref, force_rebuild=True)

    def test_without_a_run(self, lab: Lab) -> None:
        """A build can be made by hand, to try a realizer out."""
        dref = lab.stage("a")
        build = Build(lab.store, dref, {})
        assert (build.arguments, build.outpaths) == ({}, [])
        assert build_setoutpaths(build, 1)[0].is_dir()


def test_claims(lab: Lab) -> None:
    """A claim is a path in the own realization, resolved as a promise is, which may be missing."""
    found: list[Any] = []

    def look(build: Build) -> None:
        found.extend([build_path(build, build.config["trace"]), build_cattrs(build).trace])
        found.append(build_environ(build, {})["trace"])
        build_path(build, build.config["out"]).write_text("x")

    dref, rref = run(lab, look, out=[promise, "out"], trace=[claim, "deep", "trace.txt"])
    assert found[0].parts[-2:] == ("deep", "trace.txt")
    assert found[1:] == [[dref, "deep", "trace.txt"], str(found[0])]
    assert lab.store.config(dref).promises == (("out",),)
    assert isselfpath([claim, "x"])
    assert mklens(rref, store=lab.store).trace.syspath.parts[-3:] == (
        rref.rhash,
        "deep",
        "trace.txt",
    )
    with pytest.raises(InvalidRefpath):
        mkconfig({"trace": [claim, "..", "out"]})
