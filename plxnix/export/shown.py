"""The `json` form: derivations as `nix derivation show` prints them.

The JSON changed with Nix: up to 2.18 inputs are lists of outputs; then they are objects; from 2.33
it is version 4, with base names and everything below `derivations`. The Nix that is present
decides, and without one the newest form is written, which `nix derivation add` of 2.34 reads.
"""

from __future__ import annotations

import json
from typing import Any

from plxnix.export.forms import Request
from plxnix.export.graph import ExportGraph
from plxnix.nix import tools
from plxnix.nix.derivation import Derivation, Output
from plxnix.nix.hashes import Hash
from plxnix.nix.paths import STORE

NEWEST = (2, 34)


def write_json(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write the derivations in the JSON form of the Nix that is present: `derivations.json`.

    Those that Nix has made itself are left out: it has them.
    """
    del request  # JSON has no comments to say it in.
    version = tools.version() if tools.available() else NEWEST
    instantiation = graph.lowering.instantiation
    ours = [item for item in graph.items if item.node.existing is None]
    derivations = [instantiation.derivation(item.node) for item in ours]
    text = json.dumps(shown(derivations, version), indent=2, sort_keys=True)
    return {"derivations.json": text + "\n"}


def shown(derivations: list[Derivation], version: tuple[int, ...]) -> dict[str, Any]:
    """Return what `nix derivation show` of a version of Nix prints for derivations."""
    if version >= (2, 33):
        return {
            "derivations": {_base(one.path): _version_4(one) for one in derivations},
            "version": 4,
        }
    return {one.path: _older(one, objects=version >= (2, 19)) for one in derivations}


def _older(derivation: Derivation, objects: bool) -> dict[str, Any]:
    inputs: dict[str, Any] = {
        path: {"dynamicOutputs": {}, "outputs": list(outputs)} if objects else list(outputs)
        for path, outputs in derivation.input_derivations.items()
    }
    outputs = {}
    for name, output in derivation.outputs.items():
        outputs[name] = {"path": output.path}
        if output.hash:
            outputs[name].update(hash=output.hash, hashAlgo=output.algorithm)
    found = {
        "args": list(derivation.args),
        "builder": derivation.builder,
        "env": dict(derivation.env),
        "inputDrvs": inputs,
        "inputSrcs": sorted(derivation.input_sources),
        "outputs": outputs,
        "system": derivation.system,
    }
    return {**found, "name": derivation.name} if objects else found


def _version_4(derivation: Derivation) -> dict[str, Any]:
    return {
        "args": list(derivation.args),
        "builder": derivation.builder,
        "env": dict(derivation.env),
        "inputs": {
            "drvs": {
                _base(path): {"dynamicOutputs": {}, "outputs": list(outputs)}
                for path, outputs in derivation.input_derivations.items()
            },
            "srcs": sorted(map(_base, derivation.input_sources)),
        },
        "name": derivation.name,
        "outputs": {name: _output_4(one) for name, one in derivation.outputs.items()},
        "system": derivation.system,
        "version": 4,
    }


def _output_4(output: Output) -> dict[str, Any]:
    if not output.hash:
        return {"path": _base(output.path)}
    algorithm = output.algorithm.removeprefix("r:")
    return {
        "hash": Hash.parse(output.hash, algorithm).sri,
        "method": "nar" if output.algorithm.startswith("r:") else "flat",
        "path": _base(output.path),
    }


def _base(path: str) -> str:
    return path.removeprefix(STORE + "/")
