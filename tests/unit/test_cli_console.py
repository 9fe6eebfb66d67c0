"""The console, units, the table of commands, and the errors of the command line as a whole."""

from __future__ import annotations

import subprocess
import sys
import unicodedata
from collections.abc import Callable
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.cli.commands import COMMANDS, ELSEWHERE, Group, cli
from plxnix.cli.console import Cell, Console, visible, visible_name
from plxnix.cli.units import (
    age_text,
    counted,
    duration_text,
    parse_duration,
    parse_size,
    size_text,
    time_text,
)
from plxnix.errors import InvalidValue
from plxnix.version import VERSION
from tests.command_line import CommandLine


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (102400, "100 KiB"),
        (1 << 20, "1.0 MiB"),
        (5 << 30, "5.0 GiB"),
        (3 << 60, "3072 PiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    """Sizes have a binary unit and at most three digits, up to the greatest unit."""
    assert size_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.00 s"),
        (0.083, "0.08 s"),
        (1.23, "1.2 s"),
        (59.96, "1 min 0 s"),
        (185, "3 min 5 s"),
        (7800, "2 h 10 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    """Durations are told in the unit that fits."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("ago", "text"),
    [
        (-50, "just now"),
        (0.5, "just now"),
        (12, "12 s ago"),
        (185, "3 min ago"),
        (7800, "2 h ago"),
        (90000, "1 day ago"),
        (10 * 86400, "10 days ago"),
    ],
)
def test_ages(ago: float, text: str) -> None:
    """Ages are told in one unit; what lies in the future (another clock) is now."""
    assert age_text(1e9 - ago, 1e9) == text


def test_points_in_time() -> None:
    """Times are ISO 8601 in UTC."""
    assert time_text(1e9) == "2001-09-09T01:46:40Z"


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500", 500), ("10K", 10240), ("1.5 GiB", 3 << 29), ("2tb", 2 << 40), ("7B", 7)],
)
def test_reading_sizes(text: str, size: int) -> None:
    """Sizes are read with and without a unit, in any case."""
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("15min", 900),
        ("15m", 900),
        ("1.5h", 5400),
        ("30d", 2592000),
        ("2w", 1209600),
    ],
)
def test_reading_durations(text: str, seconds: float) -> None:
    """Durations are read in seconds to weeks."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("parse", [parse_size, parse_duration])
@pytest.mark.parametrize("text", ["", "x", "-1", "1e3", "10 apples", "K", "1 2"])
def test_what_is_no_quantity(parse: Callable[[str], Any], text: str) -> None:
    """What cannot be read is an error that shows it and how to write it."""
    with pytest.raises(InvalidValue, match="write it like"):
        parse(text)


def test_counts() -> None:
    """One is singular."""
    assert [counted(number, "stage") for number in (0, 1, 2)] == ["0 stages", "1 stage", "2 stages"]


@given(st.text(st.characters(codec=None)))
def test_nothing_harmful_reaches_a_terminal(text: str) -> None:
    """No control character but newline and tab is left, and nothing that cannot be encoded."""
    shown = visible(text)
    assert all(sign in "\n\t" or unicodedata.category(sign) not in ("Cc", "Cs") for sign in shown)
    assert "\u202e" not in shown
    assert not {"\n", "\t", "\x1b"} & set(visible_name(text))
    visible_name(text).encode()


def test_control_characters_are_shown_as_escapes() -> None:
    """Escapes say which character it is; carriage returns of progress bars end lines."""
    assert visible("a\x1b[31mb\x07") == "a\\x1b[31mb\\x07"
    assert visible("10%\r20%\r\n") == "10%\n20%\n"
    assert visible_name("a\nb\udcff\u202e") == "a\\x0ab\\xff\\u202e"
    assert visible("Grüße, 世界") == "Grüße, 世界"


def test_tables_in_pipes_and_on_terminals(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Into a pipe go whole values and tabs; drawn tables have heads and show escapes."""
    rows: list[list[str | Cell]] = [
        ["a\nb", Cell("abc", "abcdef")],
        ["[bold]c[/bold] :smile:", Cell("x\x1b", "x")],
    ]
    Console().table(["NAME", "HASH>"], rows)
    assert capfdbinary.readouterr().out == b"a\\nb\tabcdef\n[bold]c[/bold] :smile:\tx\n"
    Console(color="always").table(["NAME", "HASH>"], rows)
    drawn = capfdbinary.readouterr().out
    assert b"NAME" in drawn
    assert b"a\\x0ab" in drawn
    assert b"abcdef" not in drawn
    assert b"[bold]c[/bold] :smile:" in drawn
    assert b"x\\x1b" in drawn


