"""The words of plxnix as values: names, references, refpaths, contexts.

References are strings, so that they go into JSON, file names and f-strings as they are. Two
functions make them from text that may be wrong, `DRef.parse` and `RRef.parse`; the plain
constructors trust their argument and are for code that has just computed it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from plxnix.errors import InvalidName, InvalidReference, InvalidRefpath, InvalidValue

#: Nix's rule for the name of a derivation (Nix manual, "Store paths"), in the form that every
#: version since 2.8 accepts: 207 bytes at most, so that `.drv` still fits into the 211 of a store
#: path.
NAME_RULE: Final = r"[0-9A-Za-z+_?=-][0-9A-Za-z+._?=-]{0,206}"

#: Hex digits of a hash that are kept in a reference: 128 bits.
HASH_LENGTH: Final = 32

#: How many of them people are shown.
SHORT_LENGTH: Final = 12

_NAME = re.compile(NAME_RULE)
_DREF = re.compile(rf"dref:([0-9a-f]{{{HASH_LENGTH}}})-({NAME_RULE})")
_RREF = re.compile(rf"rref:([0-9a-f]{{{HASH_LENGTH}}})-([0-9a-f]{{{HASH_LENGTH}}})-({NAME_RULE})")

#: A reference inside a longer string, as an f-string leaves it: the name runs as far as it can.
MENTION: Final = re.compile(rf"dref:[0-9a-f]{{{HASH_LENGTH}}}-[0-9A-Za-z+._?=-]+")

#: The same for a reference to a realization.
RREF_MENTION: Final = re.compile(
    rf"rref:[0-9a-f]{{{HASH_LENGTH}}}-[0-9a-f]{{{HASH_LENGTH}}}-[0-9A-Za-z+._?=-]"
)

_NAME_HELP = (
    "use 1 to 207 of the letters A-Z a-z, the digits and + - . _ ? =, not starting with a dot and "
    "not ending in .drv"
)


class Name(str):
    """The name of a stage: what follows the hash in a reference and in a Nix store path."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Name:
        """Check `text` against Nix's rule for names.

        Raises `InvalidName`. The rule is `NAME_RULE`, and a name does not end in `.drv`.
        """
        if not isinstance(text, str) or not _NAME.fullmatch(text) or text.endswith(".drv"):
            raise InvalidName(f"not a name for a stage: {text!r}", _NAME_HELP)
        return cls(text)


class DRef(str):
    """A reference to a derivation, `dref:<32 hex>-<name>`.

    The digits are the head of the sha256 of the derivation's canonical config. `dref / "a" / "b"`
    is the refpath of a file in its realization.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> DRef:
        """Check that `text` has the form of a derivation reference; raise `InvalidReference`."""
        if not isinstance(text, str) or not _DREF.fullmatch(text):
            raise InvalidReference(
                f"not a derivation reference: {text!r}",
                "it looks like dref:0123456789abcdef0123456789abcdef-name; `plxnix ls` lists them",
            )
        return text if isinstance(text, DRef) else cls(text)

    @classmethod
    def make(cls, dhash: str, name: str) -> DRef:
        """Join a hash of 32 hex digits and a name."""
        return cls(f"dref:{dhash}-{name}")

    @property
    def dhash(self) -> str:
        """The 32 hex digits."""
        return self[5 : 5 + HASH_LENGTH]

    @property
    def short(self) -> str:
        """The digits that people are shown: the first twelve, which name a target as well."""
        return self[5 : 5 + SHORT_LENGTH]

    @property
    def name(self) -> Name:
        """The name after the hash."""
        return Name(self[6 + HASH_LENGTH :])

    def __truediv__(self, part: str) -> RefPath:
        return RefPath.make(self, [part])


class RRef(str):
    """A reference to a realization, `rref:<32 hex>-<32 hex>-<name>`.

    The first hash covers the derivation, the direct context and the artifacts; the second hash and
    the name are the derivation's own.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> RRef:
        """Check that `text` has the form of a realization reference; raise `InvalidReference`."""
        if not isinstance(text, str) or not _RREF.fullmatch(text):
            raise InvalidReference(
                f"not a realization reference: {text!r}",
                "it looks like rref:<32 hex>-<32 hex>-name; `plxnix ls` lists them",
            )
        return text if isinstance(text, RRef) else cls(text)

    @classmethod
    def make(cls, rhash: str, dref: DRef) -> RRef:
        """Join the hash of a realization and the reference of its derivation."""
        return cls(f"rref:{rhash}-{dref[5:]}")

    @property
    def rhash(self) -> str:
        """The 32 hex digits that tell this realization from its competitors."""
        return self[5 : 5 + HASH_LENGTH]

    @property
    def short(self) -> str:
        """The digits that people are shown: the first twelve, which name a target as well."""
        return self[5 : 5 + SHORT_LENGTH]

    @property
    def dref(self) -> DRef:
        """The derivation of which this is a realization."""
        return DRef("dref:" + self[6 + HASH_LENGTH :])

    @property
    def name(self) -> Name:
        """The derivation's name."""
        return Name(self[7 + 2 * HASH_LENGTH :])


