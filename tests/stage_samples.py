"""A small laboratory for tests of realizing: stages in one line each, and a list of what ran."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from plxnix import Build, Closure, DRef, Registry, RRef, Store, instantiate, match_latest, mkdrv
from plxnix.realize.build import build_wrapper
from plxnix.realize.realizing import realize
from plxnix.realize.registry import Matcher
from plxnix.store import Fsync

#: What a stage writes into the file `out` of each of its realizations.
Content = str | list[str] | Callable[[Build], str]


class Lab:
    """A store, the registry of one script, and the names of the stages that ran, in their order."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = Store.init(root, Fsync.NONE)
        self.registry = Registry(self.store)
        self.runs: list[str] = []

    def again(self) -> None:
        """Begin as a new process would: a new registry, nothing remembered of the store."""
        self.store = Store(self.root, Fsync.NONE)
        self.registry = Registry(self.store)
        self.runs.clear()

    def stage(
        self,
        name: str,
        *below: DRef,
        content: Content | None = None,
        matcher: Matcher | None = None,
        **fields: Any,
    ) -> DRef:
        """Register a stage that writes `content` (default: its name): a list gives several results.

        `below` are its dependencies.
        """
        contents = content if isinstance(content, list) else [content]

        def make(build: Build) -> None:
            self.runs.append(name)
            for path, one in zip(build.outpaths, contents, strict=True):
                text = name if one is None else one(build) if callable(one) else one
                (path / "out").write_text(text)

        config = {"name": name, **({"below": [*below]} if below else {}), **fields}
        realizer = build_wrapper(make, len(contents))
        return mkdrv(config, matcher or match_latest(len(contents)), realizer, self.registry)

    def closure(self, target: Any) -> Closure:
        """Return the closure of references that are in the registry."""
        return instantiate(target, registry=self.registry)

    def realize(self, target: Any, **options: Any) -> Any:
        """Realize references and return what `realize` does."""
        return realize(self.closure(target), **options)

    def text(self, rref: RRef) -> str:
        """Return what the stage wrote."""
        return Path(self.store.path(rref), "out").read_text()

    def leftovers(self) -> list[str]:
        """Return what is left in the store's temporary and lock folders; some locks stay."""
        session = Path(self.store.session().path)
        found = [*session.iterdir(), *Path(self.store.layout.locks).iterdir()]
        return sorted(path.name for path in found if path.name not in ("store", "lock"))
