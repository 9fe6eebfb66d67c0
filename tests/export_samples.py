"""Random graphs of stages for tests of exports: every recipe, pins, names and texts with traps."""

from __future__ import annotations

from random import Random
from typing import Any

from plxnix import DRef, execute, fetchlocal, fetchurl, match_latest, mkfile, mknode, unpack
from plxnix.model import selfref
from plxnix.realize.registry import Closure
from tests.nix_samples import random_string
from tests.stage_samples import Lab

#: Names that mean something to Nix or to the exported file, or clash once they are variables.
NAMES = (
    *("a", "a.b", "a-b", "a_b", "a+b", "a=b", "0", "_", "-", "a?", "__sub", "x2", "x-2", "x"),
    *("with", "rec", "in", "let", "or", "if", "inherit", "assert", "true", "null", "import"),
    *("derivation", "builtins", "throw", "map", "toString", "stage", "stages", "pin", "lines"),
    *("name", "default", "overrides", "pkgs", "fetchurl", "about", "targets", "config", "meta"),
)

FIELDS = ("a", "b-c", "d.e", "or", "rec", "type", "outPath", "drvPath", "é", "meta", "stages", "$")


def random_stages(random: Random, lab: Lab, size: int = 8) -> Closure:
    """Register up to `size` stages that refer to those before them; return some of them as targets.

    Those that can be exported as pins only are realized.
    """
    stages: list[DRef] = []
    for _ in range(random.randrange(1, size + 1)):
        stages.append(random.choice(_KINDS)(random, lab, stages))
    targets = random.sample(stages, random.randrange(1, min(3, len(stages)) + 1))
    return lab.closure(targets)


def _name(random: Random) -> str:
    return random.choice(NAMES)


def _file_name(random: Random) -> str:
    return "f" + random_string(random).replace("/", "_")


def _digest(random: Random) -> str:
    return random.randbytes(32).hex()


def _text(random: Random, stages: list[DRef]) -> str:
    """Return text with mentions of stages in it."""
    parts = [random_string(random, 4)]
    for dref in random.choices(stages, k=random.randrange(3)) if stages else ():
        parts += ["\n" * random.randrange(3), f"{dref}/", random_string(random, 3)]
    return "".join([*parts, selfref if random.random() < 0.1 else ""])


def _value(random: Random, stages: list[DRef]) -> Any:
    plain: list[Any] = [
        None,
        True,
        False,
        random.randrange(-(10**25), 10**25),
        0,
        [],
        random_string(random),
    ]
    if not stages:
        return random.choice(plain)
    dref = random.choice(stages)
    return random.choice(
        [*plain, dref, [dref], [dref, *stages], _text(random, stages), [1, ["", dref], [], "x"]]
    )


def _file(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    del stages
    contents: Any = random.choice([random_string(random, 12), random.randbytes(9), ""])
    return mkfile(_name(random), contents, _file_name(random), registry=lab.registry)


def _node(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    names = [f"{number}{_file_name(random)}" for number in range(random.randrange(4))]
    files = {f"dir/{name}" if number else name: name for number, name in enumerate(names)}
    return mknode({"below": stages[:2]}, files, _name(random), registry=lab.registry)


def _command(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    fields = {name: _value(random, stages) for name in random.sample(FIELDS, 3)}
    return execute(
        _text(random, stages), name=_name(random), environment=fields, registry=lab.registry
    )


def _builder(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    return execute(
        name=_name(random),
        builder="/bin/" + random_string(random),
        arguments=[_value(random, stages) for _ in range(random.randrange(4))],
        registry=lab.registry,
    )


def _fetch(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    del stages
    name = _file_name(random)
    mode = random.choice(["", "unpack", "unpack,remove"])
    if random.random() < 0.5:
        return fetchlocal(_digest(random), f"/x/{name}", mode=mode, registry=lab.registry)
    kind = random.choice(["sha1", "sha256", "sha512"])
    digest = random.randbytes({"sha1": 20, "sha256": 32, "sha512": 64}[kind]).hex()
    return fetchurl(
        "https://example.org/$x?${y}",
        **{kind: digest},
        mode=mode,
        filename=name,
        name=_name(random),
        registry=lab.registry,
    )


def _archive(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    del stages
    suffix = random.choice([".zip", ".tar", ""])
    fetch = fetchlocal(_digest(random), f"/x/a{suffix}", mode="", registry=lab.registry)
    strip = 0 if suffix == ".zip" else random.randrange(2)
    return unpack(fetch, _name(random), strip, registry=lab.registry)


def _pin(random: Random, lab: Lab, stages: list[DRef]) -> DRef:
    """Realize Python code, with one result or several; its dependencies need no realizing."""
    del stages
    count = random.choice([1, 1, 2, 3])
    contents = [f"{random.random()} {number}" for number in range(count)]
    matcher = match_latest(count)
    content: Any = contents
    dref = lab.stage(_name(random), content=content, matcher=matcher, salt=random.random())
    lab.realize(dref)
    return dref


_KINDS = (_file, _node, _command, _command, _builder, _fetch, _archive, _pin)
