"""Locks of Python environments, made by uv from an index on loopback."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from plxnix.errors import HashMismatch, InvalidLock, NoDistribution, ResolutionFailed
from plxnix.nix.hashes import Hash
from plxnix.pyenv import uv
from plxnix.pyenv.copies import local_sources
from plxnix.pyenv.differences import differences
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.needs import needs
from plxnix.pyenv.resolving import resolve
from plxnix.pyenv.snapshot import sources_hash
from plxnix.pyenv.target import Target
from tests.commits import serve_commit
from tests.http_server import Server
from tests.wheels import BACKEND, Index, backend_wheel, installer_wheel, make_sdist, make_wheel


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give the folder that the lock is for."""
    found = tmp_path / "project"
    found.mkdir()
    return found


def _inputs(*requirements: str, files: tuple[str, ...] = (), universal: bool = False) -> Inputs:
    return Inputs(requirements=requirements, files=files, universal=universal)


def test_resolving_is_stable_and_leaves_nothing(index: Index, folder: Path) -> None:
    """The same resolution has the same bytes, no path of this machine, and no stray files."""
    index.wheel("alpha", "1.0", "beta>=1")
    index.wheel("beta", "1.5")
    one, two = (resolve(_inputs("alpha"), folder) for _ in range(2))
    again = resolve(_inputs("alpha"), folder, one)
    assert one.text == two.text == again.text
    assert str(folder.parent) not in one.text
    assert not list(folder.iterdir())
    chosen = one.select(Target())
    assert [(item.name, item.version, item.requested) for item in chosen] == [
        ("alpha", "1.0", True),
        ("beta", "1.5", False),
    ]
    assert chosen[0].sha256 == Hash.of_file(index.folder / chosen[0].filename)
    assert one.installer is not None
    assert one.installer.filename.startswith("installer-")
    assert EnvironmentLock.parse(one.text).inputs == _inputs("alpha")


def test_versions_stay_until_they_are_updated(index: Index, folder: Path) -> None:
    """Newer versions are taken for packages that are named, or for all, and not otherwise."""
    for name in ("alpha", "beta"):
        index.wheel(name, "1.0")
    old = resolve(_inputs("alpha", "beta"), folder)
    for name in ("alpha", "beta"):
        index.wheel(name, "2.0")
    kept = resolve(_inputs("alpha", "beta"), folder, old)
    one = resolve(_inputs("alpha", "beta"), folder, old, ["beta"])
    everything = resolve(_inputs("alpha", "beta"), folder, old, None)
    assert kept.text == old.text
    assert [(item.name, item.before, item.after) for item in differences(old, one)] == [
        ("beta", "1.0", "2.0")
    ]
    assert [item.kind for item in differences(old, everything)] == ["changed", "changed"]


def test_sdist_is_locked_with_what_builds_it(index: Index, folder: Path) -> None:
    """An sdist has its backend, and what the backend asks for when it is called, as its build."""
    index.wheel("helper", "3.0")
    index.add(make_sdist(index.folder, "gamma", more_requires=["helper>=2"]))
    lock = resolve(_inputs("gamma"), folder)
    (gamma,) = lock.select(Target())
    assert gamma.kind == "sdist"
    assert [(item.name, item.version) for item in gamma.build] == [
        ("helper", "3.0"),
        (BACKEND, "1.0"),
    ]
    index.wheel("helper", "4.0")
    assert resolve(_inputs("gamma"), folder, lock).text == lock.text
    newer = resolve(_inputs("gamma"), folder, lock, ["gamma"])
    assert newer.select(Target())[0].build[0].version == "4.0"


def test_build_requirement_may_be_an_sdist(index: Index, folder: Path) -> None:
    """What builds an sdist may be an sdist, which has a build environment of its own."""
    index.add(make_sdist(index.folder, "helper", "3.0"))
    index.add(make_sdist(index.folder, "gamma", build_requires=[BACKEND, "helper"]))
    (gamma,) = resolve(_inputs("gamma"), folder).select(Target())
    helper = gamma.build[0]
    assert (helper.name, helper.kind) == ("helper", "sdist")
    assert [item.name for item in helper.build] == [BACKEND]


