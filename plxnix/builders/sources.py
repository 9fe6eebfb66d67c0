"""Where a file can be fetched from: mirrors, hashed mirrors, and URLs that are safe to show."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from plxnix.errors import InvalidValue

if TYPE_CHECKING:
    from plxnix.nix.hashes import Hash

#: What `mirror://NAME/` stands for, best first. `NIX_MIRRORS_<name>` in the environment, with URLs
#: separated by blanks, goes before, as it does for the fetchurl of nixpkgs.
MIRRORS: Mapping[str, tuple[str, ...]] = {
    "apache": ("https://downloads.apache.org/", "https://archive.apache.org/dist/"),
    "gnome": ("https://download.gnome.org/",),
    "gnu": ("https://ftpmirror.gnu.org/", "https://ftp.gnu.org/gnu/"),
    "gnupg": ("https://gnupg.org/ftp/gcrypt/",),
    "kernel": ("https://cdn.kernel.org/pub/", "https://mirrors.edge.kernel.org/pub/"),
    "mozilla": ("https://archive.mozilla.org/pub/",),
    "savannah": (
        "https://download.savannah.nongnu.org/releases/",
        "https://download-mirror.savannah.gnu.org/releases/",
    ),
    "sourceforge": ("https://downloads.sourceforge.net/",),
    "xorg": ("https://xorg.freedesktop.org/releases/",),
}

_SCHEME = "mirror://"

# The user's part of an authority may itself hold `@` or `/` when it was not encoded as it should
# be, so everything up to the last `@` before the path's first `/` goes.
_USER = re.compile(r"(?<=://)[^/?#]*@")
_SECRET = re.compile(
    r"([?&;](?:[^=&;#]*(?:token|signature|password|secret|credential|key)|sig)=)[^&;#]*",
    re.IGNORECASE,
)


def redact(url: str) -> str:
    """Return a URL as it may be shown and recorded: without user, password, tokens, signatures.

    >>> redact("https://me:secret@example.org/file?token=1&page=2")
    'https://***@example.org/file?token=***&page=2'
    """
    return _SECRET.sub(r"\1***", _USER.sub("***@", url))


def hashed_mirrors_from(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the hashed mirrors that the environment names, best first.

    `PLXNIX_HASHED_MIRRORS` counts if it is set, also if empty; otherwise `NIX_HASHED_MIRRORS`. URLs
    are separated by blanks.
    """
    environment = os.environ if environment is None else environment
    value = environment.get("PLXNIX_HASHED_MIRRORS")
    if value is None:
        value = environment.get("NIX_HASHED_MIRRORS", "")
    return tuple(value.split())


def sources(
    urls: Sequence[str],
    hash: Hash | None,  # noqa: A002 (the word that recipes use)
    *,
    hashed_mirrors: Sequence[str] = (),
    mirrors: Mapping[str, Sequence[str]] | None = None,
) -> tuple[str, ...]:
    """Return all URLs of a file in the order in which they are to be tried, each once.

    First the hashed mirrors, as `URL/<algorithm>/<hex digest>` (the layout of nixpkgs' fetchurl),
    when the hash is known; then `urls`, with `mirror://NAME/path` expanded. `mirrors` adds to the
    table `MIRRORS` or replaces entries of it. Raises `InvalidValue` for an unknown mirror.
    """
    found: list[str] = []
    if hash is not None:
        found += [
            f"{mirror.rstrip('/')}/{hash.algorithm}/{hash.digest.hex()}"
            for mirror in hashed_mirrors
        ]
    table = {**MIRRORS, **(mirrors or {})}
    for url in urls:
        found += _expand(url, table) if url.lower().startswith(_SCHEME) else [url]
    return tuple(dict.fromkeys(found))


def _expand(url: str, table: Mapping[str, Sequence[str]]) -> list[str]:
    name, _, path = url[len(_SCHEME) :].partition("/")
    bases = [*os.environ.get(f"NIX_MIRRORS_{name}", "").split(), *table.get(name, ())]
    if not bases:
        raise InvalidValue(
            f"'{redact(url)}' names the mirror '{name}', which is not known",
            f"known are {', '.join(sorted(table))}; or set NIX_MIRRORS_{name}, or give a full URL",
        )
    return [f"{base.rstrip('/')}/{path}" for base in bases]
