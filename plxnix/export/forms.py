"""The forms of an export: what each is called, which files it has, and where it is written.

A form is a function from a graph to texts by file name, the main file first. Modules are imported
when their form is asked for.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from plxnix.errors import InvalidValue
from plxnix.export.graph import ExportGraph


@dataclass(frozen=True)
class Request:
    """How an export was asked for.

    `command` is the command line that makes it again, for the header; `split` asks for a file for
    each stage, `envrc` for an `.envrc` beside a shell, `single` for one file that needs no other.
    """

    command: str
    split: bool = False
    envrc: bool = False
    single: bool = False


Form: TypeAlias = Callable[[ExportGraph, Request], dict[str, str]]

#: For each form its module below `plxnix.export`, and a help in short.
FORMS: dict[str, tuple[str, str]] = {
    "nix": ("expression", "one readable Nix expression (default.nix)"),
    "lock": ("lock", "data for nix/lib, with small diffs (plxnix.lock.json)"),
    "flake": ("environment", "packages, apps, checks and a shell (flake.nix and what it imports)"),
    "shell": ("environment", "an environment for nix-shell (shell.nix)"),
    "json": ("shown", "derivations as `nix derivation show` prints them (derivations.json)"),
    "svg": ("drawing", "a drawing for browsers (graph.svg)"),
    "dot": ("drawing", "a drawing for Graphviz (graph.dot)"),
    "mermaid": ("drawing", "a drawing for Markdown (graph.mmd)"),
}


def render(form: str, graph: ExportGraph, request: Request) -> dict[str, str]:
    """Return the files of a form: texts by name, the main file first.

    Raises `InvalidValue` for a form that there is not, and what the form raises.
    """
    if form not in FORMS:
        raise InvalidValue(f"there is no form {form!r}", f"choose from {', '.join(FORMS)}")
    module = importlib.import_module(f"plxnix.export.{FORMS[form][0]}")
    write: Form = getattr(module, f"write_{form}")
    return write(graph, request)


def is_folder(output: str) -> bool:
    """Tell whether an output is a folder: it ends with a slash, or there is one."""
    return output.endswith("/") or Path(output).is_dir()


def place(files: dict[str, str], output: str) -> dict[Path, str]:
    """Return where each file goes: `output` is a file, or with a slash at its end a folder.

    Raises `InvalidValue` if several files are to go into one.
    """
    target = Path(output)
    if is_folder(output):
        return {target / name: text for name, text in files.items()}
    if len(files) != 1:
        raise InvalidValue(
            f"this export has {len(files)} files ({', '.join(files)}), but -o is {output!r}",
            f"give a folder: -o {output}/",
        )
    (text,) = files.values()
    return {target: text}
