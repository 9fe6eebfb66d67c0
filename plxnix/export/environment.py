"""The `shell` and `flake` forms: what people enter, build and run by Nix' own commands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from plxnix.errors import ExportError
from plxnix.export.expression import expression, header, programs
from plxnix.export.forms import Request
from plxnix.export.graph import ExportGraph
from plxnix.nix.graph import RESERVED
from plxnix.nix.text import attribute, string, template
from plxnix.recipes.toolchain import HOST

#: Where the nixpkgs of an exported flake come from, until its user says otherwise.
NIXPKGS = "github:NixOS/nixpkgs/nixos-25.11"

#: Variables that a shell needs for itself.
_TAKEN = RESERVED | {"out", "shellHook", "stdenv", "PATH", "HOME", "SHELL", "IFS", "stage"}


def write_shell(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write `shell.nix`, which needs no other file; with `envrc` also an `.envrc` for direnv."""
    files = {"shell.nix": _shell(graph, request, _inline(graph, request, 4))}
    if request.envrc:
        files[".envrc"] = "use nix\n"
    return files


def write_flake(graph: ExportGraph, request: Request) -> dict[str, str]:
    """Write `flake.nix` as a thin layer above the `default.nix` and `shell.nix` that go with it.

    If the request is for one file, `flake.nix` holds it all. Raises `ExportError` for an expression
    of Nix that reads a file which is not below the flake's folder.
    """
    _check_files(graph)
    if request.single:
        body = _indented(_body(graph), 12)
        return {"flake.nix": _flake(graph, request, _inline(graph, request, 6), body)}
    files = {
        "flake.nix": _flake(graph, request, "import ./default.nix", ""),
        "default.nix": expression(graph, request.command),
        "shell.nix": _shell(graph, request, "import ./default.nix"),
    }
    if request.envrc:
        files[".envrc"] = "use flake\n"
    return files


def _check_files(graph: ExportGraph) -> None:
    for item in graph.items:
        existing = item.node.existing
        for part in existing.expression if existing is not None else ():
            if isinstance(part, Path) and not (
                graph.folder and part.resolve().is_relative_to(Path(graph.folder).resolve())
            ):
                raise ExportError(
                    f"{item.node.name} is made of {part}, but a flake reads only what is in its "
                    "own folder",
                    "export it into a folder above that file, or as nix",
                )


def _inline(graph: ExportGraph, request: Request, depth: int) -> str:
    """Return the whole expression of a graph in parentheses, to stand at a depth of blanks."""
    lines = expression(graph, request.command).splitlines()
    start = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "(" + _indented("\n".join(["", *lines[start:]]), depth + 2) + "\n" + " " * depth + ")"


def _indented(text: str, depth: int) -> str:
    """Indent all lines of a text but the first, which stands somewhere already."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(" " * depth + line if line else "" for line in rest)])


def _body(graph: ExportGraph) -> str:
    """Return the expression of a shell in which `graph` is bound."""
    return _render(
        "shell_body.nix.j2",
        **_toolchain(graph),
        variables=[(name, attribute(one)) for one, name in variables(graph).items()],
        name=string(f"{graph.roots[0].variable}-shell"),
    ).rstrip("\n")


def _shell(graph: ExportGraph, request: Request, printed: str) -> str:
    return _render(
        "shell.nix.j2",
        **_toolchain(graph),
        header="\n".join(header(graph, request.command)),
        graph=printed,
        body=_body(graph),
    )


def _flake(graph: ExportGraph, request: Request, printed: str, body: str) -> str:
    items = [item for item in graph.items if item.lowered is not None]
    return _render(
        "flake.nix.j2",
        **_toolchain(graph),
        header="\n".join(header(graph, request.command)),
        graph=printed,
        body=body,
        description=string(f"{', '.join(dref.name for dref in graph.targets)}, made by plxnix"),
        systems=[string(graph.toolchain.system)],
        default=attribute(graph.roots[0].variable),
        targets=[attribute(item.variable) for item in graph.roots],
        programs=[
            (attribute(item.variable), string(program)[1:-1])
            for item in items
            for program in programs(graph, item)[:1]
        ],
    )


def variables(graph: ExportGraph) -> dict[str, str]:
    """Return for each stage the shell variable with its path: its name, with `_` for signs."""
    found: dict[str, str] = {}
    taken = set(_TAKEN)
    for item in graph.items:
        base = name = re.sub(r"[^A-Za-z0-9_]", "_", item.variable)
        number = 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        found[item.variable] = name
    return found


def _toolchain(graph: ExportGraph) -> dict[str, Any]:
    packages = graph.toolchain.name != "host"
    shell = template(HOST.shell(), str)
    return {
        "nixpkgs": string(NIXPKGS) if packages else "",
        "system": string(graph.toolchain.system),
        "shell": shell,
        "shell_path": shell[1:-1],
        "path": template(HOST.path(()), str),
    }


def _render(file: str, **fragments: Any) -> str:
    """Fill a template; all that goes in is Nix text already."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("plxnix.export"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # the text is Nix, not HTML
    )
    return environment.get_template(file).render(fragments)
