"""Building with Nix what was built here, so that the two can be compared.

Nix gets the derivations without evaluating anything, with the results that only plxnix can make and
the fetches that it has. What Nix has built before it builds again (`nix-store --check`). Its
sandbox shows of this machine what ours does, where its settings may be chosen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from plxnix.builders.namespaces import HOST_PATHS
from plxnix.errors import BuildFailed, ExportError, ToolFailed
from plxnix.export import register
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.nix import tools
from plxnix.nix.quoting import quote
from plxnix.recipes.toolchain import HOST

#: Builds something that is not there yet, where the host's shell is, and in a sandbox if asked.
_TRIAL = """derivation {{
  name = "plxnix-trial"; system = builtins.currentSystem; salt = builtins.currentTime;
  builder = {shell}; args = [ "-c" "{condition} echo > $out" ];
}}"""

#: Nobody has what is built of this machine's programs, and what is downloaded is not built again.
_BUILT_HERE = ("--option", "substitute", "false")


@dataclass(frozen=True)
class Rebuilt:
    """What Nix made of a stage: for each output its valid path, and where it now gave other bytes.

    `seconds` is how long that took, and `sandboxed` whether it ran in Nix's sandbox.
    """

    paths: Mapping[str, Sequence[str]]
    seconds: float
    sandboxed: bool


class Rebuilder:
    """Builds stages with Nix; how is tried once, when the first is built."""

    def __init__(self) -> None:
        self._sandboxed: bool | None = None

    def prepare(self, graph: ExportGraph) -> None:
        """Put into the Nix store what a build needs, but for what Nix builds itself.

        Raises `ToolMissing`, `ToolFailed` and `ExportError` where that is not possible here.
        """
        if self._sandboxed is None:
            self._sandboxed = _try()
        register.register(graph)
        add_graph(graph)

    def build(self, graph: ExportGraph) -> Rebuilt:
        """Build the only target of a graph that was prepared, even if Nix has it already.

        Raises `BuildFailed` with what Nix said.
        """
        ((item,),) = graph.targets.values()
        drv_path = graph.instantiation.drv_path(item.node)
        paths = {name: graph.instantiation.path(item.node, name) for name in item.node.outputs}
        sandboxed = self._sandboxed is True
        command = ["--realise", drv_path, *(_options(_fetched_files(graph)) if sandboxed else ())]
        if not any(one.node.existing for one in graph.items):
            command += _BUILT_HERE
        again = len(tools.valid(paths.values())) == len(paths)
        if again:
            command += ["--check", "--keep-failed"]
        started = time.monotonic()
        others: list[str] = []
        try:
            tools.run("nix-store", *command, timeout=tools.BUILD_TIMEOUT)
        except ToolFailed as error:
            # What Nix keeps of a build that gave other bytes.
            others = [f"{path}.check" for path in paths.values()] if again else []
            others = [path for path in others if os.path.exists(path)]
            if not (others and "may not be deterministic" in error.stderr):
                raise BuildFailed(f"Nix cannot build it: {error.message}", error.hint) from error
        took = time.monotonic() - started
        found = {
            name: [path, *(one for one in others if one == f"{path}.check")]
            for name, path in paths.items()
        }
        return Rebuilt(found, took, sandboxed)


def _options(files: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the options for a sandbox that shows of this machine what ours does, and files."""
    shown = " ".join([*filter(os.path.exists, HOST_PATHS), *files])
    return (
        *("--option", "sandbox", "true", "--option", "sandbox-fallback", "false"),
        *("--option", "sandbox-paths", shown),
    )


def _fetched_files(graph: ExportGraph) -> Iterator[str]:
    """Yield the files of this machine that are fetched: Nix's sandbox does not show them."""
    for item in graph.items:
        url = "".join(map(str, item.node.env.get("url", ())))
        path = unquote(url.removeprefix("file://"))
        # In the setting a blank ends a path, and = begins where it is seen.
        if path != url and os.path.exists(path) and not set(path) & set(" =?\t\n"):
            yield path


def _try() -> bool:
    """Tell whether Nix runs the programs of this machine in its sandbox.

    Raises `ExportError` if it does not run them without it either.
    """
    shell = quote("".join(map(str, HOST.shell())))
    why: list[str] = []
    for options, condition in ((_options(), "test -d /build &&"), ((), "")):
        try:
            found = tools.instantiate(_TRIAL.format(shell=shell, condition=condition))
            tools.run("nix-store", "--realise", *found, *options, *_BUILT_HERE)
        except ToolFailed as error:
            why.append(error.message)
        else:
            return bool(options)
    raise ExportError("Nix cannot run the programs of this machine", why[0])
