"""What a builder has left at its outputs: checked as Nix checks it, and searched for store paths.

Nothing is followed, and nothing is trusted: names, depth and permissions are a builder's own.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Mapping
from pathlib import Path

from plxnix.errors import BuildFailed, HashMismatch
from plxnix.nix import hashes
from plxnix.nix.graph import FixedOutput
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import dump
from plxnix.nix.paths import STORE
from plxnix.nix.quoting import encode

#: How deep an output may be, and how long, in bytes, a path in it: both have to be named at once
#: wherever the output is kept, below the 4095 bytes of Linux (limits.h), and walked by recursion.
_DEEPEST = 500
_LONGEST = 3584


def check_output(stage: str, output: Path, name: str = "out") -> None:
    """Refuse an output that Nix would not make: none, a fifo or the like, setuid or setgid files.

    Folders are made readable and writable for their owner on the way. `name` is the output's. Also
    refused are paths below it that are too long to be named at once. Raises `BuildFailed`.
    """
    if output.is_symlink() or not output.exists():
        raise BuildFailed(
            f"the builder of {stage} exited with 0 but made "
            f"{'a link' if output.is_symlink() else 'nothing'} at ${name}",
            f'a builder makes a file or a folder at "${name}"',
            stage,
        )
    top = os.fspath(output)
    waiting = [(top, os.lstat(output), 0)]
    while waiting:
        path, found, depth = waiting.pop()
        mode, place = found.st_mode, f"${name}{path[len(top) :]}"
        if depth > _DEEPEST or len(os.fsencode(path)) > _LONGEST + len(os.fsencode(top)):
            raise BuildFailed(
                f"the builder of {stage} left {place[:60] + '...'!r}, a path of {depth} levels and "
                f"{len(os.fsencode(place))} bytes",
                f"no more than {_DEEPEST} levels and {_LONGEST} bytes can be kept",
                stage,
            )
        if stat.S_ISDIR(mode):
            if mode & 0o700 != 0o700:
                os.chmod(path, stat.S_IMODE(mode) | 0o700)
            with os.scandir(path) as entries:
                waiting += [
                    (one.path, one.stat(follow_symlinks=False), depth + 1) for one in entries
                ]
        elif stat.S_ISREG(mode):
            if mode & (stat.S_ISUID | stat.S_ISGID):
                raise _refused(stage, place, "a file with setuid or setgid permission")
            if not mode & 0o400:
                os.chmod(path, stat.S_IMODE(mode) | 0o400)
        elif not stat.S_ISLNK(mode):
            raise _refused(stage, place, "which is neither a file nor a folder nor a link")


def _refused(stage: str, place: str, what: str) -> BuildFailed:
    return BuildFailed(
        f"the builder of {stage} left {place!r}, {what}", "Nix would not have it either", stage
    )


def copied(output: Path, destination: Path) -> Path:
    """Copy an output that was checked, so that nobody else has its files open; return the copy."""
    import shutil

    if output.is_dir():
        shutil.copytree(output, destination, symlinks=True, copy_function=shutil.copy)
    else:
        shutil.copy(output, destination)
    return destination


def check_fixed(stage: str, output: Path, fixed: FixedOutput) -> None:
    """Refuse an output whose hash is another than was specified.

    Raises `HashMismatch`, and `BuildFailed` for one of which the bytes are to be hashed and that is
    no plain file. Cost: reads all of it once.
    """
    if fixed.recursive:
        state = hashes.new(fixed.hash.algorithm)
        for piece in dump(output):
            state.update(piece)
        found = Hash(fixed.hash.algorithm, state.digest())
    else:
        mode = os.lstat(output).st_mode
        if not stat.S_ISREG(mode) or mode & 0o100:
            raise BuildFailed(
                f"the builder of {stage} made no plain file at $out, but its hash is that of one",
                "make a file that is not executable, or say hash_mode='recursive'",
                stage,
            )
        found = Hash.of_file(output, fixed.hash.algorithm)
    if found != fixed.hash:
        raise HashMismatch(
            f"the result of {stage} has another hash than was specified:\n"
            f"  specified: {fixed.hash.sri}\n  got:       {found.sri}",
            f'if these contents are right, write hash="{found.sri}"',
            fixed.hash.sri,
            found.sri,
        )


def check_free(stage: str, references: Collection[str]) -> None:
    """Refuse references in a fixed output, whose path does not depend on what it was made from."""
    if references:
        raise BuildFailed(
            f"the result of {stage} holds the store path {min(references)}, but it has a hash",
            "what has a hash may refer to nothing in the store, nor to itself",
            stage,
        )


def check_order(stage: str, references: Mapping[str, Collection[str]]) -> None:
    """Refuse outputs that refer to each other in a circle, as Nix does; to itself one may.

    `references` are the outputs that each output refers to.
    """
    left = {name: set(others) - {name} for name, others in references.items()}
    while left:
        free = [name for name, others in left.items() if not others & left.keys()]
        if not free:
            raise BuildFailed(
                f"outputs of {stage} refer to each other in a circle: {', '.join(sorted(left))}",
                "let one of them hold no path of the others",
                stage,
            )
        for name in free:
            del left[name]


def find_references(output: Path, candidates: Collection[str]) -> set[str]:
    """Return those store paths of `candidates` that the output refers to, found as Nix finds them.

    That is by their 32 digits, in contents, names and targets of links. Cost: reads all of it once.
    Raises `NixFormatError` and `OSError` as `dump` does.
    """
    start = len(STORE) + 1
    missing = {encode(path[start : start + 32]): path for path in candidates}
    found: set[str] = set()
    before = b""
    for piece in dump(output) if missing else ():
        window = before + piece
        for digits in [one for one in missing if one in window]:
            found.add(missing.pop(digits))
        before = window[-31:]
    return found