def test_sdist_is_not_taken_silently(index: Index, folder: Path) -> None:
    """With wheels for other platforms only, an sdist is an error, until a provider asks for it."""
    index.wheel("delta", tag="cp311-cp311-macosx_11_0_arm64")
    index.add(make_sdist(index.folder, "delta"))
    with pytest.raises(
        NoDistribution, match=r"delta 1.0 has no wheel.*macosx_11_0_arm64"
    ) as raised:
        resolve(_inputs("delta", universal=True), folder)
    assert raised.value.package == "delta"
    asked = Inputs(requirements=("delta",), universal=True, providers={"delta": "sdist"})
    (delta,) = resolve(asked, folder).select(Target())
    assert delta.kind == "sdist"


def test_wheels_that_do_not_fit_are_told(index: Index, folder: Path) -> None:
    """An sdist for lack of a fitting wheel is told of with the wheels; providers settle it."""
    for tag in ("cp311-cp311-macosx_11_0_arm64", "cp311-cp311-win_amd64"):
        index.wheel("delta", tag=tag)
    index.wheel("delta", "0.5", tag="cp39-cp39-manylinux_2_17_x86_64")
    index.add(make_sdist(index.folder, "delta"), make_sdist(index.folder, "plain"))
    told: list[str] = []
    resolve(_inputs("delta", "plain"), folder, warn=told.append)
    (said,) = told
    for part in (
        f"delta 1.0 has no wheel for {Target()}",
        "tags cp311-cp311-macosx_11_0_arm64, cp311-cp311-win_amd64;",
        "--provider delta=sdist",
        "--provider delta=wheel",
    ):
        assert part in said
    asked = Inputs(requirements=("delta",), providers={"delta": "sdist"})
    resolve(asked, folder, warn=told.append)
    assert len(told) == 1
    refused = Inputs(requirements=("delta",), providers={"delta": "wheel"})
    with pytest.raises(NoDistribution, match=r"cp311-cp311-macosx_11_0_arm64"):
        resolve(refused, folder)


