"""Small stores for tests: real configs and realizations, made in one line each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from plxnix.config import Config
from plxnix.model import DRef, RRef
from plxnix.store import Fsync, Record, Store, tree
from plxnix.store.publication import publish

#: What a file of a sample is: its bytes, the target of a link, or None for an empty folder.
Entry = bytes | str | None


@contextmanager
def scratch_store() -> Iterator[Store]:
    """Give a new store that is gone afterwards, for each example of a property test."""
    folder = tempfile.mkdtemp()
    store = Store.init(f"{folder}/store", Fsync.NONE)
    try:
        yield store
    finally:
        store.session().close()
        tree.remove(folder)


def plant(folder: str | os.PathLike[str], entries: Mapping[str, Entry]) -> None:
    """Write files, links and folders below `folder`; a name that ends in `*` is executable."""
    for name, content in entries.items():
        path = Path(folder, name.removesuffix("*"))
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            path.mkdir()
        elif isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)
            path.chmod(0o755 if name.endswith("*") else 0o644)


def derive(store: Store, name: str, dependencies: Sequence[DRef] = (), **fields: object) -> DRef:
    """Add a derivation that depends on others."""
    return store.add(Config({"name": name, "dependencies": [*map(str, dependencies)], **fields}))


def build(
    store: Store,
    name: str,
    below: Sequence[RRef] = (),
    entries: Mapping[str, Entry] | None = None,
    started: float = 0.0,
    log: bytes = b"",
) -> RRef:
    """Publish a realization made from `below`; without `entries` it has a file with its name."""
    context: dict[DRef, tuple[RRef, ...]] = {}
    for rref in below:
        context[rref.dref] = (*context.get(rref.dref, ()), rref)
    dref = derive(store, name, list(context))
    folder = store.session().folder(name)
    plant(folder, {"file": name.encode()} if entries is None else entries)
    return publish(store, dref, folder, Record(context, "", 0, started=started), log)
