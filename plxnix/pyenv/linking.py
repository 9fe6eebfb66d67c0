"""Environments of hard links: a wheel is unpacked once a store, and environments link to that.

What it makes is what the builder makes in the sandbox, byte for byte, without writing the files
again. It does so only for environments whose builder and `installer` are those of this process:
these alone run outside of the sandbox. Others are built as Nix builds them.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from plxnix.builders.process import run_process
from plxnix.config import Config
from plxnix.errors import BuildFailed
from plxnix.model import DRef, RRef, isdref
from plxnix.nix.graph import text
from plxnix.nix.tools import last_lines
from plxnix.realize.run import Artifact
from plxnix.recipes.pyenv import PythonEnvironment
from plxnix.recipes.recipe import Job
from plxnix.recipes.toolchain import Host
from plxnix.store.publication import publish_known
from plxnix.store.record import Record

#: The program that links, with the folders of what it imports.
_LINK = (
    "import json, os, sys; sys.path[:0] = json.loads(sys.argv[1]); "
    "from plxnix.pyenv.linker import link; link(*sys.argv[2:], os.environ['python'])"
)


@functools.cache
def builder_text() -> str:
    """Return the program that makes environments."""
    return Path(__file__).with_name("builder.py").read_text(encoding="utf-8")


class LinkedEnvironment(PythonEnvironment):
    """The recipe behind `python_env`, which links where it can."""

    def make(self, job: Job) -> Artifact:
        """Link the environment to unpacked wheels, or run the builder."""
        python = _interpreter(job.config)
        if python is None or not _same_builder(job.config):
            return self._explained(job)
        linking = _Linking(job, python)
        output = linking.output()
        nix = {**job.nix(self.lower(job.config, job.lowering)), "references": {}}
        return Artifact(output, nix=nix, linked=True)

    def _explained(self, job: Job) -> Artifact:
        try:
            return super().make(job)
        except BuildFailed as error:
            raise _with_output(error, job) from error


def _same_builder(config: Config) -> bool:
    """Tell whether the program that builds in the sandbox is the one that is here, too."""
    from importlib import metadata

    try:
        version = metadata.version("installer")
    except metadata.PackageNotFoundError:
        return False
    installer = config["installer"][-1]
    if installer != f"installer-{version}-py3-none-any.whl":
        return False
    return bool(config["__source__"] == builder_text())


def _interpreter(config: Config) -> str | None:
    """Return the interpreter that the builder would find, if that is one of this machine."""
    if "python" not in config:
        return shutil.which(f"python{config['version']}", path=":".join(Host.folders))
    python = config["python"]
    return python if isinstance(python, str) and not isdref(python) else None


def _place(package: str) -> str:
    """Return the folder that a package is imported from."""
    found = find_spec(package)
    return os.path.dirname(os.path.dirname((found and found.origin) or ""))


def _with_output(error: BuildFailed, job: Job) -> BuildFailed:
    """Return an error that says what the builder said."""
    lines = last_lines(job.log.value().decode(errors="replace"))
    message = f"{error.message}:{lines}" if lines else error.message
    return BuildFailed(message, error.hint, job.dref)


class _Linking:
    """One environment being linked."""

    def __init__(self, job: Job, python: str) -> None:
        self._job = job
        self._python = python
        self._store = job.store
        self._wheels: list[dict[str, Any]] = []
        self._origins: list[tuple[DRef, RRef]] = []
        sources = job.folder()
        for wheel in job.config["wheels"]:
            place = job.lowering.value(wheel["file"])
            dref = DRef(wheel["file"] if isdref(wheel["file"]) else wheel["file"][0])
            self._origins.append((dref, job.context[dref][0]))
            self._wheels.append(
                {**wheel, "path": job.dependencies.native(place or text(), sources)}
            )

    def output(self) -> Path:
        """Make the environment, and return its folder."""
        unpacked = [self._config(number).dref for number in range(len(self._wheels))]
        with self._store.keeping(unpacked):
            return self._output()

    def _output(self) -> Path:
        missing, started, folder = [], time.time(), self._job.folder()
        for number, wheel in enumerate(self._wheels):
            del wheel["file"]
            tree = self._known(number)
            if tree is None:
                missing.append(number)
            else:
                wheel["tree"] = tree
        output = folder / "out"
        self._run(folder, output)
        self._publish(missing, folder / "unpacked", started)
        return output

    def _run(self, folder: Path, output: Path) -> None:
        config = self._job.config
        spec = {
            "version": config["version"],
            "collisions": config["collisions"],
            "wheels": self._wheels,
        }
        file = folder / "spec.json"
        file.write_text(json.dumps(spec), encoding="utf-8")
        places = [_place("plxnix"), _place("installer")]
        try:
            run_process(
                self._job.dref,
                sys.executable,
                [
                    "-I",
                    "-S",
                    "-c",
                    _LINK,
                    json.dumps(places),
                    os.fspath(file),
                    os.fspath(output),
                ],
                {"python": self._python},
                os.fspath(folder),
                self._job.log.write,
            )
        except BuildFailed as error:
            raise _with_output(error, self._job) from error

    # -- unpacked wheels -----------------------------------------------------------------------

    def _config(self, number: int) -> Config:
        dref, _ = self._origins[number]
        name = self._job.store.config(dref).name
        return Config({"name": f"unpacked-{name}", "wheel": dref, "form": "wheel-tree-1"})

    def _known(self, number: int) -> str | None:
        """Return the folder of an unpacked wheel, if there is one."""
        dref, origin = self._origins[number]
        found = self._store.realizations(self._config(number).dref, {dref: [origin]})
        return self._store.path(found[0]) if found else None

    def _publish(self, numbers: list[int], folder: Path, started: float) -> None:
        """Keep unpacked wheels in the store, where they are garbage once nobody needs them."""
        made = []
        for number in numbers:
            dref, origin = self._origins[number]
            config = self._config(number)
            self._store.restore(config)
            place = os.fspath(folder / str(number))
            found, size = json.loads(Path(f"{place}.json").read_text(encoding="utf-8"))
            record = Record({dref: (origin,)}, found, size, started=started, stopped=time.time())
            made.append((config.dref, place, record))
        publish_known(self._store, made)
