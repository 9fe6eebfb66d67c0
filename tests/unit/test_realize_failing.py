"""Realizers that fail, break their promises, or return what they should not."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    Build,
    DRef,
    RRef,
    autostage,
    build_outpath,
    build_wrapper,
    match_only,
    mkdrv,
    realize,
    realize1,
    realizeMany,
    repl_realize,
    selfref,
)
from plxnix.errors import BuildFailed, InvalidValue, PlxnixError, PromiseMissing
from tests.stage_samples import Lab


def stage(lab: Lab, make: Callable[[Any], object], nouts: int | None = 1, **fields: Any) -> DRef:
    """Register a stage of a function that takes a build."""
    config = {"name": "made", **fields}
    return mkdrv(config, match_only(), build_wrapper(make, nouts), registry=lab.registry)


def raw(lab: Lab, realizer: Callable[..., Any], name: str = "raw") -> DRef:
    """Register a stage of a bare realizer."""
    return mkdrv({"name": name}, match_only(), realizer, registry=lab.registry)


def check_clean(lab: Lab, dref: DRef) -> None:
    """Check that nothing is realized and nothing is left lying about."""
    assert lab.store.realizations(dref) == []
    assert lab.leftovers() == []


@pytest.mark.parametrize("call", [realize, realize1, realizeMany, repl_realize])
def test_a_stage_that_is_not_instantiated(lab: Lab, call: Callable[[Any], object]) -> None:
    """It is said what is missing, for a stage, a reference, or anything else."""

    @autostage
    def forgotten() -> None:
        """Nothing."""

    for target, shown in ((forgotten, "<stage forgotten>"), (lab.stage("x"), "dref:"), (5, "5")):
        with pytest.raises(InvalidValue, match=f"not a closure: .?{shown}") as caught:
            call(target)
        assert "instantiate(stage)" in str(caught.value)
    with pytest.raises(InvalidValue, match="not a closure"):
        realize(5, dry_run=True)  # type: ignore[call-overload]


class TestPromises:
    """What is promised has to be there, in each output folder."""

    def test_missing(self, lab: Lab) -> None:
        """The error names what is missing, and only that; nothing is published."""

        def make(build: Build) -> None:
            (build_outpath(build) / "there").touch()

        dref = stage(lab, make, a=[selfref, "there"], b={"c": [[selfref, "dir", "file"]]})
        with pytest.raises(PromiseMissing, match="dir/file") as caught:
            lab.realize(dref)
        assert caught.value.missing == ("dir/file",)
        assert caught.value.dref == dref
        check_clean(lab, dref)

    def test_missing_in_one_output(self, lab: Lab) -> None:
        """One output folder without it is enough to fail, and then none is published."""

        def make(build: Build) -> None:
            (build.outpaths[0] / "f").touch()

        dref = stage(lab, make, nouts=2, a=[selfref, "f"])
        with pytest.raises(PromiseMissing):
            lab.realize(dref)
        check_clean(lab, dref)

    def test_kept(self, lab: Lab) -> None:
        """Files, folders and links, dangling ones too, keep a promise; so does `[selfref]`."""

        def make(build: Build) -> None:
            out = build_outpath(build)
            (out / "file").touch()
            (out / "folder").mkdir()
            (out / "link").symlink_to("nowhere")

        promised: dict[str, Any] = {name: [selfref, name] for name in ("file", "folder", "link")}
        rref = lab.realize(stage(lab, make, whole=[selfref], **promised))
        assert sorted(os.listdir(lab.store.path(rref))) == ["file", "folder", "link"]


class TestRaising:
    """What a realizer raises becomes a BuildFailed, with the cause."""

    def test_cause(self, lab: Lab) -> None:
        """The error names the stage, the exception and its text; the exception is the cause."""
        dref = stage(lab, lambda _: 1 // 0)
        with pytest.raises(BuildFailed, match=r"made raised ZeroDivisionError: ") as caught:
            lab.realize(dref)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.dref == dref
        assert caught.value.log == ""
        check_clean(lab, dref)

    def test_what_was_realized_stays(self, lab: Lab) -> None:
        """Stages realized before the failure stay realized, and later ones do not run."""
        results = iter([ZeroDivisionError, None])

        def make(build: Build) -> str:
            raised = next(results)
            if raised:
                raise raised
            return build.dref.name

        a = lab.stage("a")
        c = lab.stage("c", lab.stage("b", a, content=make))
        with pytest.raises(BuildFailed):
            lab.realize(c)
        assert len(lab.store.realizations(a)) == 1
        assert lab.runs == ["a", "b"]
        lab.realize(c)
        assert lab.runs == ["a", "b", "b", "c"]

    def test_own_errors_pass(self, lab: Lab) -> None:
        """Errors of plxnix, such as a wrong use of build_*, come through as they are."""
        dref = stage(lab, build_outpath, nouts=2)
        with pytest.raises(InvalidValue, match="not one output folder but 2"):
            lab.realize(dref)
        check_clean(lab, dref)

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_sys_exit(self, lab: Lab, jobs: int) -> None:
        """A stage that ends the program, with success even, is a stage that has failed."""
        dref = stage(lab, lambda _: sys.exit(0))
        with pytest.raises(BuildFailed, match="raised SystemExit: 0"):
            realize(lab.closure(dref), jobs=jobs)
        check_clean(lab, dref)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
    def test_interrupted(self, lab: Lab, error: type[BaseException]) -> None:
        """Ctrl-C and the like come through; the store is left clean and usable."""

        def make(build: Build) -> None:
            (build_outpath(build) / "half").write_text("x")
            raise error

        dref = stage(lab, make)
        with pytest.raises(error):
            lab.realize(dref)
        check_clean(lab, dref)
        assert sys.stdout is not None
        lab.realize(stage(lab, lambda _: None))

    def test_in_a_generator(self, lab: Lab) -> None:
        """A realizer may be a generator; what it raises on the way is treated alike."""

        def realizer(*_: object) -> Any:
            yield lab.store.session().folder("first")
            raise LookupError("late")

        with pytest.raises(BuildFailed, match="LookupError: late"):
            lab.realize(raw(lab, realizer))


class TestReturning:
    """What a realizer returns has to be folders of its own."""

    @pytest.mark.parametrize("value", [None, [], (), iter(())])
    def test_nothing(self, lab: Lab, value: object) -> None:
        """Nothing is an error, in all its forms."""
        with pytest.raises(BuildFailed, match="gave nothing"):
            lab.realize(raw(lab, lambda *_: value))

    @pytest.mark.parametrize("value", [7, [7], [None], [["x"]]])
    def test_no_paths(self, lab: Lab, value: object) -> None:
        """What is no path is an error of ours that names the stage."""
        dref = raw(lab, lambda *_: value)
        with pytest.raises(BuildFailed, match="raw"):
            lab.realize(dref)
        check_clean(lab, dref)

    def test_missing_folder(self, lab: Lab, tmp_path: Path) -> None:
        """A folder that is not there is an error that shows the path."""
        with pytest.raises(BuildFailed, match=r"left no folder at .*/gone"):
            lab.realize(raw(lab, lambda *_: [tmp_path / "gone"]))

    def test_file_and_link(self, lab: Lab, tmp_path: Path) -> None:
        """A file, or a link to a folder, is no folder."""
        (tmp_path / "file").write_text("x")
        (tmp_path / "link").symlink_to(tmp_path)
        for name in ("file", "link"):
            with pytest.raises(BuildFailed, match="left no folder"):
                lab.realize(raw(lab, lambda *_, name=name: [tmp_path / name]))
            assert (tmp_path / name).exists()

    def test_folders_from_elsewhere(self, lab: Lab, tmp_path: Path) -> None:
        """Folders may be anywhere, as text or paths; they are moved into the store."""
        for name in ("x", "y"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "out").write_text(name)
        dref = mkdrv(
            {"name": "two"},
            lambda _, rrefs: rrefs or None,
            lambda *_: [str(tmp_path / "x"), tmp_path / "y"],
            registry=lab.registry,
        )
        rrefs: list[RRef] = lab.realize(dref)
        assert sorted(map(lab.text, rrefs)) == ["x", "y"]
        assert not (tmp_path / "x").exists()

    @pytest.mark.parametrize("kind", [str, Path])
    def test_one_folder_alone(
        self, lab: Lab, tmp_path: Path, kind: Callable[[Path], object]
    ) -> None:
        """One path in place of a list is that folder, and not the letters of its name."""
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "out").write_text("alone")
        rref = lab.realize(raw(lab, lambda *_: kind(tmp_path / "x")))
        assert lab.text(rref) == "alone"

    def test_published_folders(self, lab: Lab) -> None:
        """The folder of another realization is refused and stays where it is."""
        below = lab.realize(lab.stage("below"))
        path = lab.store.path(below)
        for given in (path, os.path.dirname(path)):
            with pytest.raises(BuildFailed, match="not its own"):
                lab.realize(raw(lab, lambda *_, given=given: [given]))
        assert lab.text(below) == "below"

    def test_folders_above_the_store(self, lab: Lab) -> None:
        """A folder that holds the store is refused, the root of the file system above all."""
        for given in ("/", str(lab.root), str(lab.root.parent), lab.store.layout.store):
            with pytest.raises(BuildFailed, match="holds a part of the store"):
                lab.realize(raw(lab, lambda *_, given=given: [given]))
        lab.realize(lab.stage("usable"))

    def test_special_files(self, lab: Lab) -> None:
        """A pipe or socket in the folder cannot be published."""

        def make(build: Build) -> None:
            os.mkfifo(build_outpath(build) / "pipe")

        dref = stage(lab, make)
        with pytest.raises(BuildFailed, match="pipe"):
            lab.realize(dref)
        check_clean(lab, dref)


class TestLogs:
    """What a realizer prints is kept."""

    def test_kept_and_shown(self, lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
        """Output and errors go to the log in their order, and to the terminal as ever."""

        def make(_: Build) -> None:
            print("to output, ü")
            print("to errors", file=sys.stderr)
            sys.stdout.write("no newline")
            sys.stdout.writelines(["a", "b"])

        rref = lab.realize(stage(lab, make))
        assert lab.store.log(rref) == "to output, ü\nto errors\nno newlineab"
        assert capsys.readouterr() == ("to output, ü\nno newlineab", "to errors\n")
        print("afterwards")
        assert capsys.readouterr().out == "afterwards\n"
        assert "afterwards" not in lab.store.log(rref)

    def test_silent(self, lab: Lab) -> None:
        """A realizer that prints nothing has an empty log, and no file for it."""
        rref = lab.realize(stage(lab, lambda _: None))
        assert lab.store.log(rref) == ""
        assert not os.path.exists(lab.store.layout.log(rref))

    def test_failed(self, lab: Lab) -> None:
        """The log of a failure is kept beside the store; the error says where."""

        def make(_: Build) -> None:
            print("last words")
            raise ValueError("x")

        dref = stage(lab, make)
        with pytest.raises(BuildFailed) as caught:
            lab.realize(dref)
        assert caught.value.log == lab.store.layout.failed_log(dref)
        with gzip.open(caught.value.log) as file:
            assert file.read() == b"last words\n"
        check_clean(lab, dref)


class TestKeepFailed:
    """The folder of a failed realizer can be kept to be looked at."""

    @staticmethod
    def failing(lab: Lab, error: type[BaseException] = ValueError) -> DRef:
        """Register a stage that leaves a file and fails."""

        def make(build: Build) -> None:
            for number, path in enumerate(build.outpaths):
                (path / "half").write_text(str(number))
            raise error

        return stage(lab, make, nouts=2)

    def test_removed(self, lab: Lab) -> None:
        """Without keep_failed nothing of it is left."""
        with pytest.raises(BuildFailed):
            lab.realize(self.failing(lab))
        assert os.listdir(lab.store.layout.failed) == []

    def test_kept(self, lab: Lab) -> None:
        """With it each output folder is below `failed`; the next failure replaces them."""
        dref = self.failing(lab)
        for _ in range(2):
            with pytest.raises(BuildFailed):
                lab.realize(dref, keep_failed=True)
            kept = sorted(os.listdir(lab.store.layout.failed))
            assert kept == [f"{dref[5:]}-0", f"{dref[5:]}-1"]
            half = Path(lab.store.layout.failed, kept[1], "half")
            assert half.read_text() == "1"
        check_clean(lab, dref)

    def test_broken_promise_and_interrupt(self, lab: Lab) -> None:
        """It is kept for broken promises and interrupts as well."""
        broken = stage(lab, lambda _: None, promise=[selfref, "f"])
        with pytest.raises(PromiseMissing):
            lab.realize(broken, keep_failed=True)
        stopped = self.failing(lab, KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            lab.realize(stopped, keep_failed=True)
        assert len(os.listdir(lab.store.layout.failed)) == 3

    def test_errors_are_picklable(self, lab: Lab) -> None:
        """An error that crosses processes keeps its fields."""
        import pickle

        with pytest.raises(PlxnixError) as caught:
            lab.realize(stage(lab, lambda _: None, promise=[selfref, "f"]))
        copy = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 (our own bytes)
        assert type(copy) is PromiseMissing
        assert (copy.missing, copy.dref, str(copy)) == (("f",), copy.dref, str(caught.value))
