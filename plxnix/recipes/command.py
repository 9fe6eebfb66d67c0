"""`Execute`: the recipe of a stage that runs a command (`execute`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plxnix.config import Config
from plxnix.errors import InvalidValue
from plxnix.nix.graph import FixedOutput, Node, Reference, Text, text
from plxnix.nix.hashes import Hash
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe
from plxnix.recipes.tools import present

#: The field of the config with the stages among `tools`, each in a list of its own: beside names
#: one would be taken for a refpath.
STAGES = "__stages__"

#: Fields of the config that are not handed to the builder as variables.
OWN = frozenset(
    {
        FIELD,
        "arguments",
        "builder",
        "command",
        "deterministic",
        "environment",
        "name",
        "nouts",
        "outputHash",
        "outputHashMode",
        "outputs",
        "tools",
        STAGES,
    }
)


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
        outputs = tuple(config.get("outputs", ()))

        def variable(key: str, value: Any) -> Text:
            found = lowering.value(value, outputs)
            if found is None:
                raise unusable(key, value)
            return found

        given = {key: value for key, value in config.items() if key not in OWN}
        given.update(config.get("environment", {}))
        environment = {key: variable(key, value) for key, value in given.items()}
        path: list[str | Reference] = []
        for (stage,) in config.get(STAGES, ()):
            path += [*variable("tools", [stage, "bin"]), ":"]
        if "command" in config:
            script = lowering.text(config["command"], outputs)
            if path:
                # Not a variable of the derivation, since stdenv would make its own of it.
                script = text('export PATH="', *path, '$PATH"\n', *script)
            node = toolchain.command(config.name, script, environment, tools, str(config.dref))
        else:
            node = Node(
                name=config.name,
                system=toolchain.system,
                builder=variable("builder", config["builder"]),
                args=tuple(variable("arguments", one) for one in config["arguments"]),
                env={"PATH": text(*path, *toolchain.path(tools)), **environment},
                comment=str(config.dref),
            )
        if "outputHash" in config:
            recursive = config["outputHashMode"] == "recursive"
            node = replace(node, fixed=FixedOutput(Hash.parse(config["outputHash"]), recursive))
            return Lowered(config.dref, node, "fixed-output")
        if outputs:
            node = replace(node, outputs=outputs)
        return Lowered(config.dref, node, "derivation", outputs=outputs)

    def make(self, job: Job) -> Artifact:
        """Run the command, in the sandbox where it works."""
        # Not `lowering.of`: a command that is pinned in Nix is run by the same derivation here.
        config = job.config
        # Where it has a PATH of its own, the programs may be anywhere.
        own = {STAGES, "PATH"} & {*config, *config.get("environment", ())}
        with present(() if own else config.get("tools", ()), job.dref):
            return job.build(self.lower(config, job.lowering))


def unusable(key: str, value: Any) -> InvalidValue:
    """Make the error for a value that no variable can have."""
    return InvalidValue(
        f"the field {key} is {value!r:.80}, which cannot be a variable of a builder",
        "use text, whole numbers, booleans, references, refpaths, or lists of them",
    )
