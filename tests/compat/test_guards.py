"""What Pylightnix guards by `assert` is a typed error here, and an `AssertionError` as well."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plxnix import errors
from plxnix.compat import pylightnix as p
from plxnix.compat.pylightnix.errors import asserting

DREF = p.DRef(f"dref:{'0' * 32}-name")
RREF = p.RRef(f"rref:{'1' * 32}-{'0' * 32}-name")


@pytest.fixture(autouse=True)
def store(tmp_path: Path) -> Iterator[None]:
    """A store of Pylightnix's making."""
    settings = p.mkSS(str(tmp_path / "_pylightnix"))
    p.fsinit(settings, use_as_default=False)
    with p.current_storage(settings):
        yield


def stage(
    r: p.Registry,
    make: Callable[[p.Build], object] = lambda build: None,  # noqa: ARG005
    nouts: int | None = 1,
    matcher: p.Matcher | None = None,
    **fields: Any,
) -> p.DRef:
    """Register a stage."""
    config = p.mkconfig({"name": "stage", **fields})
    return p.mkdrv(config, matcher or p.match_latest(), p.build_wrapper(make, nouts), r)


def built(make: Callable[[p.Build], object], **options: Any) -> object:
    """Realize a stage, and raise what its function raised."""
    try:
        return p.realize1(p.instantiate(stage, make=make, **options))
    except p.BuildError as error:
        raise error.exception from None


def nested(r: p.Registry) -> Any:
    """Instantiate what is being instantiated."""
    return p.instantiate(stage, r=r)


def reserved(build: p.Build) -> None:
    """Write a file that no artifact may have."""
    Path(p.build_outpath(build), "context.json").touch()


def two_results(build: p.Build) -> None:
    """Write two results that differ."""
    for number, folder in enumerate(p.build_outpaths(build)):
        Path(folder, "out").write_text(str(number))


