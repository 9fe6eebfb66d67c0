"""Replies: what a source of a file answers, and what it means when that is no file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol
from urllib.parse import urlsplit

from plxnix.builders.sources import redact

if TYPE_CHECKING:
    import urllib3

_PIECE = 1 << 20
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


class HttpReply:
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
                raise failed(error) from None
            if not data:
                return
            yield data

    def close(self) -> None:
        self._response.close()


class FileReply:
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


def failed(error: Exception) -> SourceFailed:
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
