"""The crew: threads go on, whoever is slow."""

from __future__ import annotations

from threading import Event

import pytest

from plxnix import Build, DRef, RRef, Store, match_latest
from plxnix.errors import BuildFailed
from tests.stage_samples import Lab


@pytest.mark.parametrize("below", [False, True])
def test_slow_matchers(lab: Lab, below: bool) -> None:
    """What was decided on begins while a matcher takes its time, whichever thread it is in."""
    ran = [Event() for _ in range(4)]
    root = [lab.stage("root")] if below else []

    def stage(number: int) -> DRef:
        latest = match_latest()

        def matcher(store: Store, rrefs: list[RRef]) -> list[RRef] | None:
            if number and not ran[number - 1].wait(60):
                raise BuildFailed(f"stage {number - 1} did not begin", "", lab.store.root)
            return latest(store, rrefs)

        def content(_: Build) -> str:
            ran[number].set()
            return ""

        return lab.stage(f"s{number}", *root, matcher=matcher, content=content)

    found = lab.realize([stage(number) for number in range(4)], jobs=4, executor="threads")
    assert len(found) == 4
