"""Checking environments that were made by hand, with one thing wrong in each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from plxnix.errors import InvalidValue
from plxnix.pyenv.checking import Checkup, check_environment
from plxnix.pyenv.installed import top_modules
from tests.environment_trees import SITE, install, library, make_tree
from tests.waiting import PATIENCE, is_gone, wait_for


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """An environment with `alpha`, which needs `beta`."""
    tree = make_tree(tmp_path / "env")
    install(
        tree, "alpha", {"alpha/__init__.py": "import beta\n"}, headers=["Requires-Dist: Beta>=2"]
    )
    install(tree, "beta", {"beta.py": "value = 1\n"}, version="2.5")
    return tree


def problems(checkup: Checkup, kind: str) -> list[tuple[str, str]]:
    """Return the fatal problems of a kind."""
    return [
        (one.distribution, one.text) for one in checkup.problems if one.kind == kind and one.fatal
    ]


def test_sound_environment(tree: Path) -> None:
    """All is imported, nothing is wrong, and no bytecode is left behind."""
    checkup = check_environment(tree)
    assert checkup.sound
    assert checkup.problems == ()
    assert [(one.name, one.status) for one in checkup.modules] == [
        ("alpha", "imported"),
        ("beta", "imported"),
    ]
    assert [one.name for one in checkup.distributions] == ["alpha", "beta"]
    assert not list(tree.rglob("__pycache__"))


def test_failures_of_imports(tree: Path) -> None:
    """Each failure is told with its reason, however it ends, and the others go on."""
    files = {
        "gamma_raise.py": "raise RuntimeError('no luck')\n",
        "gamma_exit.py": "import sys; sys.exit(3)\n",
        "gamma_print.py": "print('{\"not\": an answer}', flush=True)\n",
    }
    install(tree, "gamma", files)
    install(tree, "kill", {"kill.py": "import os; os.kill(os.getpid(), 11)\n"})
    install(tree, "quit", {"quit_.py": "import os; os._exit(0)\n"})
    checkup = check_environment(tree)
    assert not checkup.sound
    assert problems(checkup, "import") == [
        ("gamma", "import gamma_exit: SystemExit: 3"),
        ("gamma", "import gamma_raise: RuntimeError: no luck"),
        ("kill", "import kill: the interpreter was killed by signal 11"),
        ("quit", "import quit_: the interpreter ended while it was imported"),
    ]
    assert [one.name for one in checkup.modules if one.status == "imported"] == [
        "alpha",
        "beta",
        "gamma_print",
    ]


def test_imports_begin_with_what_is_required(tree: Path, tmp_path: Path) -> None:
    """What several packages require is imported once, unless they fail so; all is told as alone."""
    log = tmp_path / "log"
    counting = f"open({str(log)!r}, 'a').write('once ')\n"
    install(tree, "base", {"base.py": f"{counting}import sys\nsys.poison = 1\n"})
    needs = ["Requires-Dist: base"]
    install(tree, "one", {"one.py": "import base\n"}, headers=needs)
    install(tree, "two", {"two.py": "import base\n"}, headers=["Requires-Dist: one"])
    assert check_environment(tree).sound
    assert log.read_text() == "once "
    poisoned = "import sys\nif hasattr(sys, 'poison'): raise RuntimeError\n"
    install(tree, "three", {"three.py": poisoned}, headers=needs)
    install(tree, "kill", {"kill.py": "import os; os.kill(os.getpid(), 11)\n"})
    install(tree, "four", {"four.py": ""}, headers=["Requires-Dist: kill"])
    checkup = check_environment(tree)
    assert [one.name for one in checkup.modules if one.status != "imported"] == ["kill"]
    assert log.read_text() == "once " * 2


def test_what_modules_leave_running(tree: Path, tmp_path: Path) -> None:
    """Nobody waits for programs that a module has started, nor forks where it has threads."""
    log = tmp_path / "log"
    starts = "import subprocess\nleft = subprocess.Popen(['cat'], stdin=subprocess.PIPE)\n"
    threads = "import threading\nwait = threading.Event().wait\n"
    threads += f"threading.Thread(target=wait, daemon=True).start()\nopen({str(log)!r}, 'a')"
    install(tree, "starts", {"starts.py": starts})
    install(tree, "more", {"more.py": ""}, headers=["Requires-Dist: starts"])
    install(tree, "threaded", {"threaded.py": f"{threads}.write('once ')\n"})
    install(tree, "uses", {"uses.py": "import threaded\n"}, headers=["Requires-Dist: threaded"])
    assert check_environment(tree).sound
    assert log.read_text() == "once " * 2


def test_what_a_base_leaves_behind_when_it_ends(tree: Path, tmp_path: Path) -> None:
    """Its processes may go on beside those that try again: what these find does not mix."""
    ends = "import os, signal\nsignal.signal(signal.SIGCHLD, lambda *_: os._exit(0))\n"
    install(tree, "ends", {"ends.py": ends})
    head = f"import os, sys, time\nos.chdir({str(tmp_path)!r})\nfirst = 'ends' in sys.modules\n"
    head += "tell = lambda name: open(name, 'w').close()\n"
    head += "def wait(name):\n    while not os.path.exists(name): time.sleep(0.01)\n"
    slow = "tell('1' if first else '2')\nif first:\n    wait('2')\n    raise RuntimeError('late')\n"
    files = {"slow_a.py": head + slow, "slow_b.py": f"{head}if first: tell('3')\nwait('3')\n"}
    needs = ["Requires-Dist: ends"]
    install(tree, "fast", {"fast.py": f"{head}if first: wait('1')\n"}, headers=needs)
    install(tree, "slow", files, headers=needs)
    assert check_environment(tree, jobs=2).sound


def test_interrupts_end_what_is_imported(tree: Path, tmp_path: Path) -> None:
    """A module does not take Ctrl-C for a failure of its own, after which others follow."""
    log, there = tmp_path / "log", tmp_path / "there"
    os.mkfifo(log)
    body = f"import os, time\nwith open({str(log)!r}, 'w') as file: file.write(str(os.getpid()))\n"
    body += "time.sleep(900)\n"
    install(tree, "gamma", {"gamma_a.py": body, "gamma_b.py": f"open({str(there)!r}, 'w')\n"})
    code = f"from plxnix.pyenv.checking import check_environment as check; check({str(tree)!r})"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as process:
        number = int(log.read_text())
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE) != 0
    wait_for(lambda: is_gone(number))
    assert not there.exists()


def test_optional_modules_are_skipped(tree: Path) -> None:
    """A module beside others may lack what is not installed; the only one may not."""
    install(tree, "gamma", {"gamma.py": "", "gamma_plugin.py": "import absent.part\n"})
    install(tree, "delta", {"delta.py": "import absent\n"})
    checkup = check_environment(tree)
    (skipped,) = [one for one in checkup.modules if one.status == "skipped"]
    assert (skipped.name, skipped.reason) == (
        "gamma_plugin",
        "it is for absent, which is not installed",
    )
    assert problems(checkup, "import") == [
        ("delta", "import delta: ModuleNotFoundError: No module named 'absent'")
    ]


def test_optional_parts_of_namespaces_and_in_other_words(tree: Path) -> None:
    """What is not installed is told from what is there in its namespace, however it is told."""
    told = (
        "try:\n    import absent\nexcept ImportError:\n    raise ImportError('get it') from None\n"
    )
    files = {"space/one/__init__.py": "", "space/two/__init__.py": "import space.three.part\n"}
    install(tree, "gamma", {**files, "gamma.py": told})
    broken = {"space/four/__init__.py": "import space.one.part\n", "epsilon.py": ""}
    install(tree, "epsilon", broken)
    checkup = check_environment(tree)
    assert [(one.name, one.reason) for one in checkup.modules if one.status == "skipped"] == [
        ("gamma", "it is for absent, which is not installed"),
        ("space.two", "it is for space.three, which is not installed"),
    ]
    assert problems(checkup, "import") == [
        ("epsilon", "import space.four: ModuleNotFoundError: No module named 'space.one.part'")
    ]


def test_interpreter_that_prints_when_it_starts(tree: Path) -> None:
    """A wheel may bring code that runs at each start, and prints."""
    install(tree, "gamma", {"gamma.py": "", "gamma.pth": "import sys; print('hello')\n"})
    checkup = check_environment(tree)
    assert checkup.sound
    assert "gamma" in [one.name for one in checkup.modules if one.status == "imported"]


def test_what_others_do_without(tree: Path) -> None:
    """A package may lack what nobody declares if another needs it, and does without."""
    install(tree, "gamma", {"gamma.py": ""}, headers=["Requires-Dist: Delta (>=1)"])
    install(tree, "delta", {"delta.py": "import absent\n"})
    checkup = check_environment(tree)
    assert checkup.sound
    (warning,) = checkup.problems
    assert (warning.kind, warning.distribution, warning.text) == (
        "import",
        "delta",
        "import delta: it needs absent, which no package has",
    )
    (tree / SITE / "gamma.py").unlink()
    install(tree, "gamma", {"gamma.py": "import delta\n"}, headers=["Requires-Dist: delta"])
    assert problems(check_environment(tree), "import") == [
        ("gamma", "import gamma: ModuleNotFoundError: No module named 'absent'")
    ]


def test_displays_are_not_asked_for(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What needs a display is skipped where there is none."""
    install(tree, "gamma", {"gamma.py": "import os; os.environ['DISPLAY']\n"})
    monkeypatch.delenv("DISPLAY", raising=False)
    (module,) = [one for one in check_environment(tree).modules if one.name == "gamma"]
    assert (module.status, module.reason[:18]) == ("skipped", "it needs a display")


