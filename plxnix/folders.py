"""Folders of one's own: those that realizers log into, and copies of realizations."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from plxnix.errors import InvalidValue


def mklogdir(
    tag: str,
    logrootdir: str | os.PathLike[str],
    subdirs: Iterable[str] = (),
    symlinks: bool = True,
    timetag: str | None = None,
) -> Path:
    """Make the folder `logrootdir/TAG_TIME` with `subdirs` in it, and return its path.

    With `symlinks` the link `logrootdir/_TAG_latest` points to it from then on. `timetag` (default:
    local time as year-month-day and hours-minutes-seconds) stands for TIME; a folder that is there
    already is used again. An empty `tag` leaves its part out. Raises `InvalidValue` for parts that
    hold a slash.
    """
    when = time.strftime("%y%m%d-%H:%M:%S") if timetag is None else timetag
    for part in (tag, when):
        if "/" in part or "\0" in part or part in (".", ".."):
            raise InvalidValue(f"not a part of a file name: {part!r}", "leave slashes out")
    root = Path(logrootdir)
    folder = root / "_".join(filter(None, (tag, when)))
    folder.mkdir(parents=True, exist_ok=True)
    for subdir in subdirs:
        (folder / subdir).mkdir(parents=True, exist_ok=True)
    if symlinks:
        link = root / "_".join(("", *filter(None, [tag]), "latest"))
        # Renamed into its place, so that it leads somewhere at all times.
        temporary = root / f".{link.name}-{os.getpid()}-{os.urandom(4).hex()}"
        temporary.symlink_to(folder.name)
        os.replace(temporary, link)
    return folder


def dirrw(path: str | os.PathLike[str]) -> None:
    """Let the owner write to a folder and all in it, as to a copy of a realization.

    Links are not followed. Raises `OSError`, as for what belongs to others.
    """
    _writable(os.fspath(path))
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            _writable(os.path.join(folder, name))


def _writable(path: str) -> None:
    mode = os.lstat(path).st_mode
    if not stat.S_ISLNK(mode):
        os.chmod(path, stat.S_IMODE(mode) | stat.S_IWUSR)
