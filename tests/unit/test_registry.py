"""Registries and instantiation: how stages are called and what closures come out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from plxnix import (
    DRef,
    Registry,
    Store,
    build_wrapper,
    current_registry,
    current_storage,
    instantiate,
    match_latest,
    match_only,
    mkconfig,
    mkdrv,
    realize,
    selfref,
)
from plxnix.errors import (
    InvalidConfig,
    InvalidValue,
    MissingRealizer,
    NoRegistry,
    RecursiveInstantiate,
)
from plxnix.realize.registry import find_registry, takes_registry
from tests.stage_samples import Lab
from tests.waiting import PATIENCE

REALIZER = build_wrapper(lambda _: None)


def leaf(name: str = "leaf", **fields: Any) -> DRef:
    """Register a stage without dependencies in the current registry."""
    return mkdrv({"name": name, **fields}, match_only(), REALIZER)


def annotated_last(name: str, where: Registry) -> DRef:
    """Take the registry by annotation alone, after another argument."""
    return leaf(name) if find_registry() is where else leaf("wrong")


def takes_registry_first(registry: Any, text: str) -> DRef:
    """Take the registry as first parameter, known by its name alone."""
    return leaf(text, given=isinstance(registry, Registry))


def takes_r_first(r: Any, text: str) -> DRef:
    """Take the registry as first parameter, known by its name alone."""
    return leaf(text, given=isinstance(r, Registry))


def takes_m_first(m: Any, text: str) -> DRef:
    """Take the registry as first parameter, known by its name alone."""
    return leaf(text, given=isinstance(m, Registry))


def takes_registry_last(text: str, *, registry: Any = None) -> DRef:
    """Take the registry as a keyword-only parameter."""
    return leaf(text, given=isinstance(registry, Registry))


def takes_r_last(text: str, *, r: Any = None) -> DRef:
    """Take the registry as a keyword-only parameter."""
    return leaf(text, given=isinstance(r, Registry))


def takes_m_last(text: str, *, m: Any = None) -> DRef:
    """Take the registry as a keyword-only parameter."""
    return leaf(text, given=isinstance(m, Registry))


class TestHowStagesAreCalled:
    """The registry reaches a stage wherever the stage looks for it."""

    def test_without_argument(self) -> None:
        """A stage that takes no registry finds the current one."""
        closure = instantiate(lambda: leaf("plain"))
        assert closure.dref.name == "plain"
        assert list(closure.derivations) == [closure.dref]

    @pytest.mark.parametrize("stage", [takes_registry_first, takes_r_first, takes_m_first])
    def test_first_argument(self, stage: Callable[..., DRef]) -> None:
        """A first parameter called registry, r or m receives the registry."""
        for closure in (instantiate(stage, "text"), instantiate(stage, text="text")):
            assert dict(closure.derivations[closure.dref].config) == {"name": "text", "given": True}

    @pytest.mark.parametrize("stage", [takes_registry_last, takes_r_last, takes_m_last])
    def test_keyword_only_argument(self, stage: Callable[..., DRef]) -> None:
        """A keyword-only parameter of these names receives it as well."""
        closure = instantiate(stage, "keyword")
        assert closure.derivations[closure.dref].config["given"] is True

    def test_annotated_argument(self) -> None:
        """A parameter annotated with Registry receives it, whatever it is called."""
        assert instantiate(annotated_last, "annotated").dref.name == "annotated"

    def test_passed_on_by_hand(self) -> None:
        """Stages pass their registry on as the first argument, as r=, m= or registry=."""

        def stage(m: Registry) -> list[DRef]:
            takes: Any = takes_registry(leaf)
            return [takes(m, "a"), takes("b", r=m), takes("c", m=m), takes("d", registry=m)]

        closure = instantiate(stage)
        assert [dref.name for dref in closure.targets] == ["a", "b", "c", "d"]

    def test_partial(self) -> None:
        """functools.partial of a stage is a stage."""

        def stage(r: Registry, name: str, rate: int) -> DRef:
            return mkdrv(r, {"name": name, "rate": rate}, match_only(), REALIZER)  # type: ignore[arg-type]

        closure = instantiate(partial(stage, name="partial", rate=3))
        assert closure.derivations[closure.dref].config["rate"] == 3

    def test_builtin_without_signature(self) -> None:
        """A callable whose signature cannot be read is called with the arguments alone."""
        with current_registry(Registry()) as registry:
            dref = leaf()
            assert instantiate(dict, leaf=dref, registry=registry).result == {"leaf": dref}

    @pytest.mark.parametrize("name", ["m", "r", "registry"])
    def test_no_registry(self, name: str) -> None:
        """A parameter that has the name of the registry is refused, and not lost if it is empty."""
        for value in (["a"], 0):
            with pytest.raises(InvalidValue, match=f"{name}= is .*, but it is the name of the reg"):
                mkdrv({"name": "x"}, match_only(), REALIZER, **{name: value})  # type: ignore[arg-type]

    def test_arguments_reach_the_stage(self) -> None:
        """Positional and keyword arguments of instantiate are the stage's."""
        closure = instantiate(leaf, "given", rate=2)
        assert dict(closure.derivations[closure.dref].config) == {"name": "given", "rate": 2}


