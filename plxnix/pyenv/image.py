"""Images of environments: which files are in one, and what it runs; see `oci.py` for the bytes."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from plxnix.errors import InvalidValue
from plxnix.pyenv.elf import MACHINES
from plxnix.pyenv.installed import interpreter, site_packages
from plxnix.pyenv.layer import Entry, Layer, read_archive, resolve
from plxnix.pyenv.libraries import Missing, System, scan
from plxnix.pyenv.oci import ImageWriter

#: Where the environment is in the image.
PLACE = "/env"

#: Programs that the environment's scripts are run by, and those that people expect.
PROGRAMS = ("/bin/sh", "/usr/bin/dirname", "/usr/bin/realpath", "/usr/bin/env")

#: Libraries that others load by name while they run.
LOADED_LATER = ("libgcc_s.so.1", "libnss_dns.so.2", "libnss_files.so.2")

_FILES = {
    "/etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "/etc/nsswitch.conf": "hosts: files dns\n",
    "/etc/passwd": (
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n"
    ),
}
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?:[A-Za-z0-9.-]+(?::\d+)?/)?{_PART}(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?"
)

#: Parts of the standard library that need more than an image has, or that nothing imports.
_LEFT_OUT = re.compile(
    r"__pycache__|test|tests|idlelib|turtledemo|site-packages|dist-packages|config-3.*|.*\.a"
)

_ASK = """
import json, sysconfig
print(json.dumps([sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]))
"""

#: Data of this machine that an image may have, and how an interpreter tells where it looks for it.
DATA = {
    "certificates": """
