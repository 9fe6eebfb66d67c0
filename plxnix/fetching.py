"""`fetch`: a file by its hash, for scripts: one line, and neither a stage nor a registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def fetch(
    url: str,
    sha256: str | None = None,
    *,
    sha512: str | None = None,
    sha1: str | None = None,
    hash: str | None = None,  # noqa: A002  # the name that Nix gives it
    name: str | None = None,
    unpack: bool = False,
    urls: Sequence[str] = (),
    via: str | None = None,
) -> Path:
    """Return the path of a file from the net, known by its hash; download it if it is not here.

    The hash is one of `sha256`, `sha512`, `sha1` (hex, nix32, base64 or SRI) or `hash` (SRI).
    `urls` are tried after `url`; `name` is the file's (default: the last part of `url`). With
    `unpack` the file is an archive with one folder at its top, the path is that folder's, the hash
    is the sha256 of its NAR, and `name` is "source" by default: what `builtins.fetchTarball` takes.

    `via="nix"` lets Nix download what neither store has, as `$PLXNIX_FETCH` may say for all.

    The file is in the current store, made if there is none, and read-only; a garbage collection
    may remove it, and the next call brings it back. It is the result of the stage `fetchurl(...,
    mode="")` or `fetchtree(...)`. A second call with the same arguments asks no server, and neither
    does the first if the Nix store has the file by that name and hash (`PLXNIX_NIX_STORE=off`: do
    not look there). Processes that want the same file at once wait for the one that fetches it.

    Raises `InvalidValue`, `InvalidHash`, `DownloadFailed`, `HashMismatch`, `ArchiveError`,
    `StoreError`.

    >>> fetch("https://example.org/data.csv", sha256="31e0...")  # doctest: +SKIP
    PosixPath('/home/me/.local/share/plxnix/store-v1/...-data.csv/.../data.csv')
    """
    from plxnix.errors import InvalidHash
    from plxnix.realize.realizing import realize1
    from plxnix.realize.registry import Registry, instantiate
    from plxnix.recipes.fetch import fetchurl
    from plxnix.recipes.tree import NAME, fetchtree
    from plxnix.store import current_store

    store = current_store(create=True)
    registry = Registry(store)
    if unpack:
        if sha512 is not None or sha1 is not None or (sha256 is None) == (hash is None):
            raise InvalidHash(
                "a tree is known by one hash, the sha256 of its NAR",
                "give sha256= or hash=; `plxnix prefetch --unpack URL` prints it",
            )
        dref = fetchtree(
            url, hash or sha256, name=name or NAME, urls=urls, via=via, registry=registry
        )
    else:
        dref = fetchurl(
            *(url, sha256, sha1, "", name, name),
            sha512=sha512,
            hash=hash,
            urls=urls,
            via=via,
            registry=registry,
        )
    place = Path(store.path(realize1(instantiate(dref, registry=registry))))
    return place if unpack else place / store.config(dref)["filename"]
