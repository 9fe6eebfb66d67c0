"""Commands with several outputs, and commands with a hash: what they make, and what is refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from plxnix import DRef
from plxnix.builders.outputs import check_order
from plxnix.errors import BuildFailed, HashMismatch, InvalidRefpath, InvalidValue
from plxnix.export.graph import ExportGraph
from plxnix.model import selfref
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from tests.http_server import Answer, Server
from tests.stage_samples import Lab

Run = Callable[..., DRef]

LIBRARY = """
    mkdir -p $out/lib $dev/include
    echo code > $out/lib/x; echo "lib is $out/lib" > $header; echo doc > $doc
"""


@pytest.fixture(params=["on", "off"])
def sandbox(request: pytest.FixtureRequest) -> str:
    """In the sandbox, and as a plain process."""
    if request.param == "on":
        request.getfixturevalue("bubblewrap")
    return str(request.param)


def library(run: Run, **options: object) -> DRef:
    """A stage with two folders and a file."""
    return run(
        LIBRARY,
        name="library",
        outputs=["out", "dev", "doc"],
        header=[selfref, "dev", "include/x.h"],
        **options,
    )


class TestOutputs:
    """Several outputs."""

    def test_each_is_an_entry(self, lab: Lab, run: Run, sandbox: str) -> None:
        """The realization holds a folder or a file for each, and the record says where they are."""
        rref = lab.realize(library(run), sandbox=sandbox)
        top, nix = Path(lab.store.path(rref)), lab.store.record(rref).nix
        assert sorted(os.listdir(top)) == ["dev", "doc", "out"]
        assert (top / "doc").read_text() == "doc\n"
        assert list(nix["outputs"]) == ["dev", "doc", "out"]
        assert nix["path"] == nix["outputs"]["out"]
        assert nix["outputs"]["dev"].endswith("-library-dev")
        said = (top / "dev" / "include" / "x.h").read_text()
        if sandbox == "on":
            assert said == f"lib is {nix['path']}/lib\n"
            assert nix["output_references"]["dev"] == [nix["path"]]
            assert nix["output_references"]["doc"] == []
            assert nix["references"] == {}
        assert lab.leftovers() == []

    def test_references_name_them(self, lab: Lab, run: Run, sandbox: str) -> None:
        """Refpaths, mentions, arguments and lists lead into one output."""
        below = library(run)
        above = run(
            name="above",
            builder="/bin/bash",
            arguments=[
                "-ec",
                f'cat "$1" $header $files {below}/doc > $out; test -d "$0"; '
                f"echo {below / 'out' / 'lib'}: >> $out",
                [below, "dev"],
                [below, "out", "lib/x"],
            ],
            header=below / "dev" / "include" / "x.h",
            files=[below / "doc", [below, "out", "lib", "x"]],
        )
        rref = lab.realize(above, sandbox=sandbox)
        lines = Path(lab.store.path(rref), rref.name).read_text().splitlines()
        assert [*lines[:1], *lines[2:5]] == ["code", "doc", "code", "doc"]
        assert lines[5].endswith(":")

    def test_only_what_is_referred_to_is_seen(self, lab: Lab, run: Run, bubblewrap: str) -> None:
        """As for Nix: the output, what it refers to, and what that does; not its other fellows."""
        del bubblewrap
        below = library(run)
        middle = run("mkdir $out; ln -s $to $out/to", name="middle", to=below / "dev" / "include")
        far = run("mkdir $out; ln -s $middle $out/to", name="far", middle=middle)
        seen = run("ls /nix/store > $out; cat $far/to/to/x.h", name="seen", far=far)
        rref = lab.realize(seen, sandbox="on")
        names = Path(lab.store.path(rref), "seen").read_text().split()
        assert sorted(name[33:] for name in names) == [
            *("far", "library", "library-dev", "middle", "seen"),
        ]

    def test_a_single_one_with_a_name(self, lab: Lab, run: Run, sandbox: str) -> None:
        """One output that is not `out` is named like several."""
        dref = run("echo 1 > $lib", outputs=["lib"])
        rref = lab.realize(dref, sandbox=sandbox)
        assert os.listdir(lab.store.path(rref)) == ["lib"]
        assert lab.store.record(rref).nix["path"].endswith("-execute-lib")

    def test_the_default_is_left_out(self, run: Run) -> None:
        """Configs with the one output `out` are what they were."""
        assert run("true", outputs=["out"]) == run("true")

    def test_a_pin(self, lab: Lab, run: Run) -> None:
        """If such a stage leaves as a pin, that is a folder, and the names lead into it."""
        below = library(run, deterministic=False)
        lab.realize(below)
        above = run(f"cat {below / 'doc'} $lib > $out", name="above", lib=[below, "out", "lib/x"])
        (item,) = ExportGraph(lab.closure(above)).targets[above]
        written = "".join(part for part in item.node.args[-1] if isinstance(part, str))
        assert "/doc" in written
        assert item.node.env["lib"][-1] == "/out/lib/x"

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("mkdir $out", r"nothing at \$dev"),
            ("mkdir $out; ln -s $out $dev", r"a link at \$dev"),
            ("mkdir $out $dev; mkfifo $dev/x", r"'\$dev/x', which is neither"),
        ],
    )
    def test_each_is_checked(
        self, lab: Lab, run: Run, sandbox: str, script: str, message: str
    ) -> None:
        """What would be refused of one output is refused of each."""
        dref = run(script, outputs=["out", "dev"])
        with pytest.raises(BuildFailed, match=message):
            lab.realize(dref, sandbox=sandbox)
        assert lab.store.realizations(dref) == []
        assert lab.leftovers() == []

    def test_circles(self, lab: Lab, run: Run, bubblewrap: str) -> None:
        """Outputs may refer to themselves and to each other, but not in a circle."""
        del bubblewrap
        lab.realize(run("echo $out > $out; echo $dev $out > $dev", outputs=["out", "dev"]))
        dref = run("echo $dev > $out; echo $out > $dev", outputs=["out", "dev"])
        with pytest.raises(BuildFailed, match="in a circle: dev, out"):
            lab.realize(dref, sandbox="on")
        check_order("x", {"a": ["b", "a"], "b": ["c"], "c": []})
        with pytest.raises(BuildFailed, match="circle: a, b, c"):
            check_order("x", {"a": ["b"], "b": ["c"], "c": ["a"], "d": []})

    @pytest.mark.parametrize("how", ["", "/lib", "/dev.x", "/dev-x/y"])
    def test_one_has_to_be_named(self, lab: Lab, run: Run, how: str) -> None:
        """A mention without an output, or with a stranger's name, lists those that there are."""
        below = library(run)
        for above in (
            run(f"ls {below}{how} > $out", name="above"),
            run("ls $x > $out", name="above", x=[below, *how.split("/")[1:]]),
        ):
            with pytest.raises(InvalidRefpath, match="has the outputs out, dev, doc"):
                lab.realize(above)

    @pytest.mark.parametrize("promise", [[selfref, "x"], [selfref], [selfref, "dev.x", "y"]])
    def test_promises_name_one(self, run: Run, promise: list[str]) -> None:
        """Promises are checked before anything is realized."""
        with pytest.raises(InvalidRefpath, match="the stage itself has the outputs out, dev"):
            run("true", outputs=["out", "dev"], x=promise)

    @pytest.mark.parametrize(
        "outputs",
        [[], "out", ["out", "out"], ["a-b"], ["drv"], ["1"], [1], ["out", "x"], ["args"], [""]],
    )
    def test_names(self, run: Run, outputs: list[str]) -> None:
        """Names that Nix does not take, or that are those of variables, are refused."""
        with pytest.raises(InvalidValue):
            run("true", outputs=outputs, x=1)