def _group(*words: str) -> Group:
    found = cli.get_command(click.Context(cli), words[0]) if words else cli
    assert isinstance(found, Group)
    return found


def test_colours_follow_the_option(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Errors are coloured if that is always wanted, and not in a pipe by default."""
    Console(color="always").error("wrong")
    assert b"\x1b[" in capfdbinary.readouterr().err
    for color in ("auto", "never"):
        Console(color=color).error("wrong\x1b", "do right", ["more"])
        err = capfdbinary.readouterr().err
        assert err == b"plxnix: error: wrong\\x1b\n  more\n  hint: do right\n"


@pytest.mark.parametrize(
    "words",
    [
        [*group, name]
        for group in ([], ["lock"], ["env"], ["nix"], ["store"])
        for name in _group(*group).list_commands(click.Context(cli))
    ],
    ids=" ".join,
)
def test_every_command_has_help_and_examples(words: list[str]) -> None:
    """Each command is found by its name, has its short help, and its help shows an example."""
    *group, name = words
    with click.Context(cli) as context:
        command = _group(*group).get_command(context, name)
    assert command is not None
    assert command.name == name
    assert command.get_short_help_str(100).endswith(".")
    if not isinstance(command, click.Group):
        with click.Context(command) as context:
            text = command.get_help(context)
        assert f"plxnix {' '.join(words)}" in text.partition("Examples:\n")[2]
        assert "--debug" not in text


def test_help_and_version(plxnix: CommandLine) -> None:
    """`--help` lists all commands; `--version` prints the version; both succeed."""
    text = plxnix.ok("--help").out.decode()
    for section in COMMANDS.values():
        for name, (_, short) in section.items():
            assert f"  {name}" in text
            assert short in text
    assert "_PLXNIX_COMPLETE" in text
    assert plxnix.ok("-h").out.decode() == text
    assert plxnix.ok("--version").out.decode() == f"plxnix {VERSION}\n"


def test_wrong_usage(plxnix: CommandLine) -> None:
    """Unknown commands and options exit with 2; a typing error gets the command that is like it."""
    assert "there is no command 'relaize'; is it 'realize'?" in plxnix.fails("relaize", status=2)
    assert "there is no command 'xyzzy'" in plxnix.fails("xyzzy", status=2)
    assert "there is no command 'build'; is it 'realize'?" in plxnix.fails("build", status=2)
    assert "no command 'version'; is it '--version'?" in plxnix.fails("version", status=2)
    assert "there is no command 'list'\n" in plxnix.fails("lock", "list", status=2)
    assert "there is no command 'remove'; is it 'rm'?" in plxnix.fails("lock", "remove", status=2)
    assert "--nope" in plxnix.fails("--nope", "ls", status=2)
    assert "--color" in plxnix.fails("--color", "blue", "ls", status=2)
    assert "hint: plxnix --help" in plxnix.fails("ls", "--store", status=2)
    said = plxnix.fails("realize", "stages.py:train", "--rate", "3", status=2)
    assert "hint: a stage gets a value by -a rate=VALUE; plxnix realize --help" in said
    assert "hint: plxnix ls --help" in plxnix.fails("ls", "--rate", "3", status=2)
    assert "hint: plxnix realize --help" in plxnix.fails("realize", "--dry-rum", status=2)


def test_what_is_meant_elsewhere_exists() -> None:
    """Each name of another program stands for a command, or an option, that there is."""
    with click.Context(cli) as context:
        for name, meant in ELSEWHERE.items():
            command, *words = meant.split()
            assert name not in cli.places
            known = cli.get_command(context, command) or cli
            options = {one for parameter in known.params for one in parameter.opts}
            assert options >= {word for word in words or [command] if word.startswith("-")}
            assert known is not cli or command.startswith("-")


@pytest.mark.parametrize("words", ["", "ls", "lock", "lock add", "env", "env lock"])
def test_help_of_commands(plxnix: CommandLine, words: str) -> None:
    """`help COMMAND` prints what `COMMAND --help` prints."""
    text = plxnix.ok("help", *words.split()).out
    assert text == plxnix.ok(*words.split(), "--help").out
    if words in ("lock", "env"):
        assert text == plxnix.ok(words, "help").out


def test_global_options_go_before_and_after_the_command(plxnix: CommandLine) -> None:
    """`--store` may stand on both sides; what is nearer to the command wins."""
    plxnix.ok("init", "here")
    assert plxnix.ok("--store", "here", "info", "--json").json["root"].endswith("here")
    assert plxnix.ok("info", "--json", "--store", "here").json["root"].endswith("here")
    assert plxnix.ok("--store", "there", "info", "--store", "here").status == 0
    assert plxnix.ok("store", "--store", "here", "migrate", "--json").json["store"] == "here"


def test_settings_that_mean_nothing(plxnix: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong environment variable is one clear message."""
    plxnix.ok("init")
    monkeypatch.setenv("PLXNIX_FSYNC", "maybe")
    assert "PLXNIX_FSYNC is 'maybe'" in plxnix.fails("ls")


def test_commands_import_what_they_need(plxnix: CommandLine) -> None:
    """Help of groups imports neither commands nor the store nor rich; `ls` no stages."""
    script = (
        "import sys\nfrom plxnix.cli import main\nmain(sys.argv[1:])\n"
        "names = [n for n in sys.modules if n.startswith('plxnix.') or n == 'rich']\n"
        "print(*sorted(names), file=sys.stderr)\n"
    )

    def imported_by(*words: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", script, *words], check=True, capture_output=True, text=True
        )
        return done.stderr.splitlines()[-1].split()

    own = ["plxnix.cli", "plxnix.cli.commands", "plxnix.cli.console", "plxnix.cli.session"]
    own += ["plxnix.cli.signals", "plxnix.errors", "plxnix.realize", "plxnix.version"]
    for words in (["--help"], ["lock", "--help"], ["env", "--help"], ["nix"], ["store", "--help"]):
        assert imported_by(*words) == own
    plxnix.ok("init")
    found = imported_by("ls")
    assert "plxnix.store" in found
    assert not [name for name in found if name.startswith(("plxnix.realize.", "rich"))]


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("plxnix ver", "plain,verify"),
        ("plxnix ls nu", "plain,numbers"),
        ("plxnix realize exp", "file,exp"),
        ("plxnix realize n.py:nu", "plain,n.py:numbers"),
        ("plxnix realize n.py :", "plain,numbers"),
        ("plxnix realize n.py : nu", "plain,numbers"),
        ("plxnix realize n.py : x", ""),
        ("plxnix realize absent.py:x", ""),
        ("plxnix --store /nowhere ls x", ""),
    ],
)
def test_completion(
    plxnix: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    completed: str,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Shells complete commands, derivations, files and what is in them; nothing has to be there."""
    plxnix.file("from plxnix import autostage\n@autostage()\ndef numbers(): ...\n", "n.py")
    plxnix.ok("instantiate", "n.py")
    monkeypatch.setenv("_PLXNIX_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit) as caught:
        plxnix()
    assert caught.value.code == 0
    assert capfdbinary.readouterr().out.decode().strip() == completed
