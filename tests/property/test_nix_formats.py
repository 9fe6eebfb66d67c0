"""Laws of Nix's formats that hold for any value."""

from __future__ import annotations

import io
import os
import tempfile
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import InvalidHash, NixFormatError
from plxnix.nix import aterm, base32, nar, paths, quoting, text
from plxnix.nix.derivation import Derivation, Output
from plxnix.nix.graph import Instantiation, Node, Reference, references, topological
from plxnix.nix.graph import text as join
from plxnix.nix.hashes import ALGORITHMS, Hash
from tests.nix_samples import Tree, random_graph, read, trees, write

hashes = st.sampled_from(sorted(ALGORITHMS)).flatmap(
    lambda algorithm: st.builds(
        Hash,
        st.just(algorithm),
        st.binary(min_size=ALGORITHMS[algorithm], max_size=ALGORITHMS[algorithm]),
    )
)

#: Text as it stands for any bytes.
strings = st.text(max_size=20).filter(lambda one: not _has_surrogate(one)) | st.binary(
    max_size=20
).map(quoting.decode)


def _has_surrogate(one: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in one)


derivations = st.builds(
    Derivation,
    name=st.just("name"),
    system=strings,
    builder=strings,
    args=st.lists(strings, max_size=3).map(tuple),
    env=st.dictionaries(strings, strings, max_size=5),
    outputs=st.dictionaries(strings, st.builds(Output, strings, strings, strings), max_size=3),
    input_derivations=st.dictionaries(
        strings,
        st.sets(strings, max_size=3).map(lambda one: tuple(sorted(one, key=quoting.encode))),
    ),
    input_sources=st.frozensets(strings, max_size=3),
)


@given(st.binary(max_size=80))
def test_base32_is_undone(data: bytes) -> None:
    """What was encoded is decoded to the same bytes."""
    assert base32.decode(base32.encode(data)) == data


@given(st.text(alphabet=base32.ALPHABET, max_size=60))
def test_base32_has_one_text_for_a_value(digits: str) -> None:
    """Text is either refused or the very text that its bytes have."""
    try:
        data = base32.decode(digits)
    except InvalidHash:
        return
    assert base32.encode(data) == digits


@given(hashes)
def test_every_form_of_a_hash_reads_back(digest: Hash) -> None:
    """Hex, base 32, base 64, with or without prefix, and SRI are one hash."""
    assert Hash.parse(digest.sri) == Hash.parse(str(digest), digest.algorithm) == digest
    for form in (digest.hex, digest.hex.upper(), digest.base32, digest.base64):
        assert Hash.parse(form, digest.algorithm) == digest
        assert Hash.parse(f"{digest.algorithm}:{form}") == digest
    assert Hash.parse(digest.hex) == digest


@given(st.text(max_size=150), st.sampled_from([None, *ALGORITHMS]))
def test_any_text_is_a_hash_or_refused(form: str, algorithm: str | None) -> None:
    """Nothing but `InvalidHash` comes out of reading a hash, or a digest of the right size."""
    try:
        digest = Hash.parse(form, algorithm)
    except InvalidHash:
        return
    assert len(digest.digest) == ALGORITHMS[digest.algorithm]


@given(st.text(max_size=300) | st.text(alphabet="./drv-a", max_size=300))
def test_sanitised_names_are_legal_and_stay(name: str) -> None:
    """A sanitised name is legal, and sanitising it changes nothing; nor does it for legal ones."""
    sane = paths.sanitise_name(name)
    assert paths.check_name(sane) == sane
    assert paths.sanitise_name(sane) == sane


@given(derivations)
def test_derivations_are_parsed_back(derivation: Derivation) -> None:
    """Parsing what was printed gives the derivation, whatever bytes it holds."""
    assert aterm.parse(derivation.aterm(), "name") == derivation


@given(derivations, st.data())
def test_damaged_derivations_are_refused(derivation: Derivation, data: st.DataObject) -> None:
    """Text with a character changed is an error, or prints back as it is: nothing in between."""
    printed = quoting.decode(derivation.aterm())
    at = data.draw(st.integers(0, len(printed) - 1))
    damaged = (
        printed[:at]
        + data.draw(st.sampled_from(["", '"', "\\", ",", "[", "x"]))
        + printed[at + 1 :]
    )
    try:
        parsed = aterm.parse(damaged, "name")
    except NixFormatError:
        return
    assert quoting.decode(parsed.aterm()) == damaged


