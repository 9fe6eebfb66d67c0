"""An index of Python packages, by its simple API: what files a project has (PEP 503, 592, 691).

Which index is asked is the user's own setting, that of uv or pip; none is built in here.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urljoin, urlsplit

from plxnix.errors import DownloadFailed, FetchError, InvalidSetting

#: Both forms of a project's page, JSON first.
_ACCEPT: Final = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1"
)

#: A project's page is read into memory: the largest known ones have some 40 MB.
_LARGEST: Final = 256 << 20

#: What reading anything else raises; AssertionError is how html.parser refuses a declaration.
_NO_PAGE: Final = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    RecursionError,
    AssertionError,
)

_SDIST: Final = re.compile(r"(.+)-([^-]+)\.(?:tar\.gz|tar\.bz2|tar\.xz|tgz|zip)")
_WHEEL: Final = re.compile(r"([^-]+)-([^-]+)(?:-\d[^-]*)?-([^-]+-[^-]+-[^-]+)\.whl")


@dataclass(frozen=True)
class IndexFile:
    """A file of a project as its index tells of it; `url` may hold the user's credentials.

    `hashes` are in hex, by algorithm. `yanked` is why it was withdrawn, None if it was not.
    """

    filename: str
    url: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    yanked: str | None = None

    @property
    def version(self) -> str:
        """The version in the file's name, empty if it has none."""
        return split(self.filename)[1]

    @property
    def tags(self) -> str:
        """A wheel's tags, such as `py3-none-any`; empty for anything else."""
        return split(self.filename)[2]


def split(filename: str) -> tuple[str, str, str]:
    """Return project, version and tags in the name of a wheel or sdist; empty if it has none.

    >>> split("a_b-1.0-py3-none-any.whl")
    ('a_b', '1.0', 'py3-none-any')
    """
    if wheel := _WHEEL.fullmatch(filename):
        return wheel[1], wheel[2], wheel[3]
    if sdist := _SDIST.fullmatch(filename):
        return sdist[1], sdist[2], ""
    return "", "", ""


def normalized(name: str) -> str:
    """Return a project's name as indexes write it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def same_version(one: str, other: str) -> bool:
    """Tell whether two versions are are spelled alike but for case, a `v`, and final zeros."""
    return _plain(one) == _plain(other)


def _plain(version: str) -> str:
    public, _, local = version.lower().removeprefix("v").partition("+")
    return f"{re.sub(r'(?:[.]0+)+$', '', public)}+{re.sub('[-_]', '.', local)}"


def configured_index(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the index that the user has set, for uv or for pip; else pip's default.

    The order is that of `UV_DEFAULT_INDEX`, `UV_INDEX_URL`, `PIP_INDEX_URL`, and pip's files of
    settings (`PIP_CONFIG_FILE`, the environment's, the user's, the machine's). Raises `FetchError`
    if nothing is set and pip is not installed, `InvalidSetting` for a file that cannot be read.
    """
    if found := chosen_index(environment):
        return found
    try:
        from importlib import import_module

        return str(import_module("pip._internal.models.index").PyPI.simple_url)
    except (ImportError, AttributeError):
        raise FetchError(
            "no index of Python packages is set, and pip is not installed to tell its default",
            "give index=, or set UV_INDEX_URL or PIP_INDEX_URL to the index's simple API",
        ) from None


def chosen_index(environment: Mapping[str, str] = os.environ) -> str:
    """Return the URL of the index that the user has set, "" if none is; as `configured_index`."""
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        if environment.get(variable):
            # uv allows for NAME=URL.
            return re.sub(r"^[A-Za-z0-9._-]+=(?=\w+://)", "", environment[variable])
    for path in _settings_files(environment):
        if found := _from_settings(path):
            return found
    return ""


def _settings_files(environment: Mapping[str, str]) -> Iterator[Path]:
    own = environment.get("PIP_CONFIG_FILE")
    if own == os.devnull:
        return
    if own:
        yield Path(own)
    yield Path(environment.get("VIRTUAL_ENV") or sys.prefix) / "pip.conf"
    home = Path(environment.get("HOME") or os.path.expanduser("~"))
    yield Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip" / "pip.conf"
    yield home / ".pip" / "pip.conf"
    for folder in (environment.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":"):
        yield Path(folder) / "pip" / "pip.conf"
    yield Path("/etc/pip.conf")


def _from_settings(path: Path) -> str:
    from configparser import Error, RawConfigParser

    settings = RawConfigParser()
    try:
        if not settings.read(path, encoding="utf-8"):
            return ""
    except (Error, UnicodeDecodeError) as error:
        # Its text may quote a password.
        raise InvalidSetting(f"'{path}' cannot be read: {type(error).__name__}") from None
    for section in ("install", "download", "global"):
        for key in ("index-url", "index_url"):
            if found := settings.get(section, key, fallback=""):
                return found.strip()
    return ""


