"""Files of a lock as stages: the fetches of `fetchurl` and `fetchlocal`, with a lock's own hint."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from plxnix.errors import HashMismatch
from plxnix.model import DRef
from plxnix.nix.hashes import Hash
from plxnix.pyenv.copies import located
from plxnix.pyenv.distribution import Distribution
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import mkdrv
from plxnix.realize.run import Artifact
from plxnix.recipes.fetch import Fetch, fetch_config
from plxnix.recipes.recipe import Job

__all__ = ["file_stage"]


class _LockedFile(Fetch):
    """The fetch of a file whose hash a lock has."""

    def make(self, job: Job) -> Artifact:
        """Make what `Fetch` makes; a wrong hash is told as a lock writes it."""
        try:
            return super().make(job)
        except HashMismatch as error:
            found = Hash.parse(error.found).hex
            raise HashMismatch(
                error.message,
                "`plxnix env update` locks what is there now; in the lock the new contents "
                f"would have sha256 = '{found}'",
                error.expected,
                error.found,
            ) from error


def file_stage(one: Distribution, folder: Path) -> DRef:
    """Register the fetch of a distribution that is a file, of a lock in `folder`.

    It is the stage that `fetchurl` or `fetchlocal` would be. Raises what these raise.
    """
    if one.url:
        url, recipe = one.url, _LockedFile()
    else:
        # Resolved, as `..` behind a link does not lead to where the link is.
        place = located(folder.resolve(), one.path, one.filename)
        url = "file://" + quote(os.path.abspath(place))
        recipe = _LockedFile("native")
    return mkdrv(fetch_config(one.filename, [url], one.sha256, ""), match_only(), recipe)
