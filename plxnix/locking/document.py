"""Documents of JSON that are locks: read with care, and written in one form."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

from plxnix.errors import InvalidValue

#: What the file of a lock is called, and the number of its format.
LOCK: Final = "plxnix.lock.json"
FORMAT: Final = 1

#: What there is to say of a document that was to be changed.
UNTOUCHED: Final = "it was not touched"


def printed(value: Any) -> str:
    """Write a lock: sorted, indented by two, with a line feed at its end."""
    return json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def parse_json(data: bytes, shown: str, hint: str = UNTOUCHED) -> dict[str, Any]:
    """Read an object of JSON that can be written again without a loss.

    `shown` is what errors call it, and `hint` their hint. Raises `InvalidValue` for all else, also
    for a key that is there twice, a number that JSON does not have, and deep nesting.
    """
    try:
        value = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_constant=_number,
            parse_float=_fraction,
        )
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidValue(f"{shown} is nested too deeply", hint) from None
    except InvalidValue as error:
        raise InvalidValue(f"{shown}: {error.message}", error.hint) from None
    except ValueError as error:
        raise InvalidValue(f"{shown} is no JSON in UTF-8: {error}", hint) from None
    if not isinstance(value, dict):
        raise InvalidValue(f"{shown} is no object, but {value!r:.100}", hint)
    return value


def parse_lock(data: bytes, shown: str, hint: str = UNTOUCHED) -> dict[str, Any]:
    """Read a lock of the format that this plxnix knows; see `parse_json`."""
    value = parse_json(data, shown, hint)
    version = value.get("version")
    if version != FORMAT or type(version) is not int:
        raise InvalidValue(
            f"{shown} has the version {version!r:.100}, and this plxnix knows {FORMAT}",
            "use the plxnix that wrote it",
        )
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidValue(f"it has {twice!r:.100} twice in one object", "take one out")
    return found


def _number(constant: str) -> NoReturn:
    raise InvalidValue(f"it holds the number {constant}, which is none in JSON", "take it out")


def _fraction(digits: str) -> float:
    number = float(digits)
    if repr(number) != digits:
        raise InvalidValue(
            f"it holds the number {digits:.100}, which cannot be kept exactly", "write it as text"
        )
    return number
