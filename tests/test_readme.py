"What the README says holds: its code runs, its figures come out of its commands."

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_made_from_the_front_page():
    run = subprocess.run([sys.executable, ROOT / "scripts" / "readme.py", "--check"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_ten_lines_on_a_folder_of_images(pets, tmp_path, monkeypatch):
    first, second = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in first.splitlines() if line.strip()]) <= 10
    # the same lines on a small network, without a download, for two epochs
    smaller = {'"my-images"': repr(str(pets)) + ", size=64", "resnet50": "resnet18", "pretrained=True": "pretrained=False"}
    for old, new in (smaller | {"epochs=10": 'epochs=2, device="cpu", batch_size=8'}).items():
        assert old in first
        first = first.replace(old, new)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(first, names)
    assert (tmp_path / "report.html").exists() and (tmp_path / "my-run" / "round-1" / "last.safetensors").exists()
    names["my_model"] = names["run"].erm_
    exec(second.replace("lr=1e-4", 'lr=1e-4, device="cpu"'), names)


def test_figures_are_the_benchmarks():
    "The demo's seed is the first of the ten that benchmarks/digits_seeds.py ran and wrote down"
    from masktune.cli import _demo

    first = json.loads((ROOT / "benchmarks" / "digits_seeds.json").read_text())[0]
    said = re.search(r"it is right (\d+) % of the time\. After one epoch.*?: (\d+) %\. \(Seed (\d+)", README, re.DOTALL).groups()
    measured = (round(100 * first[model]["biased-test"]["average"]) for model in ("erm", "masktune"))
    assert tuple(map(int, said)) == (*measured, first["seed"])
    assert inspect.signature(_demo).parameters["seed"].default == first["seed"]


def test_pictures_and_commands_exist():
    for path in re.findall(r'(?:src="|\]\()(?!http)([^")]+)', README):
        assert (ROOT / path).exists(), path
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert f"\n{target}:" in makefile, target
