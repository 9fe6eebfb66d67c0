"""`fetchpypi` through Nix, and files of Python packages shared with the Nix store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from plxnix import fetchpypi
from plxnix.builders import package_index
from plxnix.export.handover import add
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path
from tests.command_line import CommandLine
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab

pytestmark = pytest.mark.usefixtures("nix_env")

NAME = "my_tool-1.0-py3-none-any.whl"


@pytest.fixture
def body() -> bytes:
    """Contents that no other test has in the Nix store."""
    return os.urandom(200)


@pytest.fixture
def server(body: bytes) -> Iterator[Server]:
    """An index on loopback, that has one file."""
    package_index.files.cache_clear()
    with Server() as running:
        digest = hashlib.sha256(body).hexdigest()
        page = f'<a href="/files/{NAME}#sha256={digest}">{NAME}</a>'.encode()
        running.answer("/simple/my-tool/", Answer(page, headers={"Content-Type": "text/html"}))
        running.answer(f"/files/{NAME}", Answer(body))
        yield running


def test_via_nix(lab: Lab, server: Server, body: bytes) -> None:
    """Nix downloads the file that the index names."""
    sha256, index = hashlib.sha256(body).hexdigest(), server.url("/simple")
    dref = fetchpypi("my-tool", "1.0", sha256, index=index, via="nix", registry=lab.registry)
    rref = lab.realize(dref)
    assert Path(lab.store.path(rref), NAME).read_bytes() == body
    assert "Nix/" in server.requests[-1].headers["user-agent"]
    path = fixed_path(NAME, Hash.of_bytes(body))
    assert path in tools.valid([path])
    assert lab.store.record(rref).nix["path"] == path


def test_from_nix(lab: Lab, server: Server, body: bytes, tmp_path: Path) -> None:
    """What Nix has is neither looked up nor downloaded, though the file's name is not given."""
    (tmp_path / NAME).write_bytes(body)
    tools.add_fixed(tmp_path / NAME)
    sha256, index = hashlib.sha256(body).hexdigest(), server.url("/simple")
    dref = fetchpypi("my-tool", "1.0", sha256, index=index, registry=lab.registry)
    assert Path(lab.store.path(lab.realize(dref)), NAME).read_bytes() == body
    assert not server.requests


def test_to_nix(lab: Lab, server: Server, body: bytes) -> None:
    """`nix add` puts it where a fetch of the file by name and hash looks for it."""
    sha256, index = hashlib.sha256(body).hexdigest(), server.url("/simple")
    dref = fetchpypi("my-tool", "1.0", sha256, index=index, registry=lab.registry)
    assert add(lab.store, lab.realize(dref)).path == fixed_path(NAME, Hash.of_bytes(body))


@pytest.mark.parametrize("toolchain", ["host", "nixpkgs"])
def test_the_export(
    nix_env: NixEnv,
    server: Server,
    body: bytes,
    tmp_path: Path,
    plxnix: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    toolchain: str,
) -> None:
    """An export has the URL from the index, and `nix-build` fetches from there."""
    monkeypatch.setenv("PIP_INDEX_URL", server.url("/simple"))
    for variable in ("UV_DEFAULT_INDEX", "UV_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    sha256 = hashlib.sha256(body).hexdigest()
    plxnix.file(
        "from plxnix import fetchpypi\n"
        f"def tool(r):\n    return fetchpypi('my-tool', '1.0', {sha256!r}, r=r)\n"
    )
    plxnix.ok("export", "stages.py:tool", "--toolchain", toolchain, "-o", "default.nix")
    text = (tmp_path / "default.nix").read_text()
    assert server.url(f"/files/{NAME}") in text
    if toolchain == "host":
        built = nix_env.build(tmp_path / "default.nix")
        assert os.fspath(built) == fixed_path(NAME, Hash.of_bytes(body))
        assert built.read_bytes() == body
