"""`execute`: what a command sees, what its config holds, and what becomes of its result."""

from __future__ import annotations

import gzip
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, RRef, match_all, match_latest, match_only, mkfile, selfref
from plxnix.errors import (
    AmbiguousMatch,
    BuildFailed,
    InvalidConfig,
    InvalidValue,
    NixFormatError,
    PromiseMissing,
    ToolMissing,
)
from plxnix.realize.run import LOG_LIMIT
from plxnix.recipes.toolchain import Host
from tests.stage_samples import Lab

Run = Callable[..., DRef]


def said(lab: Lab, dref: DRef) -> str:
    """Realize a command that writes a file at `$out`, and return its text."""
    rref = lab.realize(dref)
    return Path(lab.store.path(rref), rref.name).read_text()


def log(lab: Lab, rref: RRef) -> str:
    """Return what a realizer printed."""
    return gzip.decompress(Path(lab.store.layout.log(rref)).read_bytes()).decode()


class TestCommands:
    """A command is a script, or a program with arguments."""

    def test_a_folder(self, lab: Lab, run: Run) -> None:
        """What the script makes at $out is the realization."""
        rref = lab.realize(run('mkdir -p "$out/a"; echo 1 > "$out/a/b"'))
        assert Path(lab.store.path(rref), "a", "b").read_text() == "1\n"
        assert not lab.store.record(rref).flat

    def test_a_file(self, lab: Lab, run: Run) -> None:
        """A file at $out is the only file of a realization, called like the stage."""
        rref = lab.realize(run('echo 1 > "$out"', name="one"))
        assert os.listdir(lab.store.path(rref)) == ["one"]
        assert lab.store.record(rref).flat

    def test_an_executable_file(self, lab: Lab, run: Run) -> None:
        """The x bit of a file at $out stays."""
        rref = lab.realize(run('echo > "$out"; chmod +x "$out"', name="one"))
        assert Path(lab.store.path(rref), "one").stat().st_mode & stat.S_IXUSR

    def test_a_builder(self, lab: Lab, run: Run) -> None:
        """A program gets its arguments as they are."""
        arguments = ["-c", 'printf "<%s>" "$@" > "$out"', "", "a b", "", 3, True, "é\n"]
        assert said(lab, run(builder="/bin/bash", arguments=arguments)) == "<a b><><3><1><é\n>"

    def test_a_builder_from_a_stage(self, lab: Lab, run: Run) -> None:
        """The program may come out of another stage."""
        script = '#!/bin/sh\necho "built $1" > "$out"\n'
        program = run(f"mkdir $out; printf %s '{script}' > $out/x; chmod +x $out/x", name="p")
        assert said(lab, run(builder=program / "x", arguments=["it"])) == "built it\n"

    def test_arguments_are_no_refpath(self, lab: Lab, run: Run) -> None:
        """Each argument stands for itself, also after one that is a reference."""
        script = run("""echo 'printf "<%s>" "$@" > $out' > "$out" """, name="script")
        dref = run(builder="/bin/bash", arguments=[script, "", "https://example.org/x"])
        assert said(lab, dref) == "<><https://example.org/x>"
        assert lab.registry.derivations[dref].config.dependencies == (script,)
        itself = run(builder="/bin/mkdir", arguments=[selfref, "--"])
        assert os.listdir(lab.store.path(lab.realize(itself))) == []

    def test_an_empty_folder_to_work_in(self, lab: Lab, run: Run) -> None:
        """It starts in an empty folder that is gone afterwards."""
        place = said(lab, run('test -z "$(ls -A)"; touch x; pwd > "$out"')).strip()
        assert not os.path.exists(place)
        assert lab.leftovers() == []

    def test_it_stops_at_the_first_error(self, lab: Lab, run: Run) -> None:
        """A failing line fails the command."""
        with pytest.raises(BuildFailed, match="exited with 1"):
            lab.realize(run('false; echo > "$out"'))

    def test_its_code_is_its_config(self, lab: Lab, run: Run) -> None:
        """Equal commands are one derivation; another script, name, or field is another one."""
        same = [run("true", a=1) for _ in range(2)]
        others = [run("true", a=2), run("true "), run("true", a=1, name="b"), run("true", b=1)]
        assert len({*same, *others}) == 1 + len(others)
        assert lab.registry.derivations[same[0]].config["command"] == "true"


