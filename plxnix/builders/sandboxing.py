"""The setting of the sandbox, which is read where no sandbox is needed yet."""

from __future__ import annotations

import os
from enum import Enum

from plxnix.errors import InvalidSetting


class Sandboxing(Enum):
    """Whether builders run in the sandbox: where it works, always, or never."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"

    @classmethod
    def parse(cls, text: str | None) -> Sandboxing:
        """Read a setting: `text`, else `$PLXNIX_SANDBOX`, else `auto`; raise `InvalidSetting`."""
        source = "sandbox" if text else "PLXNIX_SANDBOX"
        value = text or os.environ.get("PLXNIX_SANDBOX") or cls.AUTO.value
        try:
            return cls(value)
        except ValueError:
            raise InvalidSetting(f"{source} is {value!r}", "set it to auto, on or off") from None
