"""Layers of images: what files are in one, and its bytes as a tar archive.

The bytes depend on paths, contents and modes alone: order, owners, times and headers are fixed.
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from plxnix.errors import InvalidValue

#: The time of every file, as in the store.
TIME = 1

#: How many links one path may lead over, as in Linux.
_MOST_LINKS = 40


@dataclass(frozen=True)
class Entry:
    """One member: a folder, a link if it has a `target`, or a file: `source` or `data`."""

    kind: str
    mode: int = 0o755
    target: str = ""
    source: str = ""
    data: bytes = b""


class Layer:
    """Files of a layer, by absolute path in the image."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def folder(self, path: str, mode: int = 0o755) -> None:
        """Put a folder, and those above it, into the layer."""
        above = os.path.dirname(path)
        if above != "/":
            self.entries.setdefault(above, Entry("folder"))
            self.folder(above)
        self.entries[path] = Entry("folder", mode)

    def file(self, path: str, text: str) -> None:
        """Put a file of a text into the layer."""
        self.folder(os.path.dirname(path))
        self.entries[path] = Entry("file", 0o644, data=text.encode())

    def add(self, path: str) -> str:
        """Put a file, folder or link of this machine where it is, with each link on the way there.

        Of a folder only itself. Returns where the links lead to. Raises `OSError`.
        """
        left, done, links = path.split("/"), "", 0
        while left:
            part = left.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                done = os.path.dirname(done).rstrip("/")
                continue
            here = f"{done}/{part}"
            entry = self.entries[here] = self._entry(here, here, exact=False)
            if entry.kind == "link":
                links += 1
                if links > _MOST_LINKS:
                    raise InvalidValue(f"{path!r} leads over too many links", "is it a loop?")
                left = entry.target.split("/") + left
                done = "" if entry.target.startswith("/") else done
            else:
                done = here
        return done

    def add_folder(self, path: str, leave: Callable[[str], bool] = lambda _: False) -> None:
        """Put a folder of this machine where it is, with all in it and what links in it lead to.

        What `leave` says of a name is left out; so is what links lead to if it is not there.
        """
        top = self.add(path)
        for place in _walk(top, leave):
            entry = self.entries[place] = self._entry(place, place, exact=False)
            if entry.kind == "link" and os.path.exists(place):
                self.add(place)

    def copy(self, folder: str, at: str = "", exact: bool = False) -> None:
        """Put what is in `folder` below `at`, links as they are; `exact`: modes too."""
        if at:
            self.folder(at)
        for place in _walk(folder):
            path = at + place[len(folder.rstrip("/")) :]
            mode = os.lstat(place).st_mode
            if stat.S_ISDIR(mode) or stat.S_ISREG(mode) or stat.S_ISLNK(mode):
                self.entries[path] = self._entry(place, path, exact)

    def _entry(self, place: str, path: str, exact: bool) -> Entry:
        if os.path.basename(path).startswith(".wh."):
            raise InvalidValue(
                f"the name of {place!r} means that a file is deleted, in a layer of an image",
                "rename the file, or leave the package out",
            )
        mode = os.lstat(place).st_mode
        if stat.S_ISLNK(mode):
            return Entry("link", 0o777, target=os.readlink(place))
        plain = 0o755 if stat.S_ISDIR(mode) or mode & 0o100 else 0o644
        bits = stat.S_IMODE(mode) if exact else plain
        return Entry("folder", bits) if stat.S_ISDIR(mode) else Entry("file", bits, source=place)

    def write(self, stream: BinaryIO) -> None:
        """Write the layer as a tar archive; memory does not grow with the files."""
        with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path in sorted(self.entries, key=lambda one: one.split("/")):
                entry = self.entries[path]
                member = _member(path[1:], entry.mode)
                if entry.kind == "file":
                    with _contents(entry) as contents:
                        member.size = contents.seek(0, os.SEEK_END)
                        contents.seek(0)
                        archive.addfile(member, contents)
                    continue
                member.type = tarfile.DIRTYPE if entry.kind == "folder" else tarfile.SYMTYPE
                member.linkname = entry.target
                archive.addfile(member)


def _member(name: str, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = mode, TIME
    return member


def _contents(entry: Entry) -> BinaryIO:
    return open(entry.source, "rb") if entry.source else io.BytesIO(entry.data)


def _walk(top: str, leave: Callable[[str], bool] = lambda _: False) -> Iterator[str]:
    for folder, folders, names in os.walk(top, onerror=_raise):
        folders[:] = [name for name in folders if not leave(name)]
        for name in (*folders, *(name for name in names if not leave(name))):
            yield f"{folder.rstrip('/')}/{name}"


def _raise(error: OSError) -> None:
    raise error


def read_archive(stream: BinaryIO, name: str) -> dict[str, Entry]:
    """Return what a tar archive of a root file system has, by absolute path, without contents.

    Raises `InvalidValue` if it is none, or an image instead.
    """
    found: dict[str, Entry] = {}
    kinds = {tarfile.DIRTYPE: "folder", tarfile.SYMTYPE: "link"}
    try:
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                path = os.path.normpath("/" + member.name)
                target = member.linkname if member.issym() else ""
                found[path] = Entry(kinds.get(member.type, "file"), member.mode, target)
    except tarfile.TarError as error:
        raise InvalidValue(
            f"the base {name!r} is no tar archive: {error}",
            "give the archive of a root file system, such as `docker export` writes, or a folder",
        ) from error
    if {"/oci-layout", "/manifest.json"} & set(found):
        raise InvalidValue(
            f"the base {name!r} is an image, not a root file system",
            "unpack it by running it: `docker create`, then `docker export`",
        )
    return found


def resolve(entries: Mapping[str, Entry], path: str) -> Entry | None:
    """Follow the links of a layer to what is at `path`; None if there is nothing."""
    left, done, links = path.split("/"), "", 0
    entry: Entry | None = Entry("folder")
    while left:
        part = left.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            done = os.path.dirname(done).rstrip("/")
            continue
        entry = entries.get(f"{done}/{part}")
        links += 1
        if entry is None or links > _MOST_LINKS * 8:
            return None
        if entry.kind == "link":
            left = entry.target.split("/") + left
            done = "" if entry.target.startswith("/") else done
        else:
            done = f"{done}/{part}"
    return entry
