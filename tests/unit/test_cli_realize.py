"""`plxnix realize` and `plxnix instantiate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from plxnix import Store
from tests.command_line import STAGES, CommandLine
from tests.http_server import Server


@pytest.fixture
def plxnix(plxnix: CommandLine) -> CommandLine:
    """The command line, in a folder with a file of stages."""
    plxnix.file(STAGES)
    return plxnix


def test_prints_the_result_and_nothing_else_on_standard_output(plxnix: CommandLine) -> None:
    """Standard output holds the references; what stages print and the summary go elsewhere."""
    done = plxnix.ok("realize", "stages.py:report")
    (rref,) = done.lines
    assert Store(plxnix.store).path(rref)
    assert "counting to 3" in done.err
    assert "realized 3 stages, 0 cached, in " in done.err


def test_second_time_does_nothing_and_says_so(plxnix: CommandLine) -> None:
    """What is realized is not realized again."""
    first = plxnix.ok("realize", "stages.py:report")
    second = plxnix.ok("realize", "stages.py:report")
    assert second.out == first.out
    assert "nothing to do: all 3 stages are realized (" in second.err
    assert "counting" not in second.err


def test_quiet_prints_results_only(plxnix: CommandLine) -> None:
    """With -q, before or after the command, standard error stays empty."""
    assert plxnix.ok("realize", "-q", "stages.py:numbers").err == ""
    assert plxnix.ok("-q", "realize", "stages.py:report").err == ""


def test_paths_are_printed_on_request(plxnix: CommandLine) -> None:
    """`--print paths` prints folders; `--print none` nothing."""
    (path,) = plxnix.ok("realize", "stages.py:report", "--print", "paths").lines
    assert Path(path, "report.txt").read_text() == "best: 2"
    assert plxnix.ok("realize", "stages.py:report", "--print", "none").out == b""


def test_json_tells_results_and_what_was_done(plxnix: CommandLine) -> None:
    """`--json` gives references, paths, what ran, what was cached, and the time it took."""
    plxnix.ok("realize", "stages.py:numbers")
    told = plxnix.ok("realize", "stages.py:report", "stages.py:runs", "--json").json
    assert [one["target"] for one in told["targets"]] == ["stages.py:report", "stages.py:runs"]
    assert [Path(one["paths"][0]).is_dir() for one in told["targets"]] == [True, True]
    assert len(told["realized"]) == 2
    assert [dref.endswith("-numbers") for dref in told["cached"]] == [True]
    assert told["seconds"] >= 0


def test_dry_run_tells_what_would_run_and_why(plxnix: CommandLine) -> None:
    """`--dry-run` runs nothing and gives a reason for each stage that would run."""
    dry = plxnix.ok("realize", "stages.py:report", "--dry-run")
    assert [(row[0], row[2], row[3]) for row in dry.fields] == [
        ("numbers", "would run", "never realized"),
        ("runs", "would run", "depends on numbers, which would be realized"),
        ("report", "would run", "depends on runs, which would be realized"),
    ]
    assert not list(Store(plxnix.store).derivations())
    plxnix.ok("realize", "stages.py:report")
    told = plxnix.ok("realize", "stages.py:runs", "-a", "rate=0.7", "--dry-run", "--json").json
    assert [one["would_run"] for one in told] == [False, True]
    assert "rate changed from 0.5 to 0.7" in told[1]["reason"]
    assert "nothing to do" in plxnix.ok("realize", "stages.py:report", "-n").err


def test_force_runs_the_target_again(plxnix: CommandLine) -> None:
    """`--force` runs the target, and only it."""
    plxnix.ok("realize", "stages.py:report")
    assert "realized 1 stage, 2 cached" in plxnix.ok("realize", "stages.py:report", "--force").err


def test_out_links_keep_all_results(plxnix: CommandLine) -> None:
    """`--out-link` makes a link for each result, and garbage collection spares them."""
    plxnix.file(STAGES.replace('match_best("score.txt")', 'match_best("score.txt", top=2)'))
    done = plxnix.ok("realize", "stages.py:runs", "--out-link", "result")
    store = Store(plxnix.store)
    links = [plxnix.folder / "result", plxnix.folder / "result-2"]
    assert [str(link.readlink()) for link in links] == [store.path(rref) for rref in done.lines]
    plxnix.ok("gc")
    assert [link.exists() for link in links] == [True, True]


def test_out_link_over_a_file_is_refused_before_any_work(plxnix: CommandLine) -> None:
    """A place that is taken is found before stages run, and is not touched."""
    (plxnix.folder / "result").write_text("mine")
    said = plxnix.fails("realize", "stages.py:report", "-o", "result")
    assert "result is there already and is no symbolic link" in said
    assert (plxnix.folder / "result").read_text() == "mine"
    assert "counting" not in said


def test_arguments_are_json_or_text(plxnix: CommandLine) -> None:
    """`-a` passes JSON where the value is JSON, and a string otherwise."""
    (dref,) = plxnix.ok(
        "instantiate", "stages.py:numbers", "-a", "count=5", "-a", "name=n5", "-a", 'out=["x"]'
    ).lines
    config = Store(plxnix.store).config(dref)
    assert (config["count"], config["name"], config["out"]) == (5, "n5", ["x"])
    (dref,) = plxnix.ok("instantiate", "stages.py:numbers", "-a", "count=a b=c").lines
    assert Store(plxnix.store).config(dref)["count"] == "a b=c"


def test_text_stays_text(plxnix: CommandLine) -> None:
    """What a parameter takes decides how `-a` is read, in each kind of stage."""
    plxnix.file(
        "from plxnix import DRef, autostage, mkfile\n"
        "@autostage(release='1.0', size=1.5, out=None)\n"
        "def typed(release, size, tag: str, more=None): ...\n"
        "def plain(text: str, *, name='x', **more: str) -> DRef:\n"
        "    return mkfile(name, repr((text, more)).encode())\n",
        "typed.py",
    )
    given = ("release=2.10", "size=2.10", "tag=12", "more=2.10", "out=null")
    arguments = [word for one in given for word in ("-a", one)]
    (dref,) = plxnix.ok("instantiate", "typed.py:typed", *arguments).lines
    config = Store(plxnix.store).config(dref)
    found = [config[name] for name in ("release", "size", "tag", "more", "out")]
    assert found == ["2.10", 2.1, "12", "2.10", None]
    (rref,) = plxnix.ok("realize", "typed.py:plain", "-a", "text=1.0", "-a", "other=[]").lines
    assert plxnix.ok("cat", f"{rref}/x").out == b"('1.0', {'other': '[]'})"


def test_instantiate_realizes_nothing(plxnix: CommandLine) -> None:
    """`instantiate` prints references of derivations, once each, and runs nothing."""
    done = plxnix.ok("instantiate", "stages.py:runs", "stages.py:report", "stages.py:runs")
    assert [dref.split("-", 1)[1] for dref in done.lines] == ["runs", "report"]
    assert Store(plxnix.store).realizations(done.lines[0]) == []
    told = plxnix.ok("instantiate", "stages.py:runs", "--json").json
    assert told == [{"target": "stages.py:runs", "drefs": [done.lines[0]]}]


def test_failure_shows_place_log_and_what_to_do(plxnix: CommandLine) -> None:
    """A realizer that raises: stage, error, the user's own frames, last lines, the log's place.

    A log that is damaged is said to be.
    """
    plxnix.file(
        "from plxnix import autostage, selfref\n"
        "def helper():\n"
        "    raise ValueError('no such luck')\n"
        "@autostage(out=[selfref, 'x'])\n"
        "def broken(out):\n"
        "    for number in range(30):\n"
        "        print('step', number)\n"
        "    helper()\n",
        "bad.py",
    )
    said = plxnix.fails("realize", "bad.py")
    message = said[said.index("plxnix: error:") :]
    assert "-broken raised ValueError: no such luck" in message
    assert "  bad.py:8 in broken: helper()\n  bad.py:3 in helper: raise ValueError" in message
    assert "| step 10\n" in message
    assert "| step 29\n" in message
    assert "| step 9\n" not in message
    assert str(plxnix.store / "failed") in message
    assert "plxnix realize bad.py --keep-failed" in message
    assert "plxnix/realize" not in message
    log = plxnix.ok("log", "broken")
    assert log.lines == [f"step {number}" for number in range(30)]
    assert "failed" in log.err
    (kept,) = (plxnix.store / "failed").iterdir()
    kept.write_bytes(kept.read_bytes()[:-9])
    damaged = plxnix.fails("log", "broken")
    assert f"{kept} is damaged" in damaged
    assert "defect of plxnix" not in damaged


def test_debug_shows_the_traceback(plxnix: CommandLine) -> None:
    """`--debug` adds the traceback, of a realizer as of a file."""
    plxnix.file("from plxnix import autostage\n@autostage()\ndef f():\n    1 / 0\n", "bad.py")
    debugged = plxnix("--debug", "realize", "bad.py")
    assert debugged.status == 1
    assert "Traceback" in debugged.err
    assert "ZeroDivisionError" in debugged.err


def test_keep_failed_keeps_the_folder(plxnix: CommandLine) -> None:
    """`--keep-failed` keeps what the realizer has made so far, and says where."""
    plxnix.file(
        "from plxnix import autostage, selfref\n"
        "@autostage(out=[selfref, 'x'])\n"
        "def broken(out):\n"
        "    out.write_text('half')\n"
        "    raise ValueError\n",
        "bad.py",
    )
    plxnix.fails("realize", "bad.py")
    assert not list((plxnix.store / "failed").iterdir())
    assert "kept the failed folder" in plxnix.fails("realize", "bad.py", "--keep-failed")
    (folder,) = (plxnix.store / "failed").iterdir()
    assert (folder / "x").read_text() == "half"


def test_no_folder_of_a_download(plxnix: CommandLine, server: Server) -> None:
    """Where nothing would be kept, the folder is not offered: of a file that is not there."""
    plxnix.file(
        "from plxnix import fetchurl\n"
        f"def missing(): return fetchurl(url={server.url('/x')!r}, sha256={'0' * 64!r})\n",
        "bad.py",
    )
    message = plxnix.fails("realize", "bad.py:missing")
    assert "404" in message
    assert "--keep-failed" not in message


def test_what_was_realized_before_a_failure_stays(plxnix: CommandLine) -> None:
    """After a failure the next run goes on from where it stopped."""
    plxnix.file(STAGES.replace("extra.parent.mkdir()", "raise OSError('full')"))
    plxnix.fails("realize", "stages.py:report")
    assert "1 stage of 3 would run" in plxnix.ok("realize", "stages.py:report", "-n").err


def test_default_store_is_made_but_a_named_one_has_to_exist(
    plxnix: CommandLine, tmp_path: Path
) -> None:
    """The default store comes into being; --store with a typing error in it does not."""
    assert not plxnix.store.exists()
    plxnix.ok("instantiate", "stages.py:numbers")
    assert plxnix.store.exists()
    said = plxnix.fails("--store", tmp_path / "other", "realize", "stages.py:numbers")
    assert "there is no store at" in said
    assert "plxnix init" in said
    assert not (tmp_path / "other").exists()


def test_named_store_wins_over_fsinit_in_the_file(plxnix: CommandLine, tmp_path: Path) -> None:
    """A file that opens a store for itself is realized in the store of the command all the same."""
    plxnix.file(f"from plxnix import fsinit\nfsinit({str(tmp_path / 'own')!r})\n" + STAGES)
    plxnix.ok("init", "named")
    (path,) = plxnix.ok(
        "--store", "named", "realize", "stages.py:numbers", "--print", "paths"
    ).lines
    assert path.startswith(str(tmp_path / "named"))


def test_colliding_runs_join_targets(plxnix: CommandLine) -> None:
    """Several targets are one realization: what they share runs once."""
    done = plxnix.ok("realize", "stages.py:numbers", "stages.py:runs", "stages.py:report")
    assert len(done.lines) == 3
    assert done.err.count("counting") == 1


def test_wrong_usage_exits_with_2(plxnix: CommandLine) -> None:
    """Missing targets, unknown options and malformed arguments are usage errors."""
    assert "Missing argument" in plxnix.fails("realize", status=2)
    assert "-a" in plxnix.fails("realize", "stages.py", "-a", "rate", status=2)
    assert "--nope" in plxnix.fails("realize", "stages.py", "--nope", status=2)


def test_unencodable_output_survives(plxnix: CommandLine) -> None:
    """A stage that prints what is not valid Unicode does not break the run, nor its log."""
    plxnix.file(
        "from plxnix import autostage\n@autostage()\ndef odd():\n    print('caf\\udce9')\n",
        "odd.py",
    )
    plxnix.ok("realize", "odd.py")
    assert plxnix.ok("log", "odd").lines == ["caf?"]


def test_json_of_arguments_is_shown_as_it_was_given(plxnix: CommandLine) -> None:
    """The command that repeats a failure quotes arguments for a shell."""
    plxnix.file("from plxnix import autostage\n@autostage()\ndef f(x=None):\n    1 / 0\n", "bad.py")
    said = plxnix.fails("realize", "bad.py", "-a", 'x={"a": [1, "b c"]}')
    assert f"plxnix realize bad.py -a 'x={json.dumps({'a': [1, 'b c']})}' --keep-failed" in said
