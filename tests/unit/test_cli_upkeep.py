"""`plxnix` commands that keep the store in order: gc, rm, verify."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix import Store
from tests.command_line import CommandLine

pytestmark = pytest.mark.usefixtures("reported")


def left(plxnix: CommandLine) -> dict[str, int]:
    """Return how many realizations each derivation in the store has."""
    return {row[0]: int(row[2]) for row in plxnix.ok("ls").fields}


def test_gc_without_roots_is_refused(plxnix: CommandLine) -> None:
    """Where nothing at all is kept, gc says so and deletes nothing, unless --all.

    A dry run shows what would go then, and that this has to be said.
    """
    assert "nothing is kept" in plxnix.fails("gc")
    dry = plxnix.ok("gc", "--dry-run")
    assert len(dry.fields) == 5
    assert "--all" in dry.err
    assert plxnix.ok("gc", "--dry-run", "--json").json["refused"] is True
    assert "--all" not in plxnix.ok("gc", "--dry-run", "--all").err
    assert left(plxnix) == {"numbers": 1, "runs": 3, "report": 1}
    assert "freed" in plxnix.ok("gc", "--all").err
    assert left(plxnix) == {}


def test_gc_keeps_what_roots_reach(plxnix: CommandLine) -> None:
    """What a link keeps stays, with all it was made from; a dry run tells the same beforehand."""
    plxnix.ok("realize", "stages.py:report", "-o", "result")
    before = left(plxnix)
    dry = plxnix.ok("gc", "--dry-run", "--verbose")
    assert [row[0] for row in dry.fields] == ["runs", "runs"]
    assert dry.err.count("kept rref:") == 3
    assert f"root {plxnix.folder / 'result'}" in dry.err
    assert "would free" in dry.err
    assert left(plxnix) == before
    done = plxnix.ok("gc")
    assert [row[1] for row in done.fields] == [row[1] for row in dry.fields]
    assert left(plxnix) == {"numbers": 1, "runs": 1, "report": 1}
    assert plxnix.ok("gc").out == b""


def test_gc_limits(plxnix: CommandLine) -> None:
    """Age and size spare garbage; --keep keeps a stage; --json tells bytes and seconds."""
    keep = ("--keep", "numbers")
    assert plxnix.ok("gc", "--older-than", "1h", *keep, "-n").out == b""
    assert plxnix.ok("gc", "--max-size", "1G", *keep, "-n").out == b""
    told = plxnix.ok("gc", *keep, "--dry-run", "--json").json
    assert told["deleted"] is False
    assert told["freed"] == sum(one["size"] for one in told["realizations"])
    assert list(told["kept"].values()) == ["asked to keep"]
    assert len(told["realizations"]) == 4
    assert plxnix.ok("gc", *keep, "--json").json["deleted"] is True
    assert left(plxnix) == {"numbers": 1}


def test_what_is_worked_with_stays(plxnix: CommandLine) -> None:
    """Neither gc nor rm deletes what a process works with, and both say which process."""
    store = Store(plxnix.store)
    (dref,) = (dref for dref in store.derivations() if dref.name == "numbers")
    with store.keeping([dref]):
        who = f"process {os.getpid()} on {os.uname().nodename} works with"
        assert f"{who} it" in plxnix.ok("gc", "--all", "--dry-run").err
        assert f"{who} {dref}" in plxnix.fails("rm", "numbers", "--recursive", "--yes")
        assert left(plxnix) == {"numbers": 1, "runs": 3, "report": 1}
        plxnix.ok("gc", "--all")
        assert left(plxnix) == {"numbers": 1}
    plxnix.ok("rm", "numbers", "--yes")


#: Stages beside which garbage is collected, whenever realizations are selected among.
COLLECTING = """
from plxnix import autostage, collect_garbage, match, selfref

def key(store, rref):
    collect_garbage(store, everything=True)
    return 1

@autostage(matcher=match(key, lambda rrefs: rrefs[:1] or None), out=[selfref, "out"])
def below(out):
    out.write_text("below")

@autostage(below=below, matcher=match(key, lambda rrefs: rrefs[:1] or None), out=[selfref, "out"])
def above(below, out):
    out.write_text("above")
