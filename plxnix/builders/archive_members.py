"""What may be in an archive: its members, the rules for their names, the limits for all of them.

A member's name is bytes, as in a NAR and on Linux; nothing here depends on the locale.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

#: How much is read and written at a time, in bytes.
PIECE = 1 << 20

#: What Linux allows for one component and for the target of a symbolic link (limits.h), in bytes.
COMPONENT_BYTES = 255
TARGET_BYTES = 4095

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


class RuleBroken(Exception):
    """A member is refused; the text is the rule. `unpack` turns it into `HostileArchive`.

    `member` is its name where the one who raises knows better than the one who catches.
    """

    def __init__(self, rule: str, member: bytes | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.member = member


@dataclass(frozen=True)
class Limits:
    """What an archive may cost before it is refused; the defaults fit any honest source archive.

    `members`: files, folders and links that are made, parents included. `bytes`: what is
    decompressed and written, in total. `depth`: components of a name. `ratio`: decompressed to
    compressed size; only looked at above `ratio_from` bytes, since small files of zeros compress
    well.
    """

    members: int = 1_000_000
    bytes: int = 64 << 30
    depth: int = 128
    ratio: int = 1000
    ratio_from: int = 1 << 30


@dataclass(frozen=True, slots=True)
class Member:
    """One member, ready to be written.

    `name` is as the archive has it, for messages; `path` the components that it was checked into,
    none for the top folder itself. `target` is the text of a symbolic link, or the name of the
    member that a hard link stands for. `pieces` are the contents of a file, to be read before the
    next member is asked for; `sparse` says that they have holes.
    """

    name: bytes
    path: tuple[bytes, ...]
    kind: Literal["file", "folder", "symlink", "hardlink"]
    executable: bool = False
    target: bytes = b""
    pieces: Iterable[bytes] = ()
    sparse: bool = False


class Budget:
    """Counts the bytes of an archive against its limits.

    `compressed` is the archive's own size in bytes.
    """

    def __init__(self, limits: Limits, compressed: int) -> None:
        self._left = limits.bytes
        # The one bound that counts is the smaller of the two, so it is computed once.
        by_ratio = max(limits.ratio_from, limits.ratio * compressed)
        self._rule = f"unpacks to more than {limits.bytes} bytes"
        if by_ratio < limits.bytes:
            self._left = by_ratio
            self._rule = f"unpacks to more than {limits.ratio} times its {compressed} bytes"

    def take(self, count: int) -> None:
        """Spend `count` bytes; raise `RuleBroken` when there are not as many left."""
        self._left -= count
        if self._left < 0:
            raise RuleBroken(self._rule)


def member_path(name: bytes, limits: Limits) -> tuple[bytes, ...]:
    """Split a member's name into components, or raise `RuleBroken`.

    Empty components and `.` are left out, as tar(1) and unzip(1) do; only `./` and the like give
    the empty path, which is the top folder. Backslashes, colons and names like `C:` mean nothing
    on Linux and are kept. Names are bytes that need not be UTF-8.
    """
    if not name:
        raise RuleBroken("its name is empty")
    if name.startswith(b"/"):
        raise RuleBroken("its name is absolute")
    if _CONTROL.search(name):
        raise RuleBroken("its name has a control character")
    path = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
    if b".." in path:
        raise RuleBroken("its name has a '..'")
    if len(path) > limits.depth:
        raise RuleBroken(f"its name is {len(path)} folders deep, more than {limits.depth}")
    for part in path:
        if len(part) > COMPONENT_BYTES:
            raise RuleBroken(
                f"its name has a component of {len(part)} bytes, more than {COMPONENT_BYTES}"
            )
    return path


def check_target(target: bytes) -> bytes:
    """Return the target of a symbolic link, or raise `RuleBroken` if Linux cannot hold it.

    Any text is allowed, also absolute or out of the tree, as with tar(1): it is data, and nothing
    that reads an archive or a store follows it.
    """
    if not target:
        raise RuleBroken("it is a symbolic link without a target")
    if b"\0" in target:
        raise RuleBroken("it is a symbolic link whose target has a NUL byte")
    if len(target) > TARGET_BYTES:
        raise RuleBroken(f"it is a symbolic link whose target is over {TARGET_BYTES} bytes")
    return target


def shown(name: bytes) -> str:
    """Return a name as it goes into a message: quoted, escaped, at most some 200 characters."""
    text = repr(name.decode("utf-8", "backslashreplace"))
    return text if len(text) <= 200 else f"{text[:120]}...{text[-60:]}"
