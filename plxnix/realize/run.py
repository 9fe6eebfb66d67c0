"""One run of a realizer: the folders it makes, what it prints, and who watches."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from plxnix.forking import process_lock
from plxnix.model import DRef
from plxnix.realize.observer import Observer as Observer

if TYPE_CHECKING:
    from traceback import FrameSummary

#: How much of what a realizer prints is kept, in bytes; the middle of a longer log is left out.
LOG_LIMIT = 16 << 20


@dataclass(frozen=True)
class Artifact:
    """What a recipe returns for one realization: a folder, and what goes into its record.

    `failed` says that it tells of a failure, so that the promises of the config need not be kept.
    If `linked`, its frozen files with other hard links are links to published ones.
    `times` is when it was begun and done, in seconds since the epoch, if the realizer knows better.
    """

    path: Path
    flat: bool = False
    nix: Mapping[str, Any] = field(default_factory=dict)
    failed: bool = False
    linked: bool = False
    times: tuple[float, float] | None = None


class Output(Protocol):
    """What stands for the process's standard output and error; see `descriptors`."""

    def take(self, text: str) -> bool:
        """Come before Python code prints; tell whether that is all that is to be done."""

    def drain(self) -> None:
        """Deliver what has been written up to now."""


class RemoteTraceback(Exception):
    """The traceback of an error in another process, as text; `frames` are the places in it."""

    def __init__(self, text: str, frames: Sequence[FrameSummary] = ()) -> None:
        super().__init__(text)
        self.frames = list(frames)

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class Log:
    """What a realizer prints, kept in memory up to `LOG_LIMIT` bytes: the head and the tail."""

    def __init__(self, limit: int | None = None) -> None:
        self._half = (LOG_LIMIT if limit is None else limit) // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._lost = 0

    def write(self, data: bytes) -> None:
        """Append bytes; cost is linear in what is appended."""
        room = self._half - len(self._head)
        self._head += data[:room] if room > 0 else b""
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * self._half:
            excess = len(self._tail) - self._half
            self._lost += excess
            del self._tail[:excess]

    def value(self) -> bytes:
        """Return all that was kept, with a line that says how much is missing."""
        gap = f"\n[... {self._lost} bytes left out ...]\n".encode() if self._lost else b""
        return bytes(self._head) + gap + bytes(self._tail)


class Run:
    """The run that is going on in this thread: `folders` made for it, its `log`, its `observer`.

    `work` is the whole realization that it is a part of (see `work.Work`). If it is `quiet`, what
    Python code prints goes into the log and nowhere else.
    """

    def __init__(
        self, dref: DRef, observer: Observer, work: Any = None, quiet: bool = False
    ) -> None:
        self.dref = dref
        self.observer = observer
        self.work = work
        self.quiet = quiet
        self.folders: list[Path] = []
        self.log = Log()

    def said(self, message: str) -> None:
        """Tell the observer something worth a line, in the same words once in a realization."""
        told = self.work.memo.setdefault("told", set())
        if message not in told:
            told.add(message)
            self.observer.said(self.dref, message)

    @contextmanager
    def current(self) -> Iterator[Run]:
        """Make this the current run of the thread for the block."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Copy what Python code prints in the block into the log as well.

        What programs print that it starts goes there where `Descriptors` are.

        `sys.stdout` and `sys.stderr` belong to the whole process: while anybody records they are
        replaced, and what is printed goes to the run of the thread that prints it, or, from a
        thread that a realizer has started, to the only run if there is but one.
        """
        _drain()
        with _guard:
            if not _recording:
                _Tee.install()
            _recording.append(self)
        try:
            yield
        finally:
            _drain()
            with _guard:
                _recording.remove(self)
                if not _recording:
                    _Tee.uninstall()


class _Tee(io.TextIOBase):
    """A text stream that writes to another one, and to the log of the run that prints."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    @staticmethod
    def install() -> None:
        """Stand in front of the process's streams, where it has some."""
        if sys.stdout is not None:
            sys.stdout = _Tee(sys.stdout)
        if sys.stderr is not None:
            sys.stderr = _Tee(sys.stderr)

    @staticmethod
    def uninstall() -> None:
        """Step aside, unless somebody else has put a stream in front meanwhile."""
        if isinstance(sys.stdout, _Tee):
            sys.stdout = sys.stdout._stream
        if isinstance(sys.stderr, _Tee):
            sys.stderr = sys.stderr._stream

    def write(self, text: str) -> int:
        if descriptors is not None and descriptors.take(text):
            return len(text)
        run = _current.get()
        recording = _recording
        if run is None and len(recording) == 1:
            run = recording[0]
        if run is not None:
            run.log.write(text.encode(errors="replace"))
            if run.quiet:
                return len(text)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Do nothing: the stream behind is the process's own."""

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    def __getattr__(self, name: str) -> Any:
        # `buffer`, `reconfigure` and the like: bytes that are written there go past the log.
        return getattr(self._stream, name)


#: The runs whose output is being recorded at the moment, in all threads.
_recording: list[Run] = []
_guard = process_lock()

#: What stands for the process's standard output and error, where that is a pipe of ours.
descriptors: Output | None = None

_current: ContextVar[Run | None] = ContextVar("plxnix_run", default=None)


def record(data: bytes) -> None:
    """Append what the process has printed, nobody knows in which thread, to the only log."""
    recording = _recording
    if len(recording) == 1:
        recording[0].log.write(data)


def _drain() -> None:
    if descriptors is not None:
        descriptors.drain()


def current_run() -> Run | None:
    """Return the run that is going on in this thread, or None outside of a realizer."""
    return _current.get()
