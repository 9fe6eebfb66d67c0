r"""ATerm: the text of `.drv` files, as far as Nix uses it.

    Derive([(out,path,algorithm,hash)...],[(drv,[outs])...],[srcs...],system,builder,[args],[(k,v)...])

There are no blanks; strings escape `\`, `"`, LF, CR and TAB and hold every other byte as it is;
lists are sorted by bytes, save the arguments. Text in Python stands for these bytes as UTF-8 with
`surrogateescape`, so that any byte survives. Source: Nix manual, "Derivation ATerm format".
"""

from __future__ import annotations

import re
from typing import Final

from plxnix.errors import NixFormatError
from plxnix.nix.derivation import Derivation, Output
from plxnix.nix.quoting import decode

_PLAIN: Final = {"\\": "\\", '"': '"', "n": "\n", "r": "\r", "t": "\t"}

_STRING: Final = re.compile(r'"([^"\\]*(?:\\[\\"nrt][^"\\]*)*)"')
_ESCAPE: Final = re.compile(r"\\(.)")


def parse(text: str | bytes, name: str) -> Derivation:
    """Read the text of a `.drv` file; `name` is the derivation's, without `.drv`.

    The text must be the one that Nix writes for the derivation: sorted, nothing twice. So printing
    gives it back byte for byte. Raises `NixFormatError` with the offset (in characters) of what is
    wrong. Cost: linear.
    """
    if isinstance(text, bytes):
        text = decode(text)
    reader = _Reader(text)
    reader.literal("Derive(")
    outputs = {}
    for output, path, algorithm, digest in reader.tuples(4):
        outputs[output] = Output(path, algorithm, digest)
    reader.literal(",")
    input_derivations = {}
    reader.literal("[")
    while reader.more():
        reader.literal("(")
        path = reader.string()
        reader.literal(",")
        input_derivations[path] = tuple(reader.strings())
        reader.literal(")")
    reader.literal(",")
    sources = reader.strings()
    reader.literal(",")
    system = reader.string()
    reader.literal(",")
    builder = reader.string()
    reader.literal(",")
    args = reader.strings()
    reader.literal(",")
    env = dict(reader.tuples(2))
    reader.literal(")")
    derivation = Derivation(
        name=name,
        system=system,
        builder=builder,
        args=tuple(args),
        env=env,
        outputs=outputs,
        input_derivations=input_derivations,
        input_sources=frozenset(sources),
    )
    printed = decode(derivation.aterm())
    if printed != text:
        reader.offset = _first_difference(printed, text)
        raise reader.wrong("it is not sorted, holds something twice or goes on after its end")
    return derivation


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class _Reader:
    """Reads the words of an ATerm from left to right."""

    __slots__ = ("fresh", "offset", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        #: Whether a list was just opened, so that no comma is due.
        self.fresh = False

    def wrong(self, what: str) -> NixFormatError:
        found = self.text[self.offset : self.offset + 20]
        return NixFormatError(
            f"not the text of a derivation: {what}, at offset {self.offset}: {found!r}",
            "it should be what Nix wrote into a .drv file",
        )

    def literal(self, expected: str) -> None:
        if not self.text.startswith(expected, self.offset):
            raise self.wrong(f"expected {expected!r}")
        self.offset += len(expected)
        self.fresh = expected == "["

    def string(self) -> str:
        match = _STRING.match(self.text, self.offset)
        if match is None:
            raise self.wrong("expected a string")
        self.offset = match.end()
        inner = match[1]
        return _ESCAPE.sub(_unescape, inner) if "\\" in inner else inner

    def more(self) -> bool:
        """In a list: whether another item follows; pass the comma before it or the end."""
        if self.text.startswith("]", self.offset):
            self.offset += 1
            return False
        if not self.fresh:
            self.literal(",")
        self.fresh = False
        return True

    def strings(self) -> list[str]:
        self.literal("[")
        found = []
        while self.more():
            found.append(self.string())
        return found

    def tuples(self, width: int) -> list[list[str]]:
        """Read a list of tuples of `width` strings."""
        self.literal("[")
        found = []
        while self.more():
            self.literal("(")
            row = [self.string()]
            while len(row) < width:
                self.literal(",")
                row.append(self.string())
            self.literal(")")
            found.append(row)
        return found


def _unescape(match: re.Match[str]) -> str:
    return _PLAIN[match[1]]
