"""The hash of code is the same on every Python that plxnix supports, and stays what it was."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.10", "3.11", "3.12", "3.13")

#: Changing one of these makes every stage of every user stale: do so only on purpose, and say so.
GOLDEN: dict[str, object] = {
    "strings": "4422c490f16f9a68d9c8ee17ef999fd7eacef0ffe4bb7832f3beccd85bbc2cab",
    "everything": "685f95dbef19307ffad5b841ac63b1ef41ca41e282131d271fd910bdf4216e6a",
    "Model": "3b8f656a4e3c79edc9102439555e45b522825ea649c0d1827e6449bccf8e8be0",
    "decorated": "f86f0b26b9621e756fb79d85ccf6c6250385a46e60afb470284315f0fb9769e7",
    "multi": "e029fd492e1443db9fbb8e27f2826e79e7ebb2ef540c876573a5b60db56255cf",
    "letters": "f9c7a31c152af4fb631d12bae27dd0a68c342cfe48451bce79ec8d6ba8c2047e",
    "repeat": "f44e82e98b3c097fce3fadf9575d17d53001ef62f9243635d109a5a9aaecef6a",
    "module": "2d424c2ca15dd37e94bc4827af9ad538782663fbe2f866c627c710beec842b8c",
    "method": "8037b73128844dc41f7a46c03af13f89d4ad1a6262de192a3f5225c8082b5ea7",
    "lambdas": "724246a2c05ba6a598bad4c6002866a9851f54fd3446896628aa04df219b0562",
    "partial": "91503497b3de88513cc8d72cd1569f61f7e7147b82640db6a9c8c1042bb93c0a",
    "values": "573d0484a734f9ab7c58a015ea80e5524e398ceca959150a868ce291eb589fbb",
    "objects": "3701375f7df8a9340585d9f65117a6d887d9ce505608a0b0df050dd90555d4b7",
    "libraries": "c8a4ad724f29e45364670b9be4feebea90435fa16fb9ce981079de759584c18d",
    "cached": "c79d52ef5320fd13470c57b5b700779d656572dc47f0648b199d78075bdf6351",
    "none": "fcdb3a4c15dcbb8b49aae95f7a88cb57635a52c948d9a8e099db63af2f90c651",
}

SAMPLE = '''
"""A module with all that the grammar has, and what versions of Python treat differently."""
from __future__ import annotations

import functools
import os.path as osp
from collections import *
from typing import TYPE_CHECKING

import helpers
from helpers import *
from helpers import scale as scaled

if TYPE_CHECKING:
    from helpers import Unseen

LIMIT, *REST = 1_000, 0x1F, 1e-3, 2j
match_ = {"a": [1, 2,], **{"b": (3,)}}
match_["c"] = "tail" "joined" 'parts'

def strings(x, width=10):
    return [
        'single', "double", """triple
        lines""", r'raw\\d', b'by\\x00tes', u'unicode', 'é\\u00e9\\N{BULLET}', '\\ud800', "\\
continued", f'{x}', F"{x!r:>{width}}", f"{{literal}} {x['key']} é {x:%Y-%m}", rf'\\d{x}',
        f"""{
            x + 1
        } {x = }""", f'a' "b" f"{x}c", f"{x:{'>'}{width}}", f"{'nested'}",
    ]

def everything(a, /, b: "Unseen" = LIMIT, *c: int, d=REST, **e) -> scaled:
    """Document."""
    global state
    state = [y for y in a] if False else {k: v for k, v in e.items() if k}
    try:
        with open(a) as first, (open(b)) as second:
            total = sum(i * scaled(i) for i in range(10) if (z := i) > 2)
    except (OSError, ValueError) as error:
        raise RuntimeError from error
    else:
        total = 0; pass
    finally:
        del total
    match c:
        case [1, *rest] | (1, rest): return rest
        case {"k": value, **others} if value: return others
        case helpers.Base(shared=1) as base: return base
        case _: pass
    lambda q, *r, s=LIMIT, **t: (q, r, s, t)
    async def inner():
        await a; yield [y async for y in a]
        return
    x = a @ b if not a else ~b ** -c // d % 1 << 2 >> 3 & 4 | 5 ^ 6
    x @= 1; x: int = 3; x[1:2, ..., ::3] += 1
    assert a is not b and a not in b or a != b <= c, "why"
    while True: break
    for i, (j, k) in enumerate(a): continue
    return osp.join("a"), OrderedDict(), inner, print(*a, sep="",)

class Model(helpers.Base, metaclass=type):
    """Document."""
    field: int = LIMIT
    "an attribute's document"
    @property
    def value(self): return self.__secret() + everything(self)
    @value.setter
    def value(self, x): super().shared(x)
    def __secret(self):
        # comment

        return __class__
    class Inner:
        @staticmethod
        def deep(): return Model.Inner

def repeat(times):
    def decorate(function):
        @functools.wraps(function)
        def wrapper(*args): return [function(*args) for _ in range(times)]
        return wrapper
    return decorate

@repeat(
    3,
)
def decorated(): return Model().value

def make(held, default=None):
    def closure(x=default): return held, local
    import helpers as local
    return closure

lambdas = [lambda i=i:
           i for i in range(2)] + [lambda: 1, lambda: 2]
multi = (
    lambda x:
        x + LIMIT
)
identiﬁer℘·x = 1
def letters(): return identiﬁer℘·x

for _index in range(2): match_[_index] = _index
'''

HELPERS = """
class Base:
    def shared(self, x=1): return scale(x)
