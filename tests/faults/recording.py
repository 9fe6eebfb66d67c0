"""What a workflow did to the disk, as strace saw it, and what a power cut may leave of it.

The recording knows every change of every file and folder in its order, and what was flushed by
then. A cut keeps what was flushed; of the rest it keeps what a file system may have kept.
"""

from __future__ import annotations

import os
import random
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

#: What is traced, beside reading: the changes, and where in a file they are.
TRACED = (
    "openat,write,pwrite64,lseek,ftruncate,sendfile,copy_file_range,rename,renameat,renameat2,"
    "link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,chmod,fchmod,fchmodat,"
    "fsync,fdatasync,syncfs"
)
OPTIONS = ("-xx", "-s", str(1 << 24), "-e", f"trace={TRACED}")

_LINE = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_TOKEN = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|(-?\w+)<((?:\\x[0-9a-f]{2}|[^>])*)>')


@dataclass
class Inode:
    """A file, a link or a folder with its history; `index` is that of the system call."""

    kind: str
    target: bytes = b""
    #: Of a file: (index, offset, bytes), or (index, length, None) where it is cut.
    writes: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    #: Of a folder: (index, name, what it names from then on, or None).
    entries: list[tuple[int, bytes, Inode | None]] = field(default_factory=list)
    modes: list[tuple[int, int]] = field(default_factory=list)
    flushed: list[int] = field(default_factory=list)

    def names(self) -> dict[bytes, Inode]:
        """Return what a folder holds now."""
        found: dict[bytes, Inode] = {}
        for _, name, inode in self.entries:
            _put(found, name, inode)
        return found

    def content(self) -> bytes:
        """Return what a file holds now."""
        return _written(self.writes)


