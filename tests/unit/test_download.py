"""`download` against a real server: what it takes, what it refuses, what it tries again."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from plxnix.builders.download import DownloadResult, DownloadSettings, download
from plxnix.errors import DownloadFailed, HashMismatch, InvalidSetting, InvalidValue
from plxnix.nix.hashes import Hash
from tests.conftest import missing
from tests.http_server import Answer, Server
from tests.interrupting import interrupting
from tests.waiting import PATIENCE, wait_for

BODY = bytes(range(256)) * 1024
RIGHT = Hash.of_bytes(BODY)

QUICK = DownloadSettings(connect_timeout=PATIENCE, stall_timeout=PATIENCE, backoff=0.001)

#: For what stalls. A busy machine lets a server wait, too, but not for as long.
STALLED = replace(QUICK, stall_timeout=2)


@pytest.fixture(autouse=True)
def no_foreign_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the machine's mirrors, proxies, certificates and credentials out."""
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy") and variable.lower() != "no_proxy":
            monkeypatch.delenv(variable)
    for variable in ("NIX_HASHED_MIRRORS", "NIX_SSL_CERT_FILE", "SSL_CERT_FILE", "NETRC"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Name a file in a folder of its own."""
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder / "file"


def fetch(
    target: Path,
    *urls: str,
    hash: Hash | None = RIGHT,  # noqa: A002 (as in `download`)
    settings: DownloadSettings = QUICK,
    hashed_mirrors: tuple[str, ...] | None = None,
) -> DownloadResult:
    """Call `download` with quick settings."""
    return download(urls, target, hash, settings=settings, hashed_mirrors=hashed_mirrors)


class Listener:
    """A `Progress` that adds up."""

    def __init__(self) -> None:
        self.totals: list[int | None] = []
        self.bytes = 0
        self.finished = 0

    def start(self, label: str, total: int | None) -> None:
        """Begin to count anew."""
        assert label == "file"
        self.totals.append(total)
        self.bytes = 0

    def advance(self, bytes: int) -> None:  # noqa: A002 (as in the protocol)
        """Count."""
        self.bytes += bytes

    def finish(self) -> None:
        """Count the ends."""
        self.finished += 1


# -- what arrives ------------------------------------------------------------------------------


def test_a_file_arrives_with_its_hash(server: Server, target: Path) -> None:
    """The file is there with mode 0644, alone in its folder, and the result describes it."""
    url = server.answer("/file", Answer(BODY))
    result = fetch(target, url)
    assert target.read_bytes() == BODY
    assert stat.S_IMODE(target.stat().st_mode) == 0o644
    assert list(target.parent.iterdir()) == [target]
    assert result == DownloadResult(target, len(BODY), RIGHT, url)


def test_without_a_hash_the_result_tells_it(server: Server, target: Path) -> None:
    """With no hash given anything is taken, and its sha256 is returned."""
    assert fetch(target, server.answer("/file", Answer(BODY)), hash=None).hash == RIGHT


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256", "sha512"])
def test_every_algorithm_is_checked(server: Server, target: Path, algorithm: str) -> None:
    """A file is checked by its hash's algorithm: the right one passes, a wrong one does not."""
    url = server.answer("/file", Answer(BODY))
    right = Hash.of_bytes(BODY, algorithm)
    assert fetch(target, url, hash=right).hash == right
    with pytest.raises(HashMismatch):
        fetch(target, url, hash=Hash.of_bytes(b"other", algorithm))


def test_an_empty_file_arrives(server: Server, target: Path) -> None:
    """A body without a byte is a file without a byte."""
    fetch(target, server.answer("/file", Answer(b"")), hash=Hash.of_bytes(b""))
    assert target.read_bytes() == b""


def test_a_chunked_body_arrives(server: Server, target: Path) -> None:
    """A body in chunks, whose length nobody tells, is taken whole."""
    fetch(target, server.answer("/file", Answer(BODY, chunked=True, piece=1000)))
    assert target.read_bytes() == BODY


def test_a_content_encoding_is_not_decoded(server: Server, target: Path) -> None:
    """A file that the server calls gzip-encoded stays compressed, and none is asked for."""
    packed = gzip.compress(BODY, mtime=0)
    url = server.answer("/file", Answer(packed, headers={"Content-Encoding": "gzip"}))
    fetch(target, url, hash=Hash.of_bytes(packed))
    assert target.read_bytes() == packed
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_an_older_file_is_replaced_only_by_the_right_one(server: Server, target: Path) -> None:
    """A file at the destination stays as it is until the new one is complete and right."""
    target.write_text("old")
    url = server.answer("/file", Answer(BODY))
    with pytest.raises(HashMismatch):
        fetch(target, url, hash=Hash.of_bytes(b"other"))
    assert target.read_text() == "old"
    fetch(target, url)
    assert target.read_bytes() == BODY


def test_a_file_of_this_machine_is_copied(target: Path, tmp_path: Path) -> None:
    """`file:` URLs are read, percent signs and all; a folder or a missing file is a failure."""
    (tmp_path / "a file").write_bytes(BODY)
    fetch(target, f"file://{tmp_path}/a%20file")
    assert target.read_bytes() == BODY
    for path, reason in ((tmp_path, "not a regular file"), (tmp_path / "none", "no such file")):
        with pytest.raises(DownloadFailed, match=reason):
            fetch(target, f"file://{path}")
    with pytest.raises(DownloadFailed, match="not of this machine"):
        fetch(target, f"file://elsewhere{tmp_path}/a%20file")


def test_progress_is_told_every_byte(server: Server, target: Path) -> None:
    """The listener gets the total, all bytes, and one end, also when a try failed before."""
    listener = Listener()
    url = server.answer("/file", Answer(BODY, stop_after=1000), Answer(BODY))
    download([url], target, RIGHT, progress=listener, settings=QUICK)
    assert (listener.bytes, listener.finished) == (len(BODY), 1)
    assert listener.totals == [len(BODY)] * 2


# -- wrong contents ----------------------------------------------------------------------------


def test_a_wrong_hash_names_both(server: Server, target: Path) -> None:
    """The error shows specified and got as SRI, the URL, and the value to accept; nothing stays."""
    wanted = Hash.of_bytes(b"other")
    url = server.answer("/file", Answer(BODY))
    with pytest.raises(HashMismatch) as caught:
        fetch(target, url, hash=wanted)
    assert (caught.value.expected, caught.value.found) == (wanted.sri, RIGHT.sri)
    assert url in caught.value.message
    assert wanted.sri in caught.value.message
    assert RIGHT.sri in caught.value.message
    assert f"set sha256 to '{RIGHT.sri}'" in caught.value.hint
    assert list(target.parent.iterdir()) == []
    assert server.count("/file") == 1


def test_another_source_may_be_right(server: Server, target: Path) -> None:
    """After wrong contents the next source is asked."""
    wrong = server.answer("/wrong", Answer(b"wrong"))
    right = server.answer("/right", Answer(BODY))
    assert fetch(target, wrong, right).url == right


def test_two_sources_that_agree_settle_it(server: Server, target: Path) -> None:
    """When two sources have the same other contents, no third is asked for them."""
    urls = [server.answer(f"/{number}", Answer(b"new")) for number in range(3)]
    with pytest.raises(HashMismatch):
        fetch(target, *urls)
    assert [server.count(f"/{number}") for number in range(3)] == [1, 1, 0]


# -- failures and tries ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 204, 304])
def test_a_final_status_is_not_tried_again(server: Server, target: Path, status: int) -> None:
    """What another try cannot mend goes on to the next source at once."""
    body = b"" if status in (204, 304) else b"no"
    first = server.answer("/first", Answer(body, status=status))
    result = fetch(target, first, server.answer("/second", Answer(BODY)))
    assert server.count("/first") == 1
    assert len(result.attempts) == 1
    assert f"HTTP {status}" in result.attempts[0]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_a_passing_status_is_tried_again(server: Server, target: Path, status: int) -> None:
    """A server's trouble is waited out."""
    url = server.answer("/file", Answer(status=status), Answer(status=status), Answer(BODY))
    assert len(fetch(target, url).attempts) == 2


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(BODY, stop_after=1000),
        Answer(BODY, stop_after=0),
        Answer(BODY, chunked=True, stop_after=1000),
        Answer(BODY, stall_after=1000),
        Answer(drop=True),
    ],
    ids=["truncated", "headers only", "chunk missing", "stalled", "dropped"],
)
def test_a_broken_transfer_is_tried_again(server: Server, target: Path, trouble: Answer) -> None:
    """A body that ends early, stalls, or never begins is fetched anew."""
    settings = QUICK if trouble.stall_after is None else STALLED
    result = fetch(target, server.answer("/file", trouble, Answer(BODY)), settings=settings)
    assert target.read_bytes() == BODY
    assert len(result.attempts) == 1


