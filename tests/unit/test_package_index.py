"""Pages of package indexes that are none: each is refused by a typed error."""

from __future__ import annotations

import pytest

from plxnix.builders.package_index import parse_page
from plxnix.errors import DownloadFailed

URL = "https://user:word@example.org/simple/a/"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<![href[x]]>"),
        ("text/html", b'<a href="//[/a-1.0.tar.gz">a</a>'),
        ("text/html", b'<a href="https://example.org:x/a-1.0.tar.gz">a</a>'),
        ("text/html", b"\xff"),
        ("application/json", b'{"files":[{"filename":"a","url":"//[","hashes":{}}]}'),
        ("application/json", b"[" * 100_000),
        ("application/json", b"[]"),
    ],
    ids=["declaration", "address", "port", "encoding", "json-address", "deep", "list"],
)
def test_no_page(kind: str, body: bytes) -> None:
    """What cannot be read is named without the user's password."""
    with pytest.raises(DownloadFailed, match="no page of the simple API") as caught:
        parse_page(body, kind, URL)
    assert "word" not in str(caught.value)
