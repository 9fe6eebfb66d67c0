"""`fetchgit`: a stage that is the tree of one commit, known by the tree's hash.

One script fetches it, here and in Nix, so what is exported does what was done here. It gives the
tree that `git checkout` gives without anybody's settings, and no `.git`: what `fetchgit` of nixpkgs
gives, at the same path if the names are the same (`source` here, as `fetchFromGitHub` has it; give
nixpkgs' `fetchgit` `name = "source"`, or give its name here).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from plxnix.builders.process import run_process
from plxnix.builders.sources import redact
from plxnix.config import Config
from plxnix.errors import (
    BuildFailed,
    DownloadFailed,
    InvalidHash,
    InvalidValue,
    ToolFailed,
    ToolMissing,
)
from plxnix.model import DRef
from plxnix.nix.graph import FixedOutput, Node, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes import nix_fetch
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.obtaining import added, check_tree, have
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.shared import take_tree
from plxnix.recipes.tree import NAME
from plxnix.recipes.urls import check_url
from plxnix.store import fixed

SCHEMES: Final = ("https", "http", "ssh", "git", "file")

#: Nix hands these on from its own environment: nixpkgs' `fetchgit` has the same.
_IMPURE: Final = f"{nix_fetch.PROXIES} GIT_PROXY_COMMAND SOCKS_SERVER GIT_SSL_CAINFO"

_COMMIT: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")

#: What git forbids in names of references (git-check-ref-format(1)), and what it reads as options.
_NO_REVISION: Final = re.compile(r"^[-+]|[\s~^:?*\[\\\x00-\x20\x7f]|\.\.|@\{|^$")


class Git(Recipe):
    """The recipe behind `fetchgit`; `via` is as for `Fetch`."""

    kind = "git-1"

    def __init__(self, via: str | None = None) -> None:
        nix_fetch.check_way(via)
        self.via = via

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the fixed-output derivation that runs the script."""
        toolchain = lowering.toolchain
        tools = ("git", "cacert", *(["git-lfs"] if config.get("lfs") else []))
        environment = {key: text(value) for key, value in _variables(config).items()}
        node = Node(
            name=config.name,
            system=toolchain.system,
            builder=toolchain.shell(),
            args=(text("-c"), text(_script())),
            env={"PATH": toolchain.path(tools), "impureEnvVars": text(_IMPURE), **environment},
            fixed=FixedOutput(Hash.parse(config["hash"]), recursive=True),
            comment=str(config.dref),
        )
        return Lowered(config.dref, node, "fixed-output")

    def make(self, job: Job) -> Artifact:
        """Take the tree from a store, or let git fetch the commit and compare."""
        config, folder = job.config, job.folder()
        digest, tree = Hash.parse(config["hash"]), folder / "out"
        lowered = self.form(job)
        root: dict[str, str] = {}
        if not have(job, config.name, tree, digest, recursive=True):
            if nix_fetch.by_nix(self.via):
                _by_nix(job, lowered.node, tree, digest)
            else:
                _by_git(job, lowered.node, folder)
                check_tree(job, config["rev"], tree, digest)
                root = added(job, tree, config.name, digest, recursive=True)
        nix = job.nix(lowered)
        return Artifact(tree, nix={**nix, **root, "fixed": fixed.said(digest, recursive=True)})


@functools.cache
def _script() -> str:
    """Return the script that fetches one commit: here, and as the builder of a derivation in Nix.

    Its variables are `url`, `rev`, `wanted` (what to ask for, in this order), `protocols` (that may
    be used), `submodules` and `lfs` (empty for no), `stall` (seconds, or unset) and `out`. Settings
    travel in the environment, where they reach the programs that git itself starts. First one
    commit is asked for; servers that cannot give that (plain files over HTTP) give everything.
    """
    return Path(__file__).with_name("git.sh").read_text(encoding="utf-8")


def _variables(config: Config) -> dict[str, str]:
    """Return what the script is told."""
    rev, local = config["rev"], config["url"].lower().startswith("file:")
    whole = _COMMIT.fullmatch(rev) or rev == "HEAD" or rev.startswith("refs/")
    return {
        "lfs": "1" if config.get("lfs") else "",
        # Those of submodules, too. Only who names a folder of this machine is led to others.
        "protocols": ":".join(one for one in SCHEMES if local or one != "file"),
        "rev": rev,
        "submodules": "1" if config.get("submodules") else "",
        "url": config["url"],
        "wanted": rev if whole else f"refs/tags/{rev} refs/heads/{rev}",
    }