class SelfRef(str):
    """The type of `selfref` and `claim`: stands for the derivation that is being written."""

    __slots__ = ()

    def __truediv__(self, part: str) -> RefPath:
        return RefPath.make(self, [part])


#: The head of a promise: `[selfref, "model.npy"]` says that the realizer will produce `model.npy`.
selfref: Final = SelfRef("__self__")

#: An older name of `selfref`.
promise: Final = selfref

#: The head of a claim: `[claim, "trace.txt"]` says that the realizer may produce `trace.txt`. It
#: is resolved as a promise is, but nobody checks it.
claim: Final = SelfRef("__claim__")


class RefPath(list[str]):
    """A place inside a realization: `[dref, "dir", "file"]`, or a promise, `[selfref, "file"]`.

    It is a plain list in a config. What the class adds: `refpath / "part"`, and a form in f-strings
    (`dref:...-name/dir/file`) that keeps the reference findable. Cost: one check a part.
    """

    __slots__ = ()

    @classmethod
    def make(cls, head: str, parts: Iterable[str] = ()) -> RefPath:
        """Build a refpath from a reference (or `selfref`) and the parts of a relative path.

        Raises `InvalidRefpath` if a part is no string, is empty, holds NUL, is absolute, or has a
        component `.` or `..`: a refpath cannot lead out of its realization.
        """
        path = cls([head])
        for part in parts:
            path.append(_part(part))
        return path

    def __truediv__(self, part: str) -> RefPath:
        return RefPath([*self, _part(part)])

    def __str__(self) -> str:
        return "/".join(self)

    def __format__(self, specification: str) -> str:
        return format(str(self), specification)


def _part(part: object) -> str:
    if not isinstance(part, str):
        raise InvalidRefpath(f"a part of a refpath is not a string: {part!r}", "write it as text")
    if "\0" in part or any(piece in ("", ".", "..") for piece in part.split("/")):
        raise InvalidRefpath(
            f"a refpath cannot have the part {part!r}",
            "parts are relative and not empty, without NUL, '.' or '..': [dref, 'dir', 'file']",
        )
    return str(part)


#: Which realizations of each direct dependency a realization was made from, in the matcher's order.
Context: TypeAlias = Mapping[DRef, Sequence[RRef]]


def isdref(value: Any) -> bool:
    """Tell whether `value` is text in the form of a derivation reference."""
    return isinstance(value, str) and _DREF.fullmatch(value) is not None


def isrref(value: Any) -> bool:
    """Tell whether `value` is text in the form of a realization reference."""
    return isinstance(value, str) and _RREF.fullmatch(value) is not None


def isrefpath(value: Any) -> bool:
    """Tell whether `value` is a list of a derivation reference and at least one part of a path.

    `[dref]` and `[dref, dref]` are lists of references, not refpaths.
    """
    return (
        isinstance(value, list)
        and len(value) > 1
        and isdref(value[0])
        and all(isinstance(part, str) and not isdref(part) for part in value[1:])
    )


def isselfpath(value: Any) -> bool:
    """Tell whether `value` is a promise or a claim: strings headed by `selfref` or `claim`."""
    return (
        isinstance(value, list)
        and bool(value)
        and value[0] in (selfref, claim)
        and all(isinstance(part, str) for part in value)
    )


def mkname(text: str) -> Name:
    """Check `text` and return it as a name; raise `InvalidName`."""
    return Name.parse(text)


def mkrefpath(dref: str, items: Sequence[str] = ()) -> RefPath:
    """Build the refpath `[dref, *items]`; raise `InvalidReference` or `InvalidRefpath`."""
    return RefPath.make(DRef.parse(dref), items)


def rref_list(references: object) -> list[RRef]:
    """Check a list of realization references; raise `InvalidReference`."""
    if isinstance(references, str) or not isinstance(references, Iterable):
        raise InvalidReference(
            f"not a list of realization references: {references!r:.80}", "for one give [rref]"
        )
    return [RRef.parse(reference) for reference in references]


def path_text(path: object, what: str) -> str:
    """Return a path as text; raise `InvalidValue`, which says `what` it is of, for no path."""
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str) or "\0" in path:
        raise InvalidValue(f"{what} is {path!r:.80}", "give a path, as text or as pathlib.Path")
    return path


def rref2dref(rref: str) -> DRef:
    """Return the derivation that `rref` is a realization of; raise `InvalidReference`."""
    return RRef.parse(rref).dref
