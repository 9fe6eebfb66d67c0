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
from urllib.parse import unquote, urlsplit

from plxnix.config import Config
from plxnix.errors import ArchiveError, HashMismatch, InvalidHash
from plxnix.model import DRef
from plxnix.nix.graph import FixedOutput, Node, Reference, Text, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes import nix_fetch
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.nix_fetch import check_way, fetch_node
from plxnix.recipes.obtaining import added, note, obtain
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.shared import take_known, take_tree
from plxnix.recipes.unpack import TOOLS
from plxnix.recipes.urls import check_urls, sources
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
        environment: dict[str, Text]
        if "archive" in config:
            fetch = fetch_node(config, Hash.parse(config["archive"]))
            zipped = config["filename"].lower().endswith((".zip", ".whl", ".jar"))
            command = (
                'LC_ALL=C.UTF-8 unzip -qV "$src" -d unpacked'
                if zipped
                else 'tar --no-same-owner -xf "$src" -C unpacked'
            )
            script = _SCRIPT.format(unpack=command)
            environment = {
                "PATH": lowering.toolchain.path(TOOLS),
                "src": text(Reference(fetch)),
            }
        else:
            script = 'printf "%s\\n" "$message" >&2; exit 1'
            said = f"the hash of this archive is not known. Add it with: {_command(config)}"
            environment = {"message": text(said)}
        node = Node(
            name=config.name,
            system=lowering.toolchain.system,
            builder=lowering.toolchain.shell(),
            args=(text("-c"), text(script)),
            env=environment,
            fixed=FixedOutput(Hash.parse(config["hash"]), recursive=True),
            comment=str(config.dref),
        )
        return Lowered(config.dref, node, "fixed-output")

    def make(self, job: Job) -> Artifact:
        """Take the tree from the Nix store, or download the archive, unpack it and compare."""
        folder, name, digest = job.folder(), job.config.name, Hash.parse(job.config["hash"])
        tree, root = folder / "tree", {}
        if not take_known(job.store, digest, tree, note(job), recursive=True) and not take_tree(
            name, digest, tree, note(job)
        ):
            if nix_fetch.by_nix(self.via):
                nix_fetch.fetch_tree(job, sources(job.config), tree, digest)
            else:
                tree = self._unpack(job, folder)
            root = added(job, tree, name, digest, recursive=True)
        # Not `lowering.of`: if the stage leaves as a pin, that has no form before it is made.
        nix = job.nix(self.lower(job.config, job.lowering))
        return Artifact(tree, nix={**nix, **root, "fixed": fixed.said(digest, recursive=True)})

    def _unpack(self, job: Job, folder: Path) -> Path:
        """Download and unpack the archive, and return the tree that has the hash."""
        from plxnix.builders.sources import redact
        from plxnix.nix.nar import nar_hash

        config = job.config
        archive = folder / config["filename"]
        digest = Hash.parse(config["archive"]) if "archive" in config else None
        obtain(job, sources(config), archive, digest, "native")
        tree = unpack_tree(archive, folder / "unpacked")
        found, _ = nar_hash(tree)
        if found.sri != config["hash"]:
            raise HashMismatch(
                f"the tree of '{archive.name}' from '{redact(config['url'])}' has another "
                f"hash than specified\n  specified: {config['hash']}\n  got:       {found.sri}",
                "if the new contents are right, set the new hash",
                expected=config["hash"],
                found=found.sri,
            )
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
        "filename": sanitise_name(unquote(urlsplit(urls[0]).path.rpartition("/")[2])),
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
