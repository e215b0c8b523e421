"Every notebook runs from top to bottom."

import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOKS = sorted(
    p for p in (Path(__file__).parent.parent / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(notebook):
    run = subprocess.run(
        [Path(sys.executable).with_name("nbdev-test"), notebook, "--n-workers", "0"],
        capture_output=True,
        text=True,
        cwd=notebook.parent,
        env=os.environ | {"TQDM_DISABLE": "1", "MPLBACKEND": "agg"},
    )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-6000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_small(notebook):
    assert notebook.stat().st_size < 1_000_000
