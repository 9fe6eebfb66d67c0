"""Sharing: who may write into a store.

A store whose folder has the group's write bit and the set-group-ID bit is shared with that group:
what is made in it belongs to the group, and each member may add to it and lock it, whatever the
umask. Any other store is its owner's; what others could write is a risk that is reported.
"""

from __future__ import annotations

import os
import stat

from plxnix.errors import StoreError

#: Permissions of a folder that a group shares, and of a lock in it.
_FOLDER = 0o2775
_LOCK = 0o664

_SHARED = stat.S_ISGID | stat.S_IWGRP


def is_shared(folder: str) -> bool:
    """Tell whether a folder is shared with its group; one that is not there is not."""
    try:
        return os.stat(folder).st_mode & _SHARED == _SHARED
    except OSError:
        return False


def share(folder: str) -> None:
    """Let the group of a folder write into it, and own what is made there; raise `OSError`."""
    os.chmod(folder, _FOLDER)


def make_folder(path: str) -> None:
    """Make a folder of a store, shared if the one that it is in is; raise `OSError`.

    Else no group may write into it, whatever the umask.
    """
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return
    if is_shared(os.path.dirname(path)):
        share(path)


def share_lock(descriptor: int, path: str) -> None:
    """Let the group write a lock of this user's in a shared folder."""
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & _LOCK == _LOCK:
        return
    if is_shared(os.path.dirname(path)):
        os.fchmod(descriptor, _LOCK)


def share_store(root: str, group: str | int | None = None) -> None:
    """Share the folder of a store, before anything is in it, with a group (default: its own).

    Raises `StoreError` for a group that does not exist or that this user is not in.
    """
    try:
        if group is not None:
            os.chown(root, -1, group if isinstance(group, int) else _group(group))
        share(root)
    except OSError as error:
        raise StoreError(
            f"cannot share {root}: {error.strerror}", "be its owner, and a member of the group"
        ) from error


def _group(name: str) -> int:
    import grp

    try:
        return int(name) if name.isdigit() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise StoreError(
            f"there is no group {name!r}", "`id -Gn` prints the groups that you are in"
        ) from None


def intruders(folder: str) -> str:
    """Say who else may write into the folder of a store and should not; empty if nobody."""
    try:
        mode = os.stat(folder).st_mode
    except OSError:
        return ""
    if mode & stat.S_ISVTX:
        return ""  # Others may add, and not take away.
    if mode & stat.S_IWOTH:
        return "everybody"
    if mode & stat.S_IWGRP and not mode & stat.S_ISGID:
        return "its group"
    return ""
