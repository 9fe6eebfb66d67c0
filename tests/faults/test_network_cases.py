"""What networks and servers do, each through both fetchers: plxnix's own, and Nix's by `via="nix"`.

`CASES` is the table: a name, what the server does, and what comes of it natively and through Nix.
Where the two differ by nature it says why. Outcomes are `fine`, `mismatch` (`HashMismatch`),
`invalid` (`InvalidValue`), and `failed: WORDS` (`DownloadFailed`, the words in its last attempt).
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from plxnix import fetchurl
from plxnix.errors import DownloadFailed, HashMismatch, InvalidValue
from plxnix.nix.hashes import Hash
from plxnix.recipes.nix_fetch import VERIFIES
from tests.conftest import missing
from tests.http_server import Answer, Request, Server
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab

PASSWORD = "hush-hush"
AUTHORIZATION = "Basic bWU6aHVzaC1odXNo"


class Site:
    """What a case is played on: servers, the file that is wanted, and the environment."""

    def __init__(
        self, folder: Path, stack: ExitStack, patch: pytest.MonkeyPatch, certificates: Path
    ) -> None:
        self.folder = folder
        self._stack = stack
        self._certificates = certificates
        self.patch = patch
        self.body = os.urandom(2000)
        self.digest = Hash.of_bytes(self.body)
        self.name = f"file-{os.urandom(4).hex()}"
        self.path = f"/{self.name}"
        self.further: list[str] = []
        self.server = self.start(Server())

    def start(self, server: Server) -> Server:
        """Let a server run until the case is over."""
        return self._stack.enter_context(server)

    def tls(self, kind: str, trusted: str = "") -> Server:
        """Start a server with a certificate; that of `trusted` is believed in."""
        if trusted:
            self.patch.setenv("NIX_SSL_CERT_FILE", f"{self._certificates}/{trusted}.pem")
        return self.start(Server(self._certificates / f"{kind}.pem"))

    def answer(self, *answers: Answer) -> str:
        """Set what the server answers, and return the URL."""
        return self.server.answer(self.path, *answers)

    def whole(self, **more: object) -> Answer:
        """Return the answer that has the file."""
        return Answer(self.body, **more)  # type: ignore[arg-type]

    def redirect(self, target: str, status: int = 302) -> str:
        """Answer with a redirect, and return the URL."""
        return self.answer(Answer(status=status, headers={"Location": target}))

    def elsewhere(self, server: Server | None = None) -> str:
        """Return a URL that has the file, beside the one that is asked for."""
        return (server or self.server).answer(f"/elsewhere{self.path}", self.whole())

    def asked(self, server: Server | None = None) -> list[Request]:
        """Return the requests so far."""
        return (server or self.server).requests


@dataclass(frozen=True)
class Case:
    """One row of the table; `tries` of each source are made, `checks` looks at the servers after.

    `before` says that `nix` is what comes of it before `VERIFIES`.
    """

    name: str
    play: Callable[[Site], str]
    native: str
    nix: str = ""
    why: str = ""
    tries: int = 1
    before: bool = False
    checks: Callable[[Site], bool] = field(default=lambda _: True)


def _status(status: int, **headers: str) -> Callable[[Site], str]:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    body = b"" if status in (204, 304) else b"no\n"
    return lambda site: site.answer(Answer(body, status, given))


def _with(**how: object) -> Callable[[Site], str]:
    return lambda site: site.answer(site.whole(**how))


def _then_fine(first: Callable[[Site], Answer]) -> Callable[[Site], str]:
    return lambda site: site.answer(first(site), site.whole(etag='"1"'))


def _many_redirects(site: Site) -> str:
    for number in range(30):
        place = site.server.url(f"{site.path}-{number + 1}")
        site.server.answer(f"{site.path}-{number}", Answer(status=302, headers={"Location": place}))
    return site.server.url(f"{site.path}-0")


def _to_a_file(site: Site) -> str:
    (site.folder / "local").write_bytes(site.body)
    return site.redirect(f"file://{site.folder}/local")


def _from_https(site: Site) -> str:
    secure = site.tls("good", "good")
    target = {"Location": site.elsewhere()}
    return secure.answer(site.path, Answer(status=302, headers=target))


def _tls(kind: str, trusted: str = "") -> Callable[[Site], str]:
    return lambda site: site.tls(kind, trusted).answer(site.path, site.whole())


def _plain_to_tls(site: Site) -> str:
    server = site.tls("good")
    server.answer(site.path, site.whole())
    return f"http://127.0.0.1:{server.port}{site.path}"


def _changed(site: Site) -> str:
    ranges = {"Accept-Ranges": "bytes"}
    old = Answer(b"old" * 500, etag='"1"', stop_after=900, headers=ranges)
    return site.answer(old, site.whole(etag='"2"', headers=ranges))


def _resumed(site: Site) -> str:
    ranges = {"Accept-Ranges": "bytes"}
    cut = site.whole(etag='"1"', stop_after=900, headers=ranges)
    return site.answer(cut, site.whole(etag='"1"', headers=ranges))


def _compressed(site: Site) -> str:
    site.body = gzip.compress(site.body)
    site.digest = Hash.of_bytes(site.body)
    return site.answer(site.whole(headers={"Content-Encoding": "gzip"}))


def _empty(site: Site) -> str:
    site.body = b""
    site.digest = Hash.of_bytes(b"")
    return site.answer(site.whole())


def _away(site: Site) -> str:
    return site.redirect(site.elsewhere().replace("127.0.0.1", "localhost"))


def _proxied(site: Site) -> str:
    site.patch.setenv("http_proxy", site.server.url(""))
    return site.server.answer(f"http://example.invalid{site.path}", site.whole()).replace(
        site.server.url(""), ""
    )


def _past_the_proxy(site: Site) -> str:
    site.patch.setenv("http_proxy", "http://127.0.0.1:1")
    return site.answer(site.whole())


def _broken_proxy(site: Site) -> str:
    site.patch.setenv("http_proxy", "http://127.0.0.1:1")
    return f"http://example.invalid{site.path}"


def _mirror(site: Site) -> str:
    site.patch.setenv("NIX_MIRRORS_gnu", site.server.url("/gnu/"))
    site.server.answer(f"/gnu{site.path}", site.whole())
    return f"mirror://gnu{site.path}"


def _hashed_mirror(site: Site) -> str:
    site.patch.setenv("PLXNIX_HASHED_MIRRORS", site.server.url("/by-hash"))
    site.server.answer(f"/by-hash/sha256/{site.digest.hex}", site.whole())
    return site.server.url(site.path)


def _further(site: Site) -> str:
    site.further = [site.elsewhere()]
    return site.server.url(site.path)


def _version_6(site: Site) -> str:
    try:
        server = site.start(Server(host="::1"))
    except OSError:
        missing("there is no IPv6 on loopback")
    return server.answer(site.path, site.whole())


def _sent(site: Site) -> bool:
    return site.asked()[-1].headers.get("authorization") == AUTHORIZATION


def _kept(site: Site) -> bool:
    return "authorization" not in site.asked()[-1].headers and _first_sent(site)


def _first_sent(site: Site) -> bool:
    return site.asked()[0].headers.get("authorization") == AUTHORIZATION


_SUCCESS = "to Nix each 2xx and 304 is success, and the hash has the last word"
_UNCHECKED = "before CVE-2024-47174 Nix's fetchurl checks no certificates: the hash guards"
_NO_RETRY = "once bytes have come, Nix tries again only where the server has ranges"

CASES = [
    # -- statuses
    Case("200", _with(), "fine"),
    Case("204", _status(204), "failed: HTTP 204", "mismatch", _SUCCESS),
    Case("206-unasked", lambda s: s.answer(Answer(s.body, 206)), "failed: 206", "fine", _SUCCESS),
    *(
        Case(str(code), lambda s, code=code: s.redirect(s.elsewhere(), code), "fine")  # type: ignore[misc]
        for code in (301, 302, 303, 307, 308)
    ),
    Case("304", _status(304), "failed: HTTP 304", "mismatch", _SUCCESS),
    *(
        Case(str(code), _status(code), f"failed: HTTP {code}")
        for code in (400, 401, 403, 404, 410, 416, 500, 502, 503, 599)
    ),
    Case("redirect-to-nowhere", _status(302), "failed: HTTP 302"),
    Case("429-for-long", _status(429, Retry_After="3600"), "failed: HTTP 429"),
    Case(
        "429-then-fine",
        _then_fine(lambda _: Answer(status=429, headers={"Retry-After": "0"})),
        "fine",
        tries=2,
    ),
    Case("503-then-fine", _then_fine(lambda _: Answer(status=503)), "fine", tries=2),
    # -- redirects
    Case("loop", lambda s: s.redirect(s.server.url(s.path)), "failed: loop"),
    Case("too-many-redirects", _many_redirects, "failed: redirects"),
    Case("to-another-host", _away, "fine"),
    Case("to-a-file", _to_a_file, "failed: refused"),
    Case(
        "to-ftp",
        lambda s: s.redirect("ftp://127.0.0.1:1/x"),
        "failed: refused",
        "failed: no connection",
        "curl follows redirects to ftp",
    ),
    Case("to-a-malformed-url", lambda s: s.redirect("http://127.0.0.1:x/"), "failed: "),
    Case("https-to-http", _from_https, "fine"),
    Case(
        "http-to-https",
        lambda s: s.redirect(s.elsewhere(s.tls("good", "good"))),
        "fine",
    ),
    # -- bodies
    Case("too-long-a-length", _with(declared=3000), "failed: truncated"),
    Case("too-short-a-length", _with(declared=100), "mismatch"),
    Case("chunked", _with(chunked=True, piece=300), "fine"),
    Case("chunked-cut", _with(chunked=True, stop_after=900, piece=300), "failed: truncated"),
    Case("a-trickle", _with(delay=0.02, piece=100), "fine"),
    Case("stalled", _with(stall_after=900), "failed: stalled"),
    Case("dropped", _with(drop=True), "failed: the connection broke"),
    Case("reset", _with(stop_after=900, reset=True), "failed: "),
    Case("dropped-then-fine", _then_fine(lambda _: Answer(drop=True)), "fine", tries=2),
    Case("compressed", _compressed, "fine", "mismatch", "Nix decodes what is said to be encoded"),
    Case("empty", _empty, "fine"),
    Case("wrong", lambda s: s.answer(Answer(b"other")), "mismatch"),
    Case("large-headers", _with(headers={"X-Large": "x" * 50_000}), "fine"),
    Case("huge-headers", _with(headers={"X-Large": "x" * 200_000}), "failed: "),
    # -- resuming
    Case("resumed", _resumed, "fine", tries=2, checks=lambda s: "range" in s.asked()[-1].headers),
    Case(
        *("changed-meanwhile", _changed, "fine", "mismatch"),
        "Nix asks for the rest without If-Range; the hash guards",
        tries=2,
    ),
    Case(
        "no-ranges",
        lambda s: s.answer(s.whole(stop_after=900, ranges=False), s.whole(ranges=False)),
        "fine",
        "failed: truncated",
        _NO_RETRY,
        tries=2,
    ),
    # -- connections
    Case("nobody-listens", lambda s: f"http://127.0.0.1:1{s.path}", "failed: no connection"),
    Case("no-such-host", lambda s: f"http://nowhere.invalid{s.path}", "failed: resolved"),
    Case("version-6", _version_6, "fine"),
    Case("second-source", _further, "fine"),
    Case("no-such-file", lambda s: f"file://{s.folder}/none", "failed: no such file"),
    # -- certificates
    Case("believed", _tls("good", "good"), "fine"),
    Case("self-signed", _tls("good"), "failed: certificate", "fine", _UNCHECKED, before=True),
    Case(
        *("of-another-host", _tls("other", "other"), "failed: certificate", "fine", _UNCHECKED),
        before=True,
    ),
    Case(*("expired", _tls("old", "old"), "failed: certificate", "fine", _UNCHECKED), before=True),
    Case(
        "tls-to-plain",
        lambda s: s.answer(s.whole()).replace("http:", "https:"),
        "failed: TLS",
    ),
    Case("plain-to-tls", _plain_to_tls, "failed: "),
    # -- credentials
    Case("netrc", _with(), "fine", checks=_sent),
    Case("netrc-not-to-others", _away, "fine", checks=_kept),
    Case("netrc-and-404", lambda s: s.server.url(s.path), "failed: HTTP 404", checks=_sent),
    Case(
        "in-the-url",
        lambda s: s.server.url(s.path, user=f"me:{PASSWORD}"),
        "invalid",
        checks=lambda s: not s.asked(),
    ),
    # -- proxies and mirrors
    Case("proxy", _proxied, "fine", checks=lambda s: s.asked()[-1].path.startswith("http://ex")),
    Case("no-proxy", _past_the_proxy, "fine"),
    Case("broken-proxy", _broken_proxy, "failed: "),
    Case("mirror", _mirror, "fine"),
    Case("no-such-mirror", lambda s: f"mirror://none{s.path}", "invalid"),
    Case("hashed-mirror", _hashed_mirror, "fine", checks=lambda s: len(s.asked()) == 1),
]

_BY_NAME = [pytest.param(case, id=case.name) for case in CASES]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make certificates, each signed by itself, with their keys: good, of another host, expired."""
    if shutil.which("openssl") is None:
        missing("openssl is not installed; `apt-get install openssl` on Debian")
    folder = tmp_path_factory.mktemp("certificates")
    (folder / "index").touch()
    (folder / "serial").write_text("01\n")
    lines = ["[ca]", "default_ca = own", "[own]", f"database = {folder}/index"]
    lines += [f"serial = {folder}/serial", f"new_certs_dir = {folder}", "default_md = sha256"]
    lines += ["policy = any", "copy_extensions = copy", "unique_subject = no"]
    lines += ["[any]", "commonName = supplied"]
    (folder / "ca.cnf").write_text("\n".join(lines) + "\n")
    for name, address, end in (
        ("good", "127.0.0.1", "20490101000000Z"),
        ("other", "127.0.0.2", "20490101000000Z"),
        ("old", "127.0.0.1", "20200102000000Z"),
    ):
        key, request = folder / f"{name}.key", folder / f"{name}.csr"
        _openssl(
            *("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-keyout", key, "-out", request),
            *("-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}"),
        )
        _openssl(
            *("ca", "-config", folder / "ca.cnf", "-selfsign", "-batch", "-notext"),
            *("-startdate", "20200101000000Z", "-enddate", end),
            *("-keyfile", key, "-in", request, "-out", folder / f"{name}.crt"),
        )
        both = key.read_bytes() + (folder / f"{name}.crt").read_bytes()
        (folder / f"{name}.pem").write_bytes(both)
    return folder


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, certificates: Path) -> Iterator[Site]:
    """A site with credentials for its host, and none of the machine's own settings."""
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy") and variable.lower() != "no_proxy":
            monkeypatch.delenv(variable)
    for variable in ("NIX_HASHED_MIRRORS", "NIX_SSL_CERT_FILE", "SSL_CERT_FILE", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
    netrc = Path(os.environ["HOME"]) / ".netrc"
    netrc.write_text(f"machine 127.0.0.1 login me password {PASSWORD}\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("PLXNIX_CONNECT_TIMEOUT", "20")
    with ExitStack() as stack:
        yield Site(tmp_path, stack, monkeypatch, certificates)


def play(case: Case, site: Site, via: str, expected: str) -> None:
    """Realize a fetch of the case's URL, and compare what comes of it."""
    site.patch.setenv("PLXNIX_DOWNLOAD_TRIES", str(case.tries))
    # A busy machine is slow to answer: little patience only where that is the subject.
    site.patch.setenv("PLXNIX_STALL_TIMEOUT", "0.4" if "stalled" in expected else "30")
    lab = Lab(site.folder / "store")
    url = case.play(site)
    said, words, shown, hashes = "fine", "", "", (site.digest.sri, "")
    try:
        dref = fetchurl(
            *(url, None),
            hash=site.digest.sri,
            urls=site.further,
            filename=site.name,
            via=via,
            registry=lab.registry,
        )
        rref = lab.realize(dref)
        assert Path(lab.store.path(rref), site.name).read_bytes() == site.body
    except HashMismatch as error:
        said, shown = "mismatch", "".join(traceback.format_exception(error))
        hashes = error.expected, error.found
    except DownloadFailed as error:
        said, words = "failed", error.attempts[-1]
        shown = "".join([*traceback.format_exception(error), *error.attempts])
    except InvalidValue as error:
        said, shown = "invalid", "".join(traceback.format_exception(error))
    outcome, _, part = expected.partition(": ")
    assert (said, part in words) == (outcome, True), (said, words, shown)
    assert hashes[0] == site.digest.sri != hashes[1]
    assert case.checks(site)
    assert PASSWORD not in shown
    for path in lab.root.rglob("*"):
        if path.is_file():
            assert PASSWORD.encode() not in path.read_bytes()
    if said != "fine":
        assert lab.leftovers() == []


@pytest.mark.parametrize("case", _BY_NAME)
def test_natively(case: Case, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The native downloader does what the table says."""
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
    play(case, site, "native", case.native)


@pytest.mark.parametrize("case", _BY_NAME)
def test_through_nix(case: Case, site: Site, nix_env: NixEnv) -> None:
    """Nix does what the table says, and its failures are told in the same classes and words."""
    same = not case.nix or (case.before and nix_env.version >= VERIFIES)
    play(case, site, "nix", case.native if same else case.nix)


def test_the_table() -> None:
    """There are at least 45 cases, and each difference between the two is explained."""
    assert len({case.name for case in CASES}) == len(CASES) >= 45
    assert all(bool(case.nix) == bool(case.why) for case in CASES)
