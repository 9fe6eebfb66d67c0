"""Toolchains: where an exported builder finds its shell and its tools.

`host` puts absolute paths of this machine into the derivation: for trying out, for clusters, and
for everything that is built natively without Nix.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from typing import Protocol

from plxnix.nix.graph import Text, text


class Toolchain(Protocol):
    """What recipes ask of a toolchain."""

    @property
    def name(self) -> str:
        """Return what the toolchain is called."""

    @property
    def system(self) -> str:
        """Return Nix's name for the machines that it is for, such as `x86_64-linux`."""

    def shell(self) -> Text:
        """Return the path of a bash."""

    def path(self, tools: Sequence[str]) -> Text:
        """Return the value of PATH under which the basic tools and `tools` are found."""


class Host:
    """The programs of this machine, under the paths that every Linux has."""

    name = "host"

    #: Where programs are looked for; the user's own PATH is not, since it would be in the result.
    folders = ("/usr/local/bin", "/usr/bin", "/bin")

    @property
    def system(self) -> str:
        """Return Nix's name for this machine, such as `x86_64-linux`."""
        machine = platform.machine()
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine)
        return f"{machine}-{platform.system().lower()}"

    def shell(self) -> Text:
        """Return the path of this machine's bash, or of its sh if it has none."""
        for shell in ("/bin/bash", "/usr/bin/bash", "/usr/local/bin/bash"):
            if os.path.exists(shell):
                return text(shell)
        return text("/bin/sh")

    def path(self, tools: Sequence[str]) -> Text:
        """Return the usual folders; `tools` are expected to be installed there."""
        del tools
        return text(":".join(self.folders))


HOST: Toolchain = Host()