def test_other_platforms(tree: Path) -> None:
    """What says itself that it is not for this platform is skipped; other refusals are not."""
    install(tree, "gamma", {"gamma.py": "raise NotImplementedError('No support for Linux')\n"})
    install(tree, "delta", {"delta.py": "raise NotImplementedError('later')\n"})
    checkup = check_environment(tree)
    (skipped,) = [one for one in checkup.modules if one.status == "skipped"]
    assert (skipped.name, skipped.reason[:30]) == ("gamma", "it is not for this platform: N")
    assert problems(checkup, "import") == [("delta", "import delta: NotImplementedError: later")]


def test_record_is_verified(tree: Path) -> None:
    """Changed, missing and strange files are named; what nobody lists is only mentioned."""
    (tree / SITE / "beta.py").write_text("value = 2\n")
    record = tree / SITE / "alpha-1.0.dist-info/RECORD"
    record.write_text(
        record.read_text()
        + "gone.py,,\nalpha/__init__.py,,3\n../../../../outside,,\nx\n__pycache__/alpha.pyc,,\n"
    )
    (tree / SITE / "stray.py").write_text("")
    checkup = check_environment(tree, imports=False)
    found = problems(checkup, "record")
    assert [name for name, _ in found] == ["alpha"] * 4 + ["beta"]
    texts = " / ".join(text for _, text in found)
    assert f"{SITE}/beta.py has the sha256 " in texts
    assert f"{SITE}/gone.py cannot be read: No such file" in texts
    assert f"{SITE}/alpha/__init__.py has 12 bytes, RECORD says 3" in texts
    assert "'../../../../outside', which is outside" in texts
    assert "RECORD has a line of 1 fields: 'x'" in texts
    (stray,) = [one for one in checkup.problems if not one.fatal]
    assert stray.text == f"1 files are in no distribution's RECORD: {SITE}/stray.py"
    assert checkup.modules == ()


