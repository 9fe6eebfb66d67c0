"""Small functions of Pylightnix: files, hashes, references in values, sorting."""

from __future__ import annotations

import json
import os
import shutil
import stat as _stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from queue import PriorityQueue
from typing import Any, TypeVar

from plxnix import folders
from plxnix.codehash import codehash
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.timing import PYLIGHTNIX_TIME, parsetime, timestring
from plxnix.compat.pylightnix.types import DRef, Hash, Path, RRef
from plxnix.errors import InvalidConfig, ToolMissing
from plxnix.model import selfref as _selfref
from plxnix.store import tree

PYLIGHTNIX_SELF_TAG = str(_selfref)
selfref = PYLIGHTNIX_SELF_TAG

T = TypeVar("T")
U = TypeVar("U")
Mutator = Callable[[Any, Any], Any]


# -- folders and files -------------------------------------------------------------------------


def logdir(tag: str, logrootdir: str, timetag: str | None = None) -> str:
    """Return the folder that `mklogdir` makes."""
    time = timestring() if timetag is None else timetag
    return os.path.join(logrootdir, f"{tag}_{time}" if tag else time)


@door()
def mklogdir(
    tag: str,
    logrootdir: str,
    subdirs: Iterable[str] = (),
    symlinks: bool = True,
    timetag: str | None = None,
) -> Path:
    """Make `<logrootdir>/<tag>_<time>`, and the link `_<tag>_latest` to it."""
    time = timestring() if timetag is None else timetag
    return Path(folders.mklogdir(tag, logrootdir, subdirs, symlinks, time))


def forcelink(src: str, dst: str, **kwargs: Any) -> None:
    """Make a link at `dst`, in place of whatever file is there."""
    os.makedirs(os.path.dirname(dst) or ".", exist_ok=True)
    temporary = f"{dst}.{os.urandom(8).hex()}"
    os.symlink(src, temporary, **kwargs)
    os.replace(temporary, dst)


def filerw(f: str) -> None:
    """Let the owner write to a file."""
    check(os.path.isfile(f), f"{f!r} is not a file")
    os.chmod(f, _mode(f) | _stat.S_IWUSR)


def filero(f: str) -> None:
    """Make a file read-only."""
    check(os.path.isfile(f), f"{f!r} is not a file")
    os.chmod(f, _mode(f) & ~0o222)


def _mode(path: str) -> int:
    return _stat.S_IMODE(os.stat(path).st_mode)


def dirro(o: str) -> None:
    """Make a folder and all in it read-only."""
    for folder, _, files in os.walk(o, topdown=False):
        for name in files:
            if not os.path.islink(os.path.join(folder, name)):
                filero(os.path.join(folder, name))
        os.chmod(folder, _mode(folder) & ~0o222)


def dirrw(o: str) -> None:
    """Let the owner write to a folder and all in it."""
    folders.dirrw(o)


def dirchmod(o: str, mode: str) -> None:
    """Make a folder read-only (`ro`) or writable (`rw`)."""
    if mode not in ("ro", "rw"):
        refuse(f"the mode of {o} is to be {mode!r}", "it is 'ro' or 'rw'")
    dirro(o) if mode == "ro" else dirrw(o)


def dirsize(o: str) -> int:
    """Return the bytes in the files of a folder, links left out."""
    paths = (os.path.join(root, name) for root, _, files in os.walk(o) for name in files)
    return sum(os.path.getsize(path) for path in paths if not os.path.islink(path))


def dirrm(path: str, ignore_not_found: bool = True) -> None:
    """Remove a folder, read-only or not; it disappears by one rename."""
    moved = f"{path}.{os.urandom(8).hex()}"
    try:
        os.rename(path, moved)
    except FileNotFoundError:
        if not ignore_not_found:
            raise
        return
    tree.remove(moved)


def dircp(src: str, dst: str, make_rw: bool = False) -> None:
    """Copy a folder; it appears by one rename."""
    check(os.path.isdir(src), f"{src!r} is no folder")
    check(not os.path.isdir(dst), f"there is a folder {dst!r} already")
    temporary = f"{dst}.{os.urandom(8).hex()}"
    shutil.copytree(src, temporary, symlinks=True)
    if make_rw:
        dirrw(temporary)
    os.rename(temporary, dst)


