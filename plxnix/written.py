"""Values as they are written in a shell: JSON, or else text, and what a parameter wants of the two.

`version=2.10` is not the number 2.1. So a number stays text where reading it would lose some of it,
unless it is known that a number is wanted; where text is wanted, all stays as it is.
"""

from __future__ import annotations

import json
import math
from inspect import Parameter, formatannotation
from typing import Any

#: How annotations say that a parameter takes text, or text and nothing else but None.
_TEXT, _TEXT_OR_NONE = {"str"}, {"str | None", "None | str", "Optional[str]"}

#: How annotations say that it takes numbers, as default values do.
_NUMBER = {"float", "int", "float | None", "int | None", "int | float", "float | int"}


def read(text: str, wanted: str = "") -> Any:
    """Return the value that a text stands for.

    It is what the text is as JSON, or the text if it is no JSON, or a number that says more than
    its value does, as `2.10` and `1e999` do (`1e-3` is a number). If `wanted` is `number`, such
    are numbers too. If it is `text`, the text is the value; so it is if `text or null` is wanted
    and it is not `null`. A string in quotes is always what the quotes hold.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if wanted.startswith("text"):
        plain = isinstance(found, str) or (found is None and wanted == "text or null")
        return found if plain else text
    if isinstance(found, float) and wanted != "number" and not _says_all(found, text):
        return text
    return found


def _says_all(found: float, text: str) -> bool:
    return repr(found) == text.strip() or ("e" in text.lower() and math.isfinite(found))


def wanted_by(parameter: Parameter | None, default: Any = Parameter.empty) -> str:
    """Return what a parameter wants, for `read`, by its annotation or else its default value.

    `default` is that of the stage, where the decorator has it and not the parameter.
    """
    if parameter is not None and parameter.annotation is not Parameter.empty:
        annotation = formatannotation(parameter.annotation).strip("'\"")
        for wanted, spellings in (
            ("text", _TEXT),
            ("text or null", _TEXT_OR_NONE),
            ("number", _NUMBER),
        ):
            if annotation.removeprefix("typing.") in spellings:
                return wanted
    if default is Parameter.empty and parameter is not None:
        default = parameter.default
    if isinstance(default, str):
        return "text"
    number = isinstance(default, (int, float)) and not isinstance(default, bool)
    return "number" if number else ""
