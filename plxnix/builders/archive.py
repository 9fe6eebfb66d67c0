"""Unpack archives safely: nothing is written outside, nothing is followed, damage is an error.

The tree has the NAR hash that tar(1) or unzip(1) give in a Nix builder: names, contents, links and
the owner's executable bit are kept; owners, times and all other permissions are not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from plxnix.builders.archive_members import Budget, Limits, Member, RuleBroken, member_path, shown
from plxnix.errors import ArchiveError, HostileArchive

if TYPE_CHECKING:
    from plxnix.builders.archive_tar import Readable
    from plxnix.builders.archive_writer import TreeWriter

__all__ = ["Limits", "is_archive", "opened", "unpack"]

_SUFFIXES = (
    ".tar",
    ".tar.gz",
    ".tgz",
    ".tar.bz2",
    ".tbz",
    ".tbz2",
    ".tar.xz",
    ".txz",
    ".tar.lzma",
    ".tlz",
    ".tar.zst",
    ".tzst",
    ".zip",
    ".whl",
    ".jar",
)

_ZIP = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_SUFFIXES = (".zip", ".whl", ".jar")


def is_archive(name: str) -> bool:
    """Tell by its suffix, in any case, whether a file's name is that of an archive we unpack."""
    return name.lower().endswith(_SUFFIXES)


def unpack(
    archive: Path, destination: Path, *, strip: int = 0, limits: Limits | None = None
) -> None:
    """Unpack a tar or zip archive into `destination`, a folder that is made for it.

    The format is found in the contents, as tar(1) does, not in the name. `strip` leading components
    of each name are left out, and members that have no more than those, as with
    `tar --strip-components`. Symbolic links are written as they are, wherever they point, and never
    followed; hard links become files of their own; a later file or link takes the place of an
    earlier one. Modes become 0644, 0755 and, for folders, 0755.

    Raises `HostileArchive`, naming the member and the rule, for absolute names, `..`, control
    characters, devices, fifos, writing through a link, hard links to anything but a file unpacked
    before, and archives over the `limits`; `ArchiveError` for one that is damaged, encrypted, of an
    unknown format, or if `destination` exists; `OSError` if the disk cannot take it. After any
    error `destination` is gone. Nothing is flushed to disk. Takes constant memory for tar, and the
    directory's for zip.
    """
    limits = Limits() if limits is None else limits
    try:
        size = archive.stat().st_size
        with archive.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise ArchiveError(f"archive '{archive}' cannot be read: {error.strerror}") from error
    try:
        destination.mkdir(0o755)
    except FileExistsError:
        raise ArchiveError(
            f"cannot unpack '{archive}' into '{destination}': it exists already",
            "give the name of a folder that is not there yet",
        ) from None
    try:
        os.chmod(destination, 0o755)
        budget = Budget(limits, size)
        with opened(archive, head, limits, budget) as members:
            _write(archive, members, destination, strip, limits, budget)
    except BaseException:  # Ctrl-C too: nothing half unpacked stays; it is raised again
        import shutil

        shutil.rmtree(destination)
        raise


def _write(
    archive: Path,
    members: Iterable[Member],
    destination: Path,
    strip: int,
    limits: Limits,
    budget: Budget,
) -> None:
    from plxnix.builders.archive_writer import TreeWriter

    name = b""
    try:
        with TreeWriter(os.fsencode(destination), limits.members) as tree:
            for member in members:
                name = member.name
                _write_member(tree, member, strip, limits, budget)
    except RuleBroken as broken:
        if broken.member is not None:
            name = broken.member
        raise HostileArchive(
            f"archive '{archive}' is refused because of its member {shown(name)}: {broken.rule}",
            "do not trust it; if it is known to be good, unpack it by hand and give the folder",
        ) from None


def _write_member(
    tree: TreeWriter, member: Member, strip: int, limits: Limits, budget: Budget
) -> None:
    path = member.path[strip:]
    if member.kind == "folder":
        tree.folder(path)
        return
    if not member.path:
        raise RuleBroken("it would replace the top folder")
    if not path:
        return
    if member.kind == "file":
        tree.file(path, member.pieces, executable=member.executable, sparse=member.sparse)
    elif member.kind == "symlink":
        tree.symlink(path, member.target)
    else:
        tree.copy(path, member_path(member.target, limits)[strip:], budget.take)


@contextmanager
def opened(
    archive: Path, head: bytes, limits: Limits, budget: Budget
) -> Iterator[Iterable[Member]]:
    """Open an archive of whatever format, which its first 512 bytes tell, member by member."""
    from plxnix.builders.archive_tar import Source, tar_members
    from plxnix.builders.archive_zip import zip_members

    if head.startswith(_ZIP) or archive.name.lower().endswith(_ZIP_SUFFIXES):
        with closing(zip_members(archive, limits, budget)) as members:
            yield members
        return
    inner = _decompressor(archive, head)
    with closing(inner or archive.open("rb")) as stream:
        source = Source(archive, stream, budget)
        yield tar_members(archive, source, limits, budget, compressed=inner is not None)


def _decompressor(archive: Path, head: bytes) -> Readable | None:
    """Open a compressed file by its first bytes; None if it is not compressed."""
    try:
        if head.startswith(b"\x1f\x8b"):
            import gzip

            return gzip.open(archive)
        if head.startswith(b"BZh"):
            import bz2

            return bz2.open(archive)
        if head.startswith(b"\xfd7zXZ\0") or _is_old_lzma(head):
            import lzma

            return lzma.open(archive)
    except ImportError as error:
        raise ArchiveError(
            f"archive '{archive}' needs the module {error.name}, which this Python lacks",
            "use a Python that has it, or another compression",
        ) from error
    if head.startswith(b"\x28\xb5\x2f\xfd"):
        from plxnix.builders.archive_zstd import open_zstd

        return open_zstd(archive)
    return None


def _is_old_lzma(head: bytes) -> bool:
    # Hardly a magic number: a tar whose first member is named `]` begins alike.
    return head.startswith(b"\x5d\0\0") and head[257:262] != b"ustar"
