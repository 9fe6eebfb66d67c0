"""Tests for `plxnix mdrun` and plxnix.mdrun.document."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from plxnix.errors import CodeHashError
from plxnix.mdrun import evaluate_document
from plxnix.mdrun.sections import BEGIN, END
from plxnix.store import Store
from tests.command_line import CommandLine

DOCUMENT = """\
# Squares

```python
import math
print("once")
a = 3
```

```sh
echo "from a shell" >&2; echo "$PWD" >place
```

```python
def square(x):
    return x * x

square(a)
```
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store for the results of sections."""
    return Store.init(tmp_path / "cache")


def outputs(text: str) -> list[str]:
    """Return the outputs in a document."""
    return re.findall(f"{BEGIN}\n```text\n(.*?)\n```\n{END}", text, re.DOTALL)


def test_sections_share_an_interpreter(store: Store, tmp_path: Path) -> None:
    """Names live on from section to section; the last value is shown; shells run in the folder."""
    result = evaluate_document(DOCUMENT, store, tmp_path)
    assert outputs(result.text) == ["once", "from a shell", "9"]
    assert (result.ran, result.kept, result.failure) == (3, 0, None)
    assert (tmp_path / "place").read_text() == f"{tmp_path}\n"


def test_what_follows_a_change_runs_again(store: Store, tmp_path: Path) -> None:
    """Unchanged, nothing runs; after a change, that section and those below it, with the state."""
    first = evaluate_document(DOCUMENT, store, tmp_path)
    again = evaluate_document(first.text, store, tmp_path)
    assert (again.ran, again.kept, again.text) == (0, 3, first.text)
    changed = evaluate_document(DOCUMENT.replace("x * x", "x ** 3"), store, tmp_path)
    assert (changed.ran, changed.kept) == (1, 2)
    assert outputs(changed.text) == ["once", "from a shell", "27"]
    early = evaluate_document(DOCUMENT.replace("a = 3", "a = 4"), store, tmp_path)
    assert (early.ran, early.kept, outputs(early.text)[-1]) == (3, 0, "16")


def test_modules_beside_the_document_count(store: Store, tmp_path: Path) -> None:
    """What imports a changed module runs again, with what follows; comments do not count."""
    document = "```py\n1\n```\n```py\nimport helper\n```\n```py\nhelper.double(2)\n```\n"
    (tmp_path / "deeper.py").write_text("FACTOR = 2\n")
    (tmp_path / "helper.py").write_text(
        "from deeper import FACTOR\n\ndef double(x):\n    return FACTOR * x\n"
    )

    def evaluated() -> tuple[int, int, str]:
        result = evaluate_document(document, store, tmp_path)
        return result.ran, result.kept, outputs(result.text)[-1]

    assert evaluated() == (3, 0, "4")
    (tmp_path / "deeper.py").write_text("# as it is\nFACTOR = 2\n")
    assert evaluated() == (0, 3, "4")
    (tmp_path / "deeper.py").write_text("FACTOR = 10\n")
    assert evaluated() == (2, 1, "20")


def test_files_that_are_named_count(store: Store, tmp_path: Path) -> None:
    """What reads a file that has changed runs again, with what follows; one has to be there."""
    document = "```py\n1\n```\n<!-- mdrun: reads data -->\n```py\nprint(open('data').read())\n```\n"
    with pytest.raises(CodeHashError, match=r"data.*cannot be read"):
        evaluate_document(document, store, tmp_path)
    for content in ("old", "new"):
        (tmp_path / "data").write_text(content)
        result = evaluate_document(document, store, tmp_path)
        assert outputs(result.text) == ["1", content]
        assert evaluate_document(document, store, tmp_path).ran == 0
    assert (result.ran, result.kept) == (1, 1)


def test_restart_runs_all(store: Store, tmp_path: Path) -> None:
    """With `restart`, sections run whatever is kept, and the new results are shown."""
    counter = (
        '```python\nfrom pathlib import Path\np = Path("n")\np.write_text(p.read_text() + "i")'
    )
    text = f"{counter}\nprint(p.read_text())\n```\n"
    (tmp_path / "n").write_text("")
    assert outputs(evaluate_document(text, store, tmp_path).text) == ["i"]
    assert outputs(evaluate_document(text, store, tmp_path).text) == ["i"]
    assert outputs(evaluate_document(text, store, tmp_path, restart=True).text) == ["ii"]


def test_a_failure_lands_in_the_document(store: Store, tmp_path: Path) -> None:
    """The traceback begins in the section; sections below have no output; nothing of it is kept."""
    text = "```python\nx = 1\nx\n```\n\n```python\nx / 0\n```\n\n```python\nprint(3)\n```\n"
    result = evaluate_document(text, store, tmp_path)
    assert result.failure is not None
    assert "section 2 (line 6) failed" in result.failure.message
    one, two = outputs(result.text)
    assert one == "1"
    assert two.splitlines()[:3] == [
        "Traceback (most recent call last):",
        '  File "<section 2>", line 1, in <module>',
        "    x / 0",
    ]
    assert two.endswith("ZeroDivisionError: division by zero")
    assert evaluate_document(result.text, store, tmp_path).kept == 1


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("if", "SyntaxError"),
        ("raise SystemExit('bye')", "bye"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_code_that_cannot_run_or_exits_fails(
    store: Store, tmp_path: Path, code: str, said: str
) -> None:
    """A syntax error and an exit with a status are failures of their section."""
    result = evaluate_document(f"```py\n{code}\n```\n", store, tmp_path)
    assert result.failure is not None
    assert said in "".join(outputs(result.text))


def test_tracebacks_hold_the_authors_own_code(store: Store, tmp_path: Path) -> None:
    """Frames of libraries are left out of tracebacks, of causes as well."""
    text = (
        "```py\nimport json\ntry:\n    json.loads('{')\nexcept ValueError as error:\n"
        "    raise KeyError('no') from error\n```\n"
    )
    (shown,) = outputs(evaluate_document(text, store, tmp_path).text)
    assert re.findall('File "(.*?)"', shown) == ["<section 1>", "<section 1>"]
    assert "JSONDecodeError" in shown
    assert shown.endswith("KeyError: 'no'")


def test_raises_turns_the_meaning_of_failure(store: Store, tmp_path: Path) -> None:
    """A section that has to fail is fine if it fails, and an error if it does not."""
    mark = "<!-- mdrun: raises -->\n"
    fine = evaluate_document(f"{mark}```sh\nls /nowhere/at/all\n```\n", store, tmp_path)
    assert fine.failure is None
    assert "/nowhere/at/all" in outputs(fine.text)[0]
    result = evaluate_document(f"{mark}```py\nprint(1)\n```\n", store, tmp_path)
    assert result.failure is not None
    assert "was to fail and did not" in result.failure.message
    assert outputs(result.text) == [f"1\n{result.failure.message}"]
    result = evaluate_document("```sh\nexit 3\n```\n", store, tmp_path)
    assert outputs(result.text) == ["exit status 3"]


def test_an_interpreter_that_dies_is_a_failure(store: Store, tmp_path: Path) -> None:
    """A section that ends the process is named, with what it had printed."""
    text = "```py\nimport os\nprint('last words', flush=True)\nos._exit(5)\n```\n"
    result = evaluate_document(text, store, tmp_path)
    assert result.failure is not None
    assert "exit status 5" in result.failure.message
    assert outputs(result.text) == ["last words\nsection 1 ended its interpreter: exit status 5"]


def test_stages_work_in_sections(store: Store, tmp_path: Path) -> None:
    """The code of stages is found in sections, and a change in another section counts."""
    text = (
        "```python\nfrom plxnix import *\nfsinit('s')\nfactor = 2\n```\n\n"
        "```python\n@autostage(out=[selfref, 'x'])\ndef one(out):\n"
        "    out.write_text(str(factor))\n\n"
        "rref = realize(instantiate(one))\nprint(mklens(rref).out.syspath.read_text())\n```\n"
    )
    result = evaluate_document(text, store, tmp_path)
    assert result.failure is None, result.text
    assert outputs(result.text) == ["2"]
    changed = evaluate_document(text.replace("factor = 2", "factor = 3"), store, tmp_path)
    assert outputs(changed.text) == ["3"]


def test_figures_and_pictures_are_shown(store: Store, tmp_path: Path) -> None:
    """Open figures, objects with a picture of their own and paths of pictures become files."""
    text = (
        "```python\nimport matplotlib.pyplot as plt\nplt.figure()\nplt.plot([1, 2])\n"
        "```\n\n```python\nclass Red:\n  def _repr_svg_(self):\n    return '<svg/>'\nRed()\n"
        "```\n\n```python\nfrom pathlib import Path\nPath('old.png').write_bytes(b'x')\n"
        "Path('old.png')\n```\n"
    )
    pictures = tmp_path / "doc_files"
    result = evaluate_document(text, store, tmp_path, pictures)
    assert outputs(result.text) == [], result.text
    assert re.findall(r"!\[(.*?)\]\((.*?)\)", result.text) == [
        ("section 1", "doc_files/section-1-001.png"),
        ("section 2", "doc_files/section-2-001.svg"),
        ("section 3", "doc_files/section-3-001.png"),
    ]
    assert (pictures / "section-1-001.png").read_bytes().startswith(b"\x89PNG")
    assert (pictures / "section-2-001.svg").read_text() == "<svg/>"
    assert (pictures / "section-3-001.png").read_bytes() == b"x"
    (pictures / "section-2-001.svg").unlink()
    (pictures / "section-4-001.png").touch()
    (pictures / "section-4.png").touch()
    evaluate_document(text, store, tmp_path, pictures)
    assert (pictures / "section-2-001.svg").read_text() == "<svg/>"
    assert not (pictures / "section-4-001.png").exists()
    assert (pictures / "section-4.png").exists()


def test_long_output_is_cut(store: Store, tmp_path: Path) -> None:
    """Of a long output the head and the tail are shown."""
    text = "```py\nfor i in range(100000):\n    print(i)\n```\n"
    (shown,) = outputs(evaluate_document(text, store, tmp_path).text)
    assert shown.startswith("0\n1\n")
    assert shown.endswith("99998\n99999")
    assert "bytes left out" in shown
    assert len(shown) < 100_000


def test_the_command_writes_a_document(plxnix: CommandLine) -> None:
    """OUT.md is written; the second time nothing runs; IN.md changes only in place."""
    plxnix.file(DOCUMENT, "in.md")
    first = plxnix.ok("mdrun", "in.md", "out.md")
    assert outputs(Path("out.md").read_text())[-1] == "9"
    assert "3 sections ran, 0 results kept" in first.err
    assert "0 sections ran, 3 results kept" in plxnix.ok("mdrun", "in.md", "out.md").err
    assert Path("in.md").read_text() == DOCUMENT
    plxnix.ok("mdrun", "--in-place", "in.md")
    assert Path("in.md").read_text() == Path("out.md").read_text()


def test_the_command_fails_with_the_document_written(plxnix: CommandLine) -> None:
    """The exit status is 1 after a failure, and OUT.md holds the traceback."""
    plxnix.file("```py\nboom\n```\n", "in.md")
    assert "section 1 (line 1) failed" in plxnix.fails("mdrun", "in.md", "out.md")
    assert "NameError" in Path("out.md").read_text()


def test_bad_input_is_refused(plxnix: CommandLine, tmp_path: Path) -> None:
    """No output, a missing or undecodable document and a missing folder are clear errors."""
    plxnix.file("text", "in.md")
    assert plxnix("mdrun", "in.md").status == 2
    assert "missing.md" in plxnix.fails("mdrun", "missing.md", "out.md")
    assert "no folder" in plxnix.fails("mdrun", "in.md", "out.md", "-C", "missing")
    (tmp_path / "bad.md").write_bytes(b"\xff")
    assert "not UTF-8" in plxnix.fails("mdrun", "bad.md", "out.md")
    assert not (tmp_path / "out.md").exists()
    assert "is a folder" in plxnix.fails("mdrun", "in.md", os.fspath(tmp_path))


def test_a_pipe_is_written_to(plxnix: CommandLine, tmp_path: Path) -> None:
    """OUT.md may be a device or a pipe: it is neither read nor replaced, nor gets pictures."""
    plxnix.file(
        "```py\nclass Red:\n  def _repr_svg_(self):\n    return '<svg/>'\nRed()\n```\n", "in.md"
    )
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        plxnix.ok("mdrun", "in.md", "pipe")
        assert b"![section 1](/" in os.read(reader, 10_000)
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert not (tmp_path / "pipe_files").exists()


def test_streams_are_read_and_written(tmp_path: Path) -> None:
    """With - the document comes from standard input and goes to standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "plxnix", "-q", "mdrun", "-", "-"],
        input=b"```py\n6 * 7\n```\n",
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert outputs(done.stdout.decode()) == ["42"]


def test_pure_stages_in_sections(store: Store, tmp_path: Path) -> None:
    """A pure stage goes with what other sections define, as these names stand when it is used."""
    result = evaluate_document(
        "```py\nfrom plxnix import *\nfsinit('pure')\nRATE = 2\n```\n"
        "```py\ndef helper(x):\n    return x * RATE\n```\n"
        "```py\n@autostage(pure=True, out=[selfref, 'y'])\ndef stage(out):\n"
        "    out.write_text(str(helper(3)))\n```\n"
        "```py\n(rref2path(realize(instantiate(stage))) / 'y').read_text()\n```\n"
        "```py\nRATE = 5\n(rref2path(realize(instantiate(stage))) / 'y').read_text()\n```\n",
        store,
        tmp_path,
    )
    assert result.failure is None, result.text
    assert outputs(result.text)[-2:] == ["'6'", "'15'"]
