"""Write a tree below a folder and nowhere else, whatever the names and links in it say.

Every folder is opened relative to its parent's descriptor, without following links, so a link
that an archive plants cannot lead a later member out (the shape of CVE-2025-4517). Folders, once
made, are never replaced.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable
from types import TracebackType

from plxnix.builders.archive_members import PIECE, RuleBroken, shown

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Path = tuple[bytes, ...]


class TreeWriter:
    """Writes files, folders and links below `root`, an existing empty folder.

    Files get mode 0644 or 0755, folders 0755, whatever the umask. At most `entries` things are
    made, implied parents included. A file or symbolic link takes the place of an earlier one of
    its name, as with tar(1). What breaks a rule raises `RuleBroken`; what the system refuses
    (a full disk) raises `OSError`.

    The descriptors of the current folder and its parents are held, so a member beside the last
    one costs no look-ups; use as a context manager to close them.
    """

    def __init__(self, root: bytes, entries: int) -> None:
        self._descriptors = [os.open(root, _FOLDER)]
        self._names: list[bytes] = []
        self._limit = entries
        self._left = entries

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def folder(self, path: Path) -> None:
        """Make a folder and its parents; nothing happens if it is there."""
        self._enter(path, make=True)

    def file(
        self, path: Path, pieces: Iterable[bytes], *, executable: bool = False, sparse: bool = False
    ) -> None:
        """Write a file of the given pieces; with `sparse`, pieces of zeros become holes."""
        parent = self._enter(path[:-1], make=True)
        mode = 0o755 if executable else 0o644
        descriptor = self._create(path[-1], mode, parent)
        try:
            for piece in pieces:
                if sparse and piece.count(0) == len(piece):
                    os.lseek(descriptor, len(piece), os.SEEK_CUR)
                else:
                    _write(descriptor, piece)
            if sparse:
                os.ftruncate(descriptor, os.lseek(descriptor, 0, os.SEEK_CUR))
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)

    def symlink(self, path: Path, target: bytes) -> None:
        """Write a symbolic link; its target is data and need not exist."""
        parent = self._enter(path[:-1], make=True)
        self._count()
        try:
            os.symlink(target, path[-1], dir_fd=parent)
        except FileExistsError:
            self._clear(path[-1], parent)
            os.symlink(target, path[-1], dir_fd=parent)

    def copy(self, path: Path, original: Path, spend: Callable[[int], None]) -> None:
        """Write a copy of a regular file that was written before, mode included (a hard link).

        `spend` is told its size in bytes before anything is copied.
        """
        descriptor = self._open_file(original)
        try:
            found = os.fstat(descriptor)
            spend(found.st_size)
            if path == original:
                return
            pieces = iter(lambda: os.read(descriptor, PIECE), b"")
            self.file(path, pieces, executable=bool(found.st_mode & 0o100))
        finally:
            os.close(descriptor)

    def _open_file(self, path: Path) -> int:
        rule = f"it is a hard link to {shown(b'/'.join(path))}, which is no file unpacked before it"
        if not path:
            raise RuleBroken(rule)
        parent = self._enter(path[:-1], make=False, rule=rule)
        try:
            descriptor = os.open(path[-1], _OLD_FILE, dir_fd=parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise RuleBroken(rule) from None
            raise
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise RuleBroken(rule)
        return descriptor

    def _enter(self, path: Path, *, make: bool, rule: str = "") -> int:
        """Return the descriptor of a folder, making it and its parents if `make`."""
        common = 0
        for ours, theirs in zip(self._names, path):  # noqa: B905 (the shorter one decides)
            if ours != theirs:
                break
            common += 1
        while len(self._names) > common:
            self._names.pop()
            os.close(self._descriptors.pop())
        for name in path[common:]:
            self._descriptors.append(self._step(name, self._descriptors[-1], make, rule))
            self._names.append(name)
        return self._descriptors[-1]

    def _step(self, name: bytes, parent: int, make: bool, rule: str) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise RuleBroken(rule) from None
        except OSError as error:
            if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                raise
            raise RuleBroken(
                rule
                or f"it needs {shown(name)} to be a folder, but an earlier member made it "
                "a link or a file"
            ) from None
        self._count()
        os.mkdir(name, 0o755, dir_fd=parent)
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
        os.fchmod(descriptor, 0o755)
        return descriptor

    def _create(self, name: bytes, mode: int, parent: int) -> int:
        self._count()
        try:
            return os.open(name, _NEW_FILE, mode, dir_fd=parent)
        except FileExistsError:
            self._clear(name, parent)
            return os.open(name, _NEW_FILE, mode, dir_fd=parent)

    def _clear(self, name: bytes, parent: int) -> None:
        """Remove the file or link that is in a member's place."""
        if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise RuleBroken("it would replace a folder")
        os.unlink(name, dir_fd=parent)

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise RuleBroken(f"the archive has more than {self._limit} members")


def _write(descriptor: int, data: bytes) -> None:
    written = os.write(descriptor, data)
    # A short write happens on a nearly full disk; the next one then says so.
    while written < len(data):
        data = data[written:]
        written = os.write(descriptor, data)
