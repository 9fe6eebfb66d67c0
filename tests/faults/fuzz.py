"""Fuzz every reader of foreign input, guided by what code it reaches; exit 1 if any of them fails.

python tests/faults/fuzz.py                               all readers, 20 s each
python tests/faults/fuzz.py --only nar --only elf --seconds 600
python tests/faults/fuzz.py --only nar --input FILE       read one file, such as one that was kept

Only errors of plxnix may come out, within bounds of time and memory. Needs the extra `fuzz`.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]

if __name__ == "__main__":  # Run as a program, it finds its neighbours from the top.
    sys.path[0] = str(TOP)

#: What one input may cost: seconds, and the whole process in megabytes.
BOUNDS = ("-timeout=10", "-rss_limit_mb=1024", "-max_len=32768")

#: The longest word of a dictionary, in bytes; long pieces to start from would slow all down.
SHORT = 40

#: What is watched: the package, and what it reads with; not markdown_it, which is a hundred times
#: slower when it is watched.
WATCHED = ["plxnix", "html", "packaging", "tarfile", "tomllib", "zipfile"]

#: Where inputs that fail are kept.
KEPT = TOP / "build" / "fuzz"


def main() -> int:
    """Fuzz the readers that are asked for, each in a process of its own, and print a table."""
    from tests.faults.readers import READERS

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", action="append", choices=READERS, metavar="NAME", default=[])
    parser.add_argument("--seconds", type=int, default=20, help="how long, for each reader")
    parser.add_argument("--input", type=Path, metavar="FILE", help="read it, and fuzz nothing")
    arguments = parser.parse_args()
    names = arguments.only or list(READERS)
    if arguments.input is not None:
        for name in names:
            print(f"{name}: {READERS[name].read(arguments.input.read_bytes())!r:.1000}")
        return 0
    if find_spec("atheris") is None:
        print("atheris is not installed: `make fuzz` does it, or the extra `fuzz`", file=sys.stderr)
        return 2
    good = [run(name, READERS[name].samples(), arguments.seconds) for name in names]
    print("all is as it must be" if all(good) else "NOT all is as it must be")
    return 0 if all(good) else 1


def run(name: str, samples: Iterable[bytes], seconds: int) -> bool:
    """Fuzz one reader, print its row; keep the input that it fails on."""
    from plxnix.store import tree
    from tests.faults.readers import PIECES

    # In memory, if that can be: most of what an input costs is making and removing its folder.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = tempfile.mkdtemp(prefix="plxnix-fuzz-", dir=memory)
    try:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        seeds = [*samples, *(piece for piece in PIECES if len(piece) <= SHORT)]
        for number, data in enumerate(seeds):
            (corpus / f"{number}").write_bytes(data)
        Path(folder, "words").write_text("".join(words(seeds)))
        child = subprocess.run(
            [sys.executable, __file__, "--inside", name, folder, str(seconds)],
            env=_environment(folder),
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        said = child.stdout + child.stderr
        count, speed = (_number(said, key) for key in ("number_of_executed_units", "exec_per_sec"))
        good = child.returncode == 0 and count > 0
        print(
            f"{'ok' if good else 'WRONG':5} {name:13} {count:9} executions {speed:6} a second"
            f" {max(map(int, re.findall(r'cov: ([0-9]+)', said)), default=0):6} places reached",
            flush=True,
        )
        if not good:
            _tell(name, Path(folder), said)
        return good
    finally:
        tree.remove(folder)


def _environment(folder: str) -> dict[str, str]:
    """Return the environment of a fuzzer that leaves nothing outside of its folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PLXNIX_")}
    (Path(folder) / "tmp").mkdir()
    return {**kept, "HOME": folder, "TMPDIR": f"{folder}/tmp"}


def _number(said: str, key: str) -> int:
    found = re.search(rf"stat::(?:average_)?{key}:\s+([0-9]+)", said)
    return int(found[1]) if found else 0


def _tell(name: str, folder: Path, said: str) -> None:
    """Print why a reader failed, and where the input is."""
    start = max(said.find("Uncaught Python exception"), 0)
    lines = [line for line in said[start:].splitlines() if "INFO: Instrumenting" not in line]
    lines = lines[:40] if start else lines[-40:]
    print("".join(f"      {line:.300}\n" for line in lines), end="")
    for found in folder.glob("wrong-*"):
        KEPT.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(found, KEPT / f"{name}-{found.name[6:]}")
        print(f"      --only {name} --input {KEPT / f'{name}-{found.name[6:]}'}", flush=True)


def words(samples: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a dictionary for libFuzzer: words of the samples, and all short ones."""
    found: dict[bytes, None] = {}
    for data in samples:
        if len(data) <= SHORT:
            found[data] = None
        found.update(dict.fromkeys(re.findall(rb"[A-Za-z0-9_:./=+-]{2,40}", data)[:200]))
    for word in found:
        if word:
            yield '"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n'


def fuzz(name: str, folder: str, seconds: str) -> None:
    """Fuzz one reader in this process, which ends in here."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=WATCHED):
        from plxnix.errors import PlxnixError
        from tests.faults.readers import READERS

        reader = READERS[name]
        for sample in reader.samples():  # It imports whatever it needs.
            reader.read(sample)

    def one(data: bytes) -> None:
        with suppress(PlxnixError):
            reader.read(data)

    options = (f"-max_total_time={seconds}", f"-dict={folder}/words", "-print_final_stats=1")
    places = (f"-artifact_prefix={folder}/wrong-", f"{folder}/corpus")
    atheris.Setup([sys.argv[0], *BOUNDS, *options, *places], one)
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        fuzz(*sys.argv[2:])
    else:
        sys.exit(main())
