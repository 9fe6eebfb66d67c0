"""Locks of a whole process, which are free in a child that is forked from it."""

from __future__ import annotations

import os
import threading
from contextlib import AbstractContextManager


def process_lock() -> AbstractContextManager[object]:
    """Return a reentrant lock that another thread may hold while this one forks.

    In the child there is no such thread, and nobody would ever let go of it.
    """
    lock = threading.RLock()
    renew = lock._at_fork_reinit  # type: ignore[attr-defined]  # as the standard library does
    os.register_at_fork(after_in_child=renew)
    return lock
