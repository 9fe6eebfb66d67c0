"""Descriptors 1 and 2 as a pipe: what a block delivers, and when it ends."""

from __future__ import annotations

import subprocess
import sys

from tests.waiting import PATIENCE


def run(script: str) -> list[str]:
    """Run a script, which takes over descriptors of its own, and return the lines it wrote."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout.splitlines()


def test_a_program_that_writes_for_ever() -> None:
    """Who drains gets what was written up to then, and the block ends; its writer ends by that."""
    assert run("""
import subprocess, time
from plxnix.realize.descriptors import Descriptors
shown = []
def show(text):
    time.sleep(0.0005)
    shown.append(text)
with Descriptors(show) as descriptors:
    endless = subprocess.Popen(["yes", "no" * 2000])
    try:
        while not shown:
            time.sleep(0.01)
        descriptors.drain()
    except BaseException:
        endless.kill()
        raise
# Of the last line there may be half.
lines = set("".join(shown).split("\\n")[:-1])
print("ended by signal", -endless.wait(), lines == {"no" * 2000})
""") == ["ended by signal 13 True"]


def test_a_forked_process_delivers_nothing() -> None:
    """What waits in the pipe, and the lock of who delivers it, are the parent's."""
    assert run("""
import os, signal
from plxnix.realize.descriptors import Descriptors
shown = []
with Descriptors(shown.append) as descriptors:
    with descriptors._lock:
        os.write(1, b"waiting")
        child = os.fork()
        if not child:
            signal.alarm(200)
            import threading
            thread = threading.Thread(target=descriptors.drain)
            thread.start()
            thread.join()
            os._exit(len(shown))
        status = os.waitpid(child, 0)[1]
print(status, *shown)
""") == ["0 waiting"]


def test_a_forked_process_that_stays() -> None:
    """The block ends before it does."""
    assert run("""
import os, signal
from plxnix.realize.descriptors import Descriptors
shown = []
with Descriptors(shown.append):
    child = os.fork()
    while not child:
        signal.pause()
    os.write(1, b"done")
os.kill(child, signal.SIGKILL)
print(*shown)
""") == ["done"]


def test_showing_may_print() -> None:
    """A function that prints where it shows gets each piece once, and waits for nothing."""
    assert run("""
import os
from plxnix.realize.descriptors import Descriptors
shown = []
def show(text):
    descriptors.take("")
    shown.append(len(text))
descriptors = Descriptors(show)
with descriptors, descriptors._lock:
    os.write(1, b"x" * 300000)
    descriptors.drain()
print(sum(shown))
""") == ["300000"]


def test_code_that_keeps_the_interpreter() -> None:
    """What it prints is all delivered, in order, however much that is, and nobody's child stays."""
    assert run("""
import ctypes, os
from plxnix.realize.descriptors import Descriptors
shown = []
with Descriptors(shown.append) as descriptors:
    descriptors.take("")
    os.write(1, b"begin ")
    data = b"".join(b"%07d " % number for number in range(200_000))
    for number in range(6):  # At all but the first, what is before it is being delivered.
        written = 0
        while written < len(data):
            # Called in this way, it holds on to the interpreter while it waits.
            written += ctypes.PyDLL(None).write(1, data[written:], len(data) - written)
    os.write(1, b"end")
    try:
        os.wait()
    except ChildProcessError:
        pass
print("".join(shown) == "begin " + 6 * data.decode() + "end", written)
""") == ["True 1600000"]


def test_a_pump_that_dies() -> None:
    """What it has moved is delivered, and then what it has not."""
    assert run("""
import glob, os, signal, time
from plxnix.realize.descriptors import Descriptors
shown = []
def pump():
    file = os.fstat(descriptors._place)
    for entry in glob.glob(f"/proc/[0-9]*/fd/{descriptors._place}"):
        process = int(entry.split("/")[2])
        try:
            if process != os.getpid() and os.path.samestat(file, os.stat(entry)):
                return process
        except OSError:
            pass
with Descriptors(shown.append) as descriptors, descriptors._lock:
    descriptors.take("")
    os.write(1, b"first ")
    while not descriptors._size():
        time.sleep(0.01)
    os.kill(pump(), signal.SIGKILL)
    os.write(1, b"last")
print("".join(shown))
""") == ["first last"]


def test_a_python_without_files_in_memory() -> None:
    """Where Python was built for an old library of C, output is delivered all the same."""
    assert run("""
import os
vars(os).pop("memfd_create", None)
from plxnix.realize.descriptors import Descriptors
shown = []
with Descriptors(shown.append) as descriptors:
    os.write(1, b"first ")
    descriptors.take("")
    os.write(1, b"last")
print("".join(shown))
""") == ["first last"]
