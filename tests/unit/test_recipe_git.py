"""`fetchgit`: the tree of a commit, from real repositories served in several ways."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer
from threading import Thread
from typing import Any

import pytest

from plxnix import fetchgit
from plxnix.errors import DownloadFailed, HashMismatch, InvalidHash, InvalidValue, ToolMissing
from plxnix.model import DRef, RRef
from plxnix.nix.nar import nar_hash
from tests.conftest import missing
from tests.stage_samples import Lab

ZEROS = "0" * 64


class Repository:
    """A repository with a work tree, and what a checkout of each commit should give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.git("init", "-q", "-b", "trunk")

    @property
    def url(self) -> str:
        """Its `file` URL."""
        return f"file://{self.folder}"

    def git(self, *args: str) -> str:
        """Run git here, with a name for commits."""
        settings = ("user.name=A", "user.email=a@example.org", "protocol.file.allow=always")
        given = [part for one in settings for part in ("-c", one)]
        done = subprocess.run(
            ["git", *given, *args], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self) -> str:
        """Commit all that is there and return the commit's id."""
        self.git("add", "--all")
        self.git("commit", "-q", "--allow-empty", "-m", "more")
        return self.git("rev-parse", "HEAD")

    def digest(self, *without: str) -> str:
        """Return the NAR hash of the work tree, less `.git` and what else is named."""
        copy = self.folder.with_name(f"{self.folder.name}-copy")
        names = shutil.ignore_patterns(".git", *without)
        shutil.copytree(self.folder, copy, symlinks=True, ignore=names)
        found = nar_hash(copy)[0].sri
        shutil.rmtree(copy)
        return found