def test_tries_are_bounded_and_each_has_a_line(server: Server, target: Path) -> None:
    """Each source is tried four times at most, and the error has a line for each try."""
    urls = [server.answer(path, Answer(status=500)) for path in ("/one", "/two")]
    with pytest.raises(DownloadFailed) as caught:
        fetch(target, *urls)
    assert [server.count("/one"), server.count("/two")] == [4, 4]
    assert caught.value.attempts == tuple(
        f"{url}: HTTP 500 Internal Server Error" for url in urls for _ in range(4)
    )
    lines = [f"  {url}: HTTP 500 Internal Server Error (4 times)" for url in urls]
    assert caught.value.message.splitlines()[1:] == lines


def test_a_slow_server_is_not_a_stalled_one(server: Server, target: Path) -> None:
    """A transfer that takes longer than the stall timeout goes on while bytes come."""
    url = server.answer("/file", Answer(BODY[:25], delay=0.1, piece=1))
    assert fetch(target, url, hash=Hash.of_bytes(BODY[:25]), settings=STALLED).attempts == ()


def test_a_stalled_server_is_left_in_time(server: Server, target: Path) -> None:
    """A server from which no byte comes is given up after the stall timeout, and it is said."""
    url = server.answer("/file", Answer(BODY, stall_after=0))
    begin = time.monotonic()
    with pytest.raises(DownloadFailed, match="stalled"):
        fetch(target, url, settings=replace(QUICK, stall_timeout=0.2, tries=1))
    assert 0.2 <= time.monotonic() - begin < PATIENCE


