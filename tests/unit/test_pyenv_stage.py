"""`python_env` as a stage: interpreters, hashes, links and what commands see of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, Registry, Store, current_registry, execute, instantiate, python_env
from plxnix.errors import BuildFailed, InvalidLock, InvalidValue, NoDistribution
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.realize.realizing import realize
from tests.stage_samples import Lab
from tests.unit.test_pyenv_builder import wheel

VERSION = "{}.{}".format(*sys.version_info[:2])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A store and a registry."""
    return Lab(tmp_path / "store")


def entry(file: Path, name: str) -> str:
    """Return what a lock says of a wheel that lies beside it."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f'{{ path = "{name}", hashes = {{ sha256 = "{digest}" }} }}'


def lock(folder: Path, *wheels: Path, installer: str = "") -> Path:
    """Write a lock of wheels, which is linked: its `installer` is called as the one that is here.

    The wheel of `installer` holds nothing, unless it is run: natively none of it is.
    """
    text = 'lock-version = "1.0"\ncreated-by = "test"\n'
    folder.mkdir(exist_ok=True)
    for one in wheels:
        shutil.copy(one, folder)
        name, number = one.name.split("-")[:2]
        text += f'[[packages]]\nname = "{name}"\nversion = "{number}"\n'
        text += f"wheels = [{entry(one, one.name)}]\n"
    number = installer or importlib.metadata.version("installer")
    tool = wheel(folder / "tool", "installer", {"installer.py": "raise SystemExit(7)\n"})
    file = tool.rename(folder / f"installer-{number}-py3-none-any.whl")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    text += "[tool.plxnix]\nversion = 1\n[tool.plxnix.installer]\nname = 'installer'\n"
    text += f"version = '{number}'\npath = '{file.name}'\nsha256 = '{digest}'\n"
    path = folder / "pylock.toml"
    path.write_text(text)
    return path


def stage(lab: Lab, path: Any, python: Any = sys.executable, **arguments: Any) -> DRef:
    """Register an environment of this Python."""
    with current_registry(lab.registry):
        return DRef(python_env(path, python, **arguments))


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A wheel with a module and a script."""
    points = {"one-1.0.dist-info/entry_points.txt": "[console_scripts]\nsay = one:say\n"}
    files = {"one.py": "def say():\n    print('said')\n", "data/x.bin": "x" * 99, **points}
    return wheel(tmp_path / "wheels", "one", files, executable=("data/x.bin",))


def test_files_are_shared_and_safe(lab: Lab, tmp_path: Path, one: Path) -> None:
    """Environments of one wheel share its files, which nobody can write, and each stands alone."""
    path = lock(tmp_path / "lock", one)
    first, second = (lab.realize(stage(lab, path, name=name)) for name in ("first", "second"))
    module = f"lib/python{VERSION}/site-packages/one.py"
    places = [Path(lab.store.path(rref), module) for rref in (first, second)]
    assert places[0].samefile(places[1])
    binary = places[0].parent / "data" / "x.bin"
    assert (binary.stat().st_mode & 0o777, places[0].stat().st_mode & 0o777) == (0o555, 0o444)
    assert lab.store.record(first).nar_hash == lab.store.record(second).nar_hash
    assert lab.leftovers() == []
    (unpacked,) = [one for one in lab.store.derivations() if one.name.startswith("unpacked-")]
    trees = lab.store.realizations(unpacked)
    assert len(trees) == 1
    lab.store.remove(trees)
    assert places[0].read_text().startswith("def say")


def test_another_process_links_too(lab: Lab, tmp_path: Path, one: Path) -> None:
    """A store that has the wheel unpacked does not unpack it again."""
    path = lock(tmp_path / "lock", one)
    lab.realize(stage(lab, path))
    lab.again()
    (unpacked,) = [one for one in lab.store.derivations() if one.name.startswith("unpacked-")]
    before = Path(lab.store.path(lab.store.realizations(unpacked)[0])).stat().st_ctime_ns
    rref = lab.realize(stage(lab, path, name="other"))
    tree = Path(lab.store.path(lab.store.realizations(unpacked)[0]))
    assert tree.stat().st_ctime_ns == before
    module = Path(lab.store.path(rref), f"lib/python{VERSION}/site-packages/one.py")
    assert module.samefile(tree / "one.py")


