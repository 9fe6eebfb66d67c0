"""`plxnix` commands that look: init, info, ls, cat, path, log, tree, du."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix import Store
from plxnix.cli.units import size_text, time_text
from tests.command_line import STAGES, CommandLine


@pytest.fixture
def plxnix(plxnix: CommandLine) -> CommandLine:
    """The command line, with a store in which the report of `STAGES` is realized."""
    plxnix.file(STAGES)
    plxnix.ok("realize", "stages.py:report", "-o", "result")
    return plxnix


def reference(plxnix: CommandLine, name: str) -> str:
    """Return the reference of the derivation with that name."""
    return next(row[1] for row in plxnix.ok("ls").fields if row[0] == name)


def damage(plxnix: CommandLine, name: str, ending: str) -> None:
    """Overwrite the record or the config of a derivation."""
    (path,) = (plxnix.store / "store-v1").glob(f"*-{name}/{ending}")
    path.chmod(0o600)
    path.write_text("{")


def test_init_makes_a_store_and_prints_its_place(plxnix: CommandLine, tmp_path: Path) -> None:
    """`init FOLDER` makes a store there; to say it again is no error."""
    assert plxnix.ok("init", tmp_path / "new").lines == [str(tmp_path / "new")]
    assert Store(tmp_path / "new").root == str(tmp_path / "new")
    assert "there already" in plxnix.ok("init", tmp_path / "new").err
    assert plxnix.ok("--store", tmp_path / "newer", "init").lines == [str(tmp_path / "newer")]
    assert plxnix.ok("init").lines == [str(plxnix.store)]


def test_init_where_there_is_a_file(plxnix: CommandLine) -> None:
    """A store cannot be made in the place of a file."""
    assert "cannot make a store" in plxnix.fails("init", "stages.py")


@pytest.mark.parametrize("command", ["ls", "info", "tree", "du", "gc", "verify"])
def test_commands_without_a_store(
    plxnix: CommandLine, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no store, the error says how to make one, and none is made."""
    assert "plxnix init" in plxnix.fails("--store", "nowhere", command)
    assert not Path("nowhere").exists()
    monkeypatch.setenv("PLXNIX_ROOT", "nowhere")
    assert "plxnix init" in plxnix.fails(command)
    assert not Path("nowhere").exists()


def test_ls_lists_derivations(plxnix: CommandLine) -> None:
    """Name, reference, realizations, size and age, sorted by name."""
    rows = plxnix.ok("ls").fields
    assert [(row[0], row[2]) for row in rows] == [("numbers", "1"), ("report", "1"), ("runs", "3")]
    assert all(row[1].startswith("dref:") for row in rows)
    told = plxnix.ok("ls", "--json").json
    assert [one["dref"] for one in told] == [row[1] for row in rows]
    store = Store(plxnix.store)
    sizes = [store.record(rref).nar_size for rref in store.realizations(told[2]["dref"])]
    assert told[2]["size"] == sum(sizes)
    assert told[2]["started"] > 1.7e9
    # A pipe has bytes and times to count with, a terminal what people read.
    assert [row[3:] for row in rows] == [
        [str(one["size"]), time_text(one["started"])] for one in told
    ]
    shown = plxnix.ok("--color", "always", "ls", "runs").out.decode()
    assert size_text(sizes[0]) in shown
    assert " ago" in shown or "just now" in shown


def test_namesakes_are_told_apart(plxnix: CommandLine) -> None:
    """On a terminal, stages of one name show what they differ in; into a pipe goes the name."""
    plxnix.ok("realize", "stages.py:runs", "-a", "rate=0.1")
    for words in (["ls"], ["find", "runs"], ["du"]):
        shown = plxnix.ok("--color", "always", *words).out.decode()
        assert "runs (rate=0.1)" in shown
        assert "runs (rate=0.5)" in shown
        assert "(" not in plxnix.ok(*words).out.decode()
    assert "-runs (rate=0.1)\n" in plxnix.fails("path", "runs")
    dref = plxnix.ok("instantiate", "stages.py:runs", "-a", "rate=0.2").lines[-1]
    config = plxnix.store / "store-v1" / dref.removeprefix("dref:") / "config.json"
    config.chmod(0o600)
    config.write_text("{")
    assert "runs (rate=0.1)" in plxnix.ok("--color", "always", "ls").out.decode()


