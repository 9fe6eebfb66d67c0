"""Records: what is known of a realization besides its artifacts.

A record is a JSON file beside the artifacts. Its context and NAR hash are covered by the
realization's hash, so they cannot be changed unseen; the rest (times, host, versions) is told, not
hashed, and two runs that give the same artifacts keep the first record.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any

from plxnix.errors import CorruptEntry, PlxnixError
from plxnix.model import HASH_LENGTH, Context, DRef, RRef

_encode: Callable[[Any], str] = json.JSONEncoder(sort_keys=True).encode


#: The same references stand in many records, and checking one costs as much as reading it.
_dref, _rref = lru_cache(1 << 14)(DRef.parse), lru_cache(1 << 16)(RRef.parse)


@dataclass(frozen=True)
class Record:
    """The record of one realization.

    `nar_hash` is in SRI form and `nar_size` in bytes, both of the NAR archive of the artifacts
    (Nix manual, "NAR"); `started` and `stopped` are seconds since the epoch; `index` is the place
    of this realization among those that one run of the realizer gave. `flat` says that the
    builder's output was a single file, which stands in the folder under the derivation's name.
    `nix` holds what a recipe knows about its path in a Nix store. `log` is the sha256 of the packed
    log in hex, empty where nothing was printed or the record is older than this field.
    """

    context: Mapping[DRef, tuple[RRef, ...]]
    nar_hash: str
    nar_size: int
    started: float = 0.0
    stopped: float = 0.0
    index: int = 0
    host: str = ""
    plxnix: str = ""
    python: str = ""
    flat: bool = False
    nix: Mapping[str, Any] = field(default_factory=dict)
    log: str = ""

    def text(self) -> bytes:
        """Write the record as JSON for people to read: one field a line, the first a checksum."""
        rest = self._text(("log",) if not self.log else ())
        return b'{\n "check": "%s",' % sha256(rest).hexdigest().encode() + rest.removeprefix(b"{")

    def wrote(self, text: bytes) -> bool:
        """Tell whether `text`, of which this record was read, is as it was written, to the byte.

        Older records have no checksum.
        """
        return text in (self.text(), self._text(("log",)))

    def _text(self, without: tuple[str, ...]) -> bytes:
        value = {**self.__dict__, "context": {k: list(v) for k, v in self.context.items()}}
        value["nix"] = dict(self.nix)
        # Not `indent`, with which Python's encoder is written in Python and ten times as slow.
        names = sorted(value.keys() - set(without))
        lines = (f'"{name}": {_encode(value[name])}' for name in names)
        return ("{\n " + ",\n ".join(lines) + "\n}\n").encode()

    @classmethod
    def parse(cls, text: bytes, path: str) -> Record:
        """Read a record; raise `CorruptEntry` naming `path` if it is not one."""
        try:
            value = json.loads(text.decode())
            context = value["context"]
            record = cls(
                **{
                    **{key: value[key] for key in value if key in _FIELDS},
                    "context": {
                        _dref(dref): tuple(map(_rref, rrefs)) for dref, rrefs in context.items()
                    },
                }
            )
            record._check()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            said = error.message if isinstance(error, PlxnixError) else f"{error!r}"
            raise CorruptEntry(
                f"the record {path} is damaged: {said}",
                "`plxnix verify` finds all damage; `plxnix rm` removes the realization",
                path,
            ) from None
        return record

    def _check(self) -> None:
        if not (isinstance(self.nar_hash, str) and self.nar_hash.startswith("sha256-")):
            raise ValueError(f"nar_hash is {self.nar_hash!r}")
        for name in ("nar_size", "index"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)!r}")
        for name in ("started", "stopped"):
            found = getattr(self, name)
            # No calendar has greater ones: 10 ** 12 is in 30,000 years.
            if type(found) not in (int, float) or not abs(found) < 1e12:
                raise ValueError(f"{name} is {found!r}")
        for name in ("host", "log", "plxnix", "python"):
            if not isinstance(getattr(self, name), str):
                raise ValueError(f"{name} is {getattr(self, name)!r}")
        if not isinstance(self.flat, bool):
            raise ValueError(f"flat is {self.flat!r}")
        if not isinstance(self.nix, dict):
            raise ValueError(f"nix is {self.nix!r}")


_FIELDS = frozenset(Record.__dataclass_fields__)


def rhash(dref: DRef, context: Context, nar_hash: str) -> str:
    """Compute the hash that names a realization: 32 hex digits.

    It is the head of the sha256 of three lines: the derivation's 32 hex digits, the direct context
    as canonical JSON, and the NAR hash of the artifacts in SRI form. The realizations in the
    context carry their own contexts in their hashes, so the whole provenance is fixed.
    """
    lines = (
        dref.dhash.encode(),
        canonical_context(context),
        nar_hash.encode(),
    )
    return sha256(b"\n".join(lines)).hexdigest()[:HASH_LENGTH]


def log_hash(log: bytes) -> str:
    """Return what a record says of its packed log."""
    return sha256(log).hexdigest() if log else ""


def canonical_context(context: Context) -> bytes:
    """Write a context as canonical JSON: derivations sorted, realizations in their order."""
    # References to realizations are refused in configs, so the text is made here and not there.
    return json.dumps(
        {str(dref): [str(rref) for rref in rrefs] for dref, rrefs in context.items()},
        sort_keys=True,
        separators=(",", ":"),
    ).encode()
