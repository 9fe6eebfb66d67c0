"""Archives of closures: packed to one file and unpacked into another store."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from plxnix.archives import LIMITS, spack, sunpack
from plxnix.builders.archive_members import Limits
from plxnix.errors import ArchiveError, CorruptEntry, HostileArchive, InvalidValue, StoreError
from plxnix.model import RRef
from plxnix.store import Fsync, Record, Store
from plxnix.store.copying import Progress, copyclosure
from plxnix.store.gc import collect, plan_gc
from plxnix.store.publication import publish
from plxnix.store.verify import verify
from tests.stage_samples import Lab
from tests.store_samples import build, derive
from tests.unit.test_store_copying import ENTRIES, diamond, files

FORMS = ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.lzma", "zip"]
if shutil.which("zstd"):
    FORMS.append("tar.zst")


@pytest.fixture
def source(tmp_path: Path) -> Store:
    """A store to pack from."""
    return Store.init(tmp_path / "source", Fsync.NONE)


@pytest.fixture
def target(tmp_path: Path) -> Store:
    """An empty store to unpack into."""
    return Store.init(tmp_path / "target", Fsync.NONE)


@pytest.mark.parametrize("form", FORMS)
def test_there_and_back(source: Store, target: Store, tmp_path: Path, form: str) -> None:
    """A closure arrives whole, in each form, and packed again it is the same file."""
    made = diamond(source)
    file = tmp_path / f"closure.{form}"
    assert sorted(spack(made[3], file, source)) == sorted(made)
    assert sunpack(file, target) == [made[3]]
    fresh = Store(target.root)
    assert list(verify(fresh)) == []
    for rref in made:
        assert files(fresh, rref) == files(source, rref)
        assert fresh.record(rref) == source.record(rref)
        assert fresh.log(rref) == source.log(rref)
    assert os.listdir(target.session().path) == ["lock"]
    again = tmp_path / f"again.{form}"
    spack([made[3]], again, fresh)
    assert again.read_bytes() == file.read_bytes()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_collecting_meanwhile(source: Store, target: Store, tmp_path: Path) -> None:
    """Neither what is packed nor what arrives is garbage, until that is done, or a block ends."""
    made = diamond(source)
    seen: list[int] = []

    def collecting(store: Store) -> Progress:
        def look(done: int, total: int, rref: str) -> None:
            del rref
            seen.append(done)
            if done < total:
                opened = Store(store.root)
                collect(opened, plan_gc(opened, everything=True), pytest.fail)

        return look

    spack(made[3], tmp_path / "c.tar", source, progress=collecting(source))
    with target.keeping([]) as keeping:
        file = tmp_path / "c.tar"
        sunpack(file, target, progress=collecting(target), keeping=keeping)
        assert seen == [0, 1, 2, 3, 4] * 2
        collecting(target)(0, 1, "")
        assert list(verify(Store(target.root), made)) == []
    collecting(target)(0, 1, "")
    assert list(target.derivations()) == []


def test_other_programs_can_list_it(source: Store, tmp_path: Path) -> None:
    """The members are those of the documentation, dependencies first."""
    made = diamond(source)
    spack(made[3], tmp_path / "c.tar", source)
    with tarfile.open(tmp_path / "c.tar") as archive:
        names = archive.getnames()
        assert {member.mtime for member in archive} == {1}
    assert names[0] == "plxnix-closure.json"
    assert sum(name.endswith("/config.json") for name in names) == 4
    nars = [name for name in names if name.endswith(".nar")]
    assert nars[0] == f"{made[0].dref[5:]}/{made[0].rhash}.nar"
    assert nars[-1] == f"{made[3].dref[5:]}/{made[3].rhash}.nar"
    assert f"{made[0].dref[5:]}/{made[0].rhash}.log.gz" in names


def test_a_closure_is_realized_and_packed(tmp_path: Path, target: Store) -> None:
    """A closure of stages can be packed as it is; so can a derivation that is realized once."""
    lab = Lab(tmp_path / "lab")
    top = lab.stage("top", lab.stage("below"))
    closure = lab.closure(top)
    spack(closure, tmp_path / "c.tar", lab.store)
    assert lab.runs == ["below", "top"]
    (rref,) = sunpack(tmp_path / "c.tar", target)
    assert rref.dref == top
    spack(top, tmp_path / "d.tar", lab.store)
    assert (tmp_path / "d.tar").read_bytes() == (tmp_path / "c.tar").read_bytes()


def test_a_closure_of_several_targets_is_packed(tmp_path: Path, target: Store) -> None:
    """All of what a stage returned goes along; what is no closure is refused."""
    lab = Lab(tmp_path / "lab")
    both = [lab.stage("one"), lab.stage("two")]
    spack(lab.closure(both), tmp_path / "c.tar", lab.store)
    assert {rref.dref for rref in sunpack(tmp_path / "c.tar", target)} == set(both)
    with pytest.raises(InvalidValue, match="not a closure"):
        spack(5, tmp_path / "d.tar", lab.store)  # type: ignore[arg-type]


def test_unpacking_again_changes_nothing(source: Store, target: Store, tmp_path: Path) -> None:
    """What is there is passed over, and part of a closure is completed."""
    made = diamond(source)
    spack(made[1], tmp_path / "left.tar", source)
    spack([made[3], made[0]], tmp_path / "all.tar", source)
    assert sunpack(tmp_path / "left.tar", target) == [made[1]]
    before = os.stat(target.path(made[0])).st_ino
    for _ in range(2):
        assert sunpack(tmp_path / "all.tar", target) == sorted([made[0], made[3]])
    assert os.stat(target.path(made[0])).st_ino == before
    assert list(verify(target)) == []


def test_an_unknown_name(source: Store, tmp_path: Path) -> None:
    """A file name that tells no form is refused with those that do."""
    rref = build(source, "one")
    with pytest.raises(InvalidValue, match=r"tar\.zst"):
        spack(rref, tmp_path / "closure.rar", source)
    with pytest.raises(StoreError, match="cannot write"):
        spack(rref, tmp_path / "no" / "closure.tar", source)


def test_damage_is_not_packed(source: Store, tmp_path: Path) -> None:
    """A realization that was changed is refused, and a former archive stays as it is."""
    rref = build(source, "one", entries=ENTRIES)
    file = tmp_path / "c.tar"
    file.write_bytes(b"former")
    path = Path(source.path(rref), "data/file")
    path.chmod(0o644)
    path.write_bytes(b"BYTES")
    with pytest.raises(CorruptEntry, match="have the hash"):
        spack(rref, file, source)
    path.write_bytes(b"BYTES and more")
    with pytest.raises(ArchiveError, match="bytes that it should have"):
        spack(rref, file, source)
    assert file.read_bytes() == b"former"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


# -- what is not trusted -----------------------------------------------------------------------


def members(file: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Return the members of an archive."""
    with tarfile.open(file) as archive:
        return [(one, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]


def rewrite(file: Path, found: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """Write an archive of these members."""
    with tarfile.open(file, "w") as archive:
        for member, data in found:
            member.size = len(data) if member.isreg() else 0
            archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def packed(source: Store, tmp_path: Path) -> Path:
    """The archive of a realization with files, a link and a log, made from another."""
    bottom = build(source, "bottom", entries=ENTRIES, log=b"said\n")
    spack(build(source, "top", [bottom]), tmp_path / "c.tar", source)
    return tmp_path / "c.tar"


def left(store: Store) -> list[str]:
    """Return the names of what is realized in a store, which has to be without damage."""
    assert list(verify(store)) == []
    assert os.listdir(store.session().path) == ["lock"]
    return [dref.name for dref in store.derivations() if store.realizations(dref)]


@pytest.mark.parametrize("kind", [".nar", ".json", "config.json"])
def test_a_changed_byte_is_found(packed: Path, target: Store, kind: str) -> None:
    """Each member is covered by a hash: what was changed is refused, nothing of it published."""
    found = members(packed)
    for number, (member, data) in enumerate(found):
        if (
            number
            and member.name.endswith(kind)
            and not (kind == ".json" and member.name.endswith("config.json"))
        ):
            at = data.find(b"sha256-") + 10 if kind == ".json" else data.find(b"bottom") + 2
            if kind == ".nar":
                at = data.find(b"bytes")
            changed = bytearray(data)
            changed[at] ^= 1
            found[number] = member, bytes(changed)
            break
    rewrite(packed, found)
    with pytest.raises(ArchiveError):
        sunpack(packed, target)
    assert left(target) == []


def test_truncated_archives(packed: Path, target: Store) -> None:
    """An archive that was cut off anywhere is an error, and what was published is whole."""
    data = packed.read_bytes()
    for size in range(0, len(data) - 1024 - tarfile.RECORDSIZE // 2, 700):
        packed.write_bytes(data[:size])
        with pytest.raises(ArchiveError):
            sunpack(packed, target)
        assert set(left(target)) <= {"bottom", "top"}


def test_missing_and_double_members(packed: Path, target: Store) -> None:
    """Leaving any member out is found, and so is any that is there twice or in another place."""
    found = members(packed)
    for number, (member, _) in enumerate(found):
        if member.name.endswith(".log.gz"):
            continue  # A realization may have none.
        rewrite(packed, found[:number] + found[number + 1 :])
        with pytest.raises(ArchiveError):
            sunpack(packed, target)
        assert "top" not in left(target)
    for one in found:
        rewrite(packed, [*found, one])
        with pytest.raises(HostileArchive):
            sunpack(packed, target)
    rewrite(packed, found[:1] + found[:0:-1])
    with pytest.raises(HostileArchive):
        sunpack(packed, target)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "/evil",
        "evil",
        "a/b/c",
        "a\nb/config.json",
        "x/config.json",
        f"{'0' * 32}-x/y.nar",
    ],
)
def test_strange_names(packed: Path, target: Store, tmp_path: Path, name: str) -> None:
    """A member with any other name is refused; nothing is written outside of the store."""
    before = sorted(os.listdir(tmp_path))
    found = members(packed)
    rewrite(packed, [found[0], (tarfile.TarInfo(name), b"evil"), *found[1:]])
    with pytest.raises(HostileArchive):
        sunpack(packed, target)
    assert left(target) == []
    assert sorted(os.listdir(tmp_path)) == before


def test_what_is_too_much_and_too_little(packed: Path, target: Store) -> None:
    """More behind a NAR, a config under another's name, and a lack at the end are found."""
    found = members(packed)
    *rest, (last, nar) = found
    rewrite(packed, [*rest, (last, nar + b"more")])
    with pytest.raises(HostileArchive, match="more in it than a NAR"):
        sunpack(packed, target)
    rewrite(packed, found[:-2])
    with pytest.raises(ArchiveError, match="is cut off: it lacks rref:"):
        sunpack(packed, target)
    assert left(target) == ["bottom"]
    found[1], found[2] = (found[1][0], found[2][1]), (found[2][0], found[1][1])
    rewrite(packed, found)
    with pytest.raises(HostileArchive, match="it is the config of dref:"):
        sunpack(packed, target)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE]
)
def test_strange_kinds(packed: Path, target: Store, kind: bytes) -> None:
    """Links, folders and pipes have no place in it."""
    found = members(packed)
    member = tarfile.TarInfo(found[1][0].name)
    member.type, member.linkname = kind, "/etc/passwd"
    rewrite(packed, [found[0], (member, b""), *found[1:]])
    with pytest.raises(HostileArchive):
        sunpack(packed, target)
    assert left(target) == []