def test_ls_with_a_pattern(plxnix: CommandLine) -> None:
    """A pattern chooses by name; one that fits nothing lists nothing."""
    assert [row[0] for row in plxnix.ok("ls", "r*").fields] == ["report", "runs"]
    assert plxnix.ok("ls", "x*").out == b""


def test_ls_of_a_derivation_lists_realizations(plxnix: CommandLine) -> None:
    """With a derivation, its realizations are listed; with several of a name, those."""
    dref = reference(plxnix, "runs")
    rrefs = sorted(Store(plxnix.store).realizations(dref))
    rows = plxnix.ok("ls", "runs").fields
    assert sorted(row[0] for row in rows) == rrefs
    told = plxnix.ok("ls", dref, "--json").json
    assert [row[1:4] for row in rows] == [
        [str(one["size"]), f"{one['stopped'] - one['started']:.3f}", time_text(one["started"])]
        for one in told
    ]
    assert sorted(one["rref"] for one in told) == rrefs
    assert sorted(one["output"] for one in told) == [0, 1, 2]
    plxnix.ok("instantiate", "stages.py:runs", "-a", "rate=0.1")
    assert [(row[0], row[2]) for row in plxnix.ok("ls", "runs").fields] == [
        ("runs", "0"),
        ("runs", "3"),
    ]


def test_ls_of_a_realization_lists_files(plxnix: CommandLine) -> None:
    """With a realization its files are listed, or those below a path in it; folders end in /."""
    rref = plxnix.ok("ls", "report").fields[0][0]
    assert [row[1] for row in plxnix.ok("ls", rref).fields] == [
        "more/",
        "more/extra.txt",
        "report.txt",
    ]
    assert plxnix.ok("ls", f"{rref}/more").fields == [["4", "extra.txt"]]
    assert plxnix.ok("ls", "result/more").fields == [["4", "extra.txt"]]
    assert plxnix.ok("ls", "./result/more/extra.txt").fields == [["4", "extra.txt"]]
    told = plxnix.ok("ls", "result", "--json").json
    assert told[1] == {"path": "more/extra.txt", "size": 4, "executable": False, "target": None}


def test_ls_shows_the_rest_where_something_is_damaged(plxnix: CommandLine) -> None:
    """A damaged record or config stops no listing; what is damaged is marked."""
    damage(plxnix, "numbers", "*[0-9a-f].json")
    rows = {row[0]: row[4] for row in plxnix.ok("ls").fields}
    assert "damaged" in rows["numbers"]
    assert "damaged" not in rows["runs"]
    assert "damaged" in plxnix.ok("ls", "numbers").fields[0][3]
    damage(plxnix, "runs", "config.json")
    assert len(plxnix.ok("ls").lines) == 3
    assert plxnix.ok("info", "--json").json["damaged"] == 1
    assert len(plxnix.ok("tree").lines) >= 3
    plxnix.ok("du")


def test_names_that_are_not_utf8_go_through_pipes_as_bytes(plxnix: CommandLine) -> None:
    """File names are bytes: a pipe gets them as they are, JSON as PEP 383 writes them."""
    plxnix.file(
        "from plxnix import autostage, selfref\nimport os\n"
        "@autostage(out=[selfref, 'x'])\n"
        "def odd(out):\n"
        "    out.write_text('')\n"
        "    with open(os.fsencode(out.parent) + b'/a\\xff', 'w'): pass\n",
        "odd.py",
    )
    plxnix.ok("realize", "odd.py", "-o", "odd-result")
    assert plxnix.ok("ls", "odd-result").out == b"0\ta\xff\n0\tx\n"
    assert plxnix.ok("ls", "odd-result", "--json").json[0]["path"] == "a\udcff"
    shown = plxnix.ok("--color", "always", "ls", "odd-result").out
    assert b"a\\xff" in shown
    assert plxnix.ok("cat", os.fsdecode(b"odd-result/a\xff")).out == b""


def test_cat_prints_bytes(plxnix: CommandLine) -> None:
    """`cat REF/PATH` gives the bytes of the file; PATH may be left out if there is one file."""
    assert plxnix.ok("cat", "report/report.txt").out == b"best: 2"
    assert plxnix.ok("cat", "result/more/extra.txt").out == b"more"
    assert plxnix.ok("cat", f"{reference(plxnix, 'report')}/report.txt").out == b"best: 2"
    assert plxnix.ok("cat", "numbers").out == b"0 1 2"


