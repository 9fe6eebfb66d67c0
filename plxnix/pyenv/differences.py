"""How two locks differ: packages that came, went, and changed."""

from __future__ import annotations

from dataclasses import dataclass

from plxnix.pyenv.lock import EnvironmentLock

__all__ = ["Change", "differences"]


@dataclass(frozen=True)
class Change:
    """One package: its versions before and after, "" where it is not there.

    `kind`: `added`, `removed`, `changed` (the version), or `files` (the version is the same, but
    what is fetched is not). A package with several versions has them joined by commas.
    """

    name: str
    kind: str
    before: str
    after: str


def differences(before: EnvironmentLock, after: EnvironmentLock) -> list[Change]:
    """Return the changes from one lock to another, sorted by name; files are told by hash."""
    old, new = _packages(before), _packages(after)
    found = []
    for name in sorted(old.keys() | new.keys()):
        one, two = old.get(name), new.get(name)
        if one == two:
            continue
        if one is None or two is None:
            kind = "added" if one is None else "removed"
        else:
            kind = "files" if one[0] == two[0] else "changed"
        found.append(Change(name, kind, one[0] if one else "", two[0] if two else ""))
    return found


def _packages(lock: EnvironmentLock) -> dict[str, tuple[str, frozenset[str]]]:
    versions: dict[str, list[str]] = {}
    files: dict[str, set[str]] = {}
    for package in lock.pylock.packages:
        name = str(package.name)
        version = str(package.version or "")
        held = files.setdefault(name, set())
        for file in (package.sdist, package.archive, *(package.wheels or ())):
            if file is not None:
                held.update(file.hashes.values())
        if package.vcs is not None:
            version = f"{version} ({package.vcs.commit_id[:12]})".strip()
        held.add(str(lock.plxnix.get("sources", {}).get(name, "")))
        versions.setdefault(name, []).append(version)
    return {
        name: (", ".join(sorted(found)), frozenset(files[name])) for name, found in versions.items()
    }
