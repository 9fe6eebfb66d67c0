"""Files from the net, and archives unpacked, each a stage of its own."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, urlsplit

from plxnix.compat.pylightnix.build import build_outpath, build_path, build_wrapper
from plxnix.compat.pylightnix.derivations import mkdrv
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.hashing import filehash
from plxnix.compat.pylightnix.matching import match_only
from plxnix.compat.pylightnix.names import mkconfig
from plxnix.compat.pylightnix.stages.programs import registered, unpack_into
from plxnix.compat.pylightnix.types import Build, DRef, RefPath, Registry


def CURL() -> str:
    """Return the program that downloads, or nothing: then plxnix does."""
    return os.environ.get("PYLIGHTNIX_CURL", "")


def AUNPACK() -> str:
    """Return nothing: plxnix unpacks archives itself."""
    return ""


@door()
def fetchurl2(
    url: str,
    sha256: str | None = None,
    sha1: str | None = None,
    name: str | None = None,
    filename: str | None = None,
    force_download: bool = False,
    r: Registry | None = None,
    **kwargs: Any,
) -> DRef:
    """Register a stage that is a file from the net, promised as `out`.

    Without a hash, `url` may be the path of a file of this machine, whose hash is taken now.
    `$PYLIGHTNIX_CURL` names a program that is to download.
    """
    del force_download
    file = filename or os.path.basename(urlsplit(url).path)
    check(file, f"{url} ends without the name of a file", "give one: filename=")
    if sha256 is None and sha1 is None:
        check(os.path.isfile(url), f"{url} has no hash", "give sha256= or sha1=")
        sha256 = filehash(url)
        url = "file://" + quote(os.path.abspath(url))
    hashes = {"sha256": sha256, "sha1": None if sha256 is not None else sha1}
    program = CURL()
    command = [program, "--continue-at", "-", "--output"] if program else []
    return registered(url, file, hashes, "", name or "fetchurl2", kwargs, command, r, "out")


@door()
def unpack(
    path: str | None = None,
    refpath: RefPath | None = None,
    name: str | None = None,
    sha256: str | None = None,
    sha1: str | None = None,
    aunpack_args: list[str] = [],
    r: Registry | None = None,
    **kwargs: Any,
) -> DRef:
    """Register a stage that is what an archive holds: a file of this machine, or of a stage.

    `aunpack_args` are kept in the config and not used, since plxnix reads archives itself.
    """
    check(
        (path is None) != (refpath is None),
        f"unpack got path={path!r} and refpath={refpath!r}",
        "give one of the two",
    )
    config = {
        "name": name or "unpack",
        "path": path,
        "refpath": refpath,
        "aunpack_args": aunpack_args,
        **({"sha256": sha256} if sha256 is not None else {}),
        **({"sha1": sha1} if sha1 is not None else {}),
        **kwargs,
    }

    def make(b: Build) -> None:
        place = path if refpath is None else build_path(b, refpath)
        if place is None or not os.path.isfile(place):
            refuse(f"there is no archive at {place}")
        unpack_into(place, build_outpath(b))

    return mkdrv(mkconfig(config), match_only(), build_wrapper(make), r)


__all__ = ["fetchurl2", "unpack"]