def test_cat_of_what_is_no_file(plxnix: CommandLine) -> None:
    """Folders with several files, missing files, and ambiguous stages are errors with advice."""
    assert "is a folder with 2 files" in plxnix.fails("cat", "report")
    assert "has no file 'absent'" in plxnix.fails("cat", "report/absent")
    assert "may mean 3 realizations" in plxnix.fails("cat", "runs/score.txt")
    assert plxnix.ok("cat", "runs/score.txt", "--latest").out == b"0"


@pytest.mark.parametrize("path", ["../../../version", "more/../../x", "more//extra.txt", "."])
def test_paths_cannot_leave_a_realization(plxnix: CommandLine, path: str) -> None:
    """A path with dots or empty parts is refused."""
    assert "a refpath cannot have the part" in plxnix.fails("cat", f"report/{path}")
    assert "a refpath cannot have the part" in plxnix.fails("path", f"report/{path}")


def test_cat_does_not_follow_links_out_of_the_store(plxnix: CommandLine) -> None:
    """A link in a realization that leads elsewhere is not read through; one inside is."""
    plxnix.file(
        "from plxnix import autostage, selfref\n"
        "@autostage(out=[selfref, 'out'], near=[selfref, 'near'], x=[selfref, 'x'])\n"
        "def links(out, near, x):\n"
        "    out.symlink_to('/etc/passwd')\n"
        "    x.write_text('x')\n"
        "    near.symlink_to('x')\n",
        "links.py",
    )
    plxnix.ok("realize", "links.py")
    assert "leads out of the store, to '/etc/passwd'" in plxnix.fails("cat", "links/out")
    assert plxnix.ok("cat", "links/near").out == b"x"
    assert plxnix.ok("find", "links", "-s", "out", "-s", "near").fields[0][1:] == ["", "x"]
    rref = plxnix.ok("ls", "links").fields[0][0]
    assert plxnix.ok("ls", rref).fields[1] == ["-", "out -> /etc/passwd"]


def test_path_prints_a_place(plxnix: CommandLine) -> None:
    """`path` gives an absolute path; of several realizations only if told which."""
    (path,) = plxnix.ok("path", "report/more").lines
    assert sorted(os.listdir(path)) == ["extra.txt"]
    assert "--latest" in plxnix.fails("path", "runs")
    told = plxnix.ok("path", "runs", "--latest", "--json").json
    assert Path(told["path"], "score.txt").read_text() == "0"
    assert told["rref"].endswith("-runs")


def test_log_prints_what_was_printed(plxnix: CommandLine) -> None:
    """`log` gives a realizer's output; for a derivation that of its last run, failed or not."""
    assert plxnix.ok("log", "numbers").lines == ["counting to 3"]
    assert plxnix.ok("log", "runs").out == b""
    plxnix.ok("instantiate", "stages.py:runs", "-a", "name=never")
    assert "was never realized" in plxnix.fails("log", "never")


def test_names_of_several_derivations(plxnix: CommandLine) -> None:
    """Only those that are realized count; of several such, --latest takes the newest."""
    plxnix.ok("instantiate", "stages.py:numbers", "-a", "count=2")
    assert plxnix.ok("cat", "numbers/numbers.txt").out == b"0 1 2"
    assert plxnix.ok("ls", "numbers/numbers.txt").fields == [["5", "numbers.txt"]]
    assert plxnix.ok("log", "numbers").lines == ["counting to 3"]
    plxnix.ok("realize", "stages.py:numbers", "-a", "count=2")
    for command in (("cat", "numbers/numbers.txt"), ("path", "numbers"), ("log", "numbers")):
        assert "'numbers' may mean 2 derivations" in plxnix.fails(*command)
    assert plxnix.ok("cat", "numbers", "--latest").out == b"0 1"
    assert plxnix.ok("log", "numbers", "--latest").lines == ["counting to 2"]


def test_tree_draws_what_was_selected(plxnix: CommandLine) -> None:
    """Each realization stands above those that it was made from; of the runs only the best."""
    best = os.path.basename(plxnix.ok("path", "result").lines[0])
    lines = plxnix.ok("tree", "report").lines
    assert [line[: -len(line.lstrip(" └─")) or None] for line in lines[1:]] == ["└── ", "    └── "]
    assert [line.lstrip(" └─").split()[0] for line in lines] == ["report", "runs", "numbers"]
    assert best[:12] in lines[0]
    plxnix.ok("instantiate", "stages.py:report", "-a", "name=later")
    unrealized = plxnix.ok("tree", "later").lines
    assert "(not realized)" in unrealized[0]
    assert "(3 realizations)" in unrealized[1]