def _by_git(job: Job, node: Node, folder: Path) -> None:
    """Run the script with this machine's git, and none of the user's settings but `.netrc`."""
    import shutil

    from plxnix.builders.download_settings import DownloadSettings
    from plxnix.builders.surroundings import netrc_path

    path = os.environ.get("PATH") or os.defpath
    for program in ("git", *(["git-lfs"] if job.config.get("lfs") else [])):
        if shutil.which(program, path=path) is None:
            raise ToolMissing(
                f"the program {program} is not installed, or not on PATH",
                f"install {program}: `apt-get install {program}` on Debian",
            )
    home, work = folder / "home", folder / "build"
    home.mkdir()
    work.mkdir()
    if os.path.exists(netrc_path()):
        (home / ".netrc").symlink_to(os.path.abspath(netrc_path()))
    environment = {
        **_machine(os.environ),
        **_variables(job.config),
        "HOME": os.fspath(home),
        "PATH": path,
        "out": os.fspath(folder / "out"),
        "stall": str(max(1, round(DownloadSettings.from_environment().stall_timeout))),
    }
    said = bytearray()

    def write(data: bytes) -> None:
        job.log.write(data)
        said.extend(data)
        del said[: -(1 << 14)]

    builder, arguments = "".join(map(str, node.builder)), ["-c", _script()]
    try:
        run_process(job.dref, builder, arguments, environment, os.fspath(work), write)
    except BuildFailed:
        raise _failed(job.config, said.decode("utf-8", "replace")) from None


def _machine(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the way to a server needs of this machine."""
    names = [*nix_fetch.PROXIES.split(), *nix_fetch.PROXIES.upper().split(), "SSH_AUTH_SOCK"]
    found = {name: environment[name] for name in names if name in environment}
    for variable in ("NIX_SSL_CERT_FILE", "SSL_CERT_FILE"):
        if environment.get(variable):
            found.setdefault("GIT_SSL_CAINFO", environment[variable])
    return found


def _by_nix(job: Job, node: Node, tree: Path, digest: Hash) -> None:
    try:
        nix_fetch.realise(job, node, tree.with_name("result"), nix_fetch.host_paths())
    except ToolFailed as error:
        found = nix_fetch.failure(job.config.name, error, job.config["url"])
        # "builder for '...' failed", of newer Nix "Reason: builder failed with ...".
        if isinstance(found, ToolFailed) and re.search("builder (for|failed)", error.stderr):
            found = _failed(job.config, error.stderr)
        raise found from None
    nix_fetch.take(take_tree(job.config.name, digest, tree, job.said), tree.with_name("result"))


def _failed(config: Config, said: str) -> DownloadFailed:
    from plxnix.nix.tools import last_lines

    where, shown = f"{redact(config['url'])}, {config['rev']}", last_lines(redact(said))
    reasons = [line for line in shown.splitlines() if "fatal:" in line]
    reason = reasons[-1] if reasons else "git failed"
    return DownloadFailed(
        f"'{config.name}' could not be fetched by git from {where}:{shown}",
        "check URL and revision: `git ls-remote URL` prints what there is",
        [f"{where}: {reason.rpartition('fatal: ')[2].strip()}"],
    )


@takes_registry
def fetchgit(
    url: str | None = None,
    rev: str | None = None,
    hash: str | None = None,  # noqa: A002  # the name that Nix gives it
    *,
    sha256: str | None = None,
    submodules: bool = False,
    lfs: bool = False,
    name: str = NAME,
    via: str | None = None,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is the tree of one commit of a git repository.

    `url` has one of the schemes https, http, ssh, git and file; `rev` is a full commit id, or a
    tag, branch or reference, which may move: then the hash no longer fits. `hash` (or `sha256`) is
    that of the tree, the sha256 of its NAR, as in nixpkgs. With `submodules` these
    are in the tree; with `lfs` git-lfs gives the large files, else their pointers stay.

    Nobody's settings and hooks have a say: what `.gitattributes` in the repository says is done,
    but `export-ignore` means nothing. Credentials come from `.netrc` or an ssh agent. `via` is as
    for `fetchurl`.

    Raises `InvalidValue`, `InvalidHash`; while realizing `DownloadFailed`, `HashMismatch`,
    `ToolMissing`.
    """
    del registry
    if url is None or rev is None:
        raise InvalidValue(f"fetchgit got url={url!r} and rev={rev!r}", "give both")
    check_url(url, SCHEMES)
    if not isinstance(rev, str) or _NO_REVISION.search(rev):
        raise InvalidValue(f"rev is {rev!r}", "give a full commit id, or the name of a tag")
    if (hash is None) == (sha256 is None):
        raise InvalidHash("a tree is known by one hash", "give hash= or sha256=, that of its NAR")
    config: dict[str, Any] = {
        **fields,
        FIELD: Git.kind,
        "name": sanitise_name(name),
        "hash": Hash.parse(hash or sha256 or "", "sha256").sri,
        "rev": rev,
        "url": url,
        **({"submodules": True} if submodules else {}),
        **({"lfs": True} if lfs else {}),
    }
    return mkdrv(Config(config), match_only(), Git(via))
