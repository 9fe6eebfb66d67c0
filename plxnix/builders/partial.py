"""The file that a download grows in: hashed while it is written, kept for a later resume."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from plxnix.builders.sources import redact
from plxnix.errors import DownloadFailed
from plxnix.nix import hashes
from plxnix.nix.hashes import Hash

_PIECE = 1 << 20


@dataclass(frozen=True)
class Validator:
    """What tells that a server still has the same file (RFC 9110, 8.8 and 13.1.5).

    `url` is the redacted URL that it came from, `value` a strong entity tag or a modification date
    in the server's own words; `strong` says that it is the former.
    """

    url: str
    value: str
    strong: bool


class Partial:
    """An open partial file with the hash of what is in it.

    Beside it, at `<path>.json`, is the validator that allows it to be resumed. The file is locked
    while it is open; a second download that meets the lock grows in a file of its own, which is
    removed if it fails. Memory is constant; opening one costs reading what is there already.
    """

    def __init__(self, path: Path, algorithm: str) -> None:
        self._algorithm = algorithm
        self._own = False
        self._descriptor = _open_locked(path)
        if self._descriptor is None:
            self._own = True
            path = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
            self._descriptor = _open_locked(path)
        self.path = path
        self._record = path.with_name(f"{path.name}.json")
        self.size = 0
        self.resumed = False
        self.validator = self._read_record()
        if self.validator is None:
            self.restart()
        else:
            self._rehash()

    @property
    def _file(self) -> int:
        if self._descriptor is None:
            raise DownloadFailed(f"the partial file '{self.path}' cannot be locked")
        return self._descriptor

    def restart(self, validator: Validator | None = None) -> None:
        """Forget what is there, and begin anew with what is to be known for a resume."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._hasher = hashes.new(self._algorithm)
        self.size = 0
        self.resumed = False
        self.validator = validator
        if validator is None:
            self._record.unlink(missing_ok=True)
            return
        text = json.dumps([validator.url, validator.value, validator.strong])
        # A torn record reads as none, so it needs no rename.
        self._record.write_text(text, encoding="utf-8")

    def write(self, data: bytes) -> None:
        """Append to the file, unbuffered, so that nothing is lost when the process is stopped."""
        self._hasher.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    def hash(self) -> Hash:
        """Return the hash of what is written so far."""
        return Hash(self._algorithm, self._hasher.digest())

    def publish(self, destination: Path) -> None:
        """Move the file to its destination, mode 0644, in one step, and close it.

        Both are on the same filesystem.
        """
        os.fchmod(self._file, 0o644)
        os.replace(self.path, destination)
        self._record.unlink(missing_ok=True)
        os.close(self._file)
        self._descriptor = None

    def discard(self) -> None:
        """Remove the file and its record."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it, and remove it unless it can be resumed."""
        if self._descriptor is None:
            return
        if self._own or self.validator is None or self.size == 0:
            self.discard()
        os.close(self._descriptor)
        self._descriptor = None

    def _read_record(self) -> Validator | None:
        try:
            fields = json.loads(self._record.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        match fields:
            case [str(url), str(value), bool(strong)] if value.isprintable():
                return Validator(url, value, strong)
        return None

    def _rehash(self) -> None:
        self._hasher = hashes.new(self._algorithm)
        os.lseek(self._file, 0, os.SEEK_SET)
        while data := os.read(self._file, _PIECE):
            self._hasher.update(data)
            self.size += len(data)


def leave(file: Path, path: Path, url: str) -> None:
    """Move a file that is whole to where a download grows: it ends there without a request.

    Both are on the same filesystem. `url` is where it came from.
    """
    record = path.with_name(f"{path.name}.json")
    # First the file: a record of a file that is not there would be one of an empty file.
    os.replace(file, path)
    record.write_text(json.dumps([redact(url), "whole", True]), encoding="utf-8")


def _open_locked(path: Path) -> int | None:
    """Open or make a file and lock it; None if another process has it, or another user."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                raise _not_regular(path) from None
            if error.errno == errno.EACCES and os.path.lexists(path):
                return None
            raise
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            os.close(descriptor)
            raise _not_regular(path)
        # It may have been moved to its destination between being opened and being locked.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(found, os.stat(path, follow_symlinks=False)):
                return descriptor
        os.close(descriptor)


def _not_regular(path: Path) -> DownloadFailed:
    return DownloadFailed(
        f"the partial file '{path}' is not a regular file", "remove it and try again"
    )
