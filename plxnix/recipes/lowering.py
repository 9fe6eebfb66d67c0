"""Lowering: from stages to derivations with holes, the value that both builders build.

A stage with a deterministic recipe and a matcher that does not choose becomes the derivation that
its recipe says. Any other becomes a pin: a fixed-output path with the NAR hash of what its matcher
selected. So lowering needs realizations only where something opaque is above.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from plxnix.config import Config
from plxnix.errors import InvalidRefpath, InvalidValue
from plxnix.model import MENTION, DRef, RRef, isdref, isrefpath, isselfpath, selfref
from plxnix.nix.derivation import placeholder
from plxnix.nix.graph import FixedOutput, Instantiation, Node, Reference, Text, text
from plxnix.nix.hashes import Hash
from plxnix.realize.matchers import is_single
from plxnix.realize.registry import Closure, Derivation
from plxnix.recipes.toolchain import HOST, Toolchain
from plxnix.store import Store

#: A mention of a dependency or of the derivation itself, as f-strings leave it.
_HOLE = re.compile(rf"{MENTION.pattern}|{selfref}")

#: The name of an output after a mention of its stage; like a stage's, it runs as far as it can.
_OUTPUT = re.compile(r"/([0-9A-Za-z+._?=-]+)")


@dataclass(frozen=True, eq=False)
class Lowered:
    """One stage, or one selected realization of it, as Nix sees it.

    `kind` is `fixed-output`, `derivation` or `pin`. `flat` is the name of the only file of the
    native realization if references to it mean that file; the Nix store path is then the file
    itself, except for a pin, which is always the whole folder. `rref` is set for pins. `outputs`
    are the names of several outputs, which are entries of the realization and of its pin, and
    derivation outputs otherwise; it is empty where there is only `out`.
    """

    dref: DRef
    node: Node
    kind: str
    flat: str = ""
    rref: RRef | None = None
    outputs: tuple[str, ...] = ()

    def at(self, parts: Sequence[str]) -> Text:
        """Return the text of a path below the realization; raise `InvalidRefpath`."""
        if self.outputs:
            output, *below = "/".join(parts).split("/")
            check_output_name(self.dref, output, self.outputs)
            if self.rref is None:
                return text(Reference(self.node, output), *("/" + part for part in below))
        if not self.flat:
            return text(Reference(self.node), *("/" + part for part in parts))
        if parts and "/".join(parts) != self.flat:
            raise InvalidRefpath(
                f"{self.dref} holds the file {self.flat} and not {'/'.join(parts)}",
                f"refer to {self.dref}/{self.flat}",
            )
        inside = () if self.rref is None else ("/" + self.flat,)
        return text(Reference(self.node), *inside)


class Lowers(Protocol):
    """What lowering asks of a recipe."""

    def deterministic(self, config: Config) -> bool:
        """Tell whether the stage gives the same bytes each time."""

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation that a config stands for."""


#: Returns what is selected of a derivation that has to be pinned, or raises `Unexportable`.
Select = Callable[[DRef], Sequence[RRef]]


