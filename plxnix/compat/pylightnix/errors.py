"""The errors of plxnix as this layer raises them: of the same class, and `AssertionError` too.

Pylightnix guards its functions by `assert`, and its users catch that. `door()` stands around each
function here and translates what comes out of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from plxnix import errors

#: The classes that were made, by those that they are made of.
_made: dict[type[errors.PlxnixError], type[errors.PlxnixError]] = {}


def asserting(kind: type[errors.PlxnixError]) -> type[errors.PlxnixError]:
    """Return the class that is `kind` and `AssertionError` as well."""
    if issubclass(kind, AssertionError):
        return kind
    if kind in _made:
        return _made[kind]
    # A derivation that is not there was a file that is not there.
    more = (FileNotFoundError,) if issubclass(kind, errors.NotInStore) else ()
    fields: dict[str, Any] = {"__module__": __name__}
    if more:
        # Of several built-in errors, the one with fields of its own has to make the object.
        fields["__new__"] = lambda cls, *_: OSError.__new__(cls)
    made = type(kind.__name__, (kind, *more, AssertionError), fields)
    return _made.setdefault(kind, made)


def __getattr__(name: str) -> Any:
    # The classes are found by their names here, as pickle wants it: so none is imported by name.
    kind = getattr(errors, name, None)
    if isinstance(kind, type) and issubclass(kind, errors.PlxnixError):
        return asserting(kind)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def translated(error: errors.PlxnixError) -> BaseException:
    """Return what this layer raises for an error: a realizer's own exception, or the same class."""
    if isinstance(error, errors.BuildFailed) and error.__cause__ is not None:
        return error.__cause__
    kind = asserting(type(error))
    if kind is type(error):
        return error
    new = kind.__new__(kind)
    new.args = error.args
    new.__dict__.update(error.__dict__)
    return new


@contextmanager
def door() -> Iterator[None]:
    """Translate the errors that leave the block; as a decorator, those that leave the function."""
    try:
        yield
    except errors.PlxnixError as error:
        other = translated(error)
        if other is error:
            raise
        raise other from other.__cause__ or error.__cause__


def refuse(
    message: str, hint: str = "", kind: type[errors.PlxnixError] = errors.InvalidValue
) -> NoReturn:
    """Raise an error of `kind` that is an `AssertionError` as well."""
    raise asserting(kind)(message, hint)


def check(
    condition: object,
    message: str,
    hint: str = "",
    kind: type[errors.PlxnixError] = errors.InvalidValue,
) -> None:
    """Raise an error of `kind` unless the condition holds."""
    if not condition:
        refuse(message, hint, kind)
