"""Run Pylightnix's own tests against `plxnix.compat.pylightnix`, and print the counts.

    python tests/compat/run_upstream.py CHECKOUT [further arguments of pytest]

CHECKOUT is a working tree of Pylightnix, or a (bare) repository whose HEAD is taken. The tests are
copied into a temporary folder; beside them stands a package `pylightnix` that hands on the layer,
module by module. The exit status is 0 if all tests pass but at most three, each of them excused
below.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

#: Tests of Pylightnix that may fail, with the reason.
EXCUSED: dict[str, str] = {}
MOST_EXCUSED = 3

#: The modules that Pylightnix has.
MODULES = (
    "arch",
    "bashlike",
    "build",
    "core",
    "deco",
    "either",
    "garb",
    "imports",
    "lens",
    "repl",
    "stages",
    "stages.fetch",
    "stages.fetch2",
    "stages.trivial",
    "types",
    "utils",
)

STAND_IN = """
import sys
from importlib import import_module
for name in {modules!r}:
    sys.modules["pylightnix." + name] = import_module("plxnix.compat.pylightnix." + name)
sys.modules["pylightnix"] = import_module("plxnix.compat.pylightnix")
"""

#: `find_executable` of distutils, which Python 3.12 has no more and the tests import.
DISTUTILS = "from shutil import which as find_executable\n"

#: Root may write where nobody may, and one of the tests tries to: without this capability it may
#: not (`setpriv` is a part of util-linux).
AS_USER = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    if os.getuid() == 0 and shutil.which("setpriv")
    else []
)


def take_tests(checkout: Path, folder: Path) -> None:
    """Put Pylightnix's tests into `folder/tests`."""
    if (checkout / "tests" / "setup.py").is_file():
        shutil.copytree(checkout / "tests", folder / "tests")
        return
    archived = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", checkout, "archive", "HEAD", "tests"],
        check=True,
        capture_output=True,
    ).stdout
    with tarfile.open(fileobj=BytesIO(archived)) as archive:
        for member in archive.getmembers():
            if member.isfile() and member.name.endswith(".py"):
                place = folder / member.name
                place.parent.mkdir(exist_ok=True)
                file = archive.extractfile(member)
                place.write_bytes(file.read() if file else b"")


def stand_in(folder: Path) -> None:
    """Make the package `pylightnix`, and what the tests import of older Pythons."""
    (folder / "pylightnix").mkdir()
    (folder / "pylightnix" / "__init__.py").write_text(STAND_IN.format(modules=MODULES))
    (folder / "distutils").mkdir()
    (folder / "distutils" / "__init__.py").touch()
    (folder / "distutils" / "spawn.py").write_text(DISTUTILS)


def run(checkout: Path, arguments: list[str]) -> dict[str, str]:
    """Run the tests; return for each an empty text if it passed, else why it did not."""
    with tempfile.TemporaryDirectory(prefix="plxnix-upstream-") as name:
        folder = Path(name)
        take_tests(checkout, folder)
        stand_in(folder)
        (folder / "tmp").mkdir()
        environment = {k: v for k, v in os.environ.items() if not k.startswith("P")}
        environment |= {
            "HOME": name,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{name}:{Path(__file__).parents[2]}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(folder / "tmp"),
            "PLXNIX_FSYNC": "none",
        }
        report = folder / "report.xml"
        command = [
            *AS_USER,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:randomly",
            "-p",
            "no:xdist",
        ]
        command += ["-p", "no:cacheprovider", "--rootdir", name, f"--junitxml={report}"]
        command += [*arguments, "tests"]
        subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=environment,
            stdout=sys.stderr,
        )
        return read(report)


def read(report: Path) -> dict[str, str]:
    """Read pytest's report."""
    results = {}
    found = ElementTree.parse(report)  # noqa: S314 (our own)
    for case in found.getroot().iter("testcase"):
        bad = [child for child in case if child.tag in ("failure", "error", "skipped")]
        name = f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"
        lines = (bad[0].get("message") or bad[0].tag).splitlines() if bad else [""]
        results[name] = lines[0][:200]
    return results


def main(arguments: list[str]) -> int:
    """Run, print, and return the exit status."""
    if not arguments or not Path(arguments[0]).is_dir():
        print(__doc__, file=sys.stderr)
        return 2
    results = run(Path(arguments[0]).resolve(), arguments[1:])
    failed = {name: why for name, why in results.items() if why}
    excused = {name: why for name, why in failed.items() if name in EXCUSED}
    for name, why in failed.items():
        said = f"excused: {EXCUSED[name]}" if name in EXCUSED else why
        print(f"{name}: {said}")
    print(
        f"{len(results)} tests: {len(results) - len(failed)} passed, "
        f"{len(failed) - len(excused)} failed, {len(excused)} excused"
    )
    return int(len(failed) > len(excused) or len(excused) > MOST_EXCUSED or not results)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
