"""Locked toolchains: packages of a package set, evaluated once and written down.

A lock holds for each attribute its `.drv` path, its outputs and its hash modulo, so that the paths
of everything built with it are computed without evaluating anything again. It belongs into version
control beside the export.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from plxnix.errors import ExportError
from plxnix.export.graph import ExportGraph
from plxnix.nix import tools
from plxnix.nix.graph import Package, Reference
from plxnix.nix.instantiated import hashes_modulo
from plxnix.nix.paths import split
from plxnix.nix.text import attribute, string
from plxnix.realize.registry import Closure
from plxnix.recipes.toolchain import BASICS, Locked, Nixpkgs, this_system

FORMAT = 1

#: What `pkgs` is where nothing else is said.
NIXPKGS = "import <nixpkgs> { }"


class _Wanted(Nixpkgs):
    """A toolchain that only notes which packages are asked for."""

    def __init__(self) -> None:
        self.attributes: set[str] = set()

    def package(self, attribute: str) -> Reference:
        self.attributes.add(attribute)
        return super().package(attribute)

    def command(self, *args: Any, **kwargs: Any) -> Any:
        node = super().command(*args, **kwargs)
        self.attributes.update(tool.attribute for tool in node.tools or ())
        return node


def wanted_packages(closure: Closure) -> list[str]:
    """Return the attributes that the stages of a closure need, with the basic ones, sorted."""
    wanted = _Wanted()
    wanted.attributes.update(BASICS)
    ExportGraph(closure, wanted)
    return sorted(wanted.attributes)


def locked_toolchain(path: Path, closure: Closure, nixpkgs: str | None) -> tuple[Locked, str]:
    """Return the toolchain of the lock at `path`, and the lock's text with what was missing.

    What the closure needs and the lock does not have is evaluated by Nix from the expression
    `nixpkgs` (default: the lock's own, else `<nixpkgs>`). The caller writes the text. Raises
    `ExportError` for a damaged lock or another package set than the lock's; `ToolMissing`,
    `ToolFailed`.
    """
    lock = _read(path)
    if nixpkgs is not None and lock["packages"] and nixpkgs != lock["nixpkgs"]:
        raise ExportError(
            f"{path} was made from {lock['nixpkgs']!r}, not from {nixpkgs!r}",
            f"remove {path} to lock everything anew",
        )
    expression = lock["nixpkgs"] = nixpkgs or lock["nixpkgs"]
    missing = [name for name in wanted_packages(closure) if name not in lock["packages"]]
    if missing:
        lock["packages"].update(evaluate(missing, expression))
    packages = {name: _package(name, value, path) for name, value in lock["packages"].items()}
    return Locked(packages, lock["system"]), json.dumps(lock, indent=2, sort_keys=True) + "\n"


def evaluate(attributes: Iterable[str], nixpkgs: str) -> dict[str, Any]:
    """Evaluate packages with Nix and return what a lock says of each.

    Their derivations are in the Nix store afterwards. Cost: one evaluation, and one read of each
    derivation below the packages.
    """
    wanted = {name: ".".join(map(attribute, name.split("."))) for name in attributes}
    found = tools.run(
        *("nix-instantiate", "--eval", "--strict", "--json", "--read-write-mode", "--expr"),
        "let pkgs = " + nixpkgs + ";\n"
        "  show = package: {\n"
        "    drv = builtins.unsafeDiscardStringContext package.drvPath;\n"
        "    outputs = map (name: {\n"
        "      inherit name;\n"
        "      path = builtins.unsafeDiscardStringContext package.${name}.outPath;\n"
        '    }) (package.outputs or [ "out" ]);\n'
        "  };\n"
        "in {\n"
        + "".join(f"  {string(name)} = show pkgs.{path};\n" for name, path in wanted.items())
        + "}",
    )
    packages: dict[str, Any] = json.loads(found)
    hashes = hashes_modulo([package["drv"] for package in packages.values()])
    for package in packages.values():
        package["modulo"] = hashes[package["drv"]]
    return packages


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"version": FORMAT, "system": this_system(), "nixpkgs": NIXPKGS, "packages": {}}
    try:
        lock = json.loads(path.read_bytes())
        version = lock["version"]
        if version == FORMAT and isinstance(lock["packages"], dict):
            return {key: lock[key] for key in ("version", "system", "nixpkgs", "packages")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"the lock {path} is damaged: {error!r}", f"remove {path} to lock everything anew"
        ) from None
    raise ExportError(
        f"the lock {path} has version {version!r}; this plxnix knows {FORMAT}",
        "use the plxnix that wrote it, or remove it to lock everything anew",
    )


def _package(name: str, value: Mapping[str, Any], path: Path) -> Package:
    try:
        outputs = tuple((str(one["name"]), str(one["path"])) for one in value["outputs"])
        for store_path in (value["drv"], *(place for _, place in outputs)):
            split(store_path)
        int(value["modulo"], 16)
        if len(value["modulo"]) != 64 or not outputs:
            raise ValueError("its hash or its outputs are missing")
        return Package(name, value["drv"], outputs, value["modulo"])
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(
            f"the lock {path} is damaged at {name!r}: {error}",
            f"remove {path} to lock everything anew",
        ) from None
