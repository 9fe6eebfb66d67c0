"""The hash of a folder that is told file by file."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import NixFormatError
from plxnix.nix.nar import nar_hash
from plxnix.nix.nar_files import files_hash, nar_order

#: Names that sort otherwise than the paths with them do.
names = st.sampled_from([b"a", b"a-b", b"a.b", b"b", b"B", "é".encode(), b"12345678"])
paths = st.lists(names, min_size=1, max_size=4).map(b"/".join)
contents = st.tuples(st.booleans(), st.binary(max_size=40))


def without_clashes(files: dict[bytes, tuple[bool, bytes]]) -> dict[bytes, tuple[bool, bytes]]:
    """Leave out files in which others are."""
    return {
        path: one
        for path, one in files.items()
        if not any(other.startswith(path + b"/") for other in files)
    }


@given(st.dictionaries(paths, contents, max_size=12).map(without_clashes))
def test_as_on_disk(files: dict[bytes, tuple[bool, bytes]]) -> None:
    """The hash and size are those of the folder with these files."""
    with tempfile.TemporaryDirectory() as place:
        for path, (executable, data) in files.items():
            file = Path(place, path.decode())
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
            file.chmod(0o755 if executable else 0o644)
        told = ((path, *files[path]) for path in sorted(files, key=nar_order))
        assert files_hash(told) == nar_hash(place)


@pytest.mark.parametrize(
    "wrong", [[b"b", b"a"], [b"a", b"a"], [b"a", b"a/b"], [b"a.b", b"a/b"]], ids=str
)
def test_out_of_order(wrong: list[bytes]) -> None:
    """Files that come in another order than an archive has, or that cannot be, are an error."""
    with pytest.raises(NixFormatError, match="does not come after"):
        files_hash((path, False, b"") for path in wrong)
