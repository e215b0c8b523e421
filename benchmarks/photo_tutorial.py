"""The chapter on photographs (nbs/tutorials/02), its own cells run with another seed, and what they found as figures.

tutorials.py measures it over seeds, as it does the other chapters. What is measured is the notebook's code itself, so
that the text cannot speak of another program. Only the cells that draw are left out."""

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

CHAPTER = Path(__file__).resolve().parent.parent / "nbs" / "tutorials" / "02_diagnose_a_model_you_have.ipynb"
SEED = "\nseed = 0\n"  # the line that another seed is put into
AGAINST = ("temple without sticker", "dahlia with sticker")  # the groups that go against the training images
DRAWS = ("plt.", "plot_evidence(")


def cells() -> list[str]:
    "Sources of the cells that compute, from top to bottom"
    notebook = json.loads(CHAPTER.read_text(encoding="utf-8"))
    code = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [without_drawing(source) for source in code]


def without_drawing(source: str) -> str:
    "A cell without what follows from its first line that draws"
    lines = source.splitlines()
    drawing = [i for i, line in enumerate(lines) if any(word in line for word in DRAWS)]
    return "\n".join(lines[: drawing[0]] if drawing else lines) + "\n"


@contextlib.contextmanager
def folders_in(place: str):
    "Temporary folders are made in one that goes away"
    before = tempfile.tempdir
    tempfile.tempdir = place
    try:
        yield
    finally:
        tempfile.tempdir = before


def run_chapter(seed: int) -> dict[str, Any]:
    "The names that the chapter's cells leave behind"
    code = cells()
    if sum(SEED in source for source in code) != 1:
        raise ValueError(f"{CHAPTER.name} must set its seed in exactly one line")
    names: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place, folders_in(place), contextlib.redirect_stdout(io.StringIO()):
        for source in code:
            source = source.replace(SEED, f"\nseed = {seed}\n")
            exec(compile(source, CHAPTER.name, "exec"), names)
    return names


def photographs(seed: int) -> dict:
    """Chapter 2: what `diagnose` said, and every candidate on held-out, swapped, test and turned images and in the
    worst group"""
    names = run_chapter(seed)
    mended, said = names["mended"], names["found"]
    found: dict[str, Any] = {"alarm": float(said.alarm)}
    for name, tests in names["measured"].items():
        result = tests["test"]
        turned = [result.groups[group].accuracy for group in AGAINST]
        found[name.replace(", ", " ")] = {
            "test": result.average.accuracy,
            "turned": sum(turned) / len(turned),
            "worst group": result.worst_group_accuracy,
        }
    for name, candidate in mended.candidates.items():
        scores = candidate.scores
        found[name.replace(", ", " ")] |= {"held out": scores.average, "swapped": scores.swapped}
    found["chosen"] = dict(found[mended.choice.name.replace(", ", " ")])
    found["likeness"] = {name: of.look.mean for name, of in said.classes.items()}
    return found
