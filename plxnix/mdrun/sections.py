"""The sections of a Markdown document: fenced code that is to be run, and where its output goes.

What a section gives is written below it, between two comments that no reader sees. So a document
with outputs can be evaluated again, in place: old outputs are replaced.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from markdown_it import MarkdownIt  # comes with rich
from markdown_it.token import Token

from plxnix.errors import InvalidValue

#: Names of languages on fences, and what they are run by.
LANGUAGES: Final = {
    **dict.fromkeys(("py", "python", "python3"), "python"),
    **dict.fromkeys(("bash", "sh", "shell"), "shell"),
}

BEGIN: Final = "<!-- mdrun: output -->"
END: Final = "<!-- mdrun: end -->"

#: What a comment above a section says: `norun`, leave it alone; `raises`, it has to fail;
#: `reads`, its result depends on the files that follow.
_DIRECTIVES: Final = ("norun", "raises", "reads")
_DIRECTIVE: Final = re.compile(r"<!--\s*mdrun:\s*(.*?)\s*-->")

#: What a terminal would act on: escape sequences, and other control characters.
_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Section:
    """One piece of code: lines `start` to `end` (exclusive, from 0) of the document.

    `number` counts from 1. `language` is `python` or `shell`. `prefix` stands before each line, as
    in lists and quotations; `fence` is what closes the section, if nothing does. `raises` says that
    the section has to fail, `reads` what files it reads. `old` are the lines of its old output,
    which begin at `end`.
    """

    number: int
    language: str
    code: str
    start: int
    end: int
    prefix: str
    fence: str
    raises: bool
    reads: tuple[str, ...]
    old: int


@dataclass(frozen=True)
class Outcome:
    """What a section gave: what it printed, and pictures as pairs of a title and a place."""

    output: str = ""
    images: tuple[tuple[str, str], ...] = field(default=())


class Document:
    """A Markdown document, read once; `lines` keep their ends."""

    def __init__(self, text: str) -> None:
        """Read a document (CommonMark); time is linear in its length. Raises `InvalidValue`."""
        self.lines = text.splitlines(keepends=True)
        first = re.search(r"\r\n|\n|\r", text)
        #: How its lines end, of which outputs are made too.
        self.newline = first[0] if first else "\n"
        fences = [token for token in MarkdownIt().parse(text) if token.type == "fence"]
        inside = {line for token in fences for line in range(*_place(token))}
        self.sections: list[Section] = []
        #: The lines that end outputs, by what stands before each line.
        self._ends: dict[str, list[int]] = {}
        for token in fences:
            language = LANGUAGES.get(_language(token.info))
            start, end = _place(token)
            directives, files = self._directives(start)
            if language is None or "norun" in directives:
                continue
            prefix = self._prefix(start, token.markup)
            self.sections.append(
                Section(
                    number=len(self.sections) + 1,
                    language=language,
                    code=token.content,
                    start=start,
                    end=end,
                    prefix=prefix,
                    fence="" if self._closed(start, end, prefix, token) else token.markup,
                    raises="raises" in directives,
                    reads=files,
                    old=self._old(end, prefix, inside),
                )
            )

    def render(self, outcomes: Mapping[int, Outcome]) -> str:
        """Return the document with the outcomes of its sections, by number, below them.

        Old outputs of all sections are left out. Rendering what was rendered gives the same.
        """
        return "".join(self._rendered(outcomes))

    def _rendered(self, outcomes: Mapping[int, Outcome]) -> Iterator[str]:
        done = 0
        for section in self.sections:
            yield from self.lines[done : section.end]
            done = section.end + section.old
            shown = _shown(outcomes.get(section.number, Outcome()))
            if shown and not self.lines[section.end - 1].endswith(self.newline):
                yield self.newline
            if shown and section.fence:
                shown.insert(0, section.fence)
            for line in shown:
                yield f"{section.prefix}{line}".rstrip() + self.newline
        yield from self.lines[done:]

    def _directives(self, start: int) -> tuple[list[str], tuple[str, ...]]:
        """Return what the comment above a fence says, and the files that it names."""
        above = self.lines[start - 1] if start else ""
        found = _DIRECTIVE.search(above)
        words = found[1].split() if found else []
        head = words.index("reads") + 1 if "reads" in words else len(words)
        if unknown := set(words[:head]) - {"output", "end", *_DIRECTIVES}:
            raise InvalidValue(
                f"line {start}: mdrun knows no {' '.join(sorted(unknown))!r}",
                "a comment above a section says norun or raises, or reads and names of files",
            )
        return words[:head], tuple(words[head:])

    def _closed(self, start: int, end: int, prefix: str, token: Token) -> bool:
        """Tell whether a fence has an end of its own, and not that of what it stands in."""
        last = self._bare(end - 1, prefix)
        return end - 1 > start and last.startswith(token.markup) and not last.strip(last[0])

    def _prefix(self, start: int, markup: str) -> str:
        before = self.lines[start].partition(markup)[0]
        return re.sub(r"[^>\s]", " ", before)

    def _old(self, end: int, prefix: str, inside: set[int]) -> int:
        """Return how many lines below a section are its old output."""
        first = end
        while first < len(self.lines) and not self._bare(first, prefix):
            first += 1
        if first == len(self.lines) or self._bare(first, prefix) != BEGIN:
            return 0
        if prefix not in self._ends:  # Each section looking by itself would be quadratic.
            self._ends[prefix] = [
                line
                for line in range(len(self.lines))
                if line not in inside and self._bare(line, prefix) == END
            ]
        following = bisect(self._ends[prefix], first)
        if following == len(self._ends[prefix]):
            return 0
        return self._ends[prefix][following] + 1 - end

    def _bare(self, line: int, prefix: str) -> str:
        return self.lines[line].removeprefix(prefix.rstrip()).strip()


def _place(token: Token) -> tuple[int, int]:
    start, end = token.map or (0, 0)
    return start, end


def _language(info: str) -> str:
    """Return the language of a fence: `python`, `{.python .cell}` and the like."""
    words = info.replace("{", " ").replace("}", " ").split()
    return words[0].lstrip(".").lower() if words else ""


def _shown(outcome: Outcome) -> list[str]:
    """Return the lines in which a document shows an outcome; none if there is nothing to show."""
    output = printable(outcome.output).rstrip()
    if not output and not outcome.images:
        return []
    lines = [BEGIN]
    if output:
        longest = max((len(run) for run in re.findall("`{3,}", output)), default=2)
        fence = "`" * (longest + 1)
        lines += [f"{fence}text", *output.split("\n"), fence]
    for title, place in outcome.images:
        lines += ["", f"![{title}](<{place}>)" if " " in place else f"![{title}]({place})"]
    if outcome.images:
        lines.append("")
    return [*lines, END]


def printable(text: str) -> str:
    """Return output as it can stand in a document: without colours and control characters.

    Of a line that was written over, as progress bars do it, the last state remains.
    """
    lines = _ESCAPES.sub("", text.replace("\r\n", "\n")).split("\n")
    return "\n".join(_CONTROL.sub("\ufffd", _last(line)).rstrip() for line in lines)


def _last(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]
