"""Stages made of stages: redefined ones, and those that have to be realized already."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    Build,
    DRef,
    Registry,
    RRef,
    autostage,
    build_wrapper,
    instantiate,
    match_all,
    match_latest,
    mkconfig,
    mkdrv,
    mkfile,
    mklens,
    realize1,
    realizeMany,
    selfref,
)
from plxnix.errors import InvalidConfig, InvalidValue, MissingRealizer, NoRegistry, NotRealized
from plxnix.redefinition import realized, redefine
from tests.stage_samples import Lab


@autostage(rate=1, deep={"a": 1}, out=[selfref, "out"], version="1")
def train(rate: int, out: Path) -> None:
    """Write the rate."""
    out.write_text(str(rate))


def rate(lab: Lab, stage: Any, **kwargs: Any) -> str:
    """Realize a stage and return what it wrote."""
    return lab.text(realize1(instantiate(stage, registry=lab.registry, **kwargs)))


def test_new_config(lab: Lab) -> None:
    """Fields are changed by a mapping, or by a function that changes or returns the config."""

    def mutate(config: dict[str, Any]) -> None:
        mklens(config, store=lab.store).rate.val = 3
        mklens(config, store=lab.store).deep.a.val = 2

    assert rate(lab, redefine(train)) == "1"
    assert rate(lab, redefine(train, {"rate": 2})) == "2"
    changed = redefine(train, mutate)
    assert rate(lab, changed) == "3"
    assert rate(lab, redefine(train, lambda old: {**old, "rate": 4})) == "4"
    assert rate(lab, redefine(train, lambda old: mkconfig({**old, "rate": 5}))) == "5"
    assert lab.store.config(changed(lab.registry))["deep"] == {"a": 2}
    assert rate(lab, train) == "1"


def test_arguments_go_through(lab: Lab) -> None:
    """The new stage takes the arguments of the old one, and has its name and documentation."""
    changed = redefine(train, {"deep": 1})
    assert rate(lab, changed, rate=8) == "8"
    assert (changed.__name__, changed.__doc__) == ("train", "Write the rate.")


def test_new_matcher_and_realizer(lab: Lab) -> None:
    """The matcher and the realizer are replaced; what is not given stays."""

    def make(build: Build) -> None:
        for number, path in enumerate(build.outpaths):
            (path / "out").write_text(f"new {number}")

    changed = redefine(train, new_matcher=match_all(), new_realizer=build_wrapper(make, 2))
    rrefs = realizeMany(instantiate(changed, registry=lab.registry))
    assert sorted(map(lab.text, rrefs)) == ["new 0", "new 1"]
    derivation = lab.registry.derivations[redefine(train, {"rate": 9})(lab.registry)]
    assert repr(derivation.matcher) == "match_latest(1)"


def test_stages_of_all_kinds(lab: Lab) -> None:
    """Recipes, stages of several references, and references themselves can be redefined."""

    def several(r: Registry) -> dict[str, Any]:
        return {"a": mkfile("a", "A", registry=r), "b": [train(r)]}

    found = redefine(several, {"extra": True})(r=lab.registry)
    assert [lab.store.config(dref)["extra"] for dref in (found["a"], *found["b"])] == [True, True]
    dref = redefine(train(lab.registry), {"rate": 7})(lab.registry)
    assert lab.text(lab.realize(dref)) == "7"
    assert isinstance(redefine((dref,))(lab.registry), tuple)


def test_on_the_command_line(lab: Lab, tmp_path: Path) -> None:
    """Redefined stages are found in files, and take the arguments of the old ones."""
    file = tmp_path / "stages.py"
    file.write_text(
        "from plxnix import autostage, either_stage, match_all, redefine, selfref\n"
        "@either_stage\n"
        "@autostage(rate=1, out=[selfref, 'out'])\n"
        "def train(rate, out): out.write_text(str(1 / rate))\n"
        "other = redefine(train, {'rate': 4}, match_all())\n"
    )
    environment = {**os.environ, "PLXNIX_ROOT": str(lab.root)}

    def out(*arguments: str) -> str:
        command = [sys.executable, "-m", "plxnix", "realize", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return Path(lab.store.path(RRef(done.stdout.strip())), "out").read_text()

    assert out(f"{file}:train") == "1.0"
    assert out(f"{file}:train", "-a", "rate=2") == "0.5"
    assert out(f"{file}:other") == "0.25"


def test_its_own_registry(lab: Lab) -> None:
    """A stage that was given a registry keeps it."""
    bound = autostage(registry=lab.registry, version="1", out=1, rate=1)(train.function)
    assert redefine(bound, {"rate": 2})() in lab.registry.derivations
    with pytest.raises(NoRegistry):
        redefine(train)()


def test_wrong_redefinitions(lab: Lab) -> None:
    """A config that is none, and references from elsewhere, are refused."""
    with pytest.raises(InvalidValue, match="new_config returned 33"):
        redefine(train, lambda _: 33)(lab.registry)
    with pytest.raises(InvalidConfig, match=r"config\.rate"):
        redefine(train, {"rate": (1, 2)})(lab.registry)
    with pytest.raises(MissingRealizer):
        redefine(DRef("dref:" + 32 * "0" + "-x"))(lab.registry)


def test_realized(lab: Lab) -> None:
    """A stage that has to be realized is found, and never run."""
    below = lab.stage("below")

    def top(r: Registry) -> DRef:
        def make(build: Build) -> None:
            lab.runs.append(build.dref.name)

        return mkdrv(r, {"name": "top", "below": below}, match_latest(), build_wrapper(make))  # type: ignore[arg-type]

    with pytest.raises(NotRealized, match="never realized"):
        realize1(instantiate(realized(top), registry=lab.registry))
    assert lab.runs == ["below"]
    rref = realize1(instantiate(top, registry=lab.registry))
    assert realize1(instantiate(realized(top), registry=lab.registry)) == rref
    with pytest.raises(NotRealized):
        realize1(instantiate(realized(top), registry=lab.registry), force_rebuild=True)
    assert lab.runs == ["below", "top"]
    assert lab.leftovers() == []
