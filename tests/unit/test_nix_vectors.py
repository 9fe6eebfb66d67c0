"""Everything that real Nix said (`tests/vectors`) is computed here to the byte."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plxnix.nix import aterm, nar, paths
from plxnix.nix.derivation import Derivation, Hasher, Output
from plxnix.nix.hashes import ALGORITHMS, Hash
from tests.nix_samples import data, tree_of_vector, vectors, write


def _cases() -> list[Any]:
    """Give each derivation, and where versions disagree each of theirs, as (drv path, case)."""
    found = []
    for case in vectors()["derivations"]:
        versions = {"": case} if case["agree"] else case["by_version"]
        for version, one in versions.items():
            found.append(pytest.param(one, id=f"{case['id']}{version}"))
    return found


def _in_order(derivations: dict[str, Derivation]) -> list[Derivation]:
    ordered: dict[str, Derivation] = {}
    while len(ordered) < len(derivations):
        for path, one in derivations.items():
            if path not in ordered and set(one.input_derivations) <= set(ordered):
                ordered[path] = one
    return list(ordered.values())


@pytest.mark.parametrize("case", _cases())
def test_derivations(case: Any) -> None:
    """Each .drv of the closure prints back, has its path, and the output paths follow from it."""
    texts = {path: data(text) for path, text in case["drvs"].items()}
    parsed = {}
    for path, text in texts.items():
        name = paths.split(path)[1].removesuffix(".drv")
        parsed[path] = aterm.parse(text, name)
        assert parsed[path].aterm() == text
        assert parsed[path].path == path
    hasher, other = Hasher(), Hasher()
    for complete in _in_order(parsed):
        bare = replace(
            complete,
            outputs={
                name: Output("", output.algorithm, output.hash)
                for name, output in complete.outputs.items()
            },
            env={key: text for key, text in complete.env.items() if key not in complete.outputs},
        )
        assert hasher.instantiate(bare) == complete
        assert other.add(complete) == complete.path
    outputs = parsed[case["drv_path"]].outputs
    assert {name: output.path for name, output in outputs.items()} == case["outputs"]


def test_fixed_paths() -> None:
    """Paths of fixed outputs, of each algorithm and both modes, are those of `nix-store`."""
    for case in vectors()["fixed_paths"]:
        digest = Hash.parse(case["hash_hex"], case["algo"])
        found = paths.fixed_path(case["name"], digest, case["mode"] == "recursive")
        assert found == case["path"], case


def test_text_paths() -> None:
    """Paths of text files are those of `builtins.toFile`."""
    for case in vectors()["text_paths"]:
        found = paths.text_path(case["name"], data(case["contents"]), case["references"])
        assert found == case["path"], case


def test_hashes() -> None:
    """Each hash has the three forms that Nix gives it, and each of them reads back."""
    for case in vectors()["hashes"]:
        digest = Hash.parse(case["base16"], case["algo"])
        assert (digest.hex, digest.base32, digest.sri) == (
            case["base16"],
            case["nix32"],
            case["sri"],
        )
        assert Hash.parse(case["nix32"], case["algo"]) == digest
        assert Hash.parse(case["sri"]) == digest


@pytest.mark.parametrize("case", vectors()["trees"], ids=lambda case: case["id"])
def test_trees(case: Any, tmp_path: Path) -> None:
    """A tree has Nix's NAR hash and size and its store paths, and comes back from its archive."""
    top = os.fsencode(tmp_path / "tree")
    write(tree_of_vector(case["tree"]), top)
    digest, size = nar.nar_hash(top)
    assert (digest.hex, size) == (case["nar_sha256_hex"], case["nar_size"])
    archive = b"".join(nar.dump(top))
    name = case["name"]
    for algorithm in ALGORITHMS:
        of_archive = Hash.of_bytes(archive, algorithm)
        assert of_archive.hex == case[f"nar_{algorithm}_hex"]
        recursive = case.get(f"add_fixed_recursive_{algorithm}")
        assert recursive in (None, paths.fixed_path(name, of_archive, recursive=True))
        flat = case.get(f"add_fixed_flat_{algorithm}")
        if flat is not None:
            assert paths.fixed_path(name, Hash.of_file(tmp_path / "tree", algorithm)) == flat
    assert paths.source_path(name, digest) == case["add"]
    assert nar.restore(io.BytesIO(archive), tmp_path / "copy") == size
    copy = hashlib.sha256(b"".join(nar.dump(tmp_path / "copy")))
    assert copy.hexdigest() == digest.hex
