"""What the fetching stages share: plxnix's fetch, or a program of the user's that downloads."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from plxnix.builders import archive
from plxnix.compat.pylightnix.build import build_outpath, build_wrapper
from plxnix.compat.pylightnix.configs import decode, encode
from plxnix.compat.pylightnix.derivations import mkdrv
from plxnix.compat.pylightnix.errors import refuse
from plxnix.compat.pylightnix.functions import legacy_realizer
from plxnix.compat.pylightnix.matching import match_only
from plxnix.compat.pylightnix.storage import fstmpdir, needed_registry
from plxnix.compat.pylightnix.types import Build, Config, DRef, Realizer, Registry
from plxnix.compat.pylightnix.values import selfref
from plxnix.errors import DownloadFailed, HashMismatch
from plxnix.nix.hashes import Hash
from plxnix.recipes.fetch import Fetch, fetch_config, given_hash
from plxnix.recipes.recipe import FIELD


def registered(
    url: str,
    file: str,
    hashes: dict[str, str | None],
    mode: str,
    name: str,
    fields: dict[str, Any],
    command: list[str],
    r: Registry | None,
    out: str = "out_path",
) -> DRef:
    """Register a fetch whose file is promised as `out` if it is not unpacked.

    With a `command`, that is run with the place of the file and the URL as further arguments.
    """
    registry = needed_registry(r)
    digest = given_hash(hashes)
    told = {key: value for key, value in hashes.items() if value is not None}
    kept = mode if "unpack" in mode else ""
    promised = {} if kept else {out: [selfref, file]}
    given = encode({**promised, **told, **fields})
    config = decode(fetch_config(file, [url], digest, kept, name, given).value())
    realizer: Realizer = legacy_realizer(Fetch(None))
    if command:
        del config[FIELD]  # It is a stage of the user's program, not a recipe.
        realizer = build_wrapper(lambda b: _download(b, url, file, digest, kept, command))
    return mkdrv(Config(config), match_only(), realizer, registry)


def _download(b: Build, url: str, file: str, digest: Hash, mode: str, command: list[str]) -> None:
    out = build_outpath(b)
    part = os.path.join(fstmpdir(b.S), file + ".tmp")
    done = subprocess.run([*command, part, url], check=False, cwd=os.path.dirname(part))
    if done.returncode or not os.path.isfile(part):
        refuse(f"{command[0]} exited with {done.returncode}", f"is {url} right?", DownloadFailed)
    found = Hash.of_file(part, digest.algorithm)
    if found != digest:
        refuse(f"{url} has the hash {found.sri}, not {digest.sri}", "", HashMismatch)
    if "unpack" in mode:
        unpack_into(part, out)
    if "unpack" in mode and "remove" in mode:
        os.unlink(part)
    else:
        os.rename(part, os.path.join(out, file))


def unpack_into(place: str, out: str) -> None:
    """Unpack an archive into a folder that is there."""
    inner = Path(out, f".{os.urandom(8).hex()}")
    archive.unpack(Path(place), inner)
    for entry in os.listdir(inner):
        os.rename(inner / entry, os.path.join(out, entry))
    inner.rmdir()
