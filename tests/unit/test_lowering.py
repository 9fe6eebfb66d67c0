"""Lowering: which stages become derivations, which pins, and what texts with mentions become."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix import DRef, RRef, execute, fetchlocal, instantiate, match_latest, mkfile
from plxnix.errors import InvalidRefpath, InvalidValue
from plxnix.model import selfref
from plxnix.nix.derivation import placeholder
from plxnix.nix.graph import Reference, Text, references, text
from plxnix.recipes.lowering import Lowered, Lowering, why_pinned
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("registered")

DIGEST = "0" * 64


@pytest.fixture
def lowering(lab: Lab) -> Callable[..., Lowering]:
    """Lowering of references, with pins of all there is, the latest first."""

    def make(*drefs: DRef) -> Lowering:
        def select(dref: DRef) -> list[RRef]:
            return match_latest(len(lab.store.realizations(dref)))(
                lab.store, lab.store.realizations(dref)
            )  # type: ignore[return-value]

        return Lowering(lab.closure([*drefs]), select)

    return make


def only(lowering: Lowering, dref: DRef) -> Lowered:
    """Return the one form of a stage."""
    (form,) = lowering.of(dref)
    return form


class TestKinds:
    """A deterministic recipe is a derivation or a fetch; all else is a pin."""

    def test_kinds(self, lab: Lab, lowering: Callable[..., Lowering]) -> None:
        """By kind of stage, and with the reason for a pin."""
        registry = lab.registry
        expected = {
            mkfile("a", "", registry=registry): ("derivation", ""),
            execute("true", registry=registry): ("derivation", ""),
            fetchlocal(DIGEST, "/x/file", mode="", registry=registry): ("fixed-output", ""),
            fetchlocal(DIGEST, "/x/a.zip", registry=registry): ("derivation", ""),
            execute('echo > "$out"', deterministic=False, registry=registry): (
                "pin",
                "it was declared not deterministic",
            ),
            execute('date +%N > "$out"', nouts=2, registry=registry): (
                "pin",
                "it was declared not deterministic",
            ),
            execute('echo > "$out"', matcher=match_latest(), registry=registry): (
                "pin",
                "match_latest(1) selects among its realizations",
            ),
            lab.stage("python"): ("pin", "its realizer is Python code"),
        }
        found = lowering(*expected)
        for dref, (kind, why) in expected.items():
            assert why_pinned(registry.derivations[dref]) == why
            if kind == "pin":
                lab.realize(dref)
            assert {form.kind for form in found.of(dref)} == {kind}

    def test_pins(self, lab: Lab, lowering: Callable[..., Lowering]) -> None:
        """Each selected realization is a pin of its own, with its NAR hash, in their order."""
        dref = lab.stage("many", content=["1", "2", "3"])
        rrefs = lab.realize(dref)
        forms = lowering(dref).of(dref)
        assert [form.rref for form in forms] == rrefs
        for form, rref in zip(forms, rrefs, strict=True):
            assert form.node.fixed is not None
            assert form.node.fixed.recursive
            assert form.node.fixed.hash.sri == lab.store.record(rref).nar_hash
            assert f"plxnix nix add {rref}" in str(form.node.env["message"])

    def test_nothing_below_a_pin(self, lab: Lab, lowering: Callable[..., Lowering]) -> None:
        """What only a pin stands on is not lowered: it need not be realized nor exportable."""
        below = lab.stage("below")
        pin = lab.stage("pin", below)
        lab.realize(pin)
        top = execute(f'cat {pin / "out"} > "$out"')
        found = lowering(top)
        found.of(top)
        assert set(found.lowered()) == {pin, top}

    def test_each_once(self, lowering: Callable[..., Lowering]) -> None:
        """In a diamond the shared stage is one node."""
        base = mkfile("base", "")
        sides = [execute(f"cat {base}", name=name) for name in "ab"]
        top = execute("cat $sides", sides=sides)
        found = lowering(top)
        below = [reference.node for reference in references(only(found, top).node)]
        assert below == [only(found, side).node for side in sides]
        (first,), (second,) = (references(one) for one in below)  # type: ignore[arg-type]
        assert first.node is second.node

    def test_a_deep_chain(self, lowering: Callable[..., Lowering]) -> None:
        """2,000 stages on top of each other are lowered without recursion, and instantiated."""
        dref = mkfile("base", "")
        for number in range(2000):
            dref = execute("true", below=dref, number=number)
        found = lowering(dref)
        assert found.instantiation.drv_path(only(found, dref).node).endswith("-execute.drv")


class TestPlaces:
    """`Lowered.at`: a path below a realization, where the realization may be a file."""

    def test_a_folder(self, lowering: Callable[..., Lowering]) -> None:
        """Parts are joined by slashes."""
        dref = mkfile("a", "")
        form = only(lowering(dref), dref)
        assert form.at([]) == (Reference(form.node),)
        assert form.at(["x", "y"]) == (Reference(form.node), "/x/y")

    def test_a_fetch(self, lowering: Callable[..., Lowering]) -> None:
        """A fetch is its file: with its name and without it is one path, and there is no other."""
        dref = fetchlocal(DIGEST, "/x/a b", mode="")
        form = only(lowering(dref), dref)
        assert form.at([]) == form.at(["a b"]) == (Reference(form.node),)
        for other in (["c"], ["a b", "c"]):
            with pytest.raises(InvalidRefpath, match="holds the file a b and not"):
                form.at(other)

    def test_a_flat_pin(self, lab: Lab, lowering: Callable[..., Lowering]) -> None:
        """A pin is always the folder, so its only file is below it."""
        dref = execute('echo > "$out"', name="x", deterministic=False)
        lab.realize(dref)
        form = only(lowering(dref), dref)
        assert form.at([]) == form.at(["x"]) == (Reference(form.node), "/x")
        with pytest.raises(InvalidRefpath):
            form.at(["y"])


class TestTexts:
    """Strings with mentions."""

    @pytest.fixture
    def file(self) -> DRef:
        """A stage to mention."""
        return mkfile("file.txt", "")

    def test_mentions(self, file: DRef, lowering: Callable[..., Lowering]) -> None:
        """A mention is a hole, and what is around it stays."""
        found = lowering(file)
        hole = Reference(only(found, file).node)
        cases: dict[str, tuple[Any, ...]] = {
            f"{file}": (hole,),
            f"cat {file}/a '{file}'": ("cat ", hole, "/a '", hole, "'"),
            f"{file}{{x}} ${file}": (hole, "{x} $", hole),
            f"f('{file}', 3)": ("f('", hole, "', 3)"),
            f"x{selfref}/y {file}": (f"x{placeholder('out')}/y ", hole),
        }
        for value, expected in cases.items():
            assert found.text(value) == expected

    def test_a_fetch(self, lowering: Callable[..., Lowering]) -> None:
        """After a fetch its file's name belongs to the mention."""
        dref = fetchlocal(DIGEST, "/x/a.csv", mode="")
        found = lowering(dref)
        hole = Reference(only(found, dref).node)
        assert found.text(f"{dref} {dref}/a.csv {dref / 'a.csv'}x") == (
            hole,
            " ",
            hole,
            " ",
            hole,
            "x",
        )

    def test_several(self, lab: Lab, lowering: Callable[..., Lowering]) -> None:
        """Of several realizations each has its path, also below them, up to the word's end."""
        dref = lab.stage("many", content=["1", "2"])
        lab.realize(dref)
        found = lowering(dref)
        one, two = (Reference(form.node) for form in found.of(dref))
        assert found.text(f"{dref}") == (one, " ", two)
        assert found.text(f"cat {dref / 'out'};") == ("cat ", one, "/out ", two, "/out;")
        assert found.value([dref]) == (one, " ", two)
        assert found.value([dref, "out"]) == (one, "/out ", two, "/out")

    def test_printed_lists(self, file: DRef, lowering: Callable[..., Lowering]) -> None:
        """What Python prints for a refpath would be words for the shell, so it is refused."""
        found = lowering(file)
        for printed in (str([file, "a"]), f'["{file}", "a"]'):
            with pytest.raises(InvalidValue, match="printed as a list"):
                found.text(f"cat {printed}")

    @given(st.text())
    def test_other_texts_stay(self, value: str) -> None:
        """Text without a mention is itself."""
        empty: Any = None
        lowering = Lowering.__new__(Lowering)
        if selfref not in value and "dref:" not in value:
            assert lowering.text(value) == text(value)
            assert lowering.value(value) == text(value)
        assert lowering.value(empty) == ()


