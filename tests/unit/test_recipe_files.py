"""`mknode` and `mkfile`: files that stand in configs."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix import (
    Config,
    DRef,
    Registry,
    Store,
    current_registry,
    instantiate,
    mkfile,
    mknode,
    realize1,
)
from plxnix.errors import BuildFailed, InvalidConfig, InvalidName, InvalidRefpath, PromiseMissing
from plxnix.model import selfref
from tests.stage_samples import Lab
from tests.store_samples import scratch_store

Make = Callable[..., DRef]


@pytest.fixture
def node(lab: Lab) -> Make:
    """`mknode` in the lab's registry."""
    return functools.partial(mknode, registry=lab.registry)


@pytest.fixture
def one(lab: Lab) -> Make:
    """`mkfile` in the lab's registry."""
    return functools.partial(mkfile, registry=lab.registry)


def contents(store: Store, dref: DRef, registry: Registry) -> dict[str, bytes]:
    """Realize a stage and return its files."""
    top = Path(store.path(realize1(instantiate(dref, registry=registry))))
    return {
        os.fspath(path.relative_to(top)): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file()
    }


class TestMkfile:
    """A stage that is one file."""

    def test_text(self, lab: Lab, one: Make) -> None:
        """Text is written as UTF-8, line ends as they are."""
        dref = one("a.txt", "é\r\nb")
        assert contents(lab.store, dref, lab.registry) == {"a.txt": "é\r\nb".encode()}
        assert lab.registry.derivations[dref].config["out"] == [selfref, "a.txt"]

    def test_text_and_its_bytes_are_one(self, one: Make) -> None:
        """The same contents, as text or as bytes, are one stage."""
        assert one("a", "é") == one("a", "é".encode()) == one("a", bytearray("é".encode()))
        assert one("a", "é") != one("a", "e")

    def test_a_name_for_the_file(self, lab: Lab, one: Make) -> None:
        """The file may be called otherwise than the stage, also in a folder."""
        dref = one("stage", "1", filename="dir/a b")
        assert contents(lab.store, dref, lab.registry) == {"dir/a b": b"1"}
        assert dref.name == "stage"

    @pytest.mark.parametrize("data", [b"\0", b"\xff\xfe", bytes(range(256)), b"a\0b"])
    def test_bytes(self, lab: Lab, one: Make, data: bytes) -> None:
        """What is no text is kept as well."""
        assert contents(lab.store, one("a", data), lab.registry) == {"a": data}

    def test_no_unicode(self, one: Make) -> None:
        """Text that is none is refused."""
        with pytest.raises(InvalidConfig, match="not valid Unicode"):
            one("a", "\udc80")

    @pytest.mark.parametrize("name", ["a b", "", "a/b", ".x", "x.drv"])
    def test_names(self, one: Make, name: str) -> None:
        """The stage's name is one that Nix takes."""
        with pytest.raises(InvalidName):
            one(name, "", filename="x")

    def test_registry(self, lab: Lab) -> None:
        """The registry may be given by all its names, by place, or be current."""
        with current_registry(lab.registry):
            expected = mkfile("a", "1")
        assert mkfile("a", "1", r=lab.registry) == expected  # type: ignore[call-arg]
        assert mkfile(lab.registry, "a", "1") == expected  # type: ignore[arg-type]
        assert mkfile("a", "1", None, lab.registry) == expected


class TestMknode:
    """A stage of a config and files."""

    def test_fields_and_files(self, lab: Lab, node: Make) -> None:
        """The config is the user's; files may be in folders."""
        dref = node({"a": 1, "out": [selfref, "x"]}, {"x": "1", "d/e/f": b"\0"}, "named")
        config = lab.registry.derivations[dref].config
        assert (config["a"], config.promises, dref.name) == (1, (("x",),), "named")
        assert contents(lab.store, dref, lab.registry) == {"x": b"1", "d/e/f": b"\0"}

    def test_no_files(self, lab: Lab, node: Make) -> None:
        """A node may be its config alone."""
        dref = node({"a": 1})
        assert contents(lab.store, dref, lab.registry) == {}
        assert dref.name == "mknode"

    @pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "a/", ".", "a\0"])
    def test_bad_paths(self, node: Make, path: str) -> None:
        """Paths that lead out, or to nothing, are refused."""
        with pytest.raises(InvalidRefpath):
            node({}, {path: ""})

    @pytest.mark.parametrize("field", ["__artifacts__", "__recipe__"])
    def test_reserved_fields(self, node: Make, field: str) -> None:
        """Our own fields cannot be the user's."""
        with pytest.raises(InvalidConfig, match=field) as caught:
            node({field: 1})
        assert caught.value.where == field

    def test_a_file_below_a_file(self, lab: Lab, node: Make) -> None:
        """What cannot be made fails, and leaves nothing."""
        dref = node({}, {"a": "1", "a/b": "2"})
        with pytest.raises(BuildFailed):
            lab.realize(dref)
        assert lab.leftovers() == []

    def test_promises(self, lab: Lab, node: Make) -> None:
        """A promise that no file keeps is found out."""
        with pytest.raises(PromiseMissing):
            lab.realize(node({"out": [selfref, "y"]}, {"x": ""}))

    def test_dependencies(self, lab: Lab, node: Make) -> None:
        """A node may stand on others."""
        below = node({"a": 1})
        rref = lab.realize(node({"below": below}))
        assert list(lab.store.record(rref).context) == [below]


names = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@given(st.dictionaries(names, st.binary() | st.text(), max_size=5))
def test_any_files(files: dict[str, Any]) -> None:
    """Whatever names and contents, the realization has just these files; the config is JSON."""
    with scratch_store() as store:
        registry = Registry(store)
        dref = mknode({}, files, registry=registry)
        expected = {
            name: data.encode() if isinstance(data, str) else data for name, data in files.items()
        }
        assert contents(store, dref, registry) == expected
        config = registry.derivations[dref].config
        assert Config.parse(config.canonical) == config
