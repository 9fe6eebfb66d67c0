"""Tokens of source text, the same for every layout and on every Python from 3.10 on.

Comments, blank lines, line breaks in brackets, the width of indentation and trailing commas
without effect are gone; plain string literals are spelled by their value; an f-string is one token,
as it was before Python 3.12 (PEP 701).
"""

from __future__ import annotations

import ast
import io
import keyword
import tokenize
from collections.abc import Iterator, Sequence

#: A line, counted from 1, and a column in it, counted from 0, in characters.
Position = tuple[int, int]

#: What can go wrong while source is read: its bytes, its syntax, its depth.
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError)

# Structure, in spellings that no token has.
LINE, INDENT, DEDENT = "\n", "\n>", "\n<"

IGNORED = {tokenize.NL, tokenize.COMMENT, tokenize.ENDMARKER}
OPENING = {kind for kind, name in tokenize.tok_name.items() if name.endswith("STRING_START")}
CLOSING = {kind for kind, name in tokenize.tok_name.items() if name.endswith("STRING_END")}
RESERVED = {*keyword.kwlist, "match", "case", "type", "_"}


def decoded(data: bytes) -> str:
    """Decode a Python file as Python does (PEP 263), with one kind of line end."""
    encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    return data.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


def normalised(text: str) -> tuple[list[str], list[Position]]:
    """Split source text into normalised tokens, with the place where each starts.

    An indent or dedent starts where the token after it does. Raises what is in `UNREADABLE`.
    """
    texts: list[str] = []
    starts: list[Position] = []
    waiting: list[str] = []
    brackets: list[_Bracket] = []
    applicable = False
    for kind, string, start in _joined(text):
        if kind in (tokenize.INDENT, tokenize.DEDENT):
            waiting.append(INDENT if kind == tokenize.INDENT else DEDENT)
            continue
        if kind == tokenize.NEWLINE or string == ";":
            string = LINE
        elif kind == tokenize.STRING:
            string = _literal(string)
        elif string == "lambda" and brackets:
            brackets[-1].has_lambda = True
        elif string in ("(", "[", "{"):
            brackets.append(_Bracket(string, applicable))
        elif string == "," and brackets:
            brackets[-1].commas += 1
        elif string in (")", "]", "}") and brackets and brackets.pop().drops_comma(texts):
            del texts[-1], starts[-1]
        is_name = kind == tokenize.NAME and string not in RESERVED
        applicable = is_name or kind == tokenize.STRING or string in (")", "]", "}")
        texts += (*waiting, string)
        starts += [start] * (len(waiting) + 1)
        waiting.clear()
    return texts, starts


def _joined(text: str) -> Iterator[tuple[int, str, Position]]:
    """Give kind, text and start of the tokens that count, each in one piece.

    Python splits f-strings from 3.12 on, and identifiers at some letters before.
    """
    lines = text.split("\n")
    nested, opened = 0, (0, 0)
    name, name_start, name_end, is_split = "", (0, 0), (0, 0), False
    for kind, string, start, end, _ in tokenize.generate_tokens(io.StringIO(text).readline):
        if kind in IGNORED or (kind == tokenize.ERRORTOKEN and string.isspace()):
            continue
        if kind in OPENING:
            opened = opened if nested else start
            nested += 1
        elif kind in CLOSING:
            nested -= 1
            string, start, kind = _between(lines, opened, end), opened, tokenize.STRING
        if nested:
            continue
        is_error = kind == tokenize.ERRORTOKEN
        is_part = is_error or kind == tokenize.NAME or (is_split and kind == tokenize.NUMBER)
        if name and is_part and start == name_end:
            name, name_end, is_split = name + string, end, is_split or is_error
            continue
        if name:
            yield tokenize.NAME, name, name_start
            name = ""
        if is_error or kind == tokenize.NAME:
            name, name_start, name_end, is_split = string, start, end, is_error
        else:
            yield kind, string, start


def _between(lines: Sequence[str], start: Position, end: Position) -> str:
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right]
    return "\n".join((lines[first - 1][left:], *lines[first : last - 1], lines[last - 1][:right]))


def _literal(token: str) -> str:
    """Spell a string literal by its value; an f-string with quotes or escapes stays as it is."""
    opening = min(i for i in (token.find("'"), token.find('"')) if i >= 0)
    prefix = "".join(sorted(token[:opening].lower()))
    width = 3 if len(token) - opening >= 6 and token[opening] * 3 == token[opening:][:3] else 1
    body = token[opening + width : -width]
    if "f" in prefix or "t" in prefix:
        plain = not any(mark in body for mark in "'\"\\\n")
        return prefix + (f'"{body}"' if plain else token[opening:])
    value = body if "\\" not in body or "r" in prefix else ast.literal_eval(token)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    mark = "b" if "b" in prefix else "s"
    return f'{mark}"' + value.encode("unicode_escape").decode("ascii")


class _Bracket:
    """An open bracket: whether what is before it makes it a call or a subscript, and its commas."""

    __slots__ = ("applied", "commas", "has_lambda", "opener")

    def __init__(self, opener: str, applied: bool) -> None:
        self.opener = opener
        self.applied = applied
        self.commas = 0
        self.has_lambda = False

    def drops_comma(self, texts: Sequence[str]) -> bool:
        """Whether the last token is a comma without effect: not that of `(x,)` or `y[x,]`."""
        if texts[-1] != ",":
            return False
        makes_tuple = self.opener != "{" and self.applied == (self.opener == "[")
        # The commas of a lambda's parameters are no sign of a tuple.
        return (self.commas > 1 and not self.has_lambda) or not makes_tuple