"""


@pytest.mark.parametrize("own", [False, True])
def test_gc_beside_what_only_reads(plxnix: CommandLine, own: bool) -> None:
    """What a dry run or an export has selected stays meanwhile, in a file's own store too."""
    head = "from plxnix import Registry, Store\nown = Registry(Store.init('own'))\n" if own else ""
    stages = COLLECTING.replace("@autostage(", "@autostage(registry=own, ") if own else COLLECTING
    store = "own" if own else str(plxnix.store)
    plxnix.file(head + stages, "collecting.py")
    plxnix.ok("realize", "collecting.py:above", "-o", "result")
    Path("result").unlink()
    assert plxnix.ok("realize", "collecting.py:above", "--dry-run", "--json").json
    assert len(plxnix.ok("--store", store, "find").lines) == 2
    plxnix.ok("export", "collecting.py:above")
    assert len(plxnix.ok("--store", store, "find").lines) == 2
    plxnix.ok("--store", store, "gc", "--all")
    assert plxnix.ok("--store", store, "find").lines == []


@pytest.mark.parametrize(
    "arguments", [("--older-than", "soon"), ("--older-than", "-1d"), ("--max-size", "big")]
)
def test_gc_limits_that_mean_nothing(plxnix: CommandLine, arguments: tuple[str, str]) -> None:
    """A limit that cannot be read is a usage error that shows how to write it."""
    assert arguments[1] in plxnix.fails("gc", *arguments, status=2)


def test_rm_refuses_what_is_needed(plxnix: CommandLine) -> None:
    """What something depends on is not deleted; the error names that."""
    assert "-report" in plxnix.fails("rm", "runs")
    assert left(plxnix) == {"numbers": 1, "runs": 3, "report": 1}


def test_rm_deletes_a_realization(plxnix: CommandLine) -> None:
    """A realization goes with its record and log; the derivation stays."""
    (rref,) = plxnix.ok("ls", "report").fields[0][:1]
    assert plxnix.ok("rm", rref).lines == [rref]
    assert left(plxnix) == {"numbers": 1, "runs": 3, "report": 0}
    store = Store(plxnix.store)
    (dref,) = (dref for dref in store.derivations() if dref.name == "report")
    assert os.listdir(store.layout.derivation(dref)) == ["config.json"]


def test_rm_recursive_names_and_deletes_all_above(plxnix: CommandLine) -> None:
    """With --recursive what depends on it goes too, that first; a dry run deletes nothing."""
    dry = plxnix.ok("rm", "numbers", "--recursive", "--dry-run")
    names = [line.rpartition("-")[2] for line in dry.lines if line.startswith("rref:")]
    assert sorted(names) == ["numbers", "report", "runs", "runs", "runs"]
    store = Store(plxnix.store)
    for number, rref in enumerate(dry.lines[:5]):
        below = [one for rrefs in store.record(rref).context.values() for one in rrefs]
        assert all(dry.lines.index(one) > number for one in below)
    assert len(dry.lines) == 8
    assert "would delete 5 realizations and 3 derivations" in dry.err
    assert len(left(plxnix)) == 3
    told = plxnix.ok("rm", "numbers", "-r", "--json").json
    assert (told["deleted"], len(told["rrefs"]), len(told["drefs"])) == (True, 5, 3)
    assert left(plxnix) == {}


def test_rm_spares_roots(plxnix: CommandLine) -> None:
    """What a link keeps is not deleted, by itself or along with others."""
    plxnix.ok("realize", "stages.py:report", "-o", "result")
    assert f"root {plxnix.folder / 'result'}" in plxnix.fails("rm", "report")
    assert "root" in plxnix.fails("rm", "numbers", "-r")
    Path("result").unlink()
    plxnix.ok("rm", "report")


def test_rm_of_what_is_damaged(plxnix: CommandLine) -> None:
    """Damaged entries can be named and removed, and a file for a derivation is in nobody's way."""
    (plxnix.store / "store-v1" / f"{'0' * 32}-stray").touch()
    (record,) = (plxnix.store / "store-v1").glob("*-report/*[0-9a-f].json")
    record.chmod(0o600)
    record.write_text("{")
    plxnix.ok("rm", "report", "stray", "--yes")
    assert left(plxnix) == {"numbers": 1, "runs": 3}


