"""The URLs of fetches: which are taken, and in which order they are tried."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

from plxnix.builders.sources import MIRRORS
from plxnix.config import Config
from plxnix.errors import InvalidValue

SCHEMES = ("http", "https", "file", "mirror")


def sources(config: Config) -> list[str]:
    """Return the URLs of a fetch, in the order in which they are tried; none if it has none."""
    return [*([config["url"]] if "url" in config else []), *config.get("urls", [])]


def last_part(url: str) -> str:
    """Return the last part of a URL's path, which may be empty, with its escapes resolved."""
    return unquote(urlsplit(url).path.rpartition("/")[2])


def expanded(url: str) -> list[str]:
    """Return the URLs that `mirror://NAME/path` stands for, and any other URL as it is.

    The environment has no say, since these are in results and locks.
    """
    if not url.lower().startswith("mirror://"):
        return [url]
    name, _, path = url[len("mirror://") :].partition("/")
    if name not in MIRRORS:
        raise InvalidValue(
            f"{url!r} names the mirror {name!r}, which is not known",
            f"known are {', '.join(sorted(MIRRORS))}; or give a full URL",
        )
    return [f"{base.rstrip('/')}/{path}" for base in MIRRORS[name]]


def check_urls(function: str, url: str | None, urls: Sequence[str]) -> list[str]:
    """Return the URLs that a fetch was given; raise `InvalidValue` if one cannot be fetched."""
    found = [one for one in (url, *urls) if one is not None]
    if not found:
        raise InvalidValue(f"{function} got no URL", "give url= or urls=")
    for one in found:
        check_url(one)
    return found


def check_url(url: str, schemes: Sequence[str] = SCHEMES) -> None:
    """Raise `InvalidValue` for a URL that cannot be fetched from, or holds credentials."""
    try:
        parts = urlsplit(url) if isinstance(url, str) and "\0" not in url else None
    except ValueError:  # a host that is none
        parts = None
    if parts is None or parts.scheme.lower() not in schemes:
        raise InvalidValue(
            f"cannot fetch from {url!r}", f"a URL starts with {'://, '.join(schemes)}://"
        )
    # A user without a password is no secret where it is a part of the address.
    if "@" in parts.netloc and (parts.scheme.lower() != "ssh" or parts.password is not None):
        raise InvalidValue(
            f"the URL for {parts.hostname} holds a user or a password",
            "configs are kept and shared: put credentials into ~/.netrc",
        )
