"""`unpack`: a stage that unpacks an archive from another stage."""

from __future__ import annotations

from typing import Any

from plxnix.config import Config
from plxnix.errors import InvalidRefpath, InvalidValue
from plxnix.model import DRef, RefPath, isdref
from plxnix.nix.graph import Node, Text, text
from plxnix.nix.paths import sanitise_name
from plxnix.realize.build import Build, build_path
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.toolchain import Toolchain

#: Tools that the exported builder needs, as attributes of nixpkgs.
TOOLS = ("unzip", "zstd")


class Unpack(Recipe):
    """The recipe behind `unpack`."""

    kind = "unpack-1"

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return a derivation that runs tar or unzip."""
        source = config["source"]
        forms = lowering.of(DRef(source[0]))
        if len(forms) != 1:
            raise InvalidValue(
                f"{config.dref} unpacks {source[0]}, of which {len(forms)} are selected",
                "unpack one archive at a time",
            )
        node = unpack_node(
            config.name,
            forms[0].at(source[1:]),
            source[-1],
            config.get("strip", 0),
            lowering.toolchain,
            str(config.dref),
        )
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Unpack with our own reader, which gives the tree that tar gives and cannot be misled."""
        from plxnix.builders import archive

        build = Build(job.store, job.dref, job.context)
        output = job.folder() / "out"
        archive.unpack(
            build_path(build, list(job.config["source"])), output, strip=job.config.get("strip", 0)
        )
        return Artifact(output, nix=job.nix(self.form(job)))


def unpack_node(
    name: str,
    source: Text,
    file_name: str,
    strip: int,
    toolchain: Toolchain,
    comment: str,
    keep: str = "",
) -> Node:
    """Return the derivation that unpacks the archive at `source`, which is called `file_name`.

    With `keep` the archive itself is put beside what it held, under that name.
    """
    command = unpack_command(file_name, '"$out"')
    if command.startswith("tar "):
        command += f" --strip-components={strip}"
    elif strip:
        raise InvalidValue(
            f"cannot strip {strip} levels from {file_name}", "zip has no such option"
        )
    environment = {"src": source}
    if keep:
        environment["keep"] = text(keep)
        command += '\ncp "$src" "$out/$keep"'
    return toolchain.command(name, text(f'mkdir "$out"\n{command}'), environment, TOOLS, comment)


def unpack_command(file_name: str, folder: str) -> str:
    """Return the command that unpacks `$src`, which is called `file_name`, into a folder."""
    if file_name.lower().endswith((".zip", ".whl", ".jar")):
        # -V: a name that ends like a version of VMS keeps its end. Names are UTF-8 in any locale.
        return f'LC_ALL=C.UTF-8 unzip -qV "$src" -d {folder}'
    # No owner and no umask of the archive's maker: Nix keeps the executable bit only.
    return f'tar --no-same-owner -xf "$src" -C {folder}'


@takes_registry
def unpack(
    source: Any = None,
    name: str | None = None,
    strip: int = 0,
    registry: Registry | None = None,
    refpath: Any = None,
    **fields: Any,
) -> DRef:
    """Register a stage that unpacks an archive, and return its reference.

    `source` (or `refpath`) is the refpath of a tar (plain, gz, bz2, xz, zst) or zip file in another
    stage, or a stage that holds one file, such as `fetchurl(..., mode="")`. The tree is the one
    that `tar -xf` or `unzip` makes; `strip` leading folders are dropped from names (tar only).

    Raises `InvalidRefpath`; while realizing `ArchiveError`, `HostileArchive`.
    """
    del registry
    path = _archive_path(refpath if source is None else source)
    config: dict[str, Any] = {**fields, FIELD: Unpack.kind, "source": path}
    config["name"] = sanitise_name(name or "unpack")
    if strip:
        config["strip"] = strip
    return mkdrv(Config(config), match_only(), Unpack())


def _archive_path(source: Any) -> list[str]:
    if isinstance(source, str) and isdref(source):
        from plxnix.realize.registry import find_registry

        known = find_registry().derivations.get(DRef(source))
        promises = known.config.promises if known is not None else ()
        if len(promises) == 1:
            return [source, *promises[0]]
        if known is not None and "unpack" in str(known.config.get("mode")):
            raise InvalidRefpath(
                f"{source} unpacks what it fetches: there is no archive in it",
                'leave out unpack, or fetch it with mode=""',
            )
    if isinstance(source, list) and len(source) > 1 and isdref(source[0]):
        return list(RefPath.make(source[0], source[1:]))
    raise InvalidRefpath(
        f"unpack does not know which file is meant by {source!r}",
        "give it a refpath, [dref, 'archive.tar.gz'], or a stage that promises one file",
    )
