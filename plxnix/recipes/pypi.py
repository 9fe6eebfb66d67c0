"""`fetchpypi`: a stage that is a file of a Python package, known by name, version and hash.

The config holds no URL: which index a machine asks is no part of a result. The URL is found when
the file is downloaded, or when a stage that is not realized is exported; it is in the record then.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from plxnix.builders.sources import redact
from plxnix.config import Config
from plxnix.errors import FetchError, HashMismatch, InvalidValue
from plxnix.model import DRef, selfref
from plxnix.nix.graph import FixedOutput
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path, sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, find_registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.fetch import Fetch, check_filename, given_hash
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.nix_fetch import fetch_node
from plxnix.recipes.obtaining import obtain
from plxnix.recipes.recipe import FIELD, Job
from plxnix.recipes.shared import setting
from plxnix.store import Store, fixed

#: How many names go into a message.
_SHOWN = 12


class PythonPackage(Fetch):
    """The recipe behind `fetchpypi`; `index` is a URL of a simple API, None for the user's own."""

    kind = "pypi-1"

    def __init__(
        self, index: str | None = None, yanked: bool = False, via: str | None = None
    ) -> None:
        super().__init__(via)
        self.index = index
        self.yanked = yanked

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return Nix's own fetcher with the URL that is known, else a message.

        A stage that is not realized has its URL looked up. One whose file was in a store already
        may have none; then Nix is told what to add.
        """
        return self._lowered(config, lowering, self._known(config, lowering.store))

    def make(self, job: Job) -> Artifact:
        """Take the file from a store, or find it in the index and download it."""
        config, folder = job.config, job.folder()
        file, digest = folder / config["filename"], Hash.parse(config["hash"])
        found: list[str] = []

        def urls() -> Sequence[str]:
            found.append(self._find(config))
            return found

        root = obtain(job, urls, file, digest, self.via)
        url = _public(found[0]) if found else ""
        nix = {**job.nix(self._lowered(config, job.lowering, url)), **root}
        if url:
            nix["url"] = url
        return Artifact(folder, nix={**nix, "fixed": fixed.said(digest, file=file.name)})

    def _lowered(self, config: Config, lowering: Lowering, url: str) -> Lowered:
        if url:
            node = fetch_node(config, url=url)
        else:
            file, digest = config["filename"], Hash.parse(config["hash"])
            said = (
                f"where {file} is to be had is not known. Add it with: "
                f"nix-store --add-fixed {digest.algorithm} {file}"
            )
            node = lowering.toolchain.refusing(
                sanitise_name(file), said, FixedOutput(digest), str(config.dref)
            )
        return Lowered(config.dref, node, "fixed-output", flat=config["filename"])

    def _known(self, config: Config, store: Store) -> str:
        """Return the URL in the record; if there is no realization, that in the index."""
        for rref in store.realizations(config.dref):
            return str(store.record(rref).nix.get("url", ""))
        return _public(self._find(config))

    def _find(self, config: Config) -> str:
        return find(
            *(self.index, config["project"], config["version"]),
            Hash.parse(config["hash"]),
            config["filename"],
            self.yanked,
        )[1]


def find(
    index: str | None, project: str, version: str, digest: Hash, wanted: str, yanked: bool = False
) -> tuple[str, str]:
    """Return name and URL of the file of a release that has the hash.

    `wanted` is its name, a wheel's tags, or empty; without hashes in the index it has to tell the
    file. Raises `FetchError` naming what there is, `HashMismatch` if the index's hash is another.
    """
    from plxnix.builders.package_index import configured_index, files, same_version

    index = index or configured_index()
    every = files(index, project)
    where = f"the index '{redact(index)}'"
    release = [one for one in every if same_version(one.version, version)]
    if not release:
        raise FetchError(
            f"{where} has no version {version} of {project}",
            f"it has {_shown(list(dict.fromkeys(one.version for one in every if one.version)))}",
        )
    named = [one for one in release if not wanted or wanted in (one.filename, one.tags)]
    if not named:
        raise FetchError(
            f"{where} has no file {wanted!r} of {project} {version}",
            f"it has {_shown([one.filename for one in release])}",
        )
    known = [one.hashes.get(digest.algorithm, "").lower() for one in named]
    fitting = [one for one, its in zip(named, known, strict=True) if its == digest.hex]
    fitting = fitting or [one for one, its in zip(named, known, strict=True) if not its]
    if not fitting:
        listed = "".join(
            f"\n  {one.filename}: {its}" for one, its in zip(named, known, strict=True)
        )
        raise HashMismatch(
            f"no file of {project} {version} in {where} has the {digest.algorithm} {digest.hex}:"
            f"{listed}",
            "give the hash of one of these",
            expected=digest.sri,
            found=Hash.parse(known[0], digest.algorithm).sri,
        )
    if len({one.filename for one in fitting}) > 1:
        raise FetchError(
            f"{where} tells no {digest.algorithm} of the files of {project} {version}",
            f"give filename=, one of {_shown([one.filename for one in fitting])}",
        )
    if fitting[0].yanked is not None and not yanked:
        others = [one.version for one in every if one.yanked is None and one.version]
        raise FetchError(
            f"{fitting[0].filename} was withdrawn from {where}: {fitting[0].yanked or 'no reason'}",
            f"use another version ({_shown(list(dict.fromkeys(others)))}), or give yanked=True",
        )
    return fitting[0].filename, fitting[0].url


def _shown(names: list[str]) -> str:
    left = len(names) - _SHOWN
    return (", ".join(names[-_SHOWN:]) or "none") + (f" and {left} more" if left > 0 else "")


def _public(url: str) -> str:
    """Return a URL without credentials, as it may be recorded and exported."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()


