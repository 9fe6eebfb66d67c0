"""Locks between processes, and the temporary folders that they guard."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from plxnix.errors import StoreError
from plxnix.store import locks
from plxnix.store.session import Session, session, sweep

#: Takes a lock in the way named, says so, and keeps it until its input ends.
HOLDER = """
import sys
from plxnix.store import locks
with getattr(locks, sys.argv[1])(sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(kind: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a process that holds a lock for the block, if nobody kills it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, kind, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def release(process: subprocess.Popen[str]) -> None:
    """Let the holder go on, and with it the lock."""
    assert process.stdin is not None
    process.stdin.close()


@pytest.mark.parametrize("kind", ["exclusive", "alone", "shared"])
def test_the_waiter_is_told_and_gets_the_lock(tmp_path: Path, kind: str) -> None:
    """Who has to wait is told once what for, and goes on when the holder lets go."""
    path = tmp_path / "stage"
    said: list[str] = []
    with holder(kind, path) as process:

        def waiting(message: str) -> None:
            said.append(message)
            release(process)

        taker = locks.exclusive if kind == "exclusive" else locks.alone
        emergency = threading.Timer(10, release, [process])
        emergency.start()
        with taker(str(path), waiting):
            emergency.cancel()
            assert len(said) == 1
    assert "stage" in said[0]
    if kind == "exclusive":
        assert f"process {process.pid} on {os.uname().nodename}" in said[0]


def test_sharing_does_not_wait(tmp_path: Path) -> None:
    """Two processes share a lock, and the file stays for the next."""
    path = tmp_path / "store"
    with holder("shared", path) as process, locks.shared(str(path), pytest.fail):
        release(process)
    assert path.exists()


@pytest.mark.parametrize("kind", ["exclusive", "alone", "shared"])
def test_a_killed_holder_holds_nothing(tmp_path: Path, kind: str) -> None:
    """The lock of a process that was killed is free, whatever it left behind."""
    path = tmp_path / "stage"
    with holder(kind, path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        with locks.exclusive(str(path), pytest.fail):
            pass


def test_files_of_the_dead_are_swept(tmp_path: Path) -> None:
    """The lock files that nobody holds go; those of live processes stay, and one that is spared."""
    folder = tmp_path / "locks"
    folder.mkdir()
    (folder / "store").touch()
    (folder / "link").symlink_to("store")
    (folder / "folder").mkdir()
    with holder("exclusive", folder / "dead") as dead:
        dead.kill()
    with holder("exclusive", folder / "alive") as alive:
        locks.sweep(str(folder), but=str(folder / "store"))
        assert sorted(os.listdir(folder)) == ["alive", "folder", "link", "store"]
        release(alive)


def test_an_exclusive_lock_leaves_no_file(tmp_path: Path) -> None:
    """The file is gone after the block, also after an error, and says who holds it before."""
    path = tmp_path / "stage"
    path.write_text("a longer text than the holder writes, left by a process that was killed " * 3)
    with pytest.raises(KeyError), locks.exclusive(str(path)):
        assert path.read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"
        raise KeyError
    assert not path.exists()


def test_threads_exclude_each_other(tmp_path: Path) -> None:
    """Threads that take one lock, whose file comes, goes and is swept, are never in it together."""
    inside: list[int] = []
    most: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with locks.exclusive(str(tmp_path / "stage")):
                inside.append(number)
                most.append(len(inside))
                time.sleep(0)
                inside.remove(number)
            locks.sweep(str(tmp_path), but="")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (160, 1)


@pytest.mark.parametrize("take", [locks.exclusive, locks.shared, locks.alone])
def test_a_lock_that_cannot_be_opened(tmp_path: Path, take: object) -> None:
    """A folder that is missing is a `StoreError` that names the lock."""
    assert callable(take)
    lock: AbstractContextManager[None] = take(str(tmp_path / "missing" / "stage"))
    with pytest.raises(StoreError, match="missing/stage"), lock:
        pytest.fail("the lock was taken")


def test_folders_are_locked_once(tmp_path: Path) -> None:
    """A folder can be locked when nobody else holds it; what is no folder never can."""
    first = locks.try_folder(str(tmp_path))
    assert first is not None
    assert locks.try_folder(str(tmp_path)) is None
    os.close(first)
    second = locks.try_folder(str(tmp_path))
    assert second is not None
    os.close(second)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link", "missing"):
        assert locks.try_folder(str(tmp_path / name)) is None


def test_a_session_is_one_per_process_and_place(tmp_path: Path) -> None:
    """The same folder comes each time, its names are given once, and a lost one is remade."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = session(str(tmp_path / "a"))
    assert session(str(tmp_path / "a")) is first
    assert session(str(tmp_path / "b")) is not first
    assert len({first.file("x") for _ in range(100)}) == 100
    assert os.path.isdir(first.folder("name" * 100))
    first.close()
    again = session(str(tmp_path / "a"))
    assert os.path.isdir(again.path)
    assert again.path != first.path


def test_only_the_dead_are_swept(tmp_path: Path) -> None:
    """Folders of living processes stay, those of dead ones go, read-only contents and all."""
    tmp, outside = tmp_path / "tmp", tmp_path / "outside"
    tmp.mkdir()
    outside.mkdir()
    (outside / "file").touch()
    living = Session(str(tmp))
    dead = tmp / "1-dead"
    (dead / "result" / "deep").mkdir(parents=True)
    (dead / "result" / "deep" / "file").write_text("left")
    (dead / "result" / "link").symlink_to(outside)
    for folder in (dead / "result" / "deep", dead / "result"):
        folder.chmod(0o555)
    assert sweep(str(tmp)) == 1
    assert [str(path) for path in tmp.iterdir()] == [living.path]
    assert (outside / "file").exists()
    living.close()
    assert list(tmp.iterdir()) == []


def test_a_session_ends_with_its_process(tmp_path: Path) -> None:
    """At exit the folder goes; a killed process leaves it to the next, a forked child leaves it."""
    script = (
        "import os, sys\n"
        "from plxnix.store.session import session\n"
        "mine = session(sys.argv[1])\n"
        "if os.fork() == 0:\n"
        "    sys.exit(session(sys.argv[1]).path == mine.path)\n"
        "print(os.wait()[1], flush=True)\n"
        "print(os.listdir(sys.argv[1]) == [os.path.basename(mine.path)], flush=True)\n"
        "if sys.argv[2] == 'kill': os.kill(os.getpid(), 9)\n"
    )
    tmp = tmp_path / "tmp"
    tmp.mkdir()
    for end, left in (("kill", 1), ("exit", 0)):
        command = [sys.executable, "-c", script, str(tmp), end]
        result = subprocess.run(command, check=False, capture_output=True, text=True)
        assert (result.stdout, result.stderr) == ("0\nTrue\n", "")
        assert len(list(tmp.iterdir())) == left


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing can be locked there is no session, and that is said; nothing piles up."""
    tmp = tmp_path / "tmp"
    tmp.mkdir()

    def refuse(*_: object) -> None:
        if len([*tmp.iterdir()]) > 2:
            raise RuntimeError("it would never end")
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for _ in range(3):
        with pytest.raises(StoreError, match=r"cannot lock(.|\n)*file system with flock"):
            session(str(tmp))
    assert len([*tmp.iterdir()]) <= 1