def test_nobody_listens(target: Path) -> None:
    """A refused connection is tried again and then named."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(DownloadFailed, match="Connection refused") as caught:
            fetch(target, f"http://127.0.0.1:{unused.getsockname()[1]}/file")
    assert len(caught.value.attempts) == 4


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_waited_for(server: Server, target: Path, form: str) -> None:
    """A server that asks to wait, in seconds or until a date, is not asked before."""
    value = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    busy = Answer(status=503, headers={"Retry-After": value})
    begin = time.monotonic()
    fetch(target, server.answer("/file", busy, Answer(BODY)))
    assert time.monotonic() - begin > 0.9


def test_a_server_that_asks_for_too_long_is_left(server: Server, target: Path) -> None:
    """A wait over the longest allowed goes on to the next source at once."""
    busy = server.answer("/busy", Answer(status=429, headers={"Retry-After": "3600"}))
    result = fetch(target, busy, server.answer("/file", Answer(BODY)))
    assert server.count("/busy") == 1
    assert "asks to wait for 3600 s" in result.attempts[0]


def test_pauses_grow(server: Server, target: Path) -> None:
    """Between tries it waits, at least half of the doubled pause each time."""
    url = server.answer("/file", Answer(status=500), Answer(status=500), Answer(BODY))
    begin = time.monotonic()
    fetch(target, url, settings=DownloadSettings(backoff=0.2))
    assert time.monotonic() - begin >= 0.1 + 0.2


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_over_the_size_limit_is_refused(server: Server, target: Path, chunked: bool) -> None:
    """A file larger than `max_size` is refused, told by its length or by what comes."""
    url = server.answer("/file", Answer(BODY, chunked=chunked))
    with pytest.raises(DownloadFailed, match="larger than the 1000 bytes"):
        fetch(target, url, settings=DownloadSettings(max_size=1000))
    assert list(target.parent.iterdir()) == []
    fetch(target, url, settings=DownloadSettings(max_size=len(BODY)))


def test_a_body_longer_than_declared_is_not_accepted(server: Server, target: Path) -> None:
    """A server that declares fewer bytes than it sends does not get its file accepted."""
    url = server.answer("/file", Answer(BODY, declared=len(BODY) - 1))
    with pytest.raises(HashMismatch):
        fetch(target, url)
    assert not target.exists()


# -- redirects ---------------------------------------------------------------------------------


def redirect(location: str, status: int = 302) -> Answer:
    """Return an answer that sends elsewhere."""
    return Answer(b"elsewhere", status=status, headers={"Location": location})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(server: Server, target: Path, status: int) -> None:
    """Absolute and relative redirects lead to the file; the source's own URL is reported."""
    url = server.answer("/a/first", redirect("second", status))
    server.answer("/a/second", redirect(server.url("/file"), status))
    server.answer("/file", Answer(BODY))
    assert fetch(target, url).url == url


