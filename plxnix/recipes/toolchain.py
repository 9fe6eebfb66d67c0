"""Toolchains: where an exported builder finds its shell and its tools.

`host` puts absolute paths of this machine into the derivation: for trying out, for clusters, and
for everything that is built natively without Nix. `nixpkgs` leaves them to the package set that the
exported expression is called with. `locked` takes them from a package set that was evaluated once,
so that paths are known here and nothing has to be evaluated again.
"""

from __future__ import annotations

import os
import platform
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from plxnix.errors import ExportError
from plxnix.nix.graph import FixedOutput, Node, Package, Reference, Text, text

#: What a command of a locked toolchain finds on its PATH beside its own tools, as under stdenv.
BASICS = (
    *("bash", "coreutils", "findutils", "diffutils", "gnused", "gnugrep", "gawk", "gnutar"),
    *("gzip", "bzip2", "xz"),
)


class Toolchain(ABC):
    """What recipes ask of a toolchain."""

    #: What it is called.
    name: ClassVar[str]

    @property
    def system(self) -> str:
        """Return Nix's name for the machines that it is for, such as `x86_64-linux`: this one."""
        return this_system()

    @abstractmethod
    def shell(self) -> Text:
        """Return the path of a bash."""

    @abstractmethod
    def path(self, tools: Sequence[str]) -> Text:
        """Return the value of PATH under which the basic tools and `tools` are found."""

    def command(
        self,
        name: str,
        script: Text,
        environment: Mapping[str, Text],
        tools: Sequence[str],
        comment: str,
    ) -> Node:
        """Return the derivation that runs a bash script with `tools` on PATH."""
        node = Node(name, self.system, self.shell(), env={**environment}, comment=comment)
        return self._running(node, script, tools)

    def refusing(self, name: str, message: str, fixed: FixedOutput, comment: str) -> Node:
        """Return a fixed output that Nix cannot make: its builder says what is to be done."""
        return Node(
            name,
            self.system,
            self.shell(),
            args=(text("-c"), text('printf "%s\\n" "$message" >&2; exit 1')),
            env={"message": text(message)},
            fixed=fixed,
            comment=comment,
        )

    def _running(self, node: Node, script: Text, tools: Sequence[str]) -> Node:
        """Give a shell its script: a plain derivation that says its PATH."""
        # Bash ends with a builtin: Nix 2.8 kills builders whose output closes before they do.
        return replace(
            node,
            args=(text("-c"), text("set -e\n", *script, "\n:\n")),
            env={"PATH": self.path(tools), **node.env},
        )


class Host(Toolchain):
    """The programs of this machine, under the paths that every Linux has."""

    name = "host"

    #: Where programs are looked for; the user's own PATH is not, since it would be in the result.
    folders = ("/usr/local/bin", "/usr/bin", "/bin")

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


class _Packages(Toolchain):
    """A toolchain made of packages."""

    def shell(self) -> Text:
        """Return the path of its bash."""
        return text(self.package("bash"), "/bin/bash")

    def path(self, tools: Sequence[str]) -> Text:
        """Return the `bin` folders of the packages and of the basic ones."""
        folders = [text(self.package(tool), "/bin") for tool in dict.fromkeys((*tools, *BASICS))]
        return text(*[part for folder in folders for part in (":", *folder)][1:])

    @abstractmethod
    def package(self, attribute: str) -> Reference:
        """Return a reference to a package."""


class Nixpkgs(_Packages):
    """The package set that the exported expression is called with; tools are its attributes."""

    name = "nixpkgs"

    def _running(self, node: Node, script: Text, tools: Sequence[str]) -> Node:
        """Make it a call of `runCommand`, which brings the standard environment along."""
        return replace(node, args=(script,), tools=tuple(map(Package, tools)))

    def package(self, attribute: str) -> Reference:
        """Return a reference to the package's default output."""
        return Reference(Package(attribute))


class Locked(_Packages):
    """A package set evaluated once: its packages' derivations are known by path and hash."""

    name = "locked"

    def __init__(self, packages: Mapping[str, Package], system: str) -> None:
        self._packages = packages
        self._system = system

    @property
    def system(self) -> str:
        """Return the system that the packages were evaluated for."""
        return self._system

    def package(self, attribute: str) -> Reference:
        """Return a reference to the package's default output; raise `ExportError` if unknown."""
        package = self._packages.get(attribute)
        if package is None:
            raise ExportError(
                f"the toolchain's lock has no package {attribute!r}",
                "export again where Nix and the package set are at hand: it is locked then",
            )
        return Reference(package, package.outputs[0][0])


def this_system() -> str:
    """Return Nix's name for this machine, such as `x86_64-linux`."""
    machine = platform.machine()
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine.lower(), machine)
    return f"{machine}-{platform.system().lower()}"


HOST: Toolchain = Host()
NIXPKGS: Toolchain = Nixpkgs()
