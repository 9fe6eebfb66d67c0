"""Where things are in a store on disk: the one place that knows.

```
ROOT/version                              the format's number
ROOT/store-v1/<dhash>-<name>/config.json  canonical config
ROOT/store-v1/<dhash>-<name>/<rhash>/     the artifacts and nothing else, read-only
ROOT/store-v1/<dhash>-<name>/<rhash>.json the record
ROOT/store-v1/<dhash>-<name>/<rhash>.log.gz  what the realizer printed, if anything
ROOT/tmp/       unfinished work, one locked folder a process
ROOT/locks/     a file for each derivation that is being realized, and `store` for the whole
ROOT/temproots/ what running processes rest on, one locked file for each that they do
ROOT/gcroots/   links that keep realizations
ROOT/failed/    logs, and on request folders, of realizers that failed
ROOT/downloads/ downloads that were interrupted, to be resumed
ROOT/nixroots/<rhash>-<dhash>-<name>  link that keeps what it needs of the Nix store
ROOT/quarantine/ what was damaged or had no place in the store, each with a text that says why
ROOT/fixed/<algorithm>-<hex>          link to the contents with this hash, if fetched
```

A realization exists if and only if its folder does: the record is written before the folder gets
its name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from plxnix.model import HASH_LENGTH, DRef, RRef, isdref, isrref

#: The number of the format that this plxnix writes.
FORMAT = 1

_RHASH = re.compile(rf"[0-9a-f]{{{HASH_LENGTH}}}")


class Layout:
    """The paths of one store; all are strings, so that a plan over many stages stays cheap."""

    __slots__ = (
        "downloads",
        "failed",
        "fixed",
        "gcroots",
        "locks",
        "nixroots",
        "quarantine",
        "root",
        "store",
        "temproots",
        "tmp",
        "version",
    )

    def __init__(self, root: str) -> None:
        self.root = root
        self.version = f"{root}/version"
        self.store = f"{root}/store-v{FORMAT}"
        self.tmp = f"{root}/tmp"
        self.locks = f"{root}/locks"
        self.gcroots = f"{root}/gcroots"
        self.failed = f"{root}/failed"
        self.downloads = f"{root}/downloads"
        self.temproots = f"{root}/temproots"
        self.nixroots = f"{root}/nixroots"
        self.fixed = f"{root}/fixed"
        self.quarantine = f"{root}/quarantine"

    def folders(self) -> tuple[str, ...]:
        """Return the folders of an empty store, in the order in which they are made."""
        return (self.store, self.tmp, self.locks, self.gcroots, self.failed, self.downloads)

    def later_folders(self) -> tuple[str, ...]:
        """Return the folders that are made when something is put there."""
        return (self.temproots, self.nixroots, self.fixed, self.quarantine)

    def derivation(self, dref: DRef) -> str:
        """Return the folder of a derivation."""
        return f"{self.store}/{dref[5:]}"

    def config(self, dref: DRef) -> str:
        """Return the file with a derivation's canonical config."""
        return f"{self.store}/{dref[5:]}/config.json"

    def realization(self, rref: RRef) -> str:
        """Return the folder with the artifacts of a realization."""
        return f"{self.store}/{rref[6 + HASH_LENGTH :]}/{rref.rhash}"

    def record(self, rref: RRef) -> str:
        """Return the file with the record of a realization."""
        return self.realization(rref) + ".json"

    def log(self, rref: RRef) -> str:
        """Return the file with what the realizer printed; it exists only if it printed."""
        return self.realization(rref) + ".log.gz"

    def nix_root(self, rref: RRef) -> str:
        """Return the link that keeps a path of the Nix store for a realization."""
        return f"{self.nixroots}/{rref.rhash}-{rref[6 + HASH_LENGTH :]}"

    def rref_of_root(self, name: str) -> RRef | None:
        """Return the realization that a link below `nixroots/` is for, None for a stray name."""
        return RRef("rref:" + name) if isrref("rref:" + name) else None

    def failed_log(self, dref: DRef) -> str:
        """Return the file with what the last failing realizer of a derivation printed."""
        return f"{self.failed}/{dref[5:]}.log.gz"

    def download(self, dref: DRef) -> str:
        """Return the file with what has arrived of a derivation's download."""
        return f"{self.downloads}/{dref[5:]}"

    def lock(self, dref: DRef) -> str:
        """Return the lock file that is held while a derivation is being realized."""
        return f"{self.locks}/{dref[5:]}"

    def store_lock(self) -> str:
        """Return the lock file that who deletes takes alone; see `Store.keeping`."""
        return f"{self.locks}/store"

    def rrefs(self, dref: DRef, entries: Iterable[str]) -> list[RRef]:
        """Return the realizations among the entries of a derivation's folder, sorted."""
        return [RRef.make(entry, dref) for entry in sorted(entries) if _RHASH.fullmatch(entry)]

    def rref_of(self, path: str) -> RRef | None:
        """Return the realization whose folder `path` is in, or None; the disk is not read."""
        parts = os.path.relpath(path, self.store).split("/")
        if len(parts) < 2 or not _RHASH.fullmatch(parts[1]):
            return None
        dref = "dref:" + parts[0]
        return RRef.make(parts[1], DRef(dref)) if isdref(dref) else None


def dref_of(entry: str) -> DRef | None:
    """Return the derivation whose folder is called `entry`, or None for a stray name."""
    return DRef("dref:" + entry) if isdref("dref:" + entry) else None
