"""Run notebooks from top to bottom and keep their outputs: `python scripts/execute.py nbs/tutorials/*.ipynb`.

Progress bars are off, and a widget keeps its still picture alone: a live view without its kernel would show an error.
"""

import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"
os.environ["TQDM_DISABLE"] = "1"


def is_widget(output: dict) -> bool:
    """Whether an output is a live view, or was one, such as a progress bar that is done: a panel's still picture is
    an output of its own"""
    return output.output_type == "display_data" and (WIDGET in output.data or not output.data)


def execute(path: Path) -> None:
    started, notebook = time.perf_counter(), nbformat.read(path, as_version=4)
    unevaluated = [cell for cell in notebook.cells if cell.cell_type == "code" and "#| eval: false" in cell.source]
    for cell in unevaluated:
        cell.cell_type = "raw"
    try:
        NotebookClient(
            notebook,
            timeout=900,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": path.parent}},
        ).execute()
    finally:
        for cell in unevaluated:
            cell.cell_type = "code"
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not is_widget(output)]
    nbformat.write(notebook, path)
    print(f"{path}  {time.perf_counter() - started:.0f} s  {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("name the notebooks to run: python scripts/execute.py nbs/tutorials/*.ipynb")
    for name in sys.argv[1:]:
        execute(Path(name))
