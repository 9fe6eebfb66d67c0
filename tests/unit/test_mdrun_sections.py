"""Tests for plxnix.mdrun.sections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import InvalidValue
from plxnix.mdrun.sections import BEGIN, END, Document, Outcome, printable


def test_fences_of_python_and_shell_are_sections() -> None:
    """Fences that name Python or a shell are sections; others are text, indented code too."""
    document = Document(
        "# Title\n\n```python\na = 1\n```\n\n~~~sh\nls\n~~~\n\n```json\n{}\n```\n\n"
        "```\nprint()\n```\n\n    ```python\n    b\n    ```\n\n```{.python .cell x=1}\nc\n```\n"
    )
    assert [(one.number, one.language, one.code) for one in document.sections] == [
        (1, "python", "a = 1\n"),
        (2, "shell", "ls\n"),
        (3, "python", "c\n"),
    ]


def test_directives_stand_in_the_line_above() -> None:
    """`norun` leaves a section alone; `raises` marks it; other comments mean nothing."""
    document = Document(
        "<!-- mdrun: norun -->\n```python\na\n```\n<!-- mdrun: raises -->\n```python\nb\n```\n"
        "<!-- note -->\n```python\nc\n```\n"
    )
    assert [(one.code, one.raises) for one in document.sections] == [("b\n", True), ("c\n", False)]


def test_files_that_are_read() -> None:
    """`reads` is followed by names of files, whatever they are."""
    document = Document("<!-- mdrun: raises reads a.csv norun -->\n```python\na\n```\n")
    assert [(one.raises, one.reads) for one in document.sections] == [(True, ("a.csv", "norun"))]


@pytest.mark.parametrize("word", ["raise", "no run", "norun raises-not"])
def test_unknown_directives_are_refused(word: str) -> None:
    """A comment that mdrun does not know is an error that names the line and what it knows."""
    with pytest.raises(InvalidValue, match=r"line 2: mdrun knows no .*\n.*norun or raises"):
        Document(f"text\n<!-- mdrun: {word} -->\n```python\na\n```\n")


@pytest.mark.parametrize("text", ["```py\na\n", "```py\na", "```py", "- ~~~~py\n  a\n\nb\n"])
def test_a_fence_that_nobody_closed_is_closed(text: str) -> None:
    """Output does not become a part of the code; what was rendered has the same code."""
    rendered = Document(text).render({1: Outcome("1")})
    (section,) = Document(rendered).sections
    assert section.code.strip() == Document(text).sections[0].code.strip()
    assert Document(rendered).render({1: Outcome("1")}) == rendered


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_as_in_the_document(end: str) -> None:
    """Outputs have the line ends of the document, and are found again with them."""
    text = "a\n\n> ```py\n> 1\n> ```\n\nb\n\n```py\n2".replace("\n", end)
    shown = Document(text).render({1: Outcome("x\ny"), 2: Outcome("z")})
    plain = Document(text.replace(end, "\n")).render({1: Outcome("x\ny"), 2: Outcome("z")})
    assert shown == plain.replace("\n", end)
    assert Document(shown).render({1: Outcome("x\ny"), 2: Outcome("z")}) == shown
    assert [section.code for section in Document(text).sections] == ["1\n", "2"]


def test_output_follows_its_section_between_comments() -> None:
    """Output is a fence below the section; what prints nothing shows nothing."""
    document = Document("```py\na\n```\ntext\n```py\nb\n```")
    assert document.render({1: Outcome("one\n"), 2: Outcome("", (("p", "f/x y.png"),))}) == (
        f"```py\na\n```\n{BEGIN}\n```text\none\n```\n{END}\ntext\n"
        f"```py\nb\n```\n{BEGIN}\n\n![p](<f/x y.png>)\n\n{END}\n"
    )
    assert document.render({}) == "```py\na\n```\ntext\n```py\nb\n```"


def test_output_within_lists_and_quotations_is_part_of_them() -> None:
    """The output of a section in a list or quotation has the prefix of its lines."""
    rendered = Document("> - item\n>\n>   ```py\n>   a\n>   ```\n").render({1: Outcome("1")})
    assert rendered == (
        f"> - item\n>\n>   ```py\n>   a\n>   ```\n>   {BEGIN}\n>   ```text\n>   1\n>   ```\n"
        f">   {END}\n"
    )
    assert Document(rendered).render({1: Outcome("1")}) == rendered
    item = Document("- ```py\n  a\n  ```\n").render({1: Outcome("1")})
    assert item == f"- ```py\n  a\n  ```\n  {BEGIN}\n  ```text\n  1\n  ```\n  {END}\n"


def test_output_cannot_end_its_own_fence_or_block() -> None:
    """Output that holds fences and the closing comment stays what it is."""
    outcome = Outcome(f"```\n````python\n{END}\n")
    rendered = Document("```py\na\n```\n").render({1: outcome})
    again = Document(rendered)
    assert len(again.sections) == 1
    assert again.render({1: outcome}) == rendered
    assert again.render({}) == "```py\na\n```\n"


def test_printable_leaves_out_what_a_terminal_acts_on() -> None:
    """Colours are left out, of a progress bar its end remains, control characters are visible."""
    assert printable("\x1b[1;31mred\x1b[0m\r\n 1%\r50%\r100%\r\nbell\x07  \n") == (
        "red\n100%\nbell\ufffd\n"
    )


words = st.text(st.sampled_from("`~<!->\n abE"), max_size=40)


@given(
    st.lists(
        st.one_of(
            words,
            st.sampled_from(
                ["```py\nx = 1\n```\n", "- a\n\n  ~~~sh\n  ls\n  ~~~\n", "> ```py\n> y\n> ```\n"]
            ),
        ),
        max_size=8,
    ),
    words,
)
def test_rendering_what_was_rendered_gives_the_same(pieces: list[str], output: str) -> None:
    """A document with outputs has the same sections, and gets the same outputs again."""
    document = Document("\n".join(pieces))
    outcomes = {one.number: Outcome(output) for one in document.sections}
    rendered = document.render(outcomes)
    again = Document(rendered)
    assert [one.code for one in again.sections] == [one.code for one in document.sections]
    assert again.render(outcomes) == rendered


@pytest.mark.timeout(10)  # seconds: it takes a third of one, and twice this if it is quadratic
def test_outputs_without_ends_are_read_in_linear_time() -> None:
    """Many sections whose old output never ends are no more work than others."""
    assert len(Document(f"```sh\nls\n```\n{BEGIN}\n" * 8000).sections) == 8000
