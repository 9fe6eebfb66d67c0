"""Evaluation: which derivation an expression of Nix stands for.

Nix is asked once a process for each question: what is asked, the search path, and the times of the
file that is named. If a file that this one imports changes while the process runs, the next process
sees it, or who calls `forget` first.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from plxnix.errors import InvalidValue, ToolFailed
from plxnix.nix import tools
from plxnix.nix.graph import Package
from plxnix.nix.instantiated import hashes_modulo
from plxnix.nix.text import attribute, string, value

#: Nix text in which files and folders stand for their paths.
Expression = tuple["str | Path", ...]

#: Calls what is a function, takes the first of several attribute paths that is there, and tells of
#: the derivation that comes out. It is a function itself, so that none of its names are in scope.
_ASK: Final = """\
arguments: candidates: value:
let
  called = if builtins.isFunction value then value arguments else value;
  has =
    set: path:
    path == [ ]
    || builtins.isAttrs set
    && set ? ${builtins.head path}
    && has set.${builtins.head path} (builtins.tail path);
  there = builtins.filter (has called) candidates;
  path = builtins.head (if there == [ ] then candidates else there);
  # Of nixpkgs there would be too many.
  names = all: if builtins.length all > 20 then "" else "; there are: ${toString all}";
  found = builtins.foldl' (
    set: name:
    if !builtins.isAttrs set then
      throw "there is no attribute '${name}' of a ${builtins.typeOf set}"
    else if !(set ? ${name}) then
      throw "there is no attribute '${name}'${names (builtins.attrNames set)}"
    else
      set.${name}
  ) called path;
  text = builtins.unsafeDiscardStringContext;
