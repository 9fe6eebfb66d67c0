"""`execute`: a stage that runs a command.

The command, its arguments and its environment are the derivation, the same here and in Nix. What it
refers to (stages in f-strings, refpaths, fields) is a dependency; it writes to `$out`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from plxnix.config import Config
from plxnix.errors import InvalidValue
from plxnix.model import DRef, isdref, selfref
from plxnix.nix.graph import RESERVED, Node, Text
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_latest, match_only
from plxnix.realize.registry import Matcher, Registry, find_registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe

#: Fields of the config that are not handed to the builder as variables.
_OWN = frozenset(
    {
        FIELD,
        "arguments",
        "builder",
        "command",
        "deterministic",
        "environment",
        "name",
        "nouts",
        "tools",
    }
)


#: Variables by which Nix hands over something else than their values.
_MEANT = frozenset({"exportReferencesGraph", "passAsFile"})

#: What a piece of a reference looks like.
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


class Execute(Recipe):
    """The recipe behind `execute`."""

    kind = "execute-1"

    def runs(self, config: Config) -> int:
        """Return `nouts`."""
        return int(config.get("nouts", 1))

    def deterministic(self, config: Config) -> bool:
        """Tell whether it was declared deterministic and gives one realization."""
        return super().deterministic(config) and self.runs(config) == 1

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation: builder, arguments and environment as the config says."""
        toolchain, tools = lowering.toolchain, config.get("tools", [])
        environment: dict[str, Text] = {}
        given = {key: value for key, value in config.items() if key not in _OWN}
        for key, value in [*given.items(), *config.get("environment", {}).items()]:
            environment[key] = _variable(key, lowering.value(value), value)
        if "command" in config:
            script = lowering.text(config["command"])
            node = toolchain.command(config.name, script, environment, tools, str(config.dref))
            return Lowered(config.dref, node, "derivation")
        node = Node(
            name=config.name,
            system=toolchain.system,
            builder=_variable("builder", lowering.value(config["builder"]), config["builder"]),
            args=tuple(
                _variable("arguments", lowering.value(one), one) for one in config["arguments"]
            ),
            env={"PATH": toolchain.path(tools), **environment},
            comment=str(config.dref),
        )
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Run the command as a plain process."""
        (lowered,) = self._lowered(job)
        return job.build(lowered)

    def _lowered(self, job: Job) -> tuple[Lowered, ...]:
        # A command that is pinned in Nix is run here by the same derivation all the same.
        return (self.lower(job.config, job.lowering),)


def _variable(key: str, found: Text | None, value: Any) -> Text:
    if found is None:
        raise InvalidValue(
            f"the field {key} is {value!r:.80}, which cannot be a variable of a builder",
            "use text, whole numbers, booleans, references, refpaths, or lists of them",
        )
    return found


@takes_registry
def execute(
    command: str | None = None,
    *,
    name: str = "execute",
    builder: str | list[str] | None = None,
    arguments: Sequence[Any] = (),
    environment: Mapping[str, Any] | None = None,
    tools: Sequence[str] = (),
    deterministic: bool = True,
    nouts: int = 1,
    matcher: Matcher | None = None,
    registry: Registry | None = None,
    **fields: Any,
) -> DRef:
    """Register a stage that runs a command, and return its reference.

    `command` is a bash script, run with `set -e` in an empty folder; or `builder` is a program (an
    absolute path, or a refpath) and `arguments` its arguments. The result is what it makes at
    `$out`, a file or a folder. A file is meant by the reference itself (`cat {stage}`): here it
    stands in a folder under the stage's name, but in Nix the path is the file.

    Further `fields` go into the config and are environment variables of the command: refpaths and
    references become paths, promises (`[selfref, ...]`) paths below `$out`, whole numbers and
    lists become text as in Nix. So do the values of `environment`, whose names may be those of
    parameters here. References in f-strings count: `f"cp {data / 'x.csv'} $out"`.

    `tools` are attribute names of nixpkgs, put on PATH by the toolchain of an export; natively the
    programs are expected on this machine. A command that is not `deterministic`, or has `nouts` >
    1, stays in the Python realizer and is exported as a pin; its default `matcher` is
    `match_latest(nouts)`, else `match_only()`.

    Where the sandbox works (`realize(sandbox=...)`), a deterministic command sees its inputs, the
    machine's programs and nothing else.

    Raises `InvalidValue` for fields that Nix reserves, and what `mkdrv` raises.
    """
    del registry  # `takes_registry` has made it the current one.
    if (command is None) == (builder is None):
        raise InvalidValue(
            f"execute got command={command!r} and builder={builder!r}",
            "give either a command (a script) or a builder (a program) with arguments",
        )
    _check_kinds(command, tools, arguments, nouts)
    config: dict[str, Any] = {**fields, "name": sanitise_name(name), FIELD: Execute.kind}
    for key in fields:
        _check_variable(key, _OWN)
    for key in environment or {}:
        _check_variable(key)
    if command is not None:
        config["command"] = command
    else:
        config.update(builder=builder, arguments=_listed(arguments))
    if environment:
        config["environment"] = dict(environment)
    if tools:
        config["tools"] = list(tools)
    if not deterministic:
        config["deterministic"] = False
    if nouts != 1:
        config["nouts"] = nouts
    if matcher is None:
        matcher = match_only() if deterministic and nouts == 1 else match_latest(nouts)
    checked = Config(config)
    _check_references(checked)
    return mkdrv(checked, matcher, Execute())


def _listed(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments as a list that is not taken for a refpath if it begins with a reference."""
    listed = list(arguments)
    if listed and (isdref(listed[0]) or listed[0] == selfref):
        listed[0] = [listed[0]]
    return listed


def _check_kinds(command: object, tools: object, arguments: object, nouts: object) -> None:
    if command is not None and not isinstance(command, str):
        raise InvalidValue(f"the command is {command!r:.80}", "a command is a script, as text")
    for name, several in (("tools", tools), ("arguments", arguments)):
        if isinstance(several, str):
            raise InvalidValue(f"{name} is {several!r:.80}", f"give a list: {name}=[...]")
    if isinstance(nouts, bool) or not isinstance(nouts, int) or nouts < 1:
        raise InvalidValue(f"nouts is {nouts!r}", "it is a whole number of at least 1")


def _check_variable(key: str, own: frozenset[str] = frozenset()) -> None:
    refused = RESERVED | _MEANT | own | {"", "out"}
    if key in refused or "=" in key or "\0" in key:
        raise InvalidValue(
            f"a command cannot have a variable called {key!r}",
            "Nix or plxnix gives that name a meaning of its own; choose another",
        )


def _check_references(config: Config) -> None:
    """Refuse a config that holds a piece of a reference: its dependency would be lost."""
    whole = {dref.dhash for dref in config.dependencies}
    cut = set(_HEX.findall(config.canonical.decode())) - whole
    if cut:
        for dref in find_registry().derivations:
            if dref.dhash in cut:
                raise InvalidValue(
                    f"the command of {config.name} holds a part of {dref}",
                    "keep references whole: format them into the string, do not slice them",
                )
