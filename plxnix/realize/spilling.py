"""Spilling: a program that makes room in a pipe whose reader does not come.

It is run as a file, with numbers of descriptors, since it is to start quickly: see `descriptors`.
"""

import fcntl
import os
import select
import sys
import termios

#: Seconds between two looks at a pipe that has something in it.
_LOOK = 0.05


def spill(pipe: int, end: int, place: int) -> None:
    """Move what is in a pipe to the end of a file whenever half of the pipe is full.

    Meanwhile the file is locked (`lockf`). It ends when the other end of `end` is closed.
    """
    room = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
    both, only = select.poll(), select.poll()
    for poll in (both, only):
        poll.register(end, select.POLLIN)
    both.register(pipe, select.POLLIN)
    while True:
        if any(descriptor == end for descriptor, _ in both.poll()):
            return
        if only.poll(1000 * _LOOK):
            return
        if _waiting(pipe) >= room // 2:
            fcntl.lockf(place, fcntl.LOCK_EX)
            left = _waiting(pipe)
            while left > 0:
                data = os.read(pipe, left)
                left -= len(data)
                while data:
                    data = data[os.write(place, data) :]
            fcntl.lockf(place, fcntl.LOCK_UN)


def _waiting(pipe: int) -> int:
    count = fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)


if __name__ == "__main__":
    os.chdir("/")
    spill(*map(int, sys.argv[1:]))
