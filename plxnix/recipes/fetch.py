"""`fetchurl` and `fetchlocal`: stages that are files known by their hashes.

In Nix a fetch is a fixed-output derivation named after its file, so that whoever fetches the same
file under the same name and hash, here or there, has it at the same path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from plxnix.config import Config
from plxnix.errors import InvalidValue
from plxnix.model import DRef, RefPath, selfref
from plxnix.nix.graph import Reference, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.nix_fetch import check_way, fetch_node
from plxnix.recipes.obtaining import obtain
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.unpack import unpack_node
from plxnix.recipes.urls import check_urls, last_part, sources
from plxnix.store import fixed, tree


class Fetch(Recipe):
    """The recipe behind `fetchurl` and `fetchlocal`.

    `via` says who fetches if the file is in neither store, `native` or `nix`; None leaves it to
    `$PLXNIX_FETCH`. It changes nothing of the result, so it is no part of the config.
    """

    kind = "fetch-1"

    def __init__(self, via: str | None = None) -> None:
        check_way(via)
        self.via = via

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return Nix's own fetcher, and where the mode says so the unpacking of what it gives."""
        fetch = fetch_node(config)
        if "unpack" not in config["mode"]:
            return Lowered(config.dref, fetch, "fixed-output", flat=config["filename"])
        node = unpack_node(
            config.name,
            text(Reference(fetch)),
            config["filename"],
            0,
            lowering.toolchain,
            str(config.dref),
            keep="" if "remove" in config["mode"] else config["filename"],
        )
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Take the file from the Nix store or download it, and unpack it where the mode says so."""
        config = job.config
        folder = job.folder()
        file = folder / config["filename"]
        digest = Hash.parse(config["hash"])
        root = obtain(job, sources(config), file, digest, self.via)
        nix = {**job.nix(self.form(job)), **root}
        if "unpack" in config["mode"]:
            return Artifact(self._unpack(job, file), nix=nix)
        return Artifact(folder, nix={**nix, "fixed": fixed.said(digest, file=file.name)})

    def _unpack(self, job: Job, file: Path) -> Path:
        from plxnix.builders import archive

        output = job.folder() / "out"
        archive.unpack(file, output)
        if "remove" not in job.config["mode"]:
            file.rename(output / file.name)
        tree.remove(os.fspath(file.parent))
        return output


@takes_registry
def fetchurl(
    url: str | None = None,
    sha256: str | None = None,
    sha1: str | None = None,
    mode: str | None = None,
    name: str | None = None,
    filename: str | None = None,
    *,
    sha512: str | None = None,
    hash: str | None = None,  # noqa: A002  # the name that Nix gives it
    urls: Sequence[str] = (),
    via: str | None = None,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is a file from the net, and return its reference.

    The hash of the file is given as `sha256`, `sha1` or `sha512` in hex, nix32, base64 or SRI, or
    as `hash` in SRI. `url` and `urls` are tried in turn (http, https, file, and `mirror://gnu/...`
    as in nixpkgs), hashed mirrors first. `filename` (default: the last part of the URL) is the
    file's name; `name` (default: the same) the stage's.

    `mode` is `"unpack,remove"` (the stage is what the archive holds), `"unpack"` (and the archive),
    or `""` (the file alone, promised as `out`). By default archives are unpacked and removed, and
    other files are kept, as Pylightnix does it. The hash is always that of the file itself.

    `via="nix"` lets Nix download it, `via="native"` plxnix; by default `$PLXNIX_FETCH` says which,
    else plxnix does. Who does it changes nothing of the result, nor of the reference.

    Raises `InvalidValue`, `InvalidHash`; while realizing `DownloadFailed`, `HashMismatch`.
    """
    del registry
    given_urls = check_urls("fetchurl", url, urls)
    file = filename or last_part(given_urls[0])
    given = {"sha256": sha256, "sha1": sha1, "sha512": sha512, "hash": hash}
    return _register(file, given_urls, given_hash(given), mode, name, fields, via)


@takes_registry
def fetchlocal(
    sha256: str | None = None,
    path: str | os.PathLike[str] | None = None,
    envname: str | None = None,
    mode: str | None = None,
    name: str | None = None,
    filename: str | None = None,
    *,
    hash: str | None = None,  # noqa: A002
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is a file of this machine, known by its hash.

    `path` is the file, or `envname` the environment variable that holds its path. The rest is as
    for `fetchurl`. Raises `InvalidValue`, `InvalidHash`; while realizing `DownloadFailed` if there
    is no such file, `HashMismatch`.
    """
    del registry
    if (path is None) == (envname is None):
        raise InvalidValue(
            f"fetchlocal got path={path!r} and envname={envname!r}", "give one of the two"
        )
    if envname is not None:
        path = os.environ.get(envname)
        if not path:
            raise InvalidValue(
                f"the environment variable {envname} is not set", "set it to the path of the file"
            )
    place = os.path.abspath(os.fspath(path or ""))
    urls = ["file://" + quote(place)]
    file = filename or os.path.basename(place)
    digest = given_hash({"sha256": sha256, "hash": hash})
    # Nix would fetch a local file by copying it: there is no network to go through.
    return _register(file, urls, digest, mode, name, fields, "native")


def _register(
    file: str,
    urls: list[str],
    digest: Hash,
    mode: str | None,
    name: str | None,
    fields: Any,
    via: str | None,
) -> DRef:
    return mkdrv(fetch_config(file, urls, digest, mode, name, fields), match_only(), Fetch(via))


def fetch_config(
    file: str,
    urls: Sequence[str],
    digest: Hash,
    mode: str | None = None,
    name: str | None = None,
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Return the config of a fetch; arguments are as for `fetchurl`. Raises `InvalidValue`."""
    if not file:
        raise InvalidValue(
            f"{urls[0]} ends without the name of a file",
            "give one: filename=, or name= of fetch(...)",
        )
    check_filename(file)
    if mode is None:
        from plxnix.builders import archive

        mode = "unpack,remove" if archive.is_archive(file) else ""
    words = {word.strip() for word in mode.split(",")} - {""}
    if not words <= {"unpack", "remove"} or words == {"remove"}:
        raise InvalidValue(f"mode is {mode!r}", "it is '', 'unpack' or 'unpack,remove'")
    config: dict[str, Any] = {
        **fields,
        FIELD: Fetch.kind,
        "name": sanitise_name(name or file),
        "filename": file,
        "hash": digest.sri,
        "mode": ",".join(word for word in ("unpack", "remove") if word in words),
        "url": urls[0],
    }
    if urls[1:]:
        config["urls"] = list(urls[1:])
    if not words:
        config.setdefault("out", [selfref, file])
    return Config(config)


def check_filename(file: str) -> None:
    """Raise `InvalidRefpath` or `InvalidValue` for what is not the name of a file."""
    RefPath.make(selfref, [file])
    if "/" in file:
        raise InvalidValue(f"filename is {file!r}", "it is a name, not a path")


def given_hash(given: Mapping[str, str | None]) -> Hash:
    """Return the one hash that a fetch was given, by the names of arguments."""
    hashes = {key: value for key, value in given.items() if value is not None}
    if len(hashes) != 1:
        raise InvalidValue(
            f"a fetch needs one hash, but has {len(hashes)}: {', '.join(hashes) or 'none'}",
            "give sha256=, sha512=, sha1= or hash=; `sha256sum FILE` prints one",
        )
    ((kind, value),) = hashes.items()
    return Hash.parse(value, None if kind == "hash" else kind)
