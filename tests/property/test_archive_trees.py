"""Laws of unpacking: what goes in comes out as tar and zip have it, and damage is never silent."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tempfile
import zipfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from plxnix.builders.archive import Limits, unpack
from plxnix.errors import ArchiveError
from tests.archive_trees import Tree, file, folder, hardlink, snapshot, symlink, tar_bytes
from tests.conftest import missing

#: Programs that tar starts for its compressions.
COMPRESSIONS = {"": None, "--gzip": "gzip", "--bzip2": "bzip2", "--xz": "xz"}

# What a component may be: any bytes but NUL, slash and control characters.
RAW = st.binary(min_size=1, max_size=12).map(
    lambda name: bytes(byte if byte >= 0x20 and byte not in (0x2F, 0x7F) else 0x61 for byte in name)
)
TEXT = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=12
).map(str.encode)
# Few names, so that paths meet; long ones, so that every format needs its extensions.
COMMON = st.sampled_from([b"a", b"b", b"c d", b"-e", b"x" * 99, b"y" * 200, b"\\", "é".encode()])


Plan = list[tuple[tuple[bytes, ...], tuple[str, bool, bytes]]]


def not_dots(name: bytes) -> bool:
    """Tell whether a component is a name."""
    return name not in (b".", b"..")


UTF8_NAMES = (COMMON | TEXT).filter(not_dots)
ANY_NAMES = (COMMON | TEXT | RAW).filter(not_dots)

NODES = st.one_of(
    st.tuples(st.just("file"), st.booleans(), st.binary(max_size=2000)),
    st.tuples(st.just("symlink"), st.just(False), (ANY_NAMES | st.just(b"../../x/"))),
    st.tuples(st.just("folder"), st.just(False), st.just(b"")),
    st.tuples(st.just("hole"), st.booleans(), st.binary(max_size=20)),
    st.tuples(st.just("hardlink"), st.just(False), st.just(b"")),
)


def plans(
    names: st.SearchStrategy[bytes],
) -> st.SearchStrategy[Plan]:
    """Return trees to make: paths with nodes; those that do not fit are left out when made."""
    paths = st.lists(names, min_size=1, max_size=4).map(tuple)
    return st.lists(st.tuples(paths, NODES), max_size=12)


def make(root: Path, plan: Plan) -> Tree:
    """Make a tree on disk and return it; hard links are to the first file."""
    top = os.fsencode(root)
    os.mkdir(top)
    first = b""
    for path, node in plan:
        kind, executable, data = node
        full = os.path.join(top, *path)
        try:
            os.makedirs(os.path.dirname(full), exist_ok=True)
            if kind == "folder":
                os.mkdir(full)
            elif kind == "symlink":
                os.symlink(data, full)
            elif kind == "hardlink" and first:
                os.link(first, full)
            elif kind != "hardlink" and not os.path.lexists(full):
                with open(full, "wb") as stream:
                    if kind == "hole":
                        stream.seek(1_300_000 + len(data))
                    stream.write(data)
                    if kind == "hole":
                        stream.truncate(2_200_000)
                os.chmod(full, 0o755 if executable else 0o644)
                first = first or full
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            continue
    return snapshot(root)


@settings(max_examples=60)
@given(
    plan=plans(ANY_NAMES),
    form=st.sampled_from(["gnu", "posix", "oldgnu"]),
    compression=st.sampled_from(sorted(COMPRESSIONS)),
    sparse=st.booleans(),
)
def test_what_tar_packs_comes_out_the_same(
    plan: Plan, form: str, compression: str, sparse: bool
) -> None:
    """A tree packed by the real tar, in any format, is unpacked as it was and as tar unpacks it."""
    for program in ("tar", COMPRESSIONS[compression]):
        if program is not None and shutil.which(program) is None:
            missing(f"{program} is not installed; `apt-get install tar gzip bzip2 xz-utils`")
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        tree = make(top / "source", plan)
        options = ["--sparse"] if sparse else []
        options += [compression] if compression else []
        subprocess.run(
            ["tar", f"--format={form}", *options, "-cf", top / "a", "-C", top / "source", "."],
            check=True,
        )
        (top / "theirs").mkdir()
        subprocess.run(["tar", "-xf", top / "a", "-C", top / "theirs"], check=True, umask=0o022)
        unpack(top / "a", top / "ours")
        assert snapshot(top / "ours") == tree
        assert snapshot(top / "theirs") == tree


def zipped(root: Path, method: int) -> bytes:
    """Pack a tree as zip does on Unix: links as links, folders as members."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for path, (kind, executable, data) in sorted(snapshot(root).items()):
            name = path.decode() + ("/" if kind == "folder" else "")
            mode = {
                "file": stat.S_IFREG | (0o755 if executable else 0o644),
                "symlink": stat.S_IFLNK | 0o777,
                "folder": stat.S_IFDIR | 0o755,
            }[kind]
            entry = zipfile.ZipInfo(name)
            entry.create_system = 3
            entry.external_attr = mode << 16
            archive.writestr(entry, data, method)
    return buffer.getvalue()


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@settings(max_examples=40)
@given(plan=plans(UTF8_NAMES), method=st.sampled_from(METHODS), program=st.booleans())
def test_what_is_zipped_comes_out_the_same(plan: Plan, method: int, program: bool) -> None:
    """A tree in a zip, by any method or by zip(1), is unpacked as it was, and as unzip(1) does.

    The programs are used where they are installed.
    """
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    with tempfile.TemporaryDirectory() as place:
        top = Path(place)
        tree = make(top / "source", plan)
        if program and tree and shutil.which("zip"):
            command = ["zip", "-qry", str(top / "a.zip"), "."]
            subprocess.run(command, cwd=top / "source", env=environment, check=True)
        else:
            (top / "a.zip").write_bytes(zipped(top / "source", method))
        unpack(top / "a.zip", top / "ours")
        assert snapshot(top / "ours") == tree
        if tree and method != zipfile.ZIP_LZMA and shutil.which("unzip"):
            (top / "theirs").mkdir()
            command = ["unzip", "-qqV", str(top / "a.zip")]
            subprocess.run(command, cwd=top / "theirs", env=environment, check=True)
            assert snapshot(top / "theirs") == tree


