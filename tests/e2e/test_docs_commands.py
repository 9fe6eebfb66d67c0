"""The commands that the documents show: each is run as it stands there, or is named in `LEFT_OUT`.

The tutorials are run by `test_docs`; here are the pages for reference. What they fetch comes from
a server on loopback, and what they build is small.
"""

from __future__ import annotations

import grp
import io
import os
import re
import shlex
import tarfile
from pathlib import Path

import click
import pytest

from plxnix.cli.commands import cli
from tests.command_line import STAGES, CommandLine
from tests.conftest import needed
from tests.http_server import Answer, Server
from tests.nix_environment import NixEnv
from tests.wheels import Index, make_wheel

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

#: What is not run here, and why.
LEFT_OUT = {
    "nix flake init -t plxnix#pipeline": "the registry of flakes is not at hand",
    "nix flake init -t plxnix#python": "the registry of flakes is not at hand",
    "nix-build ./env --arg pkgs 'import <nixpkgs> { }'": "nixpkgs is not at hand",
}

BASH = {"NIX_BUILD_SHELL": "/bin/bash"}

#: Stages under the names of those of the examples.
HELLO = """
from plxnix import execute

def hello():
    return execute('mkdir -p "$out/bin"; echo hello > "$out/bin/hello"', name="hello")

def greeting():
    return execute(f'cat {hello() / "bin" / "hello"} > "$out"', name="greeting")
"""


def text_of(page: str) -> str:
    """Return the text of a page."""
    return (DOCS / f"{page}.md").read_text()


def commands(page: str) -> list[str]:
    """Return the commands that a page shows: in consoles, and those that are indented."""
    found = []
    language = None
    for line in text_of(page).splitlines():
        if line.startswith("```"):
            language = line[3:] if language is None else None
        elif language == "console" and line.startswith("$ "):
            found.append(line[2:])
        elif language is None and re.match(r"    (\$ )?(plxnix|nix|nix-\w+|chgrp|find) ?", line):
            found.append(line.strip().removeprefix("$ "))
    return [re.sub(r" {2,}#.*", "", command) for command in found]


def listings(page: str, language: str) -> list[str]:
    """Return the listings of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.DOTALL | re.MULTILINE)


class Reader:
    """Somebody who types what a page shows; `replaced` are places that differ here."""

    def __init__(self, plxnix: CommandLine, nix_env: NixEnv, replaced: dict[str, str]) -> None:
        self._plxnix = plxnix
        self._nix_env = nix_env
        self._replaced = replaced

    def types(self, command: str) -> str:
        """Run a command, which has to succeed, and return what it prints."""
        for old, new in self._replaced.items():
            command = command.replace(old, new)
        program, *words = shlex.split(command)
        if program == "plxnix":
            return self._plxnix.ok(*words).out.decode()
        printed: str = self._nix_env.run(program, *words, variables=BASH).stdout
        return printed

    def follows(self, page: str) -> dict[str, str]:
        """Run all commands of a page; return what each printed."""
        return {one: self.types(one) for one in commands(page) if one not in LEFT_OUT}


def test_there_are_commands() -> None:
    """They are found, and those that are left out are there."""
    shown = {page.stem: commands(page.stem) for page in DOCS.glob("*.md")}
    for page in ("check", "export", "lock", "nix-lib", "python", "store"):
        assert shown[page], page
    assert not LEFT_OUT.keys() - {command for several in shown.values() for command in several}


def test_locks(plxnix: CommandLine, nix_env: NixEnv, server: Server, tmp_path: Path) -> None:
    """docs/lock.md: the stage and the Nix expression have one path, that which is printed."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        member = tarfile.TarInfo("corpus/text")
        member.size = 5
        archive.addfile(member, io.BytesIO(b"text\n"))
    server.answer("/iris.csv", Answer(f"first of {tmp_path}\nsecond\n".encode()))
    for name in ("corpus.tar.gz", "hello-2.10.tar.gz"):
        server.answer(f"/{name}", Answer(packed.getvalue()))
    reader = Reader(plxnix, nix_env, {"https://example.org": server.url("")})
    printed = reader.follows("lock")
    shown = {first: text.splitlines() for first, text in printed.items()}
    (python,), (nix,) = listings("lock", "python"), listings("lock", "nix")
    file = plxnix.file(python)
    plxnix.ok("realize", f"{file}:first")
    (tmp_path / "default.nix").write_text(f"let plxnix.lib = import {ROOT}/nix/lib; in {nix}")
    path = nix_env.build(tmp_path / "default.nix")
    assert [os.fspath(path)] in shown.values()
    assert "/nix/store/" in shown[commands("lock")[-1]][1]


