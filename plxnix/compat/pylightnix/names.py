"""References, names and hashes as Pylightnix checks and makes them."""

from __future__ import annotations

import json
import os
import re
from copy import deepcopy
from hashlib import sha256
from typing import Any

from plxnix.compat.pylightnix.configs import to_native
from plxnix.compat.pylightnix.errors import check, door, refuse
from plxnix.compat.pylightnix.types import (
    Config,
    ConfigAttrs,
    Context,
    DRef,
    Hash,
    HashPart,
    Name,
    Path,
    RConfig,
    RefPath,
    Registry,
    RRef,
)
from plxnix.compat.pylightnix.values import (
    assert_serializable,
    assert_valid_dict,
    isdref,
    isrefpath,
    isrref,
    isselfpath,
    scanref_dict,
    traverse_dict,
)
from plxnix.errors import InvalidConfig, InvalidName, InvalidReference, InvalidRefpath

PYLIGHTNIX_NAMEPAT = "[a-zA-Z0-9_-]"


def assert_valid_name(s: str) -> None:
    """Raise `InvalidName` unless all characters of `s` may stand in a name."""
    if not isinstance(s, str) or not re.match(f"^{PYLIGHTNIX_NAMEPAT}+$", s):
        refuse(f"not a name: {s!r}", f"it matches {PYLIGHTNIX_NAMEPAT}+", InvalidName)


def assert_valid_dref(ref: str) -> None:
    """Raise `InvalidReference` unless `ref` looks like a reference to a derivation."""
    check(isdref(ref), f"not a derivation reference: {ref!r}", "dref:HASH-name", InvalidReference)


def assert_valid_rref(ref: str) -> None:
    """Raise `InvalidReference` unless `ref` looks like a reference to a realization."""
    hint = "rref:HASH-HASH-name"
    check(isrref(ref), f"not a realization reference: {ref!r}", hint, InvalidReference)


def assert_valid_refpath(refpath: RefPath) -> None:
    """Raise `InvalidRefpath` unless `refpath` is a list of a reference and parts of a path."""
    hint = "it is a list: [dref, 'dir', 'file']"
    check(isrefpath(refpath), f"not a refpath: {refpath!r:.200}", hint, InvalidRefpath)


def assert_valid_hashpart(hp: str) -> None:
    """Raise `InvalidReference` unless `hp` has the length and characters of half a hash."""
    _hash(hp, 32)


def assert_valid_hash(h: str) -> None:
    """Raise `InvalidReference` unless `h` has the length and characters of a hash."""
    _hash(h, 64)


def _hash(text: str, length: int) -> None:
    if len(text) != length or any(character in text for character in "-_/"):
        refuse(f"not {length} digits of a hash: {text!r:.80}", "", InvalidReference)


def assert_valid_config(c: Config | None) -> Config:
    """Return a config; raise `InvalidConfig` or `InvalidName` for one that is not valid."""
    if c is None:
        refuse("there is no config, but None", "make one with mkconfig", InvalidConfig)
    cfgname(c)
    assert_valid_dict(c.val, "the config")
    return c


def assert_rref_deps(c: Config) -> None:
    """Raise `InvalidConfig` if a config refers to realizations."""
    _, rrefs = scanref_dict(c.val)
    if rrefs:
        refuse(
            f"a config refers to realizations: {', '.join(rrefs)}",
            "refer to derivations: nobody knows how to make a realization anew",
            InvalidConfig,
        )


def assert_valid_context(c: Context) -> None:
    """Raise `InvalidReference` unless a context maps derivations to realizations."""
    assert_serializable(c, "the context")
    for dref, rrefs in c.items():
        assert_valid_dref(dref)
        for rref in rrefs or ():
            assert_valid_rref(rref)


def trimhash(h: str) -> HashPart:
    """Return the part of a hash that stands in references."""
    return HashPart(h[:32])


def mkname(s: object) -> Name:
    """Return a name; raise `InvalidName`."""
    assert_valid_name(str(s))
    return Name(str(s))


def mkdref(dhash: str, refname: str) -> DRef:
    """Join a reference to a derivation."""
    assert_valid_hashpart(dhash)
    assert_valid_name(refname)
    return DRef(f"dref:{dhash}-{refname}")


def mkrref(rhash: str, dhash: str, refname: str) -> RRef:
    """Join a reference to a realization."""
    assert_valid_name(refname)
    assert_valid_hashpart(rhash)
    assert_valid_hashpart(dhash)
    return RRef(f"rref:{rhash}-{dhash}-{refname}")


