"""Which text of a file a stage's hash is of: that which the process runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TEXT = """
from plxnix import autostage

def helper():
    return 1

@autostage
def stage():
    return helper()

def make():
    @autostage
    def late():
        return helper()
    return late
"""
EDITED = TEXT.replace("return 1", "return 2")


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module with stages that was loaded, and then edited."""
    monkeypatch.syspath_prepend(tmp_path)
    file = tmp_path / "stages_that_change.py"
    file.write_text(TEXT)
    yield importlib.import_module(file.stem)
    del sys.modules[file.stem]


def edit(module: ModuleType, text: str) -> None:
    assert module.__file__ is not None
    Path(module.__file__).write_text(f"# Of another size: {len(text)}.\n" * 2 + text)


def fresh(path: Path, text: str) -> Any:
    """Run a text that no one edits, and give its globals."""
    path.write_text(text)
    scope: dict[str, Any] = {"__name__": "fresh", "__file__": str(path)}
    exec(compile(text, str(path), "exec"), scope)  # noqa: S102
    return scope


def test_an_edit_before_the_first_use_does_not_count(module: ModuleType, tmp_path: Path) -> None:
    """A stage is hashed as it was loaded, and so is one that a function makes after the edit."""
    edit(module, EDITED)
    expected = fresh(tmp_path / "fresh.py", TEXT)
    assert module.make().source == expected["make"]().source
    assert module.stage.source == expected["stage"].source


def test_an_edit_counts_after_a_reload(module: ModuleType, tmp_path: Path) -> None:
    """A module that was loaded again is hashed as it is then, used before or not."""
    assert module.stage.source
    for text in (EDITED, EDITED.replace("def stage", "def other")):
        edit(module, text)
        module = importlib.reload(module)
        edit(module, TEXT)
        name = "other" if "other" in text else "stage"
        expected = fresh(tmp_path / "fresh.py", text)[name].source
        assert getattr(module, name).source == expected


def test_a_script_that_is_run_again_in_the_same_globals_is_read_again(tmp_path: Path) -> None:
    """Notebooks run an edited script in the globals of the last run."""
    path = tmp_path / "script.py"
    scope = fresh(path, TEXT)
    first = scope["stage"].source
    path.write_text(EDITED)
    exec(compile(EDITED, str(path), "exec"), scope)  # noqa: S102
    assert scope["stage"].source == fresh(tmp_path / "fresh.py", EDITED)["stage"].source != first


def test_a_later_stage_does_not_read_the_file_again(module: ModuleType) -> None:
    """The file may even be gone."""
    Path(str(module.__file__)).unlink()
    assert module.make().source
