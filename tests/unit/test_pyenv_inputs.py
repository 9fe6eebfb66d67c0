"""What locks of Python environments are made from, and how it is written into them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plxnix.errors import InvalidLock, InvalidValue
from plxnix.pyenv.inputs import Inputs
from plxnix.pyenv.snapshot import copy_sources, sources_hash
from plxnix.pyenv.toml import loads, rows, table

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_PLAIN = st.one_of(_TEXT, st.booleans(), st.integers(-(2**60), 2**60))
_VALUE = st.one_of(_PLAIN, st.lists(_PLAIN, max_size=3), st.dictionaries(_TEXT, _PLAIN, max_size=2))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the standard library reads no TOML")
@given(
    st.dictionaries(_TEXT, _VALUE, max_size=4),
    st.lists(st.dictionaries(_TEXT, _PLAIN, min_size=1), min_size=1, max_size=2),
)
def test_toml_is_read_as_it_was_written(content: dict[str, object], many: list[object]) -> None:
    """Whatever is written is read again: strings with any character, tables, and rows of them."""
    whole = {**content, "rows": rows(many)}  # type: ignore[arg-type]
    read = loads(table("tool.plxnix", whole), "this")
    assert read == {"tool": {"plxnix": {**content, "rows": many}}}


def test_inputs_are_kept_as_they_are() -> None:
    """What a lock keeps of its inputs gives the same inputs."""
    inputs = Inputs(
        requirements=("a>=1 ; python_version < '4'", "../lib"),
        files=("../requirements.txt",),
        constraints=("c.txt",),
        extras=("x",),
        groups=("g",),
        python="3.12",
        platforms=("x86_64-linux", "aarch64-darwin"),
        universal=True,
        exclude_newer="2024-01-01",
        providers={"_default": "wheel"},
        collisions=("lib/*/tests/*",),
    )
    above = {"python": inputs.python, "platforms": list(inputs.platforms)}
    assert Inputs.from_table({**inputs.table(), **above}, "x") == inputs


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"requirements": "a"},
        {"requirements": [1]},
        {"requirements": ["-e ."]},
        {"requirements": ["a\nb"]},
        {"files": ["--index-url"]},
        {"requirements": ["a @ https://me:pw@h/a-1.tar.gz"]},
        {"requirements": ["a @ git+http://token@h/a"]},
        {"requirements": ["a @ git+ssh://me:pw@h/a"]},
        {"requirements": ["a"], "universal": "yes"},
        {"requirements": ["a"], "python": 3},
        {"requirements": ["a"], "python": "2.7"},
        {"requirements": ["a"], "platforms": ["vax"]},
        {"requirements": ["a"], "platforms": []},
        {"requirements": ["a"], "providers": {"a": 1}},
        {"requirements": ["a"], "collisions": "*"},
        {"requirements": ["a"], "collisions": ["/etc/*"]},
        {"requirements": ["a"], "collisions": ["a\nb"]},
        {"requirements": ["a"], "files": ["pylock.toml"]},
    ],
)
def test_inputs_edited_by_hand(wrong: dict[str, object]) -> None:
    """A table of inputs that is not as it was written is an error of the lock; no option of uv."""
    with pytest.raises(InvalidLock, match=r"\[tool.plxnix.inputs\]") as raised:
        Inputs.from_table(wrong, "pylock.toml")
    assert "pw" not in str(raised.value)
    assert "token" not in str(raised.value)


def test_user_of_ssh_is_no_secret() -> None:
    """The user that ssh addresses have is a part of the address."""
    one = "a @ git+ssh://git@example.org/a"
    assert Inputs(requirements=(one,)).requirements == (one,)


def test_names_and_hashes_of_files(tmp_path: Path) -> None:
    """Names and hashes are found in files that include others, with comments and options."""
    digest = "ab" * 32
    (tmp_path / "more").mkdir()
    (tmp_path / "a.txt").write_text(
        "# a comment\n-r more/b.txt\n--index-url https://x\n-c c.txt\n"
        f"One.One[extra]>=1  # why\ntwo==2 \\\n  --hash=sha256:{digest} \\\n  --hash=md5:00\n"
        "./local\nhttps://h/x.whl\nfive @ https://h/five-1.tar.gz#egg=five\n"
    )
    (tmp_path / "more" / "b.txt").write_text("-r d.txt\nthree ; python_version < '3'\n")
    (tmp_path / "more" / "d.txt").write_text("four\r\n")
    inputs = Inputs(requirements=("zero>1",), files=("a.txt",))
    names = {"zero", "one-one", "two", "three", "four", "five"}
    assert inputs.requested(tmp_path) == names
    assert inputs.hashes(tmp_path) == {"two": {digest}}


def test_mark_of_bytes_is_no_part_of_a_name(tmp_path: Path) -> None:
    """The first line counts too in a file that begins with a byte order mark."""
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert Inputs(files=("a.txt",)).requested(tmp_path) == {"one", "two"}


def test_hash_that_is_not_compared(tmp_path: Path) -> None:
    """A requirement with other hashes than sha256 alone is refused, and not left unchecked."""
    (tmp_path / "a.txt").write_text("one==1 --hash=sha512:00 --hash=md5:00\n")
    with pytest.raises(InvalidValue, match="one has a hash that nothing is compared with: sha512"):
        Inputs(files=("a.txt",)).hashes(tmp_path)


def test_names_of_projects(tmp_path: Path) -> None:
    """Extras and groups count however they are spelled; groups have what they include."""
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["one"]\n'
        '[project.optional-dependencies]\nMy_Extra = ["two"]\nother = ["no"]\n'
        '[dependency-groups]\nTest = ["three", {include-group = "lint.er"}]\n'
        'lint-er = ["four", {include-group = "test"}]\n'
    )
    inputs = Inputs(files=("pyproject.toml",), extras=("my-extra",), groups=("test",))
    assert inputs.requested(tmp_path) == {"one", "two", "three", "four"}


def test_files_of_no_project(tmp_path: Path) -> None:
    """A `pyproject.toml` of no project is there for its groups alone."""
    file = tmp_path / "pyproject.toml"
    file.write_text('[dependency-groups]\ndev = ["one"]\n')
    inputs = Inputs(files=("pyproject.toml",), groups=("dev",))
    assert inputs.sources(tmp_path) == ([], "")
    assert inputs.options(tmp_path)[-2:] == ["--group", "./pyproject.toml:dev"]
    with pytest.raises(InvalidValue, match="of no project"):
        Inputs(files=("pyproject.toml",)).sources(tmp_path)
    file.write_text('[project]\nname = "a"\nversion = "1"\n[dependency-groups]\ndev = ["one"]\n')
    assert inputs.sources(tmp_path) == (["./pyproject.toml"], "")


def test_files_at_urls(tmp_path: Path) -> None:
    """Requirements and constraints may be at URLs, which uv reads; locks and projects may not."""
    url = "https://example.org/c.txt"
    inputs = Inputs(files=(url,), constraints=(url,))
    assert inputs.base(tmp_path) == tmp_path
    assert inputs.sources(tmp_path) == ([url], "")
    assert inputs.options(tmp_path)[-2:] == ["--constraints", url]
    assert inputs.requested(tmp_path) == set()
    for name in ("pylock.toml", "uv.lock", "pyproject.toml"):
        with pytest.raises(InvalidValue, match="download it"):
            Inputs(files=(f"https://example.org/{name}",))


@pytest.mark.parametrize("name", ["poetry.lock", "Pipfile", "pdm.lock", "environment.yml"])
def test_files_of_other_tools(name: str) -> None:
    """What is not read is told by its name, with what to give instead."""
    with pytest.raises(InvalidValue, match="not read") as caught:
        Inputs(files=(f"../{name}",))
    assert "give" in caught.value.hint


def test_where_files_say_that_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option is there once, with its long name; folders are seen from the file that has it."""
    monkeypatch.setenv("WHEELS_THERE", "wheels")
    (tmp_path / "more").mkdir()
    (tmp_path / "a.txt").write_text(
        "-r more/b.txt\n-i https://x/simple\n-f https://x/links\n--pre\none\n--no-index  # why\n"
    )
    (tmp_path / "more" / "b.txt").write_text(
        "--index-url=https://x/simple\n--find-links ./wheels\n-f ${WHEELS_THERE}\n"
        "--extra-index-url https://y\n"
    )
    assert Inputs(files=("a.txt",)).indexes(tmp_path).splitlines() == [
        "--index-url https://x/simple",
        f"--find-links {tmp_path}/more/wheels",
        "--extra-index-url https://y",
        "--find-links https://x/links",
        "--no-index",
    ]
    (tmp_path / "pyproject.toml").write_text("")
    assert Inputs(files=("pyproject.toml", "https://h/r.txt")).indexes(tmp_path) == ""


