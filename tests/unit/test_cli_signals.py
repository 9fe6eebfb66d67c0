"""Signals are seen at once, though Python sees one that comes before a system call after it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from plxnix.cli.signals import seen_promptly
from tests.waiting import PATIENCE

#: It sends itself an interrupt, and then waits for a lock that it holds; no code of Python runs
#: between the two.
SCRIPT = """
import ctypes, fcntl, os, signal, sys
from functools import partial
from plxnix.cli.signals import seen_promptly

number = int(sys.argv[2])
def ended(*_):
    raise KeyboardInterrupt
signal.signal(number, ended)
held = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(held, fcntl.LOCK_EX)
wanted = os.open(sys.argv[1], os.O_RDWR)
kill = ctypes.PyDLL(None).kill
with seen_promptly():
    try:
        calls = [partial(kill, os.getpid(), number), partial(fcntl.flock, wanted, fcntl.LOCK_EX)]
        list(map(partial.__call__, calls))
    except KeyboardInterrupt:
        print("seen")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_before_waiting(tmp_path: Path, number: int) -> None:
    """It ends the wait for a lock."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "lock"), str(int(number))],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert done.stdout == "seen\n"


def test_a_forked_process() -> None:
    """The block ends, though a process that was forked in it goes on."""
    script = """
import os, signal
from plxnix.cli.signals import seen_promptly
with seen_promptly():
    child = os.fork()
    while not child:
        signal.pause()
os.kill(child, signal.SIGKILL)
"""
    command = [sys.executable, "-W", "ignore", "-c", script]
    subprocess.run(command, timeout=PATIENCE, check=True)


def test_nothing_is_left() -> None:
    """After the block all is as it was; in another thread nothing changes."""
    threads, handler = set(threading.enumerate()), signal.getsignal(signal.SIGURG)
    with seen_promptly(), seen_promptly():
        assert len(set(threading.enumerate()) - threads) == 2
        thread = threading.Thread(target=seen_promptly().__enter__)
        thread.start()
        thread.join()
        assert len(set(threading.enumerate()) - threads) == 2
    assert set(threading.enumerate()) <= threads
    assert signal.getsignal(signal.SIGURG) == handler
    assert signal.set_wakeup_fd(-1) == -1