def test_a_loop_of_redirects_is_named(server: Server, target: Path) -> None:
    """A loop ends the source at once, and the error shows its way round."""
    url = server.answer("/one", redirect("/two"))
    other = server.answer("/two", redirect("/one"))
    with pytest.raises(DownloadFailed, match="loop") as caught:
        fetch(target, url)
    assert f"{url} -> {other} -> {url}" in str(caught.value)
    assert len(server.requests) == 2


def test_redirects_are_bounded(server: Server, target: Path) -> None:
    """Twenty redirects are followed, twenty-one are not."""
    for number in range(21):
        server.answer(f"/{number}", redirect(f"/{number + 1}"))
    server.answer("/21", Answer(BODY))
    fetch(target, server.url("/1"))
    with pytest.raises(DownloadFailed, match="more than 20 redirects"):
        fetch(target, server.url("/0"))


def test_a_redirect_to_a_file_is_refused(server: Server, target: Path, tmp_path: Path) -> None:
    """A server cannot make us read a file of this machine, or speak another protocol."""
    (tmp_path / "secret").write_bytes(BODY)
    for location in (f"file://{tmp_path}/secret", "ftp://127.0.0.1/file"):
        with pytest.raises(DownloadFailed, match="refused"):
            fetch(target, server.answer("/file", redirect(location)))
    assert not target.exists()


# -- resuming ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "validator",
    [{"etag": '"one"'}, {"last_modified": "Wed, 21 Oct 2015 07:28:00 GMT"}],
    ids=["etag", "date"],
)
def test_a_broken_transfer_is_resumed(
    server: Server, target: Path, validator: dict[str, str]
) -> None:
    """The second try asks for the rest only, on the condition that the file is the same."""
    whole = Answer(BODY, **validator)  # type: ignore[arg-type]
    broken = Answer(BODY, stop_after=1000, **validator)  # type: ignore[arg-type]
    result = fetch(target, server.answer("/file", broken, whole))
    assert target.read_bytes() == BODY
    assert result.resumed
    second = server.requests[1].headers
    assert second["range"] == "bytes=1000-"
    assert second["if-range"] == next(iter(validator.values()))


def test_a_later_call_resumes(server: Server, target: Path, tmp_path: Path) -> None:
    """What a failed download has fetched is kept at `partial`, and the next call goes on there."""
    partial = tmp_path / "part"
    broken = Answer(BODY, etag='"one"', stop_after=100_000)
    url = server.answer("/file", broken)
    once = DownloadSettings(tries=1)
    with pytest.raises(DownloadFailed, match="truncated"):
        download([url], target, RIGHT, partial=partial, settings=once)
    assert partial.read_bytes() == BODY[:100_000]
    server.answer("/file", Answer(BODY, etag='"one"'))
    listener = Listener()
    download([url], target, RIGHT, partial=partial, settings=once, progress=listener)
    assert target.read_bytes() == BODY
    assert server.requests[1].headers["range"] == "bytes=100000-"
    assert listener.bytes == len(BODY)
    assert list(tmp_path.glob("part*")) == []


