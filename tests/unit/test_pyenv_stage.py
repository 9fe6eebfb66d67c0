"""`python_env` as a stage: interpreters, hashes, links and what commands see of it."""

from __future__ import annotations

import gzip
import hashlib
import importlib.metadata
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from plxnix import DRef, Registry, Store, current_registry, execute, instantiate, python_env
from plxnix.errors import (
    BuildFailed,
    HashMismatch,
    InvalidLock,
    InvalidValue,
    NoDistribution,
)
from plxnix.nix.hashes import Hash
from plxnix.pyenv.distribution import Distribution
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.locked_file import file_stage
from plxnix.pyenv.snapshot import sources_hash
from plxnix.realize.realizing import realize
from plxnix.recipes.fetch import fetchlocal, fetchurl
from plxnix.store.verify import verify
from tests.stage_samples import Lab
from tests.unit.test_pyenv_builder import wheel

VERSION = "{}.{}".format(*sys.version_info[:2])


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
    points = {
        "one-1.0.dist-info/entry_points.txt": "[console_scripts]\nsay = one:say\n",
        "one-1.0.data/data/bin/say": "over this goes the entry point",
    }
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


def test_unpacked_wheels_are_whole(lab: Lab, tmp_path: Path, one: Path) -> None:
    """They are published as they were hashed, frozen, whatever other wheels have the same file."""
    files = {
        "a-b/c.txt": "1",
        "a/b/c.txt": "2",
        "a.py": "",
        "one.py": "def say():\n    print('said')\n",
    }
    other = wheel(tmp_path / "wheels", "other", files, executable=("one.py",))
    rref = lab.realize(stage(lab, lock(tmp_path / "lock", one, other)))
    assert list(verify(lab.store)) == []
    module = Path(lab.store.path(rref), f"lib/python{VERSION}/site-packages/one.py")
    modes = [module.stat().st_mode & 0o777]
    for dref in sorted(lab.store.derivations(), key=lambda dref: dref.name):
        if dref.name.startswith("unpacked-"):
            tree = Path(lab.store.path(lab.store.realizations(dref)[0]))
            modes.append((tree / "one.py").stat().st_mode & 0o777)
    assert modes == [0o555, 0o444, 0o555]


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
        assert execute(script, env=env, tools=["coreutils"], name="said") == said
    for dref in (said, builder):
        rref = lab.realize(dref)
        assert Path(lab.store.path(rref), rref.name).read_text() == "said\nsaid\n"


