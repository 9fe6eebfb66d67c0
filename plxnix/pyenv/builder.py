"""Build an environment of Python packages out of wheels: one folder, which may be moved and copied.

    python -I -B builder.py SPEC.json

This file is alone: it is run by plxnix and by Nix, by the interpreter that the environment is for,
with nothing but the standard library and PyPA's `installer`, which reads the wheels. Variables:
`out` is the folder to make; `installer` the wheel of `installer`, unless that can be imported;
`python` the program that `bin/python` links to; `wheel0`, `wheel1`, ... the wheels. SPEC.json is

    {"version": "3.11", "collisions": ["etc/*"], "wheels": [
        {"filename": "six-1.17.0-py2.py3-none-any.whl", "direct_url": {...}}]}

`filename` is the wheel's own name, which its place in a store is not; if that place is a folder, it
holds a wheel under its own name. A `path` beside it stands for the variable. `direct_url` (PEP 610)
is written where it is given. `collisions` are patterns of paths in the environment of which the
first wheel has its way. The bytes that are made depend on nothing else: not on `out`, nor on the
time, the machine, or how many processes unpack.

What is wrong with a wheel ends it with status 1 and one line for each fault.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import io
import json
import mmap
import os
import posixpath
import re
import stat
import struct
import sys
import zipfile
import zlib
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    #: A function and its arguments.
    Job = tuple[Callable[..., None], tuple[Any, ...]]

#: Hashes that say something of a file (the specification of RECORD); others prove nothing.
HASHES = ("sha256", "sha384", "sha512")

#: A program of two languages: the shell finds the interpreter beside it, wherever it is, links
#: followed, and that takes what the shell did for a string.
SHEBANG = (
    "#!/bin/sh\n"
    '\'\'\'exec\' "$(dirname -- "$(realpath -- "$0")")"/\'python\' "$0" "$@"\n'
    "' '''\n"
)
SCRIPT = """\
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.argv[0] = sys.argv[0][:-4] if sys.argv[0].endswith(".exe") else sys.argv[0]
    sys.exit({attributes}())
"""

#: How many faults are printed, and how many processes unpack at most.
SHOWN, PROCESSES = 12, 16

#: Files beside RECORD that it does not mention, as they sign it.
SIGNATURES = ("RECORD.jws", "RECORD.p7s")


class Refused(Exception):
    """What a wheel or the spec is refused for: one line a fault."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Entry:
    """A file of the environment: the member of a wheel, or bytes made here."""

    __slots__ = ("data", "executable", "hash", "member", "size", "target", "wheel")

    def __init__(
        self,
        wheel: str,
        target: str,
        digest: str,
        size: int,
        executable: bool = False,
        member: zipfile.ZipInfo | None = None,
        data: bytes = b"",
    ) -> None:
        self.wheel = wheel
        self.target = target
        self.hash = digest
        self.size = size
        self.executable = executable
        self.member = member
        self.data = data

    @property
    def name(self) -> str:
        """The name of the member."""
        return "" if self.member is None else self.member.filename

    @classmethod
    def made(cls, wheel: str, target: str, data: bytes, executable: bool = False) -> Entry:
        """Return an entry of bytes."""
        return cls(wheel, target, digest_of("sha256", data), len(data), executable, None, data)


def is_program(member: zipfile.ZipInfo | None) -> bool:
    """Tell whether a member is to be executable."""
    mode = 0 if member is None else member.external_attr >> 16
    return bool(stat.S_ISREG(mode) and mode & 0o111)


def digest_of(algorithm: str, data: bytes) -> str:
    """Return the hash of bytes as RECORD has it."""
    found = getattr(hashlib, algorithm)(data).digest()
    return algorithm + "=" + urlsafe_b64encode(found).decode("ascii").rstrip("=")


