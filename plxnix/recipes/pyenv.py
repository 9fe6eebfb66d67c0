"""`PythonEnvironment`: a stage that is an environment of Python packages, made of wheels.

The derivation holds two texts: the builder, which is the config's `__source__`, and a spec that
names the wheels; where these are is in numbered variables. So natively and in Nix one program makes
one tree (see `plxnix.pyenv.builder`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from plxnix.config import Config
from plxnix.model import DRef, isdref
from plxnix.nix.graph import Reference, Source, Text, text
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import mkdrv
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, SHOWN, Job, Recipe

_JSON: dict[str, Any] = {"ensure_ascii": False, "indent": 1, "sort_keys": True}

#: An interpreter that a toolchain has is found by its name.
_FIND = """\
python="$(command -v {name})" || {{ echo "there is no {name} on $PATH" >&2; exit 1; }}
export python
"""
_RUN = '"$python" -I -B "$program" "$spec"'


class PythonEnvironment(Recipe):
    """The recipe behind `python_env`."""

    kind = "pyenv-1"

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return the derivation that runs the builder."""
        name, version = config.name, config["version"]
        spec = {
            "version": version,
            "collisions": config["collisions"],
            "wheels": [
                {key: value for key, value in wheel.items() if key != "file"}
                for wheel in config["wheels"]
            ],
        }
        environment: dict[str, Text] = {
            "program": text(Reference(Source("python-env-builder.py", config["__source__"]))),
            "spec": text(
                Reference(Source(sanitise_name(f"{name}.json"), json.dumps(spec, **_JSON)))
            ),
            "installer": _path(config["installer"], lowering),
        }
        for number, wheel in enumerate(config["wheels"]):
            environment[f"wheel{number}"] = _path(wheel["file"], lowering)
        tools, script = [], _RUN
        if "python" in config:
            environment["python"] = _path(config["python"], lowering)
        else:
            tools = ["python" + version.replace(".", "").replace("t", "FreeThreading")]
            script = _FIND.format(name=f"python{version}") + _RUN
        node = lowering.toolchain.command(name, text(script), environment, tools, str(config.dref))
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Run the builder."""
        return job.build(self.form(job))


def _path(value: Any, lowering: Lowering) -> Text:
    found = lowering.value(value)
    return text("") if found is None else found


def environment_stage(
    name: str,
    source: str,
    version: str,
    wheels: Sequence[Mapping[str, Any]],
    installer: object,
    python: object = None,
    shown: Sequence[str] = (),
    collisions: Sequence[str] = (),
    recipe: PythonEnvironment | None = None,
) -> DRef:
    """Register an environment and return its reference.

    `source` is the builder, `version` that of Python, such as `3.11`. Each of `wheels` has the
    `file`, a refpath, and what else the builder's spec has. `python` is a path of this machine, or
    a refpath; None stands for the toolchain's own. `shown` are folders of this machine that the
    interpreter needs; `recipe` is what realizes it. Raises what `mkdrv` raises.
    """
    config: dict[str, Any] = {
        "name": sanitise_name(name),
        FIELD: PythonEnvironment.kind,
        "__source__": source,
        "version": version,
        "wheels": [dict(wheel) for wheel in wheels],
        "installer": installer,
        "collisions": list(collisions),
    }
    if python is not None:
        config["python"] = [python, "bin/python3"] if isdref(python) else python
    if shown:
        config[SHOWN] = list(shown)
    return mkdrv(Config(config), match_only(), recipe or PythonEnvironment())
