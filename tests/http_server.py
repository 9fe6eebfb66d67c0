"""A real HTTP(S) server on 127.0.0.1 that answers as it is told, and counts what it is asked."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

__all__ = ["Answer", "Request", "Server"]


@dataclass(frozen=True)
class Answer:
    """What the server does with one request.

    By default it sends `body` with its length. `etag` and `last_modified` are sent if given, and a
    request for the rest of the file (Range with a fitting If-Range) gets it, unless `ranges` is
    false; `range_from` sends the rest from another byte than was asked for. `declared` is the
    length that it claims. After `stop_after` bytes of the body it closes the connection; after
    `stall_after` it sends nothing more, but keeps the connection; `drop` closes without any answer.
    With `reset` it then resets it.
    `delay` is waited, in seconds, between pieces of `piece` bytes.
    """

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    etag: str = ""
    last_modified: str = ""
    ranges: bool = True
    range_from: int | None = None
    declared: int | None = None
    chunked: bool = False
    stop_after: int | None = None
    stall_after: int | None = None
    drop: bool = False
    reset: bool = False
    delay: float = 0.0
    piece: int = 1 << 16


@dataclass(frozen=True)
class Request:
    """A request as it came; names of headers are in lower case."""

    path: str
    headers: Mapping[str, str]


class Server:
    """A threaded server; use as a context manager.

    `answer` says what a path gives, one answer for each request, the last of them from then on;
    other paths give 404. With `certificate`, a PEM file that holds the key too, it speaks TLS.
    As a proxy it takes requests for whole URLs, under these. `host` is the address to listen on.
    """

    def __init__(self, certificate: Path | None = None, host: str = "127.0.0.1") -> None:
        self._host = f"[{host}]" if ":" in host else host
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        self.ending = threading.Event()
        self.requests: list[Request] = []
        self._http = _Http(self, host)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
            self._scheme = "https"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,))

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ending.set()
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._http.server_address[1])

    def url(self, path: str, *, user: str = "") -> str:
        """Return the URL of a path; `user` is put before the host."""
        return f"{self._scheme}://{user + '@' if user else ''}{self._host}:{self.port}{path}"

    def answer(self, path: str, *answers: Answer) -> str:
        """Set what the path gives, and return its URL."""
        self._answers[path] = list(answers)
        return self.url(path)

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(request.path == path for request in self.requests)

    def take(self, request: Request) -> Answer:
        """Note a request and return its answer."""
        with self._lock:
            self.requests.append(request)
            answers = self._answers.get(request.path, [Answer(status=404, body=b"none\n")])
            return answers.pop(0) if len(answers) > 1 else answers[0]


class _Http(ThreadingHTTPServer):
    request_queue_size = 128

    def __init__(self, server: Server, host: str) -> None:
        self.server = server
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: clients that leave are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as inherited)
        """Say nothing."""

    def do_HEAD(self) -> None:
        """Refuse it in a way that lets clients ask for the whole."""
        self.send_error(405)

    def do_GET(self) -> None:
        owner = self.server.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        answer = owner.take(Request(self.path, headers))
        self.close_connection = True
        if answer.drop:
            return
        status, body, extra = _select(answer, headers)
        self.send_response(status)
        for name, value in {**extra, **answer.headers}.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            length = len(body) if answer.declared is None else answer.declared
            self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self._send(answer, body)

    def _send(self, answer: Answer, body: bytes) -> None:
        ends = [end for end in (answer.stop_after, answer.stall_after) if end is not None]
        sent = body[: min(ends)] if ends else body
        for start in range(0, len(sent), answer.piece):
            piece = sent[start : start + answer.piece]
            if answer.chunked:
                piece = b"%x\r\n%s\r\n" % (len(piece), piece)
            self.wfile.write(piece)
            if answer.delay and self.server.server.ending.wait(answer.delay):
                return
        if answer.reset:
            self.wfile.flush()
            linger = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif answer.stall_after is not None:
            self.server.server.ending.wait()
        elif answer.chunked and answer.stop_after is None:
            self.wfile.write(b"0\r\n\r\n")


def _select(answer: Answer, headers: Mapping[str, str]) -> tuple[int, bytes, dict[str, str]]:
    """Return status, body and headers, for the whole file or for the rest that was asked for."""
    extra: dict[str, str] = {}
    if answer.etag:
        extra["ETag"] = answer.etag
    if answer.last_modified:
        extra["Last-Modified"] = answer.last_modified
    wanted = headers.get("range", "")
    fits = headers.get("if-range") in (answer.etag or None, answer.last_modified or None)
    if answer.status != 200 or not answer.ranges or not wanted.startswith("bytes=") or not fits:
        return answer.status, answer.body, extra
    size = len(answer.body)
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= size:
        return 416, b"", {**extra, "Content-Range": f"bytes */{size}"}
    start = start if answer.range_from is None else answer.range_from
    return 206, answer.body[start:], {**extra, "Content-Range": f"bytes {start}-{size - 1}/{size}"}
