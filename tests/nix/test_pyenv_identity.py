"""Environments of Python packages have one NAR hash here and in Nix, and stages run in them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from plxnix import DRef, autostage, current_registry, python_env, selfref
from plxnix.errors import BuildFailed, HashMismatch, NoDistribution
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.nix.nar import nar_hash
from tests.conftest import missing
from tests.hello_source import CACHE
from tests.nix.test_pure_identity import PIP
from tests.nix.test_sandbox_identity import compare, sandbox, sandboxed_nix
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.stage_samples import Lab
from tests.unit.test_pyenv_builder import wheel

__all__ = ["sandboxed_nix"]

#: The interpreter that the toolchain `host` has.
PYTHON = "/usr/bin/python3"

INSTALLER = "installer==0.7.0"
PURE = ("rich==14.0.0", "pygments==2.19.1", "markdown-it-py==3.0.0", "mdurl==0.1.2")
NUMPY = (
    *("numpy==2.2.6", "pandas==2.2.3", "python-dateutil==2.9.0.post0", "pytz==2025.2"),
    *("six==1.17.0", "tzdata==2025.2"),
)
#: The one that is here: then environments are linked, and not built in the sandbox.
LINKING = f"installer=={importlib.metadata.version('installer')}"
#: One in C, one without a `pyproject.toml`; and what they are built with.
SOURCES = ("markupsafe==3.0.2", "docopt==0.6.2")
BUILD = ("setuptools==80.9.0", "wheel==0.45.1")


def version() -> str:
    """Return the version of the machine's Python."""
    if not Path(PYTHON).exists():
        missing(f"there is no {PYTHON} here")
    program = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run(
        [PYTHON, "-c", program], check=True, capture_output=True, text=True
    ).stdout.strip()


def fetched(requirements: Sequence[str], kind: str = "--only-binary=:all:") -> list[Path]:
    """Return files of packages, fetched once by pip; the versions say which."""
    python = version()
    key = hashlib.sha256(" ".join([kind, python, *requirements]).encode()).hexdigest()[:16]
    folder = CACHE / f"python-packages-{key}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", work]
            if kind.startswith("--only"):
                command.append(f"--python-version={python}")

            result = subprocess.run(
                [*command, kind, *requirements],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, **PIP},
            )
            if result.returncode != 0:
                missing(f"pip cannot fetch {requirements}: {result.stderr}")
            os.chmod(work, 0o755)
            shutil.copytree(work, folder)
    return sorted(folder.iterdir())


def package(file: Path, where: Path, kind: str = "packages", digest: str = "") -> str:
    """Return the table of a file in a lock in the folder `where`, into which it is copied."""
    if file.parent != where:
        shutil.copy(file, where)
    stem = file.name.removesuffix(".tar.gz")
    name, number = stem.split("-")[:2] if file.suffix == ".whl" else stem.rsplit("-", 1)
    name = re.sub(r"[-_.]+", "-", name).lower()
    digest = digest or hashlib.sha256(file.read_bytes()).hexdigest()
    inner = f'{{ path = "{file.name}", hashes = {{ sha256 = "{digest}" }} }}'
    source = f"wheels = [{inner}]" if file.suffix == ".whl" else f"sdist = {inner}"
    return f'[[{kind}]]\nname = "{name}"\nversion = "{number}"\n{source}\n\n'


