"""Every method of `masktune compare-methods` on several sets: "Beside other methods" in RESULTS.md.

    python benchmarks/methods.py --keep FOLDER --out benchmarks/methods.json            # three of four sets, five seeds
    python benchmarks/methods.py --keep FOLDER --sets sticker --cache MATERIAL --seeds 710-714   # photographs
    python benchmarks/methods.py --keep FOLDER --sets sticker --cache MATERIAL --seeds 710-714 --device cuda
    python benchmarks/methods.py --keep FOLDER --sets biased-digits --seeds 0 --methods erm,masktune

Each method's figures are kept in `--keep` when it is done, so that a run may be stopped at any time and goes on where
it was; jobs are one set and seed each, one thread each. `sticker` is the first set of benchmarks/photographs.py with
its pretrained EfficientNet-Lite0, from the folder that benchmarks/photo_material.py filled: hours on a CPU.

Hyper-parameters are chosen from the few values in masktune.experiments.methods, once without group labels and once
(the columns marked with a dagger) by validation groups. Seeds 0 to 9 of biased-digits had been looked at before, to
choose ERM's rate (digits_seeds.py); 710 to 712 of the photographs, while `repair` was made."""

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from masktune.experiments.compare_methods import (
    MethodComparison,
    MethodRow,
    chosen_methods,
    compare_methods,
    kept_plain,
    run_method,
)
from masktune.experiments.methods import make_bench
from masktune.experiments.recipes import Recipe, get_recipe, override
from masktune.files import read_json, write_json

SETS = {
    "biased-digits": ("biased-digits", []),
    "two-squares": ("biased-digits", ["options.shortcut=two-squares"]),
    "digit-scenes": ("digit-scenes", []),
    "sticker": ("", []),
}
# for processes that are started here: where photographs and weights lie, and what is computed on
MATERIAL, DEVICE = "MASKTUNE_PHOTO_MATERIAL", "MASKTUNE_METHODS_DEVICE"


def lite0(num_classes: int) -> nn.Module:
    "EfficientNet-Lite0 with ImageNet weights, its first blocks frozen, as benchmarks/photographs.py has it"
    from photo_material import pretrained_lite0
    from photographs import FROZEN

    network = pretrained_lite0(Path(os.environ[MATERIAL]), num_classes)
    for part in (network._conv_stem, network._bn0, *network._blocks[:FROZEN]):
        part.requires_grad_(False)
    return network.to(memory_format=torch.channels_last)


def recipe_of(name: str) -> Recipe:
    "What a set is compared on; the recipe of photographs names our own network"
    device = os.environ[DEVICE]
    if name != "sticker":
        recipe, changes = SETS[name]
        return override(get_recipe(recipe), [*changes, f"settings.device={device}"])
    settings = {"epochs": 3, "lr": 0.01, "batch_size": 32, "schedule": "constant", "finetune_lr": 0.003}
    return Recipe("csv", "methods:lite0", settings | {"device": device}, pretrained=True)


def photographs(seed: int, names: list[str] | None, keep: Path) -> list[MethodRow]:
    "Methods on photographs with a sticker, which are composed anew for each seed"
    from photographs import Job

    job, recipe = Job(Path(os.environ[MATERIAL]), "report", "sticker-98", "lite0", seed, 1e9), recipe_of("sticker")
    splits = {split: job.images(split) for split in ("train", "val", "test")}
    train, val = splits["train"], splits["val"]
    own = keep / "sticker" / f"seed-{seed}"
    bench, rows = None, []
    for name in chosen_methods(names, recipe, splits)[0]:
        path = own / f"{name}.json"
        if not path.exists():
            bench = bench or make_bench(recipe, seed, train, val, kept_plain(recipe, seed, train, val, own / "erm.pt"))
            write_json(path, run_method(bench, name, {"test": splits["test"]}).__dict__)
        rows.append(MethodRow(**read_json(path)))
    return rows


def job(given: tuple[str, int, list[str] | None, Path]) -> list[MethodRow]:
    "One set and seed"
    name, seed, methods, keep = given
    torch.set_num_threads(1)
    os.chdir(Path(__file__).parent)  # where `methods:lite0` is found
    if name == "sticker":
        return photographs(seed, methods, keep)
    return compare_methods(recipe_of(name), methods, [seed], folder=keep / name, resume=True).rows


def brief(found: MethodComparison) -> dict[str, Any]:
    "Figures as JSON, of the attempts that were not chosen the settings alone: the rest stays in `--keep`"
    whole = found.to_dict()
    for row in whole["rows"]:
        row["tries"] = [{"setting": one["setting"]} for one in row["tries"]]
    return whole


def joined(earlier: list[dict[str, Any]], rows: list[MethodRow]) -> list[MethodRow]:
    "What was measured now, with an earlier file's rows of other seeds and methods, by seed"
    now = {(row.method, row.seed) for row in rows}
    kept = [MethodRow(**{"tries": []} | row) for row in earlier if (row["method"], row["seed"]) not in now]
    return sorted([*kept, *rows], key=lambda row: row.seed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", type=Path, required=True, help="a folder outside the repository")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=["biased-digits", "two-squares", "digit-scenes"])
    parser.add_argument("--methods", help="names with commas between (default: all that fit)")
    parser.add_argument("--seeds", default="0-4", help="first-last")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    parser.add_argument("--cache", type=Path, help="of sticker: the folder that photo_material.py filled")
    parser.add_argument("--out", type=Path, help="the figures, as JSON")
    given = parser.parse_args()
    if "sticker" in given.sets and given.cache is None:
        parser.error("--sets sticker needs --cache: the folder that benchmarks/photo_material.py filled")
    os.environ[MATERIAL] = str(given.cache.resolve()) if given.cache else ""
    os.environ[DEVICE] = given.device
    first, _, last = given.seeds.partition("-")
    names = given.methods.split(",") if given.methods else None
    keep = given.keep.resolve()
    jobs = [(name, seed, names, keep) for name in given.sets for seed in range(int(first), int(last or first) + 1)]
    found: dict[str, list[MethodRow]] = {name: [] for name in given.sets}
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        for (name, *_), rows in zip(jobs, pool.map(job, jobs), strict=True):
            found[name] += rows
    written = read_json(given.out) if given.out and given.out.is_file() else {}  # sets and seeds not asked for stay
    for name, rows in found.items():
        comparison = MethodComparison(recipe_of(name), joined(written.get(name, {}).get("rows", []), rows))
        written[name] = brief(comparison)
        print(f"{name}\n{comparison}\n", flush=True)
    if given.out:
        write_json(given.out, written)


if __name__ == "__main__":
    main()