def test_artifacts_have_to_be_a_folder(source: Store, target: Store, tmp_path: Path) -> None:
    """A NAR that is a link, with a record to its hash, does not become a realization."""
    from plxnix.nix.nar import dump, nar_hash
    from plxnix.store.record import Record, rhash

    rref = build(source, "one")
    spack(rref, tmp_path / "c.tar", source)
    (tmp_path / "link").symlink_to("/etc")
    digest, size = nar_hash(tmp_path / "link")
    forged = RRef.make(rhash(rref.dref, {}, digest.sri), rref.dref)
    head, config, record, nar = members(tmp_path / "c.tar")
    for (member, _), suffix in ((record, "json"), (nar, "nar")):
        member.name = f"{rref.dref[5:]}/{forged.rhash}.{suffix}"
    text = json.dumps({"format": 1, "realizations": 1, "roots": [forged]}).encode()
    rewrite(
        tmp_path / "c.tar",
        [
            (head[0], text),
            config,
            (record[0], Record({}, digest.sri, size).text()),
            (nar[0], b"".join(dump(tmp_path / "link"))),
        ],
    )
    with pytest.raises(ArchiveError, match="no folder"):
        sunpack(tmp_path / "c.tar", target)
    assert left(target) == []


def test_heads_that_count_to_infinity(target: Store, tmp_path: Path) -> None:
    """A number that is none is refused as any other damage is."""
    head = b'{"format": 1, "realizations": 1e999, "roots": []}'
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("plxnix-closure.json", head)
    with pytest.raises(ArchiveError, match="head that cannot be read"):
        sunpack(tmp_path / "c.zip", target)