class TestVariables:
    """Fields and `environment` are the command's variables."""

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ("a b", "a b"),
            ("", ""),
            ("é\n$x", "é\n$x"),
            (3, "3"),
            (-(10**20), "-100000000000000000000"),
            (True, "1"),
            (False, ""),
            (None, ""),
            (["a", 1, True, False, "b"], "a 1 1  b"),
            (["", "a"], " a"),
            ([["a", "b"], [], "c"], "a b c"),
            (["a", []], "a "),
            ([], ""),
        ],
    )
    @pytest.mark.parametrize("place", ["field", "environment"])
    def test_values(self, lab: Lab, run: Run, value: Any, expected: str, place: str) -> None:
        """Values become text as Nix coerces them."""
        variables: Any = {"v": value} if place == "field" else {"environment": {"v": value}}
        assert said(lab, run('printf %s "$v" > "$out"', **variables)) == expected

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({"a": 1}, "{'a': 1}.*, which cannot be a variable"),
            ([{}], "{}.*, which cannot be a variable"),
            (1.5, "pass it as a string"),
            ([["a", 2.0]], "the number 2.0"),
        ],
    )
    def test_no_text(self, run: Run, value: Any, message: str) -> None:
        """Objects have no text, and that of fractions depends on the version of Nix: they are
        refused before anything is realized.
        """
        for fields in ({"v": value}, {"environment": {"v": value}}):
            with pytest.raises(InvalidValue, match=message):
                run("true", **fields)
        with pytest.raises(InvalidValue, match=message):
            run(builder="/bin/sh", arguments=[value])

    def test_variables_by_another_name(self, run: Run) -> None:
        """Who calls the environment `env` is told what it is called."""
        with pytest.raises(InvalidValue, match="no stage") as caught:
            run("true", env={"A": "1"})
        assert "env is {'A': '1'}" in caught.value.message
        assert "environment={" in caught.value.hint

    @pytest.mark.parametrize(
        "key",
        ["args", "builder", "name", "out", "outputHash", "outputs", "passAsFile", "system", "a=b"],
    )
    def test_reserved_names(self, lab: Lab, run: Run, key: str) -> None:
        """What Nix gives another meaning cannot be a variable, before anything is realized."""
        with pytest.raises(InvalidValue, match=f"variable called '{key}'"):
            run("true", environment={key: "1"})
        if key not in ("builder", "name", "outputs"):
            with pytest.raises(InvalidValue, match=f"variable called '{key}'"):
                run("true", **{key: "1"})
        assert lab.registry.derivations == {}

    def test_names_of_parameters(self, lab: Lab, run: Run) -> None:
        """Such a variable goes through `environment`, which also wins over fields."""
        command = 'echo "$tools $matcher $a" > "$out"'
        variables = {"tools": "hammer", "matcher": "2", "a": "inner"}
        assert said(lab, run(command, a="outer", environment=variables)) == "hammer 2 inner\n"

    def test_nothing_of_the_users(
        self, lab: Lab, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The user's environment does not reach the command; PATH is the toolchain's."""
        monkeypatch.setenv("SECRET_OF_THE_USER", "x")
        monkeypatch.setenv("PATH", os.environ["PATH"] + ":/own/bin")
        names = said(lab, run('env > "$out"')).splitlines()
        variables = dict(name.partition("=")[::2] for name in names)
        assert "SECRET_OF_THE_USER" not in variables
        assert variables["PATH"] == "/usr/local/bin:/usr/bin:/bin"
        assert variables["HOME"] == "/homeless-shelter"
        assert variables["name"] == "execute"

    def test_own_fields_are_no_variables(self, lab: Lab, run: Run) -> None:
        """What plxnix itself keeps in the config is not handed on."""
        dref = run('env > "$out"', tools=["gcc"], environment={"a": "1"}, deterministic=False)
        names = {line.partition("=")[0] for line in said(lab, dref).splitlines()}
        assert "a" in names
        assert not names & {"tools", "environment", "deterministic", "command", "__recipe__"}

    @pytest.mark.parametrize("place", ["command", "field"])
    def test_no_nul(self, lab: Lab, run: Run, place: str) -> None:
        """What no environment can hold is refused before the command runs."""
        dref = run("echo '\0'") if place == "command" else run("true", v="a\0b")
        with pytest.raises(NixFormatError, match="NUL"):
            lab.realize(dref)


class TestTools:
    """Tools are packages, and natively programs of this machine."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """The only folder in which programs are looked for."""
        made = tmp_path / "bin"
        made.mkdir()
        monkeypatch.setattr(Host, "folders", (str(made),))
        return made

    @pytest.mark.parametrize("tool", [5, "", "a b", "gcc; rm -r", "a..b", ["gcc"], "é"])
    def test_names(self, run: Run, tool: Any) -> None:
        """What names no package is refused as the stage is defined."""
        with pytest.raises(InvalidValue, match="is no tool"):
            run(':> "$out"', tools=["gcc", tool])
        assert run(':> "$out"', tools=["python3Packages.black", "_7zz", "gtk+3"])

    def test_a_program_is_missing(self, lab: Lab, run: Run, folder: Path) -> None:
        """It is named with the places where it was looked for, and the command does not run."""
        dref = run(': > "$ran"; : > "$out"', tools=["gnumake"], ran=str(folder / "ran"))
        with pytest.raises(ToolMissing, match="tool gnumake, but there is no make") as caught:
            lab.realize(dref, sandbox="off")
        assert str(folder) in caught.value.message
        assert not (folder / "ran").exists()
        (folder / "make").touch(0o755)
        assert lab.realize(dref, sandbox="off")

    def test_a_package_of_unknown_programs(self, lab: Lab, run: Run, folder: Path) -> None:
        """It may have programs of other names; if the command fails, that is told."""
        assert lab.realize(run(':> "$out"', tools=["zlib"]), sandbox="off")
        with pytest.raises(BuildFailed, match="which it names as tools") as caught:
            lab.realize(run("exit 3", tools=["gcc-unwrapped", "zlib"]), sandbox="off")
        assert f"{folder} have no program gcc-unwrapped or zlib" in caught.value.hint

    def test_a_path_of_its_own(self, lab: Lab, run: Run, folder: Path) -> None:
        """With its own PATH a command may have the programs from anywhere."""
        assert not list(folder.iterdir())
        assert lab.realize(run(':> "$out"', tools=["gnumake"], PATH="/x"), sandbox="off")


class TestReferences:
    """Whatever mentions a stage depends on it, and means the path of its realization."""

    def test_mentions(self, lab: Lab, run: Run) -> None:
        """References and refpaths in f-strings are paths."""
        data = mkfile("data.txt", "text", registry=lab.registry)
        dref = run(f'cat {data}/data.txt "{data / "data.txt"}" > "$out"')
        assert lab.registry.derivations[dref].config.dependencies == (data,)
        assert said(lab, dref) == "texttext"

    def test_fields(self, lab: Lab, run: Run) -> None:
        """References, refpaths and lists of them are variables with paths."""
        one, two = (mkfile(name, name, registry=lab.registry) for name in ("one", "two"))
        dref = run(
            'cat "$whole/one" "$file" $both > "$out"',
            whole=one,
            file=two / "two",
            both=[one / "one", [two, "two"]],
        )
        assert said(lab, dref) == "onetwoonetwo"

    def test_a_flat_dependency(self, lab: Lab, run: Run) -> None:
        """A stage that is a file is meant by its reference alone."""
        flat = run('echo flat > "$out"', name="flat")
        assert said(lab, run(f'cat {flat} "$same" > "$out"', same=flat)) == "flat\nflat\n"

    def test_a_flat_dependency_that_is_pinned(self, lab: Lab, run: Run) -> None:
        """So is one that is not deterministic; its file may be named as well."""
        flat = run('echo flat > "$out"', name="flat", deterministic=False)
        dref = run(f'cat {flat} {flat}/flat "$same" > "$out"', same=flat / "flat")
        assert said(lab, dref) == "flat\nflat\nflat\n"

    def test_several_selected(self, lab: Lab, run: Run) -> None:
        """Of several realizations the paths come one after the other, in the matcher's order."""
        many = lab.stage("many", content=["1", "2", "3"], matcher=match_latest(3))
        dref = run(
            f'echo $many > "$out"; echo {many} >> "$out"; cat {many / "out"} >> "$out"; '
            'echo >> "$out"; cat $files >> "$out"',
            many=many,
            files=many / "out",
        )
        rrefs = lab.realize(many)
        paths = " ".join(map(lab.store.path, rrefs))
        texts = "".join(map(lab.text, rrefs))
        rref = lab.realize(dref, sandbox="off")
        told = Path(lab.store.path(rref), rref.name).read_text()
        assert told == f"{paths}\n{paths}\n{texts}\n{texts}"

    def test_promises(self, lab: Lab, run: Run) -> None:
        """A promise is a path below $out, in fields and in the script."""
        rref = lab.realize(
            run(f'mkdir "$out"; echo 1 > "$table"; echo 2 > {selfref}/b', table=[selfref, "a"])
        )
        assert sorted(os.listdir(lab.store.path(rref))) == ["a", "b"]

    def test_a_promise_that_is_not_kept(self, lab: Lab, run: Run) -> None:
        """It fails with the promise's name."""
        with pytest.raises(PromiseMissing, match="promised a/b"):
            lab.realize(run('mkdir "$out"', table=[selfref, "a", "b"]))

    def test_a_printed_list(self, lab: Lab, run: Run) -> None:
        """A refpath that was formatted as a list is refused with the right way to write it."""
        data = mkfile("data.txt", "text", registry=lab.registry)
        with pytest.raises(InvalidValue, match="printed as a list"):
            lab.realize(run(f"cat {[data, 'data.txt']}"))

    def test_a_sliced_reference(self, lab: Lab, run: Run) -> None:
        """A piece of a reference would lose the dependency, so it is refused."""
        data = mkfile("data.txt", "text", registry=lab.registry)
        for piece in (data[:37], data.dhash, data[5:], data[3:]):
            with pytest.raises(InvalidValue, match="holds a part of"):
                run(f"cat {piece}")
            with pytest.raises(InvalidValue, match="holds a part of"):
                run("true", field=piece)

    def test_a_hash_is_no_piece(self, lab: Lab, run: Run) -> None:
        """Other runs of 32 hex digits, and pieces beside the whole, are the user's own affair."""
        data = mkfile("data.txt", "text", registry=lab.registry)
        assert run(f"echo {'0123456789abcdef' * 2}")
        assert run(f"echo {data} {data.dhash}")
        assert len(lab.registry.derivations) == 3


class TestNotDeterministic:
    """Competing results of a command."""

    def test_several_runs(self, lab: Lab, run: Run) -> None:
        """`nouts` runs give as many realizations, which the default matcher all wants."""
        rrefs = lab.realize(run('date +%N > "$out"', nouts=3))
        assert len(set(rrefs)) == 3

    def test_latest_by_default(self, lab: Lab, run: Run) -> None:
        """A command that is not deterministic gives its latest result."""

        def stage() -> DRef:
            return run('date +%N > "$out"', deterministic=False)

        first = lab.realize(stage())
        second = lab.realize(stage(), force_rebuild=True)
        assert first != second
        assert lab.realize(stage()) == second

    def test_wrongly_said_to_be_deterministic(self, lab: Lab, run: Run) -> None:
        """Two results of a deterministic command are found out."""
        lab.realize(run('date +%N > "$out"'))
        with pytest.raises(AmbiguousMatch):
            lab.realize(run('date +%N > "$out"'), force_rebuild=True)

    def test_a_matcher(self, lab: Lab, run: Run) -> None:
        """A matcher of one's own is taken."""
        matcher = match_all()
        dref = run("true", matcher=matcher)
        assert lab.registry.derivations[dref].matcher is matcher
        assert repr(lab.registry.derivations[run("true")].matcher) == repr(match_only())

    @pytest.mark.parametrize("nouts", [0, -1, True, "2", 1.0])
    def test_bad_numbers(self, run: Run, nouts: Any) -> None:
        """`nouts` is a whole number of at least 1, whatever the matcher."""
        with pytest.raises(InvalidValue, match="nouts is"):
            run("true", nouts=nouts, matcher=match_all())


class TestArguments:
    """What cannot be a stage is refused when it is registered."""

    @pytest.mark.parametrize("given", [{}, {"command": "a", "builder": "/b"}])
    def test_one_of_two(self, run: Run, given: Any) -> None:
        """A command or a builder, not both and not none."""
        with pytest.raises(InvalidValue, match="either a command"):
            run(**given)

    def test_kinds(self, run: Run) -> None:
        """Text is text, and lists are lists."""
        with pytest.raises(InvalidValue, match="the command is"):
            run(["true"])
        with pytest.raises(InvalidValue, match="tools is 'gcc'"):
            run("true", tools="gcc")
        with pytest.raises(InvalidValue, match="arguments is '-c'"):
            run(builder="/bin/sh", arguments="-c")
        with pytest.raises(InvalidConfig):
            run("true", field=object())

    def test_names(self, run: Run) -> None:
        """A name that Nix would refuse is made one that it takes."""
        assert run("true", name="my stage (2)").name == "my-stage--2-"


class TestFailing:
    """A command that fails leaves its log and nothing else."""

    def test_a_status(self, lab: Lab, run: Run) -> None:
        """The status is told, and what was printed is kept."""
        dref = run('echo "went wrong"; echo "twice" >&2; mkdir "$out"; exit 7')
        with pytest.raises(BuildFailed, match="exited with 7") as caught:
            lab.realize(dref)
        assert caught.value.dref == dref
        assert gzip.decompress(Path(caught.value.log).read_bytes()) == b"went wrong\ntwice\n"
        assert lab.leftovers() == []
        assert lab.store.realizations(dref) == []

    def test_killed(self, lab: Lab, run: Run) -> None:
        """A signal is told from a status."""
        with pytest.raises(BuildFailed, match="killed by signal 15"):
            lab.realize(run("kill $$; sleep 1"), sandbox="off")

    def test_nothing_made(self, lab: Lab, run: Run) -> None:
        """A command that makes nothing at $out has failed."""
        with pytest.raises(BuildFailed, match="made nothing at"):
            lab.realize(run("true"))

    def test_a_link(self, lab: Lab, run: Run) -> None:
        """A link at $out is no result, wherever it leads."""
        for target in ("/etc", "nowhere"):
            with pytest.raises(BuildFailed, match="made a link at"):
                lab.realize(run(f'ln -s {target} "$out"'))
        assert lab.leftovers() == []

    @pytest.mark.parametrize("script", ['mkfifo "$out"', 'mkdir "$out"; mkfifo "$out/x"'])
    def test_what_no_archive_holds(self, lab: Lab, run: Run, script: str) -> None:
        """A pipe is refused and removed."""
        with pytest.raises(BuildFailed, match="neither a file nor a folder nor a link"):
            lab.realize(run(script))
        assert lab.leftovers() == []

    def test_it_is_kept_if_asked(self, lab: Lab, run: Run) -> None:
        """The folder of a failed command stays with keep_failed, with what it had made."""
        dref = run('echo half > x; mkdir "$out"; exit 1', name="broken")
        with pytest.raises(BuildFailed):
            lab.realize(dref, keep_failed=True)
        found = list(Path(lab.store.layout.failed).rglob("build/x"))
        assert [path.read_text() for path in found] == ["half\n"]

    def test_read_only_leftovers(self, lab: Lab, run: Run) -> None:
        """Folders that a failed command has closed are removed as well."""
        with pytest.raises(BuildFailed):
            lab.realize(run('mkdir -p "$out/a" b/c; chmod 0 "$out/a" b/c b "$out"; exit 1'))
        assert lab.leftovers() == []


class TestLogs:
    """What a command prints is kept with its result."""

    def test_of_a_success(self, lab: Lab, run: Run) -> None:
        """Both streams, in their order."""
        assert log(lab, lab.realize(run('echo 1; echo 2 >&2; touch "$out"'))) == "1\n2\n"

    def test_a_long_one_is_cut_in_the_middle(self, lab: Lab, run: Run) -> None:
        """Of more than 16 MiB the beginning and the end are kept, and the gap is told."""
        rref = lab.realize(
            run('echo first; yes 123456789abcdef | head -c 30000000; echo last; touch "$out"')
        )
        kept = log(lab, rref)
        assert kept.startswith("first\n")
        assert kept.endswith("last\n")
        assert "bytes left out" in kept
        assert LOG_LIMIT // 2 < len(kept) < 1.6 * LOG_LIMIT


def test_what_the_record_says(lab: Lab, run: Run) -> None:
    """The record has the place in a Nix store, and that there was no sandbox."""
    record = lab.store.record(lab.realize(run('touch "$out"', name="noted"), sandbox="off"))
    assert record.nix["derivation"].endswith("-noted.drv")
    assert record.nix["path"].endswith("-noted")
    assert record.nix["sandboxed"] is False


def test_by_hand(lab: Lab, run: Run) -> None:
    """A recipe that is called outside of realize says what to do."""
    dref = run("true")
    with pytest.raises(BuildFailed, match="recipes run inside realize"):
        list(lab.registry.derivations[dref].realizer(lab.store, dref, {}, {}))