def _in_a_store(store: Store, project: str, version: str, digest: Hash, tags: str) -> str:
    """Return the file's name if a store has a file with this hash whose name fits; else nothing."""
    from plxnix.builders.package_index import normalized, same_version, split

    place = fixed.find(store, digest)
    if place is not None:
        name = os.path.basename(place)
        its_project, its_version, its_tags = split(name)
        same = normalized(its_project) == normalized(project) and tags in ("", its_tags)
        if same and same_version(its_version, version):
            return name
    if setting() == "off":
        return ""
    ends = [f"-{tags}.whl"] if tags else ["-py3-none-any.whl", "-py2.py3-none-any.whl", ".tar.gz"]
    for start in dict.fromkeys((normalized(project).replace("-", "_"), project)):
        for end in ends:
            name = f"{start}-{version}{end}"
            if Path(fixed_path(sanitise_name(name), digest)).exists():
                return name
    return ""


@takes_registry
def fetchpypi(
    project: str,
    version: str,
    sha256: str | None = None,
    *,
    hash: str | None = None,  # noqa: A002  # the name that Nix gives it
    sha512: str | None = None,
    filename: str | None = None,
    index: str | None = None,
    yanked: bool = False,
    via: str | None = None,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is one file of a Python package, promised as `out`.

    It is known by the `version` of a `project` and the file's hash; `filename` is its name, or a
    wheel's tags such as `py3-none-any`. Without a whole name the stores are looked into, and then
    the index is asked here and now. Later it is asked for the URL, if neither store has the file.

    `index` is the URL of the index's simple API; by default that which is set for uv or pip. It is
    no part of the config. Withdrawn files are refused unless `yanked`. `via` is as for `fetchurl`.

    Raises `InvalidValue`, `InvalidHash`; `DownloadFailed` if the index cannot be read, `FetchError`
    if it has no such file, `HashMismatch`.
    """
    del registry
    digest = given_hash({"sha256": sha256, "sha512": sha512, "hash": hash})
    for key, value in (("project", project), ("version", version)):
        if not isinstance(value, str) or not value or not value.isascii() or "/" in value:
            raise InvalidValue(f"{key} is {value!r}", "give it as the package index has it")
    recipe = PythonPackage(index, yanked, via)
    name = filename or ""
    if not name.endswith((".whl", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".zip")):
        name = (
            _in_a_store(find_registry().store, project, version, digest, name)
            or find(index, project, version, digest, name, yanked)[0]
        )
    check_filename(name)
    config: dict[str, Any] = {
        **fields,
        FIELD: PythonPackage.kind,
        "name": sanitise_name(name),
        "filename": name,
        "hash": digest.sri,
        "mode": "",
        "project": project,
        "version": version,
    }
    config.setdefault("out", [selfref, name])
    return mkdrv(Config(config), match_only(), recipe)