@pytest.mark.parametrize(
    ("matcher", "realizer", "said"),
    [
        (match_latest, REALIZER, r"not a matcher: <function match_latest(.|\n)*match_latest\(\)"),
        (None, REALIZER, "not a matcher: None"),
        (match_only(), lambda build: None, r"not a realizer(.|\n)*build_wrapper"),  # noqa: ARG005
        (match_only(), 5, "not a realizer: 5"),
        (REALIZER, match_only, "not a realizer: <function match_only"),
    ],
)
def test_matchers_and_realizers_that_are_none(
    lab: Lab, matcher: Any, realizer: Any, said: str
) -> None:
    """It is said when the derivation is registered, and what is missing."""
    with current_registry(lab.registry), pytest.raises(InvalidValue, match=said):
        mkdrv({"name": "a"}, matcher, realizer)


@pytest.mark.parametrize("value", [5, None, ["name"]])
def test_what_is_no_config(value: Any) -> None:
    """A config is made of a dict."""
    with pytest.raises(InvalidConfig, match="a config is an object"):
        mkconfig(value)


class TestWhichRegistry:
    """A registry that is passed wins over the current one, and that over a fresh one."""

    def test_passed(self, tmp_path: Path) -> None:
        """registry= and r= choose the registry, and with it the store."""
        for name in ("registry", "r"):
            registry = Registry(Store.init(tmp_path / name))
            options: dict[str, Any] = {name: registry}
            closure = instantiate(leaf, **options)
            assert closure.store is registry.store
            assert closure.dref in registry.derivations

    def test_current(self) -> None:
        """Within current_registry stages can be called and instantiated in turn."""
        with current_registry(Registry()) as registry:
            first = leaf("first")
            closure = instantiate(lambda: leaf("second", first=first))
        assert list(closure.derivations) == [first, closure.dref]
        assert set(registry.derivations) == {first, closure.dref}

    def test_fresh_over_a_store(self, tmp_path: Path) -> None:
        """Without a registry a new one is made over `store`, else over the current store."""
        given, current = Store.init(tmp_path / "given"), Store.init(tmp_path / "current")
        with current_storage(current):
            assert instantiate(leaf, store=given).store is given
            assert instantiate(leaf).store is current

    def test_store_beside_a_registry_of_another(self, tmp_path: Path) -> None:
        """A store that is not the registry's is an error, and not passed over."""
        registry = Registry(Store.init(tmp_path / "one"))
        other = Store.init(tmp_path / "other")
        with pytest.raises(InvalidValue, match="other"):
            instantiate(leaf, registry=registry, store=other)
        assert instantiate(leaf, registry=registry, store=registry.store).store is registry.store

    def test_outside(self) -> None:
        """A stage that is called outside of any registry says how to call it."""
        with pytest.raises(NoRegistry, match="current_registry"):
            leaf()

    def test_scope_ends(self) -> None:
        """The current registry and its store are current in the block only, also on errors."""
        registry = Registry()
        with pytest.raises(KeyError), current_registry(registry):
            assert find_registry() is registry
            raise KeyError
        with pytest.raises(NoRegistry):
            find_registry()

    def test_threads_have_their_own(self) -> None:
        """What is current in one thread is not current in another."""
        seen: list[bool] = []

        def look() -> None:
            try:
                find_registry()
            except NoRegistry:
                seen.append(True)

        with current_registry(Registry()):
            thread = threading.Thread(target=look)
            thread.start()
            thread.join()
        assert seen == [True]

    def test_repr(self, tmp_path: Path) -> None:
        """A registry shows its store and how much it holds."""
        registry = Registry(Store.init(tmp_path / "shown"))
        instantiate(leaf, registry=registry)
        assert str(tmp_path / "shown") in repr(registry)
        assert "1 derivation" in repr(registry)


