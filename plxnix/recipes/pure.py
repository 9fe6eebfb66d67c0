"""`Pure`: a stage that is a Python function's source, run by an interpreter in the sandbox.

The derivation holds three texts: a runner, the program (`purecode`: the function with all that it
uses of the user's modules), and the inputs as JSON, in which a path stands as the number of a
variable. So nothing has to be quoted, and there is no pickle. The program is the config's
`__source__`.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from plxnix.config import Config
from plxnix.errors import BuildFailed, InvalidValue
from plxnix.model import DRef, isdref, isrefpath, isselfpath, selfref
from plxnix.nix.graph import Reference, Source, Text, text
from plxnix.nix.paths import sanitise_name
from plxnix.realize.registry import Derivation, Matcher, mkdrv
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.tools import check_names, present

#: Fields of the config: where the interpreter is from, names of tools, whether dependencies are
#: always lists.
ENV, TOOLS, MULTIPLE = "__env__", "__tools__", "__always_multiref__"

#: The inputs can be read by people too.
_JSON: dict[str, Any] = {"ensure_ascii": False, "indent": 1, "sort_keys": True}

#: What is the same wherever it runs. Not -I: that would bring random hashes back, as it ignores
#: PYTHONHASHSEED. Empty variables are as none.
_RUN = (
    "PYTHONHASHSEED=0 PYTHONPATH= PYTHONHOME= LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=1 \\\n  ",
    ' -s -B "$runner" "$program" "$inputs"',
)

#: What Python says where a package is not installed.
_ABSENT = re.compile(rb"^ModuleNotFoundError: No module named '([\w.]+)'", re.MULTILINE)


class Pure(Recipe):
    """The recipe behind `autostage(pure=True)`."""

    kind = "pure-1"

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation that runs the program."""
        inputs = _Inputs(config, lowering)
        data = inputs.data()
        name = config.name
        sources = {
            "runner": Source(sanitise_name(f"run-{name}.py"), _runner()),
            "program": Source(sanitise_name(f"{name}.py"), config["__source__"]),
            "inputs": Source(sanitise_name(f"{name}.json"), json.dumps(data, **_JSON)),
        }
        environment: dict[str, Text] = {
            key: text(Reference(source)) for key, source in sources.items()
        }
        environment.update((f"path{number}", one) for one, number in inputs.paths.items())
        tools = list(config.get(TOOLS, ()))
        if ENV in config:
            environment["env"] = _environment(config, lowering)
            python = '"$env/bin/python"'
        else:
            tools = ["python3", *tools]
            python = "python3"
        script = text(python.join(_RUN))
        node = lowering.toolchain.command(name, script, environment, tools, str(config.dref))
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Run the program."""
        inputs = _Inputs(job.config, job.lowering)
        inputs.data()
        job.dependencies.further = sorted(inputs.stages - {*job.config.dependencies})
        with present(job.config.get(TOOLS, ()), job.dref):
            try:
                return job.build(self.form(job))
            except BuildFailed as error:
                absent = _ABSENT.search(job.log.value())
                if absent:
                    name = absent[1].decode(errors="replace")
                    error.hint += f"; its Python has no {name}: give it one that has, env=..."
                raise


def pure_stage(
    fields: Mapping[str, Any],
    matcher: Matcher,
    env: object = None,
    tools: Sequence[str] = (),
    multiple: bool = False,
) -> DRef:
    """Register a pure stage in the current registry; `fields` have the program as `__source__`.

    `env` is the reference of the stage whose `bin/python` runs it. Raises `InvalidValue` for an
    `env` or `tools` of another kind, and what `mkdrv` raises.
    """
    config: dict[str, Any] = {**fields, FIELD: Pure.kind}
    config["name"] = sanitise_name(str(config["name"]))
    if env is not None:
        if not isinstance(env, str) or not isdref(env):
            raise InvalidValue(
                f"the env of {config['name']} is {env!r:.80}",
                "it is a stage that has bin/python, or its reference",
            )
        config[ENV] = env
    if isinstance(tools, str):
        raise InvalidValue(f"tools is {tools!r:.80}", "give a list of names: tools=[...]")
    check_names(tools)
    if tools:
        config[TOOLS] = list(tools)
    if multiple:
        config[MULTIPLE] = True
    return mkdrv(Config(config), matcher, Pure())


@functools.lru_cache(maxsize=1)
def _runner() -> str:
    """Return the program that runs programs, without its comments, which are for us."""
    from plxnix.codehash.units import Unit
    from plxnix.purecode import runner_file
    from plxnix.purecode.spelling import spell

    unit = Unit("runner.py", runner_file().read_text(encoding="utf-8"), "", True)
    return spell(unit.tokens(unit.tree, frozenset()))


def _environment(config: Config, lowering: Lowering) -> Text:
    """Return the path of the environment whose interpreter runs the program."""
    forms = lowering.of(DRef(config[ENV]))
    if len(forms) != 1:
        raise InvalidValue(
            f"{config.dref} runs in {config[ENV]}, of which {len(forms)} are selected",
            "an environment is one realization",
        )
    return forms[0].at([])


class _Inputs:
    """The values that the function gets, as JSON, and the paths in it, numbered.

    A stage that a dependency depends on is there if its field's name occurs in the program: so
    the inputs do not grow with the depth of the graph.
    """

    def __init__(self, config: Config, lowering: Lowering) -> None:
        self.paths: dict[Text, int] = {}
        self.stages: set[DRef] = set()
        self._config = config
        self._lowering = lowering
        self._multiple = config.get(MULTIPLE) is True
        self._program: str = config["__source__"]
        self._stages: list[dict[str, Any]] = []
        self._known: dict[Lowered, int] = {}

    def data(self) -> dict[str, Any]:
        """Return what the runner reads."""
        arguments = {
            key: self._show(value, None) for key, value in self._config.items() if not _hidden(key)
        }
        promises = [list(parts) for parts in self._config.promises]
        return {"arguments": arguments, "promises": promises, "stages": self._stages}

    def _show(self, value: Any, own: Lowered | None) -> Any:
        """Return a value of a config; `own` is the stage that it is of, None for this one."""
        if isinstance(value, str):
            return self._dependency(DRef(value)) if isdref(value) else value
        if isselfpath(value) or value == [selfref]:
            return {"$out": value[1:]} if own is None else self._path(own.at(value[1:]))
        if isrefpath(value):
            forms = self._forms(DRef(value[0]))
            return self._one_or_all([self._path(form.at(value[1:])) for form in forms])
        if isinstance(value, list):
            return [self._show(item, own) for item in value]
        if isinstance(value, Mapping):
            shown = {key: self._show(item, own) for key, item in value.items()}
            # A user's own key may look like one of ours.
            ours = any(key.startswith("$") for key in shown)
            return {"$object": [list(pair) for pair in shown.items()]} if ours else shown
        return value

    def _forms(self, dref: DRef) -> tuple[Lowered, ...]:
        self.stages.add(dref)
        return self._lowering.of(dref)

    def _path(self, path: Text) -> dict[str, int]:
        return {"$path": self.paths.setdefault(path, len(self.paths))}

    def _one_or_all(self, found: list[Any]) -> Any:
        return found[0] if len(found) == 1 and not self._multiple else found

    def _dependency(self, dref: DRef) -> Any:
        found = [{"$stage": self._stage(form)} for form in self._forms(dref)]
        return self._one_or_all(found)

    def _stage(self, form: Lowered) -> int:
        if form not in self._known:
            self._known[form] = len(self._stages)
            derivation: Derivation = self._lowering.closure.derivations[form.dref]
            config = derivation.config
            one: dict[str, Any] = {"name": config.name, "path": self._path(form.at([]))}
            self._stages.append(one)
            fields = {key: value for key, value in config.items() if not _hidden(key)}
            one["left_out"] = sorted(
                key for key, value in fields.items() if _refers(value) and key not in self._program
            )
            one["fields"] = {
                key: self._show(value, form)
                for key, value in fields.items()
                if key not in one["left_out"]
            }
        return self._known[form]


def _hidden(key: str) -> bool:
    return (key.startswith("__") and key.endswith("__")) or key == FIELD


def _refers(value: Any) -> bool:
    """Tell whether there is a reference to another stage in a value."""
    if isinstance(value, str):
        return isdref(value)
    if isinstance(value, Mapping):
        return any(_refers(item) for item in value.values())
    return isinstance(value, list) and any(_refers(item) for item in value)