class Wheel:
    """A wheel that is open, and where its files go in an environment."""

    def __init__(self, path: str, filename: str, version: str) -> None:
        self.filename = filename
        self.faults: list[str] = []
        self._packages = "lib/python" + version + "/site-packages"
        self._headers = "include/site/python" + version
        self._file = open(path, "rb")  # noqa: SIM115  # it stays open while it is unpacked
        try:
            self._zip = zipfile.ZipFile(self._file)
            self._bytes = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        except (zipfile.BadZipFile, ValueError) as error:
            raise Refused([filename + " is no wheel: " + str(error)]) from None
        self.size = len(self._bytes)

    # -- reading -------------------------------------------------------------------------------

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """Return the contents of a member; raise `Refused`."""
        try:
            if member.flag_bits & 1 or member.compress_type not in (0, zipfile.ZIP_DEFLATED):
                return self._zip.read(member)
            # As `ZipFile.read`, without its buffers and its sum: RECORD has a hash.
            start = member.header_offset
            header = self._bytes[start : start + 30]
            if header[:4] != b"PK\3\4":
                raise zipfile.BadZipFile("a local header is not where it must be")
            start += 30 + sum(struct.unpack("<HH", header[26:30]))
            packed = self._bytes[start : start + member.compress_size]
            data = zlib.decompress(packed, -15) if member.compress_type else packed
        except (zipfile.BadZipFile, zlib.error, struct.error, RuntimeError, OSError) as error:
            raise Refused([self.filename + ": " + member.filename + ": " + str(error)]) from None
        return data

    def checked(self, entry: Entry) -> bytes:
        """Return the contents of an entry's member, if they are what RECORD says."""
        if entry.member is None:
            return entry.data
        data = self.read(entry.member)
        found = digest_of(entry.hash.partition("=")[0], data)
        if found != entry.hash or len(data) != entry.size:
            raise Refused(
                [
                    self.filename + ": RECORD says that " + entry.member.filename + " has "
                    f"{entry.size} bytes and {entry.hash}, but it has {len(data)} and {found}"
                ]
            )
        return data

    # -- planning ------------------------------------------------------------------------------

    def entries(self, direct_url: object) -> list[Entry]:
        """Return what the wheel puts into an environment; raise `Refused` with all its faults."""
        from installer.sources import WheelFile

        self._zip.filename = self.filename
        try:
            wheel = WheelFile(self._zip)
            info = wheel.dist_info_dir
            self._check_version(wheel.read_dist_info("WHEEL"))
            said = self._record(wheel.read_dist_info("RECORD"))
        except Refused:
            raise
        except Exception as error:  # noqa: BLE001  # of a hostile file; what installer raises
            raise Refused([self.filename + " is no wheel: " + str(error)]) from None
        found: list[Entry] = []
        for member in self._zip.infolist():
            if not member.filename.endswith("/"):
                entry = self._entry(member, info, wheel.distribution, said)
                if entry is not None:
                    found.append(entry)
        self.members = [entry for entry in found if entry.member is not None]
        if info + "/entry_points.txt" in self._zip.namelist():
            scripts = self._scripts(wheel.read_dist_info("entry_points.txt"))
            # An entry point goes over a file of the wheel, as pip has it.
            places = {one.target for one in scripts}
            found = [entry for entry in found if entry.target not in places] + scripts
        if self.faults:
            raise Refused(self.faults)
        below = self._packages + "/" + info
        own = [Entry.made(self.filename, below + "/INSTALLER", b"plxnix\n")]
        if direct_url is not None:
            text = json.dumps(direct_url, sort_keys=True)
            own.append(Entry.made(self.filename, below + "/direct_url.json", text.encode()))
        self.record = below + "/RECORD"
        return found + own

    def _check_version(self, text: str) -> None:
        found = re.search(r"^Wheel-Version:\s*(\d+)", text, re.MULTILINE)
        if found is None or found.group(1) != "1":
            what = "no Wheel-Version" if found is None else found.group(0)
            raise Refused([self.filename + " has " + what + "; known is 1.0"])

    def _record(self, text: str) -> dict[str, tuple[str, str]]:
        from installer.records import parse_record_file

        lines = [line for line in text.splitlines() if line]
        return {path: (digest, size) for path, digest, size in parse_record_file(lines)}

    def _entry(
        self,
        member: zipfile.ZipInfo,
        info: str,
        distribution: str,
        said: dict[str, tuple[str, str]],
    ) -> Entry | None:
        """Return the entry for a member, or None for one that is not installed; note faults."""
        name = member.filename
        folder, _, last = name.rpartition("/")
        if folder == info and last in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json"):
            return None
        target = self._target(name, distribution)
        if target is None:
            return None
        if folder == info and last in SIGNATURES:
            return Entry.made(self.filename, target, self.read(member))
        if name not in said:
            self.faults.append(self.filename + ": RECORD does not mention " + name)
            return None
        digest, size = said[name]
        if digest.partition("=")[0] not in HASHES:
            what = repr(digest[:40]) if digest else "no hash"
            self.faults.append(self.filename + ": RECORD has " + what + " for " + name)
            return None
        number = int(size) if size.isdigit() else member.file_size
        entry = Entry(self.filename, target, digest, number, is_program(member), member)
        if not target.startswith("bin/") or ".data/scripts/" not in name:
            return entry
        try:
            data = self.checked(entry)
        except Refused as refused:
            self.faults += refused.faults
            return None
        if data.startswith(b"#!python"):
            data = SHEBANG.encode() + data.partition(b"\n")[2]
        return Entry.made(self.filename, target, data, executable=True)

    def _target(self, name: str, distribution: str) -> str | None:
        """Return where a member goes, below the environment; note those that would leave it."""
        parts = name.split("/")
        if "\0" in name or any(part in ("", ".", "..") for part in parts):
            self.faults.append(self.filename + " holds " + repr(name) + ", outside of its folder")
            return None
        if not parts[0].endswith(".data"):
            return self._packages + "/" + name
        schemes = {
            "purelib": self._packages,
            "platlib": self._packages,
            "headers": self._headers + "/" + distribution,
            "scripts": "bin",
            "data": "",
        }
        if len(parts) < 3 or parts[1] not in schemes:
            self.faults.append(self.filename + " holds " + repr(name) + ", of no known scheme")
            return None
        return posixpath.join(schemes[parts[1]], *parts[2:])

    def _scripts(self, text: str) -> list[Entry]:
        from installer.utils import parse_entrypoints

        try:
            points = sorted(set(parse_entrypoints(text)))
        except Exception as error:  # noqa: BLE001  # it fails by assertions, too
            self.faults.append(self.filename + ": entry_points.txt cannot be read: " + repr(error))
            return []
        found = []
        for name, module, attributes, _ in points:
            if "/" in name or "\0" in name or name in ("", ".", "..", "python"):
                self.faults.append(self.filename + " has a script called " + repr(name))
                continue
            first = attributes.partition(".")[0]
            body = SCRIPT.format(module=module, first=first, attributes=attributes)
            data = (SHEBANG + body).encode()
            found.append(Entry.made(self.filename, "bin/" + name, data, executable=True))
        return found

    def record_of(self, entries: list[Entry]) -> Entry:
        """Return RECORD as it is after the installation (PEP 376, sorted by path)."""
        rows = [(self._recorded(one.target), one.hash, str(one.size)) for one in entries]
        rows.append((self._recorded(self.record), "", ""))
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(sorted(rows))
        return Entry.made(self.filename, self.record, text.getvalue().encode())

    def _recorded(self, target: str) -> str:
        if target.startswith(self._packages + "/"):
            return target[len(self._packages) + 1 :]
        return posixpath.relpath(target, self._packages)