def test_files_that_include_themselves(tmp_path: Path) -> None:
    """A circle of requirements files ends in an error."""
    (tmp_path / "a.txt").write_text("-r a.txt\n")
    with pytest.raises(InvalidValue, match="include"):
        Inputs(files=("a.txt",)).requested(tmp_path)


def test_paths_are_seen_from_the_first_file(tmp_path: Path) -> None:
    """The resolver runs in the folder of the first file, and sees everything else from there."""
    (tmp_path / "env").mkdir()
    (tmp_path / "sub").mkdir()
    for name in ("sub/r.txt", "c.txt"):
        (tmp_path / name).write_text("")
    inputs = Inputs(
        requirements=("../lib", "a"), files=("../sub/r.txt",), constraints=("../c.txt",)
    )
    folder = tmp_path / "env"
    assert inputs.base(folder).resolve() == tmp_path / "sub"
    assert inputs.sources(folder) == (["./r.txt", "-"], "../lib\na\n")
    assert "../c.txt" in inputs.options(folder)
    with pytest.raises(InvalidValue, match="there is no file"):
        Inputs(files=("gone.txt",)).options(folder)


def git(folder: Path, *arguments: str) -> None:
    """Run git in a folder."""
    subprocess.run(["git", "-C", folder, *arguments], check=True, capture_output=True)


