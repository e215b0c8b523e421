"What the README says holds: its code runs, its figures come out of its commands."

import re
import statistics
import subprocess
import sys
from pathlib import Path

import digits_seeds
import over_seeds

from masktune.experiments.recipes import get_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_made_from_the_front_page():
    run = subprocess.run([sys.executable, ROOT / "scripts" / "readme.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_ten_lines_on_a_folder_of_images(pets, tmp_path, monkeypatch):
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in first.splitlines() if line.strip()]) <= 10
    # the same lines on a small network, without a download, for two epochs
    smaller = {
        '"my-images"': repr(str(pets)) + ", size=64",
        "resnet50": "resnet18",
        "pretrained=True": "pretrained=False",
    }
    for old, new in (smaller | {"epochs=10": 'epochs=2, device="cpu", batch_size=8'}).items():
        assert old in first
        first = first.replace(old, new)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(first, names)
    assert (tmp_path / "report.html").exists() and (tmp_path / "my-run" / "round-1" / "last.safetensors").exists()
    names["my_model"] = names["run"].erm_
    exec(second.replace("lr=1e-4", 'lr=1e-4, device="cpu"'), names)


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
    said = re.search(
        r"it is right (\d+) % of the time\. After one epoch on the masked images \(last row\): (\d+) %", README
    )
    assert said.groups() == (before, after)
    # what the demo prints
    assert f"ours: {before} -> {after} on the biased test" in get_recipe("biased-digits").published
    first = next((ROOT / "nbs" / "tutorials").glob("01_*.ipynb")).read_text(encoding="utf-8")
    assert f"from {before} % to {after} %" in first


def test_every_figure_of_the_tables_is_measured():
    square, clean, two = measured("square"), measured("square", "test"), measured("two-squares")
    for name in ("ERM", "random masks", "round 1"):
        cells = (
            f"{statistics.mean(v):.1f} ± {statistics.stdev(v):.1f} [{min(v):.1f}]" for v in (clean[name], square[name])
        )
        assert " | ".join(cells) in README, name
    apart = [
        100 * row["masktune"]["biased-test"]["average"]
        for row in over_seeds.read(ROOT / "benchmarks" / "digits_seeds_native.json")
    ]
    assert f"{statistics.mean(apart):.1f} ± {statistics.stdev(apart):.1f} [{min(apart):.1f}]" in README
    names = ("ERM", "round 1", "round 2", "round 3", "chosen", "oracle")
    assert " | ".join(f"{statistics.mean(two[name]):.1f} [{min(two[name]):.1f}]" for name in names) in README
    for found in (square, two):
        assert (
            f"{statistics.mean(found['behind']):.1f} points on average, {max(found['behind']):.1f} at worst" in README
        )
    for row in re.findall(r"^\| (?:ERM|two ERM|MaskTune alone).*%.*\|$", README, re.MULTILINE):
        assert row in selective_rows(), row


def selective_rows():
    "README's table on abstaining, from the figures"
    rows = over_seeds.read(ROOT / "benchmarks" / "selective.json")
    shown = {
        "ERM": "ERM",
        "two ERM models of different seeds": "two ERM seeds",
        "ERM and MaskTune together (the paper's pair)": "ERM x MaskTune",
        "MaskTune alone": "MaskTune",
    }
    lines = []
    for label, name in shown.items():
        found = [row[name]["biased-test"] for row in rows]
        coverage = 100 * statistics.mean(each["coverage"] for each in found)
        risk = 100 * statistics.mean(each["risk"] for each in found if each["risk"] is not None)
        areas = [each["aurc"] for each in found]
        lines.append(
            f"| {label} | {coverage:.1f} % | {risk:.0f} % | {statistics.mean(areas):.3f} ± "
            f"{statistics.stdev(areas):.3f} |"
        )
    return lines


def test_pictures_and_commands_exist():
    for path in re.findall(r'(?:src="|\]\()(?!http)([^")]+)', README):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target


def test_every_module_stands_in_the_table_of_its_floor():
    "Made from the notebooks: a room that was added, split or renamed is named again by `make readme`"
    notebooks = [path for path in (ROOT / "nbs" / "api").rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
    exported = {re.search(r"default_exp ([\w.]+)", path.read_text(encoding="utf-8"))[1] for path in notebooks}
    assert set(re.findall(r"^\|[^|]*\| `masktune\.([\w.]+)` \|", README, re.MULTILINE)) == exported


def test_figures_on_abstaining_are_of_ten_seeds_under_both_settings():
    rows = over_seeds.read(ROOT / "benchmarks" / "selective.json")
    ran = sorted((row["rounding"], row["seed"]) for row in rows)
    assert ran == sorted((name, seed) for name in over_seeds.FIXED for seed in range(50, 60))
    assert "Means over 10 seeds, each under both rounding settings." in README
