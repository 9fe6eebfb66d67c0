"""Environments in tests: folders such as are built of wheels, made by hand."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SITE = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"

#: The interpreter that runs the tests, and not the link in a virtual environment.
PYTHON = os.path.realpath(sys.executable)


def make_tree(place: Path) -> Path:
    """Make an environment that has nothing in it and return its folder."""
    (place / "bin").mkdir(parents=True)
    (place / SITE).mkdir(parents=True)
    (place / "bin/python").symlink_to(PYTHON)
    (place / "bin/python3").symlink_to("python")
    (place / "pyvenv.cfg").write_text(
        f"home = {os.path.dirname(PYTHON)}\ninclude-system-site-packages = false\n"
    )
    return place


def install(
    tree: Path,
    name: str,
    files: Mapping[str, str | bytes],
    version: str = "1.0",
    headers: Sequence[str] = (),
) -> Path:
    """Put a distribution into an environment and return its `dist-info`; paths are in `SITE`."""
    info = f"{name}-{version}.dist-info"
    metadata = "\n".join(
        ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *headers]
    )
    rows = []
    for path, content in {**files, f"{info}/METADATA": metadata + "\n"}.items():
        data = content.encode() if isinstance(content, str) else content
        place = tree / SITE / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        if data.startswith(b"#!"):
            place.chmod(0o755)
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        rows.append(f"{path},sha256={digest},{len(data)}")
    rows.append(f"{info}/RECORD,,")
    (tree / SITE / info / "RECORD").write_text("\n".join(rows) + "\n")
    return tree / SITE / info


def library(
    needed: Sequence[str] = (), soname: str = "", rpath: str = "", machine: int = 62
) -> bytes:
    """Return a shared library that says what it needs and has no code."""
    strings = b"\0"
    entries = []
    for tag, text in [*((1, one) for one in needed), (14, soname), (29, rpath)]:
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    start = 64 + 2 * 56
    entries += [(5, start), (10, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    end = start + len(strings) + len(dynamic)
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    head = identity + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 4, 0, 0, 0, end, end, 4096)
    place = start + len(strings)
    linking = struct.pack("<IIQQQQQQ", 2, 4, place, place, place, len(dynamic), len(dynamic), 8)
    return head + load + linking + strings + dynamic
