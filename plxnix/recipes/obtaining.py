"""Where the bytes of a fetch come from: this store, Nix's store, Nix, or a download of our own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from plxnix.builders.sources import redact
from plxnix.errors import HashMismatch
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.recipes import nix_fetch
from plxnix.recipes.recipe import Job
from plxnix.recipes.shared import give, setting, take_file, take_known, take_tree


def obtain(
    job: Job,
    urls: Sequence[str] | Callable[[], Sequence[str]],
    file: Path,
    digest: Hash | None,
    via: str | None = None,
) -> dict[str, str]:
    """Take a file from this store or Nix's if they have it, else download or resume its download.

    `urls` may be found out when they are needed. `digest` is the file's hash, None if it is not
    known; `via` says who downloads (see `Fetch`).
    Returns what the record says of it: the `root` that keeps it in the Nix store, if it was put
    there. Raises what `download` raises.
    """
    from plxnix.builders import download

    name = sanitise_name(job.config["filename"])
    if digest is not None and have(job, name, file, digest):
        return {}
    if callable(urls):
        urls = urls()
    if digest is not None and nix_fetch.by_nix(via):
        nix_fetch.fetch_file(job, urls, file, digest)
        _forget(job)
        return {}
    growing = Path(job.store.layout.download(job.dref))
    download.download(urls, file, digest, name=name, partial=growing, progress=Told(job))
    return {} if digest is None else added(job, file, name, digest)


def have(job: Job, name: str, place: Path, digest: Hash, recursive: bool = False) -> bool:
    """Take a file, or tree if `recursive`, from this store or Nix's; tell whether one has it."""
    take = take_tree if recursive else take_file
    if take_known(job.store, digest, place, job.said, recursive) or take(
        name, digest, place, job.said
    ):
        _forget(job)
        return True
    return False


def check_tree(job: Job, what: str, tree: Path, digest: Hash) -> None:
    """Raise `HashMismatch` unless a tree, got from the config's URL, has the hash."""
    from plxnix.nix.nar import nar_hash

    found, _ = nar_hash(tree)
    if found != digest:
        raise HashMismatch(
            f"the tree of {what} from '{redact(job.config['url'])}' has another hash than "
            f"specified\n  specified: {digest.sri}\n  got:       {found.sri}",
            "if the new contents are right, set the new hash",
            expected=digest.sri,
            found=found.sri,
        )


def _forget(job: Job) -> None:
    """Remove what was downloaded before: the stage is locked, so nobody is at it."""
    growing = Path(job.store.layout.download(job.dref))
    for left in (growing, growing.with_name(f"{growing.name}.json")):
        left.unlink(missing_ok=True)


def added(
    job: Job, place: Path, name: str, digest: Hash, recursive: bool = False
) -> dict[str, str]:
    """Put what was downloaded into the Nix store if that is wanted; return the record's `root`."""
    if setting() != "add":
        return {}
    path = give(place, name, digest, recursive, job.folder(), job.said)
    return {"root": path} if path else {}


class Told:
    """Tells the observer of a realization how a download goes on."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._label = ""
        self._total: int | None = None
        self._done = 0

    def start(self, label: str, total: int | None) -> None:
        self._label, self._total, self._done = label, total, 0
        self.advance(0)

    def advance(self, count: int) -> None:
        self._done += count
        self._job.observer.downloading(self._job.dref, self._label, self._done, self._total)

    def finish(self) -> None:
        self._job.observer.downloading(self._job.dref, self._label, self._done, self._done)
