"""Make an environment of hard links to unpacked wheels, and unpack those that are not yet.

    python -I -S -c "import sys; sys.path[:0] = [...]; from plxnix.pyenv.linker import link; ..."

The builder's plan is followed, so the tree is the builder's. It is run by plxnix, in a process of
its own, which may fork. A wheel's `tree` in the spec is where it is unpacked, or else
`unpacked/N` below the folder of the spec, for the wheel's number, is made: frozen as in the store,
with its NAR hash beside it.
"""

from __future__ import annotations

import gc
import json
import os
import posixpath
import sys
from collections.abc import Iterator
from typing import Any

from plxnix.nix.nar_files import files_hash, nar_order
from plxnix.pyenv import builder
from plxnix.store import tree

__all__ = ["link"]


class _Linker(builder.Environment):
    """An environment being linked; `unpacked` is the folder for wheels that are in no tree."""

    def __init__(self, spec: dict[str, Any], out: str, python: str, unpacked: str) -> None:
        super().__init__(out, python, spec["version"], spec["collisions"])
        self._unpacked = unpacked
        self._trees = [wheel.get("tree") for wheel in spec["wheels"]]
        self.plan(spec["wheels"])

    def unpack(self, wheel: builder.Wheel, entries: list[builder.Entry]) -> None:
        """Link the entries of a wheel."""
        number = self.wheels.index(wheel)
        place = self._trees[number]
        if place is None:
            place = f"{self._unpacked}/{number}"
            found, size = files_hash(_frozen(wheel, place))
            with open(f"{place}.json", "w", encoding="utf-8") as file:
                json.dump([found.sri, size], file)
        for entry in entries:
            path = f"{self.out}/{entry.target}"
            if not _linked(f"{place}/{entry.name}", path, entry.executable):
                builder.write(path, wheel.checked(entry), entry.executable)


def _frozen(wheel: builder.Wheel, folder: str) -> Iterator[tuple[bytes, bool, bytes]]:
    """Unpack a wheel as a published tree, and tell of each file in the order of an archive."""
    os.mkdir(folder)
    folders: list[str] = []
    below = ""
    for entry in sorted(wheel.members, key=lambda one: nar_order(os.fsencode(one.name))):
        parent = posixpath.dirname(entry.name)
        if parent != below:
            below = parent
            missing = []
            while parent and not os.path.isdir(f"{folder}/{parent}"):
                missing.append(parent)
                parent = posixpath.dirname(parent)
            for one in reversed(missing):
                os.mkdir(f"{folder}/{one}")
                folders.append(f"{folder}/{one}")
        data, executable = wheel.checked(entry), builder.is_program(entry.member)
        path = f"{folder}/{entry.name}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            builder.put(descriptor, data)
            tree.freeze_file(descriptor, executable)
        finally:
            os.close(descriptor)
        yield os.fsencode(entry.name), executable, data
    for path in reversed(folders):
        tree.seal(path)


def link(spec: str, out: str, python: str) -> None:
    """Make the environment of a spec, the path of a JSON file, at `out`; exit if it is refused."""
    gc.disable()  # There is no garbage in tens of thousands of entries, and little time.
    with open(spec, encoding="utf-8") as file:
        said = json.load(file)
    unpacked = posixpath.join(posixpath.dirname(spec), "unpacked")
    os.mkdir(unpacked)
    try:
        _Linker(said, out, python, unpacked).write()
    except builder.Refused as refused:
        sys.exit(builder.told(refused))


def _linked(source: str, path: str, executable: bool) -> bool:
    """Make a hard link; tell whether that could be done, and the file has the permission."""
    try:
        if bool(os.stat(source).st_mode & 0o100) != executable:
            return False
        os.link(source, path)
    except OSError:
        return False  # There may be too many links (EMLINK).
    return True
