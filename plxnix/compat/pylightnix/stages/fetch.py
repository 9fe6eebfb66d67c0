"""Files from the net and from this machine, unpacked.

They are plxnix's own fetches, so they need no program and can be exported. `$PYLIGHTNIX_WGET`, or
another `WGET` here, names a program that is to download instead.
"""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import quote, urlsplit

from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.stages.programs import registered
from plxnix.compat.pylightnix.types import DRef, Registry


def WGET() -> str:
    """Return the program that downloads, or nothing: then plxnix does."""
    return os.environ.get("PYLIGHTNIX_WGET", "")


def AUNPACK() -> str:
    """Return nothing: plxnix unpacks archives itself."""
    return ""


@door()
def fetchurl(
    url: str,
    sha256: str | None = None,
    sha1: str | None = None,
    mode: str = "unpack,remove",
    name: str | None = None,
    filename: str | None = None,
    force_download: bool = False,
    check_promises: bool = True,
    r: Registry | None = None,
    **kwargs: Any,
) -> DRef:
    """Register a stage that is what an archive (or, without `unpack`, a file) from the net holds.

    The hash is that of the file. Without `unpack` in `mode` the file is promised as `out_path`.
    Downloads that were interrupted are resumed; `force_download` and `check_promises` are taken
    for the sake of old callers.
    """
    del force_download, check_promises
    file = filename or os.path.basename(urlsplit(url).path)
    check(file, f"{url} ends without the name of a file", "give one: filename=")
    hashes = {"sha256": sha256, "sha1": sha1}
    program = WGET()
    command = [program, "--continue", "--output-document"] if program else []
    return registered(url, file, hashes, mode, name or "fetchurl", kwargs, command, r)


@door()
def fetchlocal(
    sha256: str,
    path: str | None = None,
    envname: str | None = None,
    mode: str = "unpack,remove",
    name: str | None = None,
    filename: str | None = None,
    check_promises: bool = True,
    r: Registry | None = None,
    **kwargs: Any,
) -> DRef:
    """Register a stage that is what an archive (or a file) of this machine holds.

    `path` is the file, or `envname` the environment variable that holds its path.
    """
    del check_promises
    check(
        (path is None) != (envname is None),
        f"fetchlocal got path={path!r} and envname={envname!r}",
        "give one of the two",
    )
    found = path if envname is None else os.environ.get(envname)
    if not found:
        refuse(f"there is no path: the variable {envname} is not set", "set it")
    file = filename or os.path.basename(found)
    check(file, f"{found} ends without the name of a file", "give one: filename=")
    url = "file://" + quote(os.path.abspath(found))
    return registered(url, file, {"sha256": sha256}, mode, name or "fetchlocal", kwargs, [], r)


__all__ = ["fetchlocal", "fetchurl"]
