"""Pictures of graphs: their layout, and what `plxnix graph` draws."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.export.layout import ARROW, COLUMN, ROW, Place, lay_out
from plxnix.export.picture import Box, Picture
from tests.command_line import STAGES, CommandLine

SVG = "{http://www.w3.org/2000/svg}"


ODD = """\
from plxnix import execute

def none():
    return execute("echo > $out", name="none", matcher=lambda _, rrefs: [] if rrefs else None)

def hashed():
    return execute("echo > $out", name="hashed", hash="md5:" + "0" * 32)
"""


def parsed(text: bytes) -> ElementTree.Element:
    """Parse XML that is our own."""
    return ElementTree.fromstring(text)  # noqa: S314


@st.composite
def graphs(draw: st.DrawFn) -> tuple[dict[int, tuple[float, float]], list[tuple[int, int]]]:
    """Boxes of any sizes, and arrows from boxes to later ones, each once."""
    count = draw(st.integers(0, 9))
    sizes = {n: (draw(st.floats(10, 90)), draw(st.floats(10, 40))) for n in range(count)}
    pairs = [(one, other) for other in range(count) for one in range(other)]
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []
    return sizes, chosen


def apart(one: Place, other: Place) -> bool:
    """Tell whether two places that are in one column have room between them."""
    return abs(one.y - other.y) >= (one.height + other.height) / 2 + ROW - 1e-6


@given(graphs())
def test_layout(graph: tuple[dict[int, tuple[float, float]], list[tuple[int, int]]]) -> None:
    """Nothing overlaps, every arrow goes to the right and through the columns between."""
    sizes, edges = graph
    places, ways = lay_out(sizes, edges)
    assert set(sizes) <= set(places)
    assert [(way[0], way[-1]) for way in ways] == edges
    for way in ways:
        spots = [places[spot] for spot in way]
        for left, right in pairwise(spots):
            assert right.x >= left.x + left.width + COLUMN - 1e-6
        assert all(place.height == ARROW for place in spots[1:-1])
    some = list(places.values())
    for number, one in enumerate(some):
        for other in some[:number]:
            assert one.x != other.x or apart(one, other)
    assert lay_out(sizes, edges) == (places, ways)


def test_a_chain_is_straight() -> None:
    """What has one neighbour on either side stands in one line; a fork is symmetric."""
    sizes = dict.fromkeys("abcd", (50.0, 20.0))
    places, _ = lay_out(sizes, [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])
    assert places["a"].y == pytest.approx(places["d"].y, abs=0.5)
    assert places["b"].y + places["c"].y == pytest.approx(2 * places["a"].y, abs=1)


def test_arrows_are_untangled() -> None:
    """Arrows that need not cross do not."""
    places, _ = lay_out(dict.fromkeys("abcd", (50.0, 20.0)), [("a", "d"), ("b", "c")])
    assert (places["a"].y < places["b"].y) == (places["d"].y < places["c"].y)


def test_what_needs_nothing_stands_before_its_user() -> None:
    """A source that is used late stands late, and its arrow is short."""
    places, ways = lay_out(
        dict.fromkeys("abcs", (50.0, 20.0)), [("a", "b"), ("b", "c"), ("s", "c")]
    )
    assert places["s"].x == places["b"].x
    assert [len(way) for way in ways] == [2, 2, 2]


def test_an_arrow_past_a_box_goes_around_it() -> None:
    """An arrow across a column keeps clear of the boxes there."""
    places, ways = lay_out(dict.fromkeys("abc", (50.0, 20.0)), [("a", "b"), ("b", "c"), ("a", "c")])
    (past,) = ways[2][1:-1]
    assert apart(places[past], places["b"])


def test_arrows_past_many_boxes() -> None:
    """Of a thousand stages that follow each other, all may need the first."""
    sizes = dict.fromkeys(range(1000), (50.0, 20.0))
    edges = [*pairwise(range(1000)), *((0, n) for n in range(2, 1000))]
    places, ways = lay_out(sizes, edges)
    assert len(places) < 40_000
    assert len(ways[1000]) == 4
    assert ways[-1] == [0, 999]


@pytest.mark.parametrize("name", ["<b>&\"'", "a\x00\x1b[1m\ufffe", "]]>--", "\ud800", "Ünï → 数"])
def test_any_name_can_be_drawn(name: str) -> None:
    """The SVG is well-formed, and Mermaid and DOT stay what they are, whatever names hold."""
    picture = Picture({"a": Box(name, "pin", name, name), "b": Box("b", "pin")}, [("a", "b")], name)
    drawn = parsed(picture.svg().encode())
    assert len(drawn.findall(f"{SVG}g")) == 2
    assert all(mark not in picture.mermaid().splitlines()[2][4:] for mark in ("<b>", '""', "&"))
    assert picture.dot().splitlines()[4].endswith('shape=note, fillcolor="#fbe9c9"];')


def test_what_selects_nothing_is_drawn(plxnix: CommandLine) -> None:
    """A matcher may select none of the results; commands with a hash look like fetches."""
    plxnix.file(ODD)
    plxnix.ok("realize", "stages.py:none")
    assert b"0 of 1 result" in plxnix.ok("graph", "stages.py:none").out
    drawn = plxnix.ok("graph", "stages.py:hashed", "--format", "dot").out
    assert b"cylinder" in drawn


def test_the_graph_command(plxnix: CommandLine, tmp_path: Path) -> None:
    """All stages are drawn, those that would run too; then with what there is of each."""
    plxnix.file(STAGES)
    printed = plxnix.ok("graph", "stages.py:report").out
    drawn = parsed(printed)
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert texts == ["numbers", "would run", "runs", "would run", "report", "would run"]
    assert len(drawn.findall(f"{SVG}path")) == 2
    assert printed.count(b'class="faint"') == 3
    plxnix.ok("realize", "stages.py:report")
    assert plxnix.ok("graph", "stages.py:report", "-o", "graph.svg").out == b""
    text = (tmp_path / "graph.svg").read_text()
    assert "1 of 3 results" in text
    assert 'faint">' not in text
    plxnix.ok("graph", "stages.py:report", "-a", "name=other", "-o", "graph.mmd")
    mermaid = (tmp_path / "graph.mmd").read_text()
    assert mermaid.startswith("%% @generated by plxnix")
    assert "graph stages.py:report -a name=other\nflowchart LR\n" in mermaid
    assert mermaid.count(" --> ") == 2
    assert "stroke-dasharray" in mermaid
    assert "--format" in plxnix.fails("graph", "stages.py:report", "-o", "graph.png", status=2)
    dot = plxnix.ok("graph", "stages.py:report", "--format", "dot").out.decode()
    assert dot.count(" -> ") == 2
    assert plxnix.ok("export", "stages.py:report", "--format", "svg").out.startswith(b"<svg ")