class Recording:
    """The history of everything below `top`, from a log of strace; `calls` is how long it is."""

    def __init__(self, top: str, before: str, log: str) -> None:
        """Read the log; `before` is a copy of what was at `top` at the beginning."""
        self.top = top
        self.root = _read(before)
        self.calls = 0
        self._open: dict[int, tuple[Inode, int]] = {}
        with open(log, encoding="latin-1") as lines:
            for line in lines:
                match = _LINE.match(line)
                if match is None:
                    raise ValueError(f"this line of strace is not understood: {line[:200]!r}")
                if int(match[4]) >= 0:
                    self._replay(match[2], match[3], int(match[4]))

    def _find(self, path: bytes) -> Inode | None:
        top = os.fsencode(self.top)
        if path == top:
            return self.root
        if not path.startswith(top + b"/"):
            return None
        inode: Inode | None = self.root
        for part in path[len(top) + 1 :].split(b"/"):
            inode = inode.names().get(part) if inode is not None else None
        return inode

    def _name(self, path: bytes, inode: Inode | None) -> None:
        """Let a path be the name of an inode from now on, or of nothing."""
        folder, _, name = path.rstrip(b"/").rpartition(b"/")
        parent = self._find(folder)
        if parent is not None:
            parent.entries.append((self.calls, name, inode))

    def _replay(self, call: str, arguments: str, result: int) -> None:
        self.calls += 1
        index = self.calls
        paths, strings, numbers = _tokens(arguments)
        if call == "openat":
            self._opened(paths[0], arguments, result)
        elif call in ("write", "pwrite64", "lseek", "ftruncate", "fsync", "fdatasync"):
            self._on_descriptor(call, arguments, numbers[0], strings, result)
        elif call == "sendfile" or call == "copy_file_range":
            self._copied(call, arguments, numbers, result)
        elif call == "syncfs":
            for one in self.inodes():
                one.flushed.append(index)
        elif call in ("mkdir", "mkdirat"):
            mode = int(arguments.rsplit(", ", 1)[1], 8)
            self._name(paths[0], Inode("folder", modes=[(index, mode & ~0o022)]))
        elif call in ("symlink", "symlinkat"):
            self._name(paths[-1], Inode("link", target=strings[0]))
        elif call in ("unlink", "unlinkat", "rmdir"):
            self._name(paths[0], None)
        elif call in ("rename", "renameat", "renameat2"):
            moved = self._find(paths[0]) or Inode("file")
            self._name(paths[0], None)
            self._name(paths[1], moved)
        elif call in ("link", "linkat"):
            self._name(paths[1], self._find(paths[0]) or Inode("file"))
        elif call in ("chmod", "fchmod", "fchmodat"):
            mode = int(re.findall(r", (0\d*)", arguments)[-1], 8)
            inode = self._find(paths[0])
            if inode is not None:
                inode.modes.append((index, mode))

    def _opened(self, path: bytes, arguments: str, descriptor: int) -> None:
        self._open.pop(descriptor, None)
        inode = self._find(path)
        if inode is None and "O_CREAT" in arguments:
            mode = int(arguments.rsplit(", ", 1)[1], 8)
            inode = Inode("file", modes=[(self.calls, mode & ~0o022)])
            self._name(path, inode)
        if inode is not None:
            if "O_TRUNC" in arguments:
                inode.writes.append((self.calls, 0, None))
            self._open[descriptor] = inode, 0

    def _on_descriptor(
        self, call: str, arguments: str, descriptor: int, strings: list[bytes], result: int
    ) -> None:
        if descriptor not in self._open:
            return
        inode, offset = self._open[descriptor]
        if call == "write":
            inode.writes.append((self.calls, offset, strings[0][:result]))
            self._open[descriptor] = inode, offset + result
        elif call == "pwrite64":
            place = int(arguments.rsplit(", ", 1)[1])
            inode.writes.append((self.calls, place, strings[0][:result]))
        elif call == "lseek":
            self._open[descriptor] = inode, result
        elif call == "ftruncate":
            inode.writes.append((self.calls, int(arguments.rsplit(", ", 1)[1]), None))
        else:
            inode.flushed.append(self.calls)

    def _copied(self, call: str, arguments: str, numbers: list[int], result: int) -> None:
        target, source = (0, 1) if call == "sendfile" else (1, 0)
        if numbers[target] not in self._open:
            return
        inode, offset = self._open[numbers[target]]
        path = _tokens(arguments)[0][source]
        found = self._find(path)
        data = found.content() if found is not None else Path(os.fsdecode(path)).read_bytes()
        # What is copied is read from its beginning, and goes to the same place.
        inode.writes.append((self.calls, offset, data[offset : offset + result]))
        self._open[numbers[target]] = inode, offset + result

    # -- cuts ----------------------------------------------------------------------------------

    def cut(self, place: str, index: int, ordered: bool, chance: random.Random) -> None:
        """Write to `place` what may be left if the power goes after `index` calls.

        Where names are `ordered` they are kept up to some call, at least up to the last flush of
        anything, as journaling file systems do it. Else each name that was not flushed with its
        folder may be kept or not, which is all that POSIX says. Bytes that were not flushed may be
        there, or not, or be zeros, or stop anywhere.
        """
        kept = chance.randint(self._last_flush(index), index) if ordered else None
        _write(self.root, place, Cut(index, kept, chance))

    def inodes(self) -> list[Inode]:
        """Return all that there is or was."""
        waiting, seen = [self.root], {id(self.root): self.root}
        while waiting:
            for _, _, one in waiting.pop().entries:
                if one is not None and id(one) not in seen:
                    seen[id(one)] = one
                    waiting.append(one)
        return list(seen.values())

    def _last_flush(self, index: int) -> int:
        flushes = [one for inode in self.inodes() for one in inode.flushed if one <= index]
        return max(flushes, default=0)


