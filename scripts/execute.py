"""Run notebooks from top to bottom and keep their outputs: `python scripts/execute.py nbs/tutorials/*.ipynb`.

Progress bars are off, and a widget keeps its still picture alone: a live view without its kernel would show an error.
The notebook keeps a stamp of the code that was run, so that anybody can tell whether its outputs are of the code it
shows (`is_current`); comments, directives and layout do not count.
"""

import ast
import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
WIDGET = "application/vnd.jupyter.widget-view+json"
os.environ["TQDM_DISABLE"] = "1"


def is_widget(output: dict) -> bool:
    """Whether an output is a live view, or was one, such as a progress bar that is done: a panel's still picture is
    an output of its own"""
    return output.output_type == "display_data" and (WIDGET in output.data or not output.data)


def code_stamp(notebook: nbformat.NotebookNode) -> str:
    "What the code cells say, whatever their comments and layout, in 16 hexadecimal digits"
    said = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type != "code" or "#| eval: false" in cell.source:
            continue
        try:
            code = ast.dump(ast.parse(cell.source))
        except SyntaxError:  # a magic
            code = cell.source
        said.update(code.encode() + b"\0")
    return said.hexdigest()[:16]


def is_current(notebook: nbformat.NotebookNode) -> bool:
    "Whether the outputs that are kept were made by the code that is shown"
    return notebook.metadata.get("masktune", {}).get("code") == code_stamp(notebook)


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
            coalesce_streams=True,
            resources={"metadata": {"path": path.parent}},
        ).execute()
    finally:
        for cell in unevaluated:
            cell.cell_type = "code"
    notebook.metadata.pop("widgets", None)
    notebook.metadata["masktune"] = {"code": code_stamp(notebook)}
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if not is_widget(output)]
            for output in cell.outputs:
                if output.output_type == "stream":  # a warning names the file it comes from
                    output.text = output.text.replace(f"{ROOT}/", "")
    nbformat.write(notebook, path)
    print(f"{path}  {time.perf_counter() - started:.0f} s  {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit("name the notebooks to run: python scripts/execute.py nbs/tutorials/*.ipynb")
    for name in sys.argv[1:]:
        execute(Path(name))
