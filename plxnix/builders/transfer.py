"""One request for a file: redirects, proxies, certificates and credentials; no retries."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from plxnix.builders.sources import redact
from plxnix.builders.surroundings import authorization, proxy_for, proxy_manager, tls_context
from plxnix.version import VERSION

if TYPE_CHECKING:
    import urllib3

    from plxnix.builders.download_settings import DownloadSettings

_PIECE = 1 << 20
_REDIRECTS = (301, 302, 303, 307, 308)
_TRANSIENT = (408, 425, 429)


class SourceFailed(Exception):
    """A try failed; the text says why, without the URL.

    `transient`: another try of the same source may help; `after`: not before so many seconds.
    """

    def __init__(self, reason: str, *, transient: bool = False, after: float = 0.0) -> None:
        super().__init__(reason)
        self.transient = transient
        self.after = after


class Reply(Protocol):
    """What a source answers. `headers` has lower-case names; `pieces` raises `SourceFailed`.

    `url` is where it comes from in the end; it may hold credentials.
    """

    url: str
    status: int
    headers: dict[str, str]

    def pieces(self) -> Iterator[bytes]:
        """Yield the body as it was sent, at most 1 MiB at a time, as soon as it comes."""

    def close(self) -> None:
        """End the exchange, finished or not."""


class Transport:
    """Asks servers, by settings, environment and `.netrc`; close it when done."""

    def __init__(self, settings: DownloadSettings) -> None:
        self._settings = settings
        self._managers: dict[str, urllib3.PoolManager] = {}

    def close(self) -> None:
        """Close all connections."""
        for manager in self._managers.values():
            manager.clear()

    def get(self, url: str, headers: Mapping[str, str]) -> Reply:
        """Ask for a URL, follow redirects, and return the last reply, whatever its status.

        Raises `SourceFailed` if there is none: no connection, a loop of redirects or more of them
        than allowed, one to another scheme than http and https, or a scheme that is not known.
        """
        if _split(url).scheme.lower() == "file":
            return _FileReply(url)
        seen = [url]
        while True:
            reply = self._ask(url, seen[0], headers)
            location = reply.headers.get("location")
            if reply.status not in _REDIRECTS or location is None:
                return reply
            reply.close()
            url = _split(location, url).geturl()
            if url in seen:
                path = " -> ".join(redact(step) for step in [*seen[seen.index(url) :], url])
                raise SourceFailed(f"redirects go round in a loop: {path}")
            seen.append(url)
            if len(seen) > self._settings.redirects + 1:
                raise SourceFailed(f"more than {self._settings.redirects} redirects")
            if _split(url).scheme.lower() not in ("http", "https"):
                raise SourceFailed(f"a redirect to '{redact(url)}' is refused: not http or https")

    def _ask(self, url: str, first: str, headers: Mapping[str, str]) -> _HttpReply:
        import urllib3
        from urllib3.exceptions import HTTPError, LocationValueError

        parts = _split(url)
        if parts.scheme.lower() not in ("http", "https"):
            raise SourceFailed(f"the scheme '{parts.scheme}' is not supported")
        sent = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "User-Agent": f"plxnix/{VERSION}",
            **headers,
            **authorization(url, first),
        }
        timeout = urllib3.Timeout(
            connect=self._settings.connect_timeout, read=self._settings.stall_timeout
        )
        try:
            response = self._manager(url).urlopen(
                "GET",
                # Credentials travel in their header only.
                parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl(),
                headers=sent,
                redirect=False,
                retries=False,
                timeout=timeout,
                preload_content=False,
                decode_content=False,
            )
        except LocationValueError:
            raise SourceFailed("the URL is malformed") from None
        except HTTPError as error:
            raise _failed(error) from None
        return _HttpReply(response, url)

    def _manager(self, url: str) -> urllib3.PoolManager:
        import urllib3

        parts = urlsplit(url)
        proxy = proxy_for(parts.scheme.lower(), parts.netloc.rpartition("@")[2])
        key = f"{parts.scheme.lower()} {proxy}"
        if key not in self._managers:
            # Loading the certificates takes some 20 ms, so only where they are used.
            context = (
                tls_context() if "https" in (parts.scheme.lower(), urlsplit(proxy).scheme) else None
            )
            if proxy:
                self._managers[key] = proxy_manager(proxy, context)
            else:
                self._managers[key] = urllib3.PoolManager(ssl_context=context)
        return self._managers[key]


class _HttpReply:
    """The reply of a server."""

    def __init__(self, response: urllib3.BaseHTTPResponse, url: str) -> None:
        self.url = url
        self._response = response
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.headers.items()}

    def pieces(self) -> Iterator[bytes]:
        from urllib3.exceptions import HTTPError

        while True:
            try:
                data = self._response.read1(_PIECE, decode_content=False)
            except HTTPError as error:
                raise _failed(error) from None
            if not data:
                return
            yield data

    def close(self) -> None:
        self._response.close()


class _FileReply:
    """A file of this machine, as if a server had sent it."""

    status = 200

    def __init__(self, url: str) -> None:
        from urllib.request import url2pathname

        self.url = url

        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise SourceFailed(f"a file on the host '{redact(url)}' is not of this machine")
        path = Path(url2pathname(parts.path))
        try:
            if not path.is_file():
                raise SourceFailed("no such file" if not path.exists() else "not a regular file")
            self._stream: BinaryIO = path.open("rb")
        except (OSError, ValueError) as error:
            raise SourceFailed(getattr(error, "strerror", None) or str(error)) from None
        self.headers = {"content-length": str(os.fstat(self._stream.fileno()).st_size)}

    def pieces(self) -> Iterator[bytes]:
        try:
            while data := self._stream.read(_PIECE):
                yield data
        except OSError as error:
            raise SourceFailed(error.strerror or "cannot be read") from None

    def close(self) -> None:
        self._stream.close()


def _split(url: str, base: str = "") -> SplitResult:
    try:
        parts = urlsplit(urljoin(base, url))
        # This is looked at to find a port that is no number.
        _ = parts.port
    except ValueError:
        raise SourceFailed("the URL is malformed") from None
    return parts


def status_failed(reply: Reply, longest_wait: float) -> SourceFailed:
    """Return the failure for a status that is not success.

    A server that asks to wait (Retry-After, RFC 9110, 10.2.3) for longer than `longest_wait`
    seconds is given up.
    """
    from http import HTTPStatus

    try:
        reason = f"HTTP {reply.status} {HTTPStatus(reply.status).phrase}"
    except ValueError:
        reason = f"HTTP {reply.status}"
    transient = reply.status in _TRANSIENT or 500 <= reply.status < 600
    after = _retry_after(reply.headers.get("retry-after", ""))
    if transient and after > longest_wait:
        return SourceFailed(f"{reason}; it asks to wait for {after:.0f} s")
    return SourceFailed(reason, transient=transient, after=after)


def _retry_after(value: str) -> float:
    """Return the seconds that a Retry-After header asks for, 0 if it asks for nothing."""
    import time
    from email.utils import parsedate_to_datetime

    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def _failed(error: Exception) -> SourceFailed:
    """Say in few words why an exchange failed; urllib3's own texts may hold URLs."""
    import ssl

    from urllib3 import exceptions

    cause = _root(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return SourceFailed(f"its certificate is not accepted: {cause.verify_message}")
    words = getattr(cause, "strerror", None) or type(cause).__name__
    match error:
        case exceptions.ConnectTimeoutError() if not isinstance(
            error, exceptions.NewConnectionError
        ):
            reason = "no connection in time"
        case exceptions.ReadTimeoutError():
            reason = "it stalled: no byte came in time"
        case exceptions.NameResolutionError():
            reason = "the host's name cannot be resolved"
        case exceptions.NewConnectionError():
            reason = f"no connection: {words}"
        case exceptions.SSLError():
            reason = f"TLS failed: {words}"
        case exceptions.ProxyError():
            reason = f"the proxy failed: {words}"
        case exceptions.IncompleteRead():
            reason = "the body is truncated"
        case exceptions.ProtocolError() if "IncompleteRead" in str(error):
            reason = "the body is truncated"
        case exceptions.ProtocolError():
            reason = f"the connection broke: {words}"
        case _:
            return SourceFailed(f"the exchange failed: {type(error).__name__}")
    return SourceFailed(reason, transient=True)


def _root(error: BaseException) -> BaseException:
    """Return the first cause of an error."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def content_length(reply: Reply) -> int | None:
    """Return how long the body is said to be, in bytes; None if it is not said."""
    value = reply.headers.get("content-length", "")
    chunked = "transfer-encoding" in reply.headers
    return int(value) if value.isascii() and value.isdigit() and not chunked else None


def content_range(reply: Reply) -> tuple[int, int | None]:
    """Return where a part starts and how long the whole is (RFC 9110, 14.4)."""
    value = reply.headers.get("content-range", "")
    match = re.fullmatch(r"bytes (\d{1,18})-\d{1,18}/(\d{1,18}|\*)", value.strip())
    if match is None:
        return -1, None
    return int(match[1]), None if match[2] == "*" else int(match[2])