GUARDS: dict[str, tuple[type[errors.PlxnixError], Callable[[], object]]] = {
    "name": (errors.InvalidName, lambda: p.mkname("a/b")),
    "dref": (errors.InvalidReference, lambda: p.undref("dref:short")),
    "rref": (errors.InvalidReference, lambda: p.unrref("rref:short")),
    "hash part": (errors.InvalidReference, lambda: p.mkdref("0" * 31, "name")),
    "hash": (errors.InvalidReference, lambda: p.assert_valid_hash("-" * 64)),
    "refpath": (errors.InvalidRefpath, lambda: p.assert_valid_refpath([1])),
    "refpath of a stranger": (
        errors.InvalidValue,
        lambda: p.rrefpath2path(RREF, [f"dref:{'2' * 32}-x", "a"]),
    ),
    "reserved name": (errors.InvalidValue, lambda: p.reserved(p.Path("."), "mine.json")),
    "tuple in a config": (errors.InvalidConfig, lambda: p.mkconfig({"a": (1, 2)})),
    "bytes in a config": (errors.InvalidConfig, lambda: p.mkconfig({"a": b"1"})),
    "config of no dict": (errors.InvalidConfig, lambda: p.mkconfig(5)),  # type: ignore[arg-type]
    "name in a config": (errors.InvalidName, lambda: p.mkconfig({"name": "a b"})),
    "no config": (errors.InvalidConfig, lambda: p.assert_valid_config(None)),
    "rref in a config": (errors.InvalidConfig, lambda: p.instantiate(stage, below=RREF)),
    "no registry": (errors.NoRegistry, lambda: stage(None)),  # type: ignore[arg-type]
    "no reference": (errors.InvalidValue, lambda: p.instantiate(lambda r: None)),  # noqa: ARG005
    "nested instantiate": (errors.RecursiveInstantiate, lambda: p.instantiate(nested)),
    "other settings": (
        errors.InvalidValue,
        lambda: p.instantiate(stage, r=p.mkregistry(), S=p.mkSS("/elsewhere")),
    ),
    "unknown derivation": (errors.NotInStore, lambda: p.drefcfg(DREF)),
    "unknown realization": (errors.NotInStore, lambda: p.rrefctx(RREF)),
    "no realizer": (
        errors.MissingRealizer,
        lambda: p.instantiate(stage, below=p.instantiate(stage)[0]),
    ),
    "force_rebuild": (
        errors.InvalidValue,
        lambda: p.realize1(p.instantiate(stage), force_rebuild="x"),  # type: ignore[arg-type]
    ),
    "assert_realized": (
        errors.NotRealized,
        lambda: p.realize(c := p.instantiate(stage), assert_realized=c[1].targets),
    ),
    "realized": (errors.NotRealized, lambda: p.realize1(p.instantiate(p.realized(stage)))),
    "several for one": (
        errors.InvalidValue,
        lambda: p.realize1(
            p.instantiate(stage, make=two_results, nouts=2, matcher=p.match_latest(2))
        ),
    ),
    "list for one": (
        errors.InvalidValue,
        lambda: p.realizeMany(p.instantiate(lambda r: [stage(r)])),
    ),
    "match_only": (
        errors.AmbiguousMatch,
        lambda: p.realize1(p.instantiate(stage, make=two_results, nouts=2, matcher=p.match_only())),
    ),
    "matcher": (
        errors.MatcherUnsatisfied,
        lambda: p.realizeMany(p.instantiate(stage, matcher=p.match_some(2))),
    ),
    "match_some": (errors.InvalidValue, lambda: p.match_some(-1)),
    "reserved file": (errors.BuildFailed, lambda: built(reserved)),
    "no outputs": (errors.InvalidValue, lambda: built(p.build_outpath, nouts=None)),
    "outputs twice": (errors.InvalidValue, lambda: built(lambda b: p.build_markstart(b, 1))),
    "one of two outputs": (errors.InvalidValue, lambda: built(p.build_outpath, nouts=2)),
    "no dependency": (errors.NotInStore, lambda: built(lambda b: p.build_deref(b, DREF))),
    "no path": (errors.InvalidRefpath, lambda: built(lambda b: p.build_path(b, ["x"]))),
    "start time": (
        errors.InvalidValue,
        lambda: p.build_wrapper(p.build_outpath, starttime=1),  # type: ignore[arg-type]
    ),
    "context twice": (errors.InvalidValue, lambda: p.context_add({DREF: [RREF]}, DREF, [])),
    "context": (errors.NotInStore, lambda: p.context_deref({}, DREF)),
    "fetch without a hash": (
        errors.InvalidValue,
        lambda: p.instantiate(p.fetchurl, url="http://localhost/x.tar.gz"),
    ),
    "fetch without a name": (
        errors.InvalidValue,
        lambda: p.instantiate(p.fetchurl, url="http://localhost/", sha256="0" * 64),
    ),
    "fetchlocal without a path": (
        errors.InvalidValue,
        lambda: p.instantiate(p.fetchlocal, sha256="0" * 64),
    ),
    "unpack without a path": (errors.InvalidValue, lambda: p.instantiate(p.unpack)),
    "mknode's own field": (
        errors.InvalidConfig,
        lambda: p.mknode(p.mkregistry(), {"__artifacts__": {}}),
    ),
    "no store": (errors.StoreNotFound, lambda: p.assert_valid_storage(p.mkSS("/no/such"))),
    "store exists": (
        errors.StoreError,
        lambda: p.fsinit(p.tlstorage(None), check_not_exist=True),
    ),
    "dirhash of no folder": (errors.InvalidValue, lambda: p.dirhash("/no/such")),
    "filehash of no file": (errors.InvalidValue, lambda: p.filehash("/no/such")),
    "mode": (errors.InvalidValue, lambda: p.dirchmod(".", "rx")),
    "item of a tuple": (
        errors.InvalidValue,
        lambda: p.traverse_tuple((1,), lambda key, value: 2),  # noqa: ARG005
    ),
}


@pytest.mark.parametrize("name", GUARDS)
def test_guard(name: str) -> None:
    """The error is of the class of plxnix that fits, is an `AssertionError`, and says something."""
    kind, call = GUARDS[name]
    with pytest.raises(AssertionError) as caught:
        call()
    assert isinstance(caught.value, kind)
    assert isinstance(caught.value, errors.PlxnixError)
    assert caught.value.message


#: All errors of plxnix, by name.
KINDS = {
    name: kind
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and issubclass(kind, errors.PlxnixError)
}


@pytest.mark.parametrize("name", sorted(KINDS.keys() - {"MissingExtra"}))
def test_every_class_has_its_kind(name: str) -> None:
    """Each error class of plxnix has one that is an `AssertionError`; it can be pickled."""
    kind = asserting(KINDS[name])
    assert issubclass(kind, KINDS[name])
    assert issubclass(kind, AssertionError)
    error = kind("message", "hint")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own)
    assert type(copy) is kind
    assert str(copy) == "message\n  hint: hint"


def test_not_in_plxnix() -> None:
    """Outside of this layer the errors of plxnix are no `AssertionError`s."""
    assert [name for name, kind in KINDS.items() if issubclass(kind, AssertionError)] == []