class TestHash:
    """Commands with a hash."""

    def test_it_is_checked(self, lab: Lab, run: Run, sandbox: str) -> None:
        """The right hash is accepted, in any form; for another the line to write is told."""
        flat = Hash.of_bytes(b"text\n")
        dref = run("echo text > $out", name="x", hash=flat.hex, hash_mode="flat")
        rref = lab.realize(dref, sandbox=sandbox)
        nix = lab.store.record(rref).nix
        assert nix["identical"] is True
        assert nix["path"].endswith("-x")
        wrong = run("echo other > $out", name="x", hash=flat.sri, hash_mode="flat")
        with pytest.raises(HashMismatch) as caught:
            lab.realize(wrong, sandbox=sandbox)
        got = Hash.of_bytes(b"other\n").sri
        assert (caught.value.expected, caught.value.found) == (flat.sri, got)
        assert f'write hash="{got}"' in str(caught.value)
        assert lab.store.realizations(wrong) == []
        assert lab.leftovers() == []

    def test_the_network(self, lab: Lab, run: Run, bubblewrap: str, tmp_path: Path) -> None:
        """It reaches servers, by the names and certificates that this machine has; others do not.

        What it makes is there afterwards: once is enough.
        """
        del bubblewrap
        body = os.urandom(20).hex().encode()
        with Server() as server:
            server.answer("/x", Answer(body))
            script = (
                f"exec 3<> /dev/tcp/localhost/{server.port}; "
                "printf 'GET /x HTTP/1.0\\r\\n\\r\\n' >&3; "
                "sed '1,/^\\r$/d' <&3 > $out; grep -q 'hosts: files dns' /etc/nsswitch.conf"
            )
            for path in ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"):
                if os.path.exists(path):
                    script += f"; test -s {path}"
            digest = Hash.of_bytes(body).sri
            dref = run(script, name="fetched", hash=digest, hash_mode="flat")
            with pytest.raises(BuildFailed):
                lab.realize(run(script, name="other", salt=str(tmp_path)), sandbox="on")
            assert server.requests == []
            for _ in range(2):
                rref = lab.realize(dref, sandbox="on")
            assert len(server.requests) == 1
        assert Path(lab.store.path(rref), "fetched").read_bytes() == body
        assert lab.store.record(rref).nix["sandboxed"] is True

    def test_trees(self, lab: Lab, run: Run, sandbox: str, tmp_path: Path) -> None:
        """By default the hash is that of the NAR; the path does not depend on the command."""
        tree = tmp_path / "tree"
        tree.mkdir()
        (tree / "x").write_text("1\n")
        (tree / "link").symlink_to("x")
        sri = nar_hash(tree)[0].sri
        drefs = [
            run(f"mkdir $out; echo 1 > $out/x; ln -s x $out/link; : {n}", name="tree", hash=sri)
            for n in range(2)
        ]
        rrefs = [lab.realize(dref, sandbox=sandbox) for dref in drefs]
        assert len({lab.store.record(rref).nix["path"] for rref in rrefs}) == 1
        assert len({lab.store.record(rref).nix["derivation"] for rref in rrefs}) == 2

    @pytest.mark.parametrize("script", ["mkdir $out", "echo 1 > $out; chmod +x $out"])
    def test_flat_is_a_plain_file(self, lab: Lab, run: Run, sandbox: str, script: str) -> None:
        """The bytes of what is no plain file have no hash."""
        dref = run(script, hash=Hash.of_bytes(b"1\n").sri, hash_mode="flat")
        with pytest.raises(BuildFailed, match="no plain file"):
            lab.realize(dref, sandbox=sandbox)

    def test_no_references(self, lab: Lab, run: Run, bubblewrap: str) -> None:
        """What has a hash holds no store paths, not its own either."""
        del bubblewrap
        dref = run("echo $out > $out", hash="sha256-" + "A" * 43 + "=")
        with pytest.raises(BuildFailed, match="holds the store path /nix/store/"):
            lab.realize(dref, sandbox="on")

    def test_impure_variables(
        self, lab: Lab, run: Run, sandbox: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Those that are listed are taken from the user's environment; others never are."""
        monkeypatch.setenv("TOKEN", "secret")
        monkeypatch.setenv("OTHER", "secret")
        said = b"secret--1\n"
        dref = run(
            'echo "${TOKEN}-${NONE}${OTHER-}-$NIX_OUTPUT_CHECKED" > $out',
            impureEnvVars=["TOKEN", "NONE"],
            hash=Hash.of_bytes(said).sri,
            hash_mode="flat",
        )
        lab.realize(dref, sandbox=sandbox)
        pure = run('echo "${TOKEN-none}" > $out', impureEnvVars="TOKEN")
        rref = lab.realize(pure, sandbox=sandbox)
        assert Path(lab.store.path(rref), rref.name).read_text() == "none\n"

    @pytest.mark.parametrize(
        "options",
        [
            {"hash": "x"},
            {"hash": 1},
            {"hash": "sha256-" + "A" * 43 + "=", "hash_mode": "nar"},
            {"hash": "sha256-" + "A" * 43 + "=", "deterministic": False},
            {"hash": "sha256-" + "A" * 43 + "=", "nouts": 2},
            {"hash": "sha256-" + "A" * 43 + "=", "outputs": ["out", "dev"]},
            {"environment": {"__structuredAttrs": True}},
            {"__structuredAttrs": True},
        ],
    )
    def test_refused(self, run: Run, options: dict[str, object]) -> None:
        """What makes no sense together is refused before anything is realized."""
        with pytest.raises(InvalidValue):
            run("true", **options)

    def test_in_configs(self, lab: Lab, run: Run) -> None:
        """The config says it in the words of Nix, by which no variable was called before."""
        dref = run("true", hash="sha256-" + "A" * 43 + "=")
        config = json.loads(lab.registry.derivations[dref].config.canonical)
        assert config["outputHashMode"] == "recursive"
        assert "hash" not in config
