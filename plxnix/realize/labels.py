"""Labels: what stages are called where several of one closure have the same name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from threading import RLock
from typing import Any

from plxnix.config import Config
from plxnix.model import DRef, isdref, isrefpath

#: How long the attributes in a label may be, in characters.
_LIMIT = 40

#: Through how many stages an attribute is looked for that a stage itself does not have.
_DEPTH = 4


class Labels:
    """The labels of some derivations: `train`, but `train (rate=0.1)` if there are two of them.

    In brackets are attributes by which each can be told from its namesakes: its own, or those of
    what it depends on. Where there are no short ones, it is the beginning of the hash. Cost: for
    each name that is asked for, linear in the configs of that name.
    """

    def __init__(self, configs: Iterable[Config]) -> None:
        self._lock = RLock()
        self._configs = configs
        self._namesakes: dict[str, list[Config]] | None = None
        #: What tells each from its namesakes, or "", by name.
        self._found: dict[str, dict[DRef, str]] = {}

    def __getitem__(self, dref: DRef) -> str:
        """Return the label; the name for a stranger. Any thread may call it."""
        with self._lock:
            found = self._attributes(dref.name, _DEPTH)
        if len(found) < 2 or dref not in found:
            return dref.name
        return f"{dref.name} ({found[dref] or dref.short})"

    def _attributes(self, name: str, depth: int) -> dict[DRef, str]:
        if name in self._found:
            return self._found[name]
        if self._namesakes is None:
            self._namesakes = {}
            for config in self._configs:
                self._namesakes.setdefault(config.name, []).append(config)
        some = self._namesakes.get(name, [])
        # Who depends on a namesake finds nothing of it.
        self._found[name] = dict.fromkeys((one.dref for one in some), "")
        if len(some) > 1:
            self._found[name] = self._distinct(some, depth)
        return self._found[name]

    def _distinct(self, some: list[Config], depth: int) -> dict[DRef, str]:
        """Return as many attributes as it takes to tell the configs apart."""
        texts = [""] * len(some)
        for key in dict.fromkeys(key for one in some for key in one):
            values = [one.get(key) for one in some]
            if key == "name" or all(value == values[0] for value in values):
                continue
            shown = [self._shown(key, value, depth) for value in values]
            if "" in shown:
                continue
            for number, text in enumerate(shown):
                if text not in texts[number].split(", "):
                    texts[number] = f"{texts[number]}, {text}".removeprefix(", ")
            if len(set(texts)) == len(texts):
                break
        counts = Counter(texts)
        return {
            one.dref: text if len(text) <= _LIMIT and counts[text] == 1 else ""
            for one, text in zip(some, texts, strict=True)
        }

    def _shown(self, key: str, value: Any, depth: int) -> str:
        """Return what is shown of an attribute: something short, or "" if there is no such."""
        if isrefpath(value):
            value = value[0]
        if isdref(value):
            dref = DRef(value)
            return self._attributes(dref.name, depth - 1).get(dref, "") if depth else ""
        plain = isinstance(value, str) and value.isprintable()
        text = value if plain else json.dumps(value, ensure_ascii=False)
        return "" if key.startswith("__") or len(text) > _LIMIT else f"{key}={text}"
