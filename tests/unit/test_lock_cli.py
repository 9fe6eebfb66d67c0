"""`plxnix lock` and `plxnix prefetch` against a server that counts what it is asked."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from plxnix import Store, fetchlock, fsinit, instantiate, realize1
from plxnix.cli import progress
from plxnix.errors import HashMismatch
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from tests.archive_trees import file, folder, tar_bytes
from tests.command_line import CommandLine
from tests.http_server import Answer, Server

DATA = b"1,2,3\n"
TREE = tar_bytes(folder("top"), file("top/run", b"run", 0o755), file("top/data", DATA))
OTHER_TREE = tar_bytes(folder("new"), file("new/data", b"4\n"))


@pytest.fixture
def plxnix(plxnix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command line in an empty folder, without Nix."""
    monkeypatch.setattr(tools, "available", lambda: False)
    return plxnix


def sources(name: str = "plxnix.lock.json") -> dict[str, Any]:
    """Return the sources of a lock."""
    found: dict[str, Any] = json.loads(Path(name).read_text())["sources"]
    return found


def sri(data: bytes) -> str:
    """Return a hash in SRI form."""
    return Hash.of_bytes(data).sri


# -- add -------------------------------------------------------------------------------------------


def test_add_downloads_and_records(plxnix: CommandLine, server: Server) -> None:
    """The lock gets URL, hash, name, path, size and time, by one request; the path is printed."""
    url = server.answer("/a%20b.csv", Answer(DATA))
    (path,) = plxnix.ok("lock", "add", "data", url).lines
    found = sources()["data"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.pop("fetched"))
    assert found == {
        "url": url,
        "hash": sri(DATA),
        "name": "a-b.csv",
        "path": path,
        "size": len(DATA),
    }
    assert path.endswith("-a-b.csv")
    assert len(server.requests) == 1


def test_add_with_a_hash_downloads_nothing(plxnix: CommandLine, server: Server) -> None:
    """With --hash, in whatever form, nobody is asked; verify finds a wrong one."""
    url = server.answer("/data.csv", Answer(DATA))
    digest = hashlib.sha256(DATA).hexdigest()
    told = plxnix.ok("lock", "add", "data", url, "--hash", digest, "--json").json
    assert (told["name"], told["hash"]) == ("data.csv", sri(DATA))
    assert not server.requests
    plxnix.ok("lock", "verify", "--refetch")
    plxnix.ok("lock", "add", "data", url, "--hash", sri(b"other"), "--replace")
    verdict = plxnix("lock", "verify", "--refetch")
    assert verdict.status == 1
    assert verdict.lines == [f"data: {url}: specified {sri(b'other')}, got {sri(DATA)}"]
    assert "not a sha256" in plxnix.fails("lock", "add", "x", url, "--hash", "sha256-x")
    assert sources().keys() == {"data"}


def test_add_unpacks(plxnix: CommandLine, server: Server) -> None:
    """With --unpack the hash is that of the only folder at the top, and the name is `source`."""
    url = server.answer("/top.tar", Answer(TREE))
    (path,) = plxnix.ok("lock", "add", "top", url, "--unpack").lines
    assert path.endswith("-source")
    assert sources()["top"]["archive"] == sri(TREE)
    assert sources()["top"]["unpack"] is True
    flat = server.answer("/flat.tar", Answer(tar_bytes(file("a"), file("b"))))
    assert "not one folder at its top, but a, b" in plxnix.fails(
        "lock", "add", "flat", flat, "--unpack"
    )
    for members in ((), (folder("a"), folder("b")), (file("a"),)):
        odd = server.answer("/odd.tar", Answer(tar_bytes(*members)))
        assert "not one folder at its top" in plxnix.fails("lock", "add", "odd", odd, "--unpack")
    assert sources().keys() == {"top"}


