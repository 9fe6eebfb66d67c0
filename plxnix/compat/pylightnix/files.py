"""Files and folders, as Pylightnix makes, changes, reads and writes them."""

from __future__ import annotations

import json
import os
import shutil
import stat as _stat
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from plxnix import folders
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.timing import timestring
from plxnix.compat.pylightnix.types import Path
from plxnix.errors import ToolMissing
from plxnix.store import tree

T = TypeVar("T")


U = TypeVar("U")


def logdir(tag: str, logrootdir: str, timetag: str | None = None) -> str:
    """Return the folder that `mklogdir` makes."""
    time = timestring() if timetag is None else timetag
    return os.path.join(logrootdir, f"{tag}_{time}" if tag else time)


@door()
def mklogdir(
    tag: str,
    logrootdir: str,
    subdirs: Iterable[str] = (),
    symlinks: bool = True,
    timetag: str | None = None,
) -> Path:
    """Make `<logrootdir>/<tag>_<time>`, and the link `_<tag>_latest` to it."""
    time = timestring() if timetag is None else timetag
    return Path(folders.mklogdir(tag, logrootdir, subdirs, symlinks, time))


def forcelink(src: str, dst: str, **kwargs: Any) -> None:
    """Make a link at `dst`, in place of whatever file is there."""
    os.makedirs(os.path.dirname(dst) or ".", exist_ok=True)
    temporary = f"{dst}.{os.urandom(8).hex()}"
    os.symlink(src, temporary, **kwargs)
    os.replace(temporary, dst)


def filerw(f: str) -> None:
    """Let the owner write to a file."""
    check(os.path.isfile(f), f"{f!r} is not a file")
    os.chmod(f, _mode(f) | _stat.S_IWUSR)


def filero(f: str) -> None:
    """Make a file read-only."""
    check(os.path.isfile(f), f"{f!r} is not a file")
    os.chmod(f, _mode(f) & ~0o222)


def _mode(path: str) -> int:
    return _stat.S_IMODE(os.stat(path).st_mode)


def dirro(o: str) -> None:
    """Make a folder and all in it read-only."""
    for folder, _, files in os.walk(o, topdown=False):
        for name in files:
            if not os.path.islink(os.path.join(folder, name)):
                filero(os.path.join(folder, name))
        os.chmod(folder, _mode(folder) & ~0o222)


def dirrw(o: str) -> None:
    """Let the owner write to a folder and all in it."""
    folders.dirrw(o)


def dirchmod(o: str, mode: str) -> None:
    """Make a folder read-only (`ro`) or writable (`rw`)."""
    if mode not in ("ro", "rw"):
        refuse(f"the mode of {o} is to be {mode!r}", "it is 'ro' or 'rw'")
    dirro(o) if mode == "ro" else dirrw(o)


def dirsize(o: str) -> int:
    """Return the bytes in the files of a folder, links left out."""
    paths = (os.path.join(root, name) for root, _, files in os.walk(o) for name in files)
    return sum(os.path.getsize(path) for path in paths if not os.path.islink(path))


def dirrm(path: str, ignore_not_found: bool = True) -> None:
    """Remove a folder, read-only or not; it disappears by one rename."""
    moved = f"{path}.{os.urandom(8).hex()}"
    try:
        os.rename(path, moved)
    except FileNotFoundError:
        if not ignore_not_found:
            raise
        return
    tree.remove(moved)


def dircp(src: str, dst: str, make_rw: bool = False) -> None:
    """Copy a folder; it appears by one rename."""
    check(os.path.isdir(src), f"{src!r} is no folder")
    check(not os.path.isdir(dst), f"there is a folder {dst!r} already")
    temporary = f"{dst}.{os.urandom(8).hex()}"
    shutil.copytree(src, temporary, symlinks=True)
    if make_rw:
        dirrw(temporary)
    os.rename(temporary, dst)


def readstr(path: str) -> str:
    """Return the text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def writestr(path: str, data: str) -> None:
    """Write text to a file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(data)


def writejson(path: str, data: Any, indent: int | None = None) -> None:
    """Write a value to a file as JSON."""
    writestr(path, json.dumps(data, indent=indent))


def readjson(json_path: str) -> Any:
    """Return the JSON in a file."""
    return json.loads(readstr(json_path))


def trycatch(f: Callable[[], T], default: T, mp: Callable[[T], U]) -> U:
    """Return what `mp` makes of what `f` returns, or of `default` if either raises."""
    try:
        return mp(f())
    except Exception:  # noqa: BLE001 (the contract: whatever it is)
        return mp(default)


def maybereadjson(path: str, default: Any, mp: Callable[[Any], U]) -> U:
    """Return what `mp` makes of the JSON in a file, or of `default`."""
    return trycatch(lambda: readjson(path), default, mp)


def maybereadstr(path: str, default: str, mp: Callable[[str], U]) -> U:
    """Return what `mp` makes of the text of a file, or of `default`."""
    return trycatch(lambda: readstr(path), default, mp)


def tryreadjson_def(json_path: str, default: Any) -> Any:
    """Return the JSON in a file, or `default`."""
    return maybereadjson(json_path, default, lambda found: found)


def tryreadjson(json_path: str) -> Any:
    """Return the JSON in a file, or None."""
    return tryreadjson_def(json_path, None)


def tryreadstr_def(path: str, default: str) -> str:
    """Return the text of a file, or `default`."""
    return maybereadstr(path, default, lambda found: found)


def tryread_def(path: str, default: str) -> str:
    """Return the text of a file, or `default`."""
    return tryreadstr_def(path, default)


def tryreadstr(path: str) -> str | None:
    """Return the text of a file, or None."""
    none: str | None = None
    return trycatch(lambda: readstr(path), none, lambda found: found)


def tryread(path: str) -> str | None:
    """Return the text of a file, or None."""
    return tryreadstr(path)


def trywrite(path: str, data: str) -> bool:
    """Write text to a file; tell whether that worked."""

    def write() -> bool:
        writestr(path, data)
        return True

    return trycatch(write, False, bool)


def try_executable(
    name: str, envname: str, not_found_message: str | None, not_found_warning: str | None
) -> Callable[[], str]:
    """Return a function that returns the path of a program: `$envname`, else the one on PATH."""
    del not_found_warning

    def find() -> str:
        found = os.environ.get(envname) or shutil.which(name)
        return found or refuse(not_found_message or f"there is no {name}", "", ToolMissing)

    return find


__all__ = [
    "dirchmod",
    "dircp",
    "dirrm",
    "dirro",
    "dirrw",
    "dirsize",
    "filero",
    "filerw",
    "forcelink",
    "logdir",
    "maybereadjson",
    "maybereadstr",
    "mklogdir",
    "readjson",
    "readstr",
    "try_executable",
    "trycatch",
    "tryread",
    "tryread_def",
    "tryreadjson",
    "tryreadjson_def",
    "tryreadstr",
    "tryreadstr_def",
    "trywrite",
    "writejson",
    "writestr",
]
