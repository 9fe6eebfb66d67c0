"""The table of ours in a lock, `[tool.plxnix]`: its version, and the types of what it has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from plxnix.errors import InvalidLock, InvalidValue
from plxnix.nix.hashes import Hash
from plxnix.pyenv.distribution import AGAIN

__all__ = ["VERSION", "checked_table"]

#: The version of the table.
VERSION: Final = 1


def checked_table(ours: Any, where: str) -> Mapping[str, Any]:
    """Return our table, whose types are right; raise `InvalidLock` otherwise."""

    def demand(holds: bool, what: str) -> None:
        if not holds:
            raise InvalidLock(f"{where}: [tool.plxnix] {what}", AGAIN)

    demand(isinstance(ours, dict), "is not a table")
    if not ours:
        return {}
    version = ours.get("version")
    demand(type(version) is int and version >= 1, f"has {version!r:.80} as its version")
    if version > VERSION:
        raise InvalidLock(
            f"{where} has version {version} of [tool.plxnix]; known here is {VERSION}",
            "use the plxnix that made it, or a newer one",
        )
    for name in ("requested", "submodules"):
        given = ours.get(name, [])
        texts = isinstance(given, list) and all(isinstance(one, str) for one in given)
        demand(texts, f"{name} is not a list of names")
    for name in ("build", "sources", "inputs"):
        demand(isinstance(ours.get(name, {}), dict), f"{name} is not a table")
    demand("installer" not in ours or isinstance(ours["installer"], dict), "installer is no table")
    for name, tables in ours.get("build", {}).items():
        right = isinstance(tables, list) and all(isinstance(one, dict) for one in tables)
        demand(right, f"build.{name} is not a list of tables")
    for name, known in ours.get("sources", {}).items():
        try:
            Hash.parse(known, "sha256")
        except InvalidValue as error:
            demand(False, f"sources.{name}: {error.message}")
    return dict(ours)