in
{ inherit path; function = builtins.isFunction value; } // (
  if (found.type or "") == "derivation" then {
    kind = "derivation";
    drv = text found.drvPath;
    system = found.system or "";
    output = found.outputName or "out";
    outputs = map (name: [ name (text found.${name}.outPath) ]) (found.outputs or [ "out" ]);
  } else { kind = builtins.typeOf found; }
)
"""

#: What `getFlake` needs; Nix that knows it without being told does not mind.
_FLAKES: Final = ("--extra-experimental-features", "nix-command flakes")

_PATH: Final = re.compile(r"[A-Za-z0-9._+/-]+")


@dataclass(frozen=True)
class Question:
    """An expression whose value, or an attribute of it, is a derivation.

    `value` is put into parentheses; if it is a function, it is called with `arguments`, an
    expression. Of `candidates`, attribute paths, the first that is there is taken. `watched` are
    the files whose change makes it another question.
    """

    value: Expression
    arguments: str
    candidates: tuple[tuple[str, ...], ...]
    watched: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Answer:
    """A derivation: the package that it is, its system, its default output, and its expression."""

    package: Package
    system: str
    output: str
    expression: Expression


def of_text(
    text: str, attributes: str | None = None, arguments: Mapping[str, Any] | None = None
) -> Question:
    """Ask for the derivation that the text of an expression stands for."""
    # A line feed, so that a comment at its end does not hide the parenthesis.
    whole = f"\n{text}\n" if "#" in text or "\n" in text else text
    return Question((whole,), _one_line(arguments or {}), (_attributes(attributes),))


def of_file(
    file: str | os.PathLike[str],
    attributes: str | None = None,
    arguments: Mapping[str, Any] | None = None,
) -> Question:
    """Ask for the derivation that a file, or a folder with a `default.nix`, stands for."""
    path = Path(os.path.abspath(file))
    read = path / "default.nix" if path.is_dir() else path
    if not read.is_file():
        raise InvalidValue(
            f"there is no Nix file {os.fspath(file)!r}",
            f"paths are relative to the folder of the process, {os.getcwd()}",
        )
    return Question(
        ("import ", path), _one_line(arguments or {}), (_attributes(attributes),), (read,)
    )


def of_flake(reference: str, system: str) -> Question:
    """Ask for an output of a flake: `REF#ATTRIBUTE`, as `nix build` takes it."""
    flake, _, name = reference.partition("#")
    if flake.startswith("path:") and "?" not in flake and not flake.startswith("path:/"):
        # `getFlake` takes no relative path, though `nix build` does.
        flake = f"path:{os.path.abspath(flake.removeprefix('path:'))}"
    names = _attributes(name)
    candidates: tuple[tuple[str, ...], ...] = (
        ("packages", system, *names),
        ("legacyPackages", system, *names),
        names,
    )
    if not names:
        candidates = (("packages", system, "default"), ("defaultPackage", system))
    if flake == "" or flake[0] in "./":
        path = Path(os.path.abspath(flake or "."))
        if not (path / "flake.nix").is_file():
            raise InvalidValue(f"there is no flake in {os.fspath(path)!r}", "it has a flake.nix")
        watched = (path / "flake.nix", path / "flake.lock")
        value: Expression = ("builtins.getFlake (toString ", path, ")")
        return Question(value, "{ }", candidates, watched)
    return Question((f"builtins.getFlake {string(flake)}",), "{ }", candidates)


def _one_line(item: Any) -> str:
    # No string that we print has a line feed, so that lines can be joined.
    return re.sub(r"\n *", " ", value(item))


def _attributes(path: str | None) -> tuple[str, ...]:
    names = tuple(path.split(".")) if path else ()
    if "" in names:
        raise InvalidValue(f"{path!r} is no attribute path", "it looks like python3.pkgs.numpy")
    return names


_answers: dict[tuple[Any, ...], Answer] = {}


def forget() -> None:
    """Forget what expressions evaluate to, so that all files are read again."""
    _answers.clear()


def evaluate(question: Question) -> Answer:
    """Return the derivation that is asked for; its `.drv` is in the Nix store then.

    Raises `InvalidValue` if it is none, `ToolMissing`, and `ToolFailed` with what Nix says of an
    expression that is wrong. Cost: one evaluation, and one read of each derivation below, once.
    """
    key = (question, os.getcwd(), os.environ.get("NIX_PATH"), *map(_stamp, question.watched))
    found = _answers.get(key)
    if found is None or not os.path.exists(found.package.drv_path):
        found = _answers[key] = _evaluate(question)
    return found


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _evaluate(question: Question) -> Answer:
    candidates = _one_line([list(path) for path in question.candidates])
    asked = f"({_ASK}) {question.arguments} {candidates} ({absolute(question.value)})"
    shown = absolute(question.value).strip()
    options = ("--eval", "--strict", "--json", "--read-write-mode", *_FLAKES, "--expr")
    try:
        told = json.loads(tools.run("nix-instantiate", *options, asked))
    except ToolFailed as error:
        # Since 2.20 Nix traces first, which shows `_ASK`, and then says what is wrong, indented.
        cause = re.split(r"^(?= +error:)", error.stderr, flags=re.MULTILINE)[-1]
        said = tools.last_lines(cause) or f" {error.message}"
        raise ToolFailed(
            f"Nix cannot evaluate {shown:.200}:{said}",
            "the lines above are its own",
            error.status,
            error.stderr,
        ) from None
    if told["kind"] != "derivation":
        names = ".".join(told["path"])
        raise InvalidValue(
            f"{f'the attribute {names} of ' if names else ''}{shown:.200} is no derivation but a "
            f"{told['kind']}",
            "name an attribute that is one" if told["kind"] == "set" else "",
        )
    if question.arguments != "{ }" and not told["function"]:
        raise InvalidValue(f"{shown:.200} is no function", "leave its arguments out")
    drv_path = told["drv"]
    outputs = tuple((name, path) for name, path in told["outputs"])
    modulo = hashes_modulo([drv_path])[drv_path]
    if not modulo:
        raise InvalidValue(
            f"the paths of {drv_path} are only known when it is built",
            "content-addressed and impure derivations cannot be depended on",
        )
    called: Expression = ("(", *question.value, ")")
    if told["function"]:
        called = ("(", *called, f" {question.arguments})")
    expression = (*called, "".join(f".{attribute(name)}" for name in told["path"]))
    package = Package(os.path.basename(drv_path)[33:-4], drv_path, outputs, modulo)
    return Answer(package, told["system"], told["output"], expression)


# -- expressions as text -----------------------------------------------------------------------


def absolute(expression: Expression) -> str:
    """Return the text of an expression, with absolute paths."""
    return relative(expression, "")


def relative(expression: Expression, folder: str) -> str:
    """Return the text of an expression that is written to a file in `folder`, absolute or empty.

    Paths are relative to it; if it is empty, they are absolute.
    """
    return "".join(
        part if isinstance(part, str) else _path(os.fspath(part), folder) for part in expression
    )


def _path(path: str, folder: str) -> str:
    if folder:
        path = os.path.relpath(os.path.realpath(path), os.path.realpath(folder))
        path = path if path.startswith("../") else f"./{path}"
    if "/" in path and not path.endswith("/") and _PATH.fullmatch(path):
        return path
    base, rest = ("./.", f"/{path.removeprefix('./')}") if folder else ("/.", path)
    return f"({base} + {string(rest)})"
