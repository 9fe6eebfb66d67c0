"""`fetchtree`: a stage that is the tree of an archive from the net, known by the tree's hash.

It is what `builtins.fetchTarball` gives: the only folder at the top of the archive, as a recursive
fixed output. So its path in Nix is that of `fetchTarball` with the same name and hash.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from plxnix.config import Config
from plxnix.errors import ArchiveError, InvalidHash
from plxnix.model import DRef
from plxnix.nix.graph import FixedOutput, Node, Reference, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes import nix_fetch
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.nix_fetch import check_way, fetch_node
from plxnix.recipes.obtaining import added, check_tree, have, obtain
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.unpack import TOOLS, unpack_command
from plxnix.recipes.urls import check_urls, last_part, sources
from plxnix.store import fixed

#: What Nix calls the tree of an archive.
NAME = "source"

# `ls` prints several lines if there are several files, and no file is called so.
_SCRIPT = """\
set -e
mkdir unpacked
{unpack}
mv "unpacked/$(ls -A unpacked)" "$out"
:
"""


class Tree(Recipe):
    """The recipe behind `fetchtree`; `via` is as for `Fetch`."""

    kind = "tree-1"

    def __init__(self, via: str | None = None) -> None:
        check_way(via)
        self.via = via

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the unpacking of a fetch, or, if the archive's hash is unknown, a message.

        Nix cannot download anything without its hash; the message says how to add the tree.
        """
        toolchain, dref = lowering.toolchain, config.dref
        fixed = FixedOutput(Hash.parse(config["hash"]), recursive=True)
        if "archive" not in config:
            said = f"the hash of this archive is not known. Add it with: {_command(config)}"
            node = toolchain.refusing(config.name, said, fixed, str(dref))
            return Lowered(dref, node, "fixed-output")
        fetch = fetch_node(config, Hash.parse(config["archive"]))
        script = _SCRIPT.format(unpack=unpack_command(config["filename"], "unpacked"))
        node = Node(
            name=config.name,
            system=toolchain.system,
            builder=toolchain.shell(),
            args=(text("-c"), text(script)),
            env={"PATH": toolchain.path(TOOLS), "src": text(Reference(fetch))},
            fixed=fixed,
            comment=str(dref),
        )
        return Lowered(dref, node, "fixed-output")

    def make(self, job: Job) -> Artifact:
        """Take the tree from the Nix store, or download the archive, unpack it and compare."""
        folder, name, digest = job.folder(), job.config.name, Hash.parse(job.config["hash"])
        tree, root = folder / "tree", {}
        if not have(job, name, tree, digest, recursive=True):
            if nix_fetch.by_nix(self.via):
                nix_fetch.fetch_tree(job, sources(job.config), tree, digest)
            else:
                tree = self._unpack(job, folder)
            root = added(job, tree, name, digest, recursive=True)
        nix = job.nix(self.form(job))
        return Artifact(tree, nix={**nix, **root, "fixed": fixed.said(digest, recursive=True)})

    def _unpack(self, job: Job, folder: Path) -> Path:
        """Download and unpack the archive, and return the tree that has the hash."""
        config = job.config
        archive = folder / config["filename"]
        digest = Hash.parse(config["archive"]) if "archive" in config else None
        obtain(job, sources(config), archive, digest, "native")
        tree = unpack_tree(archive, folder / "unpacked")
        check_tree(job, f"'{archive.name}'", tree, Hash.parse(config["hash"]))
        return tree


def _command(config: Config) -> str:
    return f"plxnix prefetch --unpack --name {config.name} URL, for the URL {config['url']}"


def unpack_tree(archive: Path, destination: Path) -> Path:
    """Unpack an archive below `destination` and return the only folder at its top.

    Raises `ArchiveError` if there is not exactly one, and what `builders.archive.unpack` raises.
    """
    from plxnix.builders import archive as archives

    archives.unpack(archive, destination)
    names = sorted(os.listdir(destination))
    if len(names) != 1 or not (destination / names[0]).is_dir():
        shown = ", ".join(names[:5]) or "nothing"
        raise ArchiveError(
            f"archive '{archive.name}' has not one folder at its top, but {shown}",
            "fetch it as a file and unpack it by a stage: unpack(fetchurl(...))",
        )
    return destination / names[0]


def tree_config(
    urls: Sequence[str],
    digest: Hash,
    archive: Hash | None = None,
    name: str = NAME,
    fields: Mapping[str, Any] = MappingProxyType({}),
) -> Config:
    """Return the config of a tree; arguments are as for `fetchtree`."""
    if digest.algorithm != "sha256":
        raise InvalidHash(f"a tree is known by its sha256, not by {digest}", "give its NAR hash")
    config: dict[str, Any] = {
        **fields,
        FIELD: Tree.kind,
        "name": sanitise_name(name),
        "filename": sanitise_name(last_part(urls[0])),
        "hash": digest.sri,
        "url": urls[0],
    }
    if urls[1:]:
        config["urls"] = list(urls[1:])
    if archive is not None:
        config["archive"] = archive.sri
    return Config(config)


@takes_registry
def fetchtree(
    url: str | None = None,
    hash: str | None = None,  # noqa: A002  # the name that Nix gives it
    *,
    archive: str | None = None,
    name: str = NAME,
    urls: Sequence[str] = (),
    via: str | None = None,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that is the only folder in an archive from the net.

    `hash` is that of the tree (sha256 of its NAR), as `builtins.fetchTarball` takes it and
    `plxnix prefetch --unpack` prints it. `archive`, the hash of the archive itself, lets Nix build
    the stage too; without it an export has a message in the place of its builder, and needs the
    tree in the Nix store. The rest is as for `fetchurl`.

    Raises `InvalidValue`, `InvalidHash`; while realizing `DownloadFailed`, `HashMismatch`,
    `ArchiveError`.
    """
    del registry
    found = check_urls("fetchtree", url, urls)
    if hash is None:
        raise InvalidHash("fetchtree got no hash", "`plxnix prefetch --unpack URL` prints one")
    archived = None if archive is None else Hash.parse(archive)
    config = tree_config(found, Hash.parse(hash, "sha256"), archived, name, fields)
    return mkdrv(config, match_only(), Tree(via))
