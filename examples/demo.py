"""The main job, start to end, on real data: `make demo` runs this.

It trains twelve small networks on handwritten digits, keeps the best three, lets them vote, runs it
all again (nothing happens), changes one parameter, exports the result to Nix, and builds it there if
there is Nix. Everything it makes is below `_demo/`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from plxnix import Registry, Store, current_registry, drefcfg, instantiate, rrefbstart

HERE = Path(__file__).parent
DIGITS = "examples/digits.py"
PLACE = Path(os.environ.get("PLXNIX_DEMO", "_demo"))

console = Console(highlight=False)


def main() -> int:
    """Run the demo; return the exit status."""
    os.chdir(HERE.parent)
    PLACE.mkdir(exist_ok=True)
    os.environ["PLXNIX_ROOT"] = str((PLACE / "store").resolve())
    began = time.monotonic()

    say("Train 12 networks, keep the best 3 by validation accuracy, let them vote, draw it")
    plxnix("init")
    plxnix("realize", f"{DIGITS}:report", "--out-link", str(PLACE / "report"))

    say("The twelve runs; the matcher chose those with a star")
    show_runs()

    say("Again: nothing runs, and it says so")
    plxnix("realize", f"{DIGITS}:report")

    say("Change one parameter: what would run, and why")
    plxnix("realize", f"{DIGITS}:report", "--arg", "hidden=24", "--dry-run")

    say("Do it: the data stay, what depends on the parameter runs")
    plxnix("realize", f"{DIGITS}:report", "--arg", "hidden=24", "--out-link", str(PLACE / "report24"))

    say("Hand it to Nix: the data as a fetch, the chosen models as pins, the report as a derivation")
    expression = str(PLACE / "default.nix")
    plxnix("export", f"{DIGITS}:report", "--explain")
    plxnix("export", f"{DIGITS}:report", "-o", expression)
    if shutil.which("nix-build"):
        say("Build it with Nix")
        plxnix("nix", "add", "--target", f"{DIGITS}:report")
        run("nix-build", expression, "--out-link", str(PLACE / "nix-report"))
        run("diff", "-r", str(PLACE / "nix-report"), str(PLACE / "report"))
        console.print("[green]The report that Nix built is the one that plxnix built.[/green]")
    else:
        console.print("There is no nix-build on this machine: the last step is left out.")
    console.print(
        f"\n[bold]Done in {time.monotonic() - began:.0f} s.[/bold] "
        f"Look at {PLACE / 'report' / 'index.html'} and {PLACE / 'report' / 'digits.png'}; "
        f"the expression is {expression}."
    )
    return 0


def say(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n[bold cyan]{text}[/bold cyan]")


def plxnix(*arguments: str) -> None:
    """Run a command of plxnix, shown as a user would type it."""
    run(sys.executable, "-m", "plxnix", *arguments, shown=["plxnix", *arguments])


def run(*command: str, shown: list[str] | None = None) -> None:
    """Run a command and stop the demo if it fails."""
    console.print(f"[dim]$ {' '.join(shown or command)}[/dim]", soft_wrap=True)
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        console.print(f"[red]failed with exit status {status}[/red]")
        raise SystemExit(status)


def show_runs() -> None:
    """Print a table of all realizations of the training stage, best first."""
    sys.path.insert(0, str(HERE))
    store = Store(os.environ["PLXNIX_ROOT"])
    with current_registry(Registry(store)) as registry:
        import digits

        dref = instantiate(digits.train).dref
        derivation = registry.derivations[dref]
    rrefs = store.realizations(dref)
    chosen = derivation.matcher(store, rrefs) or []
    table = Table("", "run", "accuracy", "realized", title=str(derivation.matcher))
    scores = {rref: Path(store.path(rref), "accuracy.txt").read_text().strip() for rref in rrefs}
    for rref in sorted(rrefs, key=lambda one: (scores[one], one), reverse=True):
        when = time.strftime("%H:%M:%S", time.localtime(rrefbstart(rref, store)))
        table.add_row("*" if rref in chosen else "", rref.rhash[:12], scores[rref], when)
    console.print(table)
    console.print(f"hidden = {drefcfg(dref, store)['hidden']}, data shared by all runs")


if __name__ == "__main__":
    raise SystemExit(main())
