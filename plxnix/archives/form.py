"""The form of archives of closures, for those who write and those who read them."""

from __future__ import annotations

from typing import Final

#: The first member, and the format's number in it.
HEAD: Final = "plxnix-closure.json"
FORMAT: Final = 1

#: The most that a config, a record or the head may have, and a log, in bytes: they are read whole.
SMALL: Final = 64 << 20
LOG: Final = 512 << 20
