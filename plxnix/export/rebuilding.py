"""Building with Nix what was built here, so that the two can be compared.

Nix gets the derivations without evaluating anything, with the results that only plxnix can make and
the fetches that it has. What Nix has built before it builds again (`nix-store --check`). Its
sandbox shows of this machine what ours does, where its settings may be chosen.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
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


@dataclass(frozen=True)
class Rebuilt:
    """What Nix made of a stage: its valid `path`, and `other`, where it now gave other bytes.

    `seconds` is how long that took, and `sandboxed` whether it ran in Nix's sandbox.
    """

    path: str
    seconds: float
    sandboxed: bool
    other: str = ""


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
        path = graph.instantiation.path(item.node)
        sandboxed = self._sandboxed is True
        command = ["--realise", drv_path, *(_options(_fetched_files(graph)) if sandboxed else ())]
        started = time.monotonic()
        other = ""
        if path in tools.valid([path]):
            command += ["--check", "--keep-failed"]
            other = f"{path}.check"
        try:
            tools.run("nix-store", *command, timeout=tools.BUILD_TIMEOUT)
        except ToolFailed as error:
            if not (other and "may not be deterministic" in error.stderr and os.path.exists(other)):
                raise BuildFailed(f"Nix cannot build it: {error.message}", error.hint) from error
        else:
            other = ""
        return Rebuilt(path, time.monotonic() - started, sandboxed, other)


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
            tools.run("nix-store", "--realise", *found, *options)
        except ToolFailed as error:
            why.append(error.message)
        else:
            return bool(options)
    raise ExportError("Nix cannot run the programs of this machine", why[0])
