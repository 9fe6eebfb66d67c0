"""Power cuts: what is left of a workflow at any moment, without what was not flushed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from plxnix.errors import StoreError
from plxnix.model import RRef
from plxnix.store import Fsync, Store
from plxnix.store.verify import verify
from tests.archive_trees import Tree, snapshot
from tests.faults.children import traced
from tests.faults.counting import Row, Scale
from tests.faults.recording import OPTIONS, Recording
from tests.faults.trials import Stage, stages
from tests.faults.workflows import MANY, WORKFLOWS, copy, remove, store_of

#: What a realization is: its tree, its record and its config, or None for what is missing.
Whole = tuple[Tree, bytes | None, bytes | None]


def power_cuts(scale: Scale) -> Iterator[Row]:
    """Cut the power at random moments of each workflow, flushed as much as each level says."""
    ready = list(stages(scale.folder, (*WORKFLOWS, MANY)))
    for level, what in (
        (Fsync.FULL, "level full: 0 damaged, next run right"),
        (Fsync.DATA, "level data: 0 undetected"),
    ):
        row = Row("power", what)
        recordings = [_record(stage, level) for stage in ready]
        number = scale.number(500, 80)
        for trial in range(number):
            stage = ready[trial % len(ready)]
            recording, truth = recordings[trial % len(ready)]
            chance = scale.random(f"{level} {trial}")
            ordered = trial // len(ready) % 2 == 0
            # The last moment too: what was reported as published has to be there.
            index = chance.choice([chance.randint(0, recording.calls)] * 9 + [recording.calls])
            place = recording.top
            recording.cut(place, index, ordered, chance)
            label = f"{stage.workflow.name} {'ordered' if ordered else 'loose'} {index} #{trial}"
            try:
                row.check(label, *_wrong(stage, recording, index, truth, level))
            finally:
                remove(place)
        yield row


def _record(stage: Stage, level: Fsync) -> tuple[Recording, dict[RRef, Whole]]:
    """Record a workflow; return also what each realization is that it begins or ends with."""
    before = f"{stage.folder}/template"
    with stage.place() as place:
        truth = _realizations(place)
        log = f"{stage.folder}/log-{level.value}"
        outcome = traced(stage.run(place, level), log, *OPTIONS)
        if outcome.status != 0:
            raise RuntimeError(f"{stage.workflow.name} fails below strace: {outcome}")
        truth |= _realizations(place)
        copied = f"{stage.folder}/before"
        remove(copied)
        copy(before, copied)
        _lead_to(copied, place)
        recording = Recording(place, copied, log)
        _check(recording, place)
    return recording, truth


def _lead_to(copied: str, place: str) -> None:
    """Let the roots in a copy lead into the place that it is a copy of."""
    for root in Path(store_of(copied)).glob("gcroots/*"):
        if root.is_symlink():
            kept = os.readlink(root).replace(copied, place)
            root.unlink()
            root.symlink_to(kept)


def _check(recording: Recording, place: str) -> None:
    """Check that the recording is whole: in the end it has what is on the disk."""
    from random import Random

    replayed = f"{place}-replayed"
    for inode in recording.inodes():
        inode.flushed.append(recording.calls)
    recording.cut(replayed, recording.calls, False, Random(0))  # noqa: S311
    for inode in recording.inodes():
        inode.flushed.pop()
    there, here = snapshot(Path(place)), snapshot(Path(replayed))
    remove(replayed)
    if there != here:
        names = sorted(
            name for name in there.keys() | here.keys() if there.get(name) != here.get(name)
        )
        raise RuntimeError(f"the recording of {place} is not whole: {names[:10]}")


def _realizations(place: str) -> dict[RRef, Whole]:
    """Return what each realization in a store is, read without our own readers."""
    found: dict[RRef, Whole] = {}
    if not os.path.isdir(f"{store_of(place)}/store-v1"):
        return found
    for folder in Path(store_of(place), "store-v1").iterdir():
        for one in folder.iterdir() if folder.is_dir() else ():
            if one.is_dir() and len(one.name) == 32:
                rref = RRef(f"rref:{one.name}-{folder.name}")
                found[rref] = (
                    snapshot(one),
                    _bytes(one.with_name(one.name + ".json")),
                    _bytes(folder / "config.json"),
                )
    return found


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _wrong(
    stage: Stage, recording: Recording, index: int, truth: dict[RRef, Whole], level: Fsync
) -> Iterator[str]:
    """Yield what is wrong with what a cut has left."""
    place = recording.top
    there = _realizations(place)
    damaged = {rref for rref, whole in there.items() if whole != truth.get(rref)}
    if level is Fsync.FULL:
        for rref in damaged:
            yield f"{rref} is damaged: {_differences(there[rref], truth.get(rref))}"
        if index == recording.calls and isinstance(stage.expected, list):
            for rref in stage.expected:
                if rref.startswith("rref:") and rref not in there:
                    yield f"{rref} was reported, and is not there"
        yield from stage.again(place)
    elif damaged:
        try:
            store = Store(store_of(place))
        except StoreError:
            return  # Nobody reads anything there.
        seen = {damage.dref for damage in verify(store)}
        for rref in damaged:
            if rref.dref not in seen:
                yield f"{rref} is damaged, and nothing says so"


def _differences(found: Whole, wanted: Whole | None) -> str:
    if wanted is None:
        return "nobody made it"
    names = ("artifacts", "record", "config")
    return ", ".join(n for n, a, b in zip(names, found, wanted, strict=True) if a != b)


__all__ = ["power_cuts"]
