"""Shared libraries: where this machine would find what files need (ld.so(8))."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from plxnix.pyenv.elf import MACHINES, MOST_BYTES, Elf, read_elf

#: Folders that the dynamic linker looks into by itself, in the spellings of the distributions.
DEFAULT_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib", "/usr/local/lib")

_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"


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
                    self._cached = read_cache(file.read(MOST_BYTES))
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
