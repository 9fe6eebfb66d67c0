"""Layers: files that hold others, as archives and compressed files do, opened to be compared.

What makes such a file differ is seldom seen in its bytes: a time in a head, an order, one member.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

#: Files that are longer, or hold more, are not looked into.
LONGEST: Final = 32 << 20


@dataclass(frozen=True)
class Layer:
    """What a file holds: a `listing`, one line a fact or member, and the members by name.

    `kind` is what people call it, and `hint` how to make the listing the same each time.
    """

    kind: str
    listing: list[str]
    members: dict[str, bytes]
    hint: str


class _Members(dict[str, bytes]):
    """Members by name, with a number where one before has it, as in libraries of objects."""

    _held = 0

    def take(self, name: str, read: Callable[[int], bytes]) -> _Members:
        """Read one more, and return all; raise `ValueError` if that is more than may be held."""
        data = read(LONGEST - self._held + 1)
        self._held += len(data)
        if self._held > LONGEST:
            raise ValueError("too much is in it")
        self[f"{name} ({len(self)})" if name in self else name] = data
        return self


GZIP: Final = "gzip writes the time into its head: `gzip -n`, or `tar ... | gzip -n`"
AR: Final = "an archive of ar holds times and owners: `ar D`, `ranlib -D`"
ZIP: Final = "a zip file holds the times of its files: set them with `touch -d @1` before"
TAR: Final = (
    "tar keeps the order, times and owners of files: "
    "`tar --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner`"
)


def opened(data: bytes) -> Layer | None:
    """Return what a file holds; None if it holds no others, is damaged or too large."""
    if len(data) <= LONGEST:
        for begins, place, read in _KINDS:
            if data.startswith(begins, place):
                try:
                    return read(data)
                except Exception:  # noqa: BLE001  damage shows itself in many ways
                    return None
    return None


def _gzip(data: bytes) -> Layer:
    import gzip

    head = [
        f"time {_time(int.from_bytes(data[4:8], 'little'))}",
        f"flags {data[3]} {data[8]} {data[9]}",
    ]
    if data[3] & 8 and not data[3] & 4:
        head.append(f"name {data[10 : data.index(0, 10)].decode('latin-1')!r}")
    return Layer("gzip", head, _Members().take("", gzip.open(io.BytesIO(data)).read), GZIP)


def _bzip2(data: bytes) -> Layer:
    import bz2

    return Layer("bzip2", [], _Members().take("", bz2.open(io.BytesIO(data)).read), "")


def _xz(data: bytes) -> Layer:
    import lzma

    return Layer("xz", [], _Members().take("", lzma.open(io.BytesIO(data)).read), "")


def _tar(data: bytes) -> Layer:
    import tarfile

    listing, members = [], _Members()
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        for one in archive:
            owner = f"{one.uid}/{one.gid} {one.uname}/{one.gname}"
            link = f" -> {one.linkname}" if one.linkname else ""
            listing.append(f"{one.mode:04o} {owner} {one.size} {_time(one.mtime)} {one.name}{link}")
            if one.isreg() and (file := archive.extractfile(one)):
                members.take(one.name, file.read)
    return Layer("tar", listing, members, TAR)


def _zip(data: bytes) -> Layer:
    import zipfile

    listing, members = [], _Members()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for one in archive.infolist():
            if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError("zipfile expands other kinds at once, however much that is")
            when = "{:04}-{:02}-{:02} {:02}:{:02}:{:02}".format(*one.date_time)
            mode = f"{one.external_attr >> 16 & 0o7777:04o}"
            listing.append(f"{mode} {one.file_size} {when} {one.filename}")
            with archive.open(one) as file:
                members.take(one.filename, file.read)
    return Layer("zip", listing, members, ZIP)


def _ar(data: bytes) -> Layer:
    listing, members, place = [], _Members(), 8
    while place < len(data):
        name, when, user, group, mode, size = (
            data[place + begin : place + end].decode("ascii").strip()
            for begin, end in ((0, 16), (16, 28), (28, 34), (34, 40), (40, 48), (48, 58))
        )
        listing.append(f"{mode} {user}/{group} {size} {_time(int(when or 0))} {name}")
        if not size.isdigit():  # one below 0 would lead back to where we are
            raise ValueError("damaged")
        place += 60
        members.take(name, io.BytesIO(data[place : place + int(size)]).read)
        place += int(size) + int(size) % 2
    return Layer("ar", listing, members, AR)


_KINDS: Final[tuple[tuple[bytes, int, Callable[[bytes], Layer]], ...]] = (
    (b"\x1f\x8b\x08", 0, _gzip),
    (b"BZh", 0, _bzip2),
    (b"\xfd7zXZ\0", 0, _xz),
    (b"PK\3\4", 0, _zip),
    (b"!<arch>\n", 0, _ar),
    (b"ustar", 257, _tar),
)


def _time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def differing(one: Layer, two: Layer) -> str | None:
    """Return the name of the first member that both have and that differs."""
    pairs = ((name, data, two.members.get(name, data)) for name, data in one.members.items())
    return next((name for name, mine, other in pairs if mine != other), None)