def test_another_installer_is_not_run_here(lab: Lab, tmp_path: Path, one: Path) -> None:
    """A lock's own `installer` runs in the sandbox, if at all: a lock is no program of ours."""
    path = lock(tmp_path / "lock", one, installer="0.0.1")
    with pytest.raises(BuildFailed, match="exited with") as error:
        lab.realize(stage(lab, path))
    assert error.value.dref is not None


def test_a_refused_wheel_leaves_nothing(lab: Lab, tmp_path: Path) -> None:
    """The error says what is wrong with which wheel; nothing is kept."""
    bad = wheel(tmp_path / "wheels", "bad", {"../evil.py": ""})
    dref = stage(lab, lock(tmp_path / "lock", bad))
    with pytest.raises(BuildFailed, match=r"bad-1\.0-py3-none-any\.whl holds '\.\./evil\.py'"):
        lab.realize(dref)
    assert not [one for one in lab.store.derivations() if one.name.startswith("unpacked-")]
    assert lab.leftovers() == []


def test_commands_run_in_it(lab: Lab, tmp_path: Path, one: Path) -> None:
    """An environment among the tools of a command has its programs on PATH, before all others."""
    env = stage(lab, lock(tmp_path / "lock", one))
    with current_registry(lab.registry):
        script = 'say > "$out"; python -c "import one; one.say()" >> "$out"'
        said = execute(script, tools=[env, "coreutils"], name="said")
        builder = execute(builder="/bin/sh", arguments=["-c", script], tools=[env], name="built")
    for dref in (said, builder):
        rref = lab.realize(dref)
        assert Path(lab.store.path(rref), rref.name).read_text() == "said\nsaid\n"


def test_python(lab: Lab, tmp_path: Path, one: Path) -> None:
    """What is no interpreter, or of another version, is refused when the stage is made."""
    path = lock(tmp_path / "lock", one)
    for python, said in (
        ("/bin/false", "is no Python that runs here"),
        ("bin/python", "give an absolute path"),
        ("2.7", "not a version of Python"),
        (3.11, "give a path, a version or a stage"),
        (stage(lab, path), "is not known before it is realized"),
    ):
        with pytest.raises(InvalidValue) as error:
            stage(lab, path, python)
        assert said in str(error.value)
    with pytest.raises(InvalidValue, match=r"not 3\.99"):
        stage(lab, path, python_version="3.99")


def test_locks_that_do_not_do(lab: Lab, tmp_path: Path, one: Path) -> None:
    """A lock without `installer`, for another platform, and overrides of what it lacks."""
    path = lock(tmp_path / "lock", one)
    text = path.read_text()
    with pytest.raises(InvalidLock, match="does not say which `installer`"):
        stage(lab, text[: text.index("[tool.plxnix]")])
    other = one.name.replace("py3-none-any", f"cp{VERSION.replace('.', '')}-abi3-macosx_11_0_arm64")
    with pytest.raises(NoDistribution, match="macosx_11_0_arm64"):
        stage(lab, EnvironmentLock.parse(text.replace(one.name, other), tmp_path / "lock"))
    for overrides, said in (
        ({"two": {}}, "overrides name 'two'"),
        ({"one": {"flags": 1}}, "the overrides of one have 'flags'"),
    ):
        with pytest.raises(InvalidValue, match=said):
            stage(lab, path, overrides=overrides)


def test_a_damaged_wheel(lab: Lab, tmp_path: Path, one: Path) -> None:
    """A wheel with another hash than the lock's is refused: nothing of it is read."""
    path = lock(tmp_path / "lock", one)
    with open(path.parent / one.name, "ab") as file:
        file.write(b"x")
    with pytest.raises(Exception, match="specified"):
        lab.realize(stage(lab, path))


def test_the_default_store(tmp_path: Path, one: Path) -> None:
    """The text of a lock does as well, with the fetches of other stages shared."""
    path = lock(tmp_path / "lock", one)
    store = Store.init(os.environ["PLXNIX_ROOT"])
    registry = Registry(store)
    read = EnvironmentLock.read(path)
    first = python_env(read, sys.executable, registry=registry)
    second = python_env(path, sys.executable, registry=registry)
    assert first == second
    assert realize(instantiate(first, registry=registry))