# -- archives of Pylightnix ----------------------------------------------------------------------


def forerunner(file: Path, **changes: object) -> None:
    """Write an archive as Pylightnix does: two derivations, three realizations."""
    below, above = f"{'1' * 32}-below", f"{'2' * 32}-above"
    runs = ["a" * 32, "b" * 32]
    context = {f"dref:{below}": [f"rref:{runs[1]}-{below}"]}
    entries: dict[str, object] = {
        f"{above}/config.json": {
            "name": "above",
            "data": [f"dref:{below}", "data.txt"],
            "out": ["__self__", "out.txt"],
        },
        f"{above}/{'c' * 32}/context.json": context,
        f"{above}/{'c' * 32}/out.txt": b"out",
        f"{above}/{'c' * 32}/__buildstart__.txt": b"240131-10:00:00:500000+0000",
        f"{above}/{'c' * 32}/__buildstop__.txt": b"240131-10:00:02:000000+0000",
        f"{below}/config.json": {"name": "below"},
        **{f"{below}/{run}/context.json": {} for run in runs},
        **{f"{below}/{run}/data.txt": run.encode() for run in runs},
        **changes,
    }
    with zipfile.ZipFile(file, "w") as archive:
        for name, value in entries.items():
            if value is not None:
                data = value if isinstance(value, bytes) else json.dumps(value, indent=4)
                archive.writestr(f"store-v0/{name}", data)


