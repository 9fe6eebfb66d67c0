"""The listing of the forerunner's readme of 2024, with the name of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import needed
from tests.scripts import run_twice

LISTING = """
import numpy as np
from plxnix import *

fsinit('_plxnix',use_as_default=True)

with current_registry(Registry()):

  @autostage(A=100,out=[selfref,'dataset.npy'])
  def stage_dataset(build,A,out):
    np.save(out,np.arange(0,A))

  @autostage(DS=stage_dataset(),out=[selfref,'model.npy'],nouts=10)
  def stage_train(build,rindex,DS,out):
    ds=np.load(DS.out)
    np.save(out,rindex)
    # TODO

  rrefs=realizeMany(instantiate(stage_train))
  assert len(rrefs)>=10
"""

#: What a reader would try next.
AFTERWARDS = """
numbers=[int(np.load(mklens(rref).out.syspath)) for rref in rrefs]
assert sorted(numbers)==list(range(10)), numbers
assert all(np.load(mklens(rref).DS.out.syspath).shape==(100,) for rref in rrefs)
print("\\n".join(rrefs))
"""


@pytest.mark.parametrize("flags", [[], ["-O"]], ids=["plain", "optimized"])
def test_the_listing_runs_as_printed(tmp_path: Path, flags: list[str]) -> None:
    """It runs, gives ten realizations below the current folder, and finds them the second time."""
    needed("numpy")
    assert len(run_twice(LISTING + AFTERWARDS, tmp_path, *flags)) == 10
    assert sorted(path.name[33:] for path in tmp_path.glob("_plxnix/store-v1/*")) == [
        "stage_dataset",
        "stage_train",
    ]
