"What the guides tell a reader to type is typed here."

import json
import re

import pytest
import torch
from PIL import Image
from screenshots import ROOT

from masktune import MaskTune, load_dataset
from masktune.models import build_model

GUIDES = sorted((ROOT / "nbs" / "guides").glob("*.md"))


def blocks(path):
    return re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)


def first_line(notebook):
    "Its title"
    return "".join(json.loads(notebook.read_text(encoding="utf-8"))["cells"][0]["source"]).splitlines()[0]


@pytest.fixture
def reader(digits, pets, tmp_path, monkeypatch):
    "What a reader has at hand when the guides begin, small"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-images").symlink_to(pets)
    names = {"cat": "benign", "dog": "malignant"}
    rows = [
        f"{path},{names[path.parent.name]},{('train', 'val', 'test')[i % 3]},known"
        for i, path in enumerate(sorted(pets.rglob("*.jpg")))
    ]
    for path in sorted(pets.rglob("*.jpg"))[::2]:
        place = tmp_path / "marks" / path.relative_to(pets).with_suffix(".png")
        place.parent.mkdir(parents=True, exist_ok=True)
        mask = Image.new("L", Image.open(path).size)
        mask.paste(255, (0, 0, mask.width // 2, mask.height // 2))
        mask.save(place)
    (tmp_path / "lesions.csv").write_text("\n".join(["path,label,split,group", *rows]))
    settings = {"epochs": 2, "finetune_lr": 0.01, "device": "cpu", "progress": False}
    run = MaskTune(build_model("small-cnn", 2), **settings).fit(digits["train"], digits["val"])
    model = build_model("resnet18", 2)
    return {
        "run": run,
        "images": digits["test"].images[:8],
        "settings": settings,
        "MaskTune": MaskTune,
        "model": build_model("small-cnn", 2),
        "my_model": model,
        "other_model": build_model("small-cnn", 2, image_size=64),
    } | digits


SMALL_MODEL = ("diagnose_a_model", "repair_a_model", "judge_evidence", "compare_models")  # at 64 pixels
FOR_A_TEST = {
    'build_model("resnet50", num_classes=len(train.classes), pretrained=True)': 'build_model("resnet18", 2)',
    'split, "my-images")': 'split, "my-images", size=64)',
    'epochs=10, lr=1e-3, augment="crop-flip"': 'epochs=1, lr=1e-3, augment="crop-flip", batch_size=16',
}


@pytest.mark.parametrize("path", [path for path in GUIDES if blocks(path)], ids=lambda path: path.stem)
def test_what_a_guide_says_runs(path, reader, digits):
    torch.manual_seed(0)
    if path.stem in SMALL_MODEL:
        reader["my_model"] = build_model("small-cnn", 2, image_size=64)
    for block in blocks(path):
        if path.stem == "your_own_data":
            for written, smaller in FOR_A_TEST.items():
                block = block.replace(written, smaller)
        exec(block, reader)
        if path.stem == "your_own_data" and "lesions.csv" in block:
            reader["train"] = load_dataset("folder", "train", "my-images", size=64)
    assert reader


def test_guides_are_named_as_tasks_and_no_two_alike():
    titles = [path.read_text(encoding="utf-8").splitlines()[0] for path in GUIDES]
    assert all(title.startswith("# How to ") for title in titles), titles
    tutorials = sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))
    titles += [first_line(path) for path in tutorials]
    assert len({title.lower() for title in titles}) == len(titles), titles


def test_terms_that_pages_link_to_are_in_the_glossary():
    text = (ROOT / "nbs" / "glossary.md").read_text(encoding="utf-8")
    terms = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert terms == sorted(terms, key=str.lower) and len(set(terms)) == len(terms)
    anchors = {term.lower().replace(" ", "-") for term in terms}
    pages = [*(ROOT / "nbs").glob("*.md"), *GUIDES, *(ROOT / "nbs" / "tutorials").glob("*.ipynb")]
    linked = set(re.findall(r"\]\(#([\w-]+)\)", text))
    for page in [ROOT / "nbs" / "index.ipynb", *pages]:
        linked |= set(re.findall(r"glossary\.md#([\w-]+)", page.read_text(encoding="utf-8")))
    assert linked and linked <= anchors, linked - anchors


def test_every_command_in_the_guides_exists():
    from masktune.cli import COMMANDS, make_parser

    for path in [*GUIDES, ROOT / "nbs" / "faq.md", ROOT / "CONTRIBUTING.md"]:
        for command, rest in re.findall(r"masktune ([\w-]+)([^\n`]*)", path.read_text(encoding="utf-8")):
            if command in COMMANDS:
                known = (
                    make_parser(command).format_help()
                    + make_parser(everything=True)._subparsers._group_actions[0].choices[command].format_help()
                )
                for option in re.findall(r"(--[a-z-]+)", rest):
                    assert option in known, f"{path.name}: masktune {command} {option}"
