"""Run the program of a stage: python3 RUNNER PROGRAM INPUTS; the stage writes below $out.

This file goes into derivations: where it runs there is no plxnix, and Python may be as old as 3.6.
"""

import importlib.abc
import importlib.util
import inspect
import json
import os
import pathlib
import sys
import traceback
from typing import Any, Iterable  # noqa: UP035

del sys.path[0]  # The folder of this file.
OUT = os.environ.get("out", "")  # noqa: SIM112


class Modules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """The modules in the program, each from its own line on."""

    def __init__(self, path: str) -> None:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
        mark, self.stage = lines[0].split(" program ")
        self.path = path
        self.texts: dict[str, list[str]] = {}
        self.packages: set[str] = set()
        found: list[str] = []
        for number, line in enumerate(lines[1:], 2):
            if line.startswith(mark + " "):
                kind, *names = line[len(mark) + 1 :].split()
                found = ["\n" * number]
                self.texts.update((name, found) for name in names)
                self.packages.update(names if kind == "package" else ())
            else:
                found.append(line + "\n")

    def find_spec(self, name: str, *others: Any) -> Any:
        del others
        if name not in self.texts:
            return None
        return importlib.util.spec_from_loader(
            name, self, origin=self.path, is_package=name in self.packages
        )

    def create_module(self, spec: Any) -> None:
        del spec

    def exec_module(self, module: Any) -> None:
        text = "".join(self.texts[module.__spec__.name])
        try:
            code = compile(text, self.path, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise ImportError(
                f"{sys.executable} is Python {sys.version.split()[0]}, which cannot read the "
                f"stage's code: {error}\nChoose another interpreter: autostage(pure=True, env=...)"
            ) from None
        exec(code, module.__dict__)  # noqa: S102  # as importing does


class Attrs:
    """A dependency: the fields of its config are attributes, and `_path` is where it is."""

    def __init__(self, name: str, path: Any, fields: Any, left_out: Any) -> None:
        self.__dict__.update(_name=name, _path=path, _fields=fields, _left_out=left_out)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        if name in self._left_out:
            raise AttributeError(
                f"{self._name}.{name} leads to other stages, and no name in the stage's code says "
                "that it is used"
            )
        if name not in self._fields:
            raise AttributeError(
                f"{self._name} has no field {name!r}; its fields are "
                + ", ".join(sorted(self._fields))
            )
        return self._fields[name]

    def __setattr__(self, name: str, value: object) -> None:
        del name, value
        raise AttributeError("a dependency cannot be changed")

    def __dir__(self) -> Iterable[str]:
        return [*super().__dir__(), *self._fields]

    def __repr__(self) -> str:
        return f"Attrs({self._name})"


class Inputs:
    """The values in the file of inputs: plain JSON, but for objects with one key `$...`."""

    def __init__(self, data: Any) -> None:
        self.stages = data["stages"]
        self.known: dict[int, Attrs] = {}

    def value(self, given: Any) -> Any:
        if isinstance(given, list):
            return [self.value(item) for item in given]
        if not isinstance(given, dict):
            return given
        if "$out" in given:
            return pathlib.Path(OUT, *given["$out"])
        if "$path" in given:
            return pathlib.Path(os.environ[f"path{given['$path']}"])
        if "$stage" in given:
            return self.stage(given["$stage"])
        if "$object" in given:
            given = dict(given["$object"])
        return {key: self.value(item) for key, item in given.items()}

    def stage(self, number: int) -> Attrs:
        if number not in self.known:
            one = self.stages[number]
            fields: dict[str, Any] = {}
            path = self.value(one["path"])
            self.known[number] = Attrs(one["name"], path, fields, one["left_out"])
            fields.update((key, self.value(item)) for key, item in one["fields"].items())
        return self.known[number]


def main() -> int:
    modules = Modules(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        data = json.load(file)
    sys.argv[1:] = []
    sys.meta_path.insert(0, modules)
    os.mkdir(OUT)
    try:
        stage = importlib.import_module(modules.stage).__stage__
        inputs = Inputs(data)
        fields = {key: inputs.value(item) for key, item in data["arguments"].items()}
        parameters = inspect.signature(stage).parameters
        takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
        if "rindex" in parameters:
            fields["rindex"] = 0
        stage(
            **{
                key: item
                for key, item in fields.items()
                if key in parameters or (takes_all and key != "name")
            }
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # all are shown
        trace = error.__traceback__
        while trace and trace.tb_next and trace.tb_frame.f_code.co_filename != modules.path:
            trace = trace.tb_next
        if trace and trace.tb_frame.f_code.co_filename != modules.path:
            trace = None
        traceback.print_exception(type(error), error, trace)
        return 1
    missing = [
        "/".join(parts)
        for parts in data["promises"]
        if not os.path.lexists(os.path.join(OUT, *parts))
    ]
    if missing:
        print("the stage has not made what it promised: " + ", ".join(missing), file=sys.stderr)
    return 1 if missing else 0


sys.exit(main())
