"""Derivations that Nix has instantiated: their hashes modulo, read from the Nix store."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from plxnix.errors import NixFormatError, ToolFailed
from plxnix.nix.aterm import parse
from plxnix.nix.derivation import Derivation, Hasher
from plxnix.nix.paths import split
from plxnix.ordering import dependencies_first


class _Known:
    """What has been read in this process; `.drv` files never change."""

    def __init__(self) -> None:
        self.hasher = Hasher()
        self.paths: set[str] = set()


@cache
def _known() -> _Known:
    return _Known()


def hashes_modulo(paths: Iterable[str]) -> dict[str, str]:
    """Return the hashes modulo, in hex, of `.drv` files that are in the Nix store; iterative.

    Cost: one read of each derivation below them, once a process. Raises `ToolFailed` if one is not
    there, `NixFormatError` if it is none.
    """
    wanted = list(paths)
    known = _known()
    parsed: dict[str, Derivation] = {}

    def below(path: str) -> list[str]:
        parsed[path] = _read(path)
        return [one for one in parsed[path].input_derivations if one not in known.paths]

    new = [path for path in wanted if path not in known.paths]
    for path in dependencies_first(new, below, _circle):
        known.hasher.add(parsed.pop(path))
        known.paths.add(path)
    return {path: known.hasher.modulo_of(path) for path in wanted}


def _circle(paths: list[str]) -> NixFormatError:
    return NixFormatError(f"{paths[0]} depends on itself", "no Nix has written this")


def _read(path: str) -> Derivation:
    name = split(path)[1].removesuffix(".drv")
    try:
        return parse(Path(path).read_bytes(), name)
    except OSError as error:
        raise ToolFailed(
            f"the derivation {path} cannot be read: {error.strerror}",
            "is the Nix store another machine's, or was garbage collected meanwhile?",
        ) from error
