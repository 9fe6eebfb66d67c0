"""Labels: what stages are called where several of one closure have the same name."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread

from hypothesis import given
from hypothesis import strategies as st

from plxnix.config import Config
from plxnix.model import DRef
from plxnix.realize.labels import Labels


def labels(*configs: Config) -> list[str]:
    """Return the labels of stages."""
    found = Labels(configs)
    return [found[one.dref] for one in configs]


def test_a_name_is_enough_for_one() -> None:
    """Without namesakes the name is the label; so it is of a stranger."""
    one, other = Config({"name": "a", "x": 1}), Config({"name": "b", "x": 2})
    assert labels(one, other) == ["a", "b"]
    assert Labels([one])[other.dref] == "b"
    assert Labels(())[one.dref] == "a"


def test_what_differs() -> None:
    """It is as many attributes as are needed, and none in which the stages agree."""
    some = [Config({"name": "t", "same": 0, "a": a, "b": b}) for a in (1, 2) for b in ("x", "y")]
    assert labels(*some) == ["t (a=1, b=x)", "t (a=1, b=y)", "t (a=2, b=x)", "t (a=2, b=y)"]
    assert labels(*(Config({"name": "t", "a": a, "b": -a}) for a in (1, 2))) == [
        "t (a=1)",
        "t (a=2)",
    ]
    assert labels(Config({"name": "t"}), Config({"name": "t", "x": "a\nb"})) == [
        "t (x=null)",
        't (x="a\\nb")',
    ]


def test_what_cannot_be_said_shortly() -> None:
    """Long values, code and dependencies without attributes give the beginning of the hash."""
    for key, values in {"text": ("a" * 99, "b" * 99), "__source__": ("1", "2")}.items():
        some = [Config({"name": "t", key: value}) for value in values]
        assert labels(*some) == [f"t ({one.dref.short})" for one in some]


def test_attributes_of_dependencies() -> None:
    """What tells its dependencies apart tells a stage from its namesakes."""
    below = [Config({"name": "train", "rate": rate}) for rate in (0.1, 0.2)]
    middle = [Config({"name": "m", "model": [one.dref, "out"]}) for one in below]
    above = [Config({"name": "score", "model": one.dref}) for one in middle]
    assert labels(*below, *middle, *above)[4:] == ["score (rate=0.1)", "score (rate=0.2)"]


def test_chains_of_namesakes() -> None:
    """A stage above its namesake, however often, and long chains of pairs get hashes."""
    chain = [Config({"name": "step"})]
    pairs = [[Config({"name": "s0", "n": n}) for n in range(2)]]
    for number in range(1, 2000):
        chain.append(Config({"name": "step", "below": chain[-1].dref}))
        pairs.append([Config({"name": f"s{number}", "n": one.dref}) for one in pairs[-1]])
    assert labels(*chain)[-1] == f"step ({chain[-1].dref.short})"
    found = Labels([one for pair in pairs for one in pair])
    assert found[pairs[-1][0].dref] == f"s1999 ({pairs[-1][0].dref.short})"
    assert found[pairs[1][0].dref] == "s1 (n=0)"


values = st.none() | st.integers(0, 3) | st.text(max_size=3) | st.lists(st.integers(0, 2))


@given(
    st.lists(
        st.dictionaries(st.sampled_from("abc"), values).map(lambda one: {**one, "name": "t"}),
        unique_by=lambda one: Config(one).dref,
    )
)
def test_all_labels_differ(some: list[dict[str, object]]) -> None:
    """No two stages have one label, whatever is in their configs."""
    configs = [Config(one) for one in some]
    found = labels(*configs)
    assert len(set(found)) == len(found)
    assert all(DRef(one.dref).name in text for one, text in zip(configs, found, strict=True))


def test_two_threads() -> None:
    """Who asks while another thread looks for labels gets the same."""
    some = [Config({"name": "t", "x": number}) for number in range(3)]
    seen: list[str] = []
    other = Thread(target=lambda: seen.append(found[some[0].dref]))

    def configs() -> Iterator[Config]:
        yield some[0]
        other.start()
        other.join(0.1)  # Time to do it wrongly; it cannot end before this.
        yield from some[1:]

    found = Labels(configs())
    assert found[some[1].dref] == "t (x=1)"
    other.join()
    assert seen == ["t (x=0)"]