def located(path: str, filename: str) -> tuple[str, str]:
    """Return the path and the name of a wheel; raise `Refused` for a folder that has no one."""
    if not os.path.isdir(path):
        return path, filename
    found = [name for name in os.listdir(path) if name.endswith(".whl")]
    if len(found) != 1:
        raise Refused([f"{filename}: {path} holds {len(found)} wheels, and not one"])
    return path + "/" + found[0], found[0]


class Environment:
    """An environment being made at `out`."""

    def __init__(self, out: str, python: str, version: str, patterns: list[str]) -> None:
        self.out = out
        self.python = python
        self.version = version
        self.patterns = patterns
        self.wheels: list[Wheel] = []
        self.files: dict[str, Entry] = {}
        self.links = {
            "bin/python": python,
            "bin/python3": "python",
            "bin/python" + version: "python",
        }
        home = posixpath.dirname(python)
        text = f"home = {home}\ninclude-system-site-packages = false\nversion = {version}\n"
        self.files["pyvenv.cfg"] = Entry.made("the environment", "pyvenv.cfg", text.encode())

    def plan(self, wheels: list[dict[str, Any]]) -> None:
        """Open the wheels and decide who owns which file; raise `Refused` with all faults."""
        faults: list[str] = []
        for one in wheels:
            try:
                place = located(one["path"], one["filename"])
                wheel = Wheel(*place, self.version)
                self.wheels.append(wheel)
                self._own(wheel, wheel.entries(one.get("direct_url")), faults)
            except Refused as refused:
                faults += refused.faults
        for target, entry in self.files.items():
            parent = target
            while parent:
                parent = parent.rpartition("/")[0]
                if parent in self.files or parent in self.links:
                    faults.append(
                        f"{entry.wheel} has {target}, but {parent} is a file: leave one of them out"
                    )
        if faults:
            raise Refused(faults)

    def _own(self, wheel: Wheel, entries: list[Entry], faults: list[str]) -> None:
        owned = []
        for entry in entries:
            first = self.files.setdefault(entry.target, entry)
            if entry.target in self.links:
                faults.append(f"{wheel.filename} has {entry.target}, which the environment has")
            elif first.hash == entry.hash:
                first.executable = first.executable or entry.executable
                owned.append(entry)
            elif not any(fnmatch.fnmatchcase(entry.target, one) for one in self.patterns):
                faults.append(
                    f"{entry.target} is in {first.wheel} and in {wheel.filename}, and differs: "
                    + AGAINST
                )
        if not faults:
            own = wheel.record_of(owned)
            self.files[own.target] = own

    def write(self) -> None:
        """Make the folder; raise `Refused`."""
        for folder in sorted({posixpath.dirname(target) for target in self.files}):
            os.makedirs(posixpath.join(self.out, folder), exist_ok=True)
        os.makedirs(self.out + "/bin", exist_ok=True)
        for name, target in self.links.items():
            os.symlink(target, posixpath.join(self.out, name))
        jobs: dict[str, list[Entry]] = {wheel.filename: [] for wheel in self.wheels}
        for entry in self.files.values():
            if entry.member is None:
                self._put(entry)
            else:
                jobs[entry.wheel].append(entry)
        # The largest first, so that no process ends long after the others.
        order = sorted(self.wheels, key=lambda one: -one.size)
        parallel([(self.unpack, (wheel, jobs[wheel.filename])) for wheel in order])

    def unpack(self, wheel: Wheel, entries: list[Entry]) -> None:
        """Write the entries of a wheel that are members of it; raise `Refused`, `OSError`."""
        for entry in entries:
            path = posixpath.join(self.out, entry.target)
            write(path, wheel.checked(entry), entry.executable)

    def _put(self, entry: Entry) -> None:
        write(posixpath.join(self.out, entry.target), entry.data, entry.executable)


