"""The wheels of a release that do not fit: which there are, and what messages say of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from plxnix.errors import PlxnixError
from plxnix.pyenv.target import Target, extra

if TYPE_CHECKING:
    from packaging.pylock import Package

__all__ = ["released_wheels", "told_wheels"]

#: How many tags a message lists.
_SHOWN: Final = 8

_TAGS: Final = re.compile(r"\w[\w.]*-\w[\w.]*-\w[\w.]*", re.ASCII)


def told_wheels(filenames: Iterable[str], target: Target) -> str:
    """Return what a message says of wheels: their tags, those of use first; "" of none."""
    names = [name.removesuffix(".whl") for name in filenames]
    if not names:
        return ""
    python = "cp{}{}".format(*target.version)
    tags = sorted({"-".join(name.split("-")[-3:]) for name in names})
    tags.sort(key=lambda tag: (not tag.startswith(python), target.machine not in tag))
    more = f" and {len(tags) - _SHOWN} more" if len(tags) > _SHOWN else ""
    return f"; there are wheels with the tags {', '.join(tags[:_SHOWN])}{more}"


def released_wheels(packages: Iterable[Package], name: str, target: Target) -> list[str]:
    """Return the wheels of a package's release if its lock has the sdist alone, and none fits.

    The user's index is asked, once in a process for each package. If nobody answers, or it is not
    the index that the sdist is from, as the hash tells, there are none.
    """
    sdists = [one for one in packages if one.name == name and one.sdist and not one.wheels]
    return _released(sdists[0], target) if sdists else []


def _released(package: Package, target: Target) -> list[str]:
    from plxnix.builders.package_index import configured_index, files, same_version

    if package.version is None or package.sdist is None:
        return []
    if os.environ.get("UV_OFFLINE", "") not in ("", "0", "false"):
        return []
    sha256, version = package.sdist.hashes.get("sha256", ""), str(package.version)
    try:
        found = files(configured_index(), package.name)
    except (PlxnixError, OSError):
        return []
    if all(one.hashes.get("sha256") != sha256 for one in found):
        return []
    wheels = [
        one
        for one in found
        if one.tags and _TAGS.fullmatch(one.tags) and same_version(one.version, version)
    ]
    fitting = set(target.tags())
    parse = extra("packaging.tags").parse_tag
    # One may fit all the same, where settings of uv keep it out.
    if any(fitting & parse(one.tags) for one in wheels):
        return []
    return [one.filename for one in wheels]