class Unseen: pass
def scale(x):
    return bounded(x) * FACTOR
def bounded(x):
    return scale(x) if x > sample.LIMIT else x
try:
    FACTOR = 2
except (Exception, OSError):
    FACTOR = 3
import sample
"""

PROGRAM = """
import functools, json, pathlib, threading
from plxnix.codehash import codehash, explain
NAMES = ["strings", "everything", "Model", "decorated", "multi", "letters", "repeat"]
found = {name: [globals()[name]] for name in NAMES}
found["module"] = [helpers]
found["method"] = [Model().__init__, Model.value, Model.Inner.deep]
found["lambdas"] = lambdas
found["partial"] = [functools.partial(decorated, 1, [2.5, {"a": None}], k=(b"x", True))]
found["values"] = [make(v) for v in (1, "é\\ud800", {3, 1}, {"b": 1, "a": {2}}, -0.0, 10**20, ...)]
found["objects"] = [make(v) for v in (pathlib.Path("a"), threading.Lock(), len, Model, str.upper)]
found["libraries"] = [json.dumps, pathlib.Path, functools.partial, functools, functools.lru_cache]
found["cached"] = [functools.lru_cache(strings)]
found["none"] = []
hashes = {name: codehash(objects) for name, objects in found.items()}
hashes["explain"] = explain([item for objects in found.values() for item in objects])
print(json.dumps(hashes))
"""


def interpreters() -> dict[str, str]:
    """Find Pythons by version: in pyenv's folder, on PATH, and the one that runs the tests."""
    home = pwd.getpwuid(os.getuid()).pw_dir  # HOME is the test's own
    pyenv = Path(os.environ.get("PYENV_ROOT", f"{home}/.pyenv")) / "versions"
    found = {"{}.{}".format(*sys.version_info): sys.executable}
    for version in VERSIONS:
        installed = sorted(pyenv.glob(f"{version}.*/bin/python"))
        found.setdefault(version, str(installed[-1]) if installed else "")
        found[version] = found[version] or shutil.which(f"python{version}") or ""
    return {version: found[version] for version in VERSIONS}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """Write the sample, and a program that imports it."""
    (tmp_path / "helpers.py").write_text(HELPERS, encoding="utf-8")
    code = f"exec({PROGRAM!r})\n"
    text = f"{SAMPLE}\nif __name__ == '__main__':\n    {code}"
    (tmp_path / "sample.py").write_text(text, encoding="utf-8")
    (tmp_path / "program.py").write_text(f"from sample import *\n{code}", encoding="utf-8")
    return tmp_path


def run(python: str, program: Path, seed: str = "random") -> dict[str, object]:
    """Run a program that prints JSON."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed}
    done = subprocess.run(
        [python, "-W", "ignore", str(program)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def found_or_skipped(version: str) -> str:
    """Give the interpreter of a version, if there is one that starts."""
    python = interpreters()[version]
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [python or "false", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.stdout.strip() != version:
        pytest.skip(f"there is no Python {version}")
    return python


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_gives_the_pinned_hashes(sample: Path, version: str) -> None:
    """Functions, classes, values and libraries hash alike on Python 3.10 to 3.13, for ever."""
    found = run(found_or_skipped(version), sample / "program.py")
    found.pop("explain")
    assert found == GOLDEN


@pytest.mark.parametrize("version", VERSIONS)
def test_running_is_importing(sample: Path, version: str) -> None:
    """A file that is run has the hashes that it has when imported, and covers the same."""
    python = found_or_skipped(version)
    assert run(python, sample / "sample.py") == run(python, sample / "program.py")
