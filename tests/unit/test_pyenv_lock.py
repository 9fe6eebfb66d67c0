"""Locks of Python environments as they are read: selection, and what is wrong in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from plxnix.errors import InvalidLock, InvalidValue, NoDistribution
from plxnix.nix.hashes import Hash
from plxnix.pyenv.differences import differences
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.target import Target

DIGEST = "ab" * 32
HEAD = 'lock-version = "1.0"\ncreated-by = "tests"\n'


def _file(name: str, digest: str = DIGEST) -> str:
    return f'{{ url = "https://example.org/{name}", hashes = {{ sha256 = "{digest}" }} }}'


def _package(name: str, *wheels: str, sdist: str = "", more: str = "") -> str:
    text = f'[[packages]]\nname = "{name}"\nversion = "1.0"\n{more}\n'
    if sdist:
        text += f"sdist = {_file(sdist)}\n"
    if wheels:
        text += f"wheels = [{', '.join(map(_file, wheels))}]\n"
    return text


def _build(name: str) -> str:
    return (
        f'[[tool.plxnix.build.{name}]]\nname = "maker"\nversion = "1.0"\n'
        f"wheels = [{_file('maker-1.0-py3-none-any.whl')}]\n"
    )


OURS = "[tool.plxnix]\nversion = 1\n"
PURE = _package("alpha", "alpha-1.0-py3-none-any.whl")


def _parse(*parts: str) -> EnvironmentLock:
    return EnvironmentLock.parse(HEAD + "\n".join(parts))


def _names(lock: EnvironmentLock, target: Target) -> list[str]:
    return [one.filename for one in lock.select(target)]


LADDER = _package(
    "beta",
    "beta-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "beta-1.0-cp311-cp311-manylinux_2_28_x86_64.whl",
    "beta-1.0-cp311-cp311-manylinux_2_34_x86_64.whl",
    "beta-1.0-cp311-cp311-musllinux_1_1_x86_64.whl",
    "beta-1.0-cp311-cp311-macosx_10_9_universal2.whl",
    "beta-1.0-cp311-cp311-manylinux2014_aarch64.whl",
    "beta-1.0-cp313-cp313t-manylinux2014_x86_64.whl",
    "beta-1.0-cp38-abi3-manylinux1_x86_64.whl",
)


@pytest.mark.parametrize(
    ("target", "end"),
    [
        (Target("3.11", "x86_64-linux"), "cp311-manylinux_2_28_x86_64.whl"),
        (Target("3.11", "x86_64-manylinux_2_34"), "cp311-manylinux_2_34_x86_64.whl"),
        (Target("3.11", "x86_64-manylinux_2_17"), "manylinux2014_x86_64.whl"),
        (Target("3.11", "x86_64-linux-musl"), "musllinux_1_1_x86_64.whl"),
        (Target("3.11.9", "aarch64-linux"), "manylinux2014_aarch64.whl"),
        (Target("3.11", "aarch64-darwin"), "macosx_10_9_universal2.whl"),
        (Target("3.12", "x86_64-linux"), "abi3-manylinux1_x86_64.whl"),
        (Target("3.13t", "x86_64-linux"), "cp313t-manylinux2014_x86_64.whl"),
    ],
)
def test_best_wheel_of_each_target(target: Target, end: str) -> None:
    """From one lock each target has its best wheel, whatever machine asks."""
    (name,) = _names(_parse(LADDER), target)
    assert name.endswith(end)


def test_no_wheel_names_those_that_there_are() -> None:
    """Where no wheel fits the error has the package, the target and the tags of its wheels."""
    with pytest.raises(NoDistribution) as raised:
        _parse(LADDER).select(Target("3.11", "i686-linux"))
    assert raised.value.package == "beta"
    assert "beta 1.0 has no wheel for Python 3.11 on i686-linux" in raised.value.message
    assert "cp311-cp311-manylinux2014_aarch64" in raised.value.message


def test_markers_see_the_target() -> None:
    """Markers are those of the target: its system, its machine and its Python."""
    linux = _package(
        "alpha", "alpha-1.0-py3-none-any.whl", more="marker = \"sys_platform == 'linux'\""
    )
    arm = _package(
        "gamma", "gamma-1.0-py3-none-any.whl", more="marker = \"platform_machine == 'arm64'\""
    )
    new = _package(
        "delta", "delta-1.0-py3-none-any.whl", more="marker = \"python_version >= '3.12'\""
    )
    lock = _parse(linux, arm, new)
    names = [
        [one.name for one in lock.select(target)]
        for target in (Target("3.11"), Target("3.12", "aarch64-darwin"), Target("3.9.1"))
    ]
    assert names == [["alpha"], ["delta", "gamma"], ["alpha"]]


BOTH = _package("gamma", "gamma-1.0-cp311-cp311-manylinux2014_x86_64.whl", sdist="gamma-1.0.tar.gz")


def test_providers_choose_between_wheel_and_sdist() -> None:
    """A package's order goes before `_default`; what is not listed is refused."""
    lock = _parse(BOTH, OURS, _build("gamma"))
    here, there = Target("3.11"), Target("3.12")
    assert lock.select(here)[0].kind == "wheel"
    assert lock.select(here, providers={"Gamma": "sdist,wheel"})[0].kind == "sdist"
    assert lock.select(here, providers={"_default": ["sdist"]})[0].build[0].name == "maker"
    mixed = {"_default": "sdist", "gamma": ["nixpkgs", "wheel"]}
    assert lock.select(here, providers=mixed)[0].kind == "wheel"
    assert lock.select(there, providers={"gamma": "wheel,sdist"})[0].kind == "sdist"
    for providers in (None, {"gamma": "wheel"}):
        with pytest.raises(NoDistribution, match="gamma") as raised:
            lock.select(there, providers=providers)
        assert "sdist" in raised.value.hint
    for wrong in ({"gamma": "conda"}, {"gamma": ""}, {"other": "wheel"}):
        with pytest.raises(InvalidValue):
            lock.select(here, providers=wrong)


