"""The main job, start to end, on real data: `make demo` runs this.

It trains twelve small networks on handwritten digits, keeps the best three, lets them vote, runs it
all again (nothing happens), changes one parameter, exports the result to Nix, and builds it there
if there is Nix. Everything it makes is below `_demo/`; a second run finds most of it done.
"""

from __future__ import annotations

import grp
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from plxnix import Registry, Store, current_registry, drefcfg, instantiate, rrefbstart

HERE = Path(__file__).resolve().parent
REPORT = "examples/digits.py:report"
PLACE = Path(os.environ.get("PLXNIX_DEMO", "_demo"))

#: Where the Nix daemon listens.
DAEMON = "/nix/var/nix/daemon-socket/socket"

#: What Nix needs to build as root without a daemon and without users of its own to build as. The
#: user's own configuration stays as it is.
ALONE = "build-users-group =\nsandbox = false\nsubstituters =\n"

#: Nothing of this demo is in a binary cache, so none need be asked.
OFFLINE = ("--option", "substitute", "false")

#: Whether Nix can build with this machine's own programs, as the demo's export has it, now.
PROBE = """\
derivation {
  name = "plxnix-demo-probe";
  system = builtins.currentSystem;
  builder = "/bin/bash";
  args = [ "-c" "echo yes > $out" ];
  now = builtins.currentTime;
}
"""

console = Console(highlight=False)


def main() -> int:
    """Run the demo; return the exit status."""
    os.chdir(HERE.parent)
    PLACE.mkdir(parents=True, exist_ok=True)
    os.environ["PLXNIX_ROOT"] = str((PLACE / "store").resolve())
    # It keeps a list of the machine's fonts, which belongs here too.
    os.environ.setdefault("MPLCONFIGDIR", str((PLACE / "matplotlib").resolve()))
    began = time.monotonic()

    say("1. Train 12 networks, keep the best 3 by validation accuracy, let them vote, draw it")
    plxnix("init")
    plxnix("realize", REPORT, "--out-link", str(PLACE / "report"))

    say("2. The twelve runs; the matcher chose those with a star")
    show_runs()

    say("3. Ask for the same again: nothing runs, and it says so")
    plxnix("realize", REPORT)

    say("4. Change one parameter: what would run, and why")
    plxnix("realize", REPORT, "--arg", "hidden=24", "--dry-run")

    say("5. Do it: the data stay, what depends on the parameter runs")
    plxnix("realize", REPORT, "--arg", "hidden=24", "--out-link", str(PLACE / "report-24"))

    say("6. Hand it to Nix: results of Python code go as pins, the report as a derivation")
    expression = PLACE / "default.nix"
    plxnix("export", REPORT, "--toolchain", "host", "--explain")
    plxnix("export", REPORT, "--toolchain", "host", "-o", str(expression))
    build_with_nix(expression)

    seconds = time.monotonic() - began
    console.print(f"\n[bold green]Done in {seconds:.0f} s.[/bold green] Look at")
    for title, path in (
        ("the picture:", PLACE / "report" / "digits.png"),
        ("the report:", PLACE / "report" / "index.html"),
        ("the expression:", expression),
    ):
        console.print(f"  {title:16}{path}", soft_wrap=True)
    return 0


def build_with_nix(expression: Path) -> None:
    """Build the report with Nix and compare it, or say why that is left out."""
    if not shutil.which("nix-build"):
        say("7. Build it with Nix: left out, as there is no Nix on this machine")
        return
    trouble = probe()
    if trouble:
        say("7. Build it with Nix: left out, as it cannot build with this machine's programs")
        console.print(trouble, markup=False)
        console.print("`plxnix export --toolchain nixpkgs` takes them from nixpkgs instead.")
        return
    say("7. Put the pins into the Nix store, and let Nix build the report")
    plxnix("nix", "add", "--target", REPORT)
    run("nix-build", str(expression), "--out-link", str(PLACE / "nix-report"), *OFFLINE)
    run("diff", "-r", str(PLACE / "nix-report"), str(PLACE / "report"))
    console.print("The report that Nix built is, byte for byte, the one that plxnix built.")


def probe() -> str:
    """Set Nix up for this process where it needs that; return what keeps it from building."""
    if not os.path.exists(DAEMON) and not any(one.gr_name == "nixbld" for one in grp.getgrall()):
        os.environ["NIX_CONFIG"] = f"{os.environ.get('NIX_CONFIG', '')}\n{ALONE}"
    result = subprocess.run(
        ["nix-build", "--no-out-link", *OFFLINE, "--expr", PROBE],
        check=False,
        capture_output=True,
        text=True,
    )
    return "" if result.returncode == 0 else result.stderr.strip()


def say(text: str) -> None:
    """Print what comes next."""
    console.print(f"\n[bold cyan]{text}[/bold cyan]")


def plxnix(*arguments: str) -> None:
    """Run a command of plxnix, shown as a user would type it."""
    run(sys.executable, "-m", "plxnix", *arguments, shown=("plxnix", *arguments))


def run(*command: str, shown: tuple[str, ...] = ()) -> None:
    """Run a command and stop the demo if it fails."""
    console.print(f"$ {' '.join(shown or command)}", style="dim", markup=False, soft_wrap=True)
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        console.print(f"[red]failed with exit status {status}[/red]")
        raise SystemExit(status)


def show_runs() -> None:
    """Print a table of all realizations of the training stage, best first."""
    import digits  # The folder of a script is where Python looks first.

    store = Store(os.environ["PLXNIX_ROOT"])
    with current_registry(Registry(store)) as registry:
        dref = instantiate(digits.train).dref
        matcher = registry.derivations[dref].matcher
    rrefs = store.realizations(dref)
    chosen = matcher(store, rrefs) or []
    table = Table("", "run", "accuracy", "realized")
    scores = {rref: Path(store.path(rref), "accuracy.txt").read_text().strip() for rref in rrefs}
    for rref in sorted(rrefs, key=lambda one: (scores[one], one in chosen), reverse=True):
        when = time.strftime("%H:%M:%S", time.localtime(rrefbstart(rref, store)))
        table.add_row("*" if rref in chosen else "", rref.short, scores[rref], when)
    console.print(table)
    console.print(f"hidden = {drefcfg(dref, store)['hidden']}; chosen by {matcher!r}", markup=False)


if __name__ == "__main__":
    raise SystemExit(main())