def undref(r: str) -> tuple[HashPart, Name]:
    """Return the hash and the name in a reference to a derivation."""
    assert_valid_dref(r)
    return HashPart(r[5:37]), Name(r[38:])


def unrref(r: str) -> tuple[HashPart, HashPart, Name]:
    """Return both hashes and the name in a reference to a realization."""
    assert_valid_rref(r)
    return HashPart(r[5:37]), HashPart(r[38:70]), Name(r[71:])


def rref2dref(rref: str) -> DRef:
    """Return the derivation of a realization."""
    return mkdref(*unrref(rref)[1:])


def path2dref(p: str) -> DRef | None:
    """Return the derivation that a path, or a link at it, ends in; the disk is not asked."""
    if os.path.islink(p):
        p = os.readlink(p)
    dref = DRef("dref:" + os.path.basename(p))
    return dref if isdref(dref) else None


def path2rref(p: str) -> RRef | None:
    """Return the realization that a path, or a link at it, ends in; the disk is not asked."""
    if os.path.islink(p):
        p = os.readlink(p)
    head, rhash = os.path.split(p)
    dref = path2dref(Path(os.path.join(".", os.path.basename(head))))
    if dref is None or len(rhash) != 32:
        return None
    return mkrref(rhash, *undref(dref))


@door()
def mkconfig(d: dict[Any, Any]) -> Config:
    """Return a config of a dict, without the registries in it; raise `InvalidConfig`."""
    if not isinstance(d, dict):
        refuse(f"a config is a dict, not {d!r:.80}", "pass one", InvalidConfig)
    fields = {key: value for key, value in d.items() if not isinstance(value, Registry)}
    config = Config(assert_valid_dict(fields, "the config"))
    cfgname(config)  # raises InvalidName
    return config


def cfgdict(cp: Config) -> dict[Any, Any]:
    """Return a copy of the dict in a config."""
    return deepcopy(cp.val)


def cfgcattrs(c: Config) -> Any:
    """Return a config whose fields are attributes."""
    return ConfigAttrs(cfgdict(c))


def cfgserialize(c: Config) -> str:
    """Return a config as JSON for people; the hash is made of canonical JSON."""
    return json.dumps(c.val, indent=4)


@door()
def cfghash(c: Config) -> Hash:
    """Return the sha256 of a config; the order of its keys does not matter."""
    return Hash(sha256(to_native(c).canonical).hexdigest())


def cfgname(c: Config) -> Name:
    """Return the name in a config, `unnamed` if there is none."""
    return mkname(c.val.get("name", "unnamed"))


def cfgdeps(c: Config) -> set[DRef]:
    """Return the derivations that a config refers to."""
    return set(scanref_dict(cfgdict(c))[0])


def cfgsp(c: Config) -> list[tuple[str, RefPath]]:
    """Return the promises of a config, each with its key."""
    found: list[tuple[str, RefPath]] = []

    def note(key: Any, value: Any) -> Any:
        if isselfpath(value):
            found.append((str(key), value))
        return value

    traverse_dict(cfgdict(c), note)
    return found


def resolve(c: Config, r: DRef) -> RConfig:
    """Return a config in which promises are refpaths of the derivation `r`."""
    fields = cfgdict(c)
    traverse_dict(fields, lambda _, v: [DRef(r), *v[1:]] if isselfpath(v) else v)
    return RConfig(fields)


def mkrefpath(r: DRef, items: list[str] | None = None) -> RefPath:
    """Return the refpath of something in a realization of `r`."""
    assert_valid_dref(r)
    return [str(r), *(items or [])]


__all__ = [
    "PYLIGHTNIX_NAMEPAT",
    "assert_rref_deps",
    "assert_valid_config",
    "assert_valid_context",
    "assert_valid_dref",
    "assert_valid_hash",
    "assert_valid_hashpart",
    "assert_valid_name",
    "assert_valid_refpath",
    "assert_valid_rref",
    "cfgcattrs",
    "cfgdeps",
    "cfgdict",
    "cfghash",
    "cfgname",
    "cfgserialize",
    "cfgsp",
    "mkconfig",
    "mkdref",
    "mkname",
    "mkrefpath",
    "mkrref",
    "path2dref",
    "path2rref",
    "resolve",
    "rref2dref",
    "trimhash",
    "undref",
    "unrref",
]
