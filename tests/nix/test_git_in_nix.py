"""`fetchgit` through Nix: the same tree at the same path, fetched once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix import fetchgit
from plxnix.errors import DownloadFailed, HashMismatch
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import fixed_path
from tests.command_line import CommandLine
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab
from tests.unit.test_recipe_git import Repository

pytestmark = pytest.mark.usefixtures("nix_env")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository whose tree no other test has in the Nix store."""
    made = Repository(tmp_path / "one")
    (made.folder / "data").write_text(f"{tmp_path} {os.urandom(8).hex()}\n")
    made.commit()
    return made


def test_via_nix(lab: Lab, repository: Repository) -> None:
    """Nix runs the predicted derivation; the native store has what it has made."""
    digest = repository.digest()
    dref = fetchgit(repository.url, "trunk", digest, via="nix", registry=lab.registry)
    record = lab.store.record(lab.realize(dref))
    assert record.nar_hash == digest
    assert record.nix["path"] == fixed_path("source", Hash.parse(digest), recursive=True)
    deriver = tools.run("nix-store", "--query", "--deriver", record.nix["path"]).strip()
    assert deriver == record.nix["derivation"]
    assert lab.leftovers() == []


def test_from_nix(lab: Lab, repository: Repository, tmp_path: Path) -> None:
    """What Nix has, git is not asked for: the repository may be gone."""
    digest = repository.digest()
    other = Lab(tmp_path / "other")
    other.realize(fetchgit(repository.url, "trunk", digest, via="nix", r=other.registry))
    repository.folder.rename(tmp_path / "gone")
    dref = fetchgit(repository.url, "trunk", digest, registry=lab.registry)
    assert lab.store.record(lab.realize(dref)).nar_hash == digest


def test_faults(lab: Lab, repository: Repository) -> None:
    """A wrong hash and a missing revision have the classes that they have natively."""
    dref = fetchgit(repository.url, "trunk", "0" * 64, via="nix", registry=lab.registry)
    with pytest.raises(HashMismatch) as caught:
        lab.realize(dref)
    assert caught.value.found == repository.digest()
    dref = fetchgit(repository.url, "v9", "0" * 64, via="nix", registry=lab.registry)
    with pytest.raises(DownloadFailed) as failed:
        lab.realize(dref)
    assert "the repository has no commit, tag or branch v9" in failed.value.attempts[0]


def test_the_export(
    nix_env: NixEnv, plxnix: CommandLine, repository: Repository, tmp_path: Path
) -> None:
    """`nix-build` of the export gives the tree, at the path that was predicted."""
    digest, commit = repository.digest(), repository.git("rev-parse", "HEAD")
    plxnix.file(
        "from plxnix import fetchgit\n"
        f"def tree(r):\n    return fetchgit({repository.url!r}, {commit!r}, {digest!r}, r=r)\n"
    )
    plxnix.ok("export", "stages.py:tree", "--toolchain", "host", "-o", "default.nix")
    built = nix_env.build(tmp_path / "default.nix")
    assert os.fspath(built) == fixed_path("source", Hash.parse(digest), recursive=True)
    plxnix.ok("export", "stages.py:tree", "--toolchain", "nixpkgs", "-o", "packages.nix")
    text = (tmp_path / "packages.nix").read_text()
    assert "${pkgs.git}/bin" in text
    assert "${pkgs.cacert}/bin" in text
