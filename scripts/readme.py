"""Write README.md from nbs/index.ipynb, the site's front page; with --check only say whether they are in step."""

import re
import sys
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

ROOT = Path(__file__).resolve().parent.parent
ELSEWHERE = {
    "results.md": "benchmarks/RESULTS.md",
    "contributing.md": "CONTRIBUTING.md",
}  # pages the site makes of these
NOTE = "<!-- Made from nbs/index.ipynb by `make readme`: edit that. -->\n\n"


def from_root(found: re.Match) -> str:
    "A link as it is written on the site's front page, as README must have it"
    opening, target = found[1], found[2]
    if re.match(r"https?:|#", target):
        return found[0]
    return opening + ELSEWHERE.get(target, f"nbs/{target}")


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
    text = re.sub(r"(\]\(|src=\")([^)\"]+)", from_root, text)
    return NOTE + re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


if __name__ == "__main__":
    target, text = ROOT / "README.md", readme()
    if "--check" not in sys.argv:
        target.write_text(text, encoding="utf-8")
    elif target.read_text(encoding="utf-8") != text:
        raise SystemExit("README.md is not in step with nbs/index.ipynb: run make readme")
