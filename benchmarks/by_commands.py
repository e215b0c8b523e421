"""README's commands on a shortcut that is known: compose, erm, diagnose, repair.

    python benchmarks/by_commands.py --cache FOLDER --seeds 713-714 --sets sticker text frame --out FILE
    python benchmarks/by_commands.py --cache FOLDER --half choose --seeds 700-700 --sets none      # other cut-outs

Each command runs as a process of its own in a folder of its own, and reads what the one before has written. The
cut-outs, photographs and the pretrained EfficientNet-Lite0 are those of photo_material.py; `lite0.py`, which the
training imports, is what the guide on known shortcuts tells a reader to save. It stands in for README's
EfficientNet-B0, a seed is added, and each mark takes the sticker's place; otherwise they are typed as they stand.
Nothing was chosen here: the commands' own defaults stand, and the training is README's (three epochs, all of the
network, the best epoch by validation accuracy), where photographs.py calls the package, holds the first blocks still
and takes the last epoch.

What is there already is not run again. One thread a job; a job takes five to ten minutes on a core."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import over_seeds
from photo_material import prepare

README, GUIDE = over_seeds.ROOT / "README.md", over_seeds.ROOT / "nbs" / "guides" / "try_a_known_shortcut.md"
SETS: dict[str, dict[str, str]] = {  # what differs from README's first command
    "sticker": {},
    "text": {"--mark": "text"},
    "frame": {"--mark": "frame"},
    "background": {"--mark": "", "--correlation": "0.95"},
    "none": {"--correlation": "0.5"},
}
NAMES = {"birds": "scenes", "bird-run": "run"}  # of the folders that are written
STEPS = ("datasets", "erm", "diagnose", "repair", "diagnose repair")  # README's four, and the repaired model asked


def commands() -> list[list[str]]:
    "The words of README's four commands"
    lines = re.findall(r"^    masktune (.*\bbird.*)$", README.read_text(encoding="utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def with_option(words: Sequence[str], option: str, value: str) -> list[str]:
    "Another value for an option that takes one; none leaves the option out"
    at = list(words).index(option)
    return [*words[:at], *([option, value] if value else []), *words[at + 2 :]]


def with_folders(words: Sequence[str], option: str, folders: Sequence[str]) -> list[str]:
    "Other NAME=FOLDER pairs for an option that takes several"
    at = list(words).index(option) + 1
    rest = next((i for i in range(at, len(words)) if words[i].startswith("--")), len(words))
    return [*words[:at], *folders, *words[rest:]]


def adapted(name: str, seed: int, material: Path, half: str) -> list[list[str]]:
    "README's commands for one set: other folders, the network whose weights a package index has, and a seed"
    compose, train, *asked = [[NAMES.get(word, word) for word in words] for words in commands()]
    for option, value in SETS[name].items():
        compose = with_option(compose, option, value)
    objects = [f"{label.name}={label}" for label in sorted((material / "objects" / half).iterdir())]
    kinds = [f"{kind.name}={kind}" for kind in sorted((material / "backgrounds").iterdir())]
    compose = with_folders(with_folders(compose, "--objects", objects), "--backgrounds", kinds)
    train = [word for word in with_option(train, "--model", "lite0:pretrained") if word != "--pretrained"]
    train = with_option(train, "--root", "scenes/scenes.csv")
    seeded = [[*words, "--seed", str(seed)] for words in (compose, train)]
    return [*seeded, *asked, ["diagnose", "run", "--of", "repair"]]


def run_job(cache: Path, half: str, job: Sequence[Any]) -> dict[str, Any]:
    "Type the commands for one set and seed, and read what they have written"
    name, seed = job
    folder = cache / "commands" / half / f"{name}-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (factory,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (folder / "lite0.py").write_text(factory, encoding="utf-8")
    paths = [str(over_seeds.ROOT), str(cache / "python")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    seconds = {}
    for step, words in zip(STEPS, adapted(name, seed, cache / "material", half), strict=True):
        began = time.perf_counter()
        typed = [sys.executable, "-m", "masktune", *words, *([] if words[0] == "datasets" else ["--device", "cpu"])]
        done = subprocess.run(typed, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name}, seed {seed}: masktune {shlex.join(words)}\n{done.stderr[-3000:]}")
        seconds[step] = round(time.perf_counter() - began)
    return outcome(folder / "run") | {"set": name, "seed": seed, "half": half, "seconds": seconds}


def outcome(run: Path) -> dict[str, Any]:
    "What a run's files say: the verdicts, and the test images before and after"
    told, again, mended = (
        json.loads((run / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("diagnosis", "diagnosis-repair", "repair")
    )
    chosen = mended["choice"]["name"]
    on_test = {model: found["test"] for model, found in mended["metrics"].items()}
    figures = {
        name: {"average": on_test[model]["average"], "worst": on_test[model]["worst_group"]}
        for name, model in (("erm", "plain"), ("repair", chosen))
    }
    verdicts = {"diagnosed": told["remedy"], "certainty": told["certainty"], "again": again["remedy"]}
    lesser = {each["name"]: each["lesser"] for each in mended["candidates"] if "refit" not in each["name"]}
    return {**figures, **verdicts, "chosen": chosen, "lesser": lesser, "cost": mended["cost_in_erm_epochs"]}


def table(rows: Sequence[dict[str, Any]]) -> str:
    "A line for each training"
    lines = ["| set | seed | diagnose | taken | worst group | after | diagnose again |", "| --- " * 7 + "|"]
    for row in rows:
        worst = [f"{100 * row[name]['worst']:.1f}" for name in ("erm", "repair")]
        said = f"{row['diagnosed']} ({row['certainty']:.0%})"
        cells = [row["set"], str(row["seed"]), said, row["chosen"], *worst, row["again"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = over_seeds.options(__doc__, "710-712")
    parser.add_argument("--cache", type=Path, required=True, help="the folder that photo_material.py filled")
    parser.add_argument("--half", choices=("choose", "report"), default="report", help="of the cut-outs")
    parser.add_argument("--sets", nargs="+", choices=list(SETS), default=list(SETS))
    given = parser.parse_args()
    given.cache = given.cache.expanduser().resolve()
    prepare(given.cache)
    jobs = [[name, seed] for seed in over_seeds.seeds_of(given) for name in given.sets]
    over_seeds.run(given, partial(run_job, given.cache, given.half), jobs, table)


if __name__ == "__main__":
    main()
