"""Workers: processes that make attempts for another one.

`perform` makes one; it is what goes to the executors of others. `nurse` is the main program of the
process whose forked children serve `executors.Workers`: it holds no thread and no store, so that it
can be forked at any time.
"""

from __future__ import annotations

import atexit
import io
import os
import pickle
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from plxnix.forking import process_lock
from plxnix.realize.descriptors import Descriptors

#: The kinds of message: a task, "no more of them"; its answer, what it printed, and, at first, the
#: number of the process.
TASK, END, ANSWER, PRINTED, HELLO = b"t", b"e", b"a", b"p", b"h"

_private: dict[str, str] = {}
_guard = process_lock()


def perform(packed: bytes, show: bool = False) -> bytes:
    """Do a pickled `Task` and return the pickled `Answer`; never raise an error of the stage's.

    What Python code prints is in the answer; with `show` it is printed here as well.
    """
    task = pickle.loads(packed)  # noqa: S301 (of the process that we work for)
    for folder in task.search:
        if folder not in sys.path:
            sys.path.append(folder)
    from plxnix.realize.parcels import Answer

    answer = Answer()
    try:
        _attempt(task, answer, show)
    except Exception as error:  # noqa: BLE001 (it is the answer)
        answer.traceback = "".join(traceback.format_exception(error))
        cause = error.__cause__ or error
        answer.frames = list(traceback.extract_tb(cause.__traceback__))
        answer.error, answer.cause = _sendable(error), _sendable(error.__cause__)
    return pickle.dumps(answer)


def _attempt(task: Any, answer: Any, show: bool) -> None:
    from plxnix.config import Config
    from plxnix.realize.attempt import Attempt, clean
    from plxnix.realize.parcels import pack, unpack, unpack_call
    from plxnix.realize.run import Observer, Run
    from plxnix.store import Store, current_storage

    config = Config.parse(task.config)
    shared = os.path.isdir(task.proof) and os.access(task.proof, os.W_OK)
    if not shared and task.supplies is None:
        answer.lacks_store = True
        return
    with suppress(OSError):
        os.unlink(task.mark)
    store = Store(task.store if shared else _private_store(task.store), task.fsync)
    with store.keeping([task.dref, *task.context]), current_storage(store):
        if not shared:
            for text in task.supplies.configs:
                store.restore(Config.parse(text))
            unpack(store, task.supplies.parcels)
        realizer, arguments = unpack_call(task.dref, task.call)
        store.know(config)
        attempt = Attempt(store, config, realizer, task.context, arguments)
        run = Run(task.dref, Observer(), quiet=not show)
        try:
            answer.rrefs, answer.seconds = attempt.make(run)
        except BaseException as error:
            said: list[str] = []
            clean(store, run, error, task.keep_failed and shared, said.append)
            if not shared and hasattr(error, "log"):
                error.log = ""
            answer.said = tuple(said)
            raise
        finally:
            answer.output = run.log.value()
        if not shared:
            answer.parcels = tuple(pack(store, rref) for rref in dict.fromkeys(answer.rrefs))


def _private_store(root: str) -> str:
    """Return the path of a store of this process, which stands in for one that it does not see.

    Those of workers that were killed are removed.
    """
    import tempfile
    from glob import escape, glob

    from plxnix.store import Store, tree
    from plxnix.store.session import session, sweep

    with _guard:
        if root not in _private:
            for old in glob(f"{escape(tempfile.gettempdir())}/plxnix-worker-*"):
                with suppress(OSError):
                    if sweep(old):
                        os.rmdir(old)
            folder = tempfile.mkdtemp(prefix="plxnix-worker-")
            atexit.register(tree.remove, folder)
            _private[root] = session(folder).folder("store")
            Store.init(_private[root])
        return _private[root]


def _sendable(error: BaseException | None) -> BaseException | None:
    """Return an error that can be pickled and read again: itself, or one that says the same."""
    if error is None:
        return None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 (what was pickled just now)
    except Exception:  # noqa: BLE001 (whatever its class does)
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


# -- local workers -----------------------------------------------------------------------------


def nurse(descriptor: int) -> None:
    """Fork a worker for each socket that comes through a Unix socket, until that is closed."""
    import plxnix.codehash
    import plxnix.realize.attempt
    import plxnix.realize.parcels  # noqa: F401 (what workers need, loaded once for all)

    with suppress(ImportError):
        import cloudpickle  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody asks for the children's status.
    control = socket.socket(fileno=descriptor)
    while True:
        message, passed, _, _ = socket.recv_fds(control, 1, 1)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            os.setsid()
            os.set_inheritable(passed[0], False)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            try:
                serve(socket.socket(fileno=passed[0]))
            finally:
                os._exit(1)
        os.close(passed[0])


def serve(connection: socket.socket) -> None:
    """Do tasks that come through a socket, one after the other, until it is closed.

    Then, or when the process that gave the tasks dies, this one dies too, with all it has started.
    """
    sending = threading.Lock()
    tasks: SimpleQueue[tuple[bytes, bytes]] = SimpleQueue()

    def receive() -> None:
        try:
            while (message := get(connection)) is not None:
                tasks.put(message)
        finally:
            os.killpg(0, signal.SIGKILL)

    def send(kind: bytes, data: bytes) -> None:
        with sending:
            put(connection, kind, data)

    send(HELLO, str(os.getpid()).encode())
    threading.Thread(target=receive, daemon=True).start()
    sys.stdout = sys.stderr = talk = _Talk(send)

    def show(text: str) -> None:
        talk.flush()
        send(PRINTED, text.encode())

    with Descriptors(show):
        while True:
            kind, task = tasks.get()
            if kind == END:
                atexit._run_exitfuncs()  # os._exit does not; the folders of this process go by it.
                os.killpg(0, signal.SIGKILL)
            answer = perform(task, show=True)
            talk.flush()
            send(ANSWER, answer)


class _Talk(io.TextIOBase):
    """A text stream whose lines go to the process that gave the task."""

    def __init__(self, send: Any) -> None:
        self._send = send
        self._begun = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        with self._lock:
            whole, newline, self._begun = (self._begun + text).rpartition("\n")
            if newline:
                self._send(PRINTED, f"{whole}\n".encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        with self._lock:
            if self._begun:
                self._send(PRINTED, self._begun.encode(errors="replace"))
                self._begun = ""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 2


def put(connection: socket.socket, kind: bytes, data: bytes) -> None:
    """Send a message; raise `OSError` if nobody is there to get it."""
    connection.sendall(kind + len(data).to_bytes(8, "big"))
    connection.sendall(data)


def get(connection: socket.socket) -> tuple[bytes, bytes] | None:
    """Receive a message: its kind and contents; None if the other end is closed."""
    head = _take(connection, 9)
    if head is None:
        return None
    data = _take(connection, int.from_bytes(head[1:], "big"))
    return None if data is None else (head[:1], data)


def _take(connection: socket.socket, size: int) -> bytes | None:
    data = bytearray()
    while len(data) < size:
        try:
            piece = connection.recv(min(size - len(data), 1 << 20))
        except OSError:
            return None
        if not piece:
            return None
        data += piece
    return bytes(data)
