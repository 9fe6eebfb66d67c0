"""The console: the one place that prints to people and to pipes.

Data go to standard output, talk to standard error. On a terminal, tables are drawn and control
characters in foreign text are made visible; into a pipe go plain lines, with tabs between columns,
and names as the bytes that they are. rich is imported when something is drawn, and not before.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

import click

from plxnix.errors import PlxnixError

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

#: Control characters, those that turn the direction of writing, and undecodable bytes. Patterns of
#: so many characters take milliseconds to compile, so that is left until one is used.
_HARMFUL = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = f"[{_HARMFUL}]"
_IN_NAME = f"[\t\n\u2028\u2029{_HARMFUL}]"

RED, YELLOW, DIM = "1;31", "33", "2"


def visible(text: str) -> str:
    """Write control characters as escapes that can be seen; newlines and tabs stay.

    A lone carriage return, as progress bars print it, ends a line.
    """
    return re.sub(_IN_TEXT, _escaped, text.replace("\r\n", "\n").replace("\r", "\n"))


def visible_name(text: str) -> str:
    """Make all control characters of a name visible, newlines included."""
    return re.sub(_IN_NAME, _escaped, text)


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00  # a byte that is not UTF-8 (PEP 383)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


class Cell(NamedTuple):
    """A field of a table that is written in one way on a terminal and in another into a pipe."""

    shown: str
    piped: str


class Console:
    """Where a command prints: `quiet` leaves talk out, `verbose` adds to it.

    `color` is `auto` (on terminals, unless `NO_COLOR` is set), `always` or `never`. `stream` is
    where talk goes while standard error belongs to the stages that run.
    """

    def __init__(self, color: str = "auto", quiet: bool = False, verbose: bool = False) -> None:
        self.color = color
        self.quiet = quiet
        self.verbose = verbose
        self.stream: TextIO | None = None

    # -- data ----------------------------------------------------------------------------------

    @property
    def drawing(self) -> bool:
        """Whether data go to somebody who looks, and not into a pipe or a file."""
        return _is_terminal(sys.stdout) or self.color == "always"

    def data(self, data: bytes) -> None:
        """Write bytes to standard output; raise `PlxnixError` if it is closed."""
        stream = sys.stdout
        if stream is None or stream.closed:
            raise PlxnixError("standard output is closed", "the result has no place to go")
        try:
            stream.flush()
            stream.buffer.write(data)
            stream.buffer.flush()
        except BrokenPipeError:
            raise reader_is_gone() from None

    def text(self, text: str) -> None:
        """Write a text to standard output: made visible on a terminal, else as it is."""
        self.data(_encoded(visible(text)) if self.drawing else _encoded(text))

    def line(self, text: str) -> None:
        """Write one line to standard output; what it holds cannot break it on a terminal."""
        self.lines([text])

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines to standard output, all at once."""
        shown = map(visible_name, lines) if self.drawing else lines
        text = "".join(f"{line}\n" for line in shown)
        self.data(_encoded(text))

    def json(self, value: Any) -> None:
        """Write a value as JSON, indented, in ASCII; bytes that are not UTF-8 are as in PEP 383."""
        self.data((json.dumps(value, indent=2) + "\n").encode())

    def table(self, heads: Sequence[str], rows: Iterable[Sequence[str | Cell]]) -> None:
        """Draw a table on a terminal; into a pipe, write its rows with tabs between the fields.

        A head that ends in `>` stands for a column that is flush right.
        """
        if not self.drawing:
            self.lines("\t".join(_piped(cell) for cell in row) for row in rows)
            return
        from rich.table import Table
        from rich.text import Text

        drawn = Table(box=None, pad_edge=False, header_style="bold")
        for head in heads:
            right = head.endswith(">")
            drawn.add_column(
                head.rstrip(">"), justify="right" if right else "left", overflow="fold"
            )
        for row in rows:
            shown = (cell.shown if isinstance(cell, Cell) else cell for cell in row)
            drawn.add_row(*(Text(visible_name(cell)) for cell in shown))
        if drawn.row_count:
            sys.stdout.flush()
            self.rich(sys.stdout).print(drawn)
            sys.stdout.flush()

    # -- talk ----------------------------------------------------------------------------------

    @property
    def watched(self) -> bool:
        """Whether somebody looks at standard error, so that progress can be drawn there."""
        return not self.quiet and _is_terminal(sys.stderr)

    def say(self, text: str) -> None:
        """Write talk to standard error, unless quiet."""
        if not self.quiet:
            self.talk(text)

    def detail(self, text: str) -> None:
        """Write talk that only `--verbose` asks for."""
        if self.verbose:
            self.talk(self._styled(text, DIM))

    def warn(self, text: str) -> None:
        """Write a warning to standard error, even if quiet."""
        self.talk(f"plxnix: {self._styled('warning', YELLOW)}: {visible(text)}")

    def error(self, message: str, hint: str = "", details: Sequence[str] = ()) -> None:
        """Write an error: what was wrong, lines that show more, and what to do."""
        lines = [f"plxnix: {self._styled('error', RED)}: {visible(message)}"]
        lines += [f"  {visible(line)}" for line in details]
        if hint:
            lines.append(f"  hint: {visible(hint)}")
        self.talk("\n".join(lines))

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; without one the answer is yes."""
        if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
            return True
        sys.stderr.write(f"{visible(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def rich_talk(self) -> RichConsole:
        """Return a console of rich that draws on standard error."""
        return self.rich(sys.stderr)

    def rich(self, stream: TextIO) -> RichConsole:
        """Return a console of rich that draws on `stream`."""
        from rich.console import Console as RichConsole

        return RichConsole(
            file=stream,
            force_terminal=True,
            color_system="auto" if self._colored(stream) else None,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def talk(self, text: str) -> None:
        """Write a line to standard error, as it is, even if quiet."""
        stream = self.stream or sys.stderr
        if stream is not None and not stream.closed:
            data = f"{text}\n".encode(stream.encoding or "utf-8", "backslashreplace")
            stream.flush()
            stream.write(data.decode(stream.encoding or "utf-8"))
            stream.flush()

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colored(sys.stderr) else text

    def _colored(self, stream: TextIO | None) -> bool:
        if self.color == "auto":
            return _is_terminal(stream) and not os.environ.get("NO_COLOR")
        return self.color == "always"


def _piped(cell: str | Cell) -> str:
    text = cell.piped if isinstance(cell, Cell) else cell
    return text.replace("\t", "\\t").replace("\n", "\\n")


def reader_is_gone() -> click.exceptions.Exit:
    """Make Python's last flush harmless, and return what ends the command quietly."""
    with suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.close(null)
    return click.exceptions.Exit(141)


def _is_terminal(stream: TextIO | None) -> bool:
    if stream is None or stream.closed or os.environ.get("TERM") == "dumb":
        return False
    return stream.isatty()


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace")