def test_sources_of_a_clone_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What git ignores is no source, in submodules too; what it would add is one."""
    top = tmp_path / "top"
    source = top / "lib"
    inner = source / "inner"
    for one in (top, inner):
        one.mkdir(parents=True)
        git(one, "init", "-q")
    for name in ("a.py", "inner/b.py", "gone.py", "\u00e9 \n.py"):
        (source / name).write_text("")
    (source / "link").symlink_to("inner")
    (inner / ".gitignore").write_text("*.o\n")
    (top / ".gitignore").write_text("build/\n*.log\n!keep.log\n")
    git(source, "add", "a.py", "gone.py")
    (source / "gone.py").unlink()
    (source / "keep.log").write_text("")
    before = sources_hash(source)
    for residue in ("build/lib/a.py", "x.log", "inner/b.o", "inner/__pycache__/b.pyc", "empty/."):
        (source / residue).parent.mkdir(parents=True, exist_ok=True)
        if not residue.endswith("."):
            (source / residue).write_text("")
    monkeypatch.setenv("GIT_DIR", str(inner / ".git"))
    assert sources_hash(source) == before
    copy_sources(source, tmp_path / "copy")
    assert sorted(
        str(one.relative_to(tmp_path / "copy")) for one in tmp_path.rglob("copy/**/*")
    ) == [*("a.py", "inner", "inner/.gitignore", "inner/b.py", "keep.log", "link", "\u00e9 \n.py")]


@pytest.mark.parametrize("why", ["no git", "all ignored", "a copy"])
def test_sources_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """Where git cannot tell what the sources are, all count that are no residue by their names."""
    source = tmp_path / "source"
    source.mkdir()
    git(tmp_path, "init", "-q")
    for name in ("a.py", "a.pyc", "b.log"):
        (source / name).write_text("")
    (tmp_path / ".gitignore").write_text("source/\n" if why == "all ignored" else "*.log\n")
    if why == "no git":
        monkeypatch.setenv("PATH", "")
    copy_sources(source, tmp_path / "copy", by_git=why != "a copy")
    assert sorted(one.name for one in (tmp_path / "copy").iterdir()) == ["a.py", "b.log"]


def test_sources_are_what_is_no_residue(tmp_path: Path) -> None:
    """The hash of sources knows names, modes and links, and nothing that building leaves."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("1\n")
    (source / "link").symlink_to("/nowhere")
    before = sources_hash(source)
    for residue in ("__pycache__", ".git", "x.egg-info"):
        (source / residue).mkdir()
        (source / residue / "x").write_text("")
    (source / "a.pyc").write_text("")
    assert sources_hash(source) == before
    copy_sources(source, tmp_path / "copy")
    assert sorted(one.name for one in (tmp_path / "copy").iterdir()) == ["a.py", "link"]
    (source / "a.py").chmod(0o755)
    assert sources_hash(source) != before
