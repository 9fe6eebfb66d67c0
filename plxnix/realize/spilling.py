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


def spill(pipe: int, end: int, place: int, asking: int) -> None:
    """Move what is in a pipe to the end of a file when it fills, and its reader is stuck.

    A reader is not stuck that soon reads what is written into `asking`, though it be slow.
    Meanwhile the file is locked (`lockf`); its position, which others share, stays as it is. It
    ends when something is written into the other end of `end`, or that is closed.
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
        # Pages of a pipe may be half full, so that it is.
        if _waiting(pipe) < room // 4:
            continue
        if not _waiting(asking):
            os.write(asking, b"?")
            continue
        fcntl.lockf(place, fcntl.LOCK_EX)
        if left := _waiting(pipe):
            data = os.read(pipe, left)
            while data:
                data = data[os.pwrite(place, data, os.fstat(place).st_size) :]
        fcntl.lockf(place, fcntl.LOCK_UN)


def _waiting(pipe: int) -> int:
    count = fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0")
    return int.from_bytes(count, sys.byteorder)


if __name__ == "__main__":
    os.chdir("/")
    spill(*map(int, sys.argv[1:]))
