"""What packages are taken from, in which order: wheels, sdists, or the package set of Nix."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from plxnix.errors import InvalidValue
from plxnix.pyenv.target import extra

__all__ = ["PROVIDERS", "Providers", "provider_orders"]

#: What a package may come from; `nixpkgs` is for Nix only and is skipped here.
PROVIDERS: Final = ("wheel", "sdist", "nixpkgs")

#: For a package, or for `_default`: what to take it from, in order; or the same with commas.
Providers = Mapping[str, "str | Sequence[str]"]


def provider_orders(providers: Providers, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Return for each name of `providers` its order, without what only Nix has."""
    canonical = extra("packaging.utils").canonicalize_name
    found = {}
    for name, order in providers.items():
        words = order.split(",") if isinstance(order, str) else list(order)
        words = [word.strip() for word in words]
        if not words or any(word not in PROVIDERS for word in words):
            raise InvalidValue(
                f"the providers of {name!r} are {order!r:.80}", f"there are {', '.join(PROVIDERS)}"
            )
        key = name if name == "_default" else canonical(name)
        if key != "_default" and key not in names:
            raise InvalidValue(f"providers name {name!r}, which the lock does not have")
        found[key] = tuple(word for word in words if word != "nixpkgs")
    return found