def test_python(lab: Lab, tmp_path: Path, one: Path) -> None:
    """What is no interpreter, or of another version, is refused when the stage is made."""
    path = lock(tmp_path / "lock", one)
    for python, said in (
        ("/bin/false", "is no Python that runs here: exit status 1"),
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


def test_lock_for_a_patch_of_python(lab: Lab, tmp_path: Path, one: Path) -> None:
    """A lock for 3.11.4 is for any 3.11: markers are those of what it was locked for."""
    path = lock(tmp_path / "lock", one)
    first = stage(lab, path)
    text = path.read_text().replace("version = 1\n", f"version = 1\npython = '{VERSION}.99'\n")
    path.write_text(f"requires-python = '>={VERSION}.99'\n{text}")
    assert stage(lab, path) == first
    assert stage(lab, path, f"{VERSION}.98") == stage(lab, path, VERSION)
    with pytest.raises(NoDistribution, match=r"is not for Python 3\.8"):
        stage(lab, path, "3.8")


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
    found = hashlib.sha256((path.parent / one.name).read_bytes()).hexdigest()
    with pytest.raises(HashMismatch, match="specified") as raised:
        lab.realize(stage(lab, path))
    assert "plxnix env update" in raised.value.hint
    assert f"sha256 = '{found}'" in raised.value.hint


def test_files_of_a_lock_are_fetches(lab: Lab, one: Path) -> None:
    """What a lock fetches is the stage that `fetchurl` and `fetchlocal` are, so it is shared."""
    digest, url = Hash.of_file(one), f"http://127.0.0.1:9/{one.name}"
    there = Distribution("one", "1.0", "wheel", one.name, url, digest)
    here = Distribution("one", "1.0", "wheel", one.name, "", digest, one.name)
    with current_registry(lab.registry):
        assert file_stage(there, one.parent) == fetchurl(url, digest.hex, mode="")
        assert file_stage(here, one.parent) == fetchlocal(digest.hex, one, mode="")


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


#: A build backend of one file, which is in the sources that it builds.
BACKEND = """
import base64, hashlib, os, zipfile

def build_wheel(folder, settings=None, metadata=None):
    files = {
        "local.py": open("local.py").read() + f"SETTINGS = {settings!r}\\n"
        + f"FLAG = {os.environ.get('FLAG')!r}\\n",
        "local-1.0.dist-info/METADATA": "Metadata-Version: 2.1\\nName: local\\nVersion: 1.0\\n",
        "local-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\\nTag: py3-none-any\\n",
    }
    record = "local-1.0.dist-info/RECORD,,\\n"
    name = "local-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as file:
        for key, text in files.items():
            digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
            record += f"{key},sha256={digest.decode().rstrip('=')},{len(text)}\\n"
            file.writestr(key, text)
        file.writestr("local-1.0.dist-info/RECORD", record)
    return name
"""

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""


def project(tmp_path: Path, kind: str) -> Path:
    """Write a project and a lock that builds it, from a folder or from an archive."""
    path = lock(tmp_path / "lock")
    sources = tmp_path / "lock" / "local-1.0"
    sources.mkdir()
    for name, text in (
        ("backend.py", BACKEND),
        ("pyproject.toml", PROJECT),
        ("local.py", "VALUE = 1\n"),
    ):
        (sources / name).write_text(text)
    digest = sources_hash(sources)
    source = 'directory = { path = "local-1.0" }'
    if kind == "sdist":
        archive = shutil.make_archive(str(sources), "gztar", sources.parent, "local-1.0")
        archived = hashlib.sha256(Path(archive).read_bytes()).hexdigest()
        source = f'sdist = {{ path = "local-1.0.tar.gz", hashes = {{ sha256 = "{archived}" }} }}'
    package = f'[[packages]]\nname = "local"\nversion = "1.0"\n{source}\n'
    ours = f"[tool.plxnix.sources]\nlocal = '{digest.sri}'\n[tool.plxnix.build]\nlocal = []\n"
    path.write_text(path.read_text().replace("[tool.plxnix]\n", f"{package}[tool.plxnix]\n") + ours)
    return path


@pytest.mark.parametrize("kind", ["directory", "sdist"])
def test_sources_are_built(lab: Lab, tmp_path: Path, kind: str) -> None:
    """A project is built by its own backend, with what `overrides` say of it."""
    path = project(tmp_path, kind)
    patch = tmp_path / "one.patch"
    patch.write_text("--- a/local.py\n+++ b/local.py\n@@ -1 +1 @@\n-VALUE = 1\n+VALUE = 2\n")
    overrides = {
        "local": {"environment": {"FLAG": "on"}, "settings": {"x": "y"}, "patches": [patch]}
    }
    dref = stage(lab, path, overrides=overrides)
    packages = Path(lab.store.path(lab.realize(dref)), f"lib/python{VERSION}/site-packages")
    text = (packages / "local.py").read_text()
    assert text == "VALUE = 2\nSETTINGS = {'x': 'y'}\nFLAG = 'on'\n"
    assert (packages / "local-1.0.dist-info/direct_url.json").exists() == (kind == "directory")


def test_name_without_a_version(lab: Lab, tmp_path: Path) -> None:
    """The wheel of a project whose version nobody knows has a name without a gap."""
    path = project(tmp_path, "directory")
    path.write_text(path.read_text().replace('name = "local"\nversion = "1.0"', 'name = "local"'))
    names = [one.name for one in lab.closure(stage(lab, path)).derivations]
    assert "local-wheel" in names


def test_sources_that_changed(lab: Lab, tmp_path: Path) -> None:
    """A local project that is not as it was locked is refused."""
    path = project(tmp_path, "directory")
    (tmp_path / "lock/local-1.0/local.py").write_text("VALUE = 3\n")
    with pytest.raises(HashMismatch, match="the sources of local"):
        lab.realize(stage(lab, path))


def test_a_backend_that_is_not_there(lab: Lab, tmp_path: Path) -> None:
    """What the locked build environment lacks is named."""
    path = project(tmp_path, "sdist")
    archive = tmp_path / "lock/local-1.0.tar.gz"
    (tmp_path / "lock/local-1.0/pyproject.toml").write_text("")
    before = hashlib.sha256(archive.read_bytes()).hexdigest()
    shutil.make_archive(str(tmp_path / "lock/local-1.0"), "gztar", tmp_path / "lock", "local-1.0")
    after = hashlib.sha256(archive.read_bytes()).hexdigest()
    path.write_text(path.read_text().replace(before, after))
    dref = stage(lab, path)
    with pytest.raises(BuildFailed) as error:
        lab.realize(dref)
    assert error.value.dref is not None
    log = Path(lab.store.layout.failed_log(DRef(error.value.dref)))
    said = gzip.decompress(log.read_bytes()).decode()
    assert "the build backend setuptools.build_meta cannot be imported" in said
