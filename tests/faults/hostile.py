"""Hostile names and archives: they are refused by a typed error, or kept as they are."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from plxnix import Registry, Store, build_wrapper, instantiate, match_only, mkdrv, realize
from plxnix.builders.archive import unpack
from plxnix.store import Fsync, tree
from plxnix.store.verify import verify
from tests.archive_trees import Entry, file, folder, hardlink, snapshot, symlink, tar_bytes
from tests.faults.children import attempt
from tests.faults.counting import Row, Scale
from tests.faults.reading import commands, defects
from tests.faults.trials import wedged

_PIECES = (
    *("a", "..", ".", " ", "-", "--", "\n", "\t", "\x1b[2J", "\x00", "\x7f", "'", '"', "`", "$(x)"),
    *("*", "?", "~", "\\", "/", "//", ";", "|", "&", "#", "%s", "{}", "é", "e\u0301", "\u202e"),
    *("\ufeff", "\U0001f600", "\udcff", "\ud800", "x" * 250, "CON", ".json", ".log.gz", "config"),
    *("config.json", "0" * 32, "dref:", "rref:", "tmp", "con.", "a\r", "日本"),
)


def names(scale: Scale) -> Iterator[Row]:
    """Call files and stages what nobody would call them."""
    files = Row("names", "hostile names of files: kept as they are, or a typed error")
    called = Row("names", "hostile names of stages: taken as they are, or a typed error")
    kept = taken = 0
    root = f"{scale.folder}/names"
    Store.init(root, Fsync.NONE)
    _warm(root)
    for number in range(scale.number(200, 40)):
        chance = scale.random(f"name {number}")
        name = "".join(chance.choice(_PIECES) for _ in range(chance.randint(1, 3)))
        for row, function in ((files, _file_called), (called, _stage_called)):
            outcome = attempt(function(root, name, number))
            good = outcome.status == 0
            kept += good and row is files
            taken += good and row is called
            untyped = "" if good or outcome.typed else f"no typed error: {outcome.error[-2000:]}"
            row.check(f"{name!a}", wedged(outcome), untyped, *(outcome.result or ()))  # type: ignore[misc]
    left = [damage.message for damage in verify(Store(root))]
    files.check("all of them", *left)
    files.note, called.note = f"{kept} kept", f"{taken} taken"
    yield from (files, called)


def _warm(root: str) -> None:
    """Import what the children need."""
    defects(root, [["ls"], ["info"], ["du"], ["find"]])


def _made(root: str, config: dict[str, Any], name: str) -> list[str]:
    """Realize a stage that writes a file of some name; return what is wrong with the result."""

    def make(build: Any) -> None:
        try:
            os.makedirs(os.path.dirname(f"{build.outpaths[0]}/{name}"), exist_ok=True)
            Path(f"{build.outpaths[0]}/{name}").write_bytes(b"here")
        except (OSError, ValueError):  # The system does not take it either.
            (build.outpaths[0] / "none").write_bytes(b"here")

    store = Store(root, Fsync.NONE)
    stage = lambda: mkdrv(config, match_only(), build_wrapper(make))  # noqa: E731
    rref = realize(instantiate(stage, registry=Registry(store)))
    wrong = [damage.message for damage in verify(store, [rref])]
    found = [entry for entry in snapshot(Path(store.path(rref))).values() if entry[0] == "file"]
    outside = [] if found == [("file", False, b"here")] or ".." in name else [f"it has {found}"]
    chosen = commands(rref, "dref:" + rref[38:])
    store.session().close()
    return wrong + outside + defects(root, chosen[8:11])


def _file_called(root: str, name: str, number: int) -> Callable[[], object]:
    safe = "/".join(part for part in name.split("/") if part != "..")
    return lambda: _made(root, {"name": "files", "number": number}, safe or "x")


def _stage_called(root: str, name: str, number: int) -> Callable[[], object]:
    return lambda: _made(root, {"name": name, "number": number}, "out")


def archives(scale: Scale) -> Iterator[Row]:
    """Unpack archives whose members do what members must not."""
    row = Row("archives", "unpacked inside, or a typed error and nothing left")
    good = 0
    for number in range(scale.number(60, 30)):
        chance = scale.random(f"archive {number}")
        data = _damaged(tar_bytes(*_members(chance)), chance)
        place = f"{scale.folder}/archive-{number}"
        os.makedirs(f"{place}/outside")
        Path(place, "outside", "file").write_text("precious")
        Path(place, "a.tar").write_bytes(data)
        outcome = attempt(_unpacking(place))
        went = outcome.status == 0
        good += went
        wrong = "" if went or outcome.typed else f"no typed error: {outcome.error[-2000:]}"
        outside = snapshot(Path(place, "outside"))
        touched = "" if outside == {b"file": ("file", False, b"precious")} else "outside is touched"
        left = sorted(set(os.listdir(place)) - {"outside", "a.tar"} - ({"tree"} if went else set()))
        row.check(f"#{number}", wedged(outcome), wrong, touched, left and f"it left {left}")
        tree.remove(place)
    row.note = f"{good} unpacked"
    yield row


def _unpacking(place: str) -> Callable[[], object]:
    def run() -> None:
        unpack(Path(place, "a.tar"), Path(place, "tree"))

    return run


def _members(chance: random.Random) -> Iterator[Entry]:
    names = ("a", "a/b", "c", "../outside/file", "/etc/passwd", "a/../../outside/file", "d\n", "C")
    for _ in range(chance.randint(1, 6)):
        name = chance.choice((*names, "a", "a/b", "c/d", "e", "f/g/h", "é", "e\u0301"))
        kind = chance.randrange(8)
        if kind < 4:
            yield file(
                name, os.fsencode(name) * chance.randint(0, 50), chance.choice((0o644, 0o4755))
            )
        elif kind == 4:
            yield folder(name)
        elif kind == 5:
            yield symlink(name, chance.choice((*names, "..", ".", "../outside")))
        elif kind == 6:
            yield hardlink(name, chance.choice(names))
        else:
            yield file(name, b"", kind=chance.choice((b"3", b"4", b"6", b"Q")))


def _damaged(data: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.5:
        return data
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed[: chance.choice((len(changed), chance.randrange(len(changed))))])


__all__ = ["archives", "names"]
