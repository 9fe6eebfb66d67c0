"""Laws of the code hash: no reformatting changes it, every change of a token does."""

from __future__ import annotations

import linecache
import random
from itertools import count
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from plxnix.codehash import codehash
from plxnix.codehash.tokens import normalised

_number = count()

NAMES = st.sampled_from(["alpha", "beta", "gamma", "é"])
TEXTS = st.text(st.sampled_from("ab é\\\n\t'\"{}#\0"), max_size=5)


def expressions() -> st.SearchStrategy[list[str]]:
    """Make expressions as lists of tokens; a string stands as `S` and its value."""
    leaves = st.one_of(
        NAMES.map(lambda name: [name]),
        st.integers(0, 99).map(lambda value: [str(value)]),
        TEXTS.map(lambda text: [f"S{text}"]),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.tuples(inner, st.sampled_from(["+", "if"]), inner).map(
                lambda t: (
                    [*t[0], "+", *t[2]]
                    if t[1] == "+"
                    else ["(", *t[0], "if", "x", "else", *t[2], ")"]
                )
            ),
            st.lists(inner, min_size=2, max_size=3).map(lambda items: ["(", *_joined(items), ",)"]),
            st.lists(inner, max_size=3).map(
                lambda items: ["f", "(", *_joined(items), ",)" if items else ")"]
            ),
            st.lists(inner, min_size=1, max_size=3).map(
                lambda items: ["[", *_joined(items), ",)]"]
            ),
        ),
        max_leaves=6,
    )


def _joined(items: list[list[str]]) -> list[str]:
    return [token for index, item in enumerate(items) for token in ([","] if index else []) + item]


Statement = tuple[str, list[str], list[Any]]


def statements() -> st.SearchStrategy[list[Statement]]:
    """Make blocks: assignments, returns, and `if` with a block of its own."""
    simple: st.SearchStrategy[Statement] = st.tuples(
        st.sampled_from(["return", "x ="]), expressions(), st.just([])
    )
    return st.recursive(
        st.lists(simple, min_size=1, max_size=3),
        lambda block: st.lists(
            st.one_of(simple, st.tuples(st.just("if"), expressions(), block)),
            min_size=1,
            max_size=3,
        ),
        max_leaves=3,
    )


def plain(text: str) -> str:
    """Spell a string in one way."""
    return '"' + "".join(f"\\x{ord(c):02x}" for c in text) + '"'


def fancy(text: str, rng: random.Random) -> str:
    """Spell a string in any way."""
    quote = rng.choice(["'", '"', "'''", '"""'])
    spelled = "".join(
        rng.choice([f"\\x{ord(c):02x}", f"\\u{ord(c):04x}"])
        if c in "\\\n\t'\"\0" or rng.random() < 0.3
        else c
        for c in text
    )
    return rng.choice(["", "u", "U"]) + quote + spelled + quote


def tidy(block: list[Statement], indent: str = "    ") -> str:
    """Write a block plainly."""
    lines = []
    for keyword, expression, inner in block:
        tokens = [
            plain(t[1:]) if t[0] == "S" else {",)": ")", ",)]": "]"}.get(t, t) for t in expression
        ]
        line = f"{indent}{keyword} {' '.join(tokens)}"
        lines.append(f"{line}:\n{tidy(inner, indent + '    ')}" if inner else f"{line}\n")
    return "".join(lines)


def wild(block: list[Statement], rng: random.Random, indent: str) -> str:
    """Write the same block in any layout, with comments and strings that stand alone."""
    text = ""
    for index, (keyword, expression, inner) in enumerate(block):
        if rng.random() < 0.3:
            text += rng.choice(["\n", "# 'comment\n", f"{indent}  # {{\n", "\f\n"])
        if rng.random() < 0.3:
            alone = rng.choice(['"doc"', "'''d\n  oc'''", "'a' 'b'"])
            text += f"{indent}{alone}\n"
        line, depth = f"{indent}{keyword}", 0
        for token in expression:
            comma = "," if token.startswith(",)") and rng.random() < 0.5 else ""
            spelled = {",)": comma + ")", ",)]": comma + "]"}.get(token, token)
            spelled = fancy(token[1:], rng) if token[0] == "S" else spelled
            blanks = [" ", "  ", "\t", " \\\n "]
            if depth:
                blanks += ["\n", "  # comment\n\n   ", "\n\n"]
            line += rng.choice(blanks) + spelled
            depth += (token in "([") - (token in (")", ",)", ",)]"))
        text += line
        if inner:
            text += rng.choice([":\n", ":  # then\n\n", " :\n"])
            text += wild(inner, rng, indent + rng.choice([" ", "  ", "\t", "        "]))
        else:
            follows = index + 1 < len(block) and rng.random() < 0.2
            text += rng.choice(["\n", "  # end\n", ";\n", "\n\n"]) if not follows else " ;\n"
    return text


def hashed(text: str) -> str:
    """Hash the function `stage` of a text."""
    filename = f"<property {next(_number)}>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    scope: dict[str, Any] = {"__name__": "__main__"}
    try:
        exec(compile(text, filename, "exec"), scope)  # noqa: S102
        return codehash([scope["stage"]])
    finally:
        del linecache.cache[filename]


@given(statements(), st.randoms(use_true_random=False))
def test_layout_is_not_seen(block: list[Statement], rng: random.Random) -> None:
    """Comments, indentation, line breaks, commas, quotes and docstrings do not count."""
    head = "def stage(x, f):\n"
    other = rng.choice(["def  stage ( x,\n# f\nf , ) :  # go\n", 'def stage(x, f):\n "doc"\n'])
    indent = " " if "doc" in other else rng.choice([" ", "   ", "\t"])
    assert hashed(head + tidy(block)) == hashed(other + wild(block, rng, indent))


@given(statements(), st.data())
def test_every_token_is_seen(block: list[Statement], data: st.DataObject) -> None:
    """A change of any name, number or string is a change of the hash."""
    block = [*block, ("return", ["x"], [])]

    def spots(block: list[Statement]) -> list[tuple[list[str], int]]:
        return [
            spot
            for _, expression, inner in block
            for spot in [
                *((expression, i) for i, t in enumerate(expression) if t[0] == "S" or t.isalnum()),
                *spots(inner),
            ]
            if spot[0][spot[1]] not in ("if", "else")
        ]

    before = hashed("def stage(x, f):\n" + tidy(block))
    expression, index = data.draw(st.sampled_from(spots(block)))
    token = expression[index]
    expression[index] = f"{token}\0" if token[0] == "S" else f"{token}7".lstrip("0")
    assert hashed("def stage(x, f):\n" + tidy(block)) != before


@given(st.text(st.sampled_from("ab'\"\\{}\n #"), max_size=12))
def test_an_f_string_is_one_token(text: str) -> None:
    """Whatever a valid f-string holds, it is a single token on every version of Python."""
    source = f"x = f'''{text}'''\n"
    try:
        compile(source, "<f>", "exec")
    except (SyntaxError, ValueError):
        return
    texts, _ = normalised(source)
    assert texts[:2] == ["x", "="]
    joined = "".join(texts[2:])
    assert joined.startswith(('f"', "f'"))
