"""The file of a lock: read with care, changed in one section, and replaced in one step.

Of the whole file only `sources` is ours. The other sections, known or not, stay what they are.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plxnix.errors import InvalidValue, LockChanged, UnknownSource
from plxnix.locking.document import FORMAT, LOCK, parse_json, parse_lock, printed
from plxnix.locking.source import LockedSource

__all__ = ["LOCK", "LockFile", "merge_sources", "parse_json", "printed"]


class LockFile:
    """A lock as it was read: `sources` by name, sorted. `save` changes the file.

    Raises `InvalidValue` if there is none (unless `create`, which takes it for an empty one), if
    it is no lock, or if a source is not of the right form.
    """

    def __init__(self, path: str | os.PathLike[str] = LOCK, create: bool = False) -> None:
        # A link stays one: what it leads to is replaced.
        self.path = Path(os.path.realpath(path))
        self.shown = os.fspath(path)
        data = _read(self.path, self.shown)
        if data is None and not create:
            raise InvalidValue(
                f"there is no lock at {self.shown}",
                "`plxnix lock add NAME URL` makes one; --lock names another",
            )
        self._raw = _sources(data, self.shown)
        self.sources = {
            name: LockedSource.parse(name, value) for name, value in sorted(self._raw.items())
        }

    def __getitem__(self, name: str) -> LockedSource:
        """Return a source; raise `UnknownSource`, which names one that is called alike."""
        if name not in self.sources:
            from difflib import get_close_matches

            close = get_close_matches(name, self.sources, 1)
            raise UnknownSource(
                f"{self.shown} has no source {name!r:.200}",
                f"is it {close[0]!r}?" if close else "`plxnix lock show` lists what it has",
            )
        return self.sources[name]

    def select(self, names: tuple[str, ...]) -> dict[str, LockedSource]:
        """Return the named sources, or all if none is named; raise `UnknownSource`."""
        return {name: self[name] for name in dict.fromkeys(names)} if names else self.sources

    def save(self, changes: Mapping[str, LockedSource | None]) -> None:
        """Write changed sources, None for one that goes; the file changes in one step.

        What others have changed in the file meanwhile is kept. Raises `LockChanged` if that was
        one of the same sources, `OSError` if the file cannot be written; it is as it was then.
        """
        if not changes:
            return
        with _folder_locked(self.path.parent):
            data = _read(self.path, self.shown)
            value: dict[str, Any] = {"version": FORMAT}
            if data is not None:
                value = parse_lock(data, self.shown)
            raw = _sources(data, self.shown)
            for name, source in changes.items():
                if raw.get(name) != self._raw.get(name):
                    raise LockChanged(
                        f"{self.shown} was changed meanwhile: the source {name} is another now",
                        "nothing was written; look at it and do it again",
                    )
                if source is None:
                    raw.pop(name, None)
                else:
                    raw[name] = source.value()
            value["sources"] = raw
            text = printed(value)
            if data is None or text.encode() != data:
                self._replace(data, text.encode())

    def _replace(self, before: bytes | None, data: bytes) -> None:
        import tempfile

        descriptor, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                mode = stat.S_IMODE(self.path.stat().st_mode) if before is not None else 0o644
                os.fchmod(file.fileno(), mode)
                file.flush()
                os.fsync(file.fileno())
            # Other programs do not lock the folder.
            if _read(self.path, self.shown) != before:
                raise LockChanged(
                    f"{self.shown} was changed meanwhile", "nothing was written; do it again"
                )
            os.replace(temporary, self.path)
        except BaseException:
            os.unlink(temporary)
            raise


def merge_sources(old: str, new: str) -> str:
    """Return the lock `new` with the sources of the lock `old`, in whose place it is written.

    Without sources there `new` comes back as it is. Raises `InvalidValue` if `old` is no lock: it
    would be lost.
    """
    kept = _sources(old.encode("utf-8", "surrogateescape"), "the lock that is there")
    return printed({**json.loads(new), "sources": kept}) if kept else new


def _sources(data: bytes | None, shown: str) -> dict[str, Any]:
    found = parse_lock(data, shown).get("sources", {}) if data is not None else {}
    if not isinstance(found, dict):
        raise InvalidValue(f"{shown}: sources is {found!r:.100}", "it has to be an object")
    return found


def _read(path: Path, shown: str) -> bytes | None:
    """Return the contents of a regular file, None if there is none."""
    try:
        if path.exists() and not path.is_file():
            raise InvalidValue(f"{shown} is no file", "name another lock: --lock")
        return path.read_bytes()
    except FileNotFoundError:
        return None


@contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """Keep other processes of plxnix from writing there meanwhile."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
