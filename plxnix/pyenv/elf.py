"""ELF files: what a program or a shared library needs.

A reader of the few fields that the dynamic linker looks at (ELF gABI, "Dynamic Section"; ld.so(8)).
Nothing that is read is run or believed: every offset, count and length in a file has a bound.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO

from plxnix.errors import InvalidValue

#: Machines by number (ELF gABI): the name in folders of Debian, and that in images.
MACHINES = {
    3: ("i386-linux-gnu", "386"),
    21: ("powerpc64le-linux-gnu", "ppc64le"),
    22: ("s390x-linux-gnu", "s390x"),
    40: ("arm-linux-gnueabihf", "arm"),
    62: ("x86_64-linux-gnu", "amd64"),
    183: ("aarch64-linux-gnu", "arm64"),
    243: ("riscv64-linux-gnu", "riscv64"),
    258: ("loongarch64-linux-gnu", "loong64"),
}

_MAGIC = b"\x7fELF"
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _STRINGS_SIZE, _SONAME, _RPATH, _RUNPATH = 1, 5, 10, 14, 15, 29
_MOST_HEADERS, _MOST_NEEDED = 4096, 4096

#: How many bytes of one table are read.
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Elf:
    """What the dynamic linker reads of a file.

    `kind` is class, byte order and machine: a file can only use libraries of its own kind. `rpath`
    holds the folders of RUNPATH, or those of RPATH if there is none, as written. `interpreter` is
    the path of the dynamic linker, empty for a library.
    """

    kind: tuple[int, int, int]
    needed: tuple[str, ...] = ()
    soname: str = ""
    rpath: tuple[str, ...] = ()
    interpreter: str = ""

    @property
    def machine(self) -> int:
        """The number of the machine."""
        return self.kind[2]


def read_elf(path: str | os.PathLike[str]) -> Elf | None:
    """Read a file; None if it is no ELF file that can be run or loaded.

    Raises `InvalidValue` if it begins as one and is damaged, `OSError` if it cannot be read. Cost:
    a few kilobytes are read, however large the file is.
    """
    with open(path, "rb") as file:
        head = file.read(64)
        if not head.startswith(_MAGIC):
            return None
        try:
            return _Reader(file, head).read()
        except (struct.error, ValueError, OverflowError) as error:
            raise InvalidValue(
                f"{os.fspath(path)!r} is a damaged ELF file: {error}",
                "the file was cut or altered; fetch it again",
            ) from error


class _Reader:
    """The fields of one open file."""

    def __init__(self, file: BinaryIO, head: bytes) -> None:
        self.file = file
        self.head = head
        self.size = os.fstat(file.fileno()).st_size
        self.bits, order = self._expect(4, (1, 2)), self._expect(5, (1, 2))
        self.order = "<" if order == 1 else ">"
        self.kind = (self.bits, order, self._unpack("HH", head, 16)[1])
        self.segments: list[tuple[int, int, int, int]] = []

    def _expect(self, index: int, known: tuple[int, ...]) -> int:
        if len(self.head) < 52 or self.head[index] not in known:
            raise ValueError("its header is cut or of no known class")
        return self.head[index]

    def _unpack(self, form: str, data: bytes, offset: int) -> tuple[int, ...]:
        return struct.unpack_from(self.order + form, data, offset)

    def _at(self, offset: int, size: int) -> bytes:
        if size > MOST_BYTES:
            raise ValueError(f"{size} bytes of one table")
        if offset + size > self.size:
            raise ValueError(f"it ends before byte {offset + size}")
        self.file.seek(offset)
        return self.file.read(size)

    def read(self) -> Elf | None:
        wide = self.bits == 2
        if self._unpack("H", self.head, 16)[0] not in (2, 3):
            return None  # An object file, or a core dump.
        start = self._unpack("Q" if wide else "I", self.head, 32 if wide else 28)[0]
        size, count = self._unpack("HH", self.head, 54 if wide else 42)
        least = 56 if wide else 32
        if count and size < least:
            raise ValueError(f"program headers of {size} bytes")
        if count > _MOST_HEADERS:
            raise ValueError(f"{count} program headers")
        table = self._at(start, size * count)
        for index in range(count):
            base = index * size
            if wide:
                kind, _, offset, address, _, length = self._unpack("IIQQQQ", table, base)
            else:
                kind, offset, address, _, length = self._unpack("IIIII", table, base)
            self.segments.append((kind, offset, address, length))
        interpreter = ""
        for kind, offset, _, length in self.segments:
            if kind == _INTERPRETER:
                interpreter = self._string(self._at(offset, length), 0)
        for kind, offset, _, length in self.segments:
            if kind == _DYNAMIC:
                return self._dynamic(self._at(offset, length), interpreter)
        return Elf(self.kind, interpreter=interpreter)

    def _dynamic(self, table: bytes, interpreter: str) -> Elf:
        form, width = ("QQ", 16) if self.bits == 2 else ("II", 8)
        entries = []
        for base in range(0, len(table) - width + 1, width):
            tag, value = self._unpack(form, table, base)
            if tag == 0:
                break
            entries.append((tag, value))
        single = dict(entries)
        strings = b""
        if _STRINGS in single:
            strings = self._at(self._offset(single[_STRINGS]), single.get(_STRINGS_SIZE, 0))

        def text(tag: int) -> str:
            return self._string(strings, single[tag]) if tag in single else ""

        needed = [value for tag, value in entries if tag == _NEEDED]
        if len(needed) > _MOST_NEEDED:
            raise ValueError(f"{len(needed)} libraries needed")
        path = text(_RUNPATH) or text(_RPATH)
        return Elf(
            self.kind,
            tuple(self._string(strings, value) for value in needed),
            text(_SONAME),
            tuple(folder for folder in path.split(":") if folder),
            interpreter,
        )

    def _offset(self, address: int) -> int:
        for kind, offset, start, length in self.segments:
            if kind == _LOAD and start <= address < start + length:
                return offset + address - start
        raise ValueError(f"address {address:#x} is in no segment")

    @staticmethod
    def _string(data: bytes, start: int) -> str:
        end = data.find(b"\0", start)
        if not 0 <= start < len(data) or end < 0:
            raise ValueError("a string without an end")
        return os.fsdecode(data[start:end])
