"""Lenses: looking through configs, references, builds, closures and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    Build,
    DRef,
    Lens,
    PlxnixError,
    RRef,
    build_outpath,
    build_wrapper,
    current_storage,
    match_all,
    match_only,
    mkdrv,
    mklens,
    realize1,
    realizeMany,
    selfref,
)
from plxnix.errors import InvalidValue, LensError, StoreNotFound
from tests.stage_samples import Lab


def family(lab: Lab) -> tuple[DRef, DRef, DRef]:
    """A stage, one that depends on it, and one that depends on that, all with promises."""
    grand = lab.stage("grand", rate=1, out=[selfref, "out"])
    parent = lab.stage("parent", grand, of=grand, nested={"a": {"b": 2}}, out=[selfref, "out"])
    child = lab.stage("child", of=parent, file=[parent, "out"], out=[selfref, "out"])
    return grand, parent, child


def look(lab: Lab, value: Any, **options: Any) -> Lens:
    """Make a lens in the laboratory's store."""
    return mklens(value, store=lab.store, **options)


class TestRealizations:
    """From a realization everything below it can be seen."""

    def test_values(self, lab: Lab) -> None:
        """Parameters at any depth, through dependencies."""
        rref = lab.realize(family(lab)[2])
        assert look(lab, rref).name.val == "child"
        assert look(lab, rref).of.nested.a.b.val == 2
        assert look(lab, rref).of.of.rate.val == 1
        assert look(lab, rref).of.nested.val == {"a": {"b": 2}}

    def test_references(self, lab: Lab) -> None:
        """References of the realization and of each dependency."""
        grand, parent, child = family(lab)
        rref = lab.realize(child)
        lens = look(lab, rref)
        assert (lens.rref, lens.dref, lens.rrefs) == (rref, child, [rref])
        assert (lens.of.dref, lens.of.of.dref) == (parent, grand)
        assert (lens.of.rref, lens.of.of.rref) == (lab.realize(parent), lab.realize(grand))
        assert isinstance(lens.of.rref, RRef)
        assert isinstance(lens.of.dref, DRef)
        assert lens.of.val == parent

    def test_paths(self, lab: Lab) -> None:
        """Folders, promised files, refpaths and their text."""
        _, parent, child = family(lab)
        rref = lab.realize(child)
        lens = look(lab, rref)
        assert lens.syspath == Path(lab.store.path(rref))
        assert lens.out.syspath == lens.syspath / "out"
        assert lens.out.contents == "child"
        assert lens.file.syspath == lens.of.syspath / "out"
        assert (lens.of.out.contents, lens.of.of.out.contents) == ("parent", "grand")
        assert lens.out.refpath == [child, "out"]
        assert lens.file.refpath == [parent, "out"]
        assert lens.file.refpath / "x" == [parent, "out", "x"]

    def test_text_is_enough(self, lab: Lab) -> None:
        """A reference may be given as plain text, from a file or the command line."""
        rref = lab.realize(family(lab)[2])
        assert look(lab, str(rref)).rref == rref

    def test_the_one_that_was_used(self, lab: Lab) -> None:
        """A dependency is the realization that was used, not the one that is selected today."""
        results = iter(["old", "new"])
        below = lab.stage("below", content=lambda _: next(results), out=[selfref, "out"])
        above = lab.stage("above", of=below)
        old = lab.realize(above)
        new = lab.realize(above, force_rebuild=[below])
        assert look(lab, old).of.out.contents == "old"
        assert look(lab, new).of.out.contents == "new"

    def test_several(self, lab: Lab) -> None:
        """Where several are selected there are lists, and the single forms are errors."""
        many = lab.stage("many", content=["a", "b"], matcher=match_all(), out=[selfref, "out"])
        rref = lab.realize(lab.stage("top", of=many, file=[many, "out"]))
        lens = look(lab, rref)
        assert lens.of.rrefs == lab.realize(many)
        assert lens.of.syspaths == [Path(lab.store.path(one)) for one in lab.realize(many)]
        assert sorted(path.read_text() for path in lens.file.syspaths) == ["a", "b"]
        assert lens.of.name.val == "many"
        for question in ("rref", "syspath"):
            with pytest.raises(LensError, match="stands for 2"):
                getattr(lens.of, question)
        with pytest.raises(LensError):
            _ = lens.of.out.syspath

    def test_whole_realization(self, lab: Lab) -> None:
        """A promise or refpath without parts is the folder, of its own and in dependents."""
        below = lab.stage("below", folder=[selfref])
        rref = lab.realize(lab.stage("above", of=below, folder=[below]))
        lens = look(lab, rref)
        assert lens.of.folder.syspath == lens.folder.syspath == lens.of.syspath
        assert lens.of.folder.resolve() == lens.of.syspath
        assert lens.of.folder.refpath / "out" == [below, "out"]
        assert lens.folder[0].rref == lens.of.rref

    def test_none(self, lab: Lab) -> None:
        """None is an error for val and a value for optval."""
        lens = look(lab, lab.realize(lab.stage("a", nothing=None)))
        assert lens.nothing.optval is None
        with pytest.raises(LensError, match="is None"):
            _ = lens.nothing.val


