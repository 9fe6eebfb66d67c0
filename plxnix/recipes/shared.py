"""What is shared with the Nix store: a fetch that Nix has already is copied, not downloaded.

The path of a fixed output follows from its name and hash, so there is one place to look at. What is
found there is copied first and then hashed: what is checked is what is kept. Without such a path no
program runs, so where there is no Nix this costs one system call.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Final

from plxnix.errors import InvalidSetting, ToolFailed, ToolMissing
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path
from plxnix.store import tree

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

#: Told in one line why something in the Nix store is used, or is not.
Said = Callable[[str], None]


def wanted(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell by `$PLXNIX_NIX_STORE` whether to look into the Nix store: `auto` (default) or `off`.

    Raises `InvalidSetting`.
    """
    value = environment.get("PLXNIX_NIX_STORE") or "auto"
    if value not in ("auto", "off"):
        raise InvalidSetting(f"PLXNIX_NIX_STORE is {value!r}", "set it to auto or off")
    return value == "auto"


def take_file(name: str, digest: Hash, destination: Path, said: Said) -> bool:
    """Copy a fetched file out of the Nix store to `destination`, mode 0644; tell whether it is.

    `name` is that of the fixed output and `digest` of the file's bytes. What is not valid in Nix's
    database or has another hash is left alone, `said` is told so, and nothing is left behind.
    """
    return _take(fixed_path(name, digest), digest, False, destination, said)


def take_tree(name: str, digest: Hash, destination: Path, said: Said) -> bool:
    """Copy a fetched tree out of the Nix store, writable for its owner, as `take_file` does it.

    `digest` is the hash of the tree's NAR; `destination` must not exist.
    """
    return _take(fixed_path(name, digest, recursive=True), digest, True, destination, said)


def _take(path: str, digest: Hash, recursive: bool, destination: Path, said: Said) -> bool:
    if not wanted() or not os.path.lexists(path) or not _valid(path, said):
        return False
    try:
        if recursive:
            _copy_tree(path, destination)
        else:
            _copy_file(path, destination, 0o644)
        why = _fault(destination, digest, recursive)
    except OSError as error:
        # Whatever it is, a download may still do; and if the disk is full, it says so itself.
        why = f"it cannot be copied: {error}"
    if why:
        tree.remove(os.fspath(destination))
        said(f"not taken from the Nix store: {path}: {why}")
        return False
    said(f"taken from the Nix store: {path}")
    return True


def _valid(path: str, said: Said) -> bool:
    """Tell whether Nix's database has a path; if that cannot be asked, it does not count."""
    from plxnix.nix import tools

    try:
        if path in tools.valid([path]):
            return True
        why = "it is not valid in Nix's database"
    except (ToolMissing, ToolFailed) as error:
        why = error.message
    said(f"not taken from the Nix store: {path}: {why}")
    return False


def _fault(copy: Path, digest: Hash, recursive: bool) -> str:
    """Return what is wrong with a copy; empty if nothing is."""
    from plxnix.nix.nar import nar_hash

    found = nar_hash(copy)[0] if recursive else Hash.of_file(copy, digest.algorithm)
    return "" if found == digest else f"it has the hash {found.sri}, not {digest.sri}"


def _copy_file(source: str, destination: Path, mode: int) -> None:
    """Clone or copy a regular file; never a hard link, as the copy's mode and times will change."""
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


def _copy_tree(source: str, destination: Path) -> None:
    """Copy what a NAR holds of a tree: files, whether they are executable, folders and links."""
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
            _copy_file(old, new, 0o755 if mode & 0o100 else 0o644)
