"""How patient a download is; the part that transfers and retries have in common."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from plxnix.errors import InvalidSetting


@dataclass(frozen=True)
class DownloadSettings:
    """How patient a download is.

    `connect_timeout`: seconds until a connection must be there; `stall_timeout`: seconds without
    any byte. `tries`: of each source, where a try may help. `backoff`: seconds before the second
    try, doubled before each further one, less up to half by chance. `longest_wait`: seconds; no
    pause is longer, and a server that asks for more is given up. `redirects`: at most so many in
    a row. `max_size`: bytes; more is refused.
    """

    connect_timeout: float = 15.0
    stall_timeout: float = 30.0
    tries: int = 4
    backoff: float = 0.5
    longest_wait: float = 60.0
    redirects: int = 20
    max_size: int | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> DownloadSettings:
        """Return the defaults with what the environment says.

        `PLXNIX_CONNECT_TIMEOUT` and `PLXNIX_STALL_TIMEOUT` are seconds, `PLXNIX_DOWNLOAD_TRIES` is
        a whole number. Raises `InvalidSetting` for what is not a positive number.
        """
        environment = os.environ if environment is None else environment
        tries = environment.get("PLXNIX_DOWNLOAD_TRIES") or str(cls.tries)
        if not (tries.isascii() and tries.isdigit() and 0 < len(tries) < 4 and int(tries)):
            raise InvalidSetting(
                f"PLXNIX_DOWNLOAD_TRIES is '{tries}', not a number of tries",
                f"set it to {cls.tries}, or unset it",
            )
        return cls(
            connect_timeout=_seconds(environment, "PLXNIX_CONNECT_TIMEOUT", cls.connect_timeout),
            stall_timeout=_seconds(environment, "PLXNIX_STALL_TIMEOUT", cls.stall_timeout),
            tries=int(tries),
        )


def _seconds(environment: Mapping[str, str], variable: str, default: float) -> float:
    value = environment.get(variable, "")
    if not value:
        return default
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 1e6:
        raise InvalidSetting(
            f"{variable} is '{value}', not a number of seconds",
            f"set it to {default:g}, or unset it",
        )
    return seconds
