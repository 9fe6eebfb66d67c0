"""The words of a NAR, and the bounds on what is read."""

from __future__ import annotations

from typing import Final

#: The largest piece that is read, held in memory or given out: 1 MiB.
PIECE: Final = 1 << 20

#: Bounds on what is read: bytes of a name (NAME_MAX) and of a link's target (PATH_MAX), folders in
#: each other.
NAME_LIMIT: Final = 255
TARGET_LIMIT: Final = 4095
DEPTH_LIMIT: Final = 256


def string(data: bytes) -> bytes:
    """Return a string of the format: its length in 8 bytes, itself, zeros up to a multiple of 8."""
    return len(data).to_bytes(8, "little") + data + bytes(-len(data) % 8)


def _strings(*texts: str) -> bytes:
    return b"".join(string(text.encode()) for text in texts)


MAGIC: Final = _strings("nix-archive-1")
CLOSE: Final = _strings(")")
ENTRY: Final = _strings("entry")
NAME: Final = _strings("(", "name")
NODE: Final = _strings("node")
TYPE: Final = _strings("(", "type")
DIRECTORY: Final = _strings("directory")
REGULAR: Final = _strings("regular")
SYMLINK: Final = _strings("symlink")
TARGET: Final = _strings("target")
CONTENTS: Final = _strings("contents")
EXECUTABLE: Final = _strings("executable", "")