# -- hashes ------------------------------------------------------------------------------------


def encode(s: str, encoding: str = "utf-8") -> bytes:
    """Return text as bytes."""
    return s.encode(encoding)


def datahash(data: Iterable[tuple[str, bytes]], verbose: bool = False) -> Hash:
    """Return the sha256 of pieces of data, each with a word about it that is not hashed."""
    del verbose
    found = sha256()
    for _, piece in data:
        found.update(piece)
    return Hash(found.hexdigest())


def dirhash_iter(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield what `dirhash` hashes: files in sorted order, and where links lead."""
    check(os.path.isdir(path), f"dirhash() wants a folder, not {path!r}")
    for root, subfolders, files in os.walk(os.path.abspath(path)):
        subfolders.sort()
        for name in sorted(files):
            if name.startswith("_"):
                continue
            place = os.path.join(root, name)
            if os.path.islink(place):
                yield f"link:{place}", encode(os.readlink(place))
            if os.path.isfile(place):
                with open(place, "rb") as file:
                    while piece := file.read(tree.SMALL):
                        yield place, piece


def dirshash(paths: Iterable[str], verbose: bool = False) -> Hash:
    """Return Pylightnix's hash of several folders."""
    return datahash((piece for path in paths for piece in dirhash_iter(path)), verbose)


def dirhash(path: str, verbose: bool = False) -> Hash:
    """Return Pylightnix's hash of a folder: the sha256 of its files' bytes, one after another.

    Names, boundaries, empty folders and files that begin with `_` do not count, so different
    folders may have one hash. Nothing in plxnix rests on it: realizations are named by the hash of
    their archives.
    """
    return dirshash([path], verbose)


def filehash(path: str) -> Hash:
    """Return the sha256 of a file."""
    check(os.path.isfile(path), f"filehash() wants a file, not {path!r}")
    with open(path, "rb") as file:
        return datahash((path, piece) for piece in iter(lambda: file.read(tree.SMALL), b""))


@door()
def pyobjhash(pyobjs: list[Any]) -> Hash:
    """Return the hash of functions' code; it is the same in every process."""
    return Hash(codehash(pyobjs))


def dicthash(d: dict[Any, Any]) -> Hash:
    """Return a hash of a dict, of which fields that begin with `_` are no part."""
    fields = (f"{key}={value}" for key, value in sorted(d.items()) if key and key[0] != "_")
    return Hash(sha256("_".join(fields).encode(errors="surrogatepass")).hexdigest())


# -- references in values ----------------------------------------------------------------------


def isrref(ref: Any) -> bool:
    """Tell whether a value looks like a reference to a realization."""
    return isinstance(ref, str) and len(ref) >= 5 + 32 + 1 + 32 and ref.startswith("rref:")


def isdref(ref: Any) -> bool:
    """Tell whether a value looks like a reference to a derivation."""
    return isinstance(ref, str) and len(ref) >= 5 + 32 and ref.startswith("dref:")


def isrefpath(p: Any) -> bool:
    """Tell whether a value is a list that begins with a reference and goes on with text."""
    return (
        isinstance(p, list)
        and len(p) > 0
        and isdref(p[0])
        and all(isinstance(part, str) and not isdref(part) for part in p[1:])
    )


def isselfpath(p: Any) -> bool:
    """Tell whether a value is a promise."""
    return (
        isinstance(p, list)
        and len(p) > 0
        and all(isinstance(part, str) for part in p)
        and p[0] == PYLIGHTNIX_SELF_TAG
    )


def isclosure(x: Any) -> bool:
    """Tell whether a value is a closure."""
    return (
        isinstance(x, tuple)
        and len(x) == 4
        and isinstance(x[1], list)
        and all(map(isdref, x[1]))
        and isinstance(x[2], list)
    )


def _visit(value: Any, mut: Mutator) -> None:
    if isinstance(value, list):
        traverse_list(value, mut)
    elif isinstance(value, dict):
        traverse_dict(value, mut)
    elif isinstance(value, tuple):
        traverse_tuple(value, mut)


def traverse_tuple(t: tuple[Any, ...], mut: Mutator) -> None:
    """Call `mut` for each item of a tuple, at any depth; it may not change items of tuples."""
    check(isinstance(t, tuple), f"not a tuple: {t!r:.80}")
    for index, item in enumerate(t):
        check(mut(index, item) == item, f"an item of a tuple cannot be changed: {item!r:.80}")
        _visit(item, mut)


def traverse_list(l: list[Any], mut: Mutator) -> None:  # noqa: E741
    """Replace each item of a list by what `mut` makes of its index and itself, at any depth."""
    check(isinstance(l, list), f"not a list: {l!r:.80}")
    for index in range(len(l)):
        l[index] = mut(index, l[index])
        _visit(l[index], mut)


def traverse_dict(d: dict[Any, Any], mut: Mutator) -> None:
    """Replace each value of a dict by what `mut` makes of its key and itself, at any depth."""
    check(isinstance(d, dict), f"not a dict: {d!r:.80}")
    for key in d:
        d[key] = mut(key, d[key])
        _visit(d[key], mut)


def scanref_list(l: list[Any]) -> tuple[list[DRef], list[RRef]]:  # noqa: E741
    """Return the references in a list, at any depth."""
    check(isinstance(l, list), f"not a list: {l!r:.80}")
    drefs: list[DRef] = []
    rrefs: list[RRef] = []

    def note(_: Any, value: Any) -> Any:
        if isrref(value):
            rrefs.append(RRef(value))
        elif isdref(value):
            drefs.append(DRef(value))
        return value

    traverse_list(l, note)
    return drefs, rrefs


def scanref_dict(d: dict[Any, Any]) -> tuple[list[DRef], list[RRef]]:
    """Return the references in a dict, at any depth."""
    check(isinstance(d, dict), f"not a dict: {d!r:.80}")
    return scanref_list(list(d.values()))


def assert_serializable(d: Any, argname: str = "dict") -> Any:
    """Return a value as JSON gives it back; raise `InvalidConfig` if that is another."""
    try:
        back = json.loads(json.dumps(d))
    except (TypeError, ValueError) as error:
        refuse(f"{argname} is not JSON: {error}", "use plain values", InvalidConfig)
    if str(d) != str(back):
        refuse(
            f"{argname} is {d!r:.200}, which JSON gives back as {back!r:.200}",
            "use lists for tuples, and plain strings and numbers",
            InvalidConfig,
        )
    return back


def assert_valid_dict(d: dict[Any, Any], argname: str) -> dict[Any, Any]:
    """Return a dict that JSON can hold; raise `InvalidConfig` for another."""
    check(isinstance(d, dict), f"{argname} is no dict: {d!r:.80}", "", InvalidConfig)
    assert_serializable(d, argname)
    return d


# -- reading and writing -----------------------------------------------------------------------


def readstr(path: str) -> str:
    """Return the text of a file."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def writestr(path: str, data: str) -> None:
    """Write text to a file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(data)


def writejson(path: str, data: Any, indent: int | None = None) -> None:
    """Write a value to a file as JSON."""
    writestr(path, json.dumps(data, indent=indent))


def readjson(json_path: str) -> Any:
    """Return the JSON in a file."""
    return json.loads(readstr(json_path))


def trycatch(f: Callable[[], T], default: T, mp: Callable[[T], U]) -> U:
    """Return what `mp` makes of what `f` returns, or of `default` if either raises."""
    try:
        return mp(f())
    except Exception:  # noqa: BLE001 (the contract: whatever it is)
        return mp(default)


def maybereadjson(path: str, default: Any, mp: Callable[[Any], U]) -> U:
    """Return what `mp` makes of the JSON in a file, or of `default`."""
    return trycatch(lambda: readjson(path), default, mp)


def maybereadstr(path: str, default: str, mp: Callable[[str], U]) -> U:
    """Return what `mp` makes of the text of a file, or of `default`."""
    return trycatch(lambda: readstr(path), default, mp)


def tryreadjson_def(json_path: str, default: Any) -> Any:
    """Return the JSON in a file, or `default`."""
    return maybereadjson(json_path, default, lambda found: found)


def tryreadjson(json_path: str) -> Any:
    """Return the JSON in a file, or None."""
    return tryreadjson_def(json_path, None)


def tryreadstr_def(path: str, default: str) -> str:
    """Return the text of a file, or `default`."""
    return maybereadstr(path, default, lambda found: found)


def tryread_def(path: str, default: str) -> str:
    """Return the text of a file, or `default`."""
    return tryreadstr_def(path, default)


def tryreadstr(path: str) -> str | None:
    """Return the text of a file, or None."""
    none: str | None = None
    return trycatch(lambda: readstr(path), none, lambda found: found)


def tryread(path: str) -> str | None:
    """Return the text of a file, or None."""
    return tryreadstr(path)


def trywrite(path: str, data: str) -> bool:
    """Write text to a file; tell whether that worked."""

    def write() -> bool:
        writestr(path, data)
        return True

    return trycatch(write, False, bool)


def try_executable(
    name: str,
    envname: str,
    not_found_message: str | None,
    not_found_warning: str | None,
) -> Callable[[], str]:
    """Return a function that returns the path of a program: `$envname`, else the one on PATH."""
    del not_found_warning

    def find() -> str:
        found = os.environ.get(envname) or shutil.which(name)
        return found or refuse(not_found_message or f"there is no {name}", "", ToolMissing)

    return find


# -- lists and graphs --------------------------------------------------------------------------


def concat(l: list[list[Any]]) -> list[Any]:  # noqa: E741
    """Return the items of lists in one list."""
    return [item for inner in l for item in inner]


def kahntsort(nodes: Iterable[Any], inbounds: Callable[[Any], set[Any]]) -> list[Any] | None:
    """Sort nodes so that each comes after its `inbounds`, the least first; None for a cycle."""
    missing: dict[Any, int] = {}
    after: dict[Any, list[Any]] = defaultdict(list)
    ready: PriorityQueue[Any] = PriorityQueue()
    for node in nodes:
        before = inbounds(node)
        missing[node] = len(before)
        for one in before:
            after[one].append(node)
        if not before:
            ready.put(node)
    done: list[Any] = []
    while not ready.empty():
        node = ready.get()
        done.append(node)
        for one in after[node]:
            missing[one] -= 1
            if missing[one] == 0:
                ready.put(one)
    return done if len(done) == len(missing) else None


def dagroots(sorted_nodes: list[Any], inbounds: Callable[[Any], set[Any]]) -> set[Any]:
    """Return the nodes that nothing after them needs; they are sorted as `kahntsort` does."""
    needed: set[Any] = set()
    roots = set()
    for node in reversed(sorted_nodes):
        if node not in needed:
            roots.add(node)
        needed |= inbounds(node)
    return roots


__all__ = [
    "PYLIGHTNIX_SELF_TAG",
    "PYLIGHTNIX_TIME",
    "Mutator",
    "assert_serializable",
    "assert_valid_dict",
    "concat",
    "dagroots",
    "datahash",
    "dicthash",
    "dirchmod",
    "dircp",
    "dirhash",
    "dirhash_iter",
    "dirrm",
    "dirro",
    "dirrw",
    "dirshash",
    "dirsize",
    "encode",
    "filehash",
    "filero",
    "filerw",
    "forcelink",
    "isclosure",
    "isdref",
    "isrefpath",
    "isrref",
    "isselfpath",
    "kahntsort",
    "logdir",
    "maybereadjson",
    "maybereadstr",
    "mklogdir",
    "parsetime",
    "pyobjhash",
    "readjson",
    "readstr",
    "scanref_dict",
    "scanref_list",
    "selfref",
    "timestring",
    "traverse_dict",
    "traverse_list",
    "traverse_tuple",
    "try_executable",
    "trycatch",
    "tryread",
    "tryread_def",
    "tryreadjson",
    "tryreadjson_def",
    "tryreadstr",
    "tryreadstr_def",
    "trywrite",
    "writejson",
    "writestr",
]