class TestDerivations:
    """From a derivation its config can be seen, and no results."""

    def test_config(self, lab: Lab) -> None:
        """Values and references, through dependencies; the folder of the derivation."""
        grand, parent, child = family(lab)
        lens = look(lab, child)
        assert lens.of.nested.a.b.val == 2
        assert (lens.dref, lens.of.of.dref) == (child, grand)
        assert lens.syspath == Path(lab.store.layout.derivation(child))
        assert lens.of.out.refpath == [parent, "out"]

    def test_given_context(self, lab: Lab) -> None:
        """A context that has the dependencies of a derivation, and not itself, is enough."""
        grand, parent, child = family(lab)
        context = {parent: [lab.realize(parent)]}
        lens = look(lab, child, context=context)
        assert (lens.of.rref, lens.file.contents) == (lab.realize(parent), "parent")
        assert lens.of.of.rref == lab.realize(grand)

    @pytest.mark.parametrize("question", ["syspath", "syspaths", "contents"])
    def test_no_results(self, lab: Lab, question: str) -> None:
        """Which realization is meant is not known, even if there is one."""
        child = family(lab)[2]
        lab.realize(child)
        for lens in (look(lab, child).out, look(lab, child).of.out, look(lab, child).file):
            with pytest.raises(LensError):
                getattr(lens, question)
        with pytest.raises(LensError, match="which realization"):
            _ = look(lab, child).of.rref

    def test_with_a_context(self, lab: Lab) -> None:
        """A realization or a context that is passed along tells which ones are meant."""
        grand, parent, child = family(lab)
        rref = lab.realize(child)
        assert look(lab, child, rref=rref).rref == rref
        assert look(lab, child, rref=rref).out.contents == "child"
        assert look(lab, parent, rref=rref).out.contents == "parent"
        assert look(lab, [parent, "out"], rref=rref).contents == "parent"
        used = {grand: [lab.realize(grand)]}
        assert look(lab, grand, context=used).out.contents == "grand"
        assert look(lab, {"a": [[grand, "out"]], "b": grand}, context=used).b.rate.val == 1