def test_metadata_is_consistent(tree: Path) -> None:
    """Requirements that are not met are told; those of other machines and of extras are not."""
    headers = [
        "Requires-Python: <3",
        "Requires-Dist: beta<2",
        "Requires-Dist: absent>=1",
        'Requires-Dist: winreg; sys_platform == "win32"',
        'Requires-Dist: more; extra == "more"',
        "Requires-Dist: ???",
    ]
    install(tree, "gamma", {"gamma.py": ""}, headers=headers)
    install(tree, "Beta", {"other.py": ""}, version="3.0")
    found = problems(check_environment(tree, imports=False), "metadata")
    running = ".".join(map(str, sys.version_info[:3]))
    assert found == [
        ("beta", "there are two versions, 3.0 and 2.5"),
        ("gamma", f"needs Python <3; this is {running}"),
        ("gamma", "needs beta<2; installed is 2.5"),
        ("gamma", "needs absent>=1, which is not installed"),
        ("gamma", "Requires-Dist is '???'"),
    ]


def test_missing_library_names_its_wheel(tree: Path) -> None:
    """A library that is nowhere is named with the wheel and the file that need it."""
    needs = library(["libgone.so.7", "libcuda.so.1"])
    install(tree, "gamma", {"gamma.py": b"", "gammalib/x.so": needs})
    checkup = check_environment(tree)
    assert checkup.sound
    where = f"{SITE}/gammalib/x.so needs"
    why = "which neither the wheel nor this machine has"
    assert [(one.kind, one.distribution, one.text) for one in checkup.problems] == [
        ("library", "gamma", f"{where} libcuda.so.1, {why} (it comes with a device's driver)"),
        ("library", "gamma", f"{where} libgone.so.7, {why}"),
    ]


def test_no_environment(tmp_path: Path) -> None:
    """A folder that is none, and one whose interpreter is gone, are told apart."""
    with pytest.raises(InvalidValue, match="is no Python environment"):
        check_environment(tmp_path)
    tree = make_tree(tmp_path / "env")
    (tree / "bin/python").unlink()
    (tree / "bin/python").symlink_to("/gone/python")
    with pytest.raises(InvalidValue, match="a link to '/gone/python'"):
        check_environment(tree)


def test_what_a_wheel_brings() -> None:
    """Packages, modules, extensions and the packages of namespaces are imported; data are not."""
    files = [
        "s/one/__init__.py",
        "s/one/sub/__init__.py",
        "s/two.py",
        "s/_three.cpython-311-x86_64-linux-gnu.so",
        "s/four.abi3.so",
        "s/space/five/__init__.py",
        "s/space/five/deep.py",
        "s/space/six.py",
        "s/tests/__init__.py",
        "s/one.libs/libx.so",
        "s/data/readme.txt",
        "s/data/lib/other.so",
        "s/libnine.so",
        "s/ten.so",
        "s/docs/conf.py",
        "s/space/eight.abi3.so",
        "s/seven/__init__.pyi",
        "s/not-a-name.py",
        "bin/script.py",
    ]
    found = top_modules(files, "s")
    assert found == [
        "_three",
        "four",
        "one",
        "space.eight",
        "space.five",
        "space.six",
        "ten",
        "two",
    ]
