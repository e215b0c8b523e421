"""Write README.md from nbs/index.ipynb, the site's front page; with --check only say whether they are in step."""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n"


def readme() -> str:
    notebook = nbformat.read(ROOT / "nbs" / "index.ipynb", as_version=4)
    notebook.cells = [cell for cell in notebook.cells if not cell.source.startswith("#| hide\n")]
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if cell.source.startswith("#| hide_input"):
                cell.metadata["transient"] = {"remove_source": True}
            cell.source = re.sub(r"^#\| .*\n?", "", cell.source, flags=re.MULTILINE)
    notebook.metadata["language_info"] = {"name": "python"}  # for the code fences
    text, resources = MarkdownExporter().from_notebook_node(notebook)
    if resources["outputs"]:
        raise SystemExit(
            "nbs/index.ipynb draws pictures: save them under nbs/images and link them, a README cannot hold them"
        )
    text = re.sub(r"(\]\(|src=\")images/", r"\1nbs/images/", text)
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    target, text = ROOT / "README.md", readme()
    if "--check" not in sys.argv:
        target.write_text(text, encoding="utf-8")
    elif target.read_text(encoding="utf-8") != text:
        raise SystemExit("README.md is not in step with nbs/index.ipynb: run make readme")
