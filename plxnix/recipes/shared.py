"""What is shared with the Nix store, and within this one: what is here is not downloaded.

The path of a fixed output follows from its name and hash, so there is one place to look at. What is
found there is linked or copied first and then hashed: what is checked is what is kept. Without such
a path no program runs, so where there is no Nix this costs one system call.

A file of Nix becomes a hard link if the file systems, the user's rights, and its mode and time let
it: it is then one file, which outlives either name. Else it is cloned, else copied.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from plxnix.errors import ExportError, InvalidSetting, ToolFailed, ToolMissing
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path
from plxnix.store import Store, fixed, tree

#: The request that makes a file share another's blocks, from <linux/fs.h> (ioctl_ficlone(2)).
_FICLONE: Final = 0x40049409

#: What a file system answers that cannot do that, or not between these two files.
_CANNOT_CLONE: Final = {
    errno.EBADF,
    errno.EINVAL,
    errno.ENOSYS,
    errno.ENOTTY,
    errno.EOPNOTSUPP,
    errno.EPERM,
    errno.ETXTBSY,
    errno.EXDEV,
}

#: The same for hard links: other file systems, too many of them, or `fs.protected_hardlinks`.
_CANNOT_LINK: Final = {errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.EPERM, errno.EXDEV}

#: Told in one line why something in the Nix store is used, or is not.
Said = Callable[[str], None]

#: Makes a regular file at another place; a mode goes with it if it is a copy.
Bring = Callable[[str, Path, int], None]


def setting(environment: Mapping[str, str] = os.environ) -> str:
    """Return `$PLXNIX_NIX_STORE`: `auto` (default), `off`, or `add`; raise `InvalidSetting`.

    By `off` the Nix store is not looked into; by `add` it also gets what was downloaded.
    """
    value = environment.get("PLXNIX_NIX_STORE") or "auto"
    if value not in ("auto", "off", "add"):
        raise InvalidSetting(f"PLXNIX_NIX_STORE is {value!r}", "set it to auto, off or add")
    return value


def take_file(name: str, digest: Hash, destination: Path, said: Said) -> bool:
    """Link or copy a fetched file out of the Nix store to `destination`; tell whether it is there.

    `name` is that of the fixed output and `digest` of the file's bytes. What is not valid in Nix's
    database or has another hash is left alone, `said` is told so, and nothing is left behind. The
    file may be Nix's own, so nobody may write to it or change its mode.
    """
    return _take(fixed_path(name, digest), digest, False, destination, said)


def take_tree(name: str, digest: Hash, destination: Path, said: Said) -> bool:
    """Link or copy a fetched tree out of the Nix store, as `take_file` does it; folders are new.

    `digest` is the hash of the tree's NAR; `destination` must not exist.
    """
    return _take(fixed_path(name, digest, recursive=True), digest, True, destination, said)


def _take(path: str, digest: Hash, recursive: bool, destination: Path, said: Said) -> bool:
    if setting() == "off" or not os.path.lexists(path) or not _valid(path, said):
        return False
    why = _obtained(path, digest, recursive, destination, _share_file)
    said(
        f"not taken from the Nix store: {path}: {why}"
        if why
        else f"taken from the Nix store: {path}"
    )
    return not why


def take_known(
    store: Store, digest: Hash, destination: Path, said: Said, recursive: bool = False
) -> bool:
    """Copy a file or tree with this hash that another fetch has brought; tell whether there is one.

    The rest is as for `take_file`, but what is copied is writable for its owner.
    """
    path = fixed.find(store, digest, recursive)
    if path is None:
        return False
    why = _obtained(path, digest, recursive, destination, _copy_file)
    said(f"not taken from {path}: {why}" if why else f"the same as {path}")
    return not why


def give(place: Path, name: str, digest: Hash, recursive: bool, folder: Path, said: Said) -> str:
    """Put what was downloaded into the Nix store and return its path there.

    If Nix refuses, `said` is told, and the path is empty. As long as `folder` is there, Nix keeps
    the path.
    """
    from plxnix.nix import tools

    try:
        path, _ = add(place, name, digest, recursive)
        tools.add_root(path, folder / f"root-{name}")
    except (ExportError, ToolMissing, ToolFailed) as error:
        said(f"not added to the Nix store: {error.message}")
        return ""
    said(f"added to the Nix store: {path}")
    return path


def add(place: Path, name: str, digest: Hash, recursive: bool) -> tuple[str, bool]:
    """Put a file or tree with this hash into the Nix store; return its path, and if it is new.

    Raises `ExportError` if Nix puts it elsewhere, `ToolMissing`, `ToolFailed`.
    """
    from plxnix.nix import tools

    predicted = fixed_path(name, digest, recursive)
    if predicted in tools.valid([predicted]):
        return predicted, False
    path = tools.add_fixed(place, digest.algorithm, recursive, name)
    if path != predicted:
        raise ExportError(f"Nix put {place} at {path}, not at {predicted}", "report this defect")
    return path, True


def _obtained(path: str, digest: Hash, recursive: bool, destination: Path, bring: Bring) -> str:
    """Bring a file or tree to `destination` and return what is wrong with it; empty if nothing."""
    try:
        if recursive:
            _bring_tree(path, destination, bring)
        else:
            bring(path, destination, 0o644)
        why = _fault(destination, digest, recursive)
    except OSError as error:
        # Whatever it is, a download may still do; and if the disk is full, it says so itself.
        why = f"it cannot be copied: {error}"
    if why:
        tree.remove(os.fspath(destination))
    return why


def _valid(path: str, said: Said) -> bool:
    """Tell whether Nix's database has a path; if that cannot be asked, it does not count."""
    from plxnix.nix import tools

    try:
        if path in tools.valid([path]):
            return True
        said(f"not taken from the Nix store: {path}: it is not valid in Nix's database")
    except ToolMissing as error:
        said(f"nothing is taken from the Nix store: {error.message}")
    except ToolFailed as error:
        # Without the path: it is said once of all.
        why = tools.last_lines(error.stderr or error.message)
        said(f"nothing is taken from the Nix store, as it cannot be asked:{why}")
    return False


