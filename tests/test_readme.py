"What the README says holds: its code runs, its figures come out of its commands."

import re
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

import by_commands
import digits_seeds
import known_answers
import numpy as np
import over_seeds
import torch
from PIL import Image

from masktune.experiments.recipes import get_recipe
from masktune.models import build_model

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_made_from_the_front_page():
    run = subprocess.run([sys.executable, ROOT / "scripts" / "readme.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_diagnose_and_repair_in_a_few_lines_on_a_checkpoint(pets, tmp_path, monkeypatch):
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for block in (first, second):
        assert len([line for line in block.splitlines() if line.strip() and "import" not in line]) <= 3
        assert max(map(len, block.splitlines())) <= 110
    # the same lines on a small network and small images
    smaller = {
        '"my-images"': repr(str(pets)) + ", size=64",
        "resnet50": "resnet18",
        "finetune_lr=1e-4": 'finetune_lr=1e-4, device="cpu", batch_size=8, remedies=["refit"], progress=False',
    }
    monkeypatch.chdir(tmp_path)
    torch.save(build_model("resnet18", 2).state_dict(), "my-model.pt")
    names: dict = {}
    for block in (first, second):
        for old, new in smaller.items():
            block = block.replace(old, new)
        exec(block, names)
    assert names["repaired"].metrics["plain"]["test"].average.count == len(names["test"])


def test_every_command_and_its_options_exist():
    from masktune.cli import COMMANDS, make_parser

    found = re.findall(r"^    (?:.*-m )?masktune (\S+)([^#\n]*)", README, re.MULTILINE)
    assert {"diagnose", "erm", "repair", "run"} <= {command for command, _ in found}
    for command, rest in found:
        assert command in COMMANDS
        known = make_parser(everything=True)._subparsers._group_actions[0].choices[command].format_help()
        for option in re.findall(r"(--[a-z-]+)", rest):
            assert option in known, f"masktune {command} {option}"


def test_repair_by_the_commands_of_the_page(pets, tmp_path, monkeypatch):
    "From a checkpoint to its repair; diagnose first"
    from masktune.cli import main

    monkeypatch.chdir(tmp_path)
    torch.save(build_model("small-cnn", 2, image_size=32).state_dict(), "my-model.pt")
    smaller = {"my-images": str(pets), "resnet50": "small-cnn"}
    for line in re.findall(r"^    masktune ((?:diagnose|erm|repair)\b.*\bmy-.*)$", README, re.MULTILINE):
        words = shlex.split(line)
        if words[0] in ("diagnose", "erm"):
            words += ["--option", "size=32"]
        if words[0] == "repair":
            words += ["--remedies", "refit"]
        words = [smaller.get(word, word) for word in [*words, "--device", "cpu"]]
        assert main(words) == 0, line
    assert (tmp_path / "my-run" / "repair.json").exists() and (tmp_path / "my-run" / "repair").is_dir()


def test_a_known_shortcut_by_the_commands_of_the_page(tmp_path, monkeypatch, capsys):
    "From cut-outs and photographs to the worst group of the plain model, and what is taken"
    from masktune.cli import main

    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 12, 40, 40, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    for name, kind in zip(("cut-outs/birds", "cut-outs/mammals", "photographs"), pixels, strict=True):
        (tmp_path / name).mkdir(parents=True)
        for i, one in enumerate(kind):
            one[:10, :, 3] = 0  # transparent
            Image.fromarray(one if "cut" in name else one[..., :3]).save(tmp_path / name / f"{i}.png")
    smaller = {"efficientnet_b0": "resnet18", "--pretrained": "--no-pretrained", "size=112": "size=32", "3": "1"}
    more = {"datasets": ["--counts", "48", "16", "16", "--size", "32"], "repair": ["--remedies", "refit"]}
    lines = by_commands.commands()
    assert [line[0] for line in lines] == ["datasets", "erm", "diagnose", "repair"]
    for line in lines:
        words = [smaller.get(word, word) for word in line] + more.get(line[0], [])
        words += [] if words[0] == "datasets" else ["--device", "cpu"]
        assert main(words) == 0, line
    assert re.search(r"^test +plain +[\d.]+% +[\d.]+%$", capsys.readouterr().out, re.MULTILINE)


def measured(shortcut, where="biased-test"):
    "Accuracies in %, over seeds and rounding settings, by what README's tables call them"
    rows = over_seeds.read(ROOT / "benchmarks" / "digits_seeds.json")
    return {
        name: [100 * value for value in values] for name, values in digits_seeds.over(rows, shortcut, where).items()
    }


def test_one_figure_in_readme_tutorial_recipe_and_demo():
    "The mean over ten seeds and both rounding settings, before and after"
    square = measured("square")
    before, after = (f"{statistics.mean(square[name]):.0f}" for name in ("ERM", "round 1"))
    assert f'<h2 class="number">{before} % → {after} %</h2>' in README
    # what the demo prints
    assert f"ours: {before} -> {after} on the biased test" in get_recipe("biased-digits").published
    first = next((ROOT / "nbs" / "tutorials").glob("01_*.ipynb")).read_text(encoding="utf-8")
    assert f"from {before} % to {after} %" in first


def test_the_range_of_single_trainings_is_measured_and_so_is_the_worst_of_another_machine():
    square = measured("square")
    spans = [f"{min(square[name]):.0f} to {max(square[name]):.0f} %" for name in ("ERM", "round 1")]
    assert f"right {spans[0]} of the time before and {spans[1]} after" in README
    native = over_seeds.read(ROOT / "benchmarks" / "digits_seeds_native.json")
    worst = min(100 * row["masktune"]["biased-test"]["average"] for row in native)
    assert f"one training of {len(native)} reached only {worst:.0f} %".replace("of 10", "of ten") in README


def test_the_table_of_known_answers_is_measured():
    "Each row's means and lowest trainings, and in how many trainings `repair` loses to the plain model"
    rows = known_answers.read(known_answers.FILE)
    table = re.findall(r"^\| (.*?) \| (.*) \| (\d+) of (\d+).*\|$", README, re.MULTILINE)
    assert len(table) == len({row["set"] for row in rows}) == len(known_answers.SETS)
    names = ("ERM", "MaskTune", "repair", "oracle")
    found = set()
    for name in known_answers.SETS:
        own = [(row, known_answers.rows_of(row)) for row in rows if row["set"] == name]
        by_name = {each: [100 * known_answers.worst(row, named[each]) for row, named in own] for each in names}
        cells = " | ".join(f"{statistics.mean(values):.1f} [{min(values):.1f}]" for values in by_name.values())
        below = sum(after < before for before, after in zip(by_name["ERM"], by_name["repair"], strict=True))
        found.add((cells, str(below), str(len(own))))
    assert {(cells.replace("*", ""), below, count) for _, cells, below, count in table} == found


def test_the_matrix_says_yes_or_no_and_also_what_we_cannot():
    rows = re.findall(r"^\| ([^|]+\?) \| (.*) \|$", README, re.MULTILINE)
    answers = [cells.replace("*", "").split(" | ") for _, cells in rows]
    assert len(rows) >= 8 and {cell for row in answers for cell in row} == {"yes", "no"}
    assert any(row[0] == "no" and "yes" in row for row in answers)


def test_the_page_is_short():
    "What a first page needs and no more: the reference and the guides have the rest"
    assert len(README.split()) < 1700 and len(README.splitlines()) < 175


def test_pictures_and_commands_exist():
    for path in re.findall(r'(?:src="|\]\()(?!http|#)([^")#]+)', README):
        assert (ROOT / path).exists(), path
    for anchor in re.findall(r"\]\(#([^)]+)\)", README):
        assert re.search(rf"^## {anchor}$", README, re.MULTILINE | re.IGNORECASE), anchor
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target