def test_a_changed_file_starts_over(server: Server, target: Path) -> None:
    """When the server has another file meanwhile, it is taken from its beginning."""
    before = Answer(b"x" * 5000, etag='"one"', stop_after=1000)
    url = server.answer("/file", before, Answer(BODY, etag='"two"'))
    result = fetch(target, url)
    assert target.read_bytes() == BODY
    assert not result.resumed
    assert server.count("/file") == 2


def test_a_server_without_ranges_starts_over(server: Server, target: Path) -> None:
    """A server that sends the whole file anyway is understood."""
    broken = Answer(BODY, etag='"one"', stop_after=1000)
    fetch(target, server.answer("/file", broken, Answer(BODY, etag='"one"', ranges=False)))
    assert target.read_bytes() == BODY


def test_a_weak_tag_does_not_resume(server: Server, target: Path) -> None:
    """A weak entity tag does not promise the same bytes, so no range is asked for."""
    broken = Answer(BODY, etag='W/"one"', stop_after=1000)
    fetch(target, server.answer("/file", broken, Answer(BODY)))
    assert "range" not in server.requests[1].headers


def test_a_date_alone_does_not_resume_without_a_hash(server: Server, target: Path) -> None:
    """Without a hash to check by, a modification date is not enough to join two halves."""
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    broken = Answer(BODY, last_modified=date, stop_after=1000)
    fetch(target, server.answer("/file", broken, Answer(BODY, last_modified=date)), hash=None)
    assert "range" not in server.requests[1].headers
    assert target.read_bytes() == BODY


def test_a_part_of_another_source_is_not_joined(server: Server, target: Path) -> None:
    """What one source began no other continues, whatever tags they use."""
    first = server.answer("/first", Answer(b"x" * 5000, etag='"one"', stop_after=1000))
    second = server.answer("/second", Answer(BODY, etag='"one"'))
    fetch(target, first, second, hash=None, settings=DownloadSettings(tries=1))
    assert target.read_bytes() == BODY
    assert "range" not in server.requests[1].headers


def test_a_wrong_resumed_file_is_fetched_once_more(
    server: Server, target: Path, tmp_path: Path
) -> None:
    """If the part from before was damaged, the whole file is fetched before anybody is blamed."""
    partial = tmp_path / "part"
    broken = Answer(BODY, etag='"one"', stop_after=1000)
    url = server.answer("/file", broken)
    with pytest.raises(DownloadFailed):
        download([url], target, RIGHT, partial=partial, settings=DownloadSettings(tries=1))
    partial.write_bytes(b"?" * 1000)
    server.answer("/file", Answer(BODY, etag='"one"'))
    download([url], target, RIGHT, partial=partial, settings=QUICK)
    assert target.read_bytes() == BODY
    assert [("range" in request.headers) for request in server.requests] == [False, True, False]


def test_a_wrong_file_that_was_resumed_is_a_mismatch(server: Server, target: Path) -> None:
    """A resumed file with the wrong hash is fetched once more, and then it is a mismatch."""
    other = b"new contents" * 1000
    broken = Answer(other, etag='"one"', stop_after=1000)
    url = server.answer("/file", broken, Answer(other, etag='"one"'))
    with pytest.raises(HashMismatch) as caught:
        fetch(target, url)
    assert caught.value.found == Hash.of_bytes(other).sri
    assert server.count("/file") == 3


def test_a_part_longer_than_the_file_starts_over(
    server: Server, target: Path, tmp_path: Path
) -> None:
    """A server that cannot satisfy the range (416) is asked for the whole."""
    partial = tmp_path / "part"
    url = server.answer("/file", Answer(BODY, etag='"one"', stop_after=1000))
    with pytest.raises(DownloadFailed):
        download([url], target, RIGHT, partial=partial, settings=DownloadSettings(tries=1))
    partial.write_bytes(b"?" * (len(BODY) + 1))
    server.answer("/file", Answer(BODY, etag='"one"'))
    download([url], target, RIGHT, partial=partial, settings=QUICK)
    assert target.read_bytes() == BODY


