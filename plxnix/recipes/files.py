"""`mknode` and `mkfile`: stages whose artifacts are written down in their configs."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from plxnix.config import Config
from plxnix.errors import InvalidConfig
from plxnix.model import DRef, RefPath, selfref
from plxnix.nix.graph import Reference, Source, Text, text
from plxnix.nix.paths import sanitise_name
from plxnix.realize.matchers import match_only
from plxnix.realize.registry import Registry, mkdrv, takes_registry
from plxnix.realize.run import Artifact
from plxnix.recipes.lowering import Lowered, Lowering
from plxnix.recipes.recipe import FIELD, Job, Recipe

#: The field of the config that holds the files: text, or `{"base64": ...}` where text cannot.
ARTIFACTS = "__artifacts__"


class Files(Recipe):
    """The recipe behind `mknode` and `mkfile`."""

    kind = "files-1"

    def lower(self, config: Config, lowering: Lowering) -> Lowered:
        """Return a derivation that copies store files, decoding those that are not text."""
        script = ['mkdir "$out"']
        environment: dict[str, Text] = {}
        for number, (name, contents) in enumerate(sorted(config[ARTIFACTS].items())):
            variable = f"file{number}"
            encoded = isinstance(contents, dict)
            source = Source(
                sanitise_name(name.rpartition("/")[2]), contents["base64"] if encoded else contents
            )
            environment[variable] = text(Reference(source))
            environment[f"to{number}"] = text(name)
            if "/" in name:
                script.append(f'mkdir -p "$out/${{to{number}%/*}}"')
            command = "base64 -d" if encoded else "cat"
            script.append(f'{command} < "${variable}" > "$out/$to{number}"')
        node = lowering.toolchain.command(
            config.name, text("\n".join(script)), environment, (), str(config.dref)
        )
        return Lowered(config.dref, node, "derivation")

    def make(self, job: Job) -> Artifact:
        """Write the files."""
        output = job.folder() / "out"
        output.mkdir()
        for name, contents in job.config[ARTIFACTS].items():
            data = (
                b64decode(contents["base64"]) if isinstance(contents, dict) else contents.encode()
            )
            path = output / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return Artifact(output, nix=job.nix(self.form(job)))


@takes_registry
def mknode(
    config: Mapping[str, Any],
    artifacts: Mapping[str, bytes | str] | None = None,
    name: str = "mknode",
    registry: Registry | None = None,
) -> DRef:
    """Register a stage that consists of a config and of small files, and return its reference.

    `artifacts` maps relative paths to contents, which stand in the config as text, or as base64 if
    they are not UTF-8 or hold NUL. Raises `InvalidConfig` for a config with fields of ours,
    `InvalidRefpath` for paths that lead out.
    """
    del registry
    if not isinstance(config, Mapping):
        raise InvalidConfig(f"the config is {config!r:.80}", "pass a dict")
    for key in (ARTIFACTS, FIELD):
        if key in config:
            raise InvalidConfig(f"the config has the field {key}", "that name is plxnix's own", key)
    files = {}
    for path, contents in (artifacts or {}).items():
        RefPath.make(selfref, [path])
        files[path] = _written(contents)
    fields = {**config, "name": name, ARTIFACTS: files, FIELD: Files.kind}
    return mkdrv(Config(fields), match_only(), Files())


@takes_registry
def mkfile(
    name: str,
    contents: bytes | str,
    filename: str | None = None,
    registry: Registry | None = None,
) -> DRef:
    """Register a stage that is one small file, and return its reference.

    The file is called `filename`, or `name` like the stage; `out` in the config is its refpath.
    """
    del registry
    file = filename or name
    return mknode({"out": [selfref, file]}, {file: contents}, name)


def _written(contents: bytes | str) -> str | dict[str, str]:
    try:
        data = contents.encode() if isinstance(contents, str) else bytes(contents)
    except UnicodeEncodeError:
        raise InvalidConfig(
            f"a file is to hold {contents!r:.80}, which is not valid Unicode", "pass it as bytes"
        ) from None
    try:
        decoded = data.decode()
    except UnicodeDecodeError:
        decoded = "\0"
    return {"base64": b64encode(data).decode()} if "\0" in decoded else decoded