import json, ssl
paths = ssl.get_default_verify_paths()
print(json.dumps([paths.openssl_cafile, paths.openssl_capath]))
""",
    "zones": "import json, zoneinfo; print(json.dumps(zoneinfo.TZPATH))",
}


@dataclass(frozen=True)
class Image:
    """An image that was written: its name, the digest of its manifest, and its size in bytes.

    `missing` are libraries that the environment needs and that were not found, so that the image
    does not have them.
    """

    name: str
    digest: str
    size: int
    layers: tuple[str, ...]
    missing: tuple[Missing, ...]


def write_image(
    tree: str | os.PathLike[str],
    output: str | os.PathLike[str],
    name: str = "environment:latest",
    base: str | os.PathLike[str] | None = None,
    entrypoint: Sequence[str] = ("python",),
    labels: Mapping[str, str] | None = None,
    data: Collection[str] = (),
) -> Image:
    """Write an image that has an environment at `/env`, with its interpreter, and nothing else.

    `data`: what of `DATA` it has besides, as this machine has it, where the interpreter looks.
    `base` is a root file system below it all: a folder, or a tar archive (gz, bz2, xz). If it has
    the environment's interpreter at the same path, that is used, with the libraries of the base.
    The first word of `entrypoint` may be a program of the environment. The same files give the same
    bytes. The file appears at once, whole. Raises `InvalidValue`, `OSError`. Cost: each file is
    read twice, and as much disk is used beside `output` as the image takes, for a while.
    """
    place = os.path.abspath(os.fspath(tree))
    site_packages(place)
    python = interpreter(place)
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            f"{name!r} is no name of an image", "use small letters: `name`, or `group/name:tag`"
        )
    command = _command(place, entrypoint)
    target = os.path.abspath(os.fspath(output))
    system = System()
    files, missing = scan(place, system, os.path.realpath(python))
    elf = system.elf(os.path.realpath(python))
    architecture = MACHINES.get(elf.machine if elf else 0, ("", ""))[1]
    if elf is None or not architecture:
        raise InvalidValue(f"{python!r} is no program for a known machine", "is it a script?")
    environment = Layer()
    environment.copy(place, PLACE)
    with tempfile.TemporaryDirectory(prefix=".image-", dir=os.path.dirname(target)) as work:
        writer = ImageWriter(work)
        below = _base(writer, os.fspath(base)) if base is not None else {}
        known = resolve(below, os.path.realpath(python))
        folders: list[str] = []
        if known is None or known.kind != "file":
            own = Layer()
            found = _interpreter(own, python, [f"{place}/{path}" for path in files], system)
            folders = system.unusual(found, elf.machine)
            if not below:
                _surroundings(own)
            _refuse_conflicts(own, below)
            writer.layer(own, f"the interpreter {os.path.realpath(python)}")
        if data:
            more = Layer()
            for kind in sorted(data):
                _data(more, python, kind)
            _refuse_conflicts(more, below)
            writer.layer(more, f"{' and '.join(sorted(data))} of this machine")
        writer.layer(environment, "the environment")
        labels = {"org.opencontainers.image.title": name.split(":")[0], **(labels or {})}
        digest = writer.finish(name, architecture, _config(command, folders, labels))
        writer.archive(f"{work}/image.tar")
        size = os.path.getsize(f"{work}/image.tar")
        os.replace(f"{work}/image.tar", target)
    return Image(name, digest, size, tuple(writer.digests), tuple(missing))


def _config(
    command: Sequence[str], folders: Sequence[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    """Return what an image runs; `folders` are those of libraries that are not found otherwise."""
    variables = ["LANG=C.UTF-8", f"PATH={PLACE}/bin:/usr/local/bin:/usr/bin:/bin"]
    if folders:
        variables.append(f"LD_LIBRARY_PATH={':'.join(folders)}")
    return {"Entrypoint": command, "Env": variables, "Labels": labels, "WorkingDir": "/"}


def _command(tree: str, words: Sequence[str]) -> list[str]:
    if not words:
        raise InvalidValue("the entry point is empty", "name a program of the environment")
    first, *others = words
    if "/" in first:
        return [first, *others]
    if not os.path.lexists(f"{tree}/bin/{first}"):
        raise InvalidValue(
            f"the environment has no program {first!r}",
            "name one in its `bin`, or give a whole path in the image",
        )
    return [f"{PLACE}/bin/{first}", *others]


# -- layers ----------------------------------------------------------------------------------------


def _interpreter(layer: Layer, python: str, libraries: Sequence[str], system: System) -> list[str]:
    """Add the interpreter, its library and what they and the environment need; return libraries."""
    folders = _asked(python, _ASK)
    layer.add(os.readlink(python) if os.path.islink(python) else python)
    programs = [os.path.realpath(python)]
    for folder in dict.fromkeys(folders):
        layer.add_folder(folder, lambda name: _LEFT_OUT.fullmatch(name) is not None)
    for program in PROGRAMS:
        if os.path.exists(program):
            programs.append(layer.add(program))
    modules = [path for path in layer.entries if path.endswith(".so")]
    found, _ = system.closure([*programs, *modules, *libraries])
    elf = system.elf(programs[0])
    if elf is not None:
        later = [system.find(library, elf, "/") for library in LOADED_LATER]
        found += system.closure([one for one in later if one])[0] + [one for one in later if one]
    tree = os.path.dirname(os.path.dirname(python))
    found = [path for path in dict.fromkeys(found) if not path.startswith(f"{tree}/")]
    for path in found:
        layer.add(path)
    return found


def _asked(python: str, program: str) -> list[str]:
    asked = subprocess.run(
        [python, "-I", "-S", "-B", "-c", program], capture_output=True, check=False, timeout=60
    )
    try:
        paths: list[str] = json.loads(asked.stdout)
    except ValueError:
        said = asked.stderr.decode(errors="replace").strip()
        raise InvalidValue(f"the interpreter {python!r} does not run: {said}", "") from None
    return paths


def _data(layer: Layer, python: str, kind: str) -> None:
    """Add data of this machine; raise `InvalidValue` if it has none."""
    places = _asked(python, DATA[kind])
    found = [place for place in places if os.path.exists(place)]
    if not found:
        raise InvalidValue(
            f"this machine has no {kind} in {', '.join(places)}",
            "install them (`ca-certificates`, `tzdata`), or leave them out",
        )
    for place in found:
        if os.path.isdir(place):
            layer.add_folder(place)
        else:
            layer.add(place)


def _surroundings(layer: Layer) -> None:
    for path, text in _FILES.items():
        layer.file(path, text)
    layer.folder("/root")
    layer.folder("/tmp", 0o1777)


def _refuse_conflicts(layer: Layer, below: Mapping[str, Entry]) -> None:
    for path, entry in layer.entries.items():
        other = below.get(path)
        if other is not None and {entry.kind, other.kind} == {"link", "folder"}:
            raise InvalidValue(
                f"the base has a {other.kind} at {path}, this machine a {entry.kind}, so what is "
                "of this machine does not fit on it",
                "use a base of the same distribution, or one that has it all",
            )


def _base(writer: ImageWriter, base: str) -> dict[str, Entry]:
    if os.path.isdir(base):
        layer = Layer()
        layer.copy(os.path.abspath(base), exact=True)
        writer.layer(layer, "the base")
        return layer.entries
    with _decompressed(base) as stream, open(writer.new(), "wb") as file:
        try:
            shutil.copyfileobj(stream, file, 1 << 20)
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise InvalidValue(f"the base {base!r} is damaged: {error}", "fetch it again") from None
    with open(file.name, "rb") as written:
        entries = read_archive(written, base)
    writer.add(file.name, "the base")
    return entries


def _decompressed(path: str) -> BinaryIO:
    with open(path, "rb") as file:
        magic = file.read(6)
    opener: Any = open
    for start, known in ((b"\x1f\x8b", gzip.open), (b"BZh", bz2.open), (b"\xfd7zXZ", lzma.open)):
        if magic.startswith(start):
            opener = known
    stream: BinaryIO = opener(path, "rb")
    return stream
