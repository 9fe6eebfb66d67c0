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
from plxnix.nix.graph import RESERVED, Node, attributes, text
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_latest, match_only
from plxnix.realize.registry import Matcher, Registry, find_registry, mkdrv, takes_registry
from plxnix.recipes.command import OWN, STAGES, Execute, unusable
from plxnix.recipes.lowering import check_output_name, fraction
from plxnix.recipes.recipe import FIELD
from plxnix.recipes.tools import check_names

#: Variables by which Nix hands over something else than their values.
_MEANT = frozenset({"exportReferencesGraph", "passAsFile"})

#: What a piece of a reference looks like.
_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")


@takes_registry
def execute(
    command: str | None = None,
    *,
    name: str = "execute",
    builder: str | list[str] | None = None,
    arguments: Sequence[Any] = (),
    environment: Mapping[str, Any] | None = None,
    env: DRef | None = None,
    tools: Sequence[str] = (),
    outputs: Sequence[str] = ("out",),
    hash: str | None = None,  # noqa: A002
    hash_mode: str = "recursive",
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

    `tools` are attribute names of nixpkgs, put on PATH by the toolchain of an export; natively
    their programs are expected in `/usr/local/bin`, `/usr/bin` or `/bin` of this machine. A stage
    among them has its `bin` on PATH before those, as an environment of Python does (`python_env`):
    `env` is one that is first of all. A command that is not `deterministic`, or has
    `nouts` > 1, stays in the Python realizer and is exported as a pin; its default `matcher` is
    `match_latest(nouts)`, else `match_only()`.

    Where the sandbox works (`realize(sandbox=...)`), a deterministic command sees its inputs, the
    machine's programs and nothing else.

    With several `outputs`, the command makes each at the path in the variable of its name, and the
    realization holds an entry for each. Refpaths, promises and mentions then name one first:
    `stage / "dev" / "include"`, `[selfref, "dev", "include"]`. In Nix each is a path of its own.

    A command with a `hash` (as Nix writes it, `sha256-...`) may use the network, as Nix's fetchers
    may: its result is checked against the hash, that of the NAR of what it makes (`hash_mode`
    "recursive") or of the bytes of the file (`flat`). Its path in Nix follows from name and hash
    alone. Variables that the field `impureEnvVars` lists are taken from the user's environment.

    Raises `InvalidValue` for fields that Nix reserves or cannot print, `InvalidHash`, what `mkdrv`
    raises; while realizing `BuildFailed`, `ToolMissing`, and `HashMismatch` for a result with
    another hash.
    """
    del registry  # `takes_registry` has made it the current one.
    if (command is None) == (builder is None):
        raise InvalidValue(
            f"execute got command={command!r} and builder={builder!r}",
            "give either a command (a script) or a builder (a program) with arguments",
        )
    _check_kinds(command, tools, arguments, nouts)
    if env is not None:
        if not isinstance(env, str) or not isdref(env):
            raise InvalidValue(
                f"env is {env!r:.80}, which is no stage with a `bin`",
                "give an environment of Python (`python_env`); variables are environment={...}",
            )
        tools = [env, *tools]
    config: dict[str, Any] = {**fields, "name": sanitise_name(name), FIELD: Execute.kind}
    for key in fields:
        _check_variable(key, OWN)
    for key in environment or {}:
        _check_variable(key)
    if command is not None:
        config["command"] = command
    else:
        config.update(builder=builder, arguments=_listed(arguments))
    if environment:
        config["environment"] = dict(environment)
    names = [tool for tool in tools if not isdref(tool)]
    check_names(names)
    if names:
        config["tools"] = names
    if len(names) < len(tools):
        config[STAGES] = [[tool] for tool in tools if isdref(tool)]
    if not deterministic:
        config["deterministic"] = False
    if nouts != 1:
        config["nouts"] = nouts
    if list(outputs) != ["out"]:
        config["outputs"] = _outputs(outputs, config)
    if hash is not None:
        if not deterministic or nouts != 1 or "outputs" in config:
            raise InvalidValue(
                f"the command {config['name']} has a hash",
                "then it has one output, `out`, one result, and is deterministic",
            )
        config.update(outputHash=_sri(hash), outputHashMode=_mode(hash_mode))
    if matcher is None:
        matcher = match_only() if deterministic and nouts == 1 else match_latest(nouts)
    checked = Config(config)
    given = {key: value for key, value in checked.items() if key not in OWN}
    for key, value in {**given, **checked.get("environment", {})}.items():
        _check_value(key, value)
    _check_value("arguments", checked.get("arguments", []))
    _check_references(checked)
    for promise in checked.promises if "outputs" in config else ():
        check_output_name(selfref, "/".join(promise).partition("/")[0], config["outputs"])
    return mkdrv(checked, matcher, Execute())


def _listed(arguments: Sequence[Any]) -> list[Any]:
    """Return arguments as a list that is not taken for a refpath if it begins with a reference."""
    listed = list(arguments)
    if listed and (isdref(listed[0]) or listed[0] == selfref):
        listed[0] = [listed[0]]
    return listed


def _outputs(outputs: Sequence[str], config: Mapping[str, Any]) -> list[str]:
    """Return the names of outputs; raise `InvalidValue` for those that Nix would not have."""
    names = list(outputs)
    if isinstance(outputs, str) or not all(isinstance(one, str) for one in names):
        raise InvalidValue(f"outputs is {outputs!r:.80}", "give a list of names")
    variables = {*config, *config.get("environment", ())} - OWN | RESERVED | _MEANT
    for name in variables.intersection(names):
        raise InvalidValue(
            f"an output cannot be called {name!r}", "a variable has that name; choose another"
        )
    attributes(Node(config["name"], "builtin", text("/"), outputs=tuple(names)))  # It checks them.
    return names


def _sri(given: object) -> str:
    if not isinstance(given, str):
        raise InvalidValue(f"the hash is {given!r:.80}", "write it as text: sha256-...")
    return Hash.parse(given).sri


def _mode(given: object) -> str:
    if given not in ("recursive", "flat"):
        raise InvalidValue(f"hash_mode is {given!r:.80}", "it is 'recursive' or 'flat'")
    return str(given)


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


def _check_value(key: str, value: Any) -> None:
    """Refuse a value, or a list with one, that `Lowering.value` will not have."""
    items = value if isinstance(value, list) else [value]
    for one in items:
        if isinstance(one, list):
            _check_value(key, one)
        elif isinstance(one, float):
            raise fraction(one)
        elif not (one is None or isinstance(one, (str, int))):
            raise unusable(key, value)


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