def test_sdist_where_there_is_no_wheel_at_all() -> None:
    """An sdist is taken where it is all that there is, with its locked build environment."""
    only = _package("gamma", sdist="gamma-1.0.tar.gz")
    (found,) = _parse(only, OURS, _build("gamma")).select(Target())
    assert (found.kind, found.filename) == ("sdist", "gamma-1.0.tar.gz")
    assert [one.filename for one in found.build] == ["maker-1.0-py3-none-any.whl"]
    with pytest.raises(InvalidLock, match=r"gamma.*build environment is not locked"):
        _parse(only).select(Target())


def test_builds_that_need_each_other_end() -> None:
    """Two sdists that build each other are an error, not an endless search."""
    one = _package("gamma", sdist="gamma-1.0.tar.gz")
    circle = ""
    for name, other in (("gamma", "delta"), ("delta", "gamma")):
        circle += f'[[tool.plxnix.build.{name}]]\nname = "{other}"\nversion = "1.0"\n'
        circle += f"sdist = {_file(f'{other}-1.0.tar.gz')}\n"
    with pytest.raises(InvalidLock, match="not locked"):
        _parse(one, OURS, circle).select(Target())


def test_extras_and_groups_of_a_lock() -> None:
    """Extras and groups that the lock has are selected; others are refused with those it has."""
    extra = _package("alpha", "alpha-1.0-py3-none-any.whl", more="marker = \"'x' in extras\"")
    group = _package(
        "beta", "beta-1.0-py3-none-any.whl", more="marker = \"'test' in dependency_groups\""
    )
    lock = EnvironmentLock.parse(
        HEAD + 'extras = ["x"]\ndependency-groups = ["test"]\n' + extra + group
    )
    assert lock.select(Target()) == ()
    assert [one.name for one in lock.select(Target(), ["x"], ["test"])] == ["alpha", "beta"]
    with pytest.raises(InvalidValue, match="no extra 'y'"):
        lock.select(Target(), ["y"])
    with pytest.raises(InvalidValue, match="no group 'y'"):
        lock.select(Target(), groups=["y"])


def test_wrong_python() -> None:
    """A lock for newer Pythons says which it is for."""
    lock = EnvironmentLock.parse(HEAD + 'requires-python = ">=3.12"\n' + PURE)
    with pytest.raises(NoDistribution, match=r"not for Python 3.11 .*>=3.12"):
        lock.select(Target("3.11"))


def test_directory_needs_its_hash() -> None:
    """A folder is known by the hash in our table, and is not read without it."""
    text = '[[packages]]\nname = "lib"\ndirectory = { path = "../lib", editable = true }\n'
    with pytest.raises(InvalidLock, match="lib is a directory without a hash"):
        _parse(text).select(Target())
    known = Hash("sha256", bytes(32))
    (found,) = _parse(text, OURS, f'sources = {{ lib = "{known}" }}\n', _build("lib")).select(
        Target()
    )
    assert (found.path, found.sha256, found.editable) == ("../lib", known, True)


def _hostile(url: str, name: str = "alpha", hashes: str = f'sha256 = "{DIGEST}"') -> str:
    return (
        f'[[packages]]\nname = "{name}"\nversion = "1.0"\n'
        f'wheels = [{{ url = "{url}", hashes = {{ {hashes} }} }}]\n'
    )