class TestBuilds:
    """In a realizer the build is what is looked at."""

    def test_inside_a_realizer(self, lab: Lab) -> None:
        """Dependencies are those of the context, promises are in the output folder."""
        _, parent, _ = family(lab)
        seen: list[Build] = []

        def make(build: Build) -> None:
            lens = mklens(build)
            assert lens.syspath == build_outpath(build)
            assert lens.out.syspath == build_outpath(build) / "dir" / "f"
            assert lens.of.out.contents == "parent"
            assert lens.of.of.rate.val == 1
            assert lens.rate.val == 5
            assert lens.of.rref == build.context[parent][0]
            assert mklens(parent, build=build).out.contents == "parent"
            assert mklens([parent, "out"], build=build).contents == "parent"
            lens.out.syspath.parent.mkdir()
            lens.out.syspath.write_text("made")
            seen.append(build)

        config = {"name": "made", "of": parent, "rate": 5, "out": [selfref, "dir", "f"]}
        dref = mkdrv(config, match_only(), build_wrapper(make), registry=lab.registry)
        rref = lab.realize(dref)
        assert seen
        assert look(lab, rref).out.contents == "made"

    def test_several_outputs(self, lab: Lab) -> None:
        """With several output folders one of them is chosen by its number."""

        def make(build: Build) -> None:
            assert mklens(build).syspaths == build.outpaths
            with pytest.raises(LensError, match="stands for 2 paths"):
                _ = mklens(build).syspath
            for index, path in enumerate(build.outpaths):
                lens = mklens(build, output_index=index)
                assert lens.out.syspath == path / "f"
                lens.out.syspath.write_text(str(index))

        config = {"name": "two", "out": [selfref, "f"]}
        dref = mkdrv(config, match_all(), build_wrapper(make, 2), registry=lab.registry)
        rrefs = lab.realize(dref)
        assert sorted(look(lab, rref).out.contents for rref in rrefs) == ["0", "1"]

    def test_before_the_outputs_are_made(self, lab: Lab) -> None:
        """Without output folders a promise has no path yet."""
        dref = lab.stage("a", out=[selfref, "f"])
        with pytest.raises(LensError, match="promised, not realized"):
            _ = mklens(Build(lab.store, dref, {})).out.syspath
        with pytest.raises(InvalidValue, match="not made yet"):
            _ = mklens(Build(lab.store, dref, {})).syspath


class TestClosures:
    """From a closure its parts can be realized."""

    def test_values(self, lab: Lab) -> None:
        """A closure is looked into as its target is."""
        grand, _, child = family(lab)
        closure = lab.closure(child)
        assert (mklens(closure).dref, mklens(closure).of.of.dref) == (child, grand)
        assert mklens(closure).of.nested.a.b.val == 2

    def test_part(self, lab: Lab) -> None:
        """The closure of a dependency holds, and realizes, that and what is below it alone."""
        grand, parent, child = family(lab)
        part = mklens(lab.closure(child)).of.closure
        assert (part.dref, set(part.derivations)) == (parent, {parent, grand})
        assert realize1(part).dref == parent
        assert lab.runs == ["grand", "parent"]
        assert realizeMany(mklens(lab.closure(child)).closure)[0].dref == child

    def test_several_targets(self, lab: Lab) -> None:
        """A closure of several targets is looked into as the stage returned them."""
        grand, parent, _ = family(lab)
        lens = mklens(lab.closure({"a": grand, "b": [parent]}))
        assert (lens.a.rate.val, lens.b[0].name.val) == (1, "parent")
        assert lens.b[0].of.closure.dref == grand
        with pytest.raises(LensError, match="no reference"):
            _ = lens.dref
        with pytest.raises(LensError, match=r"mklens\(\.\.\.\)\.b has no field 1"):
            _ = lens.b[1]

    def test_without(self, lab: Lab) -> None:
        """A lens that did not start from a closure has none."""
        with pytest.raises(LensError, match="knows no closure"):
            _ = look(lab, family(lab)[0]).closure


class TestFiles:
    """A JSON file can be looked into as a config."""

    def test_fields(self, lab: Lab) -> None:
        """Fields of a JSON object in a promised file, at any depth."""
        text = json.dumps({"loss": {"valid": 0.25}, "steps": [1]})
        below = lab.stage("below", content=text, out=[selfref, "out"])
        rref = lab.realize(lab.stage("top", of=below, file=[below, "out"]))
        assert look(lab, rref).of.out.loss.valid.val == 0.25
        assert look(lab, rref).file.steps.val == [1]

    @pytest.mark.parametrize("content", ["", "{", "[1]", "3", '"text"', "\x00"])
    def test_no_object(self, lab: Lab, content: str) -> None:
        """Other files have no fields."""
        rref = lab.realize(lab.stage("a", content=content, out=[selfref, "out"]))
        with pytest.raises(LensError, match="only JSON files"):
            _ = look(lab, rref).out.field

    def test_unreadable(self, lab: Lab) -> None:
        """Contents of what is no text file are an error of ours."""

        def make(build: Build) -> None:
            (build_outpath(build) / "bytes").write_bytes(b"\xff")

        config = {"name": "a", "bytes": [selfref, "bytes"], "all": [selfref]}
        dref = mkdrv(config, match_only(), build_wrapper(make), registry=lab.registry)
        lens = look(lab, lab.realize(dref))
        with pytest.raises(LensError, match="cannot be read"):
            _ = lens.bytes.contents
        with pytest.raises(LensError):
            _ = lens.all.contents


