"""Quarantine: where what is damaged, or has no place in a store, is moved to; nothing is deleted.

`quarantine/<time>-<digits>-<name>` is what was moved, and the same with `.txt` says from where and
why. Who has looked at it removes it by hand.
"""

from __future__ import annotations

import os
import stat
import time

from plxnix.store import sharing
from plxnix.store.layout import Layout


def set_aside(layout: Layout, path: str, why: str) -> str:
    """Move a file or folder of the store into the quarantine and return its new place.

    Permissions stay as they are. Raises `OSError`.
    """
    mode = os.lstat(path).st_mode
    sharing.make_folder(layout.quarantine)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    place = f"{layout.quarantine}/{stamp}-{os.urandom(4).hex()}-{os.path.basename(path)[:150]}"
    with open(f"{place}.txt", "x", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"{path}\n{why}\n")
    movable = not stat.S_ISDIR(mode) or mode & 0o200
    if not movable:
        os.chmod(path, 0o700)  # Only a folder that is writable can be moved to another parent.
    try:
        os.rename(path, place)
    except OSError:
        os.unlink(f"{place}.txt")
        raise
    finally:
        if not movable:
            os.chmod(place if os.path.lexists(place) else path, stat.S_IMODE(mode))
    return place


def quarantined(layout: Layout) -> list[str]:
    """Return the places of what is in the quarantine, oldest first."""
    try:
        names = sorted(os.listdir(layout.quarantine))
    except OSError:
        return []
    return [f"{layout.quarantine}/{name}" for name in names if not name.endswith(".txt")]
