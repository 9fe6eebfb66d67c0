"""`fetchurl` and `fetchlocal`: stages that are files known by their hashes.

In Nix a fetch is a fixed-output derivation named after its file, so that whoever fetches the same
file under the same name and hash, here or there, has it at the same path.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from plxnix.config import Config
from plxnix.errors import InvalidValue
from plxnix.model import DRef, RefPath, selfref
from plxnix.nix.graph import FixedOutput, Node, Reference, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.shared import give, setting, take_file, take_known
from plxnix.recipes.unpack import unpack_node
from plxnix.store import fixed, tree

SCHEMES = ("http", "https", "file", "mirror")

#: Variables that Nix passes on to its own downloader, as its `fetchurl.nix` names them.
PROXIES = "http_proxy https_proxy ftp_proxy all_proxy no_proxy"


class Fetch(Recipe):
    """The recipe behind `fetchurl` and `fetchlocal`."""

    kind = "fetch-1"

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
        root = obtain(job, file, digest)
        nix = {**job.nix(self.lower(config, job.lowering)), **root}
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


def note(job: Job) -> Callable[[str], None]:
    """Return what tells the observer of a realization something worth a line."""
    return partial(job.observer.said, job.dref)


def obtain(job: Job, file: Path, digest: Hash | None) -> dict[str, str]:
    """Take a file from this store or Nix's if they have it, else download or resume its download.

    `digest` is the file's hash, None if it is not known. Returns what the record says of it: the
    `root` that keeps it in the Nix store, if it was put there. Raises what `download` raises.
    """
    from plxnix.builders import download

    name = sanitise_name(job.config["filename"])
    growing = Path(job.store.layout.download(job.dref))
    if digest is not None and (
        take_known(job.store, digest, file, note(job)) or take_file(name, digest, file, note(job))
    ):
        # What was downloaded of it before is of no more use; this stage is locked, so nobody
        # is at it.
        for left in (growing, growing.with_name(f"{growing.name}.json")):
            left.unlink(missing_ok=True)
        return {}
    download.download(
        sources(job.config), file, digest, name=name, partial=growing, progress=Told(job)
    )
    return {} if digest is None else added(job, file, name, digest)


def added(
    job: Job, place: Path, name: str, digest: Hash, recursive: bool = False
) -> dict[str, str]:
    """Put what was downloaded into the Nix store if that is wanted; return the record's `root`."""
    if setting() != "add":
        return {}
    path = give(place, name, digest, recursive, job.folder(), note(job))
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


def sources(config: Config) -> list[str]:
    """Return the URLs of a fetch, in the order in which they are tried."""
    return [config["url"], *config.get("urls", [])]


def fetch_node(config: Config, digest: Hash | None = None) -> Node:
    """Return the derivation of Nix's `<nix/fetchurl.nix>`, attribute for attribute.

    The first URL is the one that Nix itself uses, a mirror's first place in its stead; the others
    are for our downloader and for the nixpkgs toolchain. `digest` is the file's if that is not the
    config's `hash`.
    """
    url = _direct(config["url"])
    return Node(
        name=sanitise_name(config["filename"]),
        system="builtin",
        builder=text("builtin:fetchurl"),
        args=(),
        env={
            "executable": text(""),
            "impureEnvVars": text(PROXIES),
            "preferLocalBuild": text("1"),
            "unpack": text(""),
            "url": text(url),
            "urls": text(url),
        },
        fixed=FixedOutput(digest or Hash.parse(config["hash"])),
        comment=str(config.dref),
    )


def _direct(url: str) -> str:
    """Return a URL that is no mirror; the environment has no say, since this is in the result."""
    from plxnix.builders.sources import MIRRORS

    if not url.lower().startswith("mirror://"):
        return url
    name, _, path = url[len("mirror://") :].partition("/")
    if name not in MIRRORS:
        raise InvalidValue(
            f"{url!r} names the mirror {name!r}, which is not known",
            f"known are {', '.join(sorted(MIRRORS))}; or give a full URL",
        )
    return f"{MIRRORS[name][0].rstrip('/')}/{path}"


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

    Raises `InvalidValue`, `InvalidHash`; while realizing `DownloadFailed`, `HashMismatch`.
    """
    del registry
    given_urls = check_urls("fetchurl", url, urls)
    file = filename or unquote(urlsplit(given_urls[0]).path.rpartition("/")[2])
    given = {"sha256": sha256, "sha1": sha1, "sha512": sha512, "hash": hash}
    return _register(file, given_urls, _hash(given), mode, name, fields)


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
    return _register(file, urls, _hash({"sha256": sha256, "hash": hash}), mode, name, fields)


def _register(
    file: str, urls: list[str], digest: Hash, mode: str | None, name: str | None, fields: Any
) -> DRef:
    return mkdrv(fetch_config(file, urls, digest, mode, name, fields), match_only(), Fetch())


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
        raise InvalidValue(f"{urls[0]} ends without the name of a file", "give one: filename=")
    RefPath.make(selfref, [file])
    if "/" in file:
        raise InvalidValue(f"filename is {file!r}", "it is a name, not a path")
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


def check_urls(function: str, url: str | None, urls: Sequence[str]) -> list[str]:
    """Return the URLs that a fetch was given; raise `InvalidValue` if one cannot be fetched."""
    found = [one for one in (url, *urls) if one is not None]
    if not found:
        raise InvalidValue(f"{function} got no URL", "give url= or urls=")
    for one in found:
        check_url(one)
    return found


def check_url(url: str) -> None:
    """Raise `InvalidValue` for a URL that cannot be fetched from, or holds credentials."""
    try:
        parts = urlsplit(url) if isinstance(url, str) and "\0" not in url else None
    except ValueError:  # a host that is none
        parts = None
    if parts is None or parts.scheme.lower() not in SCHEMES:
        raise InvalidValue(
            f"cannot fetch from {url!r}", f"a URL starts with {'://, '.join(SCHEMES)}://"
        )
    if "@" in parts.netloc:
        raise InvalidValue(
            f"the URL for {parts.hostname} holds a user or a password",
            "configs are kept and shared: put credentials into ~/.netrc",
        )


def _hash(given: dict[str, str | None]) -> Hash:
    hashes = {key: value for key, value in given.items() if value is not None}
    if len(hashes) != 1:
        raise InvalidValue(
            f"a fetch needs one hash, but has {len(hashes)}: {', '.join(hashes) or 'none'}",
            "give sha256=, sha512=, sha1= or hash=; `sha256sum FILE` prints one",
        )
    ((kind, value),) = hashes.items()
    return Hash.parse(value, None if kind == "hash" else kind)
