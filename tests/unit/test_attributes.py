"""Attributes: realizations as objects, read when they are asked for."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from plxnix import Attrs, DRef, RRef, Store, match_all, selfref
from plxnix.attributes import View
from plxnix.errors import LensError
from tests.stage_samples import Lab


def realized(lab: Lab, dref: DRef) -> RRef:
    """Realize one stage."""
    rref = lab.realize(dref)
    assert isinstance(rref, RRef)
    return rref


def test_fields(lab: Lab) -> None:
    """Parameters are values, promises and refpaths are paths, references are objects."""
    below = lab.stage("below", rate=1)
    dref = lab.stage(
        "a",
        rate=[1, {"x": None}],
        out=[selfref, "out"],
        whole=[selfref],
        file=[below, "out"],
        source=below,
        sources={"all": [below, below]},
        text=f"see {below}",
    )
    rref = realized(lab, dref)
    found = Attrs(lab.store, rref)
    path = Path(lab.store.path(rref))
    assert (found._rref, found._path, found.name) == (rref, path, "a")
    assert found.rate == [1, {"x": None}]
    assert (found.out, found.whole) == (path / "out", path)
    assert found.file.read_text() == "below"
    assert isinstance(found.source, Attrs)
    assert (found.source.rate, found.sources["all"][1].rate) == (1, 1)
    assert found.text == f"see {below}"
    assert repr(found) == f"Attrs({rref})"


def test_values_cannot_be_changed_from_outside(lab: Lab) -> None:
    """What comes out is a copy: changing it changes neither the object nor the store."""
    found = Attrs(lab.store, realized(lab, lab.stage("a", rates=[1])))
    found.rates.append(2)
    assert found.rates == [1]


def test_the_realization_that_was_used(lab: Lab) -> None:
    """A dependency is the realization in the context, whatever is selected today."""
    results = iter(["old", "new"])
    below = lab.stage("below", content=lambda _: next(results))
    above = lab.stage("above", below, source=below)
    first = realized(lab, above)
    lab.realize(above, force_rebuild=[below])
    found = Attrs(lab.store, first)
    assert lab.text(found.source._rref) == "old"


def test_several(lab: Lab) -> None:
    """Several selected realizations are a list; with `multiple` one is as well, at each level."""
    one = lab.stage("one", rate=1)
    two = lab.stage("two", one, content=["a", "b"], matcher=match_all(), one=one)
    rref = realized(lab, lab.stage("top", two, two=two, files=[two, "out"]))
    found = Attrs(lab.store, rref)
    assert sorted(path.read_text() for path in found.files) == ["a", "b"]
    assert [each.one.rate for each in found.two] == [1, 1]
    assert [each.one[0].rate for each in Attrs(lab.store, rref, multiple=True).two] == [1, 1]


def test_missing_field(lab: Lab) -> None:
    """A field that is not there is an error that lists those that are, and an AttributeError."""
    found = Attrs(lab.store, realized(lab, lab.stage("a", rate=1)))
    with pytest.raises(LensError, match="no field 'ratio'") as caught:
        _ = found.ratio
    assert "name, rate" in caught.value.hint
    assert not hasattr(found, "ratio")
    assert getattr(found, "ratio", 7) == 7


def test_completion(lab: Lab) -> None:
    """The interpreter can complete the fields."""
    assert {"name", "rate"} <= {*dir(Attrs(lab.store, realized(lab, lab.stage("a", rate=1))))}


def test_lazy(lab: Lab) -> None:
    """Nothing is read before it is asked for, and only what is asked for."""
    below = lab.stage("below")
    rref = realized(lab, lab.stage("a", below, source=below, rate=1))
    read: list[str] = []

    class Watching(Store):
        def config(self, dref: str) -> Any:
            read.append(DRef(dref).name)
            return super().config(dref)

    found = Attrs(Watching(lab.root), rref)
    assert read == []
    source = found.source
    assert found.rate == 1
    assert read == ["a"]
    assert source.name == "below"
    assert read == ["a", "below"]


def test_copies(lab: Lab) -> None:
    """An object can be copied and sent to another process."""
    found = Attrs(lab.store, realized(lab, lab.stage("a", rate=[1])))
    for other in (copy.copy(found), pickle.loads(pickle.dumps(found))):  # noqa: S301 (our own)
        assert other.rate == [1]
        assert other._rref == found._rref
    assert not hasattr(Attrs.__new__(Attrs), "rate")


def test_view_of_a_build(lab: Lab, tmp_path: Path) -> None:
    """While a stage is realized its promises are in the output folder."""
    below = realized(lab, lab.stage("below"))
    own = DRef.make("0" * 32, "own")
    view = View(lab.store, {below.dref: (below,)}, own, tmp_path)
    assert view.show([own, "x", "y"]) == tmp_path / "x" / "y"
    assert view.show({"a": [[below.dref, "out"]]})["a"][0].read_text() == "below"
    assert view.show("plain") == "plain"
