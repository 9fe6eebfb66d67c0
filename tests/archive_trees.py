"""Trees on disk as values to compare, and archives made member by member."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

__all__ = [
    "Entry",
    "Tree",
    "file",
    "folder",
    "hardlink",
    "pax",
    "snapshot",
    "symlink",
    "tar_bytes",
]

#: What a NAR tells of a tree: for each path below the top, kind, executable bit, contents.
Tree = dict[bytes, tuple[str, bool, bytes]]


def snapshot(root: Path) -> Tree:
    """Read a tree; links are not followed."""
    found: Tree = {}
    top = os.fsencode(root)
    for parent, folders, files in os.walk(top):
        for name in folders + files:
            path = os.path.join(parent, name)
            mode = os.lstat(path).st_mode
            if stat.S_ISLNK(mode):
                entry = ("symlink", False, os.readlink(path))
            elif stat.S_ISDIR(mode):
                entry = ("folder", False, b"")
            else:
                assert stat.S_ISREG(mode), path
                entry = ("file", bool(mode & 0o100), Path(os.fsdecode(path)).read_bytes())
            found[os.path.relpath(path, top)] = entry
    return found


Entry = tuple[tarfile.TarInfo, bytes]


def file(name: str, data: bytes = b"data", mode: int = 0o644, kind: bytes = b"0") -> Entry:
    """Describe a file, or whatever kind of member with contents."""
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    entry.size = len(data)
    entry.type = kind
    return entry, data


def folder(name: str, mode: int = 0o755) -> Entry:
    """Describe a folder."""
    return file(name, b"", mode, tarfile.DIRTYPE)


def symlink(name: str, target: str) -> Entry:
    """Describe a symbolic link."""
    entry, _ = file(name, b"", 0o777, tarfile.SYMTYPE)
    entry.linkname = target
    return entry, b""


def hardlink(name: str, target: str) -> Entry:
    """Describe a hard link."""
    entry, _ = file(name, b"", 0o644, tarfile.LNKTYPE)
    entry.linkname = target
    return entry, b""


def pax(entry: Entry, **records: str) -> Entry:
    """Give a member pax records, which override its header; `__` stands for a dot."""
    entry[0].pax_headers = {name.replace("__", "."): value for name, value in records.items()}
    return entry


def tar_bytes(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    """Return a tar archive of the members, in their order and unchecked."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for entry, data in entries:
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
