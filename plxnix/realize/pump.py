"""The pump: a program that moves what is printed from a pipe into a file in memory.

It is run as a file, with numbers of descriptors, since it is to start quickly: see `descriptors`.
"""

import os
import select
import sys
from contextlib import suppress

#: How much is moved at once, and how much may wait in the file, in bytes: so much can be printed
#: while nobody reads, and who prints faster than is shown is held back.
_PIECE, _MOST = 1 << 20, 64 << 20

#: Milliseconds between two looks whether what waits has become less.
_LOOK = 50


def pump(pipe: int, end: int, place: int, telling: int) -> None:
    """Move what comes through a pipe to the end of a file, and tell of each piece by a byte.

    A piece leaves the pipe and is in the file at once for everybody who looks at the pipe first, as
    splice(2) locks it. It ends when the other end of `end` is written into, or closed.
    """
    both, only = select.poll(), select.poll()
    for poll in (both, only):
        poll.register(end, select.POLLIN)
    both.register(pipe, select.POLLIN)
    size = 0
    while all(descriptor != end for descriptor, _ in both.poll()):
        size += os.splice(pipe, place, _PIECE, offset_dst=size)
        with suppress(BlockingIOError):  # There is enough to wake who is told.
            os.write(telling, b".")
        while 512 * os.fstat(place).st_blocks > _MOST:
            if only.poll(_LOOK):
                return


if __name__ == "__main__":
    os.chdir("/")
    pump(*map(int, sys.argv[1:]))
