"""After `plxnix prefetch` neither builder downloads anything, counted at the server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archive_trees import file, folder, tar_bytes
from tests.command_line import CommandLine
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv

STAGES = """
from plxnix import fetchtree, fetchurl

def data(r, **arguments):
    return fetchurl(r=r, **arguments)

def tree(r, **arguments):
    return fetchtree(r=r, **arguments)
"""


@pytest.fixture
def plxnix(plxnix: CommandLine) -> CommandLine:
    """The command line, in a folder with a file of stages."""
    plxnix.file(STAGES)
    return plxnix


@pytest.mark.parametrize("algorithm", ["sha256", "sha512", "sha1"])
@pytest.mark.parametrize("name", ["x%20y.csv", "x.tar"])
def test_a_file_is_fetched_once(
    nix_env: NixEnv, plxnix: CommandLine, server: Server, algorithm: str, name: str
) -> None:
    """One request: for `prefetch`, `realize`, and `nix-build` of the export."""
    mark = f"{plxnix.folder} {algorithm}".encode()
    body = tar_bytes(file("data", mark)) if name == "x.tar" else mark
    url = server.answer(f"/{name}", Answer(body))
    printed, path = plxnix.ok("prefetch", url, "--hash-type", algorithm).lines
    assert Path(path).read_bytes() == body
    given = ("-a", f"url={url}", "-a", f"hash={printed}")
    plxnix.ok("realize", "stages.py:data", *given)
    plxnix.ok("export", "stages.py:data", *given, "--toolchain", "host", "-o", "default.nix")
    built = nix_env.build(plxnix.folder / "default.nix")
    if name == "x.tar":
        assert (built / "data").read_bytes() == mark
    else:
        assert str(built) == path
    assert len(server.requests) == 1


def test_a_tree_is_fetched_once(nix_env: NixEnv, plxnix: CommandLine, server: Server) -> None:
    """With --unpack: `realize`, `nix-build`, and `fetchTarball` in pure mode find it."""
    mark = str(plxnix.folder).encode()
    # A tree may mention store paths, as sources of Nix do.
    mention = b"/nix/store/" + b"a" * 32 + b"-x"
    body = tar_bytes(folder("t"), file("t/run", mark, 0o755), file("t/mention", mention))
    url = server.answer("/t.tar", Answer(body))
    told = plxnix.ok("prefetch", url, "--unpack", "--json").json
    given = ("-a", f"url={url}", "-a", f"hash={told['hash']}", "-a", f"archive={told['archive']}")
    plxnix.ok("realize", "stages.py:tree", *given)
    plxnix.ok("export", "stages.py:tree", *given, "--toolchain", "host", "-o", "default.nix")
    assert str(nix_env.build(plxnix.folder / "default.nix")) == told["path"]
    call = f'builtins.fetchTarball {{ url = "{url}"; sha256 = "{told["hash"]}"; }}'
    found = nix_env.evaluate(call, "--read-write-mode", "--option", "pure-eval", "true")
    assert found.strip() == f'"{told["path"]}"'
    assert len(server.requests) == 1
    assert (Path(told["path"]) / "run").stat().st_mode & 0o111


def test_a_failure_is_told_once(plxnix: CommandLine, server: Server) -> None:
    """What each source answered stands once in the error."""
    url = server.answer("/gone.csv", Answer(status=404))
    result = plxnix("prefetch", url)
    assert result.status == 1
    assert result.err.count("HTTP 404") == 1


def test_nix_is_left_alone_on_request(nix_env: NixEnv, plxnix: CommandLine, server: Server) -> None:
    """With --no-nix nothing gets into the Nix store; without, it does."""
    url = server.answer("/x.csv", Answer(str(plxnix.folder).encode() + b"alone"))
    _, path = plxnix.ok("prefetch", url, "--no-nix").lines
    valid = ("nix-store", "--check-validity", path)
    assert nix_env.run(*valid, check=False).returncode != 0
    plxnix.ok("prefetch", url)
    nix_env.run(*valid)