def test_checks(plxnix: CommandLine, nix_env: NixEnv, bubblewrap: str, tmp_path: Path) -> None:
    """docs/check.md: at its end Nix builds nothing."""
    assert bubblewrap
    (tmp_path / "examples").mkdir()
    (tmp_path / "examples" / "hello.py").write_text(HELLO + f"# {tmp_path}\n")
    printed = Reader(plxnix, nix_env, {}).follows("check")
    result = os.readlink(tmp_path / "result")
    assert printed["nix-build"].strip() == result
    assert Path(result).read_text() == "hello\n"


def test_exports(plxnix: CommandLine, nix_env: NixEnv) -> None:
    """docs/export.md: results of Python get into the Nix store, where the export finds them."""
    plxnix.file(STAGES, "experiment.py")
    printed = Reader(plxnix, nix_env, {}).follows("export")
    assert (Path(printed["nix-build"].strip()) / "report.txt").read_text() == "best: 2"


def test_nix_library(plxnix: CommandLine, nix_env: NixEnv, tmp_path: Path) -> None:
    """docs/nix-lib.md: the lock is written, its listings evaluate, and the shell has the stages."""
    plxnix.file(
        "from plxnix import execute, mknode\n"
        f"def data(): return mknode({{}}, {{'numbers': {str(tmp_path)!r}}}, 'data')\n"
        "def report(): return execute('cat $data/numbers > $out', name='report', data=data())\n",
        "experiment.py",
    )
    (tmp_path / "my-data").mkdir()
    reader = Reader(plxnix, nix_env, {})
    write, shell = commands("nix-lib")
    reader.types(write)
    evaluated = 0
    for listing in listings("nix-lib", "nix"):
        code = re.sub(r"^#.*", "", listing)
        if code.startswith(("plxnix = ", "{")) or '"sha256-..."' in code:
            continue  # A part of something, or not of this machine.
        evaluated += 1
        name = "shell.nix" if "mkShell" in code else "default.nix"
        (tmp_path / name).write_text(f"let plxnix = import {ROOT}/nix/lib; in\n{code}")
        assert nix_env.instantiate(tmp_path / name).endswith(".drv")
    assert evaluated == 4
    assert reader.types(shell) == "welcome\nnumbers\n"


def test_stores(plxnix: CommandLine, nix_env: NixEnv, tmp_path: Path) -> None:
    """docs/store.md: what takes space, what goes, what is damaged, and a group's store."""
    plxnix.file(STAGES)
    plxnix.ok("realize", "stages.py:report", "--out-link", "result")
    plxnix.ok("init", tmp_path / "backup")
    plxnix.ok("copy", "--to", tmp_path / "backup", "report")
    places = {
        "/mnt/backup/plxnix": f"{tmp_path}/backup",
        "/srv/plxnix": f"{tmp_path}/shared",
        "science": grp.getgrgid(os.getgid()).gr_name,
    }
    printed = Reader(plxnix, nix_env, places).follows("store")
    assert "runs" in printed["plxnix du --tree report"]
    assert (tmp_path / "result" / "report.txt").exists()


def test_environments(plxnix: CommandLine, nix_env: NixEnv, index: Index, tmp_path: Path) -> None:
    """docs/python.md: requirements, packages and a project become a folder that Nix builds."""
    needed("uv")
    index.add(make_wheel(index.folder, "pandas", "2.1"), make_wheel(index.folder, "numpy", "2.0"))
    index.add(make_wheel(index.folder, "requests", "2.0"))
    (tmp_path / "requirements.txt").write_text("requests\n")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "own"\nversion = "1"\ndependencies = ["requests"]\n'
        '[project.optional-dependencies]\nplot = ["numpy"]\n'
        '[dependency-groups]\ntest = ["pandas"]\n'
    )
    Reader(plxnix, nix_env, {}).follows("python")
    lock = (tmp_path / "env" / "pylock.toml").read_text()
    assert "requests-2.0-py3-none-any.whl" in lock


# -- what is mentioned ---------------------------------------------------------------------------

MENTIONED = sorted(
    {
        (page.name, mention)
        for page in (*DOCS.glob("*.md"), ROOT / "README.md")
        for mention in re.findall(r"`(plxnix [a-z][^`]*)`", page.read_text())
        if mention.split()[1] not in ("COMMAND",)
    }
)


@pytest.mark.parametrize(("page", "mention"), MENTIONED)
def test_what_is_mentioned_exists(page: str, mention: str) -> None:
    """Commands within the text have names and options that there are."""
    command: click.Command = cli
    words = mention.split()[1:]
    context = click.Context(command)
    while isinstance(command, click.Group) and words:
        _, found, words = command.resolve_command(context, words)
        assert found is not None, f"{page}: {mention}"
        command = found
        context = click.Context(command, parent=context)
    known = {
        name
        for parameter in command.get_params(context)
        for name in (*parameter.opts, *parameter.secondary_opts)
    }
    before_command = words[: words.index("--")] if "--" in words else words
    for word in before_command:
        option = re.match(r"\[?(--?[a-z][a-z-]*)", word)
        assert option is None or option[1] in known, f"{page}: {mention}"