def write(path: str, data: bytes, executable: bool) -> None:
    """Make a file."""
    mode = 0o755 if executable else 0o644
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        put(descriptor, data)
    finally:
        os.close(descriptor)


def put(descriptor: int, data: bytes) -> None:
    """Write all of some bytes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


#: What to do against two wheels that own one file.
AGAINST = (
    "leave one of them out, or lock them with --collisions PATTERN (in Nix and in Python: "
    "`collisions`) for this path: the first has its way then"
)


def parallel(jobs: list[Job]) -> None:
    """Run jobs in as many processes as there are processors; raise `Refused` with all faults."""
    cores = int(os.environ.get("NIX_BUILD_CORES") or 0) or PROCESSES
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    count = max(1, min(cores, available, PROCESSES, len(jobs)))
    # Who reads a number from the pipe has that job: a read of few bytes is whole (pipe(7)).
    numbers, into = os.pipe()
    faults: list[str] = []
    children: dict[int, int] = {}
    for _ in range(count - 1):
        told, telling = os.pipe()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.close(into)
                found = work(numbers, jobs)
                with open(telling, "w", encoding="utf-8") as file:
                    file.write(json.dumps(found))
                status = 0
            finally:
                os._exit(status)
        os.close(telling)
        children[child] = told
    # A pipe holds at least 4096 numbers before who writes to it has to wait for a reader.
    for start in range(0, len(jobs), 1024):
        chunk = range(start, min(start + 1024, len(jobs)))
        os.write(into, b"".join(struct.pack("<I", number) for number in chunk))
    os.close(into)
    faults += work(numbers, jobs)
    os.close(numbers)
    for child, told in children.items():
        with open(told, encoding="utf-8") as file:
            text = file.read()
        _, status = os.waitpid(child, 0)
        faults += json.loads(text) if status == 0 else [f"a process ended with status {status}"]
    if faults:
        raise Refused(sorted(faults))


def work(numbers: int, jobs: list[Job]) -> list[str]:
    """Do jobs whose numbers come from a pipe until there are no more; return faults."""
    faults: list[str] = []
    while True:
        number = os.read(numbers, 4)
        if not number:
            return faults
        job, arguments = jobs[struct.unpack("<I", number)[0]]
        try:
            job(*arguments)
        except Refused as refused:
            faults += refused.faults
        except OSError as error:
            faults.append(str(error))


def build(spec: dict[str, Any], out: str, python: str) -> None:
    """Make the environment of a spec, whose wheels have paths, at `out`; raise `Refused`."""
    version = str(spec["version"])
    environment = Environment(out, python, version, list(spec.get("collisions", ())))
    environment.plan(spec["wheels"])
    environment.write()


def told(refused: Refused) -> str:
    """Return what is said of faults."""
    more = len(refused.faults) - SHOWN
    return "\n".join([*refused.faults[:SHOWN], *([f"and {more} more"] if more > 0 else [])])


def main() -> None:
    """Do what the module's documentation says."""
    with open(sys.argv[1], encoding="utf-8") as file:
        spec = json.load(file)
    running = "{}.{}".format(*sys.version_info[:2])
    if spec["version"].rstrip("t") != running:
        sys.exit(f"the lock is for Python {spec['version']}, but {sys.executable} is {running}")
    installer = os.environ.get("installer")  # noqa: SIM112
    if installer:
        sys.path.insert(0, installer)
    for number, wheel in enumerate(spec["wheels"]):
        wheel.setdefault("path", os.environ.get(f"wheel{number}"))
    try:
        build(spec, os.environ["out"], os.environ["python"])  # noqa: SIM112
    except Refused as refused:
        sys.exit(told(refused))


if __name__ == "__main__":
    main()