def test_a_rest_from_the_wrong_byte_is_not_joined(server: Server, target: Path) -> None:
    """A server that sends another range than was asked for does not damage the file."""
    broken = Answer(BODY, etag='"one"', stop_after=1000)
    wrong = Answer(BODY, etag='"one"', range_from=500)
    result = fetch(target, server.answer("/file", broken, wrong, Answer(BODY)), hash=None)
    assert target.read_bytes() == BODY
    assert "asked for bytes from 1000, it sent those from 500" in result.attempts[1]


def test_a_record_that_makes_no_sense_is_ignored(
    server: Server, target: Path, tmp_path: Path
) -> None:
    """A damaged or hostile record beside the part does not stop a download or reach a header."""
    partial = tmp_path / "part"
    url = server.answer("/file", Answer(BODY))
    for record in ("", "[", "{}", f'["{url}", "a\\r\\nb: c", true]', "[" * 100_000):
        partial.write_bytes(b"part")
        (tmp_path / "part.json").write_text(record)
        download([url], target, RIGHT, partial=partial, settings=QUICK)
        assert target.read_bytes() == BODY
    assert not any("range" in request.headers for request in server.requests)


def test_a_link_in_the_place_of_the_part_is_not_followed(
    server: Server, target: Path, tmp_path: Path
) -> None:
    """Nothing is written through a symbolic link that waits where the part should grow."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "part").symlink_to("precious")
    url = server.answer("/file", Answer(BODY))
    with pytest.raises(DownloadFailed, match="not a regular file"):
        download([url], target, RIGHT, partial=tmp_path / "part", settings=QUICK)
    assert (tmp_path / "precious").read_text() == "precious"


_CHILD = """
import sys
from pathlib import Path
from plxnix.builders.download import download
download([sys.argv[1]], Path(sys.argv[2]), None, partial=Path(sys.argv[3]))
"""


def start_child(url: str, target: Path, partial: Path) -> subprocess.Popen[bytes]:
    """Download in another process, with this one's modules."""
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD, url, target, partial],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.DEVNULL,
    )


def test_an_interrupt_leaves_the_part_for_later(
    server: Server, target: Path, tmp_path: Path
) -> None:
    """Ctrl-C in the middle keeps what was fetched, and the next call asks for the rest."""
    partial = tmp_path / "part"
    url = server.answer(
        "/file", Answer(BODY, etag='"one"', stall_after=5000), Answer(BODY, etag='"one"')
    )
    child = start_child(url, target, partial)
    wait_for(lambda: partial.exists() and partial.stat().st_size >= 5000)
    with interrupting(lambda: child.send_signal(signal.SIGINT)):
        assert child.wait(PATIENCE) != 0
    assert not target.exists()
    assert download([url], target, RIGHT, partial=partial, settings=QUICK).resumed
    assert server.requests[1].headers["range"] == "bytes=5000-"


