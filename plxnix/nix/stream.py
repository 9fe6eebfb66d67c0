"""Export streams: what `nix-store --import` reads, made of paths computed here.

For each path: the number 1, its NAR, a magic number, the path, its references, its deriver and the
number 0; at the end the number 0. Numbers are 8 bytes, little-endian; strings as in a NAR. Source:
Nix manual, `nix-store --export`, and the behaviour of Nix 2.8 to 2.34.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from plxnix.nix.nar import dump, file_archive, string

_MAGIC = 0x4558494E


@dataclass(frozen=True)
class StoreFile:
    """A store path that is one file: a derivation, or a text that went in by `toFile`."""

    path: str
    contents: bytes
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreTree:
    """A store path that is a file or tree of this machine, at `place`: the output of a build.

    `references` may hold the path itself. `deriver` is the path of the `.drv` file.
    """

    path: str
    place: str | os.PathLike[str]
    references: tuple[str, ...] = ()
    deriver: str = ""


def export_stream(files: Iterable[StoreFile | StoreTree]) -> Iterator[bytes]:
    """Yield the export stream of store files and trees, which come dependencies first.

    Paths that the store has already are passed over there. Nix checks the output paths of
    derivations, but not that a path fits its contents: whoever calls this has computed them.
    """
    for file in files:
        yield _number(1)
        if isinstance(file, StoreTree):
            yield from dump(file.place)
        else:
            yield file_archive(file.contents)
        yield b"".join(
            [
                _number(_MAGIC),
                string(file.path.encode()),
                _number(len(file.references)),
                *(string(one.encode()) for one in sorted(file.references)),
                string(file.deriver.encode() if isinstance(file, StoreTree) else b""),
                _number(0),
            ]
        )
    yield _number(0)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")