def lock(
    where: Path,
    files: Sequence[Path],
    build: Mapping[str, Sequence[Path]] | None = None,
    digests: Mapping[str, str] | None = None,
    installer: str = INSTALLER,
) -> Path:
    """Write a lock of these files beside copies of them, and return its path."""
    where.mkdir(parents=True, exist_ok=True)
    (tool,) = fetched([installer])
    digest = hashlib.sha256(tool.read_bytes()).hexdigest()
    digests = digests or {}
    text = 'lock-version = "1.0"\ncreated-by = "test"\n\n'
    text += "".join(package(one, where, digest=digests.get(one.name, "")) for one in files)
    text += "[tool.plxnix]\nversion = 1\n\n[tool.plxnix.installer]\n"
    shutil.copy(tool, where)
    text += f'name = "installer"\nversion = "{installer[11:]}"\npath = "{tool.name}"\n'
    text += f'sha256 = "{digest}"\n\n'
    for name, needed in (build or {}).items():
        text += "".join(package(one, where, f"tool.plxnix.build.{name}") for one in needed)
    path = where / "pylock.toml"
    path.write_text(text)
    return path


def stage(lab: Lab, path: Path, **arguments: object) -> DRef:
    """Register the environment of a lock."""
    with current_registry(lab.registry):
        dref = python_env(path, **arguments)  # type: ignore[arg-type]
    return DRef(dref)


