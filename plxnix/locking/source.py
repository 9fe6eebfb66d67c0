"""One source of a lock: URLs, the hash of what they have, and the path that follows from it.

    "hello": {
      "url": "https://example.org/hello-{version}.tar.gz",     also "urls", a list of mirrors
      "version": "2.10",                                       fills the hole in URLs and name
      "hash": "sha256-...",                                    of the file, or of the tree
      "name": "hello-2.10.tar.gz",                             in the store
      "path": "/nix/store/...-hello-2.10.tar.gz",
      "size": 725946, "fetched": "2026-11-21T09:30:00Z",       what came, in bytes, and when
      "unpack": true, "archive": "sha256-...",                 the tree of an archive, whose hash
      "frozen": true                                           is not to be updated
    }

`url` and `hash` suffice; people may write the file by hand.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from plxnix.builders.sources import redact
from plxnix.config import Config
from plxnix.errors import InvalidHash, InvalidName, InvalidValue
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import check_name, fixed_path, sanitise_name
from plxnix.recipes.fetch import fetch_config
from plxnix.recipes.tree import NAME, tree_config
from plxnix.recipes.urls import SCHEMES, last_part

#: The hole of URLs and names that the version fills.
HOLE = "{version}"

_KEY = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.+-]{0,99}")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.+~-]{0,99}")
_FIELDS = {
    "archive": str,
    "fetched": str,
    "frozen": bool,
    "hash": str,
    "name": str,
    "path": str,
    "size": int,
    "unpack": bool,
    "url": str,
    "urls": list,
    "version": str,
}


@dataclass(frozen=True)
class LockedSource:
    """A source as it is in a lock; `url`, `urls` and `given_name` may hold `{version}`.

    `given_name` is empty where the name follows from the URL, and `path` where the lock has none.
    """

    url: str
    hash: Hash
    urls: tuple[str, ...] = ()
    version: str = ""
    given_name: str = ""
    path: str = ""
    unpack: bool = False
    archive: Hash | None = None
    size: int | None = None
    fetched: str = ""
    frozen: bool = False

    @classmethod
    def parse(cls, key: str, value: Any) -> LockedSource:
        """Read what a lock has under a name; nothing in it is believed.

        The path is kept as it is written: `verify` compares it to `predicted`. Raises
        `InvalidValue`, `InvalidHash`, `InvalidName`.
        """
        check_key(key)
        where = f"sources.{key}"
        if not isinstance(value, dict):
            raise InvalidValue(f"{where} is {value!r:.200}", "it has to be an object")
        for field, kind in _FIELDS.items():
            if field in value and type(value[field]) is not kind:
                raise InvalidValue(
                    f"{where}.{field} is {value[field]!r:.200}", f"it has to be {_kind(kind)}"
                )
        for field in sorted(value.keys() - _FIELDS.keys()):
            raise InvalidValue(
                f"{where} has the field {field!r:.100}, which is not known",
                f"known are {', '.join(_FIELDS)}",
            )
        for field in ("url", "hash"):
            if field not in value:
                raise InvalidValue(f"{where} has no {field}", "write one, or take the source out")
        if value.get("size", 0) < 0:
            raise InvalidValue(f"{where}.size is {value['size']}", "it is a number of bytes")
        urls = value.get("urls", [])
        if not all(isinstance(one, str) for one in urls):
            raise InvalidValue(f"{where}.urls is {urls!r:.200}", "it has to be a list of strings")
        for text in (value["url"], *urls, value.get("fetched", ""), value.get("path", "")):
            _check_text(text, where)
        try:
            digest = Hash.parse(value["hash"])
            archive = Hash.parse(value["archive"]) if "archive" in value else None
        except InvalidHash as error:
            raise InvalidHash(f"{where}: {error.message}", error.hint) from None
        found = cls(
            url=value["url"],
            hash=digest,
            urls=tuple(urls),
            version=value.get("version", ""),
            given_name=value.get("name", ""),
            path=value.get("path", ""),
            unpack=value.get("unpack", False),
            archive=archive,
            size=value.get("size"),
            fetched=value.get("fetched", ""),
            frozen=value.get("frozen", False),
        )
        found.check(where)
        return found

    def check(self, where: str) -> None:
        """Raise `InvalidValue` or `InvalidName` for what cannot be fetched or have a path."""
        if self.version and not _VERSION.fullmatch(self.version):
            raise InvalidValue(
                f"{where}: the version is {self.version!r:.100}",
                "it is made of letters, digits and . _ + ~ -",
            )
        holes = [url for url in (self.url, *self.urls) if HOLE in url]
        if bool(holes) != bool(self.version):
            raise InvalidValue(
                f"{where}: the URL {redact(holes[0])!r} has a hole for a version that is not known"
                if holes
                else f"{where} has the version {self.version}, but no URL has a place for it",
                f"give a version, and write {HOLE} where it belongs in the URL",
            )
        for url in self.sources:
            check_source_url(url, where)
        if self.unpack and self.hash.algorithm != "sha256":
            raise InvalidHash(
                f"{where}: the hash of a tree is a sha256, not {self.hash}", "fetch it again"
            )
        if self.archive is not None and not self.unpack:
            raise InvalidValue(f"{where} has the hash of an archive, but is a file", "remove it")
        try:
            check_name(self.name)
        except InvalidName as error:
            raise InvalidName(f"{where}: {error.message}", error.hint) from None

    def value(self) -> dict[str, Any]:
        """Return it as it is written into a lock, whole: with its name and path."""
        value: dict[str, Any] = {
            "url": self.url,
            "hash": self.hash.sri,
            "name": self.given_name or self.name,
            "path": self.predicted,
        }
        optional = {
            "urls": list(self.urls),
            "version": self.version,
            "unpack": self.unpack,
            "archive": self.archive.sri if self.archive is not None else "",
            "fetched": self.fetched,
            "frozen": self.frozen,
        }
        value.update({field: one for field, one in optional.items() if one})
        if self.size is not None:
            value["size"] = self.size
        return value

    @property
    def sources(self) -> list[str]:
        """The URLs, the first one first, with the version filled in."""
        return [self._filled(url) for url in (self.url, *self.urls)]

    @property
    def name(self) -> str:
        """The name in the store."""
        return self._filled(self.given_name) or self.default_name

    @property
    def default_name(self) -> str:
        """The name that follows from the URL; for a tree the one that Nix gives to trees."""
        return NAME if self.unpack else name_of(self._filled(self.url))

    @property
    def predicted(self) -> str:
        """The path in the Nix store, computed."""
        return fixed_path(self.name, self.hash, recursive=self.unpack)

    def at(self, version: str) -> LockedSource:
        """Return it for another version; a name that follows from the URL still does."""
        follows = self.given_name == self.default_name
        return replace(self, version=version, given_name="" if follows else self.given_name)

    def config(self, fields: Mapping[str, Any]) -> Config:
        """Return the config of the stage that it is; `fields` are added, `mode` says to unpack."""
        if self.unpack:
            return tree_config(self.sources, self.hash, self.archive, self.name, fields)
        rest = dict(fields)
        mode, name = rest.pop("mode", ""), rest.pop("name", None)
        return fetch_config(self.name, self.sources, self.hash, mode, name, rest)

    def _filled(self, text: str) -> str:
        return text.replace(HOLE, self.version) if self.version else text


def name_of(url: str) -> str:
    """Return the name in the store that a file has by its URL; raise `InvalidValue` if none."""
    last = last_part(url)
    if not last:
        raise InvalidValue(f"{redact(url)!r} ends without the name of a file", "give one")
    return sanitise_name(last)


def check_key(key: str) -> str:
    """Return what a source is called if it may be called so; raise `InvalidName`."""
    if not _KEY.fullmatch(key):
        raise InvalidName(
            f"not a name for a source: {key!r:.200}",
            "use 1 to 100 letters, digits and _ . + -, and start with none of . + -",
        )
    return key


def check_source_url(url: str, where: str) -> None:
    """Raise `InvalidValue` for a URL that cannot be fetched from, or that holds a secret."""
    _check_text(url, where)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise InvalidValue(f"{where}: the URL {redact(url)!r:.300} is malformed", "") from None
    if "@" in parts.netloc or redact(url) != url:
        raise InvalidValue(
            f"{where}: the URL {redact(url)} holds a user, a password or a token",
            "a lock is kept and shared: put credentials into ~/.netrc",
        )
    schemes = [scheme for scheme in SCHEMES if scheme != "mirror"]
    if parts.scheme not in schemes or not (parts.netloc or parts.scheme == "file"):
        raise InvalidValue(
            f"{where}: cannot fetch from {url!r:.300}",
            f"a URL starts with {'://, '.join(schemes)}://",
        )
    if not url.isprintable() or " " in url:
        raise InvalidValue(
            f"{where}: the URL {url!r:.300} has characters that need an escape", "write them as %XX"
        )


def _check_text(text: str, where: str) -> None:
    if "\0" in text or not text.isascii():
        raise InvalidValue(
            f"{where}: {redact(text)!r:.300} has characters that need an escape",
            "write them as %XX",
        )


def _kind(kind: type) -> str:
    return {str: "a string", bool: "true or false", int: "a whole number", list: "a list"}[kind]
