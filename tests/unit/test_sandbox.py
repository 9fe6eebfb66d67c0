"""The sandbox's setting, its trial, and what a command sees in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, Registry, Store, current_registry, execute, instantiate, mkfile, realize1
from plxnix.builders import sandbox
from plxnix.builders.namespaces import shown_paths
from plxnix.builders.outputs import find_references
from plxnix.builders.sandbox import run_sandboxed
from plxnix.builders.sandboxing import Sandboxing
from plxnix.errors import BuildFailed, InvalidSetting, ToolMissing
from plxnix.nix.derivation import Derivation, Output, placeholder
from plxnix.realize.run import Observer
from tests.stage_samples import Lab

OUT = "/nix/store/" + "a" * 32 + "-x"


class Listening(Observer):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def said(self, dref: DRef, message: str) -> None:
        """Keep a message."""
        del dref
        self.told.append(message)


class TestSetting:
    """Where builders run."""

    def test_order(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is given counts, then the variable, then `auto`."""
        assert Sandboxing.parse(None) is Sandboxing.AUTO
        monkeypatch.setenv("PLXNIX_SANDBOX", "off")
        assert Sandboxing.parse(None) is Sandboxing.OFF
        assert Sandboxing.parse("on") is Sandboxing.ON

    def test_wrong(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An unknown word is refused, with what it is of."""
        with pytest.raises(InvalidSetting, match="sandbox is 'yes'"):
            Sandboxing.parse("yes")
        monkeypatch.setenv("PLXNIX_SANDBOX", "1")
        with pytest.raises(InvalidSetting, match="PLXNIX_SANDBOX is '1'"):
            Sandboxing.parse(None)

    def test_none_here(self, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without bubblewrap `on` fails, and `auto` says so once and goes on without the claim."""
        monkeypatch.setenv("PATH", str(tmp_path))
        one = execute('echo 1 > "$out"', name="one", registry=lab.registry)
        two = execute('cat "$one" > "$out"', name="two", one=one, registry=lab.registry)
        assert "not installed" in sandbox.why_not()
        with pytest.raises(ToolMissing, match="not installed"):
            lab.realize(two, sandbox="on")
        listening = Listening()
        rref = lab.realize(two, observer=listening)
        assert [message[:35] for message in listening.told] == [
            "builders run without a sandbox, as "
        ]
        nix = lab.store.record(rref).nix
        assert (nix["sandboxed"], nix["identical"]) == (False, False)

    def test_one_that_fails(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A bubblewrap that cannot make namespaces does not count; what it says is the reason."""
        program = tmp_path / "bwrap"
        program.write_text("#!/bin/sh\necho no namespaces >&2; exit 1\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert sandbox.available() is None
        assert "no namespaces" in sandbox.why_not()


@pytest.mark.usefixtures("bubblewrap")
class TestRecord:
    """What is claimed of results."""

    def realized(self, lab: Lab, dref: DRef, **options: Any) -> Any:
        """Realize a stage and return what its record says of Nix."""
        return lab.store.record(lab.realize(dref, **options)).nix

    def test_sandboxed(self, lab: Lab) -> None:
        """A sandboxed result of such inputs is claimed; it knows which of them it refers to."""
        data = mkfile("data", "x", registry=lab.registry)
        other = mkfile("other", "y", registry=lab.registry)
        dref = execute(
            'echo "$data" > "$out"; : $other', data=data, other=other, registry=lab.registry
        )
        nix = self.realized(lab, dref, sandbox="on")
        (rref,) = lab.store.realizations(data)
        assert (nix["sandboxed"], nix["identical"]) == (True, True)
        assert list(nix["references"].values()) == [rref]

    def test_over_a_plain_result(self, lab: Lab) -> None:
        """What was made from the result of a plain process is not claimed."""
        one = execute('echo 1 > "$out"', name="one", registry=lab.registry)
        two = execute('cat "$one" > "$out"', name="two", one=one, registry=lab.registry)
        self.realized(lab, one, sandbox="off")
        nix = self.realized(lab, two, sandbox="on")
        assert (nix["sandboxed"], nix["identical"]) == (True, False)


class TestSwitching:
    """A stage that was made by a plain process, and then in the sandbox."""

    def test_the_sandbox_prevails(self, lab: Lab, bubblewrap: str) -> None:
        """Its result is the one that is meant, whichever was made first."""
        del bubblewrap
        dref = execute('echo "$out" > "$out"', registry=lab.registry)
        above = execute('cat "$x" > "$out"', name="above", x=dref, registry=lab.registry)
        plain = lab.realize(dref, sandbox="off")
        old = lab.realize(above, sandbox="off")
        boxed = lab.realize(dref, sandbox="on", force_rebuild=True)
        assert plain != boxed
        assert lab.realize(dref, sandbox="off") == boxed
        assert lab.realize(dref, sandbox="off", force_rebuild=True) == boxed
        # What was made of the other is made again of this one.
        new = lab.realize(above, sandbox="on")
        assert new != old
        assert lab.store.record(new).nix["identical"] is True


class TestRunning:
    """`run_sandboxed`, without a store."""

    def run(self, bubblewrap: str, work: Path, script: str, **env: str) -> str:
        """Run a script as a derivation and return its output."""
        derivation = Derivation(
            name="x",
            system="x86_64-linux",
            builder=env.pop("builder", "/bin/sh"),
            args=("-c", script),
            env={"PATH": "/usr/bin:/bin", "out": OUT, **env},
            outputs={"out": Output(OUT)},
            input_derivations={},
            input_sources=frozenset(),
        )
        outputs, strays = run_sandboxed("x", bubblewrap, derivation, {}, work, bytearray().extend)
        assert strays == []
        return outputs["out"].read_text()

    def test_pass_as_file(self, bubblewrap: str, tmp_path: Path) -> None:
        """A variable that is passed as a file has the path that Nix gives it."""
        said = self.run(
            bubblewrap,
            tmp_path,
            'echo "$fooPath${foo-}" > $out; cat $fooPath >> $out',
            passAsFile="foo",
            foo=f"in {placeholder('out')}\n",
        )
        name = ".attr-1bp7cri8hplaz6hbz0v4f0nl44rl84q1sg25kgwqzipzd1mv89ic"
        assert said == f"/build/{name}\nin {OUT}\n"

    def test_the_builders_name(self, bubblewrap: str, tmp_path: Path) -> None:
        """A builder is called by its bare name, as by Nix."""
        assert self.run(bubblewrap, tmp_path, 'echo "$0" > $out') == "sh\n"

    def test_what_can_be_written_to(self, bubblewrap: str, tmp_path: Path) -> None:
        """Its own folders only: what makes its home, or a file in `/etc`, fails as in Nix."""
        script = """
            for i in / /etc /nix /dev /bin $HOME /nix/store /dev/shm /tmp /build; do
                mkdir -p $i/new 2> /dev/null && rmdir $i/new && echo $i >> $out
            done; :
        """
        said = self.run(bubblewrap, tmp_path, script)
        assert said.split() == ["/nix/store", "/dev/shm", "/tmp", "/build"]

    def test_variables_do_not_reach_bubblewrap(self, bubblewrap: str, tmp_path: Path) -> None:
        """Odd names and values arrive as they are."""
        odd = {"a b": "1\n2", "LD_PRELOAD": "/no/such", "é": "ü", "x": "--bind"}
        said = self.run(bubblewrap, tmp_path, 'tr "\\0" "\\n" < /proc/self/environ > $out', **odd)
        assert {"a b=1", "2", "LD_PRELOAD=/no/such", "é=ü", "x=--bind"} <= set(said.split("\n"))

    @pytest.mark.parametrize(
        ("builder", "message"),
        [("/usr/bin/no-such", "cannot start"), ("/opt/x", "not in the sandbox"), ("sh", "not in")],
    )
    def test_no_builder(self, bubblewrap: str, tmp_path: Path, builder: str, message: str) -> None:
        """A builder that is not there is named before anything runs."""
        with pytest.raises(BuildFailed, match=message):
            self.run(bubblewrap, tmp_path, "", builder=builder)

    def test_structured_attributes(self, bubblewrap: str, tmp_path: Path) -> None:
        """They are refused."""
        with pytest.raises(BuildFailed, match="structured attributes"):
            self.run(bubblewrap, tmp_path, "", __structuredAttrs="1")


class TestShownPaths:
    """`PLXNIX_SANDBOX_PATHS`."""

    def test_reading(self, tmp_path: Path) -> None:
        """Paths as Nix writes them; those that are not there can be left out."""
        here, gone = str(tmp_path), str(tmp_path / "gone")
        told = f"/opt/x={here}:{here}: :/y={gone}?:{here}/../{tmp_path.name}/?"
        assert shown_paths({"PLXNIX_SANDBOX_PATHS": told}) == {
            "/opt/x": here,
            here: f"{here}/../{tmp_path.name}/",
        }
        assert shown_paths({}) == {}

    @pytest.mark.parametrize(
        "told",
        ["x", "/x=y", "x=/usr", "/no/such", "/=/usr", "/nix/store/x=/usr", "/nix=/usr", "//=/usr",
         "/build=/usr", "/tmp=/usr", "/etc=/usr", "/proc=/usr", "/x/../etc=/usr"],
    )  # fmt: skip
    def test_refused(self, told: str) -> None:
        """What is no path, is not there, or would hide the sandbox's own."""
        with pytest.raises(InvalidSetting, match="PLXNIX_SANDBOX_PATHS holds"):
            shown_paths({"PLXNIX_SANDBOX_PATHS": told})

    def test_they_are_seen(
        self, lab: Lab, bubblewrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """They can be read and not written, and the record names them."""
        del bubblewrap
        (tmp_path / "data").write_text("data\n")
        monkeypatch.setenv("PLXNIX_SANDBOX_PATHS", f"/opt/here={tmp_path}")
        dref = execute(
            "cp /opt/here/data $out; if echo > /opt/here/data; then exit 3; fi",
            registry=lab.registry,
        )
        rref = lab.realize(dref, sandbox="on")
        assert Path(lab.store.path(rref), rref.name).read_text() == "data\n"
        nix = lab.store.record(rref).nix
        assert nix["sandbox_paths"] == [f"/opt/here={tmp_path}"]
        assert nix["identical"] is True
        monkeypatch.setenv("PLXNIX_SANDBOX_PATHS", "/no/such")
        with pytest.raises(InvalidSetting):
            lab.realize(dref, sandbox="on", force_rebuild=True)

    def test_a_builder_in_them(
        self, lab: Lab, bubblewrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The builder itself may be there."""
        del bubblewrap
        program = tmp_path / "builder"
        program.write_text("#!/bin/sh\necho $0 > $out\n")
        program.chmod(0o755)
        dref = execute(builder="/opt/here/builder", registry=lab.registry)
        with pytest.raises(BuildFailed, match="not in the sandbox"):
            lab.realize(dref, sandbox="on")
        monkeypatch.setenv("PLXNIX_SANDBOX_PATHS", f"/opt/here={tmp_path}")
        rref = lab.realize(dref, sandbox="on")
        assert Path(lab.store.path(rref), rref.name).read_text() == "/opt/here/builder\n"


def test_references(tmp_path: Path) -> None:
    """They are found in contents, also across pieces, in names and in targets of links."""
    paths = ["/nix/store/" + letter * 32 + "-n" for letter in "abcdf"]
    digits = [path[11:43] for path in paths]
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "big").write_bytes(b"-" * ((1 << 20) - 7) + digits[0].encode() + b"-" * (1 << 20))
    (tree / digits[1]).write_text("")
    (tree / "link").symlink_to(f"x{digits[2]}")
    (tree / "part").write_text(digits[3][1:])
    assert find_references(tree, paths) == set(paths[:3])


def test_what_is_not_deterministic_runs_free(tmp_path: Path, bubblewrap: str) -> None:
    """A command that was declared not deterministic may see the machine, and is claimed nothing."""
    del bubblewrap
    outside = tmp_path / "outside"
    outside.write_text("here")
    with current_registry(Registry(Store.init(tmp_path / "store"))) as registry:
        free = execute(f"cat {outside} > $out", name="free", deterministic=False)
        rref = realize1(instantiate(free))
        assert registry.store.record(rref).nix["sandboxed"] is False
        bound = execute(f"cat {outside} > $out", name="bound")
        with pytest.raises(BuildFailed):
            realize1(instantiate(bound))


@pytest.mark.usefixtures("bubblewrap")
def test_no_home(run: Callable[..., DRef], lab: Lab) -> None:
    """Who fails for want of a home is told what to do; who fails otherwise is not."""
    with pytest.raises(BuildFailed) as caught:
        lab.realize(run('mkdir -p "$HOME/.cache"; echo > "$out"'), sandbox="on")
    assert 'export HOME="$TMPDIR"' in caught.value.hint
    with pytest.raises(BuildFailed) as caught:
        lab.realize(run('echo "$HOME"; exit 3'), sandbox="on")
    assert "HOME" not in caught.value.hint
    assert lab.realize(
        run('export HOME="$TMPDIR"; mkdir -p "$HOME/.cache"; echo > "$out"'), sandbox="on"
    )


def test_a_quiet_builder(run: Callable[..., DRef], lab: Lab, bubblewrap: str) -> None:
    """One that prints nothing for a while is awaited, as long as anything in it could."""
    assert bubblewrap
    for script in ("sleep 0.8", "exec >&-; sleep 0.8", "sleep 300 & exec >&- 2>&-; sleep 0.8"):
        assert lab.realize(run(f'{script}; echo > "$out"'), sandbox="on")