GOOD = "https://example.org/alpha-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (_hostile("file:///etc/alpha-1.0-py3-none-any.whl"), "alpha cannot be fetched"),
        (_hostile("https://me:pw@h/alpha-1.0-py3-none-any.whl"), "alpha cannot be fetched"),
        (_hostile("ftp://h/alpha-1.0-py3-none-any.whl"), "alpha cannot be fetched"),
        (_hostile("https://h/..%2Falpha-1.0-py3-none-any.whl"), "alpha"),
        (_hostile("https://h/other-1.0-py3-none-any.whl"), "alpha.*other-1.0"),
        (_hostile("https://h/alpha-2.0-py3-none-any.whl"), "alpha.*alpha-2.0"),
        (_hostile(GOOD, hashes='md5 = "00"'), "alpha has no sha256, but md5"),
        (_hostile(GOOD, hashes='sha256 = "xyz"'), "alpha has 'xyz' as a sha256"),
        (_hostile(GOOD, hashes=""), "alpha"),
        (_hostile(GOOD, name="../alpha"), "not normalized"),
        (_hostile(GOOD, name="Alpha"), "not normalized"),
        (_package("alpha"), "alpha"),
        ("packages = 3\n", "packages"),
        ("[[packages]]\nname = 3\n", "name"),
        ("x = ", "not TOML"),
        (PURE + "[tool.plxnix]\nversion = 99\n", "version 99"),
        (PURE + "[tool.plxnix]\nversion = true\n", "version"),
        (PURE + "[tool]\nplxnix = 3\n", "not a table"),
        (PURE + OURS + "requested = [1]\n", "requested"),
        (PURE + OURS + "build = { alpha = 3 }\n", "build.alpha"),
        (PURE + OURS + 'sources = { alpha = "x" }\n', "sources.alpha"),
        (PURE + OURS + "installer = []\n", "installer"),
    ],
)
def test_hostile_locks_are_refused(text: str, said: str) -> None:
    """What was edited by hand is refused when it is read, with the package and what is wrong."""
    with pytest.raises(InvalidLock, match=said) as raised:
        EnvironmentLock.parse(HEAD + text)
    assert "pw" not in str(raised.value)
    assert "\n" not in raised.value.message


@pytest.mark.parametrize("path", ["/etc/passwd", "~/lib", "a\\\\b", "a//b", "../../x/../a\\u0000b"])
def test_paths_are_relative(path: str) -> None:
    """A path of a lock is relative, with slashes."""
    hashes = f'{{ sha256 = "{DIGEST}" }}'
    text = f'[[packages]]\nname = "lib"\narchive = {{ path = "{path}", hashes = {hashes} }}\n'
    with pytest.raises(InvalidLock, match="lib has"):
        _parse(text)


def test_one_package_twice_for_a_target() -> None:
    """Two entries of one name for one target are an error that names the package."""
    with pytest.raises(NoDistribution, match="alpha is there twice") as raised:
        _parse(PURE, PURE).select(Target())
    assert raised.value.package == "alpha"


def test_archive_is_a_wheel_of_its_package() -> None:
    """An archive that is a wheel is one of the package that names it."""
    text = f'[[packages]]\nname = "lib"\narchive = {_file("alpha-1.0-py3-none-any.whl")}\n'
    with pytest.raises(InvalidLock, match="lib has a wheel of alpha"):
        _parse(text)


@pytest.mark.parametrize("end", ["..%2F..%2Fx.tar.gz", "%00.zip", "-x.zip", "", "a%20b.zip"])
def test_name_of_an_archive_cannot_escape(end: str) -> None:
    """The name of an archive's file, which its URL gives, is that of a file and no path."""
    text = f'[[packages]]\nname = "lib"\narchive = {_file(end)}\n'
    with pytest.raises(InvalidLock, match=r"lib has .* as the name of a file"):
        _parse(text)


def test_commit_is_a_whole_one() -> None:
    """Of git only whole commits are taken."""
    text = (
        '[[packages]]\nname = "lib"\n'
        'vcs = { type = "git", url = "https://h/lib", commit-id = "--upload-pack=x" }\n'
    )
    known = Hash("sha256", bytes(32))
    with pytest.raises(InvalidLock, match="only commits of git"):
        _parse(text, OURS, f'sources = {{ lib = "{known}" }}\n').select(Target())


def test_unreadable_files(tmp_path: Path) -> None:
    """Bytes that are no text are no lock."""
    path = tmp_path / "pylock.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidLock, match="not UTF-8"):
        EnvironmentLock.read(path)


def test_difference_of_files_only() -> None:
    """A package whose files changed under one version is told apart from an update."""
    other = HEAD + PURE.replace(DIGEST, "cd" * 32)
    (change,) = differences(_parse(PURE), EnvironmentLock.parse(other))
    assert (change.name, change.kind) == ("alpha", "files")
    assert differences(_parse(PURE), _parse(PURE)) == []


@pytest.mark.parametrize("python", ["2.7", "3", "3.x", "3.11 ", "", "pypy3.9"])
def test_pythons_that_are_none(python: str) -> None:
    """A target has a CPython 3."""
    with pytest.raises(InvalidValue):
        Target(python)


@pytest.mark.parametrize("platform", ["linux", "x86_64-windows", "vax-linux", "", "x86_64-linux\n"])
def test_platforms_that_are_none(platform: str) -> None:
    """A platform that is not known is an error that lists some that are."""
    with pytest.raises(InvalidValue, match="not a platform") as raised:
        Target("3.11", platform)
    assert "x86_64-linux" in raised.value.hint
