"""Mutated stores: something in a store is not what was put there, and somebody has to say so."""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from plxnix.errors import PlxnixError
from plxnix.store import Fsync, Store
from plxnix.store.verify import verify
from tests.archive_trees import Tree, snapshot
from tests.faults.children import attempt
from tests.faults.counting import Row, Scale
from tests.faults.reading import commands, defects, paths_below
from tests.faults.trials import stages, wedged
from tests.faults.workflows import store_of

#: Seconds after which somebody waits for what never comes, such as a pipe.
_PATIENCE = 20.0


def mutations(scale: Scale) -> Iterator[Row]:
    """Change one thing in each of many stores."""
    stage = next(one for one in stages(scale.folder) if one.workflow.name == "realize")
    with stage.place() as place:
        made = attempt(stage.run(place, Fsync.NONE))
        shutil.rmtree(f"{stage.folder}/template")
        os.rename(place, f"{stage.folder}/template")
        os.mkdir(place)
    if not isinstance(made.result, list):
        raise RuntimeError(f"the store cannot be made: {made}")
    first = str(made.result[0])
    imported = defects(f"{stage.folder}/template/store", commands(first, "dref:" + first[38:]))
    if imported:
        raise RuntimeError(f"commands fail on a good store: {imported}")
    truth = {rref: _tree(f"{stage.folder}/template", rref) for rref in made.result}
    found = Row("mutations", "verify finds each")
    read = Row("mutations", "reading commands: a clear word, no traceback")
    realized = Row("mutations", "realize: right, or a typed error, or seen by verify")
    handed = 0
    for number in range(scale.number(500, 60)):
        chance = scale.random(f"mutation {number}")
        with stage.place() as place:
            label = _mutate(store_of(place), chance)
            told = attempt(_verified(place), _PATIENCE)
            damage = told.result if isinstance(told.result, list) else [told.error]
            missed = "" if damage or told.typed else "nobody says so"
            untyped = "" if told.status == 0 or told.typed else f"verify fails: {told.error}"
            found.check(f"{label} (#{number})", wedged(told), missed, untyped)
            rref = chance.choice(made.result)
            chosen = commands(rref, "dref:" + rref[38:])
            said = attempt(lambda: defects(store_of(place), chosen), _PATIENCE)  # noqa: B023
            problems = said.result if isinstance(said.result, list) else [said.error]
            read.check(f"{label} (#{number})", wedged(said), *problems)
            again = attempt(stage.run(place, Fsync.NONE), _PATIENCE)
            wrong = ""
            if again.status == 0:
                if again.result != stage.expected:
                    wrong = f"realize gives {again.result}"
                elif any(_tree(place, one) != truth[one] for one in truth):
                    handed += 1
                    wrong = missed and "realize gives what is damaged, and nobody says so"
            elif not again.typed and not again.wedged:
                wrong = f"no typed error: {again.error[-2000:]}"
            realized.check(f"{label} (#{number})", wedged(again), wrong)
    realized.note = f"{handed} were damaged where realize does not read, and verify says so"
    yield from (found, read, realized)


def _verified(place: str) -> Callable[[], object]:
    def run() -> list[str]:
        try:
            store = Store(store_of(place))
        except PlxnixError as error:
            return [error.message]
        return [damage.message for damage in verify(store)]

    return run


def _tree(place: str, rref: str) -> Tree | str:
    path = Path(store_of(place), "store-v1", rref[38:], rref[5:37])
    try:
        return snapshot(path)
    except (OSError, AssertionError) as error:
        return f"{error!r}"


def _mutate(root: str, chance: random.Random) -> str:
    """Change one thing in a store and return what."""
    while True:
        every = [f"{root}/version", *paths_below(f"{root}/store-v1")]
        path = chance.choice(every)
        before = _state(root)
        label = chance.choice(_KINDS)(path, chance)
        if label and _state(root) != before:
            return f"{label} {path[len(root) + 1 :]}"


