"""Settings of the native store: where it is, how hard it writes, which one is current."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum

from plxnix.errors import InvalidSetting


class Fsync(Enum):
    """How much is flushed to the disk before a realization becomes visible.

    `NONE`: nothing; a crash of the machine may leave published realizations damaged. `DATA`: what
    is published, so that damage cannot go unseen. `FULL`: the folders as well, so that what was
    reported as published is there after a power cut.
    """

    NONE = "none"
    DATA = "data"
    FULL = "full"

    @classmethod
    def parse(cls, text: str) -> Fsync:
        """Read a level from a setting; raise `InvalidSetting`."""
        try:
            return cls(text)
        except ValueError:
            raise InvalidSetting(
                f"PLXNIX_FSYNC is {text!r}", "set it to none, data or full"
            ) from None


def default_root(environment: Mapping[str, str] = os.environ) -> str:
    """Return the place of the default store.

    `$PLXNIX_ROOT`, else `$XDG_DATA_HOME/plxnix`, else `~/.local/share/plxnix` (XDG Base Directory
    Specification). Raises `InvalidSetting` if that is no absolute path and no home is known.
    """
    root = environment.get("PLXNIX_ROOT")
    if root:
        return os.path.abspath(root)
    data = environment.get("XDG_DATA_HOME")
    if not data or not os.path.isabs(data):
        home = os.path.expanduser("~")
        if not os.path.isabs(home):
            raise InvalidSetting(
                "neither PLXNIX_ROOT nor HOME is set", "set PLXNIX_ROOT to a folder"
            )
        data = os.path.join(home, ".local", "share")
    return os.path.join(data, "plxnix")


def default_fsync(environment: Mapping[str, str] = os.environ) -> Fsync:
    """Return the level in `$PLXNIX_FSYNC`, `data` if it is not set; raise `InvalidSetting`."""
    return Fsync.parse(environment.get("PLXNIX_FSYNC") or Fsync.DATA.value)