class TestClosures:
    """A closure has the targets and all below them, dependencies first."""

    def test_containers(self) -> None:
        """A stage may return lists, tuples and dicts of references; each target counts once."""
        with current_registry(Registry()):
            a, b = leaf("a"), leaf("b")
            closure = instantiate({"x": [a, (b,)], "y": a, "text": "no reference", "n": 3})
        assert closure.targets == (a, b)
        assert closure.result == {"x": [a, (b,)], "y": a, "text": "no reference", "n": 3}

    def test_reference(self) -> None:
        """A reference can be given in place of a stage, also as plain text from elsewhere."""
        with current_registry(Registry()):
            dref = leaf()
            assert instantiate(str(dref)).dref == dref

    def test_order(self, tmp_path: Path) -> None:
        """Dependencies come before what depends on them, whatever order they were made in."""
        lab = Lab(tmp_path / "store")
        a = lab.stage("a")
        b, c = lab.stage("b", a), lab.stage("c", a)
        d = lab.stage("d", c, b)
        lab.stage("stranger")
        order = list(lab.closure([d, a]).derivations)
        assert sorted(order) == sorted([a, b, c, d])
        assert order.index(a) < min(order.index(b), order.index(c))
        assert order[-1] == d

    def test_deep(self, tmp_path: Path) -> None:
        """A chain of 5,000 stages is no recursion."""
        lab = Lab(tmp_path / "store")
        dref = lab.stage("link")
        for number in range(4_999):
            dref = lab.stage("link", dref, number=number)
        assert len(lab.closure(dref).derivations) == 5_000

    def test_several_targets_have_no_dref(self) -> None:
        """The dref of a closure with several targets is an error that names them."""
        with current_registry(Registry()):
            closure = instantiate([leaf("one"), leaf("two")])
        with pytest.raises(InvalidValue, match=r"2 targets.*one.*two"):
            _ = closure.dref

    @pytest.mark.parametrize("result", [None, 3, "text", [], {"a": ["b"]}, "rref:x"])
    def test_no_reference(self, result: object) -> None:
        """A stage from which no reference comes out is an error."""
        with pytest.raises(InvalidValue, match="no derivation reference"):
            instantiate(lambda: result)

    def test_foreign_reference(self) -> None:
        """A reference that another registry made is an error: how to realize it is unknown."""
        dref = instantiate(leaf).dref
        with pytest.raises(MissingRealizer, match="does not know") as caught:
            instantiate(dref)
        assert caught.value.dref == ""
        with pytest.raises(MissingRealizer, match=r"dependent.*refers to.*leaf"):
            instantiate(lambda: leaf("dependent", below=dref))

    def test_mention_with_a_suffix(self) -> None:
        """A reference in a string that runs into further letters is told apart from a stranger."""
        with (
            current_registry(Registry()),
            pytest.raises(MissingRealizer, match="called dref") as caught,
        ):
            leaf("user", text=f"{leaf('tool')}.tar")
        assert "write dref:" in caught.value.hint

    def test_mention(self) -> None:
        """A reference inside a string is a dependency as well."""
        with current_registry(Registry()):
            tool = leaf("tool")
            closure = instantiate(lambda: leaf("user", text=f"{tool}/bin/tool --fast"))
        assert list(closure.derivations) == [tool, closure.dref]


