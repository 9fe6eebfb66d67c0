"""The Nix reader of Python locks, against packaging and against `plxnix.pyenv`."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.specifiers import Specifier
from packaging.utils import parse_wheel_filename

from plxnix.nix.text import string
from plxnix.pyenv.lock import EnvironmentLock
from plxnix.pyenv.target import Target
from tests.http_server import Answer, Server
from tests.nix_environment import NixCommandFailed, NixEnv
from tests.wheels import installer_wheel, make_wheel

LIBRARY = Path(__file__).parents[2] / "nix" / "lib"
READER = Path(__file__).parents[2] / "plxnix" / "pyenv" / "nixlib"

#: Platforms and Pythons of all kinds.
TARGETS = [
    Target(python, platform)
    for python in ("3.8", "3.11", "3.12.4", "3.13t")
    for platform in (
        "x86_64-linux",
        "aarch64-linux",
        "i686-linux",
        "x86_64-manylinux_2_35",
        "x86_64-linux-musl",
        "aarch64-musllinux_1_1",
        "x86_64-darwin",
        "aarch64-darwin",
    )
]


def attributes(target: Target) -> str:
    """A target in the words of Nix."""
    return f"{{ python = {string(target.python)}; platform = {string(target.platform)}; }}"


def listed(values: list[str]) -> str:
    """A list of texts in the words of Nix."""
    return "[ " + " ".join(map(string, values)) + " ]"


# -- versions ------------------------------------------------------------------------------------

_OPERATORS = ("==", "!=", "<=", ">=", "<", ">", "~=", "===")


def random_version(random: Random) -> str:
    """A version in one of its many spellings; small numbers, so that many are near each other."""
    odd = ("00", "007", "20240131235959123456789")
    numbers = [random.choice([*"00011122", "10", "11", *odd[:1], random.choice(odd)])]
    numbers += [random.choice("0001129") for _ in range(random.randrange(4))]
    return "".join(
        (
            random.choice(["", "", "", "v"]),
            random.choice(["", "", "", "", "0!", "1!"]),
            ".".join(numbers),
            random.choice(["", "", "", "a1", "-Alpha.2", "b", "rc1", "c1", "_preview_2"]),
            random.choice(["", "", "", ".post1", "-1", "post", "-r4", "REV2"]),
            random.choice(["", "", "", ".dev0", "dev3", "-DEV"]),
            random.choice(["", "", "", "", "+local", "+1.a.2", "+ubuntu-1", "+10", "+1.a.10"]),
        )
    )


def random_case(random: Random) -> tuple[str, str, str]:
    """A version and a specifier; every other one is a prefix or near the version."""
    version = random_version(random)
    other = random.choice(
        [
            random_version(random),
            version + random.choice(["", ".0", ".1", "a1", ".post1", ".dev1", "+1"]),
            ".".join(random.choices("01123", k=random.randrange(1, 4))) + ".*",
        ]
    )
    return version, random.choice(_OPERATORS), other


@pytest.mark.parametrize("seed", range(3))
def test_specifiers_mean_what_packaging_says(nix_env: NixEnv, seed: int) -> None:
    """All operators, on versions of all forms; where packaging sees no specifier, nor does Nix."""
    random = Random(seed)  # noqa: S311
    cases = [random_case(random) for _ in range(1500)]
    expected: list[bool | None] = []
    for version, operator, other in cases:
        try:
            specifier = Specifier(operator + other)
        except ValueError:
            expected.append(None)
        else:
            expected.append(specifier.contains(version, prereleases=True))
    asked = " ".join(listed(list(case)) for case in cases)
    found = json.loads(
        nix_env.evaluate(
            f"let v = import {READER}/versions.nix; at = builtins.elemAt; "
            f"in map (one: v.compare (at one 0) (at one 1) (at one 2)) [ {asked} ]"
        )
    )
    assert dict(zip(cases, found, strict=True)) == dict(zip(cases, expected, strict=True))


# -- markers -------------------------------------------------------------------------------------

_VALUES = (
    *("3.8", "3.11", "3.11.0", "3.12", "3.*", "3.11.*", "2", "linux", "win32", "darwin", "posix"),
    *(
        "x86_64",
        "arm64",
        "Linux",
        "CPython",
        "cpython",
        "",
        "3.8 3.11",
        "x",
        "a b",
        "A.b",
        "3.10a1",
    ),
)
_PLAIN = (
    *("python_version", "python_full_version", "os_name", "sys_platform", "platform_machine"),
    *("platform_system", "platform_python_implementation", "implementation_name"),
    *("implementation_version", "platform_release", "os.name", "sys.platform", "platform.machine"),
    "python_implementation",
)


def random_marker(random: Random, depth: int = 3) -> str:
    """A marker: comparisons both ways round, sets, and nesting."""
    if depth and random.random() < 0.6:
        inner = random_marker(random, depth - 1)
        if random.random() < 0.3:
            return random.choice(["({})", "( {} )"]).format(inner)
        other = random_marker(random, depth - 1)
        return f"{inner} {random.choice(['and', 'or'])} {other}"
    quote = random.choice("'\"")
    value = f"{quote}{random.choice(_VALUES)}{quote}"
    if random.random() < 0.15:
        sets = random.choice(["extras", "dependency_groups"])
        return f"{value} {random.choice(['in', 'not  in'])} {sets}"
    blank = random.choice(["", " "])
    operator = random.choice(["==", "!=", "<=", ">=", "<", ">", " in ", " not in "])
    sides = [random.choice(_PLAIN), value]
    random.shuffle(sides)
    return f"{sides[0]}{blank}{operator}{blank}{sides[1]}"


@pytest.mark.parametrize("seed", range(4))
def test_markers_mean_what_packaging_says(nix_env: NixEnv, seed: int) -> None:
    """Comparisons, membership, precedence, parentheses and old names, for many targets."""
    random = Random(seed)  # noqa: S311
    target = random.choice(TARGETS)
    texts = [random_marker(random) for _ in range(600)]
    sets = {"extras": frozenset({"a-b", "x"}), "dependency_groups": frozenset({"posix"})}
    environment: Any = {**target.markers(), **sets}
    expected = [Marker(text).evaluate(environment, context="lock_file") for text in texts]
    found = json.loads(
        nix_env.evaluate(
            f"let e = (import {READER}/tags.nix).markers {attributes(target)} // "
            '{ extras = [ "A_b" "x" ]; dependency_groups = [ "posix" ]; }; '
            f"in map ((import {READER}/markers.nix).evaluate e) {listed(texts)}"
        )
    )
    assert dict(zip(texts, found, strict=True)) == dict(zip(texts, expected, strict=True))


@pytest.mark.parametrize(
    ("marker", "said"),
    [
        ("python_version >", "ends where"),
        ("python_version", "lacks an operator"),
        ("(python_version > '3'", r"lacks a \)"),
        ("python_version > '3' os_name", "goes on"),
        ("extra == 'x'", "asks for"),
        ("'a' == 'b'", "compares two texts"),
        ("extras == 'x'", "compares a set"),
        ("os_name ~= '3.8'", "no versions"),
        ("os_name ; '3.8'", "characters"),
    ],
)
def test_what_is_no_marker_is_refused(nix_env: NixEnv, marker: str, said: str) -> None:
    """With the marker and what is wrong with it."""
    with pytest.raises(NixCommandFailed, match=f"the marker .* {said}"):
        nix_env.evaluate(
            f"let t = import {READER}/tags.nix; "
            f"e = t.markers {attributes(Target())} // {{ extras = []; }}; in "
            f" (import {READER}/markers.nix).evaluate e {string(marker)}"
        )


# -- tags ----------------------------------------------------------------------------------------


def test_tags_are_those_of_the_target(nix_env: NixEnv) -> None:
    """For all platforms the same wheels in the same order, and the same markers."""
    targets = " ".join(map(attributes, TARGETS))
    found = json.loads(
        nix_env.evaluate(
            f"let t = import {READER}/tags.nix; in map (one: [ (t.tags one) (t.markers one) ]) "
            f"[ {targets} ]"
        )
    )
    for target, (tags, markers) in zip(TARGETS, found, strict=True):
        assert (target, tags) == (target, [str(tag) for tag in target.tags()])
        assert (target, markers) == (target, target.markers())


def test_names_of_wheels_are_read(nix_env: NixEnv) -> None:
    """Compressed sets, build numbers, capitals."""
    names = [
        "a-1-py3-none-any.whl",
        "A_b-1.0.post1-1-py2.py3-none-any.whl",
        "c-1!2+x.1-7abc-cp311.CP312-abi3.cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
    ]
    found = json.loads(
        nix_env.evaluate(f"map (import {READER}/tags.nix).ofWheel {listed([*names, 'a-1.tar.gz'])}")
    )
    assert [set(tags) for tags in found[:-1]] == [
        {str(tag) for tag in parse_wheel_filename(name)[-1]} for name in names
    ]
    assert found[-1] is None


# -- selection -----------------------------------------------------------------------------------

DIGITS = "0123456789abcdef" * 4


def file(name: str) -> str:
    """A file of a package, in TOML."""
    place = f'url = "https://files.example.org/{name}", upload-time = 2024-01-31T01:02:03.4Z'
    return f'{{ {place}, size = 7, hashes = {{ sha256 = "{DIGITS}" }} }}'


def package(name: str, *files: str, more: str = "", version: str = "1.0") -> str:
    """A package, in TOML: a file that ends in .tar.gz is its sdist."""
    wheels = ", ".join(file(one) for one in files if one.endswith(".whl"))
    sdists = "".join(f"sdist = {file(one)}\n" for one in files if one.endswith(".gz"))
    wheel = f"wheels = [{wheels}]\n" if wheels else ""
    return f'[[packages]]\nname = "{name}"\nversion = "{version}"\n{more}{sdists}{wheel}\n'


def document(*packages: str, more: str = "") -> str:
    """A pylock.toml."""
    return f'lock-version = "1.0"\ncreated-by = "test"\n{more}\n' + "".join(packages)


LOCK = document(
    package("pure", "pure-1.0-py3-none-any.whl", "pure-1.0.tar.gz"),
    package(
        "native",
        "native-1.0-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "native-1.0-cp311-abi3-manylinux_2_28_x86_64.whl",
        "native-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "native-1.0-cp312-cp312-macosx_11_0_arm64.whl",
        "native-1.0-py3-none-any.whl",
    ),
    package("old", "old-1.0-py2.py3-none-any.whl", more="marker = \"python_version < '3.12'\"\n"),
    package("twin", "twin-1.0-py3-none-any.whl", more="marker = \"sys_platform == 'linux'\"\n"),
    package(
        "twin",
        "twin-2.0-py3-none-any.whl",
        more="marker = \"sys_platform != 'linux'\"\nrequires-python = '>=3.9'\n",
        version="2.0",
    ),
    package("opt", "opt-1.0-py3-none-any.whl", more="marker = \"'fast' in extras\"\n"),
    package("dev", "dev-1.0-py3-none-any.whl", more="marker = \"'dev' in dependency_groups\"\n"),
    more="extras = ['fast']\ndependency-groups = ['dev', 'docs']\ndefault-groups = ['dev']\n"
    "requires-python = '>=3.8'\n",
)


def nix_select(nix_env: NixEnv, text: str, target: Target, more: str = "") -> list[dict[str, Any]]:
    """Let Nix select."""
    found: list[dict[str, Any]] = json.loads(
        nix_env.evaluate(
            f'let l = import {READER}/lock.nix; in map (one: removeAttrs one [ "build" ]) '
            f"(l.select {{ content = l.read {string(text)}; {more} "
            f"target = {attributes(target)}; }})"
        )
    )
    return found


@pytest.mark.parametrize(
    "target", [Target("3.11"), Target("3.12", "aarch64-darwin"), Target("3.9")]
)
@pytest.mark.parametrize(
    ("more", "given"),
    [
        ("", {}),
        ('extras = [ "fast" ]; groups = [ ];', {"extras": ["fast"], "groups": []}),
        ('groups = [ "docs" ];', {"groups": ["docs"]}),
    ],
)
def test_selection_is_that_of_plxnix(
    nix_env: NixEnv, target: Target, more: str, given: dict[str, Any]
) -> None:
    """The same files of the same packages: markers, tags, extras, groups."""
    expected = EnvironmentLock.parse(LOCK).select(target, **given)
    found = nix_select(nix_env, LOCK, target, more)
    assert len(expected) >= 3
    assert [(one["name"], one["version"], one["filename"]) for one in found] == [
        (one.name, one.version, one.filename) for one in expected
    ]
    assert {one["sha256"] for one in found} == {DIGITS}


def test_wheels_made_elsewhere_are_named(nix_env: NixEnv) -> None:
    """Nothing for this platform: the error says what there is, and builds no sdist by itself."""
    text = document(package("x", "x-1.0-cp311-cp311-win_amd64.whl", "x-1.0.tar.gz"))
    with pytest.raises(
        NixCommandFailed, match=r"x 1\.0 has no wheel for Python 3\.11 on x86_64-li.*"
    ):
        nix_select(nix_env, text, Target())
    with pytest.raises(
        NixCommandFailed, match=r"its wheels are: x-1\.0-cp311-cp311-win_amd64\.whl"
    ):
        nix_select(nix_env, text, Target())
    (found,) = nix_select(nix_env, text, Target(), 'providers.X = "wheel,sdist";')
    assert (found["kind"], found["filename"]) == ("sdist", "x-1.0.tar.gz")


# -- with a package set --------------------------------------------------------------------------


class Wheels:
    """A lock with the wheels of a server, and the functions of the library on the stub."""

    def __init__(self, folder: Path, server: Server, stub: Path, python: str) -> None:
        packages = []
        digits = python.replace(".", "")
        for name, tag in (
            ("first", "py3-none-any"),
            ("second", f"cp{digits}-cp{digits}-manylinux_2_17_x86_64"),
        ):
            made = make_wheel(folder / "files", name, tag=tag)
            packages.append(self._table(server, name, made, "[[packages]]", "wheels = [{", "}]"))
        installer = installer_wheel(folder / "files")
        ours = f'[tool.plxnix]\nversion = 1\npython = "{python}"\nplatforms = ["x86_64-linux"]\n'
        digest = hashlib.sha256(installer.read_bytes()).hexdigest()
        server.answer(f"/{installer.name}", Answer(installer.read_bytes()))
        ours += (
            f'[tool.plxnix.installer]\nname = "installer"\nversion = "1.0"\nsha256 = "{digest}"\n'
        )
        ours += f'url = "{server.url(f"/{installer.name}")}"\n'
        self.lock = folder / "pylock.toml"
        self.lock.write_text(document(*packages) + ours)
        self.functions = (
            f"let pkgs = import {stub} {{ }}; lock = {self.lock}; "
            f"inherit ((import {LIBRARY}).python) forPkgs; p = forPkgs pkgs; in "
        )
        self.packages = f"lib/python{python}/site-packages"

    @staticmethod
    def _table(server: Server, name: str, made: Path, head: str, start: str, end: str) -> str:
        server.answer(f"/{made.name}", Answer(made.read_bytes()))
        digest = hashlib.sha256(made.read_bytes()).hexdigest()
        source = f'url = "{server.url(f"/{made.name}")}", hashes = {{ sha256 = "{digest}" }}'
        return f'{head}\nname = "{name}"\nversion = "1.0"\n{start} {source} {end}\n'

    def build(self, nix_env: NixEnv, expression: str) -> Path:
        """Build what an expression over `p`, `pkgs` and `lock` gives."""
        command = ("nix-build", "--no-out-link", "-E", self.functions + expression)
        return Path(nix_env.run(*command).stdout.strip())


@pytest.fixture
def wheels(tmp_path: Path, stub_nixpkgs: Path) -> Iterator[Wheels]:
    """The lock of two wheels, one of them for manylinux."""
    if Target.here().platform != "x86_64-linux":
        pytest.skip("the wheels of these tests are for x86_64-linux")
    with Server() as server:
        yield Wheels(tmp_path, server, stub_nixpkgs, Target.here().python)


def test_lock_for_a_patch_of_python(nix_env: NixEnv, wheels: Wheels) -> None:
    """A lock for 3.11.4 gives what one for 3.11 gives, of this machine and of nixpkgs."""
    asked = (
        f"{wheels.functions} map (one: one.drvPath) [ "
        f"((import {LIBRARY}).python.mkPython {{ inherit lock; }}) (p.mkPython {{ inherit lock; }})"
        " ]"
    )
    before = json.loads(nix_env.evaluate(asked))
    text = wheels.lock.read_text()
    version = Target.here().python
    text = text.replace(f'python = "{version}"', f'python = "{version}.1"')
    wheels.lock.write_text(f'requires-python = ">={version}.1"\n{text}')
    assert json.loads(nix_env.evaluate(asked)) == before


def test_the_tree_of_nixpkgs_is_patched(nix_env: NixEnv, wheels: Wheels) -> None:
    """The builder of plxnix runs, and then autoPatchelf, since a wheel is not of pure Python."""
    built = wheels.build(nix_env, "p.mkPython { inherit lock; }")
    assert {"first.py", "second.py"} <= {one.name for one in (built / wheels.packages).iterdir()}
    assert "zlib" in (built / "nix-support" / "patched").read_text()
    plain = wheels.build(nix_env, "p.mkPython { inherit lock; autoPatchelf = false; }")
    assert not (plain / "nix-support").exists()


def test_only_wheels_of_linux_are_patched(nix_env: NixEnv, wheels: Wheels) -> None:
    """What is for ELF is left out; with the package set of a Mac nothing asks for it."""
    text = wheels.lock.read_text().replace("manylinux_2_17_x86_64", "macosx_11_0_arm64")
    wheels.lock.write_text(text)
    made = nix_env.run(
        "nix-instantiate",
        "-E",
        wheels.functions.replace("{ }", '{ system = "aarch64-darwin"; }', 1)
        + 'map (form: p.mkPython { inherit lock form; }) [ "tree" "packages" ]',
    )
    closure = nix_env.run("nix-store", "-qR", *made.stdout.split()).stdout
    assert "second-1.0" in closure
    assert "auto-patchelf" not in closure


def test_packages_are_overridden(nix_env: NixEnv, wheels: Wheels) -> None:
    """`_` replaces, adds and modifies; overrides come before and after."""
    expression = """p.mkPython {
      inherit lock;
      _.first.postInstall = "echo one > $out/lib/first.txt\\n";
      _.second.postInstall.add = "echo two > $out/lib/second.txt\\n";
      _.second.dontStrip.mod = old: !old;
      overridesPre = [ (final: prev: { numpy = prev.numpy // { seen = true; }; }) ];
      overridesPost = [
        (final: prev: {
          first = prev.first.overridePythonAttrs (old: {
            postInstall = old.postInstall + "echo after >> $out/lib/first.txt";
          });
        })
      ];
    }"""
    library = wheels.build(nix_env, expression) / "lib"
    assert (library / "first.txt").read_text() == "one\nafter\n"
    assert (library / "second.txt").read_text() == "two\n"
    assert (library.parent / wheels.packages / "second.py").exists()


def test_packages_of_nixpkgs_stand_in(nix_env: NixEnv, wheels: Wheels) -> None:
    """A package whose provider is nixpkgs is that of the package set; others bring it along."""
    wheels.lock.write_text(wheels.lock.read_text().replace('name = "first"', 'name = "numpy"'))
    asked = 'p.mkPythonOverrides { inherit lock; providers.numpy = "nixpkgs"; }'
    found = json.loads(
        nix_env.evaluate(
            f"{wheels.functions} let ps = pkgs.python3.pkgs; made = ({asked}) ps ps; in "
            "[ (builtins.attrNames made) "
            "(map (one: one.outPath) made.second.requiredPythonModules == [ ps.numpy.outPath ]) ]"
        )
    )
    assert found == [["buildPythonApplication", "buildPythonPackage", "second"], True]


@pytest.mark.parametrize(
    "asked",
    [
        'p.mkPython { inherit lock; form = "packages"; }',
        "(p.mkNixpkgs { inherit lock; }).python3.pkgs.second",
        "(pkgs.extend (pkgs: old: { pythonPackagesExtensions = old.pythonPackagesExtensions ++ "
        "[ (p.mkPythonOverrides { inherit lock pkgs; }) ]; })).python3.pkgs.second",
    ],
)
def test_packages_are_not_built_by_those_of_the_lock(
    nix_env: NixEnv, wheels: Wheels, asked: str
) -> None:
    """A lock may have what nixpkgs builds packages with, as the package set's own builds them."""
    wheels.lock.write_text(wheels.lock.read_text().replace('name = "first"', 'name = "installer"'))
    assert json.loads(nix_env.evaluate(f"{wheels.functions} ({asked}).drvPath")).endswith(".drv")


@pytest.mark.parametrize(
    "asked",
    [
        "p.mkNixpkgs { inherit lock; }",
        "pkgs.extend (p.mkOverlay { inherit lock; })",
        "pkgs",
    ],
)
def test_libraries_may_need_what_a_lock_has(nix_env: NixEnv, wheels: Wheels, asked: str) -> None:
    """An overlay, also the user's, changes what libraries are built by, but not for its wheels."""
    if asked == "pkgs":
        overlays = Path(os.environ["HOME"]) / ".config/nixpkgs/overlays.nix"
        overlays.parent.mkdir(parents=True)
        given = f"{{ lock = {wheels.lock}; }}"
        overlays.write_text(f"[ ((import {LIBRARY}).python.mkOverlay {given}) ]")
    wheels.lock.write_text(wheels.lock.read_text().replace('name = "second"', 'name = "packaging"'))
    program = "import first, second"
    built = wheels.build(nix_env, f"({asked}).python3.withPackages (ps: [ ps.packaging ])")
    assert nix_env.run(built / "bin" / "python", "-c", program).stdout == ""


def test_overrides_that_were_there_stay(nix_env: NixEnv, wheels: Wheels) -> None:
    """A Python with overrides of its own keeps them below those of the lock."""
    found = nix_env.evaluate(
        f"{wheels.functions} let python = pkgs.python3.override "
        "{ packageOverrides = _: _: { mine = 1; first = 2; }; self = python; }; "
        "set = pkgs.extend (_: _: { python3 = python; }); in "
        '(set.extend (p.mkOverlay { inherit lock; python = "python3"; })).python3.pkgs.mine'
    )
    assert json.loads(found) == 1


def test_package_sets_follow_a_lock(nix_env: NixEnv, wheels: Wheels) -> None:
    """By `mkNixpkgs` and by `mkOverlay`: one package brings the others of the lock along."""
    for packages in (
        "p.mkNixpkgs { inherit lock; }",
        "pkgs.extend (p.mkOverlay { inherit lock; })",
    ):
        built = wheels.build(nix_env, f"({packages}).python3.withPackages (ps: [ ps.first ])")
        shown = nix_env.run(built / "bin" / "python", "-c", "import first, second").stdout
        assert shown == ""


def test_a_package_of_a_lock_is_all_of_it_for_others(nix_env: NixEnv, wheels: Wheels) -> None:
    """What depends on one has the others too: one path, with all that they bring."""
    found = json.loads(
        nix_env.evaluate(
            f"{wheels.functions} let ps = (p.mkNixpkgs {{ inherit lock; }}).python3.pkgs; in "
            "[ (ps.first.outPath == ps.second.outPath) ps.second.pname ps.second.src.name ]"
        )
    )
    assert found[:2] == [True, "second"]
    assert found[2].startswith("second-1.0")
    tools = 'inherit lock; _.second.postInstall = "mkdir $out/nix-support; echo ${pkgs.git} >> '
    tools += '$out/nix-support/propagated-build-inputs";'
    built = wheels.build(nix_env, f"(p.mkNixpkgs {{ {tools} }}).python3.pkgs.first")
    assert {"first.py", "second.py"} <= {one.name for one in (built / wheels.packages).iterdir()}
    inputs = (built / "nix-support" / "propagated-build-inputs").read_text()
    assert inputs.split()[0].endswith("-git")


def test_shells_and_images_hold_the_environment(nix_env: NixEnv, wheels: Wheels) -> None:
    """`mkPythonShell` by pkgs.mkShell, `mkDockerImage` by dockerTools, and what they are given."""
    environment = wheels.build(nix_env, "p.mkPython { inherit lock; }")
    image = wheels.build(
        nix_env,
        "p.mkDockerImage "
        '{ inherit lock; tag = "2"; config.User = "nobody"; config.Env = [ "A=1" ]; }',
    )
    said = json.loads(image.read_text())
    assert said["config"]["Entrypoint"] == [f"{environment}/bin/python"]
    assert (said["tag"], said["config"]["User"]) == ("2", "nobody")
    assert said["config"]["Env"] == [f"PATH={environment}/bin:/bin", "A=1"]
    assert said["extraCommands"] == "mkdir -m 1777 tmp"
    own = 'p.mkDockerImage { inherit lock; config.Env = [ "PATH=/x" ]; }'
    assert json.loads(wheels.build(nix_env, own).read_text())["config"]["Env"] == ["PATH=/x"]
    shown = nix_env.run(
        "nix-shell",
        "-E",
        wheels.functions + 'p.mkPythonShell { inherit lock; shellHook = "echo hook"; }',
        "--run",
        "python -c 'import first; print(first.__file__)'",
        variables={"NIX_BUILD_SHELL": "/bin/bash"},
    )
    assert shown.stdout == f"hook\n{environment}/{wheels.packages}/first.py\n"


def test_sources_become_packages(nix_env: NixEnv, wheels: Wheels, tmp_path: Path) -> None:
    """`buildPythonPackage` takes name, version and build system of the project, and the lock."""
    source = tmp_path / "mine"
    (source / "mine").mkdir(parents=True)
    (source / "mine" / "__init__.py").touch()
    shutil.copy(wheels.lock, source)
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling>=1"]\n[project]\nname = "mine"\nversion = "3"\n'
    )
    for function in ("buildPythonPackage", "buildPythonApplication"):
        package = f"(p.{function} {{ src = {source}; }})"
        found = json.loads(
            nix_env.evaluate(
                f"{wheels.functions} let made = {package}; in "
                "[ made.name (map (one: one.pname) made.dependencies) ]"
            )
        )
        assert found == ["python3-mine-3", ["first"]]  # which has the other


def test_what_needs_a_package_set_says_so(nix_env: NixEnv, wheels: Wheels) -> None:
    """Overrides and images need `pkgs`."""
    library = f"(import {LIBRARY})"
    for expression in (
        f"{library}.mkDockerImage {{ lock = {wheels.lock}; }}",
        f"{library}.mkPython {{ lock = {wheels.lock}; _.first.x = 1; }}",
    ):
        with pytest.raises(NixCommandFailed, match="need"):
            nix_env.evaluate(f"({expression}).outPath")


FUNCTIONS = (
    *("mkPython", "mkPythonShell", "mkDockerImage", "mkPythonOverrides", "mkOverlay", "mkNixpkgs"),
    *("buildPythonPackage", "buildPythonApplication"),
)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        *((f'{one} [ "x" "y" ]', f"{one} got a list: .* -p x -p y") for one in FUNCTIONS),
        ("mkPython ./x", "mkPython got a path: give a set, .* -p NAME"),
        ('mkPython { lock = [ "x" ]; }', "got a list as lock: give the path of a pylock.toml"),
        ('mkPython { lock = "x"; }', 'lock is "x", which is neither a path nor'),
        ("mkPython { pkgs = ./x; }", "got a path as pkgs: give a package set"),
        ('(forPkgs { }).mkNixpkgs { extras = "x"; }', "mkNixpkgs got a string as extras"),
        ("(forPkgs { }).mkOverlay { providers = [ ]; }", "mkOverlay got a list as providers"),
        ("(forPkgs ./x).mkPython { }", "forPkgs got a path: give a package set"),
        ("buildPythonPackage { pkgs = { }; }", "got neither a lock nor a src"),
    ],
)
def test_wrong_kinds_of_arguments_are_told(nix_env: NixEnv, call: str, said: str) -> None:
    """Each function names itself, the argument, and what to give."""
    made = f"with (import {LIBRARY}).python; {call}"
    with pytest.raises(NixCommandFailed, match=said):
        nix_env.evaluate(
            f"let made = {made}; in if made ? type then made.outPath else made {{ }} {{ }}"
        )


def test_arguments_of_other_tools_are_told(nix_env: NixEnv, wheels: Wheels) -> None:
    """What mach-nix takes and this does not is an error that says what to do."""
    library = f"(import {LIBRARY})"
    for arguments, said in (
        ('requirements = "first";', "plxnix env lock -r requirements.txt"),
        (f"lock = {wheels.lock}; ignoreCollisions = true;", "no argument ignoreCollisions"),
    ):
        with pytest.raises(NixCommandFailed, match=said):
            nix_env.evaluate(f"({library}.mkPython {{ {arguments} }}).outPath")