class Lowering:
    """Lowers the stages of one closure, each once, dependencies first; iterative.

    Threads may share one: a stage has one node for all of them.
    """

    def __init__(self, closure: Closure, select: Select, toolchain: Toolchain = HOST) -> None:
        self.closure = closure
        self.store: Store = closure.store
        self.toolchain = toolchain
        self.instantiation = Instantiation()
        self._select = select
        self._lowered: dict[DRef, tuple[Lowered, ...]] = {}
        self._guard = threading.RLock()

    def of(self, dref: DRef) -> tuple[Lowered, ...]:
        """Return the lowered forms of a stage: one, or one for each pinned realization."""
        found = self._lowered.get(dref)
        if found is None:
            with self._guard:
                self._lower(dref)
            found = self._lowered[dref]
        return found

    def _lower(self, dref: DRef) -> None:
        waiting = [dref]
        while waiting:
            top = waiting[-1]
            if top in self._lowered:
                waiting.pop()
                continue
            derivation = self.closure.derivations[top]
            recipe = recipe_of(derivation)
            if recipe is None or why_pinned(derivation):
                self._lowered[top] = tuple(self._pin(rref) for rref in self._select(top))
                continue
            above = [dep for dep in derivation.config.dependencies if dep not in self._lowered]
            waiting.extend(above)
            if not above:
                lowered = recipe.lower(derivation.config, self)
                self._lowered[top] = (lowered,)

    def lowered(self) -> Mapping[DRef, tuple[Lowered, ...]]:
        """Return what has been lowered so far."""
        return self._lowered

    def _pin(self, rref: RRef) -> Lowered:
        record = self.store.record(rref)
        said = f"{rref.name} is a result that Nix cannot build. Add it with: plxnix nix add {rref}"
        fixed = FixedOutput(Hash.parse(record.nar_hash), recursive=True)
        node = self.toolchain.refusing(rref.name, said, fixed, f"pin of {rref}")
        outputs = tuple(record.nix.get("outputs", ()))
        return Lowered(rref.dref, node, "pin", rref.name if record.flat else "", rref, outputs)

    # -- strings and values with references in them --------------------------------------------

    def text(self, value: str, outputs: Sequence[str] = ()) -> Text:
        """Turn a string into text, with a hole for each mention of a dependency.

        `selfref` stands for the output's own path, by Nix's placeholder for it; if the stage that
        is being lowered has several `outputs`, the name of one follows. Raises `InvalidValue` where
        a refpath was printed as a list, `InvalidRefpath` where an output is not named.
        """
        parts: list[str | Reference] = []
        end = 0
        for found in _HOLE.finditer(value):
            parts.append(value[end : found.start()])
            end = found.end()
            if found.group() == selfref:
                output, end = _named_output(selfref, value, end, outputs)
                parts.append(placeholder(output))
            else:
                _check_printed(value, found.start(), end)
                below, end = self._mention(DRef.parse(found.group()), value, end)
                parts.extend(below)
        parts.append(value[end:])
        return text(*parts)

    def _mention(self, dref: DRef, value: str, end: int) -> tuple[Text, int]:
        """Return the text for a mention that ends at `end`, and where the rest begins."""
        forms = self.of(dref)
        if len(forms) == 1 and forms[0].outputs:
            output, end = _named_output(dref, value, end, forms[0].outputs)
            return forms[0].at([output]), end
        flat = forms[0].flat if len(forms) == 1 else ""
        if flat and value[end : end + 1 + len(flat)] == "/" + flat:
            end += 1 + len(flat)
        elif len(forms) > 1 and value[end : end + 1] == "/":
            rest = re.match(r"/[^\s'\";&|<>()$`]*", value[end:])
            below = rest.group()[1:] if rest else ""
            return _blank_separated([form.at([below]) for form in forms]), end + 1 + len(below)
        return _blank_separated([form.at([]) for form in forms]), end

    def value(self, value: Any, outputs: Sequence[str] = ()) -> Text | None:
        """Turn a config's value into the text of an environment variable, as Nix coerces it.

        `outputs` are those of the stage that is being lowered, if it has several. Refpaths and
        references become paths; lists of texts are joined by blanks; true is `1`, false and null
        are empty. Raises `InvalidValue` for floats, whose text differs between versions of Nix, and
        returns None for objects.
        """
        if isrefpath(value):
            forms = self.of(DRef(value[0]))
            return _blank_separated([form.at(value[1:]) for form in forms])
        if isselfpath(value):
            below = "/".join(value[1:]).split("/") if outputs else ["out", *value[1:]]
            check_output_name(selfref, below[0], outputs or ("out",))
            return text("/".join([placeholder(below[0]), *below[1:]]))
        if isinstance(value, str):
            if isdref(value):
                return _blank_separated([form.at([]) for form in self.of(DRef(value))])
            return self.text(value, outputs)
        if value is None or value is False:
            return text("")
        if value is True:
            return text("1")
        if isinstance(value, int):
            return text(str(value))
        if isinstance(value, float):
            raise fraction(value)
        if isinstance(value, list):
            return self._list(value, outputs)
        return None

    def _list(self, value: list[Any], outputs: Sequence[str]) -> Text | None:
        """Join a list as Nix does: a blank after each item but the last, and none after `[ ]`."""
        joined: list[str | Reference] = []
        for number, item in enumerate(value, start=1):
            found = self.value(item, outputs)
            if found is None:
                return None
            joined.extend(found)
            if number < len(value) and item != []:
                joined.append(" ")
        return text(*joined)


def fraction(value: float) -> InvalidValue:
    """Return the error for a number that is not whole."""
    return InvalidValue(
        f"the number {value!r} cannot go to Nix, whose versions print it differently",
        "pass it as a string",
    )


def _check_printed(value: str, start: int, end: int) -> None:
    """Refuse a mention inside of what Python prints for a list."""
    if value[start - 2 : start] in ("['", '["') and value[end : end + 2] in ("',", '",'):
        raise InvalidValue(
            f"{value!r:.200} holds a refpath that was printed as a list",
            "write dref / 'file', or mkrefpath(dref, ['file']): these print as paths",
        )


def _named_output(what: str, value: str, end: int, outputs: Sequence[str]) -> tuple[str, int]:
    """Return the output that a mention which ends at `end` names, and where the rest begins."""
    if not outputs:
        return "out", end
    found = _OUTPUT.match(value, end)
    output = found.group(1) if found else ""
    check_output_name(what, output, outputs)
    return output, end + 1 + len(output)


def check_output_name(what: str, output: str, outputs: Sequence[str]) -> None:
    """Refuse what names none of several outputs; `what` is the stage, or `selfref`."""
    if output not in outputs:
        who = "the stage itself" if what == selfref else what
        raise InvalidRefpath(
            f"{who} has the outputs {', '.join(outputs)}, of which "
            + (f"{output!r} is none" if output else "none is named"),
            f"name one first, as in stage / {outputs[-1]!r} / 'file'",
        )


def _blank_separated(texts: Sequence[Text]) -> Text:
    joined: list[str | Reference] = []
    for number, one in enumerate(texts):
        joined.extend((" ", *one) if number else one)
    return text(*joined)


def recipe_of(derivation: Derivation) -> Lowers | None:
    """Return a derivation's recipe, or None if its realizer is code."""
    realizer = derivation.realizer
    # Not isinstance: against a protocol that costs more than the rest of lowering a stage.
    return cast(Lowers, realizer) if hasattr(realizer, "lower") else None


def why_pinned(derivation: Derivation) -> str:
    """Say why a stage cannot leave as a derivation of its own; empty if it can."""
    recipe = recipe_of(derivation)
    if recipe is None:
        return "its realizer is Python code"
    if not recipe.deterministic(derivation.config):
        return "it was declared not deterministic"
    if not is_single(derivation.matcher):
        return f"{derivation.matcher!r} selects among its realizations"
    return ""