def _fault(copy: Path, digest: Hash, recursive: bool) -> str:
    """Return what is wrong with a copy; empty if nothing is."""
    from plxnix.nix.nar import hash_of

    found = hash_of(copy, digest.algorithm, recursive)
    return "" if found == digest else f"it has the hash {found.sri}, not {digest.sri}"


def _share_file(source: str, destination: Path, mode: int) -> None:
    """Make a file of the Nix store ours too, by a hard link if it is as ours are; else copy it."""
    found = os.lstat(source)
    if stat.S_ISREG(found.st_mode) and tree.is_frozen(found):
        try:
            os.link(source, destination, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
        else:
            return
    _copy_file(source, destination, mode)


def _copy_file(source: str, destination: Path, mode: int) -> None:
    """Clone or copy a regular file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with (
        open(source, "rb", buffering=0, opener=lambda path, _: os.open(path, flags)) as old,
        open(destination, "xb", buffering=0) as new,
    ):
        if not stat.S_ISREG(os.fstat(old.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", source)
        if not _clone(old, new):
            import shutil

            shutil.copyfileobj(old, new, tree.SMALL)
        os.fchmod(new.fileno(), mode)


def _clone(old: IO[bytes], new: IO[bytes]) -> bool:
    """Let a file share the blocks of another, where the file system can; tell whether it does."""
    import fcntl

    try:
        fcntl.ioctl(new.fileno(), _FICLONE, old.fileno())
    except OSError as error:
        if error.errno not in _CANNOT_CLONE:
            raise
        return False
    return True


def _bring_tree(source: str, destination: Path, bring: Bring) -> None:
    """Bring what a NAR holds of a tree: files, whether they are executable, folders and links."""
    waiting = [(source, destination)]
    while waiting:
        old, new = waiting.pop()
        mode = os.lstat(old).st_mode
        if stat.S_ISLNK(mode):
            os.symlink(os.readlink(old), new)
        elif stat.S_ISDIR(mode):
            new.mkdir()
            waiting.extend((os.path.join(old, name), new / name) for name in os.listdir(old))
        else:
            bring(old, new, 0o755 if mode & 0o100 else 0o644)