class TestDicts:
    """A plain dict can be looked into and changed."""

    def test_values(self, lab: Lab) -> None:
        """Fields at any depth; names that are taken by get."""
        value = {"a": {"b": 1}, "val": 2, "get": {"x y": 3}}
        assert look(lab, value).a.b.val == 1
        assert look(lab, value).get("val").val == 2
        assert look(lab, value).get("get").get("x y").val == 3
        assert look(lab, value).val is value

    def test_assignment(self, lab: Lab) -> None:
        """Fields that are there can be set, in place."""
        value: dict[str, Any] = {"a": {"b": 1}, "c": "x"}
        look(lab, value).a.b.val = 2
        look(lab, value).c.val += "y"
        assert value == {"a": {"b": 2}, "c": "xy"}

    def test_no_assignment(self, lab: Lab) -> None:
        """New fields, whole dicts and what is in the store cannot."""
        value = {"a": {"b": 1}}
        with pytest.raises(LensError, match="no field 'x'"):
            look(lab, value).x.val = 1
        with pytest.raises(LensError, match="cannot be assigned to"):
            look(lab, value).val = {}
        rref = lab.realize(family(lab)[2])
        for lens in (
            look(lab, rref).name,
            look(lab, rref).of.nested.a.b,
            look(lab, rref.dref).name,
        ):
            with pytest.raises(LensError, match="cannot be assigned to"):
                lens.val = 3
        assert look(lab, rref).name.val == "child"
        with pytest.raises(AttributeError):
            look(lab, value).a = 1  # type: ignore[attr-defined]


class TestErrors:
    """Steps and answers that are impossible are errors that say where."""

    def test_missing_field(self, lab: Lab) -> None:
        """A missing field is told at the step, with the way there and the fields there are."""
        rref = lab.realize(family(lab)[2])
        with pytest.raises(LensError, match=r"\)\.of\.nested has no field 'z'") as caught:
            _ = look(lab, rref).of.nested.z
        assert caught.value.hint == "the fields are a"
        assert isinstance(caught.value, AttributeError)
        assert not hasattr(look(lab, rref), "nothing")

    @pytest.mark.parametrize(
        ("value", "question"),
        [
            ("text", "dref"),
            ("text", "rref"),
            ("text", "syspath"),
            ("text", "refpath"),
            ("text", "contents"),
            ([1], "refpath"),
            ({"a": 1}, "dref"),
            (3, "syspath"),
        ],
    )
    def test_impossible_answers(self, lab: Lab, value: object, question: str) -> None:
        """Asking for what the value is not is an error that shows the value."""
        with pytest.raises(LensError, match=r"mklens\(\.\.\.\)\.x .*"):
            getattr(look(lab, {"x": value}).x, question)

    def test_no_fields(self, lab: Lab) -> None:
        """Numbers and texts have no fields; the way there is shown."""
        for value in (3, "text"):
            with pytest.raises(LensError, match=r"mklens\(\.\.\.\)\.x cannot be entered"):
                _ = look(lab, {"x": value}).x.y

    def test_not_in_the_store(self, lab: Lab) -> None:
        """A reference that the store does not have is an error when it is looked into."""
        gone = DRef.make("0" * 32, "gone")
        with pytest.raises(PlxnixError, match="no derivation"):
            _ = look(lab, gone).name
        with pytest.raises(PlxnixError, match="no realization"):
            _ = look(lab, RRef.make("0" * 32, gone)).syspath

    def test_python_is_not_disturbed(self, lab: Lab) -> None:
        """Names with double underscores are Python's own, and are not looked up."""
        lens = look(lab, {"a": 1})
        assert not hasattr(lens, "__len__")
        assert not hasattr(lens, "__array__")
        assert repr(lens.a) == "mklens(...).a"


