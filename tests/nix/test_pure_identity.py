"""Pure stages give the same bytes here and in Nix, with libraries from an environment too."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, autostage, execute, fetchlocal, selfref
from plxnix.errors import Unexportable
from plxnix.export.expression import expression
from plxnix.export.graph import ExportGraph
from plxnix.export.handover import add_graph
from plxnix.nix.hashes import Hash
from plxnix.nix.nar import nar_hash
from plxnix.recipes.toolchain import NIXPKGS
from tests.conftest import missing
from tests.hello_source import CACHE
from tests.nix.test_sandbox_identity import compare, sandboxed_nix
from tests.nix_environment import NixEnv
from tests.stage_samples import Lab

__all__ = ["sandboxed_nix"]

#: The interpreter that the toolchain `host` has, and a release of NumPy for it.
PYTHON, NUMPY = "/usr/bin/python3", "2.2.6"

#: Where this machine's pip gets its packages: within tests, no such variable is set.
PIP = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "HTTP", "http"))}


@pytest.fixture(scope="module")
def numpy_wheel() -> Path:
    """The wheel of NumPy for the machine's Python, fetched once by pip."""
    if not Path(PYTHON).exists():
        missing(f"there is no {PYTHON} here")
    version = subprocess.run(
        [PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    folder = CACHE / f"numpy-{NUMPY}-python-{version}"
    if not list(folder.glob("numpy-*.whl")):
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as work:
            command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", work]
            command += ["--only-binary=:all:", f"--python-version={version}", f"numpy=={NUMPY}"]
            result = subprocess.run(
                command, check=False, capture_output=True, text=True, env={**os.environ, **PIP}
            )
            if result.returncode != 0:
                missing(f"pip cannot fetch NumPy: {result.stderr}")
            folder.mkdir(exist_ok=True)
            for wheel in Path(work).glob("numpy-*.whl"):
                os.replace(wheel, folder / wheel.name)
    return next(folder.glob("numpy-*.whl"))


def environment(wheel: Path, lab: Lab) -> DRef:
    """An environment of the machine's Python with NumPy in it."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    fetched = fetchlocal(digest, wheel, mode="", registry=lab.registry)
    return execute(
        f"""
            {PYTHON} -m venv --without-pip "$out"
            {PYTHON} -m zipfile -e {fetched / wheel.name} $(echo $out/lib/python3.*)/site-packages
        """,
        name="numpy-environment",
        registry=lab.registry,
    )


def test_numpy(sandboxed_nix: NixEnv, lab: Lab, numpy_wheel: Path, tmp_path: Path) -> None:
    """A stage with NumPy, one above it, and one above a pin and a fetch: equal NAR hashes."""
    env = environment(numpy_wheel, lab)
    file = tmp_path / "some file"
    file.write_text("3")
    fetched = fetchlocal(Hash.of_file(file).hex, file, mode="", registry=lab.registry)
    salt = str(tmp_path)
    pin = lab.stage("pin", content="4", salt=salt)

    @autostage(pure=True, env=env, salt=salt, out=[selfref, "x.npy"], text=[selfref, "text"])
    def matrix(out: Path, text: Path, size: int = 40, scale: float = 0.1) -> None:
        import numpy

        values = numpy.random.default_rng(7).normal(size=(size, size)) * scale
        numpy.save(out, values @ values.T)
        text.write_text(f"{out} {sorted({'a', 'b', 'c'})} {numpy.linalg.norm(values)!r}")
        out.with_name("link").symlink_to(out)

    @autostage(pure=True, data=matrix, fetched=fetched, opaque=pin, out=[selfref, "out"])
    def above(out: Path, data: Any, fetched: Any, opaque: Any) -> None:
        found = [data.text.read_text(), data.size, data.scale, fetched.out.read_text()]
        out.write_text(f"{found} {(opaque._path / 'out').read_text()} {list({'x', 'y', 'z'})}")

    drefs = [matrix(lab.registry), above(lab.registry)]
    compare(sandboxed_nix, lab, drefs, tmp_path, tmp_path, numpy_wheel)
    record = lab.store.record(lab.realize(drefs[1]))
    graph = ExportGraph(lab.closure(drefs[1]))
    assert record.nix["derivation"] == graph.instantiation.drv_path(graph.roots[0].node)
    found = sandboxed_nix.instantiate(tmp_path / "default.nix", "stages.above")
    assert found == record.nix["derivation"]


def test_nested_plain_results(sandboxed_nix: NixEnv, lab: Lab, tmp_path: Path) -> None:
    """A stage that reads what a pin was made from needs that in Nix; and no claim without it."""

    @autostage(pure=True, salt=str(tmp_path), out=[selfref, "out"])
    def below(out: Path) -> None:
        out.write_text("1")

    @autostage(below=below, out=[selfref, "out"])
    def opaque(below: Any, out: Path) -> None:
        out.write_text(below.out.read_text())

    @autostage(pure=True, one=opaque, out=[selfref, "out"])
    def above(one: Any, out: Path) -> None:
        out.write_text(one.below.out.read_text())

    target = above(lab.registry)
    with pytest.raises(Unexportable):
        ExportGraph(lab.closure(target))
    lab.realize(below(lab.registry), sandbox="off")
    assert lab.store.record(lab.realize(target)).nix["identical"] is False
    graph = ExportGraph(lab.closure(target))
    assert [item.node.name for item in graph.items] == ["opaque", "below", "above"]
    add_graph(graph)
    (tmp_path / "default.nix").write_text(expression(graph, "made by a test"))
    built = sandboxed_nix.build(tmp_path / "default.nix")
    assert nar_hash(built) == nar_hash(lab.store.path(lab.realize(target)))


def test_nixpkgs(nix_env: NixEnv, stub_nixpkgs: Path, lab: Lab, tmp_path: Path) -> None:
    """An export for nixpkgs takes python3 from there."""

    @autostage(pure=True, tools=["gzip"], out=[selfref, "out"])
    def stage(out: Path) -> None:
        import subprocess

        out.write_bytes(subprocess.run(["gzip", "-n"], input=b"x", capture_output=True).stdout)

    dref = stage(lab.registry)
    graph = ExportGraph(lab.closure(dref), NIXPKGS)
    assert [tool.attribute for tool in graph.roots[0].node.tools or ()] == ["python3", "gzip"]
    file = tmp_path / "default.nix"
    file.write_text(expression(graph, "made by a test"))
    found = nix_env.instantiate(file, None, "--arg", "pkgs", f"import {stub_nixpkgs} {{ }}")
    inputs = Path(found).read_text()
    assert "-python3.drv" in inputs
    assert "-gzip.drv" in inputs
