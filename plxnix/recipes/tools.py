"""Tools: what stages name as `tools=[...]`, attributes of nixpkgs, and the programs that these are.

In Nix they are packages. Natively their programs are expected on this machine, so before a builder
runs it is looked whether they are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from plxnix.errors import BuildFailed, InvalidValue, ToolMissing
from plxnix.recipes.toolchain import Host

#: What names a package of nixpkgs, or one of a set in it.
_ATTRIBUTE = re.compile(r"\w[\w'+-]*(\.\w[\w'+-]*)*", re.ASCII)

#: Packages by a program that each has. Of others it is not known what their programs are called.
_PROGRAMS = {
    "binutils": "ld",
    "coreutils": "ls",
    "diffutils": "diff",
    "findutils": "find",
    "gawk": "awk",
    "gnugrep": "grep",
    "gnumake": "make",
    "gnupatch": "patch",
    "gnused": "sed",
    "gnutar": "tar",
    "graphviz": "dot",
    "imagemagick": "convert",
    "nodejs": "node",
    "openssh": "ssh",
    "ripgrep": "rg",
    **{name: name for name in ("bash", "bzip2", "cmake", "curl", "ffmpeg", "file", "gcc", "git")},
    **{name: name for name in ("gzip", "jq", "pandoc", "patch", "perl", "pkg-config", "python3")},
    **{name: name for name in ("rsync", "ruby", "unzip", "wget", "which", "xz", "zip", "zstd")},
}


def check_names(tools: Iterable[object]) -> None:
    """Raise `InvalidValue` for what cannot be the name of a package."""
    for tool in tools:
        if not isinstance(tool, str) or not _ATTRIBUTE.fullmatch(tool):
            raise InvalidValue(
                f"{tool!r:.80} is no tool",
                "name attributes of nixpkgs, such as gnumake or python3Packages.black",
            )


@contextmanager
def present(tools: Iterable[str], dref: str) -> Iterator[None]:
    """Look for the programs of tools before the builder of a stage runs in the block.

    Raises `ToolMissing` for a tool that is not there. Of packages of which it is not known what
    programs they have, those without one of their own name are told if the builder fails.
    """
    missing = [tool for tool in tools if not _is_here(_PROGRAMS.get(tool, tool))]
    places = ", ".join(Host.folders)
    for tool in missing:
        if tool in _PROGRAMS:
            raise ToolMissing(
                f"{dref} needs the tool {tool}, but there is no {_PROGRAMS[tool]} in {places}",
                "install it, or let Nix build the stage: `plxnix export`",
            )
    try:
        yield
    except BuildFailed as error:
        if missing:
            names = " or ".join(missing)
            error.hint += f"; {places} have no program {names}, which it names as tools"
        raise


def _is_here(program: str) -> bool:
    return any(os.access(f"{folder}/{program}", os.X_OK) for folder in Host.folders)
