"""Handing results over to the Nix store: where they land, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from plxnix import DRef, RRef, execute, fetchlocal, unpack
from plxnix.errors import ExportError, NotInStore, ToolMissing
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph, add_pin
from plxnix.nix import tools
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.nix.paths import fixed_path
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab


def realized(lab: Lab, content: str, name: str = "pin") -> RRef:
    """Realize a stage that writes a file."""
    rref: RRef = lab.realize(lab.stage(name, content=content, salt=str(lab.root)))
    return rref


def predicted(lab: Lab, rref: RRef) -> str:
    """Return where the pin of a realization is in the Nix store."""
    return fixed_path(rref.name, Hash.parse(lab.store.record(rref).nar_hash), recursive=True)


@pytest.mark.usefixtures("nix_env")
class TestPins:
    """`add_pin` puts a realization where its pin is."""

    def test_its_place(self, lab: Lab) -> None:
        """It is the one predicted, has the same contents, and Nix finds nothing wrong with it."""
        rref = realized(lab, f"contents {lab.root}")
        handed = add_pin(lab.store, rref)
        assert (handed.rref, handed.path, handed.fresh) == (rref, predicted(lab, rref), True)
        assert nar_hash(handed.path)[0].sri == lab.store.record(rref).nar_hash
        tools.run("nix-store", "--verify-path", handed.path)

    def test_again(self, lab: Lab) -> None:
        """What is there already is not added again."""
        rref = realized(lab, f"contents {lab.root}")
        first = add_pin(lab.store, rref)
        again = add_pin(lab.store, rref)
        assert (again.path, again.fresh) == (first.path, False)

    def test_a_changed_one(self, lab: Lab) -> None:
        """A realization that somebody has changed is refused, with its place."""
        rref = realized(lab, f"contents {lab.root}")
        file = Path(lab.store.path(rref), "out")
        file.chmod(0o644)
        file.write_text("changed")
        with pytest.raises(ExportError, match="was changed after it was realized") as caught:
            add_pin(lab.store, rref)
        assert lab.store.path(rref) in caught.value.message
        assert not tools.valid([predicted(lab, rref)])

    def test_one_that_is_gone(self, lab: Lab) -> None:
        """A reference that the store does not have is told."""
        with pytest.raises(NotInStore):
            add_pin(lab.store, RRef.make("0" * 32, DRef.make("1" * 32, "gone")))

    @pytest.mark.parametrize("before", [0, (1 << 20) - 43, (1 << 20) - 5, (1 << 20) - 1, 3 << 20])
    def test_references_to_the_store(self, lab: Lab, before: int) -> None:
        """A result that names a store path is refused, wherever in the file that stands."""
        path = f"/nix/store/{'0' * 32}-x"
        rref = realized(lab, "x" * before + path + str(lab.root))
        with pytest.raises(ExportError, match="holds a path of the Nix store") as caught:
            add_pin(lab.store, rref)
        assert f"{lab.store.path(rref)}/out" in caught.value.message
        assert not tools.valid([predicted(lab, rref)])

    def test_links_into_the_store(self, lab: Lab) -> None:
        """So is one with a link there."""
        for target in (f"/nix/store/{'0' * 32}-x", add_pin(lab.store, realized(lab, "x")).path):
            dref = execute(
                'mkdir "$out"; ln -s "$target" "$out/link"',
                target=target,
                deterministic=False,
                registry=lab.registry,
            )
            with pytest.raises(ExportError, match="/link holds a path of the Nix store"):
                add_pin(lab.store, lab.realize(dref))

    def test_talk_of_the_store(self, lab: Lab) -> None:
        """Text about the Nix store, without a path in it, is no reference."""
        rref = realized(lab, f"/nix/store/ and /nix/store/abc-x and /nix/store/{'e' * 32}-x")
        assert add_pin(lab.store, rref).fresh

    def test_odd_trees(self, lab: Lab) -> None:
        """Links, programs, empty folders and odd names arrive as they are."""
        dref = execute(
            """
                mkdir -p "$out/empty" "$out/a b"
                echo "$salt" > "$out/a b/é"
                ln -s /no/where "$out/link"
                echo > "$out/program"; chmod +x "$out/program"
            """,
            name="odd",
            deterministic=False,
            salt=str(lab.root),
            registry=lab.registry,
        )
        rref = lab.realize(dref)
        handed = add_pin(lab.store, rref)
        assert handed.path == predicted(lab, rref)
        assert nar_hash(handed.path) == nar_hash(lab.store.path(rref))

    def test_a_large_one(self, lab: Lab) -> None:
        """Files larger than what is read at once."""
        data = str(lab.root) * (1 << 16)
        rref = realized(lab, data)
        assert (Path(add_pin(lab.store, rref).path) / "out").read_text() == data


class TestGraphs:
    """`add_graph` puts all in place that an export needs and plxnix has."""

    def test_fetches_and_pins(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """Pins, and fetches as far as they are realized, so that Nix need not fetch them."""
        drefs = []
        for name in ("one", "two", "a b é"):
            file = tmp_path / name
            file.write_text(f"{name} {tmp_path}")
            digest = Hash.of_file(file, "sha256").hex
            drefs.append(fetchlocal(digest, file, mode="", registry=lab.registry))
        pin = lab.stage("pin", content=str(tmp_path))
        rrefs = lab.realize([drefs[0], drefs[2], pin])
        for name in ("one", "two", "a b é"):
            (tmp_path / name).unlink()
        top = execute('cat "$all" > "$out"', all=[*drefs, pin], registry=lab.registry)
        graph = ExportGraph(lab.closure(top))
        handed = add_graph(graph)
        assert [one.rref for one in handed] == rrefs
        assert {one.path for one in handed} == {
            graph.instantiation.path(item.node)
            for item in graph.items
            if item.lowered is not None and item.lowered.dref in (drefs[0], drefs[2], pin)
        }
        assert all(one.fresh for one in handed)
        assert not any(one.fresh for one in add_graph(graph))
        assert nix_env.version

    def test_a_changed_fetch(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """A fetched file that was changed in the store is refused."""
        file = tmp_path / "file"
        file.write_text(str(tmp_path))
        dref = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
        kept = Path(lab.store.path(lab.realize(dref)), "file")
        kept.chmod(0o644)
        kept.write_text("changed")
        with pytest.raises(ExportError, match="was changed"):
            add_graph(ExportGraph(lab.closure(dref)))
        assert nix_env.version

    def test_nothing_of_an_unpacked_fetch(self, nix_env: NixEnv, lab: Lab, tmp_path: Path) -> None:
        """An archive that was removed after unpacking is not there to be given."""
        file = tmp_path / "a.tar"
        file.write_bytes(bytes(10240))
        dref = fetchlocal(Hash.of_file(file).hex, file, registry=lab.registry)
        lab.realize(dref)
        assert add_graph(ExportGraph(lab.closure(dref))) == []
        whole = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
        top = unpack(whole, registry=lab.registry)
        lab.realize(top)
        assert len(add_graph(ExportGraph(lab.closure(top)))) == 1
        assert nix_env.version


def test_without_nix(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no Nix, that is said, with how to install it."""
    rref = realized(lab, "x")
    monkeypatch.setenv("PATH", os.fspath(lab.root))
    with pytest.raises(ToolMissing, match="nix-store is not installed"):
        add_pin(lab.store, rref)
