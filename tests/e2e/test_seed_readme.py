"""The listing of the forerunner's readme of 2024, with the name of this package."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
    pytest.importorskip("numpy")
    (tmp_path / "readme.py").write_text(LISTING + AFTERWARDS)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    outputs = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, *flags, "readme.py"],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.split())
    assert outputs[0] == outputs[1]
    assert len(outputs[0]) == 10
    assert sorted(path.name[33:] for path in tmp_path.glob("_plxnix/store-v1/*")) == [
        "stage_dataset",
        "stage_train",
    ]