class TestLists:
    """Lists, and dependencies of which several realizations were selected."""

    def test_items(self, lab: Lab) -> None:
        """Items are reached by number, fields by name in brackets too; both can be assigned to."""
        value: dict[str, Any] = {"a": [{"b": 1}, {"b": 2}], "val": 3, "none": None}
        lens = look(lab, value)
        assert [one.b.val for one in lens.a] == [1, 2]
        assert (lens["val"].val, lens.a[1]["b"].val, repr(lens.a[1].b)) == (
            3,
            2,
            "mklens(...).a[1].b",
        )
        assert lens.none.optval is None
        lens.a[0].b.val = 5
        lens.a[1].val = 6
        assert value["a"] == [{"b": 5}, 6]
        for wrong in (2, "b"):
            with pytest.raises(LensError, match=r"\.a has no field"):
                _ = lens.a[wrong]

    def test_several_realizations(self, lab: Lab) -> None:
        """Each of them can be looked into by number, in the matcher's order."""
        many = lab.stage("many", content=["1", "2"], matcher=match_all(), out=[selfref, "out"])
        rref = lab.realize(lab.stage("top", many, of=many))
        lens = look(lab, rref).of
        assert lens.name.val == "many"
        assert [one.rref for one in lens] == lens.rrefs
        assert sorted(one.out.contents for one in lens) == ["1", "2"]
        assert lens[1].out.syspath == Path(lab.store.path(lens.rrefs[1]), "out")
        assert lens.resolve() == lens.rrefs
        with pytest.raises(LensError, match="has no field 2"):
            _ = lens[2]

    def test_completion(self, lab: Lab) -> None:
        """A shell can offer the fields."""
        _, parent, _ = family(lab)
        assert {"of", "nested", "syspath"} <= {*dir(look(lab, parent))}
        assert "a" in dir(look(lab, parent).nested)
        assert "syspath" in dir(look(lab, parent).name)


class TestResolve:
    """A value as a whole, with everything in it that refers to something."""

    def test_realization(self, lab: Lab) -> None:
        """References become realizations, refpaths become paths, at any depth."""
        grand, _, child = family(lab)
        top = lab.stage("top", child, deep={"list": [child, 1], "path": [child, "out"]})
        lens = look(lab, lab.realize(top))
        below = lab.realize(child)
        out = Path(lab.store.path(below), "out")
        assert lens.deep.resolve() == {"list": [below, 1], "path": out}
        assert lens.below[0].out.resolve() == out
        assert lens.resolve() == lens.rref
        with pytest.raises(LensError, match="which realization"):
            look(lab, grand).resolve()

    def test_build(self, lab: Lab) -> None:
        """Promises become paths in the output folder; the build itself is that folder."""
        found: list[Any] = []

        def make(build: Build) -> None:
            found.extend([mklens(build).resolve(), mklens(build).out.resolve()])
            (build_outpath(build) / "out").touch()

        config = {"name": "x", "out": [selfref, "out"]}
        lab.realize(mkdrv(config, match_only(), build_wrapper(make), lab.registry))
        assert found[1] == found[0] / "out"

    def test_closure(self, lab: Lab) -> None:
        """A closure is resolved if it is said how."""
        grand, parent, _ = family(lab)
        rref = lab.realize(parent)
        closure = lab.closure([grand, parent])
        assert mklens(closure, rref=rref).resolve() == [lab.realize(grand), rref]


def test_no_store() -> None:
    """Dicts can be looked into where there is no store; references cannot."""
    assert mklens({"a": {"b": [1]}}).a.b[0].val == 1
    with pytest.raises(StoreNotFound):
        _ = mklens(DRef.make("0" * 32, "x")).name


def test_current_store(lab: Lab) -> None:
    """Without store= the current store is meant."""
    rref = lab.realize(family(lab)[2])
    with current_storage(lab.store):
        assert mklens(rref).of.of.out.contents == "grand"