def test_two_downloads_do_not_share_a_part(server: Server, target: Path, tmp_path: Path) -> None:
    """A second process that meets a part in use fetches for itself, and both files are right."""
    partial = tmp_path / "part"
    slow = Answer(BODY, etag='"one"', piece=len(BODY) // 4, delay=0.2)
    url = server.answer("/file", slow)
    child = start_child(url, Path(f"{target}.2"), partial)
    wait_for(lambda: partial.exists() and partial.stat().st_size)
    download([url], target, RIGHT, partial=partial, settings=DownloadSettings())
    assert child.wait(PATIENCE) == 0
    assert target.read_bytes() == BODY
    assert Path(f"{target}.2").read_bytes() == BODY
    assert list(tmp_path.glob("part*")) == []


# -- sources -----------------------------------------------------------------------------------


def test_a_hashed_mirror_is_asked_first(server: Server, target: Path) -> None:
    """A hashed mirror that has the file spares the URLs; its layout is algorithm and hex."""
    url = server.answer("/file", Answer(BODY))
    server.answer(f"/mirror/sha256/{RIGHT.hex}", Answer(BODY))
    fetch(target, url, hashed_mirrors=(server.url("/mirror/"),))
    assert server.count("/file") == 0
    assert server.count(f"/mirror/sha256/{RIGHT.hex}") == 1


@pytest.mark.parametrize("variable", ["PLXNIX_HASHED_MIRRORS", "NIX_HASHED_MIRRORS"])
def test_hashed_mirrors_come_from_the_environment(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """The environment names hashed mirrors, blank separated, tried in their order."""
    server.answer(f"/b/sha256/{RIGHT.hex}", Answer(BODY))
    monkeypatch.setenv(variable, f"{server.url('/a')} {server.url('/b')}")
    fetch(target, server.answer("/file", Answer(BODY)))
    assert [request.path[:3] for request in server.requests] == ["/a/", "/b/"]


def test_a_wrong_hashed_mirror_does_no_harm(server: Server, target: Path) -> None:
    """A hashed mirror with wrong contents is passed by."""
    server.answer(f"/mirror/sha256/{RIGHT.hex}", Answer(b"evil"))
    url = server.answer("/file", Answer(BODY))
    assert fetch(target, url, hashed_mirrors=(server.url("/mirror"),)).url == url


def test_sources_are_tried_in_order(server: Server, target: Path) -> None:
    """Mirrors are asked one after the other, each once, until one has the file."""
    server.answer("/three/a/file", Answer(BODY))
    mirrors = {"ours": [server.url("/one"), server.url("/two/"), server.url("/three")]}
    download(["mirror://ours/a/file"], target, RIGHT, mirrors=mirrors, settings=QUICK)
    assert [request.path for request in server.requests] == [
        "/one/a/file",
        "/two/a/file",
        "/three/a/file",
    ]


def test_what_can_never_work_is_told_at_once(target: Path) -> None:
    """No URL at all and unknown mirrors are invalid; unknown schemes and malformed URLs fail."""
    with pytest.raises(InvalidValue, match="no URL"):
        fetch(target)
    with pytest.raises(InvalidValue, match="nowhere"):
        fetch(target, "mirror://nowhere/file")
    for url in (
        "ftp://127.0.0.1/file",
        "data:,text",
        "file",
        "http://[::1/x",
        "http://a:b/",
        "http:///x",
    ):
        with pytest.raises(DownloadFailed) as caught:
            fetch(target, url)
        assert len(caught.value.attempts) == 1


# -- credentials, proxies, certificates --------------------------------------------------------


def test_credentials_are_sent_and_never_shown(server: Server, target: Path, tmp_path: Path) -> None:
    """User and password of a URL reach the server, and no message, result or record."""
    path = "/file?token=hush"
    server.answer(path, Answer(BODY, etag='"one"', stop_after=1000))
    url = server.url(path, user="me:s%40cret")
    partial = tmp_path / "part"
    with pytest.raises(DownloadFailed) as caught:
        download([url], target, RIGHT, partial=partial, settings=DownloadSettings(tries=1))
    assert server.requests[0].headers["authorization"] == "Basic bWU6c0BjcmV0"
    record = (tmp_path / "part.json").read_text()
    server.answer(path, Answer(b"other"))
    with pytest.raises(HashMismatch) as mismatch:
        download([url], target, RIGHT, partial=partial, settings=QUICK)
    server.answer(path, Answer(BODY))
    result = download([url], target, RIGHT, partial=partial, settings=QUICK)
    for text in (str(caught.value), repr(caught.value), record, repr(mismatch.value), repr(result)):
        assert "cret" not in text
        assert "hush" not in text
    assert "***@127.0.0.1" in result.url


def test_credentials_stay_on_their_server(server: Server, target: Path) -> None:
    """A redirect keeps the credentials on the same server and takes them to no other."""
    with Server() as other:
        server.answer("/file", redirect("/next"))
        server.answer("/next", redirect(other.answer("/file", Answer(BODY))))
        fetch(target, server.url("/file", user="me:secret"))
        assert ["authorization" in request.headers for request in server.requests] == [True, True]
        assert "authorization" not in other.requests[0].headers


def test_netrc_is_respected(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Credentials for a host come from `~/.netrc`, or the file that `NETRC` names."""
    entry = "machine 127.0.0.1 login me password {}\n"
    home = tmp_path / "home" / ".netrc"
    home.write_text(entry.format("one"))
    home.chmod(0o600)
    url = server.answer("/file", Answer(BODY))
    fetch(target, url)
    (tmp_path / "other").write_text(entry.format("two"))
    monkeypatch.setenv("NETRC", str(tmp_path / "other"))
    fetch(target, url)
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Basic bWU6b25l", "Basic bWU6dHdv"]


def test_a_malformed_netrc_is_named_without_its_text(
    server: Server, target: Path, tmp_path: Path
) -> None:
    """A `.netrc` that cannot be read is an error with its line, which shows nothing of it."""
    (tmp_path / "home" / ".netrc").write_text("machine 127.0.0.1\nsecret me\n")
    with pytest.raises(InvalidSetting, match="line 2") as caught:
        fetch(target, server.answer("/file", Answer(BODY)))
    assert "secret" not in str(caught.value)


def test_a_proxy_is_used(server: Server, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`http_proxy` gets the request with its own credentials, unless `no_proxy` names the host."""
    monkeypatch.setenv("http_proxy", server.url("", user="me:secret"))
    server.answer("http://example.invalid/file", Answer(BODY))
    fetch(target, "http://example.invalid/file")
    assert server.requests[0].headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"
    monkeypatch.setenv("no_proxy", "example.invalid")
    with pytest.raises(DownloadFailed):
        fetch(target, "http://example.invalid/file", settings=DownloadSettings(tries=1))
    assert len(server.requests) == 1


def test_a_proxy_that_cannot_be_used_is_named(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy of another kind is an error about the setting, without its password."""
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:1")
    with pytest.raises(InvalidSetting, match="socks5") as caught:
        fetch(target, "http://example.invalid/file")
    assert "secret" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that nobody knows, with its key in the same file."""
    program = shutil.which("openssl")
    if program is None:
        missing("openssl is not installed; `apt-get install openssl` on Debian")
    assert program is not None
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1"
    extension = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [program, *options.split(), *extension, "-keyout", path, "-out", f"{path}.crt"],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


@pytest.mark.parametrize("variable", ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"])
def test_certificates_are_verified(
    target: Path, certificate: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """An unknown certificate ends the source at once; one that the environment names is fine."""
    with Server(certificate) as server:
        url = server.answer("/file", Answer(BODY))
        with pytest.raises(DownloadFailed, match="certificate is not accepted") as caught:
            fetch(target, url)
        assert len(caught.value.attempts) == 1
        monkeypatch.setenv(variable, f"{certificate}.crt")
        fetch(target, url)
    assert target.read_bytes() == BODY


def test_a_missing_certificate_file_is_named(
    target: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file of certificates that is not there is an error that names the variable."""
    monkeypatch.setenv("NIX_SSL_CERT_FILE", str(tmp_path / "none.crt"))
    with pytest.raises(InvalidSetting, match="NIX_SSL_CERT_FILE"):
        fetch(target, "https://127.0.0.1/file")
    assert ssl.create_default_context().verify_mode is ssl.CERT_REQUIRED


# -- settings ----------------------------------------------------------------------------------


def test_timeouts_come_from_the_environment(
    server: Server, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`PLXNIX_CONNECT_TIMEOUT` and `PLXNIX_STALL_TIMEOUT` are seconds; the latter cuts a stall."""
    assert DownloadSettings.from_environment({}) == DownloadSettings()
    monkeypatch.setenv("PLXNIX_CONNECT_TIMEOUT", "2.5")
    monkeypatch.setenv("PLXNIX_STALL_TIMEOUT", "0.2")
    assert DownloadSettings.from_environment() == DownloadSettings(2.5, 0.2)
    url = server.answer("/file", Answer(BODY, stall_after=0), Answer(BODY))
    assert "stalled" in download([url], target, RIGHT).attempts[0]


@pytest.mark.parametrize("value", ["soon", "-1", "0", "nan", "inf"])
def test_an_unusable_timeout_is_named(value: str) -> None:
    """A timeout that is not a positive number of seconds is an error that shows it."""
    with pytest.raises(InvalidSetting, match=f"PLXNIX_STALL_TIMEOUT is '{value}'"):
        DownloadSettings.from_environment({"PLXNIX_STALL_TIMEOUT": value})
