"What the guides tell a reader to type is typed here."

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
    } | digits


@pytest.mark.parametrize("path", [path for path in GUIDES if blocks(path)], ids=lambda path: path.stem)
def test_what_a_guide_says_runs(path, reader, digits):
    torch.manual_seed(0)
    for block in blocks(path):
        exec(block, reader)
        if path.stem == "your_own_data" and "lesions.csv" in block:
            reader["train"] = load_dataset("folder", "train", "my-images", size=64)
    assert reader


def test_every_command_in_the_guides_exists():
    from masktune.cli import COMMANDS, make_parser

    for path in [*GUIDES, ROOT / "nbs" / "faq.md", ROOT / "CONTRIBUTING.md"]:
        for command, rest in re.findall(r"masktune (\w+)([^\n`]*)", path.read_text(encoding="utf-8")):
            if command in COMMANDS:
                known = (
                    make_parser(command).format_help()
                    + make_parser(everything=True)._subparsers._group_actions[0].choices[command].format_help()
                )
                for option in re.findall(r"(--[a-z-]+)", rest):
                    assert option in known, f"{path.name}: masktune {command} {option}"
