"""Errors of users' code: where in it something was raised."""

from __future__ import annotations

import os

from plxnix.errors import PlxnixError, TargetError
from plxnix.realize.run import RemoteTraceback

#: Where code that is not the user's own lies: plxnix itself and the standard library.
_FOREIGN = tuple(os.path.dirname(os.path.abspath(one)) + os.sep for one in (__file__, os.__file__))


def user_frames(error: BaseException) -> list[str]:
    """Return the places in the user's code that an error went through, innermost last."""
    import traceback

    if isinstance(error, SyntaxError) and error.filename:
        # It was met on the way into that file, so there is no frame for it.
        return [f"{_short(error.filename)}:{error.lineno}: {(error.text or '').strip()}"]
    frames = list(traceback.extract_tb(error.__traceback__))
    if isinstance(error.__cause__, RemoteTraceback):
        frames += error.__cause__.frames
    return [
        f"{_short(frame.filename)}:{frame.lineno} in {frame.name}: {frame.line}"
        for frame in frames
        if _is_users(frame.filename)
    ]


def translated(error: BaseException, what: str) -> TargetError:
    """Return an error that says where in the user's code something was raised."""
    if isinstance(error, TargetError):
        return error
    frames = user_frames(error)
    if isinstance(error, PlxnixError):
        said, hint = error.message, error.hint
    elif isinstance(error, SystemExit):
        said, hint = f"exit: {error.code}", "let it raise an exception instead"
    elif isinstance(error, SyntaxError):
        said, hint = f"{type(error).__name__}: {error.msg}", ""
    else:
        said, hint = f"{type(error).__name__}: {error}", ""
    place = frames[-1].split(" ")[0].rstrip(":") if frames else what
    return TargetError(f"{place}: {said}", hint, frames)


def _is_users(path: str) -> bool:
    foreign = path.startswith(("<", *_FOREIGN)) or f"{os.sep}site-packages{os.sep}" in path
    return not foreign and os.path.basename(path) != "plxnix"


def _short(path: str) -> str:
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