def test_index_without_an_answer_makes_no_warning(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wheels that cannot be asked for are not told of, and nothing fails."""
    index.wheel("delta", tag="cp311-cp311-win_amd64")
    index.add(make_sdist(index.folder, "delta"))
    with Server() as server:
        port = server.port
    monkeypatch.setenv("UV_INDEX", index.url)
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{port}/simple")
    monkeypatch.setenv("PLXNIX_DOWNLOAD_TRIES", "1")
    told: list[str] = []
    lock = resolve(_inputs("delta"), folder, warn=told.append)
    assert lock.select(Target())[0].kind == "sdist"
    assert told == []


def test_local_project_is_pinned(index: Index, folder: Path) -> None:
    """A folder is locked by the hash of its sources, relative to the lock; bytecode is none."""
    index.wheel("beta", "1.5")
    local = folder / "lib"
    local.mkdir()
    (local / "PKG-INFO").write_text("Metadata-Version: 2.2\nName: lib\nVersion: 1.0\n")
    (local / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
        '[project]\nname = "lib"\nversion = "1.0"\ndependencies = ["beta"]\n'
    )
    (folder / "requirements.txt").write_text("./lib\n")
    inputs = _inputs(files=("requirements.txt",))
    lock = resolve(inputs, folder)
    found = {item.name: item for item in lock.select(Target())}
    assert (found["lib"].kind, found["lib"].path, found["lib"].direct) == ("directory", "lib", True)
    assert found["lib"].requested
    assert [item.name for item in found["lib"].build] == [BACKEND]
    (local / "__pycache__").mkdir()
    (local / "__pycache__" / "lib.cpython-311.pyc").write_bytes(b"x")
    assert resolve(inputs, folder, lock).text == lock.text
    (local / "lib.py").write_text("")
    assert resolve(inputs, folder, lock).plxnix["sources"] != lock.plxnix["sources"]
    assert needs(lock) == {"": ("lib",), "beta": (), "lib": ("beta",)}


def test_commit_of_git_is_pinned(index: Index, folder: Path) -> None:
    """A requirement at git is locked at a commit, with the hash of its tree and its build."""
    source = folder.parent / "source"
    source.mkdir()
    (source / "PKG-INFO").write_text("Metadata-Version: 2.2\nName: lib\nVersion: 1.0\n")
    (source / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
        '[project]\nname = "lib"\nversion = "1.0"\n'
    )
    url, commit = serve_commit(index.server, source)
    lock = resolve(_inputs(f"lib @ git+{url}"), folder)
    (lib,) = lock.select(Target())
    assert (lib.kind, lib.url, lib.commit) == ("vcs", url, commit)
    assert lib.sha256 == sources_hash(source)
    assert [one.name for one in lib.build] == [BACKEND]
    count = sum("/objects/" in one.path for one in index.server.requests)
    assert resolve(_inputs(f"lib @ git+{url}"), folder, lock).text == lock.text
    assert sum("/objects/" in one.path for one in index.server.requests) == count > 0
    (source / "lib.py").touch()
    _, newer = serve_commit(index.server, source)
    asked = _inputs(f"lib @ git+{url}@{newer}")
    lock = resolve(asked, folder, lock)
    (lib,) = lock.select(Target())
    assert (lib.commit, lib.sha256) == (newer, sources_hash(source))
    wrong = lock.text.replace(lib.sha256.sri, Hash("sha256", bytes(32)).sri)
    assert resolve(asked, folder, EnvironmentLock.parse(wrong), ["lib"]).text == lock.text
    assert "submodules" not in lock.plxnix
    (folder.parent / "part").mkdir()
    (folder.parent / "part" / "file.txt").write_text("part\n")
    modules = {"inner": serve_commit(index.server, folder.parent / "part")}
    _, whole = serve_commit(index.server, source, modules)
    asked = _inputs(f"lib @ git+{url}@{whole}")
    lock = resolve(asked, folder, lock)
    (lib,) = lock.select(Target())
    shutil.copytree(folder.parent / "part", source / "inner")
    assert (lib.submodules, lib.sha256) == (True, sources_hash(source))
    assert resolve(asked, folder, lock).text == lock.text


def test_archive_at_a_url_is_direct(index: Index, folder: Path) -> None:
    """A wheel that is asked for by its URL is locked as such, with its version."""
    made = make_wheel(index.folder, "omega", "7.0")
    index.add(made)
    url = index.server.url(f"/files/{made.name}")
    (omega,) = resolve(_inputs(f"omega @ {url}"), folder).select(Target())
    assert (omega.kind, omega.version, omega.url, omega.direct) == ("wheel", "7.0", url, True)


def test_hashes_of_requirements_hold(index: Index, folder: Path) -> None:
    """A hash in a requirements file is compared with that of the file that is taken."""
    made = index.wheel("alpha", "1.0")
    digest = Hash.of_file(made).hex
    file = folder / "requirements.txt"
    file.write_text(f"alpha==1.0 \\\n    --hash=sha256:{digest}\n")
    assert resolve(_inputs(files=("requirements.txt",)), folder).requested == {"alpha"}
    file.write_text(f"alpha==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(HashMismatch, match="alpha") as raised:
        resolve(_inputs(files=("requirements.txt",)), folder)
    assert raised.value.found == digest


def test_explanations_of_uv_are_passed_on(index: Index, folder: Path) -> None:
    """A conflict, a package that is not there and an index that is down are said in uv's words."""
    index.wheel("alpha", "1.0", "beta>=2")
    index.wheel("beta", "1.0")
    with pytest.raises(ResolutionFailed, match=r"only beta.*1\.0.*unsatisfiable|alpha.*beta>=2"):
        resolve(_inputs("alpha", "beta==1.0"), folder)
    with pytest.raises(ResolutionFailed, match="nowhere was not found") as raised:
        resolve(_inputs("nowhere"), folder)
    assert "is the name right" in raised.value.hint


def test_index_that_is_down(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that does not answer is named, without its password, and with what to look at."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with Server() as server:
        port = server.port
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://me:secret@127.0.0.1:{port}/simple")
    with pytest.raises(ResolutionFailed, match=f"127.0.0.1:{port}/simple/alpha") as raised:
        resolve(_inputs("alpha"), folder)
    assert "secret" not in str(raised.value)
    assert "UV_DEFAULT_INDEX" in raised.value.hint


def test_yanked_version(index: Index, folder: Path) -> None:
    """A yanked version is not chosen, and uv says so where there is no other."""
    index.wheel("alpha", "1.0")
    index.add(make_wheel(index.folder, "alpha", "2.0"), yanked="broken")
    assert resolve(_inputs("alpha"), folder).select(Target())[0].version == "1.0"
    with pytest.raises(ResolutionFailed, match="yanked"):
        resolve(_inputs("alpha>1"), folder)


def test_credentials_of_an_index_stay_out(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is needed to ask an index is not in the lock."""
    index.as_json = False
    index.wheel("alpha")
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.server.url("/simple", user="me:secret"))
    lock = resolve(_inputs("alpha"), folder)
    assert "secret" not in lock.text
    assert "me:" not in lock.text
    assert lock.select(Target())[0].url.startswith("http://127.0.0.1:")


def test_settings_of_pip_serve_where_uv_has_none(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PIP_INDEX_URL names the index where no setting of uv does."""
    index.wheel("alpha")
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    (folder / "pyproject.toml").write_text("tool = 'none'\n")
    assert resolve(_inputs("alpha"), folder).select(Target())[0].url.startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("name", "table"), [("uv.toml", "index"), ("pyproject.toml", "tool.uv.index")]
)
def test_settings_of_the_project_serve_what_builds(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, table: str
) -> None:
    """An index set beside the requirements is that of build requirements, too, and not pip's."""
    monkeypatch.delenv("UV_DEFAULT_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", index.server.url("/nowhere"))
    index.wheel("helper")
    index.add(make_sdist(index.folder, "gamma", more_requires=["helper"]))
    project = folder.parent / "elsewhere"
    project.mkdir()
    (project / "requirements.txt").write_text("gamma\n")
    (project / name).write_text(f'[[{table}]]\nurl = "{index.url}"\ndefault = true\n')
    lock = resolve(_inputs(files=("../elsewhere/requirements.txt",)), folder)
    (gamma,) = lock.select(Target())
    assert [one.name for one in gamma.build] == ["helper", BACKEND]
    assert lock.text.count(index.server.url("/files/")) == 4


def test_time_pins_a_resolution(index: Index, folder: Path) -> None:
    """`exclude_newer` gives what there was on that day, and the lock keeps it."""
    index.add(make_wheel(index.folder, "alpha", "1.0"), uploaded="2020-01-01T00:00:00Z")
    index.add(make_wheel(index.folder, "alpha", "2.0"), uploaded="2024-01-01T00:00:00Z")
    pinned = Inputs(requirements=("alpha",), exclude_newer="2022-01-01")
    lock = resolve(pinned, folder)
    assert lock.select(Target())[0].version == "1.0"
    assert lock.inputs.exclude_newer == "2022-01-01"


@pytest.mark.parametrize("ours", [True, False])
def test_installer_has_no_limit_of_time(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    """A limit before the first release of the installer leaves it alone, also one of uv's own."""
    if not ours:
        monkeypatch.setenv("UV_EXCLUDE_NEWER", "2015-01-01")
    limit = "2015-01-01" if ours else ""
    index.add(make_wheel(index.folder, "alpha", "1.0"), uploaded="2014-01-01T00:00:00Z")
    lock = resolve(Inputs(requirements=("alpha",), exclude_newer=limit), folder)
    assert lock.installer is not None
    index.wheel("late")
    with pytest.raises(ResolutionFailed, match="late") as raised:
        resolve(Inputs(requirements=("late",), exclude_newer=limit), folder)
    assert "installer" not in str(raised.value)


def test_installer_is_a_wheel(folder: Path) -> None:
    """Where there is but an sdist of it, the words of uv say that a wheel is missing."""
    make_sdist(folder, "installer")
    make_wheel(folder, "alpha")
    (folder / "requirements.txt").write_text("--no-index\n--find-links .\nalpha\n")
    with pytest.raises(ResolutionFailed, match=r"installer.* has no usable wheels"):
        resolve(_inputs(files=("requirements.txt",)), folder)


def test_files_of_folders_are_locked_by_their_paths(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of UV_FIND_LINKS, and of a requirements file alone, which what builds sdists is from too."""
    links = folder.parent / "some links"
    for make in (installer_wheel, backend_wheel):
        make(links)
    made = make_wheel(links, "alpha", "1.0+x")
    make_wheel(links, "helper")
    make_sdist(links, "gamma", more_requires=["helper"])
    file = folder.parent / "requirements.txt"
    file.write_text("--no-index\nalpha\ngamma\n")
    monkeypatch.setenv("UV_FIND_LINKS", str(links))
    one = resolve(_inputs(files=("../requirements.txt",)), folder)
    monkeypatch.delenv("UV_FIND_LINKS")
    file.write_text("-r inner/requirements.txt  # more\nalpha\ngamma\n")
    (folder.parent / "inner").mkdir()
    inner = f"--no-index\n--find-links=../{links.name}\n"
    (folder.parent / "inner/requirements.txt").write_text(inner)
    two = resolve(_inputs(files=("../requirements.txt",)), folder)
    assert two.text == one.text
    assert str(folder.parent) not in two.text
    alpha, gamma = two.select(Target())
    assert (alpha.path, alpha.direct) == (f"../{links.name}/{made.name}", False)
    assert gamma.path == f"../{links.name}/gamma-1.0.tar.gz"
    assert [Path(item.path).name for item in gamma.build] == [
        "helper-1.0-py3-none-any.whl",
        f"{BACKEND}-1.0-py3-none-any.whl",
    ]
    names = set(local_sources(EnvironmentLock.parse(two.text, folder)))
    assert names == {one.name for one in links.iterdir()}
    fixed = make_wheel(folder.parent, "helper", files={"fixed.py": ""})
    three = resolve(_inputs(f"../{fixed.name}", files=("../requirements.txt",)), folder)
    with pytest.raises(InvalidLock, match=f"helper has another file at '../{links.name}/helper-"):
        local_sources(three)
    file.write_text("--find-links ./gone\nalpha\n")
    with pytest.raises(ResolutionFailed, match="gone") as raised:
        resolve(_inputs(files=("../requirements.txt",)), folder)
    assert "is there a folder" in raised.value.hint


def test_wheel_of_a_folder_and_an_index_is_that_of_the_index(
    index: Index, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also the installer; another file under the same name is not, and is refused."""
    monkeypatch.setenv("UV_FIND_LINKS", str(index.folder))
    made = index.wheel("alpha")
    lock = resolve(_inputs("alpha"), folder)
    assert "file:" not in lock.text
    assert lock.select(Target())[0].url == index.server.url(f"/files/{made.name}")
    make_wheel(index.folder, "alpha", files={"other.py": ""})
    with pytest.raises(InvalidLock, match="alpha cannot be fetched from 'file:///"):
        resolve(_inputs("alpha"), folder)


def test_project_with_extras_and_groups(index: Index, folder: Path) -> None:
    """Dependencies, extras and groups of a pyproject.toml are resolved; uv says who needs whom."""
    for name in ("alpha", "plots", "tests"):
        index.wheel(name, "1.0", "beta")
    index.wheel("beta")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "1"\ndependencies = ["alpha"]\n'
        '[project.optional-dependencies]\nplot = ["plots"]\n'
        '[dependency-groups]\ntest = ["tests"]\n'
    )
    inputs = Inputs(files=("pyproject.toml",), extras=("plot",), groups=("test",))
    lock = resolve(inputs, folder)
    assert [one.name for one in lock.select(Target())] == ["alpha", "beta", "plots", "tests"]
    assert lock.requested == {"alpha", "plots", "tests"}
    below = needs(lock)
    assert below["alpha"] == below["plots"] == below["tests"] == ("beta",)
    assert set(below[""]) >= {"alpha", "plots", "tests"}


def test_paths_of_a_lock_are_seen_from_the_new_one(index: Index, folder: Path) -> None:
    """Files and projects beside a lock of somebody else are found from another folder, too."""
    index.wheel("beta")
    make_wheel(folder / "files", "alpha")
    local = folder / "lib"
    local.mkdir()
    (local / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
        '[project]\nname = "lib"\nversion = "1.0"\n'
    )
    asked = _inputs("./files/alpha-1.0-py3-none-any.whl", "./lib", "beta")
    foreign = resolve(asked, folder).text.split("\n\n[tool.plxnix]")[0]
    (folder / "pylock.toml").write_text(foreign)
    (folder.parent / "new").symlink_to(folder / "deep" / "env")
    (folder / "deep" / "env").mkdir(parents=True)
    lock = resolve(_inputs(files=("../../pylock.toml",)), folder.parent / "new")
    found = {one.name: one.path for one in lock.select(Target())}
    there = "../../files/alpha-1.0-py3-none-any.whl"
    assert found == {"alpha": there, "lib": "../../lib", "beta": ""}


def test_paths_are_relative_to_where_the_lock_is(index: Index, folder: Path) -> None:
    """Absolute paths become relative, and a link to the lock's folder is followed first."""
    del index
    wheel = make_wheel(folder / "files", "alpha")
    (folder / "deep" / "env").mkdir(parents=True)
    (folder / "env").symlink_to("deep/env")
    (folder / "requirements.txt").write_text(f"{wheel}\n./files/{wheel.name}\n")
    lock = resolve(_inputs(files=("../../requirements.txt",)), folder / "env")
    (found,) = lock.select(Target())
    assert found.path == f"../../files/{wheel.name}"
    assert needs(lock) == {"": ("alpha",), "alpha": ()}


def test_members_of_a_workspace_are_packages(index: Index, folder: Path) -> None:
    """A uv.lock gives what its project needs, other members of the workspace too."""
    index.wheel("beta")
    member = folder / "lib"
    member.mkdir()
    project = '[project]\nversion = "1"\nrequires-python = ">=3.9"\n'
    (member / "pyproject.toml").write_text(
        f'{project}name = "lib"\ndependencies = ["beta"]\n'
        f'[build-system]\nrequires = ["{BACKEND}"]\nbuild-backend = "{BACKEND}"\n'
    )
    (folder / "pyproject.toml").write_text(
        f'{project}name = "mine"\ndependencies = ["lib"]\n'
        '[tool.uv]\nworkspace.members = ["lib"]\nsources.lib.workspace = true\n'
    )
    uv.run("lock", "--quiet", folder=folder)
    (folder / "env").mkdir()
    lock = resolve(_inputs(files=("../uv.lock",)), folder / "env")
    assert [(one.name, one.path) for one in lock.choose(Target())] == [
        ("beta", ""),
        ("lib", "../lib"),
    ]


def test_lock_that_is_there_is_completed(index: Index, folder: Path) -> None:
    """A pylock.toml of somebody else gets what it lacks, and keeps its packages as they are."""
    index.wheel("alpha", "1.0")
    foreign = resolve(_inputs("alpha"), folder).text.split("\n\n[tool.plxnix]")[0] + "\n"
    (folder / "pylock.other.toml").write_text(foreign)
    index.wheel("alpha", "2.0")
    lock = resolve(_inputs(files=("pylock.other.toml",)), folder)
    assert lock.text.startswith(foreign)
    assert lock.installer is not None
    assert needs(lock) == {"": ("alpha",), "alpha": ()}
    before, wheel, after = re.split(r"\[(\{ .*alpha-1\.0.* \})\]", foreign)
    here = re.sub(r"http://[^/]*", "file://", wheel)
    secret = wheel.replace("http://", "http://me:secret@")
    both = f"{before}[\n    {here},\n    {secret},\n]{after}"
    (folder / "pylock.other.toml").write_text(both)
    lock = resolve(_inputs(files=("pylock.other.toml",)), folder)
    assert lock.text.startswith(f"{before}[\n    {wheel},\n]{after}")


def test_folder_need_not_be_written(index: Index, tmp_path: Path) -> None:
    """The folder of a lock is where its paths are seen from, and no place for files of ours."""
    made = make_wheel(tmp_path, "alpha")
    seen = os.path.relpath(made, "/proc")
    (alpha,) = resolve(_inputs(seen), Path("/proc")).select(Target())
    assert index.url
    assert alpha.path == seen
