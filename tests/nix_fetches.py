"""What tests of fetches with Nix share: files in its store, and an archive of a small tree."""

from __future__ import annotations

import tempfile
from pathlib import Path

from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from tests.archive_trees import file, folder, tar_bytes


def add_to_nix(place: Path, data: bytes, name: str) -> Path:
    """Put a file into the Nix store, as `nix-store` does it; it stays at `place` too."""
    source = place / "given"
    source.write_bytes(data)
    return Path(tools.add_fixed(source, "sha256", name=name))


def tree_archive(data: bytes) -> tuple[bytes, Hash]:
    """Return an archive of the folder `top`, which has the file `data`, and the folder's hash."""
    with tempfile.TemporaryDirectory() as place:
        Path(place, "data").write_bytes(data)
        return tar_bytes(folder("top"), file("top/data", data)), nar_hash(place)[0]