ENTRIES = [
    folder("d"),
    file("d/a", bytes(range(256)) * 8, 0o755),
    file("d/" + "n" * 120, b"text"),
    symlink("d/link", "../.."),
    hardlink("hard", "d/a"),
    file("é", b"more"),
]


def zip_sample() -> bytes:
    """Return a zip with two files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("d/a", bytes(range(256)) * 8)
        archive.writestr("b", b"text")
    return buffer.getvalue()


SAMPLES = [tar_bytes(*ENTRIES), tar_bytes(*ENTRIES, form=1), zip_sample()]


@settings(max_examples=300)
@given(
    sample=st.sampled_from(range(len(SAMPLES))),
    changes=st.lists(
        st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=12)), max_size=6
    ),
    fixed=st.booleans(),
    cut=st.none() | st.floats(0, 1),
)
def test_a_damaged_archive_does_no_harm(
    sample: int, changes: list[tuple[int, bytes]], fixed: bool, cut: float | None
) -> None:
    """Whatever is changed in an archive, it is unpacked inside or refused whole; no other error."""
    data = bytearray(SAMPLES[sample])
    for place, change in changes:
        place %= len(data)
        data[place : place + len(change)] = change
    if cut is not None:
        del data[int(len(data) * cut) :]
    if fixed and sample < 2:
        fix_checksums(data)
    with tempfile.TemporaryDirectory() as place_name:
        top = Path(place_name)
        (top / "outside").mkdir()
        (top / "a").write_bytes(data)
        try:
            unpack(top / "a", top / "outside" / "tree", limits=Limits(bytes=1 << 24, members=1000))
        except ArchiveError:
            assert not (top / "outside" / "tree").exists()
        assert set(os.listdir(top)) == {"outside", "a"}
        assert set(os.listdir(top / "outside")) <= {"tree"}


def fix_checksums(data: bytearray) -> None:
    """Make every block of a tar that may be a header pass for one, so that its fields are read."""
    for start in range(0, len(data) - 511, 512):
        block = data[start : start + 512]
        if any(block):
            block[148:156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(block)