def test_add_refuses_what_is_there(plxnix: CommandLine, server: Server) -> None:
    """A name that is taken stays, unless --replace says otherwise; nothing is downloaded."""
    url = server.answer("/data.csv", Answer(DATA))
    plxnix.ok("lock", "add", "data", url)
    before = Path("plxnix.lock.json").read_bytes()
    assert "has a source 'data' already" in plxnix.fails("lock", "add", "data", url)
    assert Path("plxnix.lock.json").read_bytes() == before
    assert len(server.requests) == 1
    plxnix.ok("lock", "add", "data", url, "--replace", "--filename", "mine.csv")
    assert sources()["data"]["name"] == "mine.csv"


def test_add_takes_mirrors_and_versions(plxnix: CommandLine, server: Server) -> None:
    """`{version}` is filled in, and a mirror answers where the URL does not."""
    server.answer("/mirror/x-1.2.csv", Answer(DATA))
    url, mirror = server.url("/x-{version}.csv"), server.url("/mirror/x-{version}.csv")
    plxnix.ok("lock", "add", "x", url, "--mirror", mirror, "--version", "1.2")
    found = sources()["x"]
    assert (found["url"], found["urls"], found["name"]) == (url, [mirror], "x-1.2.csv")
    assert "a version that is not known" in plxnix.fails("lock", "add", "y", url)


def test_nothing_is_written_where_nothing_comes(plxnix: CommandLine, server: Server) -> None:
    """A 404 is one clear error, and there is no lock afterwards."""
    assert "HTTP 404 Not Found" in plxnix.fails("lock", "add", "x", server.url("/none.csv"))
    assert not Path("plxnix.lock.json").exists()


def test_no_credentials(plxnix: CommandLine, server: Server) -> None:
    """A URL with a password is refused, is not asked for, and is not repeated."""
    for arguments in (("lock", "add", "x"), ("prefetch",)):
        said = plxnix.fails(*arguments, server.url("/x.csv", user="me:geheim"))
        assert "geheim" not in said
        assert ".netrc" in said
    assert not server.requests
    assert not Path("plxnix.lock.json").exists()