class TestValues:
    """Values of a config as Nix coerces them to strings."""

    def test_values(self, lowering: Callable[..., Lowering]) -> None:
        """References, refpaths, promises, numbers, booleans and lists of them."""
        dref = mkfile("file", "")
        found = lowering(dref)
        hole = Reference(only(found, dref).node)
        out = placeholder("out")
        cases: list[tuple[Any, Text | None]] = [
            (dref, (hole,)),
            ([dref, "file"], (hole, "/file")),
            ([dref, dref], (hole, " ", hole)),
            ([selfref, "a", "b"], (f"{out}/a/b",)),
            ([selfref], (out,)),
            (f"--in={dref}/x", ("--in=", hole, "/x")),
            ([1, [dref], [], "", True], ("1 ", hole, "  1")),
            ({}, None),
            ([1, {}], None),
            (2**70, (str(2**70),)),
        ]
        for value, expected in cases:
            assert found.value(value) == expected, value

    def test_floats(self, lowering: Callable[..., Lowering]) -> None:
        """Refused, wherever they are."""
        found = lowering(mkfile("file", ""))
        for value in (1.0, [1, [2.5]]):
            with pytest.raises(InvalidValue, match="versions print it differently"):
                found.value(value)


def test_equal_stages_are_equal_derivations(tmp_path: Path) -> None:
    """The same stages in another store and registry have the same paths in Nix."""
    paths = []
    for place in ("one", "two"):
        lab = Lab(tmp_path / place)
        data = mkfile("data", "x", registry=lab.registry)
        pin = lab.stage("pin", data)
        lab.realize(pin)
        top = execute(f"cat {data} {pin}", registry=lab.registry)
        found = Lowering(instantiate(top, registry=lab.registry), lab.store.realizations)
        paths.append(found.instantiation.drv_path(found.of(top)[0].node))
    assert paths[0] == paths[1]
