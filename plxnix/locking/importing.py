"""Taking over what other programs have locked: npins, nvfetcher, flakes, and other locks of ours.

Nothing is downloaded. What has no URL and hash that say the same as a fetch of ours, such as a
checkout by git, is not taken, and the reason is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plxnix.builders.archive import is_archive
from plxnix.errors import InvalidValue
from plxnix.locking.document import parse_json
from plxnix.locking.source import LockedSource, check_key
from plxnix.nix.hashes import Hash

NPINS_VERSIONS = range(3, 9)


@dataclass(frozen=True)
class Offer:
    """What a file has under a name: a source, or else the reason why it cannot be one."""

    name: str
    source: LockedSource | None
    reason: str = ""


def read_foreign(path: Path) -> list[Offer]:
    """Return what a file of another program, or another lock, has; in the order of names.

    Which program's it is shows in its contents. Raises `InvalidValue` if it is none of them, or
    of a version that is not known, and `OSError`.
    """
    value = parse_json(path.read_bytes(), str(path))
    read, entries = _reader(value, path)
    return [_offer(name, entry, read) for name, entry in sorted(entries.items())]


class _Untaken(Exception):
    """An entry cannot be taken; the text says why."""


def _offer(name: str, entry: Any, read: Callable[[str, Any], LockedSource]) -> Offer:
    try:
        check_key(name)
        if not isinstance(entry, dict):
            raise _Untaken("it is no object")
        source = read(name, entry)
        source.check(name)
    except _Untaken as reason:
        return Offer(name, None, str(reason))
    except InvalidValue as error:
        return Offer(name, None, error.message)
    return Offer(name, source)


def _reader(
    value: dict[str, Any], path: Path
) -> tuple[Callable[[str, Any], LockedSource], dict[str, Any]]:
    version = value.get("version")
    if isinstance(value.get("pins"), dict):
        _check_version("npins", version, NPINS_VERSIONS, path)
        return _npins, value["pins"]
    if isinstance(value.get("nodes"), dict) and isinstance(value.get("root"), str):
        _check_version("flake", version, range(5, 8), path)
        nodes = dict(value["nodes"])
        nodes.pop(value["root"], None)
        return _flake, nodes
    if version == 1 and type(version) is int and isinstance(value.get("sources"), dict):
        return LockedSource.parse, value["sources"]
    if value and all(isinstance(one, dict) and "src" in one for one in value.values()):
        return _nvfetcher, value
    raise InvalidValue(
        f"{path} is no file of npins, nvfetcher or flakes, and no lock with sources",
        "name npins/sources.json, _sources/generated.json, flake.lock or plxnix.lock.json",
    )


def _check_version(program: str, version: Any, known: range, path: Path) -> None:
    if type(version) is not int or version not in known:
        raise InvalidValue(
            f"{path} has the {program} version {version!r:.100}",
            f"known are {known[0]} to {known[-1]}",
        )


# -- npins -----------------------------------------------------------------------------------------


def _npins(name: str, pin: dict[str, Any]) -> LockedSource:
    del name
    kind = pin.get("type")
    url, written = pin.get("locked_url") or pin.get("url"), pin.get("hash")
    if kind not in ("Git", "GitRelease", "GitHub", "Channel", "Url", "Tarball", "PyPi"):
        raise _Untaken(f"a pin of the type {_shown(kind)} is no fetch")
    if pin.get("submodules"):
        raise _Untaken("it has submodules, which an archive has not")
    if not isinstance(url, str):
        raise _Untaken("it is a checkout by git: no URL of an archive")
    if not isinstance(written, str):
        raise _Untaken("it has no hash: `npins update` writes one")
    # npins gives these two to fetchurl, and all others to fetchTarball.
    flat = kind == "PyPi" or (kind == "Url" and not is_archive(url.partition("?")[0]))
    return LockedSource(
        url=url,
        hash=Hash.parse(written, None if "-" in written else "sha256"),
        unpack=not flat,
        frozen=pin.get("frozen") is True,
    )


# -- nvfetcher -------------------------------------------------------------------------------------


def _nvfetcher(name: str, entry: dict[str, Any]) -> LockedSource:
    del name
    src = entry["src"]
    if not isinstance(src, dict):
        raise _Untaken("its src is no object")
    kind, written = src.get("type"), src.get("sha256")
    if not isinstance(written, str):
        raise _Untaken("it has no sha256")
    if kind == "github" and not any(
        src.get(flag) for flag in ("deepClone", "fetchSubmodules", "leaveDotGit", "sparseCheckout")
    ):
        url, unpack = _github(src), True
    elif kind in ("url", "tarball"):
        url, unpack = _text(src, "url"), kind == "tarball"
    else:
        raise _Untaken(f"a source of the type {_shown(kind)} is a checkout, or no fetch of ours")
    given = src.get("name") if kind == "url" else None
    return LockedSource(
        url=url,
        hash=Hash.parse(written, "sha256"),
        given_name=given if isinstance(given, str) else "",
        unpack=unpack,
        frozen=entry.get("pinned") is True,
    )


# -- flakes ----------------------------------------------------------------------------------------


def _flake(name: str, node: dict[str, Any]) -> LockedSource:
    del name
    locked = node.get("locked")
    if not isinstance(locked, dict):
        raise _Untaken("it is not locked")
    kind = locked.get("type")
    if kind == "github":
        url = _github(locked)
    elif kind == "gitlab":
        project = quote(f"{_text(locked, 'owner')}/{_text(locked, 'repo')}", safe="")
        host = _host(locked, "gitlab.com")
        url = (
            f"https://{host}/api/v4/projects/{project}/repository/archive.tar.gz?sha={_rev(locked)}"
        )
    elif kind == "sourcehut":
        owner, repo = _word(locked, "owner"), _word(locked, "repo")
        url = f"https://{_host(locked, 'git.sr.ht')}/{owner}/{repo}/archive/{_rev(locked)}.tar.gz"
    elif kind == "tarball":
        url = _text(locked, "url")
    else:
        raise _Untaken(f"an input of the type {_shown(kind)} is no archive")
    return LockedSource(url=url, hash=Hash.parse(_text(locked, "narHash"), "sha256"), unpack=True)


# -- parts -----------------------------------------------------------------------------------------


def _github(value: dict[str, Any]) -> str:
    owner, repo = _word(value, "owner"), _word(value, "repo")
    return f"https://{_host(value, 'github.com')}/{owner}/{repo}/archive/{_rev(value)}.tar.gz"


def _host(value: dict[str, Any], default: str) -> str:
    return quote(_text(value, "host"), safe=".:-") if "host" in value else default


def _rev(value: dict[str, Any]) -> str:
    return quote(_text(value, "rev"), safe="/")


def _word(value: dict[str, Any], field: str) -> str:
    return quote(_text(value, field), safe="~")


def _text(value: dict[str, Any], field: str) -> str:
    found = value.get(field)
    if not isinstance(found, str) or not found:
        raise _Untaken(f"it has no {field}")
    return found


def _shown(kind: Any) -> str:
    return f"{kind!r:.40}"