def test_verify_of_a_whole_store(plxnix: CommandLine) -> None:
    """Where all is as it was put, verify says nothing and succeeds."""
    done = plxnix.ok("verify")
    assert done.out == b""
    assert "checked 5 realizations: no damage" in done.err
    assert plxnix.ok("verify", "--json").json == []


def test_verify_finds_damage(plxnix: CommandLine) -> None:
    """A changed byte is a line and exit status 1; what was not asked for is not read."""
    store = Store(plxnix.store)
    path = Path(plxnix.ok("path", "report/report.txt").lines[0])
    path.chmod(0o644)
    path.write_text("best: 3")
    path.chmod(0o444)
    found = plxnix("verify")
    assert found.status == 1
    (line,) = found.lines
    assert line.startswith("artifacts: the artifacts of rref:")
    assert "1 damaged" in found.err
    told = plxnix("verify", "report", "--json")
    assert told.status == 1
    assert [(one["kind"], one["harmless"]) for one in told.json] == [("artifacts", False)]
    assert store.path(told.json[0]["rref"])
    assert "checked 4 realizations" in plxnix.ok("verify", "runs", "numbers").err


def test_verify_of_leftovers_succeeds(plxnix: CommandLine) -> None:
    """What is harmless is shown, but is no reason to fail."""
    (folder,) = (plxnix.store / "store-v1").glob("*-report")
    folder.joinpath("0" * 32 + ".json").write_text("{}")
    done = plxnix.ok("verify")
    assert done.out.startswith(b"leftover: ")
    assert "no damage" in done.err


def test_gc_says_what_stays_and_why(plxnix: CommandLine) -> None:
    """A dry run names what stays, its size and the reason, without being asked for more."""
    plxnix.ok("realize", "stages.py:report", "-o", "result")
    said = plxnix.ok("gc", "--dry-run").err
    assert f" B: root {plxnix.folder / 'result'}\n" in said
    assert "B: needed by report " in said
    assert said.count("kept ") == 3


def test_gc_keeps_the_latest_and_the_best(plxnix: CommandLine) -> None:
    """Of each stage the latest or the best stay; what cannot be read is a usage error."""
    plan = plxnix.ok("gc", "-n", "--keep-best", "score.txt:2", "--json").json
    assert sorted(plan["kept"].values())[:2] == ["among the 2 best by score.txt of its stage"] * 2
    assert [one["rref"].rpartition("-")[2] for one in plan["realizations"]] == ["runs", "report"]
    plan = plxnix.ok("gc", "-n", "--keep-latest", "1", "--json").json
    assert [one["rref"].rpartition("-")[2] for one in plan["realizations"]] == ["runs"] * 2
    best, worst = (
        next(
            rref
            for rref, reason in plxnix.ok("gc", "-n", "--keep-best", said, "--json")
            .json["kept"]
            .items()
            if reason.startswith("among")
        )
        for said in ("score.txt:1", "score.txt:-1")
    )
    assert plxnix.ok("cat", f"{best}/score.txt").out == b"2"
    assert plxnix.ok("cat", f"{worst}/score.txt").out == b"0"
    for wrong in ("score.txt", "score.txt:0", "score.txt:x", ":3"):
        assert wrong in plxnix.fails("gc", "-n", "--keep-best", wrong, status=2)


def test_gc_keeps_what_holds_no_number(plxnix: CommandLine) -> None:
    """A file that holds no number in one stage does not stop gc, and its result is kept."""
    plan = plxnix.ok("gc", "-n", "--keep-best", "report.txt:1", "--json").json
    (kept,) = (one for one, why in plan["kept"].items() if why == "report.txt holds no number")
    assert kept.endswith("-report")


def test_gc_sweeps_what_failures_left(plxnix: CommandLine) -> None:
    """Logs of stages that are gone go along, and are counted."""
    plxnix.ok("realize", "stages.py:report", "-o", "result")
    left_over = plxnix.store / "failed" / ("0" * 32 + "-gone.log.gz")
    left_over.write_bytes(b"x" * 2048)
    assert "would sweep 1 leftover of failures" in plxnix.ok("gc", "-n").err
    assert [one["path"] for one in plxnix.ok("gc", "--json").json["litter"]] == [str(left_over)]
    assert not left_over.exists()