class TestRecursion:
    """instantiate is not for stages."""

    def test_refused(self) -> None:
        """A stage that calls instantiate is told to call the other stage directly."""
        with pytest.raises(RecursiveInstantiate, match="being instantiated"):
            instantiate(lambda: instantiate(leaf).dref)

    def test_registry_recovers(self) -> None:
        """After a stage has failed its registry can be used again."""
        registry = Registry()
        with pytest.raises(ZeroDivisionError):
            instantiate(lambda: 1 // 0, registry=registry)
        assert instantiate(leaf, registry=registry).dref.name == "leaf"

    def test_threads_do_not_meet(self, tmp_path: Path) -> None:
        """Two threads that instantiate in one registry at one time are no recursion."""
        registry = Registry(Store.init(tmp_path / "store"))
        barrier = threading.Barrier(2, timeout=PATIENCE)
        found: list[object] = []

        def stage(name: str) -> DRef:
            barrier.wait()
            return leaf(name)

        def work(name: str) -> None:
            try:
                found.append(instantiate(stage, name, registry=registry).dref.name)
            except RecursiveInstantiate as error:
                found.append(error)
                barrier.abort()

        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, found)) == ["a", "b"]


class TestConfigsAndDerivations:
    """mkconfig and mkdrv, as stages call them."""

    def test_locals(self) -> None:
        """Using mkconfig(locals()) is the usual way; a registry among the locals is left out."""

        def stage(r: Registry, rate: float = 0.5) -> DRef:
            name = "locals"
            out = [selfref, "file"]
            return mkdrv(mkconfig(locals()), match_only(), REALIZER)

        config = next(iter(instantiate(stage).derivations.values())).config
        assert dict(config) == {"name": "locals", "rate": 0.5, "out": ["__self__", "file"]}
        assert config.promises == (("file",),)

    def test_bad_config(self) -> None:
        """What a config cannot hold is refused at registration, naming the place."""
        with pytest.raises(InvalidConfig, match=r"config\.shape"):
            instantiate(leaf, shape=(1, 2))

    @pytest.mark.parametrize("keyword", ["registry", "r", "m"])
    def test_registry_of_mkdrv(self, keyword: str, tmp_path: Path) -> None:
        """A derivation goes into the registry it is given, by keyword, first or last."""
        registry = Registry(Store.init(tmp_path / keyword))
        named = mkdrv({"name": "x"}, match_only(), REALIZER, **{keyword: registry})  # type: ignore[arg-type]
        first = mkdrv(registry, mkconfig({"name": "y"}), match_only(), REALIZER)  # type: ignore[arg-type]
        last = mkdrv({"name": "z"}, match_only(), REALIZER, registry)
        assert list(registry.derivations) == [named, first, last]
        assert registry.store.config(named)["name"] == "x"

    def test_last_registration_counts(self, tmp_path: Path) -> None:
        """A derivation registered twice has the later matcher and realizer."""
        lab = Lab(tmp_path / "store")
        lab.stage("twice", content="first")
        dref = lab.stage("twice", content="second")
        assert lab.text(lab.realize(dref)) == "second"

    def test_nothing_is_realized(self, tmp_path: Path) -> None:
        """Instantiation writes nothing; a config is written when its stage is realized."""
        lab = Lab(tmp_path / "store")
        closure = lab.closure([lab.stage("a"), lab.stage("b")])
        assert [*lab.store.derivations()] == []
        assert [lab.store.config(dref).dref for dref in closure.targets] == list(closure.targets)
        assert not any(lab.store.realizations(dref) for dref in closure.targets)

    def test_same_config_in_any_order(self) -> None:
        """The order of keys makes no other derivation."""
        with current_registry(Registry()):
            assert mkdrv({"a": 1, "name": "n"}, match_only(), REALIZER) == mkdrv(
                {"name": "n", "a": 1}, match_only(), REALIZER
            )

    def test_realized_in_the_store_of_the_closure(self, tmp_path: Path) -> None:
        """A closure is realized in the store it was made for, whatever store is current then."""
        lab = Lab(tmp_path / "one")
        closure = lab.closure(lab.stage("a"))
        with current_storage(Store.init(tmp_path / "two")) as two:
            rref = realize(closure)
        assert two is not None
        assert [*two.derivations()] == []
        assert lab.text(rref) == "a"
