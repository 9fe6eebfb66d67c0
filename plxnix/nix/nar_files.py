"""The NAR hash of a folder whose files are given one by one, as who writes them knows them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from plxnix.errors import NixFormatError
from plxnix.nix.hashes import Hash
from plxnix.nix.nar_words import (
    CLOSE,
    CONTENTS,
    DIRECTORY,
    ENTRY,
    EXECUTABLE,
    MAGIC,
    NAME,
    NODE,
    REGULAR,
    TYPE,
    string,
)

__all__ = ["files_hash", "nar_order"]


def nar_order(path: bytes) -> list[bytes]:
    """Return the key by which an archive sorts the paths of files."""
    return path.split(b"/")


def files_hash(files: Iterable[tuple[bytes, bool, bytes]]) -> tuple[Hash, int]:
    """Return what `nar_hash` returns for a folder with these files and no other entries.

    A file is its path below the folder, whether it is executable, and its contents; they come in
    the order of `nar_order`. Raises `NixFormatError` if they do not.
    """
    state = hashlib.sha256(MAGIC + TYPE + DIRECTORY)
    size = len(MAGIC + TYPE + DIRECTORY)
    tail = b""
    opened: list[bytes] = []
    before: list[bytes] = []
    for path, executable, contents in files:
        parts = nar_order(path)
        if parts <= before or (before and parts[: len(before)] == before):
            raise NixFormatError(f"{path!r} does not come after {b'/'.join(before)!r}")
        before = parts
        *folders, name = parts
        common = 0
        while common < min(len(opened), len(folders)) and opened[common] == folders[common]:
            common += 1
        head = tail + (CLOSE + CLOSE) * (len(opened) - common)
        for folder in folders[common:]:
            head += ENTRY + NAME + string(folder) + NODE + TYPE + DIRECTORY
        opened = folders
        head += ENTRY + NAME + string(name) + NODE + TYPE + REGULAR
        head += (EXECUTABLE if executable else b"") + CONTENTS
        head += len(contents).to_bytes(8, "little")
        state.update(head)
        state.update(contents)
        size += len(head) + len(contents)
        tail = bytes(-len(contents) % 8) + CLOSE + CLOSE
    tail += (CLOSE + CLOSE) * len(opened) + CLOSE
    state.update(tail)
    return Hash("sha256", state.digest()), size + len(tail)
