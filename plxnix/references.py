"""References as people write them: found in a store by hash, name or path."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias

from plxnix.errors import InvalidReference, NotInStore, PlxnixError
from plxnix.model import HASH_LENGTH, DRef, RRef, isdref, isrref
from plxnix.store import Store
from plxnix.store.layout import Layout, dref_of

Reference: TypeAlias = DRef | RRef

#: Part of a reference: perhaps its kind, four or more digits of its first hash, perhaps more of it.
_PREFIX = re.compile(r"(dref:|rref:)?([0-9a-f]{4,32})(-[0-9A-Za-z+._?=-]*)?")

#: What the error of `choose` says where `--latest` helps.
LATEST = "; or --latest for the newest"


def resolve_reference(store: Store, text: str) -> list[Reference]:
    """Return all that `text` may mean in the store: at least one reference.

    It is a whole reference, or its head (at least four digits of its first hash), the whole name of
    derivations, or a path that is in the store or leads into it. Cost: one listing of the store,
    and for a hash one of each derivation. Raises `NotInStore`, which names what is similar.
    """
    whole = _whole(store, text)
    if whole is not None:
        return [whole]
    if "/" in text or text in (".", ".."):
        return [_at_path(store, text)]
    drefs = list(store.derivations())
    named: list[Reference] = [dref for dref in drefs if dref.name == text]
    if named:
        return named
    found = _by_prefix(store, drefs, text)
    if found:
        return found
    if os.path.islink(text):
        return [_at_path(store, text)]
    raise NotInStore(
        f"the store {store.root} has nothing that is called {text!r}",
        _similar(text, drefs) or "`plxnix ls` lists what there is",
        text,
    )


def resolve_one(store: Store, text: str) -> Reference:
    """Return what `text` means; raise `InvalidReference` with the candidates if it is not clear."""
    return choose(store, text, resolve_reference(store, text))


def resolve_realization(store: Store, text: str, latest: bool = False) -> RRef:
    """Return the realization that `text` means.

    Derivations that are not realized do not count if others of that name are. One that is stands
    for its only realization; with `latest` the one is taken that was started last. Raises
    `InvalidReference` with the candidates if there are several, `NotInStore` if there is none.
    """
    found = resolve_reference(store, text)
    rrefs = {one: [one] if isinstance(one, RRef) else store.realizations(one) for one in found}
    realized = [one for one in found if rrefs[one]]
    if not realized:
        raise NotInStore(f"{found[0]} is not realized", "`plxnix realize` makes it", found[0])
    if latest:
        return latest_of(store, [rref for one in realized for rref in rrefs[one]])
    one = choose(store, text, realized, LATEST)
    return RRef(choose(store, text, rrefs[one], LATEST))


def resolve_realizations(store: Store, text: str) -> list[RRef]:
    """Return the realizations that `text` may mean, all of those of a derivation.

    Raises what `resolve_reference` raises.
    """
    return [
        rref
        for found in resolve_reference(store, text)
        for rref in ([found] if isinstance(found, RRef) else store.realizations(found))
    ]


def latest_of(store: Store, rrefs: Sequence[RRef]) -> RRef:
    """Return the realization that was started last; the first output of one run comes last."""

    def key(rref: RRef) -> tuple[float, int, RRef]:
        record = store.record(rref)
        return record.started, -record.index, rref

    return max(rrefs, key=key)


def labels_of(store: Store, drefs: Iterable[DRef]) -> dict[DRef, str]:
    """Return names of derivations; namesakes with what they differ in, as `train (rate=0.1)`.

    Cost: reads the configs of namesakes.
    """
    names = {dref: str(dref.name) for dref in drefs}
    counts = Counter(names.values())
    namesakes = [dref for dref, name in names.items() if counts[name] > 1]
    if not namesakes:
        return names
    from plxnix.realize.labels import Labels

    configs = []
    for dref in namesakes:
        with suppress(PlxnixError):  # a damaged one
            configs.append(store.config(dref))
    labels = Labels(configs)
    return {dref: labels[dref] for dref in names}


def choose(store: Store, text: str, found: Sequence[Reference], advice: str = "") -> Reference:
    """Return the only one that was found; raise `InvalidReference` with the candidates if not."""
    if len(found) == 1:
        return found[0]
    kind = "realizations" if isinstance(found[0], RRef) else "derivations"
    labels = labels_of(store, [one for one in found[:10] if isinstance(one, DRef)])
    told = {str(one): label.removeprefix(one.name) for one, label in labels.items()}
    shown = "".join(f"\n    {one}{told.get(one, '')}" for one in found[:10])
    more = f"\n    and {len(found) - 10} more" if len(found) > 10 else ""
    raise InvalidReference(
        f"{text!r} may mean {len(found)} {kind}:{shown}{more}",
        f"give as many digits of the hash as it takes to tell them apart{advice}",
    )


def _whole(store: Store, text: str) -> Reference | None:
    if isrref(text):
        store.path(text)
        return RRef(text)
    if isdref(text):
        if not os.path.isdir(store.layout.derivation(DRef(text))):
            store.config(text)  # raises NotInStore
        return DRef(text)
    return None


def _by_prefix(store: Store, drefs: Sequence[DRef], text: str) -> list[Reference]:
    match = _PREFIX.fullmatch(text)
    if not match:
        return []
    kind, digits, rest = match[1], match[2], match[3] or ""
    head = digits + rest
    found: list[Reference] = []
    if kind != "rref:":
        found += [dref for dref in drefs if dref[5:].startswith(head)]
    if kind != "dref:":
        found += [
            rref
            for dref in drefs
            for rref in store.realizations(dref)
            if rref[5:].startswith(head) or f"{rref.rhash}-{rref.name}" == head
        ]
    return found


def _at_path(store: Store, text: str) -> Reference:
    """Return what a path is in: a realization, or else a derivation."""
    for layout, path in (
        (store.layout, os.path.abspath(text)),
        (Layout(os.path.realpath(store.root)), os.path.realpath(text)),
    ):
        rref = layout.rref_of(path)
        if rref is not None:
            store.path(rref)
            return rref
        parts = os.path.relpath(path, layout.store).split("/")
        dref = dref_of(parts[0])
        if dref is not None and len(parts) < 3 and os.path.isdir(layout.derivation(dref)):
            return dref
    raise NotInStore(
        f"{text!r} does not lead into the store {store.root}",
        "give a reference, a hash, a name, or a link to a realization of this store",
        text,
    )


def _similar(text: str, drefs: Sequence[DRef]) -> str:
    from difflib import get_close_matches

    names = sorted({str(dref.name) for dref in drefs})
    close = get_close_matches(text.rpartition(":")[2], names, 3)  # perhaps it is a target
    if close:
        return f"is it {' or '.join(close)}? `plxnix ls` lists what there is"
    if 0 < len(text) < 4 and all(digit in "0123456789abcdef" for digit in text):
        return f"a hash needs at least 4 of its {HASH_LENGTH} digits"
    return ""
