"""Configs of Pylightnix as configs of plxnix, and back.

Pylightnix takes what `json` takes; plxnix takes what is JSON. So NaN and the infinities are written
as objects here, and a name that is no text as text.
"""

from __future__ import annotations

import math
from typing import Any

from plxnix import config as native
from plxnix.compat.pylightnix.types import Config

#: The only field of an object that stands for a float which JSON does not know.
_FLOAT = "__float__"


def to_native(config: Config) -> native.Config:
    """Return the config of plxnix; raise what that raises."""
    fields = encode(config.val)
    if "name" in fields:
        fields["name"] = str(fields["name"])
    return native.Config(fields)


def from_native(config: native.Config) -> Config:
    """Return the config of Pylightnix."""
    return Config(decode(config.value()))


def encode(value: Any) -> Any:
    """Return a copy in which floats that JSON does not know are objects."""
    if isinstance(value, float) and not math.isfinite(value):
        return {_FLOAT: repr(value)}
    if isinstance(value, dict):
        return {key: encode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [encode(item) for item in value]
    return value


def decode(value: Any) -> Any:
    """Return what `encode` was given."""
    if isinstance(value, dict):
        if value.keys() == {_FLOAT}:
            return float(value[_FLOAT])
        return {key: decode(item) for key, item in value.items()}
    if isinstance(value, list):
        return [decode(item) for item in value]
    return value