def test_why(plxnix: CommandLine) -> None:
    """The chain from the root is drawn, one line each; without a root it says so and fails."""
    told = plxnix("why", "numbers")
    assert (told.status, told.out) == (1, b"")
    assert "no root keeps numbers" in told.err
    plxnix.ok("realize", "stages.py:report", "-o", "result")
    lines = plxnix.ok("why", "numbers").lines
    assert lines[0] == str(plxnix.folder / "result")
    assert [line.split("─ ")[1].split()[0] for line in lines[1:]] == ["report", "runs", "numbers"]
    assert [line.index("└── ") for line in lines[1:]] == [0, 4, 8]  # as `plxnix tree` draws
    assert plxnix.ok("why", "result", "numbers").lines == lines
    (chain,) = plxnix.ok("why", "report", "--json").json
    assert (chain["root"], len(chain["chain"])) == (lines[0], 1)
    assert "is no root" in plxnix.fails("why", "stages.py", "numbers")
    assert "at most" in plxnix.fails("why", "a", "b", "c", status=2)


def test_du_as_a_tree(plxnix: CommandLine) -> None:
    """Each realization stands below what was made from it, with what it takes with all below."""
    lines = plxnix.ok("du", "--tree", "report").lines
    assert [line.strip(" └─").split()[0] for line in lines] == ["report", "runs", "numbers"]
    sizes = [one["size"] for one in plxnix.ok("du", "report", "--json").json["realizations"]]
    assert f"{sum(sizes)} B" in lines[0] or "KiB" in lines[0]
    assert all("of its own" in line for line in lines)


def test_migrating_a_store(plxnix: CommandLine) -> None:
    """A store without its number is refused with the command that brings it up to date."""
    assert "newest format" in plxnix.ok("store", "migrate").err
    (plxnix.store / "version").unlink()
    assert "plxnix store migrate" in plxnix.fails("ls")
    assert plxnix.ok("store", "migrate", "--dry-run").lines == ["1"]
    assert plxnix.ok("store", "migrate", "--json").json["formats"] == [1]
    assert left(plxnix) == {"numbers": 1, "runs": 3, "report": 1}
    (plxnix.store / "version").write_text("7\n")
    assert "has format 7" in plxnix.fails("store", "migrate")


def test_verify_repairs(plxnix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is damaged is taken from another store; what nobody has is moved away, with status 1."""
    monkeypatch.setenv("PLXNIX_NIX_STORE", "off")  # Another test may have put it there.
    plxnix.ok("copy", "report", "--to", plxnix.folder / "backup")
    plxnix.ok("verify", "-j", "2")
    path = Path(plxnix.ok("path", "report/report.txt").lines[0])

    def damage() -> None:
        path.unlink()  # The copy may share its bytes.
        path.write_text("best: 3")
        path.chmod(0o444)

    damage()
    done = plxnix.ok("verify", "--from", plxnix.folder / "backup")
    (line,) = done.lines
    assert line.startswith("artifacts: ")
    assert line.endswith(f"; taken from the store {plxnix.folder / 'backup'}")
    assert "1 damaged, 1 repaired" in done.err
    assert "quarantine" in done.err
    assert path.read_text() == "best: 2"
    plxnix.ok("verify")
    damage()
    failed = plxnix("verify", "report", "--repair", "--json")
    assert failed.status == 1
    assert failed.json[0]["repaired"] == ""
    assert "Python code made it" in failed.json[0]["why_not"]
    assert not path.exists()
    assert plxnix.ok("realize", "stages.py:report").lines
    assert plxnix.ok("verify").out == b""


def test_verify_warns_of_others(plxnix: CommandLine) -> None:
    """A store that everybody may write into is no damage, but is said wherever it is opened."""
    plxnix.store.chmod(0o777)
    done = plxnix.ok("verify")
    assert done.out.startswith(b"access: everybody may write into ")
    assert "warning: everybody may write" in plxnix.ok("ls").err