@pytest.fixture(autouse=True)
def _no_nix(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no Nix store answer, and git be there."""
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")
    if shutil.which("git") is None:
        missing("git is not installed; `apt-get install git` on Debian")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository with one commit."""
    made = Repository(tmp_path / "one")
    (made.folder / "data").write_text("1\n")
    made.commit()
    return made


@contextmanager
def serving(server: TCPServer) -> Iterator[int]:
    """Serve in a thread for the block; the value is the port."""
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """`git daemon` over `tmp_path`; the value is its URL."""
    command = ["git", "daemon", "--inetd", f"--base-path={tmp_path}", "--export-all"]

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            ends = {"stdin": self.request, "stdout": self.request}
            subprocess.run(command, **ends, stderr=subprocess.DEVNULL, check=False)

    with serving(ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"git://127.0.0.1:{port}"


@pytest.fixture
def files(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of plain files over `tmp_path`, with what it was asked for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=os.fspath(tmp_path)))
    with serving(server) as port:
        yield f"http://127.0.0.1:{port}", asked


def realized(lab: Lab, dref: DRef) -> Path:
    """Realize a stage and return its folder."""
    rref: RRef = lab.realize(dref)
    return Path(lab.store.path(rref))


def get(lab: Lab, url: str, rev: str, hash: str, **options: Any) -> Path:  # noqa: A002
    """Fetch from a repository and return the tree."""
    return realized(lab, fetchgit(url, rev, hash, registry=lab.registry, **options))


class TestTrees:
    """The tree is what `git checkout` gives with no settings, without `.git`."""

    def test_what_is_in_it(self, lab: Lab, repository: Repository) -> None:
        """Links, programs, deep folders, and names of all bytes come as they were committed."""
        top = repository.folder
        (top / "deep" / "er").mkdir(parents=True)
        (top / "deep" / "er" / "run").write_text("#!/bin/sh\n")
        (top / "deep" / "er" / "run").chmod(0o755)
        (top / "link").symlink_to("/no/where")
        Path(os.fsdecode(os.fsencode(top) + b"/\xff \n\"'\\ $(x)")).write_bytes(b"\0\r\n")
        commit = repository.commit()
        tree = get(lab, repository.url, commit, repository.digest())
        assert not (tree / ".git").exists()
        assert os.access(tree / "deep" / "er" / "run", os.X_OK)
        assert lab.leftovers() == []

    def test_nobodys_settings(
        self, lab: Lab, repository: Repository, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`export-ignore` means nothing, and the user's settings and hooks do not reach git."""
        (repository.folder / ".gitattributes").write_text("data export-ignore\n")
        (repository.folder / "text").write_bytes(b"1\n2\n")
        commit = repository.commit()
        home = Path(os.environ["HOME"])
        (home / "hooks").mkdir()
        hook = home / "hooks" / "post-checkout"
        hook.write_text(f"#!/bin/sh\ntouch {home}/ran\n")
        hook.chmod(0o755)
        (home / ".gitconfig").write_text(
            f"[core]\nautocrlf = true\nhooksPath = {home}/hooks\n"
            f'[url "file:///none"]\ninsteadOf = {repository.url}\n'
        )
        digest = repository.digest()
        monkeypatch.setenv("GIT_DIR", os.fspath(home))
        tree = get(lab, repository.url, commit, digest)
        assert (tree / "text").read_bytes() == b"1\n2\n"
        assert (tree / "data").exists()
        assert not (home / "ran").exists()

    def test_attributes_of_the_repository(self, lab: Lab, repository: Repository) -> None:
        """What `.gitattributes` says of line ends is done, as nixpkgs' fetchgit does it."""
        (repository.folder / ".gitattributes").write_text("*.bat eol=crlf\n")
        (repository.folder / "x.bat").write_bytes(b"1\r\n")
        commit = repository.commit()
        tree = get(lab, repository.url, commit, repository.digest())
        assert (tree / "x.bat").read_bytes() == b"1\r\n"

    def test_revisions(self, lab: Lab, repository: Repository) -> None:
        """An old commit, a tag (light or not), a branch, a reference and a short id are found."""
        first, digest = repository.git("rev-parse", "HEAD"), repository.digest()
        repository.git("tag", "light")
        repository.git("tag", "-a", "-m", "x", "v1/heavy")
        repository.git("branch", "old")
        (repository.folder / "data").write_text("2\n")
        repository.commit()
        paths = {
            nar_hash(get(Lab(lab.root / str(n)), repository.url, rev, digest))[0].sri
            for n, rev in enumerate(
                [first, "light", "v1/heavy", "old", "refs/tags/light", first[:9]]
            )
        }
        assert paths == {digest}
        assert get(lab, repository.url, "HEAD", repository.digest()).is_dir()

    def test_submodules(self, lab: Lab, repository: Repository, tmp_path: Path) -> None:
        """They are left out, and are there if asked for, those of submodules too."""
        inner, middle = Repository(tmp_path / "inner"), Repository(tmp_path / "middle")
        (inner.folder / "deep").write_text("3\n")
        inner.commit()
        (middle.folder / "x").write_text("2\n")
        middle.git("submodule", "--quiet", "add", "../inner", "in")
        middle.commit()
        repository.git("submodule", "--quiet", "add", middle.url, "mid")
        commit = repository.commit()
        repository.git("submodule", "--quiet", "update", "--init", "--recursive")
        whole = repository.digest()
        tree = get(lab, repository.url, commit, whole, submodules=True)
        assert (tree / "mid" / "in" / "deep").read_text() == "3\n"
        shutil.rmtree(repository.folder / "mid")
        (repository.folder / "mid").mkdir()
        bare = get(lab, repository.url, commit, repository.digest())
        assert list((bare / "mid").iterdir()) == []


class TestServers:
    """Repositories come by git's own protocol, by smart and plain HTTP, and from this machine."""

    def test_a_daemon(self, lab: Lab, repository: Repository, daemon: str) -> None:
        """Only the wanted commit is asked for."""
        first = repository.git("rev-parse", "HEAD")
        digest = repository.digest()
        (repository.folder / "data").write_text("2\n")
        repository.commit()
        assert (get(lab, f"{daemon}/one", first, digest) / "data").read_text() == "1\n"

    def test_plain_files(
        self, lab: Lab, repository: Repository, files: tuple[str, list[str]]
    ) -> None:
        """A server that can send everything only does so; the second time nobody is asked."""
        url, asked = files
        commit, digest = repository.git("rev-parse", "HEAD"), repository.digest()
        repository.git("tag", "v1")
        repository.git("update-server-info")
        get(lab, f"{url}/one/.git", commit, digest)
        assert asked
        asked.clear()
        lab.again()
        get(lab, f"{url}/one/.git", commit, digest)
        # Another revision with the same tree is not fetched either.
        get(lab, f"{url}/one/.git", "v1", digest)
        assert asked == []
        other = Lab(lab.root / "other")
        assert get(other, f"{url}/one/.git", "v1", digest).is_dir()

    def test_a_submodule_of_this_machine(
        self, lab: Lab, repository: Repository, daemon: str, tmp_path: Path
    ) -> None:
        """A repository from the net cannot have a folder of this machine as its submodule."""
        inner = Repository(tmp_path / "inner")
        (inner.folder / "secret").write_text("3\n")
        inner.commit()
        repository.git("submodule", "--quiet", "add", inner.url, "in")
        commit = repository.commit()
        with pytest.raises(DownloadFailed) as caught:
            get(lab, f"{daemon}/one", commit, ZEROS, submodules=True)
        assert "transport 'file' not allowed" in caught.value.message


class TestFaults:
    """What goes wrong is said with git's last lines."""

    def test_a_wrong_hash(self, lab: Lab, repository: Repository) -> None:
        """Both hashes are in the error."""
        with pytest.raises(HashMismatch) as caught:
            get(lab, repository.url, "trunk", ZEROS)
        assert caught.value.found == repository.digest()
        assert lab.leftovers() == []

    @pytest.mark.parametrize("rev", ["f" * 40, "v9", "refs/pull/1/head"])
    def test_no_such_revision(self, lab: Lab, repository: Repository, rev: str) -> None:
        """The revision is named."""
        with pytest.raises(DownloadFailed) as caught:
            get(lab, repository.url, rev, ZEROS)
        (line,) = caught.value.attempts
        assert line.endswith(f"the repository has no commit, tag or branch {rev}")

    def test_no_such_repository(self, lab: Lab, tmp_path: Path) -> None:
        """Git says it."""
        with pytest.raises(DownloadFailed, match="does not appear to be a git repository"):
            get(lab, f"file://{tmp_path}/none", "v1", ZEROS)

    def test_nobody_listens(self, lab: Lab) -> None:
        """A refused connection is one line among the attempts."""
        with pytest.raises(DownloadFailed) as caught:
            get(lab, "http://127.0.0.1:1/x.git", "v1", ZEROS)
        assert "unable to access 'http://127.0.0.1:1/x.git/'" in caught.value.attempts[0]

    @pytest.mark.parametrize(
        ("url", "rev"),
        [
            ("ext::sh -c touch", "v1"),
            ("git@example.org:x.git", "v1"),
            ("https://me:hush@example.org/x.git", "v1"),
            ("ftp://example.org/x.git", "v1"),
            ("https://example.org/x.git", "--upload-pack=x"),
            ("https://example.org/x.git", "a b"),
            ("https://example.org/x.git", "+x:y"),
            ("https://example.org/x.git", ""),
        ],
    )
    def test_refused(self, lab: Lab, url: str, rev: str) -> None:
        """Other schemes, credentials and what git would take for an option are refused at once."""
        with pytest.raises(InvalidValue) as caught:
            fetchgit(url, rev, ZEROS, registry=lab.registry)
        assert "hush" not in str(caught.value)

    def test_no_hash(self, lab: Lab) -> None:
        """One hash is needed, and a sha256."""
        with pytest.raises(InvalidHash):
            fetchgit("https://example.org/x.git", "v1", registry=lab.registry)
        with pytest.raises(InvalidHash):
            fetchgit("https://example.org/x.git", "v1", "sha1-" + "0" * 27 + "=", r=lab.registry)
        with pytest.raises(InvalidValue):
            fetchgit("https://example.org/x.git", registry=lab.registry)

    def test_no_program(
        self, lab: Lab, repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What is not installed is named."""
        if shutil.which("git-lfs") is None:
            with pytest.raises(ToolMissing, match="git-lfs is not installed"):
                get(lab, repository.url, "trunk", ZEROS, lfs=True)
        monkeypatch.setenv("PATH", os.fspath(tmp_path))
        with pytest.raises(ToolMissing, match="git is not installed"):
            get(lab, repository.url, "trunk", ZEROS)


def test_the_config(lab: Lab) -> None:
    """Who fetches is no part of it, and what is off is not named."""
    dref = fetchgit("https://example.org/x.git", "v1", ZEROS, registry=lab.registry)
    again = fetchgit("https://example.org/x.git", "v1", sha256=ZEROS, via="nix", r=lab.registry)
    assert dref == again
    config = lab.registry.derivations[dref].config
    assert set(config) == {"__recipe__", "hash", "name", "rev", "url"}
    assert dref.name == "source"


def test_large_files(lab: Lab, repository: Repository) -> None:
    """Pointers of git-lfs stay what they are, unless the files are asked for."""
    if shutil.which("git-lfs") is None:
        missing("git-lfs is not installed")
    repository.git("lfs", "install", "--local")
    repository.git("lfs", "track", "*.bin")
    (repository.folder / "x.bin").write_bytes(b"large\n")
    commit = repository.commit()
    tree = get(lab, repository.url, commit, repository.digest(), lfs=True)
    assert (tree / "x.bin").read_bytes() == b"large\n"
    (repository.folder / "x.bin").write_text(repository.git("show", "HEAD:x.bin") + "\n")
    pointers = get(lab, repository.url, commit, repository.digest())
    assert (pointers / "x.bin").read_bytes().startswith(b"version https://git-lfs")


class TestCredentials:
    """`.netrc` is read, and what is in it is shown nowhere."""

    def test_used_and_not_shown(
        self, lab: Lab, repository: Repository, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A server that asks for them gets them; no message, log or file of the store has them."""
        repository.git("update-server-info")
        given: list[str | None] = []

        class Handler(SimpleHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                given.append(self.headers["Authorization"])
                if given[-1] is None:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="x"')
                    self.end_headers()
                else:
                    super().do_GET()

        netrc = Path(os.environ["HOME"]) / ".netrc"
        netrc.write_text("machine 127.0.0.1 login me password hush-hush\n")
        server = ThreadingHTTPServer(
            ("127.0.0.1", 0), partial(Handler, directory=os.fspath(tmp_path))
        )
        with serving(server) as port:
            url = f"http://127.0.0.1:{port}/one/.git"
            tree = get(lab, url, "trunk", repository.digest())
            with pytest.raises(DownloadFailed) as caught:
                get(lab, url, "v9", ZEROS)
        assert (tree / "data").read_text() == "1\n"
        assert "Basic bWU6aHVzaC1odXNo" in given
        assert "hush" not in str(caught.value) + str(caught.value.attempts) + capfd.readouterr().err
        for path in lab.root.rglob("*"):
            assert not path.is_file() or b"hush" not in path.read_bytes()
