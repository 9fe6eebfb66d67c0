"""Pylightnix's hashes of data, files, folders, code and dicts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from plxnix.codehash import codehash
from plxnix.compat.pylightnix.errors import check, door
from plxnix.compat.pylightnix.types import Hash
from plxnix.store import tree


def encode(s: str, encoding: str = "utf-8") -> bytes:
    """Return text as bytes."""
    return s.encode(encoding)


def datahash(data: Iterable[tuple[str, bytes]], verbose: bool = False) -> Hash:
    """Return the sha256 of pieces of data, each with a word about it that is not hashed."""
    del verbose
    found = sha256()
    for _, piece in data:
        found.update(piece)
    return Hash(found.hexdigest())


def dirhash_iter(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield what `dirhash` hashes: files in sorted order, and where links lead."""
    check(os.path.isdir(path), f"dirhash() wants a folder, not {path!r}")
    for root, subfolders, files in os.walk(os.path.abspath(path)):
        subfolders.sort()
        for name in sorted(files):
            if name.startswith("_"):
                continue
            place = os.path.join(root, name)
            if os.path.islink(place):
                yield f"link:{place}", encode(os.readlink(place))
            if os.path.isfile(place):
                with open(place, "rb") as file:
                    while piece := file.read(tree.SMALL):
                        yield place, piece


def dirshash(paths: Iterable[str], verbose: bool = False) -> Hash:
    """Return Pylightnix's hash of several folders."""
    return datahash((piece for path in paths for piece in dirhash_iter(path)), verbose)


def dirhash(path: str, verbose: bool = False) -> Hash:
    """Return Pylightnix's hash of a folder: the sha256 of its files' bytes, one after another.

    Names, boundaries, empty folders and files that begin with `_` do not count, so different
    folders may have one hash. Nothing in plxnix rests on it: realizations are named by the hash of
    their archives.
    """
    return dirshash([path], verbose)


def filehash(path: str) -> Hash:
    """Return the sha256 of a file."""
    check(os.path.isfile(path), f"filehash() wants a file, not {path!r}")
    with open(path, "rb") as file:
        return datahash((path, piece) for piece in iter(lambda: file.read(tree.SMALL), b""))


@door()
def pyobjhash(pyobjs: list[Any]) -> Hash:
    """Return the hash of functions' code; it is the same in every process."""
    return Hash(codehash(pyobjs))


def dicthash(d: dict[Any, Any]) -> Hash:
    """Return a hash of a dict, of which fields that begin with `_` are no part."""
    fields = (f"{key}={value}" for key, value in sorted(d.items()) if key and key[0] != "_")
    return Hash(sha256("_".join(fields).encode(errors="surrogatepass")).hexdigest())


__all__ = [
    "datahash",
    "dicthash",
    "dirhash",
    "dirhash_iter",
    "dirshash",
    "encode",
    "filehash",
    "pyobjhash",
]
