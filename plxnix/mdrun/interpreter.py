"""The interpreter of a document: a process of its own, in which one section runs after another.

Names, modules and the working directory that a section leaves are there for the next. The process
is started when the first section has to run, and ends with its owner.
"""

from __future__ import annotations

import ast
import json
import linecache
import os
import shutil
import socket
import subprocess
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Final, TextIO

from plxnix.codehash.library import is_own
from plxnix.errors import BuildFailed
from plxnix.realize.run import Log

#: How much of the output of one section is kept, in bytes.
LIMIT: Final = 1 << 16

#: What a file is named that can be shown as a picture.
_PICTURES: Final = (".gif", ".jpeg", ".jpg", ".png", ".svg", ".webp")

#: A picture's own methods, as notebooks know them, and the file that each gives.
_REPRESENTATIONS: Final = {"_repr_png_": ".png", "_repr_jpeg_": ".jpg", "_repr_svg_": ".svg"}


class Interpreter:
    """The process, seen from its owner; a context manager that ends it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Interpreter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None and self._connection is not None:
            self._connection.close()
            # A section may have left threads behind, or may be running still.
            self._process.kill()
            self._process.wait()

    def run(self, number: int, language: str, code: str, folder: Path) -> bool:
        """Run a section and tell whether it succeeded.

        What it prints goes to `folder/output`, its pictures beside that, in the order of their
        names. Raises `BuildFailed` if the process ends.
        """
        connection = self._connection or self._start()
        try:
            connection.send_bytes(json.dumps([number, language, code, os.fspath(folder)]).encode())
            return json.loads(connection.recv_bytes()) is True
        except (EOFError, OSError):
            status = self._process.wait() if self._process else None
            raise BuildFailed(
                f"section {number} ended its interpreter: exit status {status}",
                "sections share one process: let what may end it run as a shell section",
            ) from None

    def _start(self) -> Connection:
        mine, its = socket.socketpair()
        with its:
            program = f"from {__name__} import serve; serve({its.fileno()})"
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )
        self._connection = Connection(mine.detach())
        return self._connection


def serve(descriptor: int) -> None:
    """Run sections as they come, until there is nobody left to send any."""
    connection = Connection(descriptor)
    os.set_inheritable(descriptor, False)
    warnings.filterwarnings("ignore", message=".*FigureCanvasAgg is non-interactive.*")
    os.environ.setdefault("MPLBACKEND", "Agg")
    programs = os.path.dirname(sys.executable)
    os.environ["PATH"] = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    module = sys.modules["__main__"] = ModuleType("__main__")
    while True:
        try:
            number, language, code, folder = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return
        with _captured(Path(folder, "output")):
            succeeded = _succeeds(module, number, language, code, Path(folder))
        connection.send_bytes(json.dumps(succeeded).encode())


@contextmanager
def _captured(file: Path) -> Iterator[None]:
    """Send all that this process and those that it starts print to a file."""
    kept = [os.dup(1), os.dup(2)]
    with open(file, "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.stdout, sys.stderr = _stream(1), _stream(2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, old in enumerate(kept, start=1):
            os.dup2(old, descriptor)
            os.close(old)


def _stream(descriptor: int) -> TextIO:
    return open(
        descriptor, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False
    )


def _succeeds(module: ModuleType, number: int, language: str, code: str, folder: Path) -> bool:
    try:
        if language == "shell":
            return _run_shell(code)
        _run_python(module, f"<section {number}>", code, folder)
    except SystemExit as end:
        if end.code:
            print(_status(end.code) if isinstance(end.code, int) else end.code, file=sys.stderr)
        return not end.code
    except BaseException as error:  # noqa: BLE001  # whatever the author's code raises is output
        _print_error(error)
        return False
    return True


def _run_shell(code: str) -> bool:
    command = ["bash", "-euo", "pipefail", "-c", code]
    status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    if status != 0:
        print(_status(status), file=sys.stderr)
    return status == 0


def _status(status: int) -> str:
    return f"exit status {status}"


def _run_python(module: ModuleType, filename: str, code: str, folder: Path) -> None:
    """Run code in the module; what its last line gives is shown, and so are open figures."""
    lines = code.splitlines(keepends=True)
    # There is no file: tracebacks, and the hashes of stages' code, find the source here.
    linecache.cache[filename] = (len(code), None, lines, filename)
    tree = ast.parse(code, filename)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    pictures = _Pictures(folder)
    exec(compile(tree, filename, "exec", dont_inherit=True), module.__dict__)  # noqa: S102
    if isinstance(last, ast.Expr):
        expression = compile(ast.Expression(last.value), filename, "eval", dont_inherit=True)
        value = eval(expression, module.__dict__)  # noqa: S307  # code is what there is to run
        if value is not None and not pictures.show(value):
            text = repr(value)
            # What plotting returns says nothing, and another thing each time.
            if not (pictures.figures() and " at 0x" in text):
                print(text)
    pictures.figures()


def _print_error(error: BaseException) -> None:
    """Print a traceback of the author's own code: frames of libraries are those of one machine."""
    found: traceback.TracebackException | None = traceback.TracebackException.from_exception(error)
    trace = found
    while found is not None:
        own = [frame for frame in found.stack if _is_own(frame.filename)]
        found.stack = traceback.StackSummary.from_list(own)
        found = found.__cause__ or found.__context__
    if trace is not None:
        print("".join(trace.format()), end="", file=sys.stderr)


def _is_own(filename: str) -> bool:
    return filename.startswith("<section ") or (filename != __file__ and is_own(filename))


class _Pictures:
    """The pictures of one section, numbered as they come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def show(self, value: Any) -> bool:
        """Keep a value as a picture; tell whether it is one."""
        if isinstance(value, Path) and value.suffix.lower() in _PICTURES and value.is_file():
            shutil.copyfile(value, self._next(value.suffix.lower()))
            return True
        if hasattr(value, "savefig"):  # a figure of matplotlib
            return self._save(value)
        if isinstance(value, type):
            return False
        for method, suffix in _REPRESENTATIONS.items():
            data = getattr(value, method)() if hasattr(value, method) else None
            if data:
                data = data.encode() if isinstance(data, str) else data
                self._next(suffix).write_bytes(data)
                return True
        return False

    def figures(self) -> bool:
        """Keep the figures that are open, and close them; tell whether there were any."""
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        numbers = pyplot.get_fignums() if pyplot is not None else []
        for number in numbers:
            self._save(pyplot.figure(number))
        return bool(numbers)

    def _save(self, figure: Any) -> bool:
        # Without the version of the program that made it: the same figure, the same bytes.
        figure.savefig(self._next(".png"), bbox_inches="tight", metadata={"Software": None})
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        if pyplot is not None:
            pyplot.close(figure)
        return True

    def _next(self, suffix: str) -> Path:
        self._count += 1
        return self._folder / f"picture-{self._count:03}{suffix}"


def read_output(folder: Path) -> str:
    """Return what a section has printed, `LIMIT` bytes of it at most: the head and the tail."""
    log = Log(LIMIT)
    with open(folder / "output", "rb") as file:
        while piece := file.read(LIMIT):
            log.write(piece)
    return log.value().decode(errors="replace")
