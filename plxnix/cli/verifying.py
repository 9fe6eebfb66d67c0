"""`verify`: find damage in the store, and repair it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plxnix.cli.session import Session, command, json_option, pass_session, reference_argument
from plxnix.cli.units import counted
from plxnix.cli.watching import Watch
from plxnix.realize.resources import cpus
from plxnix.references import resolve_realizations
from plxnix.store import Store
from plxnix.store.quarantine import quarantined
from plxnix.store.verify import Damage
from plxnix.store.verify import verify as find_damage

if TYPE_CHECKING:
    from plxnix.store.repair import Repair


@command(
    "verify",
    "plxnix verify",
    "plxnix verify report train -j 2",
    "plxnix verify --repair --from /mnt/backup/plxnix",
    "plxnix verify --repair --refetch  download again what was fetched",
)
@reference_argument("references", "[REF]...", required=False, many=True)
@click.option("--repair", is_flag=True, help="Put right what is damaged, as far as that can be.")
@click.option(
    "--refetch", is_flag=True, help="Repair, and download again what was fetched if need be."
)
@click.option(
    "--from",
    "others",
    metavar="STORE",
    multiple=True,
    help="Repair, and take from this store what it has. May be repeated.",
)
@click.option(
    "-j",
    "--jobs",
    metavar="N",
    type=click.IntRange(0),
    default=1,
    help="How many threads read and hash; one by default, 0 is one for each CPU.",
)
@json_option
@pass_session
def verify(
    session: Session,
    references: tuple[str, ...],
    repair: bool,
    refetch: bool,
    others: tuple[str, ...],
    jobs: int,
    as_json: bool,
) -> None:
    """Read everything in the store again and print a line for each damage; change nothing.

    With REF only these realizations are read. With --repair, what is damaged is taken from another
    store or from Nix, built again in the sandbox, or downloaded again, and published if it has the
    hash that it had. What was replaced, and what nobody has any more, is moved to the folder
    quarantine in the store. The exit status is 1 if anything is, or stays, damaged.
    """
    store = session.store()
    sources = [Store(place) for place in others]
    rrefs = None
    if references:
        named = [rref for text in references for rref in resolve_realizations(store, text)]
        rrefs = list(dict.fromkeys(named))
    with Watch(session, "verifying") as watch:
        damages = list(find_damage(store, rrefs, watch, jobs or cpus()))
    repairs: list[Repair] = []
    if damages and (repair or refetch or others):
        from plxnix.repairing import repair_store

        repairs = repair_store(
            store, damages, others=sources, refetch=refetch, waiting=session.console.say
        )
    repaired = {one.damage: one for one in repairs}
    if as_json:
        session.console.json([_damage_value(one, repaired.get(one)) for one in damages])
    else:
        session.console.lines(_told(damage, repaired.get(damage)) for damage in damages)
    serious = [damage for damage in damages if not damage.harmless]
    left = [one for one in serious if one not in repaired or not repaired[one].how]
    found = len({one.rref or one.path for one in serious})
    mended = found - len({one.rref or one.path for one in left})
    session.console.say(
        f"checked {counted(watch.total, 'realization')}: "
        + (f"{found} damaged" if serious else "no damage")
        + (f", {mended} repaired" if serious and repairs else "")
    )
    aside = quarantined(store.layout)
    if aside:
        count = counted(len(aside), "damaged or strange file")
        session.console.say(
            f"{store.layout.quarantine} has {count}: look, and remove what is no use"
        )
    if left:
        raise click.exceptions.Exit(1)


def _told(damage: Damage, repaired: Repair | None) -> str:
    line = f"{damage.kind}: {damage.message}"
    if repaired is None or (damage.harmless and not repaired.how):
        return line
    return f"{line}; {repaired.how}" if repaired.how else f"{line}; not repaired: {repaired.why}"


def _damage_value(damage: Damage, repaired: Repair | None) -> dict[str, Any]:
    told = {} if repaired is None else {"repaired": repaired.how, "why_not": repaired.why}
    return {
        **told,
        "kind": damage.kind,
        "path": damage.path,
        "message": damage.message,
        "dref": damage.dref,
        "rref": damage.rref,
        "harmless": damage.harmless,
    }