def test_archives_of_pylightnix(target: Store, tmp_path: Path) -> None:
    """Its realizations get new hashes, keep contexts and times, and lose what is no artifact."""
    forerunner(tmp_path / "p.zip")
    steps: list[tuple[int, int]] = []
    found = sunpack(
        tmp_path / "p.zip", target, progress=lambda done, total, _: steps.append((done, total))
    )
    assert steps == [(0, 3), (1, 3), (2, 3), (3, 3)]
    (above, alone) = sorted(found, key=lambda rref: rref.name)
    assert (above.name, alone.name) == ("above", "below")
    record = target.record(above)
    ((below, (selected,)),) = record.context.items()
    assert selected != alone
    assert target.config(above.dref)["data"] == [below, "data.txt"]
    assert target.config(above.dref).promises == (("out.txt",),)
    assert files(target, above) == {"out.txt": b"out"}
    assert files(target, selected) == {"data.txt": b"b" * 32}
    assert (record.started, record.stopped) == (1706695200.5, 1706695202.0)
    assert left(target) == ["above", "below"]
    assert sunpack(tmp_path / "p.zip", target) == sorted([above, alone])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        (f"{'1' * 32}-below/config.json", None, "which is not in it"),
        (f"{'1' * 32}-below/config.json", b"{", "cannot be read"),
        (f"{'1' * 32}-below/config.json", [], "no object"),
        (f"{'1' * 32}-below/config.json", {"name": "a/b"}, "cannot be taken over"),
        (f"{'1' * 32}-below/config.json", {"x": f"dref:{'2' * 32}-above"}, "on itself"),
        (f"{'2' * 32}-above/{'c' * 32}/context.json", {}, "lacks dref:"),
        (f"{'2' * 32}-above/{'c' * 32}/context.json", {"x": []}, "which is not in it"),
        (
            f"{'2' * 32}-above/{'c' * 32}/context.json",
            {f"dref:{'1' * 32}-below": ["rref:x"]},
            "has rref:x",
        ),
        (
            f"{'2' * 32}-above/{'c' * 32}/context.json",
            {f"dref:{'1' * 32}-below": [["rref:x"]]},
            "no references",
        ),
        (
            f"{'1' * 32}-below/config.json",
            b'{"x":' + b"[" * 700 + b"]" * 700 + b"}",
            "nested too deeply|cannot be read|cannot be taken over",
        ),
    ],
)
def test_damaged_archives_of_pylightnix(
    target: Store, tmp_path: Path, name: str, value: object, said: str
) -> None:
    """What is missing or damaged in it is named; nothing half is left."""
    forerunner(tmp_path / "p.zip", **{name: value})
    with pytest.raises(ArchiveError, match=said):
        sunpack(tmp_path / "p.zip", target)
    assert "above" not in left(target)


