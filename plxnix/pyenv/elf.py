"""Shared libraries: what an ELF file needs, and where this machine would find it.

A reader of the few fields that the dynamic linker looks at (ELF gABI, "Dynamic Section"; ld.so(8)).
Nothing that is read is run or believed: every offset, count and length in a file has a bound.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from plxnix.errors import InvalidValue

#: Folders that the dynamic linker looks into by itself, in the spellings of the distributions.
DEFAULT_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")

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
_MOST_HEADERS, _MOST_BYTES, _MOST_NEEDED = 4096, 1 << 26, 4096

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"


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
        if size > _MOST_BYTES:
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


@dataclass(frozen=True)
class Missing:
    """A library that a file needs and that is nowhere: `needed_by` is the file's path."""

    library: str
    needed_by: str


class System:
    """The libraries of a machine whose files are below `root` (this machine: `/`)."""

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self._cached: dict[str, list[str]] | None = None
        self._files: dict[str, Elf | None] = {}

    def find(self, library: str, elf: Elf, origin: str) -> str | None:
        """Return the path of a library that `elf`, a file in the folder `origin`, needs.

        None if it is not there. The order is that of ld.so(8), without LD_LIBRARY_PATH: the file's
        own folders, the cache, the default folders; what is of another kind is passed over.
        """
        candidates = [library] if "/" in library else self._candidates(library, elf, origin)
        for path in candidates:
            found = self.elf(path)
            if found is not None and found.kind == elf.kind:
                return path
        return None

    def elf(self, path: str) -> Elf | None:
        """Return what a file says; None if it is none, cannot be read or is damaged."""
        if path not in self._files:
            try:
                self._files[path] = read_elf(self.root.rstrip("/") + path)
            except (OSError, ValueError):
                self._files[path] = None
        return self._files[path]

    def closure(self, paths: Iterable[str]) -> tuple[list[str], list[Missing]]:
        """Return what these files need, directly or not, sorted, and what is missing.

        The dynamic linker of a program belongs to what it needs. Cost: a read for each file.
        """
        found: set[str] = set()
        missing: set[Missing] = set()
        left = list(paths)
        while left:
            path = left.pop()
            elf = self.elf(path)
            if elf is None:
                continue
            wanted = [elf.interpreter] if elf.interpreter else []
            for library in (*wanted, *elf.needed):
                place = self.find(library, elf, os.path.dirname(path))
                if place is None:
                    missing.add(Missing(library, path))
                elif place not in found:
                    found.add(place)
                    left.append(place)
        return sorted(found), sorted(missing, key=lambda one: (one.library, one.needed_by))

    def _candidates(self, library: str, elf: Elf, origin: str) -> Iterator[str]:
        for folder in elf.rpath:
            for name in ("$ORIGIN", "${ORIGIN}"):
                folder = folder.replace(name, origin)
            yield f"{os.path.normpath(folder)}/{library}"
        yield from self._cache().get(library, ())
        yield from (f"{folder}/{library}" for folder in self._folders(elf.machine))

    def unusual(self, paths: Iterable[str], machine: int) -> list[str]:
        """Return the folders of `paths` that only the cache leads to, sorted."""
        folders = {os.path.dirname(path) for path in paths}
        known = {os.path.dirname(path) for found in self._cache().values() for path in found}
        return sorted((folders & known) - set(self._folders(machine)))

    @staticmethod
    @lru_cache
    def _folders(machine: int) -> tuple[str, ...]:
        triplet = MACHINES.get(machine, ("", ""))[0]
        debian = (f"/lib/{triplet}", f"/usr/lib/{triplet}") if triplet else ()
        return (*debian, *DEFAULT_FOLDERS)

    def _cache(self) -> dict[str, list[str]]:
        if self._cached is None:
            try:
                with open(self.root.rstrip("/") + _CACHE, "rb") as file:
                    self._cached = read_cache(file.read(_MOST_BYTES))
            except OSError:
                self._cached = {}
        return self._cached


def read_cache(data: bytes) -> dict[str, list[str]]:
    """Read the dynamic linker's cache: paths by name, the preferred ones first.

    The format is glibc's, `sysdeps/generic/dl-cache.h`; what is not in it reads as nothing.
    """
    found: dict[str, list[str]] = {}
    base = data.find(_CACHE_MAGIC)
    order = "<"
    if base < 0 or len(data) < base + 48:
        return found
    count = struct.unpack_from("<I", data, base + 20)[0]
    if count > len(data) // 24:
        order, count = ">", struct.unpack_from(">I", data, base + 20)[0]
    for index in range(min(count, (len(data) - base - 48) // 24)):
        key, value = struct.unpack_from(f"{order}II", data, base + 48 + index * 24 + 4)
        name, path = (_text(data, base + start) for start in (key, value))
        # Variants for newer processors stand beside one that all of them can run.
        if name and path.startswith("/") and "/glibc-hwcaps/" not in path:
            found.setdefault(name, []).append(path)
    return found


def _text(data: bytes, start: int) -> str:
    end = data.find(b"\0", start, start + 4096)
    return os.fsdecode(data[start:end]) if 0 <= start < end else ""


def scan(
    tree: str | os.PathLike[str], system: System, loader: str = ""
) -> tuple[dict[str, Elf], list[Missing]]:
    """Look at every ELF file of a tree: by path in it, and which libraries are nowhere.

    A library counts as there if the file's own folders, any folder of the tree (packages load
    their own libraries before they are needed) or the machine has it, or if the program `loader`,
    which loads the files, has loaded it for itself. Links are not followed.
    Raises `InvalidValue` for a damaged file. Cost: one small read a file.
    """
    top = os.path.abspath(os.fspath(tree))
    files: dict[str, Elf] = {}
    for folder, folders, names in os.walk(top):
        folders.sort()
        for name in sorted(names):
            path = f"{folder}/{name}"
            if os.path.islink(path) or not os.path.isfile(path):
                continue
            elf = read_elf(path)
            if elf is not None:
                files[os.path.relpath(path, top)] = elf
    loaded = system.closure([loader])[0] if loader else []
    own = {(name, elf.kind) for path, elf in files.items() for name in _names(path, elf)}
    own |= {(os.path.basename(path), elf.kind) for path in loaded if (elf := system.elf(path))}
    missing = [
        Missing(library, path)
        for path, elf in files.items()
        for library in elf.needed
        if (library, elf.kind) not in own
        and system.find(library, elf, os.path.dirname(f"{top}/{path}")) is None
    ]
    return files, missing


def _names(path: str, elf: Elf) -> tuple[str, str]:
    return os.path.basename(path), elf.soname
