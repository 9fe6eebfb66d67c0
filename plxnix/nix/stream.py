"""Export streams: what `nix-store --import` reads, made of paths computed here.

For each path: the number 1, its NAR, a magic number, the path, its references, its deriver and the
number 0; at the end the number 0. Numbers are 8 bytes, little-endian; strings as in a NAR. Source:
Nix manual, `nix-store --export`, and the behaviour of Nix 2.8 to 2.34.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plxnix.nix.nar import file_archive, string

_MAGIC = 0x4558494E


@dataclass(frozen=True)
class StoreFile:
    """A store path that is one file: a derivation, or a text that went in by `toFile`."""

    path: str
    contents: bytes
    references: tuple[str, ...] = ()


def export_stream(files: Iterable[StoreFile]) -> Iterator[bytes]:
    """Yield the export stream of store files, which come dependencies first.

    Paths that the store has already are passed over there. Nix checks the output paths of
    derivations, but not that a path fits its contents: whoever calls this has computed them.
    """
    for file in files:
        yield b"".join(
            [
                _number(1),
                file_archive(file.contents),
                _number(_MAGIC),
                string(file.path.encode()),
                _number(len(file.references)),
                *(string(one.encode()) for one in sorted(file.references)),
                string(b""),
                _number(0),
            ]
        )
    yield _number(0)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")
