"""What Nix's fetchers say when they fail, read: which try failed why, and which hash was found.

The texts are those of Nix 2.8 to 2.34 (`filetransfer.cc`, `local-derivation-goal.cc`,
`tarball.cc`). A failure is told in the words of the native downloader, so that whoever looks at
the attempts of a `DownloadFailed` need not know who has fetched.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from plxnix.errors import InvalidHash
from plxnix.nix.hashes import Hash

_FAILED: Final = re.compile(r"unable to download '([^'\n]*)': ([^\n]*)")
_STATUS: Final = re.compile(r"HTTP error (\d{3})(?: \('[^']*'\))?(?: \(curl error: ([^)]*)\))?")
_CODE: Final = re.compile(r" \(\d+\)(?:;| |$).*")
_MISMATCH: Final = re.compile(r"hash mismatch in .*?specified:\s+(\S+)\s+got:\s+(\S+)", re.DOTALL)

#: What libcurl says (`curl_easy_strerror`, the beginning is enough) in the downloader's words.
_WORDS: Final = (
    ("Couldn't resolve host", "the host's name cannot be resolved"),
    ("Could not resolve host", "the host's name cannot be resolved"),
    ("Couldn't resolve proxy", "the proxy failed: its name cannot be resolved"),
    ("Couldn't connect", "no connection: refused or not reachable"),
    ("Could not connect", "no connection: refused or not reachable"),
    ("Transferred a partial file", "the body is truncated"),
    ("Timeout was reached", "it stalled: no byte came in time"),
    ("Number of redirects", "too many redirects, or they go round in a loop"),
    ("Unsupported protocol", "a redirect is refused: not http or https"),
    ("SSL peer certificate", "its certificate is not accepted"),
    ("Peer certificate", "its certificate is not accepted"),
    ("SSL connect error", "TLS failed"),
    ("Server returned nothing", "the connection broke: no answer"),
    ("Failure when receiving", "the connection broke"),
    ("Couldn't read a file", "no such file, or it cannot be read"),
    ("Could not read a file", "no such file, or it cannot be read"),
)


@dataclass(frozen=True)
class Attempt:
    """One try of Nix to download something: the URL, and why it failed."""

    url: str
    reason: str


def attempts(stderr: str) -> list[Attempt]:
    """Return the tries that failed, in their order.

    >>> attempts("error: unable to download 'http://x/y': HTTP error 404 ('Not Found')")
    [Attempt(url='http://x/y', reason='HTTP 404 Not Found')]
    """
    return [Attempt(url, _reason(words)) for url, words in _FAILED.findall(stderr)]


def mismatch(stderr: str) -> tuple[Hash, Hash] | None:
    """Return the hash that was specified and the one that was found, if they differ."""
    found = _MISMATCH.search(stderr)
    if found is None:
        return None
    try:
        return Hash.parse(found[1]), Hash.parse(found[2])
    except InvalidHash:
        return None


def _reason(words: str) -> str:
    status = _STATUS.match(words)
    if status is None:
        return _said(_CODE.sub("", words))
    number, curl = int(status[1]), status[2]
    if curl:
        return _said(curl)
    try:
        return f"HTTP {number} {HTTPStatus(number).phrase}"
    except ValueError:
        return f"HTTP {number}"


def _said(words: str) -> str:
    for beginning, reason in _WORDS:
        if words.startswith(beginning):
            return reason
    return words.strip()