@pytest.mark.parametrize("verb", [("lock", "add", "data"), ("prefetch",)])
def test_a_long_download_is_told_of(
    plxnix: CommandLine, server: Server, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    """What takes longer than a moment has a line, and with -q it has none."""
    monkeypatch.setattr(progress, "PATIENCE", 0.2)
    url = server.answer("/data.csv", Answer(DATA * 8, delay=0.2, piece=len(DATA)))
    done = plxnix.ok(*verb, url)
    assert done.err.startswith("downloading data")
    assert len(done.err.splitlines()) == 2
    assert plxnix.ok(*verb, url, "-q", *(["--replace"] if "lock" in verb else [])).err == ""


# -- update ----------------------------------------------------------------------------------------


def test_update_writes_what_changed(plxnix: CommandLine, server: Server) -> None:
    """Old and new hashes are printed; what is the same keeps its entry to the letter."""
    changing = server.answer("/changing.csv", Answer(DATA), Answer(b"new\n"))
    steady = server.answer("/steady.csv", Answer(DATA))
    tree = server.answer("/top.tar", Answer(TREE), Answer(OTHER_TREE))
    plxnix.ok("lock", "add", "changing", changing)
    plxnix.ok("lock", "add", "steady", steady)
    plxnix.ok("lock", "add", "tree", tree, "--unpack")
    before = sources()
    dry = plxnix.ok("lock", "update", "--dry-run")
    assert sources() == before
    rows = plxnix.ok("lock", "update").fields
    assert rows == dry.fields
    after = sources()
    assert rows == [
        ["changing", "changed", sri(DATA), sri(b"new\n")],
        ["steady", "unchanged", sri(DATA), sri(DATA)],
        ["tree", "changed", before["tree"]["hash"], after["tree"]["hash"]],
    ]
    assert after["changing"]["hash"] == sri(b"new\n")
    assert after["changing"]["path"] != before["changing"]["path"]
    assert after["tree"]["archive"] == sri(OTHER_TREE)
    assert after["steady"] == before["steady"]
    told = plxnix.ok("lock", "update", "steady", "--json").json
    assert [(one["name"], one["status"]) for one in told] == [("steady", "unchanged")]


def test_update_to_a_version(plxnix: CommandLine, server: Server) -> None:
    """`--version` fetches another version, and only where the URL has a place for one."""
    server.answer("/x-1.csv", Answer(DATA))
    server.answer("/x-2.csv", Answer(b"two\n"))
    url = server.url("/x-{version}.csv")
    plxnix.ok("lock", "add", "x", url, "--version", "1")
    plxnix.ok("lock", "add", "plain", server.url("/x-1.csv"))
    plxnix.ok("lock", "update", "x", "--version", "2")
    found = sources()["x"]
    assert (found["url"], found["version"], found["name"]) == (url, "2", "x-2.csv")
    assert found["hash"] == sri(b"two\n")
    assert "no URL has a place" in plxnix.fails("lock", "update", "plain", "--version", "2")
    plxnix.fails("lock", "update", "--version", "2", status=2)


def test_frozen_ones_are_left(plxnix: CommandLine, server: Server) -> None:
    """What is frozen is not even asked for, until it is thawed."""
    url = server.answer("/data.csv", Answer(DATA), Answer(b"new\n"))
    plxnix.ok("lock", "add", "data", url)
    plxnix.ok("lock", "freeze", "data")
    assert sources()["data"]["frozen"] is True
    assert plxnix.ok("lock", "update").fields[0][:2] == ["data", "frozen"]
    assert len(server.requests) == 1
    plxnix.ok("lock", "freeze", "data", "--thaw")
    assert "frozen" not in sources()["data"]
    assert plxnix.ok("lock", "update").fields[0][:2] == ["data", "changed"]


def test_offline_update_changes_nothing(plxnix: CommandLine, server: Server) -> None:
    """If one source cannot be had, the lock stays as it was, for all of them."""
    first = server.answer("/a.csv", Answer(DATA), Answer(b"new\n"))
    second = server.answer("/b.csv", Answer(DATA), Answer(status=404))
    plxnix.ok("lock", "add", "a", first)
    plxnix.ok("lock", "add", "b", second)
    before = Path("plxnix.lock.json").read_bytes()
    assert "HTTP 404" in plxnix.fails("lock", "update")
    assert Path("plxnix.lock.json").read_bytes() == before


def test_update_fills_in_what_was_not_known(plxnix: CommandLine, server: Server) -> None:
    """A source written by hand gets its size, path and archive."""
    url = server.answer("/top.tar", Answer(TREE))
    plxnix.ok("lock", "add", "tree", url, "--unpack")
    whole = sources()["tree"]
    bare = {key: whole[key] for key in ("url", "hash", "unpack")}
    Path("plxnix.lock.json").write_text(json.dumps({"version": 1, "sources": {"tree": bare}}))
    assert plxnix.ok("lock", "update").fields[0][1] == "recorded"
    assert {**sources()["tree"], "fetched": ""} == {**whole, "fetched": ""}


# -- verify ----------------------------------------------------------------------------------------


def test_verify_asks_nobody(plxnix: CommandLine, server: Server) -> None:
    """Without --refetch, form and paths are checked."""
    plxnix.ok("lock", "add", "data", server.answer("/data.csv", Answer(DATA)))
    assert plxnix.ok("lock", "verify").out == b""
    assert len(server.requests) == 1
    value = json.loads(Path("plxnix.lock.json").read_text())
    right = value["sources"]["data"]["path"]
    value["sources"]["data"]["path"] = right.replace("-data", "-date")
    Path("plxnix.lock.json").write_text(json.dumps(value))
    verdict = plxnix("lock", "verify", "--json")
    assert verdict.status == 1
    assert [(one["name"], one["got"]) for one in verdict.json] == [("data", right)]
    value["sources"]["data"]["hash"] = "sha256-AAAA"
    Path("plxnix.lock.json").write_text(json.dumps(value))
    assert "sources.data" in plxnix.fails("lock", "verify")


def test_refetch_is_not_fooled_by_what_is_here(
    plxnix: CommandLine, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hash that only a store, or a hashed mirror, still has is found (CVE-2024-36050)."""
    url = server.answer("/data.csv", Answer(DATA))
    plxnix.ok("prefetch", url)
    hashed = f"/hashed/sha256/{hashlib.sha256(DATA).hexdigest()}"
    server.answer(hashed, Answer(DATA))
    monkeypatch.setenv("PLXNIX_HASHED_MIRRORS", server.url("/hashed"))
    wrong = server.answer("/wrong.csv", Answer(b"wrong\n"))
    mirror = server.url("/gone.csv")
    arguments = ("--hash", sri(DATA), "--filename", "data.csv", "--mirror", mirror)
    plxnix.ok("lock", "add", "data", wrong, *arguments)
    plxnix.ok("lock", "verify")
    verdict = plxnix("lock", "verify", "--refetch")
    assert verdict.status == 1
    first, second = verdict.lines
    assert first == f"data: {wrong}: specified {sri(DATA)}, got {sri(b'wrong' + bytes([10]))}"
    assert second == f"data: {mirror}: HTTP 404 Not Found"
    assert server.count(hashed) == 0


def test_verify_reads_the_store(plxnix: CommandLine, server: Server) -> None:
    """What the store has of a source is compared to the hash."""
    plxnix.ok("lock", "add", "data", server.answer("/data.csv", Answer(DATA)))
    store = fsinit()
    rref = realize1(instantiate(fetchlock, "data"))
    plxnix.ok("lock", "verify")
    place = Path(store.path(rref), "data.csv")
    place.chmod(0o644)
    place.write_bytes(b"damaged")
    verdict = plxnix("lock", "verify")
    assert verdict.status == 1
    assert verdict.lines == [f"data: {place}: specified {sri(DATA)}, got {sri(b'damaged')}"]


# -- show, rm, import ------------------------------------------------------------------------------


def test_show_lists(plxnix: CommandLine, server: Server) -> None:
    """Each source is a row, whole in a pipe, or an entry of JSON."""
    url = server.answer("/data.csv", Answer(DATA))
    (path,) = plxnix.ok("lock", "add", "data", url).lines
    plxnix.ok("lock", "add", "other", url)
    plxnix.ok("lock", "freeze", "other")
    assert plxnix.ok("lock", "show").fields == [
        ["data", url, sri(DATA), path, ""],
        ["other", url, sri(DATA), path, "frozen"],
    ]
    told = plxnix.ok("lock", "show", "data", "--json").json
    assert told["data"]["hash"] == sri(DATA)
    assert told["data"]["urls"] == [url]
    drawn = plxnix.ok("lock", "show", "data", "--color", "always").out.decode()
    assert sri(DATA) not in drawn
    assert sri(DATA)[:12] in drawn


@pytest.mark.parametrize("verb", ["update", "verify", "freeze", "show", "rm"])
def test_unknown_names(plxnix: CommandLine, server: Server, verb: str) -> None:
    """A name that is not there is an error that names one which is alike."""
    plxnix.ok("lock", "add", "hello", server.answer("/data.csv", Answer(DATA)))
    before = Path("plxnix.lock.json").read_bytes()
    assert "hint: is it 'hello'?" in plxnix.fails("lock", verb, "helo")
    assert Path("plxnix.lock.json").read_bytes() == before
    assert "there is no lock at other.json" in plxnix.fails(
        "lock", verb, "hello", "--lock", "other.json"
    )


def test_rm_removes(plxnix: CommandLine, server: Server) -> None:
    """Named sources go; the others stay."""
    url = server.answer("/data.csv", Answer(DATA))
    plxnix.ok("lock", "add", "a", url)
    plxnix.ok("lock", "add", "b", url)
    plxnix.ok("lock", "rm", "a")
    assert sources().keys() == {"b"}


def test_import_says_what_it_left(plxnix: CommandLine, server: Server) -> None:
    """What can be taken is taken, the rest is named with its reason; nothing is overwritten."""
    pin = {"type": "Channel", "name": "x", "hash": sri(DATA), "url": server.url("/x.tar.xz")}
    pins = {"good": pin, "mine": pin, "git": {**pin, "type": "Git", "url": None}}
    Path("sources.json").write_text(json.dumps({"version": 5, "pins": pins}))
    plxnix.ok("lock", "add", "mine", server.answer("/data.csv", Answer(DATA)))
    before = sources()["mine"]
    done = plxnix.ok("lock", "import", "sources.json")
    assert done.lines == ["good"]
    assert "git was not taken: it is a checkout by git" in done.err
    assert "mine was not taken: plxnix.lock.json has a source of that name" in done.err
    assert sources()["mine"] == before
    told = plxnix.ok("lock", "import", "sources.json", "--replace", "--json").json
    assert told["taken"] == ["good", "mine"]
    assert told["left"].keys() == {"git"}
    assert sources()["mine"]["url"] == pin["url"]
    assert len(server.requests) == 1
    Path("sources.json").write_text(json.dumps({"version": 5, "pins": {"git": pins["git"]}}))
    assert plxnix("lock", "import", "sources.json").status == 1
    plxnix.fails("lock", "import", "none.json")


# -- stages ----------------------------------------------------------------------------------------


def test_fetchlock_is_a_stage(plxnix: CommandLine, server: Server) -> None:
    """A source is a stage: a file, a tree, or what an archive holds."""
    plxnix.ok("lock", "add", "data", server.answer("/data.csv", Answer(DATA)))
    plxnix.ok("lock", "add", "tree", server.answer("/top.tar", Answer(TREE)), "--unpack")
    plxnix.ok("lock", "add", "archive", server.url("/top.tar"))
    store = fsinit()

    def place(name: str, **fields: Any) -> Path:
        return Path(store.path(realize1(instantiate(fetchlock, name, **fields))))

    assert (place("data") / "data.csv").read_bytes() == DATA
    assert (place("tree") / "data").read_bytes() == DATA
    assert (place("tree") / "run").stat().st_mode & 0o100
    assert (place("archive") / "top.tar").read_bytes() == TREE
    assert (place("archive", mode="unpack,remove") / "top" / "data").read_bytes() == DATA
    record = store.record(realize1(instantiate(fetchlock, "tree")))
    assert record.nix["path"] == sources()["tree"]["path"]


@pytest.mark.parametrize("unpack", [False, True])
def test_add_leaves_it_where_stages_look(plxnix: CommandLine, server: Server, unpack: bool) -> None:
    """After `lock add`, a stage of the source makes no request: neither file nor tree."""
    url = server.answer("/data.tar", Answer(TREE))
    plxnix.ok("lock", "add", "data", url, *(["--unpack"] if unpack else []))
    fsinit()
    rref = realize1(instantiate(fetchlock, "data"))
    assert len(server.requests) == 1
    name = "data" if unpack else "data.tar"
    found = Path(Store(plxnix.folder / "plxnix").path(rref), name).read_bytes()
    assert found == (DATA if unpack else TREE)


def test_a_tree_of_other_contents_is_refused(plxnix: CommandLine, server: Server) -> None:
    """The tree's own hash decides, also where that of the archive is not known."""
    url = server.answer("/top.tar", Answer(TREE))
    plxnix.ok("lock", "add", "tree", url, "--unpack", "--hash", sri(b"other"))
    fsinit()
    with pytest.raises(HashMismatch) as error:
        realize1(instantiate(fetchlock, "tree"))
    assert error.value.expected == sri(b"other")


def test_an_export_keeps_the_sources(plxnix: CommandLine, server: Server) -> None:
    """Exporting a lock twice over one with sources keeps them, and equals itself."""
    plxnix.file("from plxnix import fetchlock\n\ndef data(r):\n    return fetchlock('data', r=r)\n")
    plxnix.ok("lock", "add", "data", server.answer("/data.csv", Answer(DATA)))
    before = sources()
    arguments = ("stages.py:data", "-f", "lock", "-o", "./", "--toolchain", "host")
    plxnix.ok("export", *arguments)
    text = Path("plxnix.lock.json").read_text()
    assert sources() == before
    plxnix.ok("export", *arguments)
    assert Path("plxnix.lock.json").read_text() == text
    Path("plxnix.lock.json").write_text("{}")
    assert "the version None" in plxnix.fails("export", *arguments)
    assert Path("plxnix.lock.json").read_text() == "{}"


# -- prefetch --------------------------------------------------------------------------------------

STAGE = """
from plxnix import fetchtree, fetchurl

def data(r, **arguments):
    return fetchurl(r=r, **arguments)

def tree(r, **arguments):
    return fetchtree(r=r, **arguments)
"""


@pytest.mark.parametrize("mode", [None, ""])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
@pytest.mark.parametrize(("path", "body"), [("/x.csv", DATA), ("/x.tar", TREE), ("/e", b"")])
def test_prefetch_leaves_it_where_realize_looks(
    plxnix: CommandLine, server: Server, mode: str | None, algorithm: str, path: str, body: bytes
) -> None:
    """One request in all: after `prefetch`, `fetchurl` with that hash has nothing to download."""
    url = server.answer(path, Answer(body))
    printed, place = plxnix.ok("prefetch", url, "--hash-type", algorithm).lines
    assert printed == Hash.of_bytes(body, algorithm).sri
    assert place.endswith(path.replace("/", "-"))
    plxnix.file(STAGE)
    arguments = [f"url={url}", f"hash={printed}", *(["mode=" + mode] if mode is not None else [])]
    given = [word for one in arguments for word in ("-a", one)]
    plxnix.ok("realize", "stages.py:data", *given)
    assert len(server.requests) == 1
    assert not list((plxnix.store / "downloads").iterdir())
    plxnix.ok("prefetch", url, "--hash-type", algorithm)
    assert not list((plxnix.store / "downloads").iterdir())
    assert plxnix.ok("verify").out == b""


def test_prefetch_of_a_tree(plxnix: CommandLine, server: Server) -> None:
    """With --unpack it is `fetchtree`, and a lock's source, that have nothing to download."""
    url = server.answer("/top.tar", Answer(TREE))
    told = plxnix.ok("prefetch", url, "--unpack", "--json").json
    assert told["archive"] == sri(TREE)
    assert told["path"].endswith("-source")
    plxnix.file(STAGE)
    given = ("-a", f"url={url}", "-a", f"hash={told['hash']}", "-a", f"archive={sri(TREE)}")
    assert plxnix.ok("realize", "stages.py:tree", *given).lines == told["rrefs"]
    assert len(server.requests) == 1
    plxnix.fails("prefetch", url, "--unpack", "--hash-type", "sha1", status=2)


def test_prefetch_takes_a_name(plxnix: CommandLine, server: Server) -> None:
    """A name stands for the file's; without one, the URL has to end in it."""
    url = server.answer("/download?id=7", Answer(DATA))
    assert plxnix.ok("prefetch", url, "--name", "x.csv").lines[1].endswith("-x.csv")
    plxnix.file(STAGE)
    given = ("-a", f"url={url}", "-a", f"hash={sri(DATA)}", "-a", "filename=x.csv")
    plxnix.ok("realize", "stages.py:data", *given)
    assert len(server.requests) == 1
    assert "without the name of a file" in plxnix.fails("prefetch", server.url("/"))
    assert "not a name" in plxnix.fails("prefetch", url, "--name", "x y")


def test_prefetch_of_what_is_no_archive(plxnix: CommandLine, server: Server) -> None:
    """A page that says sorry, called an archive, has its hash printed, with a warning."""
    url = server.answer("/x.tar.gz", Answer(b"sorry\n"))
    done = plxnix.ok("prefetch", url)
    assert done.lines[0] == sri(b"sorry\n")
    assert "cannot be unpacked" in done.err


def test_prefetch_of_nothing(plxnix: CommandLine, server: Server) -> None:
    """A 404 is an error, and leaves nothing behind."""
    assert "HTTP 404" in plxnix.fails("prefetch", server.url("/none.csv"))
    store = Store(plxnix.store)
    assert not list(store.derivations())
    assert {one.name for one in (plxnix.store / "tmp").glob("*/*")} <= {"lock"}
