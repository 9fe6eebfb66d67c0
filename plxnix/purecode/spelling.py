"""Spelling: normalised tokens as readable source again, and plain values as literals.

The text depends on the tokens alone, so comments, docstrings and layout do not count in it. It is
the same on every Python.
"""

from __future__ import annotations

import keyword
from collections.abc import Iterable, Sequence

from plxnix.codehash.tokens import DEDENT, INDENT, LINE

_TIGHT_AFTER = frozenset("([{.~")
_UNARY = frozenset({"-", "+", "~", "*", "**"})
_NAMES = frozenset(keyword.kwlist) - {"None", "True", "False"}


def spell(tokens: Iterable[str]) -> str:
    """Return source for normalised tokens, one logical line a line, indented by four blanks."""
    lines: list[str] = []
    line: list[str] = []
    depth = 0

    def end() -> None:
        if line:
            lines.append("    " * depth + _line(line))
            line.clear()

    def close() -> None:
        """Give a block of which nothing is left a statement."""
        if lines and lines[-1].endswith(":"):
            lines[-1] += " pass"

    for token in tokens:
        if token == LINE:
            end()
        elif token == INDENT:
            end()
            depth += 1
        elif token == DEDENT:
            end()
            close()
            depth -= 1
        else:
            if not line and depth <= _depth(lines):
                close()
            line.append(token)
    end()
    close()
    return "\n".join(lines) + "\n"


def _depth(lines: Sequence[str]) -> int:
    return (len(lines[-1]) - len(lines[-1].lstrip(" "))) // 4 if lines else 0


def _line(tokens: Sequence[str]) -> str:
    parts: list[str] = []
    brackets: list[str] = []
    previous = ""
    unary = False
    for token in tokens:
        shown = _string(token) if token[:2] in ('s"', 'b"') else token
        is_operand = bool(previous) and _ends_operand(previous)
        if previous and not unary and _is_spaced(previous, token, is_operand, brackets):
            parts.append(" ")
        parts.append(shown)
        unary = token in _UNARY and not is_operand
        if token in ("(", "[", "{", "lambda"):
            brackets.append(token)
        elif brackets and (token in (")", "]", "}") or (token == ":" and brackets[-1] == "lambda")):
            brackets.pop()
        previous = token
    return "".join(parts)


def _is_spaced(previous: str, token: str, is_operand: bool, brackets: Sequence[str]) -> bool:
    if token in (",", ")", "]", "}", ";"):
        return False
    if previous in _TIGHT_AFTER:
        # `from . import x`
        return previous == "." and token == "import"
    if token == ":":
        return False
    if token == ".":
        return previous in _NAMES or previous[0].isdigit()
    if token in ("(", "["):
        return not is_operand
    if previous == ":":
        return not brackets or brackets[-1] != "["
    if previous == "@":
        return is_operand or bool(brackets)
    return "=" not in (token, previous) or not brackets


def _ends_operand(token: str) -> bool:
    if token in (")", "]", "}", "..."):
        return True
    if token in _NAMES:
        return False
    return token[0].isalnum() or token[0] == "_" or token[-1] in "\"'" or token[:2] in ('s"', 'b"')


def _string(token: str) -> str:
    value = token[2:].encode("ascii").decode("unicode_escape")
    return f"b{quoted(value, True)}" if token[0] == "b" else quoted(value)


def quoted(value: str, is_bytes: bool = False) -> str:
    """Spell a text as a literal in one line; what cannot be seen is escaped."""
    mark = "'" if '"' in value and "'" not in value else '"'
    shown = []
    for letter in value:
        code = ord(letter)
        if letter in (mark, "\\"):
            shown.append("\\" + letter)
        elif letter in "\n\r\t":
            shown.append({"\n": "\\n", "\r": "\\r", "\t": "\\t"}[letter])
        elif 32 <= code < 127 or (not is_bytes and 0xA1 <= code < 0x2000 and code != 0xAD):
            shown.append(letter)
        elif code < 256:
            shown.append(f"\\x{code:02x}")
        elif code < 0x10000:
            shown.append(letter if 0x3000 < code < 0xD800 else f"\\u{code:04x}")
        else:
            shown.append(f"\\U{code:08x}")
    return mark + "".join(shown) + mark


def literal(value: object) -> str | None:
    """Spell a plain value, sorted where it has no order; `None` if it is not plain.

    Plain are `None`, `...`, booleans, numbers, texts and bytes, and tuples, lists, dicts, sets and
    frozensets of them; not subclasses of those.
    """
    kind = type(value)
    if value is None or value is Ellipsis or kind in (bool, int):
        return "..." if value is Ellipsis else str(value)
    if isinstance(value, float) and kind is float:
        text = repr(value)
        return f'float("{text}")' if text.lstrip("-") in ("inf", "nan") else text
    if isinstance(value, str) and kind is str:
        return quoted(value)
    if isinstance(value, bytes) and kind is bytes:
        return "b" + quoted(value.decode("latin-1"), True)
    if isinstance(value, dict) and kind is dict:
        pairs = [(literal(key), literal(item)) for key, item in value.items()]
        if any(None in pair for pair in pairs):
            return None
        return "{" + ", ".join(f"{key}: {item}" for key, item in pairs) + "}"
    if isinstance(value, (tuple, list, set, frozenset)) and kind in (tuple, list, set, frozenset):
        found = [literal(item) for item in value]
        items = [item for item in found if item is not None]
        if len(items) < len(found):
            return None
        if kind is tuple:
            return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
        if kind is list:
            return f"[{', '.join(items)}]"
        inside = "{" + ", ".join(sorted(items)) + "}" if items else "()"
        return inside if items and kind is set else f"{kind.__name__}({inside if items else ''})"
    return None