def _state(root: str) -> dict[str, object]:
    """Return all that a mutation may change."""
    state: dict[str, object] = {}
    for path in [f"{root}/version", *paths_below(f"{root}/store-v1")]:
        if os.path.lexists(path):
            found = os.lstat(path)
            content: object = None
            if stat.S_ISLNK(found.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(found.st_mode):
                content = Path(path).read_bytes() if os.access(path, os.R_OK) else b""
            mode = found.st_mode if not stat.S_ISLNK(found.st_mode) else 0
            state[path] = (mode, content)
    return state


def _is_file(path: str) -> bool:
    return stat.S_ISREG(os.lstat(path).st_mode)


def _rewrite(path: str, data: bytes) -> None:
    """Write a file in place and keep its mode."""
    mode = stat.S_IMODE(os.lstat(path).st_mode)
    os.chmod(path, 0o600)
    Path(path).write_bytes(data)
    os.chmod(path, mode)


def _flip(path: str, chance: random.Random) -> str:
    if not _is_file(path) or not os.path.getsize(path):
        return ""
    data = bytearray(Path(path).read_bytes())
    place, bit = chance.randrange(len(data)), chance.randrange(8)
    data[place] ^= 1 << bit
    _rewrite(path, bytes(data))
    return f"flip bit {bit} of byte {place} of"


def _truncate(path: str, chance: random.Random) -> str:
    if not _is_file(path):
        return ""
    data = Path(path).read_bytes()
    _rewrite(path, data[: chance.randrange(len(data) + 1)])
    return "truncate"


def _garbage(path: str, chance: random.Random) -> str:
    if not _is_file(path):
        return ""
    texts = (b"null", b"[" * 20000, b'{"a": 1e999}', b"9" * 5000, b"\xff\xfe", b'"\\ud800"', b"{}")
    _rewrite(path, chance.choice(texts))
    return "write garbage to"


def _append(path: str, chance: random.Random) -> str:
    if not _is_file(path):
        return ""
    _rewrite(path, Path(path).read_bytes() + chance.choice((b"\n", b"\0", b"x" * 100)))
    return "append to"


def _rename(path: str, chance: random.Random) -> str:
    writable = _opened(os.path.dirname(path))
    name = os.path.basename(path)
    new = chance.choice((name + "x", name.upper() or "x", "." + name, name[:-1] or "x", "\udcff"))
    if not os.path.lexists(f"{os.path.dirname(path)}/{new}"):
        os.chmod(path, 0o755) if os.path.isdir(path) and not os.path.islink(path) else None
        os.rename(path, f"{os.path.dirname(path)}/{new}")
    writable()
    return f"rename to {new!a}"


def _delete(path: str, chance: random.Random) -> str:
    del chance
    # A whole derivation leaves no trace: it is as if it had never been.
    if os.path.dirname(path).endswith("/store-v1"):
        return ""
    _remove(path)
    return "delete"


def _remove(path: str) -> None:
    writable = _opened(os.path.dirname(path))
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
    writable()


def _mode(path: str, chance: random.Random) -> str:
    if os.path.islink(path) or path.endswith("/version"):
        return ""
    # The folder of a derivation is its owner's to write in; others' modes are fixed.
    if os.path.dirname(path).endswith("/store-v1"):
        return ""
    os.chmod(path, chance.choice((0o644, 0o755, 0o777, 0o000, 0o4555, 0o400, 0o444, 0o555)))
    return "change the mode of"


def _add(path: str, chance: random.Random) -> str:
    folder = path if os.path.isdir(path) and not os.path.islink(path) else os.path.dirname(path)
    if folder.endswith("/store"):
        return ""
    writable = _opened(folder)
    names = ("new", ".hidden", "config.json.bak", "0" * 32, "\udcfe")
    new = f"{folder}/{chance.choice(names)}"
    kind = chance.choice(("file", "folder", "link", "pipe"))
    if not os.path.lexists(new):
        if kind == "file":
            Path(new).write_text("new")
            os.chmod(new, 0o444)
        elif kind == "folder":
            os.mkdir(new, 0o555)
        elif kind == "link":
            os.symlink("config.json", new)
        else:
            os.mkfifo(new, 0o444)
    writable()
    return f"add a {kind} to"


def _replace(path: str, chance: random.Random) -> str:
    if path.endswith("/store-v1"):
        return ""
    writable = _opened(os.path.dirname(path))
    _remove(path)
    kind = chance.choice(("folder", "link", "pipe", "dangling"))
    if kind == "folder":
        os.mkdir(path, 0o555)
    elif kind == "pipe":
        os.mkfifo(path, 0o444)
    else:
        os.symlink("/etc/hostname" if kind == "link" else "nowhere", path)
    writable()
    return f"put a {kind} in place of"


def _swap(path: str, chance: random.Random) -> str:
    folder = os.path.dirname(path)
    other = f"{folder}/{chance.choice(sorted(os.listdir(folder)))}"
    both = (path, other)
    if other == path or len({os.path.isdir(one) for one in both}) > 1 or "version" in path:
        return ""
    if any(os.path.islink(one) for one in both):
        return ""
    writable = _opened(folder)
    modes = [stat.S_IMODE(os.lstat(one).st_mode) for one in both]
    for one in both:
        os.chmod(one, 0o755)
    os.rename(path, f"{folder}/swapped")
    os.rename(other, path)
    os.rename(f"{folder}/swapped", other)
    os.chmod(other, modes[0])
    os.chmod(path, modes[1])
    writable()
    return f"swap with {os.path.basename(other)}"


def _opened(folder: str) -> Callable[[], None]:
    """Make a folder writable; return what gives it its mode back."""
    mode = stat.S_IMODE(os.lstat(folder).st_mode)
    os.chmod(folder, 0o755)
    return lambda: os.chmod(folder, mode)


_KINDS = (
    *(_flip, _flip, _flip, _truncate, _garbage, _append, _rename, _delete, _mode, _add),
    *(_replace, _swap),
)


__all__ = ["mutations"]
