"""The builder of environments: what a wheel becomes, and which wheels are refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from plxnix.nix.nar import nar_hash
from plxnix.pyenv import builder

VERSION = "{}.{}".format(*sys.version_info[:2])
PACKAGES = f"lib/python{VERSION}/site-packages"


def record(files: Mapping[str, bytes], info: str) -> str:
    """Return an honest RECORD."""
    lines = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')}"
        f",{len(data)}"
        for name, data in files.items()
    ]
    return "\n".join([*lines, f"{info}/RECORD,,", ""])


def wheel(
    folder: Path,
    name: str,
    files: Mapping[str, str],
    said: str | None = None,
    compress: int = zipfile.ZIP_DEFLATED,
    executable: tuple[str, ...] = (),
    version: str = "1.0",
) -> Path:
    """Make a wheel with these files; its RECORD is honest unless it is given."""
    info = f"{name}-{version}.dist-info"
    data = {key: text.encode() for key, text in files.items()}
    data.setdefault(
        f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    )
    data.setdefault(
        f"{info}/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    folder.mkdir(exist_ok=True, parents=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", compress) as file:
        for key, one in data.items():
            member = zipfile.ZipInfo(key, (2020, 1, 1, 0, 0, 0))
            member.compress_type = compress
            member.external_attr = (0o100755 if key in executable else 0o100644) << 16
            file.writestr(member, one)
        file.writestr(f"{info}/RECORD", record(data, info) if said is None else said)
    return path


def build(
    folder: Path,
    *wheels: Path,
    collisions: tuple[str, ...] = (),
    direct_url: object = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    """Run the builder as both realizers do, with the wheels in this order."""
    folder.mkdir(parents=True, exist_ok=True)
    spec: dict[str, Any] = {
        "version": VERSION,
        "collisions": list(collisions),
        "wheels": [{"filename": one.name} for one in wheels],
    }
    if direct_url is not None:
        spec["wheels"][0]["direct_url"] = direct_url
    (folder / "spec.json").write_text(json.dumps(spec))
    environment = {f"wheel{number}": str(one) for number, one in enumerate(wheels)}
    return subprocess.run(
        [sys.executable, "-B", builder.__file__, str(folder / "spec.json")],
        check=False,
        capture_output=True,
        text=True,
        env={
            "PATH": os.environ["PATH"],
            "out": str(folder / "out"),
            "python": sys.executable,
            **environment,
            **variables,
        },
    )


def built(folder: Path, *wheels: Path, **arguments: Any) -> Path:
    """Build an environment that is expected to succeed, and return its folder."""
    result = build(folder, *wheels, **arguments)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return folder / "out"


def refused(folder: Path, *wheels: Path, **arguments: Any) -> str:
    """Build an environment that is refused, and return what was said; it is no traceback."""
    result = build(folder, *wheels, **arguments)
    assert result.returncode == 1, result.stderr
    assert "Traceback" not in result.stderr
    return result.stderr


@pytest.fixture
def hello(tmp_path: Path) -> Path:
    """A wheel with something of every scheme."""
    return wheel(
        tmp_path / "wheels",
        "hello",
        {
            "hello/__init__.py": "def main():\n    print('hello', __file__)\n    return 3\n",
            "hello/tool": "#!/bin/sh\necho tool\n",
            "hello/empty.py": "",
            "hello-1.0.data/purelib/pure.py": "pure = 1\n",
            "hello-1.0.data/platlib/plat.py": "plat = 1\n",
            "hello-1.0.data/data/share/man/hello.1": "manual\n",
            "hello-1.0.data/headers/hello.h": "int hello(void);\n",
            "hello-1.0.data/scripts/old": "#!python\nimport hello, sys\nprint(sys.argv[1:])\n",
            "hello-1.0.data/scripts/shell": "#!/bin/sh\necho shell\n",
            "hello-1.0.dist-info/entry_points.txt": "[console_scripts]\nhi = hello:main\n"
            "[gui_scripts]\nhi-gui = hello:main [gui]\n[other]\nx = hello\n",
        },
        executable=("hello/tool",),
    )


def test_an_environment(tmp_path: Path, hello: Path) -> None:
    """Every scheme has its folder, scripts run, and nothing is there that was not asked for."""
    out = built(tmp_path / "a", hello)
    info = f"{PACKAGES}/hello-1.0.dist-info"
    found = {
        str(one.relative_to(out)): os.access(one, os.X_OK)
        for one in out.rglob("*")
        if one.is_file() and not one.is_symlink()
    }
    assert found == {
        "bin/hi": True,
        "bin/hi-gui": True,
        "bin/old": True,
        "bin/shell": True,
        f"include/site/python{VERSION}/hello/hello.h": False,
        f"{PACKAGES}/hello/__init__.py": False,
        f"{PACKAGES}/hello/empty.py": False,
        f"{PACKAGES}/hello/tool": True,
        f"{PACKAGES}/plat.py": False,
        f"{PACKAGES}/pure.py": False,
        "pyvenv.cfg": False,
        "share/man/hello.1": False,
        f"{info}/INSTALLER": False,
        f"{info}/METADATA": False,
        f"{info}/RECORD": False,
        f"{info}/WHEEL": False,
        f"{info}/entry_points.txt": False,
    }
    assert {name: os.readlink(out / "bin" / name) for name in ("python", "python3")} == {
        "python": sys.executable,
        "python3": "python",
    }
    assert (out / info / "INSTALLER").read_text() == "plxnix\n"
    home = os.path.dirname(sys.executable)
    assert (out / "pyvenv.cfg").read_text() == (
        f"home = {home}\ninclude-system-site-packages = false\nversion = {VERSION}\n"
    )


def test_entry_point_goes_over_a_file(tmp_path: Path) -> None:
    """Where a wheel has a file and an entry point of one name, the latter is installed."""
    files = {
        "both.py": "def main():\n    print('entry point')\n",
        "both-1.0.data/scripts/one": "#!/bin/sh\necho script\n",
        "both-1.0.data/data/bin/two": "#!/bin/sh\necho file\n",
        "both-1.0.dist-info/entry_points.txt": "[console_scripts]\none=both:main\ntwo=both:main\n",
    }
    out = built(tmp_path / "a", wheel(tmp_path / "wheels", "both", files))
    for name in ("one", "two"):
        said = subprocess.run([out / "bin" / name], capture_output=True, text=True, check=True)
        assert said.stdout == "entry point\n"
    record = (out / PACKAGES / "both-1.0.dist-info/RECORD").read_text()
    assert [record.count(f"/bin/{name},") for name in ("one", "two")] == [1, 1]


def test_record_is_true(tmp_path: Path, hello: Path) -> None:
    """RECORD names every file of the wheel, sorted, with the hash that it has now."""
    out = built(tmp_path / "a", hello)
    packages = out / PACKAGES
    rows = [
        line.rsplit(",", 2)
        for line in (packages / "hello-1.0.dist-info/RECORD").read_text().splitlines()
    ]
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    files = {os.path.normpath(packages / row[0]) for row in rows}
    there = {str(one) for one in out.rglob("*") if one.is_file() and not one.is_symlink()}
    assert files == there - {str(out / "pyvenv.cfg")}
    for name, digest, size in rows:
        if not name.endswith("/RECORD"):
            data = (packages / name).read_bytes()
            assert (builder.digest_of("sha256", data), str(len(data))) == (digest, size), name


@pytest.mark.parametrize("script", ["hi", "old"])
def test_scripts_move_along(tmp_path: Path, hello: Path, script: str) -> None:
    """A script finds its interpreter where the folder is moved, and when called by a link."""
    out = built(tmp_path / "a b", hello)
    moved = tmp_path / "it's moved" / "here"
    moved.parent.mkdir()
    out.rename(moved)
    link = tmp_path / "link"
    link.symlink_to(moved / "bin" / script)
    for path in (moved / "bin" / script, link):
        result = subprocess.run(
            [path, "x y", "z"], check=False, capture_output=True, text=True, cwd="/"
        )
        expected = {"hi": (3, f"hello {moved}/{PACKAGES}/hello/__init__.py\n")}.get(
            script, (0, "['x y', 'z']\n")
        )
        assert (result.returncode, result.stdout) == expected, result.stderr


def test_nothing_else_matters(tmp_path: Path, hello: Path) -> None:
    """The same bytes wherever it is made, by however many processes, whatever the umask is."""
    others = [
        wheel(tmp_path / "wheels", f"w{n}", {f"w{n}/{m}.py": f"{n} {m}\n" for m in range(20)})
        for n in range(9)
    ]
    one = built(tmp_path / "one", hello, *others, NIX_BUILD_CORES="1", PYTHONHASHSEED="1")
    previous = os.umask(0o077)
    try:
        two = built(tmp_path / "far" / "two", hello, *others, NIX_BUILD_CORES="4", TZ="Asia/Tokyo")
    finally:
        os.umask(previous)
    assert nar_hash(one) == nar_hash(two)


def test_stored_wheels_and_others(tmp_path: Path) -> None:
    """What is stored, deflated or packed in another way gives the same files."""
    hashes = set()
    for number, kind in enumerate((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)):
        folder = tmp_path / str(number)
        one = wheel(folder, "one", {"one.py": "x = 1\n" * 99, "none.py": ""}, compress=kind)
        hashes.add(nar_hash(built(folder / "env", one)))
    assert len(hashes) == 1


def test_no_wheels(tmp_path: Path) -> None:
    """An environment of nothing has an interpreter."""
    out = built(tmp_path / "a")
    said = subprocess.run(
        [out / "bin/python", "-c", "import sys; print(sys.prefix)"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert said.stdout.strip() == str(out)


def test_direct_url(tmp_path: Path, hello: Path) -> None:
    """What was asked for by URL says so in `direct_url.json`, with sorted keys."""
    out = built(tmp_path / "a", hello, direct_url={"url": "http://x/y.whl", "archive_info": {}})
    text = (out / PACKAGES / "hello-1.0.dist-info/direct_url.json").read_text()
    assert text == '{"archive_info": {}, "url": "http://x/y.whl"}'
    said = (out / PACKAGES / "hello-1.0.dist-info/RECORD").read_text()
    assert "hello-1.0.dist-info/direct_url.json,sha256=" in said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../evil.py", "evil-1.0-py3-none-any.whl holds '../evil.py', outside of its folder"),
        ("/etc/evil", "holds '/etc/evil', outside of its folder"),
        ("a/../../evil.py", "outside of its folder"),
        ("evil-1.0.data/data/../../evil", "outside of its folder"),
        ("evil-1.0.data/scripts/../x", "outside of its folder"),
        ("evil-1.0.data/strange/x", "holds 'evil-1.0.data/strange/x', of no known scheme"),
        ("evil-1.0.data/x", "of no known scheme"),
    ],
)
def test_outside_of_the_prefix(tmp_path: Path, name: str, said: str) -> None:
    """A wheel with files outside of its folder is refused before anything is written."""
    assert said in refused(tmp_path / "a", wheel(tmp_path / "wheels", "evil", {name: "x"}))
    assert not (tmp_path / "a" / "out").exists()


@pytest.mark.parametrize("name", ["../x", "/bin/x", ".."])
def test_scripts_outside_of_bin(tmp_path: Path, name: str) -> None:
    """Nor can the name of a script lead out of its folder."""
    points = {"evil-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{name} = os:abort\n"}
    evil = wheel(tmp_path / "wheels", "evil", points)
    assert f"has a script called {name!r}" in refused(tmp_path / "a", evil)


LIES = {
    "other contents": ("a.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,6", "RECORD says"),
    "other size": ("a.py,{hash},7", "RECORD says that a.py has 7 bytes"),
    "nothing of it": ("", "RECORD does not mention a.py"),
    "no hash": ("a.py,,6", "RECORD has no hash for a.py"),
    "a weak hash": ("a.py,md5=AAAA,6", "RECORD has 'md5=AAAA' for a.py"),
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["a.py", "liar-1.0.data/scripts/a"])
def test_a_lying_record(tmp_path: Path, lie: str, name: str) -> None:
    """A RECORD that does not say what is in the wheel is refused."""
    info = "liar-1.0.dist-info"
    honest = wheel(tmp_path / "honest", "liar", {name: "x = 1\n"})
    with zipfile.ZipFile(honest) as file:
        lines = file.read(f"{info}/RECORD").decode().splitlines()
    line, said = (one.replace("a.py", name) for one in LIES[lie])
    line = line.replace("{hash}", lines[0].split(",")[1])
    text = "\n".join([line, *lines[1:]]) + "\n"
    liar = wheel(tmp_path / "wheels", "liar", {name: "x = 1\n"}, text)
    message = refused(tmp_path / "a", liar)
    assert said in message
    assert message.startswith("liar-1.0-py3-none-any.whl")


def test_every_fault_is_said(tmp_path: Path) -> None:
    """All wheels that are wrong are named at once, and not more than a screen of faults."""
    evil = [
        wheel(tmp_path / "wheels", f"evil{n}", {f"../{m}": "" for m in range(3)}) for n in range(9)
    ]
    lines = refused(tmp_path / "a", *evil).splitlines()
    assert len(lines) == builder.SHOWN + 1
    assert lines[-1] == f"and {27 - builder.SHOWN} more"


def test_no_wheel(tmp_path: Path) -> None:
    """A file that is no archive, a cut wheel, and a wheel of another format are refused."""
    good = wheel(tmp_path / "good", "cut", {"a.py": "x = 1\n" * 1000})
    cut = tmp_path / good.name
    cut.write_bytes(good.read_bytes()[:200])
    assert f"{cut.name} is no wheel: " in refused(tmp_path / "a", cut)
    damaged = bytearray(good.read_bytes())
    damaged[40:60] = bytes(20)
    cut.write_bytes(damaged)
    assert f"{cut.name}: a.py: " in refused(tmp_path / "b", cut)
    cut.write_bytes(b"")
    assert f"{cut.name} is no wheel: " in refused(tmp_path / "c", cut)
    newer = {"new-1.0.dist-info/WHEEL": "Wheel-Version: 2.0\n"}
    new = wheel(tmp_path / "wheels", "new", newer)
    assert "has Wheel-Version: 2; known is 1.0" in refused(tmp_path / "d", new)
    points = {"bad-1.0.dist-info/entry_points.txt": "[console_scripts]\nx = ;\n"}
    bad = wheel(tmp_path / "wheels", "bad", points)
    assert "entry_points.txt cannot be read" in refused(tmp_path / "e", bad)


def test_one_file_of_two_wheels(tmp_path: Path) -> None:
    """The same bytes are fine; others are an error that names both wheels and the file."""
    folder = tmp_path / "wheels"
    one = wheel(folder, "one", {"shared/__init__.py": "", "shared/x.py": "1\n"})
    two = wheel(folder, "two", {"shared/__init__.py": "", "shared/y.py": "1\n"})
    out = built(tmp_path / "a", one, two)
    for name in ("one", "two"):
        said = (out / PACKAGES / f"{name}-1.0.dist-info/RECORD").read_text()
        assert "shared/__init__.py" in said
    other = wheel(folder, "other", {"shared/x.py": "2\n"})
    message = refused(tmp_path / "b", one, other)
    assert (
        f"{PACKAGES}/shared/x.py is in one-1.0-py3-none-any.whl and in other-1.0-py3-none-any.whl, "
        "and differs" in message
    )
    assert "--collisions PATTERN" in message
    out = built(tmp_path / "c", one, other, collisions=("*/shared/x.py",))
    assert (out / PACKAGES / "shared/x.py").read_text() == "1\n"
    assert "x.py" not in (out / PACKAGES / "other-1.0.dist-info/RECORD").read_text()


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("x", "x/y", f"two-1.0-py3-none-any.whl has {PACKAGES}/x/y, but {PACKAGES}/x is a file"),
        ("x/y", "x", f"one-1.0-py3-none-any.whl has {PACKAGES}/x/y, but {PACKAGES}/x is a file"),
        ("x", "two-1.0.data/data/pyvenv.cfg", "pyvenv.cfg is in the environment and in two-1.0"),
        ("x", "two-1.0.data/data/bin/python", "has bin/python, which the environment has"),
        ("x", "two-1.0.data/data/bin/python/x", "but bin/python is a file"),
    ],
)
def test_files_and_folders(tmp_path: Path, first: str, second: str, said: str) -> None:
    """A file cannot be a folder as well, nor take the place of what the environment has."""
    folder = tmp_path / "wheels"
    one = wheel(folder, "one", {first: "1"})
    two = wheel(folder, "two", {second: "2"})
    assert said in refused(tmp_path / "a", one, two)


def test_another_python(tmp_path: Path, hello: Path) -> None:
    """An interpreter that is not the one of the lock is refused."""
    folder = tmp_path / "a"
    build(folder, hello)
    (folder / "spec.json").write_text('{"version": "3.99", "wheels": []}')
    result = subprocess.run(
        [sys.executable, builder.__file__, folder / "spec.json"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "the lock is for Python 3.99, but" in result.stderr