@dataclass(frozen=True)
class Cut:
    """A power cut after `index` calls; names are `kept` up to a call, or at random if None."""

    index: int
    kept: int | None
    chance: random.Random

    def names(self, folder: Inode) -> dict[bytes, Inode]:
        """Return what a folder holds afterwards."""
        safe = self._safe(folder) if self.kept is None else self.kept
        found: dict[bytes, Inode] = {}
        for index, name, inode in folder.entries:
            if index <= safe or (
                self.kept is None and index <= self.index and self.chance.random() < 0.5
            ):
                _put(found, name, inode)
        return found

    def content(self, file: Inode) -> bytes:
        """Return what a file holds afterwards."""
        safe = self._safe(file)
        flushed = _written([one for one in file.writes if one[0] <= safe])
        whole = _written([one for one in file.writes if one[0] <= self.index])
        if flushed == whole:
            return whole
        return self.chance.choice(
            [
                flushed,
                whole,
                flushed + bytes(max(0, len(whole) - len(flushed))),
                whole[: self.chance.randint(0, len(whole))],
                b"",
            ]
        )

    def mode(self, inode: Inode) -> int:
        """Return the mode that a file or folder has afterwards."""
        safe = self._safe(inode) if self.kept is None else self.kept
        first, *later = [mode for _, mode in inode.modes] or [0o755]
        sure = [mode for index, mode in inode.modes[1:] if index <= safe]
        maybe = [mode for index, mode in inode.modes if safe < index <= self.index]
        del later
        known = sure[-1] if sure else first
        return self.chance.choice([known, *maybe]) if self.kept is None else known

    def _safe(self, inode: Inode) -> int:
        return max([0, *(one for one in inode.flushed if one <= self.index)])


def _put(found: dict[bytes, Inode], name: bytes, inode: Inode | None) -> None:
    if inode is None:
        found.pop(name, None)
    else:
        found[name] = inode


def _written(writes: list[tuple[int, int, bytes | None]]) -> bytes:
    content = bytearray()
    for _, place, data in writes:
        if len(content) < place:
            content += bytes(place - len(content))
        if data is None:
            del content[place:]
        else:
            content[place : place + len(data)] = data
    return bytes(content)


def _tokens(arguments: str) -> tuple[list[bytes], list[bytes], list[int]]:
    """Return the paths that a call names, its strings, and its descriptors."""
    paths: list[bytes] = []
    strings: list[bytes] = []
    numbers: list[int] = []
    folder = b""
    for match in _TOKEN.finditer(arguments):
        if match[1] is not None:
            strings.append(_bytes(match[1]))
            if folder:
                paths[-1] = os.path.join(folder, strings[-1])
                folder = b""
            else:
                paths.append(strings[-1])
        else:
            folder = _bytes(match[3])
            paths.append(folder)
            numbers.append(int(match[2]) if match[2].lstrip("-").isdigit() else -1)
    return paths, strings, numbers


def _bytes(escaped: str) -> bytes:
    return re.sub(
        rb"\\x([0-9a-f]{2})", lambda one: bytes([int(one[1], 16)]), escaped.encode("latin-1")
    )


def _read(path: str) -> Inode:
    """Read what is on the disk as an inode that is flushed."""
    found = os.lstat(path)
    modes = [(0, stat.S_IMODE(found.st_mode))]
    if stat.S_ISLNK(found.st_mode):
        return Inode("link", target=os.fsencode(os.readlink(path)))
    if stat.S_ISDIR(found.st_mode):
        entries: list[tuple[int, bytes, Inode | None]] = [
            (0, os.fsencode(name), _read(f"{path}/{name}")) for name in os.listdir(path)
        ]
        return Inode("folder", entries=entries, modes=modes)
    return Inode("file", writes=[(0, 0, Path(path).read_bytes())], modes=modes)


def _write(inode: Inode, path: str, cut: Cut) -> None:
    if inode.kind == "link":
        os.symlink(inode.target, os.fsencode(path))
        return
    if inode.kind == "file":
        Path(path).write_bytes(cut.content(inode))
    else:
        os.mkdir(path)
        for name, one in cut.names(inode).items():
            _write(one, f"{path}/{os.fsdecode(name)}", cut)
    os.chmod(path, cut.mode(inode))


__all__ = ["OPTIONS", "Cut", "Inode", "Recording"]