@lru_cache(maxsize=256)
def files(index: str, project: str) -> tuple[IndexFile, ...]:
    """Return the files of a project, in the index's order; an index is asked once in a process.

    Raises `DownloadFailed` if it cannot be read, `FetchError` if it has no such project.
    """
    url = f"{index.rstrip('/')}/{normalized(project)}/"
    return parse_page(*_get(url, index, project))


def parse_page(body: bytes, kind: str, url: str) -> tuple[IndexFile, ...]:
    """Return the files that a project's page of the media type `kind` has, in its order.

    `url` is where it came from, and what URLs in it are relative to. Raises `DownloadFailed` if it
    is no page of the simple API.
    """
    from plxnix.builders.sources import redact

    try:
        found = _json(body) if "json" in kind else _html(body)
        return tuple(_complete(one, url) for one in found)
    except _NO_PAGE as error:
        raise DownloadFailed(
            f"what '{redact(url)}' has is no page of the simple API: {type(error).__name__}",
            "the index's URL usually ends with /simple",
            [f"{redact(url)}: no page of the simple API"],
        ) from None


def _get(url: str, index: str, project: str) -> tuple[bytes, str, str]:
    """Return a page, its type, and the URL that it came from."""
    import time

    from plxnix.builders.download_settings import DownloadSettings
    from plxnix.builders.replies import SourceFailed, content_length, status_failed
    from plxnix.builders.sources import redact
    from plxnix.builders.transfer import Transport

    settings = DownloadSettings.from_environment()
    transport, said = Transport(settings), []
    try:
        for number in range(settings.tries):
            try:
                reply = transport.get(url, {"Accept": _ACCEPT})
                try:
                    if reply.status == 404:
                        raise FetchError(
                            f"the index '{redact(index)}' has no project {project!r}",
                            "check the name; another index is named by index= or UV_INDEX_URL",
                        )
                    if reply.status != 200:
                        raise status_failed(reply, settings.longest_wait)
                    body = b"".join(_limited(reply.pieces()))
                    if (content_length(reply) or len(body)) != len(body):
                        raise SourceFailed("the body is truncated", transient=True)
                    return body, reply.headers.get("content-type", ""), reply.url
                finally:
                    reply.close()
            except SourceFailed as failure:
                said.append(f"{redact(url)}: {failure}")
                if not failure.transient or number + 1 == settings.tries:
                    break
                time.sleep(min(max(settings.backoff * 2**number, failure.after), 60))
    finally:
        transport.close()
    lines = "".join(f"\n  {line}" for line in said)
    raise DownloadFailed(
        f"the index of Python packages cannot be read for {project!r}:{lines}",
        "check the network and the index: index=, UV_INDEX_URL, PIP_INDEX_URL or pip.conf",
        said,
    )


def _limited(pieces: Iterator[bytes]) -> Iterator[bytes]:
    from plxnix.builders.replies import SourceFailed

    size = 0
    for piece in pieces:
        size += len(piece)
        if size > _LARGEST:
            raise SourceFailed(f"the page is larger than {_LARGEST} bytes")
        yield piece


def _json(body: bytes) -> list[IndexFile]:
    import json

    found = []
    for one in json.loads(body)["files"]:
        yanked = one.get("yanked", False)
        why = None if yanked is False else yanked if isinstance(yanked, str) else ""
        found.append(IndexFile(str(one["filename"]), str(one["url"]), dict(one["hashes"]), why))
    return found


def _html(body: bytes) -> list[IndexFile]:
    page = _Page()
    page.feed(body.decode("utf-8"))
    page.close()
    return page.found


class _Page(HTMLParser):
    """The anchors of a project's page; `data-yanked` on one says that the file was withdrawn."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[IndexFile] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given: dict[str, Any] = dict(attrs)
        if tag != "a" or not given.get("href"):
            return
        url, _, fragment = given["href"].partition("#")
        algorithm, _, digest = fragment.partition("=")
        name = unquote(urlsplit(url).path.rpartition("/")[2])
        yanked = (given["data-yanked"] or "") if "data-yanked" in given else None
        self.found.append(IndexFile(name, url, {algorithm: digest} if digest else {}, yanked))


def _complete(file: IndexFile, base: str) -> IndexFile:
    """Return the file with its whole URL, and with the index's credentials on the index's host."""
    url = urljoin(base, file.url)
    parts, origin = urlsplit(url), urlsplit(base)
    user = origin.netloc.rpartition("@")[0]
    server = (origin.scheme, origin.hostname, origin.port)
    if user and "@" not in parts.netloc and (parts.scheme, parts.hostname, parts.port) == server:
        url = parts._replace(netloc=f"{user}@{parts.netloc}").geturl()
    return IndexFile(file.filename, url, file.hashes, file.yanked)