def ran(lab: Lab, dref: DRef, program: str) -> str:
    """Run a program in a realized environment, and return what it prints."""
    python = f"{lab.store.path(lab.realize(dref))}/bin/python"
    return subprocess.run(
        [python, "-B", "-c", program], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_pure_python(sandboxed_nix: NixEnv, lab: Lab, tmp_path: Path) -> None:
    """An environment of packages without libraries."""
    dref = stage(lab, lock(tmp_path / "lock", fetched(PURE)))
    compare(sandboxed_nix, lab, [dref], tmp_path)
    assert ran(lab, dref, "import rich; from rich.text import Text; print(Text('x'))") == "x"


def test_links(lab: Lab, tmp_path: Path) -> None:
    """An environment that is linked is the one that is built, and a second one shares its files."""
    if INSTALLER == LINKING:
        missing("environments are linked with this installer: take another one to compare with")
    one, two = (
        lock(tmp_path / name, fetched(PURE), installer=name) for name in (INSTALLER, LINKING)
    )
    built, linked = (lab.realize(stage(lab, path)) for path in (one, two))
    again = lab.realize(stage(lab, two, name="again"))
    records = [lab.store.record(rref) for rref in (built, linked, again)]
    assert len({record.nar_hash for record in records}) == 1
    assert [record.nix["sandboxed"] for record in records] == [True, False, False]
    assert all(record.nix["identical"] for record in records)
    module = f"lib/python{version()}/site-packages/rich/text.py"
    files = [Path(lab.store.path(rref), module) for rref in (linked, again)]
    assert files[0].samefile(files[1])
    assert files[0].stat().st_mode & 0o222 == 0
    assert nar_hash(lab.store.path(linked))[0].sri == records[0].nar_hash
    assert lab.leftovers() == []


def test_numpy_and_pandas(sandboxed_nix: NixEnv, lab: Lab, tmp_path: Path) -> None:
    """An environment with libraries, in which a pure stage runs, the same in both."""
    env = stage(lab, lock(tmp_path / "lock", fetched(NUMPY)))

    @autostage(pure=True, env=env, out=[selfref, "table.csv"])
    def table(out: str) -> None:
        import numpy
        import pandas  # type: ignore[import-untyped]

        frame = pandas.DataFrame({"x": numpy.arange(5), "y": numpy.linspace(0, 1, 5) ** 2})
        frame.to_csv(out)

    with current_registry(lab.registry):
        made = table()
    compare(sandboxed_nix, lab, [env, made], tmp_path)
    lines = Path(lab.store.path(lab.realize(made)), "table.csv").read_text().splitlines()
    assert lines[-1] == "4,4,1.0"


def test_sources(sandboxed_nix: NixEnv, lab: Lab, tmp_path: Path) -> None:
    """An environment with packages that are built from sources, one of them in C."""
    if not list(Path("/usr/include").glob(f"python{version()}/Python.h")):
        missing("the headers of the machine's Python are not installed")
    files = fetched(SOURCES, "--no-binary=:all:")
    build = fetched(BUILD)
    path = lock(tmp_path / "lock", files, {"markupsafe": build, "docopt": build})
    dref = stage(lab, path, overrides={"docopt": {"environment": {"SALT": str(tmp_path)}}})
    wheels = [one for one in lab.closure(dref).derivations if one.name.endswith("-wheel")]
    assert len(wheels) == 2
    compare(sandboxed_nix, lab, [*wheels, dref], tmp_path)
    program = "import markupsafe._speedups as s, docopt; print(docopt.__version__, s.__file__)"
    assert "0.6.2" in ran(lab, dref, program)


def test_two_pythons_are_two_environments(lab: Lab, tmp_path: Path) -> None:
    """The interpreter is part of an environment, and one of this machine is shown to builders."""
    path = lock(tmp_path / "lock", [wheel(tmp_path / "wheels", "one", {"one.py": "x = 1\n"})])
    drefs = [stage(lab, path), stage(lab, path, python=sys.executable)]
    prefix = ran(lab, drefs[1], "import sys, one; print(sys.base_prefix, one.x)")
    assert prefix == f"{sys.base_prefix} 1"
    assert nar_hash(lab.store.path(lab.realize(drefs[0]))) != nar_hash(
        lab.store.path(lab.realize(drefs[1]))
    )


def refused_by_both(nix_env: NixEnv, lab: Lab, dref: DRef, folder: Path) -> str:
    """Return what Nix says of a stage that cannot be realized; natively it was said as well."""
    graph = ExportGraph(lab.closure([dref]))
    add_graph(graph)
    file = folder / "default.nix"
    file.write_text(expression(graph, "made by a test"))
    with pytest.raises(NixCommandFailed) as error:
        nix_env.build(file, None, *sandbox())
    return str(error.value)


BAD = {
    "outside": ("../one.py", "", "holds '../one.py', outside of its folder"),
    "lying": ("one.py", "x = 3\n", "RECORD says that one.py has 6 bytes"),
    "collision": ("two.py", "", "two.py is in bad-1.0-py3-none-any.whl and in two-1.0-"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_wheels(sandboxed_nix: NixEnv, lab: Lab, tmp_path: Path, kind: str) -> None:
    """A wheel that lies, leaves its folder or owns another's file is refused in both, and named."""
    name, other, said = BAD[kind]
    lie = None
    if other:
        with zipfile.ZipFile(wheel(tmp_path / "other", "bad", {name: other})) as honest:
            lie = honest.read("bad-1.0.dist-info/RECORD").decode()
    bad = wheel(tmp_path / "wheels", "bad", {name: "x = 1\n"}, lie)
    two = wheel(tmp_path / "wheels", "two", {"two.py": "x = 2\n"})
    dref = stage(lab, lock(tmp_path / "lock", [bad, two]))
    with pytest.raises(BuildFailed) as error:
        lab.realize(dref)
    assert said in str(error.value)
    assert said in refused_by_both(sandboxed_nix, lab, dref, tmp_path)


def test_a_wrong_hash(lab: Lab, tmp_path: Path) -> None:
    """A file with another hash than the lock's is refused, and both hashes are said."""
    one = wheel(tmp_path / "wheels", "one", {"one.py": "x = 1\n"})
    dref = stage(lab, lock(tmp_path / "lock", [one], digests={one.name: "0" * 64}))
    with pytest.raises(HashMismatch, match=r"one-1\.0"):
        lab.realize(dref)


def test_another_platform(lab: Lab, tmp_path: Path) -> None:
    """A lock that was made for another platform names the wheels that there are."""
    one = wheel(tmp_path / "wheels", "one", {"one.py": "x = 1\n"})
    other = one.rename(one.with_name("one-1.0-cp311-cp311-macosx_11_0_arm64.whl"))
    with pytest.raises(NoDistribution, match=r"one 1\.0 has no wheel .*macosx_11_0_arm64"):
        stage(lab, lock(tmp_path / "lock", [other]))