def test_tree_marks_what_was_drawn_before(plxnix: CommandLine) -> None:
    """What is shared is drawn once and then marked; --depth cuts; all of it is the default."""
    plxnix.file(
        "from plxnix import autostage\n"
        "@autostage()\ndef a(): ...\n"
        "@autostage(x=a)\ndef b(x): ...\n"
        "@autostage(x=b)\ndef left(x): ...\n"
        "@autostage(x=left, y=b)\ndef top(x, y): ...\n",
        "shared.py",
    )
    plxnix.ok("realize", "shared.py:top")
    lines = plxnix.ok("tree", "top").lines
    assert sum(line.endswith("(*)") for line in lines) == 1
    assert [line.lstrip(" │├└─").split()[0] for line in lines] == ["top", "b", "a", "left", "b"]
    cut = plxnix.ok("tree", "top", "--depth", "1").lines
    assert [line.endswith("...") for line in cut] == [False, True, True]
    tops = [line for line in plxnix.ok("tree").lines if not line.startswith((" ", "│", "├", "└"))]
    assert [line.split()[0] for line in tops] == ["report", "runs", "runs", "top"]
    told = plxnix.ok("tree", "top", "--json").json
    assert [len(below) for below in told["made_from"].values()] == [2, 1, 1, 0]


def test_deep_trees_are_drawn(plxnix: CommandLine) -> None:
    """A chain deeper than what Python recurses is no trouble."""
    plxnix.file(
        "from plxnix import build_wrapper, match_only, mkdrv\n"
        "def chain(r):\n"
        "    dref = mkdrv({'name': 'end'}, match_only(), build_wrapper(print))\n"
        "    for n in range(1200):\n"
        "        dref = mkdrv({'name': 'link', 'of': dref}, match_only(), build_wrapper(print))\n"
        "    return dref\n",
        "deep.py",
    )
    (dref,) = plxnix.ok("instantiate", "deep.py").lines
    assert len(plxnix.ok("tree", dref).lines) == 1201


def test_du_shows_own_and_closure_sizes(plxnix: CommandLine) -> None:
    """Own sizes, greatest first; a closure counts what is shared once; the rest is announced."""
    store = Store(plxnix.store)
    told = plxnix.ok("du", "report", "--json").json
    sizes = {one["rref"]: one["size"] for one in told["realizations"]}
    assert sizes == {rref: store.record(rref).nar_size for rref in sizes}
    assert [rref.rpartition("-")[2] for rref in sizes] == ["report", "runs", "numbers"]
    assert told["total"] == told["realizations"][0]["closure_size"] == sum(sizes.values())
    limited = plxnix.ok("du", "--json", "-n", "2").json
    assert (limited["count"], len(limited["realizations"])) == (5, 2)
    rows = plxnix.ok("du", "-n", "2")
    assert len(rows.lines) == 2
    assert "3 of them not shown" in rows.err
    assert plxnix.ok("du", "--sort", "closure").fields[0][2] == "report"


def test_info_of_the_store(plxnix: CommandLine) -> None:
    """Place, format, counts, size, roots, durability."""
    told = plxnix.ok("info", "--json").json
    assert told["root"] == str(plxnix.store)
    assert (told["format"], told["derivations"], told["realizations"]) == (1, 3, 5)
    assert list(told["roots"]) == [str(plxnix.folder / "result")]
    assert told["fsync"] == "data"
    assert "realizations  5\n" in plxnix.ok("info").out.decode()


def test_info_of_references(plxnix: CommandLine) -> None:
    """A realization: config, context, hash, times, host. A derivation: config and realizations."""
    told = plxnix.ok("info", "result", "--json").json
    record = Store(plxnix.store).record(told["rref"])
    assert told["nar_hash"] == record.nar_hash
    assert told["config"]["name"] == "report"
    assert [len(rrefs) for rrefs in told["context"].values()] == [1]
    assert (told["started"], told["host"]) == (record.started, record.host)
    assert told["roots"] == [str(plxnix.folder / "result")]
    told = plxnix.ok("info", "runs", "--json").json
    assert told["dependencies"] == [reference(plxnix, "numbers")]
    assert len(told["realizations"]) == 3
    text = plxnix.ok("info", "result").out.decode()
    assert "nar hash  sha256-" in text
    assert '"name": "report"' in text