@given(trees)
def test_trees_come_back_from_their_archives(tree: Tree) -> None:
    """Unpacking an archive gives the tree, and leaves the stream behind the archive."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = os.fsencode(folder) + b"/one", os.fsencode(folder) + b"/two"
        write(tree, one)
        archive = b"".join(nar.dump(one))
        stream = io.BytesIO(archive + b"what follows")
        assert nar.restore(stream, two) == len(archive)
        assert stream.read() == b"what follows"
        assert read(two) == tree
        assert nar.nar_hash(two) == (Hash.of_bytes(archive), len(archive))


@given(trees, st.data())
def test_damaged_archives_are_refused(tree: Tree, data: st.DataObject) -> None:
    """A changed archive is refused and leaves nothing, or is exactly the archive of its result."""
    with tempfile.TemporaryDirectory() as folder:
        one, two = os.fsencode(folder) + b"/one", os.fsencode(folder) + b"/two"
        write(tree, one)
        archive = bytearray(b"".join(nar.dump(one)))
        at = data.draw(st.integers(0, len(archive) - 1))
        archive[at] = data.draw(st.integers(0, 255))
        end = data.draw(st.integers(at + 1, len(archive)))
        damaged = bytes(archive[:end])
        try:
            size = nar.restore(io.BytesIO(damaged), two, limit=len(archive))
        except (NixFormatError, OSError):
            assert os.listdir(folder) == ["one"]
            return
        assert b"".join(nar.dump(two)) == damaged[:size]


@given(st.lists(st.text(alphabet="ab.-'_ 1", max_size=4) | st.sampled_from(sorted(text.GLOBALS))))
def test_variables_are_legal_and_different(names: list[str]) -> None:
    """Every name gets a legal variable that hides nothing, and no two get the same."""
    found = text.unique(dict(enumerate(names)), reserved=("a", "pkgs"))
    assert len(set(found.values())) == len(names)
    assert found == text.unique(dict(enumerate(names)), reserved=("a", "pkgs"))
    for variable in found.values():
        assert text.attribute(variable) == variable
        assert variable not in text.GLOBALS | {"a", "pkgs"}
        assert not variable.startswith("__")


@given(st.lists(st.text(max_size=3) | st.just(Reference(Node("n", "s", ())))))
def test_texts_are_joined(parts: list[str | Reference]) -> None:
    """Joining keeps what there is in order, and leaves no neighbouring or empty strings."""
    joined = join(*parts)
    assert join(*[join(part) for part in parts]) == joined
    assert "" not in joined
    for one, other in pairwise(joined):
        assert not (isinstance(one, str) and isinstance(other, str))
    flat = ["R" if isinstance(part, Reference) else part for part in parts]
    assert "".join("R" if isinstance(one, Reference) else one for one in joined) == "".join(flat)


@given(st.randoms(use_true_random=False))
def test_dependencies_come_first(random: Random) -> None:
    """In topological order each node is once, after all that it refers to."""
    nodes = random_graph(random)
    ordered = topological(reversed(nodes))
    assert len(set(ordered)) == len(ordered)
    assert set(nodes) <= set(ordered)
    place = {node: at for at, node in enumerate(ordered)}
    for node in nodes:
        for reference in references(node):
            assert place[reference.node] < place[node]


@given(st.randoms(use_true_random=False))
def test_instantiation_does_not_depend_on_order(random: Random) -> None:
    """A node has the same paths whichever node was asked for first; all outputs are its own."""
    nodes = random_graph(random)
    forwards, backwards = Instantiation(), Instantiation()
    before = {node: forwards.derivation(node) for node in nodes}
    for node in reversed(nodes):
        assert backwards.derivation(node) == before[node]
        assert set(before[node].outputs) == set(node.outputs)
        with pytest.raises(NixFormatError, match="no output"):
            backwards.path(node, "no")
