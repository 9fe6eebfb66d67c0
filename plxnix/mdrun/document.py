"""Evaluating a document: each section of code is a stage that depends on the one before.

What a section printed is kept in a store, so of a document that is evaluated again only what
follows the first change runs. What is kept of a section is its output and not the state of its
interpreter: before a section runs, those above it run again, and their output is not looked at.
So work that takes long belongs into stages of its own, which then are there already.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plxnix.codehash.hashes import codehash, texthashes
from plxnix.config import Config
from plxnix.errors import BuildFailed, PlxnixError
from plxnix.mdrun.interpreter import Interpreter, read_output
from plxnix.mdrun.sections import Document, Outcome, Section
from plxnix.model import DRef, RRef, selfref
from plxnix.realize.build import Build, build_outpath, build_wrapper
from plxnix.realize.matchers import match_latest
from plxnix.realize.realizing import realize
from plxnix.realize.registry import Registry, current_registry, instantiate, mkdrv
from plxnix.realize.run import Observer
from plxnix.store import Store

#: How pictures are named, by the number of the section and their own.
_PICTURE = re.compile(r"section-\d+-\d{3,}\.[a-z]+")

#: Of a section that was run again, the latest result is meant.
_MATCHER = match_latest()


@dataclass(frozen=True)
class Evaluation:
    """A document with its outputs: its text, and how many sections ran and were kept.

    `failure` is why it ends early, if it does; sections below that have no output.
    """

    text: str
    ran: int
    kept: int
    failure: PlxnixError | None = None


def evaluate_document(
    text: str,
    store: Store,
    directory: Path,
    pictures: Path | None = None,
    restart: bool = False,
    observer: Observer | None = None,
) -> Evaluation:
    """Evaluate the sections of a Markdown document in `directory` and show what they give.

    Results are kept in `store`, by code, language, directory, the results above, the modules in
    `directory` that the code imports and the files that a comment says it reads. Pictures are
    copied to the folder `pictures`, in place of those of an earlier evaluation, and links in the
    document start from its parent; without it, they lead into the store. `restart` runs all again.
    A section that fails, or that should and does not, ends the evaluation: that is in the result,
    and raises nothing. Raises `InvalidValue` for a comment that says something else,
    `CodeHashError` for a file that cannot be read.
    """
    document = Document(text)
    evaluating = _Evaluating(document, store, directory)
    failure: PlxnixError | None = None
    with evaluating.interpreter:
        try:
            evaluating.realize(restart, observer or Observer())
        except PlxnixError as error:
            failure = error
    results = evaluating.results()
    outcomes = dict(evaluating.broken)
    for number, rref in enumerate(results, start=1):
        outcomes[number] = _outcome(Path(store.path(rref)), number, pictures)
    if pictures is not None:
        _remove_old(pictures, outcomes)
    ran = len(evaluating.ran)
    kept = len(results) - ran + len(evaluating.broken)
    return Evaluation(document.render(outcomes), ran, kept, failure)


class _Evaluating:
    """One evaluation of a document: `ran` are numbers of sections, `broken` those that failed."""

    def __init__(self, document: Document, store: Store, directory: Path) -> None:
        self.document = document
        self.directory = directory
        self.interpreter = Interpreter(directory)
        self.ran: list[int] = []
        self.broken: dict[int, Outcome] = {}
        self._state = 0
        self._registry = Registry(store)
        self._stages: list[DRef] = []
        codes = [one.code if one.language == "python" else "" for one in document.sections]
        hashes = texthashes(codes, os.fspath(directory))
        for section, modules in zip(document.sections, hashes, strict=True):
            files = [codehash([directory / name]) for name in section.reads]
            self._stages.append(self._stage(section, [modules, *files]))

    def realize(self, restart: bool, observer: Observer) -> None:
        """Realize all sections; raise what the first one that fails raises."""
        if self._stages:
            closure = instantiate(self._stages[-1], registry=self._registry)
            realize(closure, self._stages if restart else False, observer=observer)

    def results(self) -> list[RRef]:
        """Return the realizations of the sections, as far as there are any."""
        store = self._registry.store
        results: list[RRef] = []
        context: dict[DRef, list[RRef]] = {}
        for number, dref in enumerate(self._stages, start=1):
            found = _MATCHER(store, store.realizations(dref, context))
            if found is None or number in self.broken:
                break
            results += found
            context = {dref: found}
        return results

    def _stage(self, section: Section, needs: list[str]) -> DRef:
        """Register the stage of a section, which depends on the one before."""
        config = {
            "name": f"section-{section.number}",
            "code": section.code,
            "directory": os.fspath(self.directory),
            "language": section.language,
            "needs": needs,
            "previous": self._stages[-1] if self._stages else None,
            "raises": section.raises,
            "output": [selfref, "output"],
        }

        def evaluate(build: Build) -> None:
            self._evaluate(section, build_outpath(build))

        with current_registry(self._registry):
            return mkdrv(Config(config), _MATCHER, build_wrapper(evaluate))

    def _evaluate(self, section: Section, folder: Path) -> None:
        for number in range(self._state + 1, section.number):
            self._replay(self.document.sections[number - 1], folder)
        self._state = section.number
        self.ran.append(section.number)
        line = section.start + 1
        explained = False
        try:
            succeeded = self.interpreter.run(section.number, section.language, section.code, folder)
            if section.raises and succeeded:
                raise BuildFailed(
                    f"section {section.number} (line {line}) was to fail and did not",
                    "take `raises` out of the comment above it",
                )
            if not (section.raises or succeeded):
                explained = True
                raise BuildFailed(
                    f"section {section.number} (line {line}) failed",
                    "its output is in the document, below it",
                )
        except BuildFailed as error:
            output = read_output(folder).rstrip("\n")
            said = [output] if explained else [output, error.message]
            self.broken[section.number] = Outcome("\n".join(filter(None, said)))
            raise

    def _replay(self, section: Section, folder: Path) -> None:
        """Run a section for the state that it leaves."""
        scratch = folder / "replay"
        scratch.mkdir()
        self.interpreter.run(section.number, section.language, section.code, scratch)
        shutil.rmtree(scratch)


def _outcome(folder: Path, number: int, pictures: Path | None) -> Outcome:
    """Return what a realized section gave; its pictures are copied if there is a place."""
    found: Sequence[Path] = sorted(one for one in folder.iterdir() if one.name != "output")
    images = []
    for one in found:
        place = os.fspath(one)
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
            name = f"section-{number}-{one.name.removeprefix('picture-')}"
            (pictures / name).write_bytes(one.read_bytes())
            place = f"{pictures.name}/{name}"
        images.append((f"section {number}", place))
    return Outcome(read_output(folder), tuple(images))


def _remove_old(pictures: Path, outcomes: Mapping[int, Outcome]) -> None:
    """Remove pictures that the document no longer shows."""
    shown = {os.path.basename(place) for one in outcomes.values() for _, place in one.images}
    for path in pictures.glob("section-*"):
        if _PICTURE.fullmatch(path.name) and path.name not in shown:
            path.unlink()
