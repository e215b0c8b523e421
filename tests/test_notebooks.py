"Every notebook runs from top to bottom."

import os
from pathlib import Path

import pytest
from ready import run_notebook, run_ready

NOTEBOOKS = sorted(
    p for p in (Path(__file__).parent.parent / "nbs").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts
)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(notebook):
    quiet = os.environ | {"TQDM_DISABLE": "1", "MPLBACKEND": "agg"}
    run = run_ready(run_notebook, notebook, cwd=notebook.parent, env=quiet)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-6000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_is_small(notebook):
    assert notebook.stat().st_size < 1_000_000