@pytest.mark.parametrize("key", ["../../evil", "/evil", "sha256-00/../../../evil"])
def test_records_cannot_lead_out(source: Store, target: Store, tmp_path: Path, key: str) -> None:
    """What a record tells of contents makes no link outside of its folder."""
    dref = derive(source, "fetched")
    nix = {"fixed": {"key": key, "file": ""}, "root": "/nix/store/x"}
    rref = publish(source, dref, source.session().folder("x"), Record({}, "", 0))
    path = Path(source.layout.record(rref))
    path.chmod(0o644)
    path.write_bytes(replace(source.record(rref), nix=nix).text())
    spack([rref], tmp_path / "c.tar", source)
    sunpack(tmp_path / "c.tar", target)
    assert Store(target.root).record(rref).nix == {"fixed": nix["fixed"]}
    assert not list(tmp_path.rglob("evil"))
    assert left(target) == ["fetched"]


def test_links_into_nix_need_it(source: Store, target: Store, tmp_path: Path) -> None:
    """What links into the Nix store arrives only where that has the path."""
    dref = derive(source, "built")
    folder = source.session().folder("x")
    gone = f"/nix/store/{'0' * 32}-gone"
    Path(folder, "bin").symlink_to(f"{gone}/bin")
    rref = publish(source, dref, folder, Record({}, "", 0))
    for root in (gone, "--help", None):
        path = Path(source.layout.record(rref))
        path.chmod(0o644)
        path.write_bytes(replace(source.record(rref), nix={"root": root, "linked": True}).text())
        with pytest.raises(StoreError, match="not in the Nix store here"):
            copyclosure([rref], source, target)
        spack([rref], tmp_path / "c.tar", Store(source.root))
        with pytest.raises(StoreError, match="not in the Nix store here"):
            sunpack(tmp_path / "c.tar", target)
    assert left(target) == []


def test_limits(packed: Path, source: Store, target: Store, tmp_path: Path) -> None:
    """An archive that unpacks to more than it may is refused before the disk is full."""
    with pytest.raises(HostileArchive, match="unpacks to more"):
        sunpack(packed, target, limits=Limits(bytes=2000))
    with pytest.raises(ArchiveError, match="more files"):
        sunpack(packed, target, limits=Limits(members=2))
    rref = build(source, "zeros", entries={"zeros": bytes(1 << 22)})
    spack(rref, tmp_path / "z.tar.xz", source)
    with pytest.raises(HostileArchive, match="100 times"):
        sunpack(tmp_path / "z.tar.xz", target, limits=Limits(ratio=100, ratio_from=1 << 20))
    assert LIMITS.bytes > Limits().bytes
    assert left(target) == []


def test_other_archives(target: Store, tmp_path: Path) -> None:
    """What is no archive of a closure is said to be none, whatever it is."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("README", "hello")
    with pytest.raises(ArchiveError, match="not that of a closure: it starts with 'README'"):
        sunpack(tmp_path / "a.zip", target)
    (tmp_path / "text").write_text("hello")
    for name in ("text", "missing"):
        with pytest.raises(ArchiveError):
            sunpack(tmp_path / name, target)
    for head in (b"{}", b"[]", b'{"format":2,"roots":[],"realizations":0}', b"[" * 100000):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr("plxnix-closure.json", head)
        with pytest.raises(ArchiveError):
            sunpack(tmp_path / "a.zip", target)


def test_a_damaged_log_is_refused(packed: Path, target: Store) -> None:
    """A log that cannot be unpacked does not get into the store."""
    found = members(packed)
    for number, (member, _) in enumerate(found):
        if member.name.endswith(".log.gz"):
            found[number] = member, gzip.compress(b"said")[:-4]
    rewrite(packed, found)
    with pytest.raises(ArchiveError, match="log is damaged"):
        sunpack(packed, target)
    assert left(target) == []


def test_progress(source: Store, target: Store, tmp_path: Path) -> None:
    """Both ways tell how many realizations are done, of how many."""
    made = diamond(source)
    seen: list[object] = []
    spack(made[3], tmp_path / "c.tar", source, progress=lambda *told: seen.append(told[:2]))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    seen.clear()
    sunpack(tmp_path / "c.tar", target, progress=lambda *told: seen.append(told[:2]))
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
