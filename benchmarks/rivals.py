"""bnnr beside MaskTune: the same images, network, first weights, epochs and rate, each in a process of its own.

    python benchmarks/rivals.py --env FOLDER                                      # biased-digits, seeds 30-32
    python benchmarks/rivals.py --env FOLDER --sets sticker --cache MATERIAL      # photographs, fetched before
    python benchmarks/rivals.py --env FOLDER --quick                              # one seed, two epochs
    python benchmarks/rivals.py --env FOLDER --out benchmarks/rivals.json ...     # adds the rows that are missing

bnnr 0.8 (MIT) is the nearest tool there is: it masks what a network looks at while it trains (its ICD), and keeps an
augmentation where validation accuracy rises. It runs through its own documented entry, `bnnr.quick_run`, with ICD as
its one candidate as its presets make it, and our optimiser; it never touches this project's environment: the script
makes one in `--env`, a venv that sees the packages of the Python that runs this, and installs bnnr there. Both sides
run in that Python, one thread each. `sticker` is the first set of benchmarks/photographs.py (EfficientNet-Lite0,
pretrained, 112 pixels), from the folder that benchmarks/photo_material.py filled.

A row: accuracy on the balanced (biased, of digits) test set, its worst group, seconds, and the most memory the process
ever held, images and PyTorch included."""

import argparse
import json
import os
import resource
import site
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from over_seeds import read, write
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("bnnr", "masktune", "repair")
BNNR = "bnnr==0.8.*"
QUIET: dict[str, Any] = {"device": "cpu", "progress": False}


def make_environment(folder: Path) -> Path:
    "A venv that sees our packages and holds bnnr; its Python"
    python = folder / "bin" / "python"
    if (folder / "ready").is_file():
        return python
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (place,) = folder.glob("lib/python*/site-packages")
    (place / "theirs.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    subprocess.run([python, "-m", "pip", "install", "--quiet", BNNR], check=True)
    (folder / "ready").write_text("ready\n", encoding="utf-8")
    return python


# What both are given


def digits(seed: int) -> tuple[dict[str, Any], nn.Module, dict[str, Any]]:
    "Biased digits, the small network, the recipe's settings"
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.methods import start_network
    from masktune.experiments.recipes import get_recipe

    recipe = get_recipe("biased-digits")
    names = {"train": "train", "val": "val", "test": "biased-test"}
    splits = {name: load_dataset("biased-digits", split, seed=seed) for name, split in names.items()}
    return splits, start_network(recipe, splits["train"], seed), dict(recipe.settings)


def sticker(seed: int, cache: Path, quick: bool) -> tuple[dict[str, Any], nn.Module, dict[str, Any]]:
    "Photographs with a sticker, the pretrained network, the benchmark's settings"
    from photographs import NETWORKS, Job

    job = Job(cache, "report", "sticker-98", "lite0", seed, 1e9, quick)
    splits = {split: job.images(split) for split in ("train", "val", "test")}
    epochs, lr = NETWORKS["lite0"]
    settings = {"epochs": epochs, "lr": lr, "batch_size": 32, "schedule": "constant", "finetune_lr": job.rate}
    return splits, job.untrained().network, settings


def write_job(path: Path, splits: dict[str, Any], network: nn.Module, settings: dict[str, Any], given: Any) -> None:
    "Everything a worker needs, as tensors and plain values"
    train = splits["train"]
    content = {
        "splits": {name: (d.images, d.labels, d.groups) for name, d in splits.items()},
        "names": (train.classes, train.group_names, splits["test"].group_names),
        "scale": (list(train.mean), list(train.std)),
        "weights": network.state_dict(),
        "settings": settings,
        "cache": str(given.cache) if given.cache else None,
    }
    torch.save(content, path)


# What a worker does


class Scaled(nn.Module):
    "A network for images in 0..1, as bnnr's loaders give them"

    def __init__(self, network: nn.Module, mean: list[float], std: list[float]):
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("std", torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.network((images - self.mean) / self.std)


def make_network(job: dict[str, Any]) -> nn.Module:
    "The network with its first weights"
    from masktune.models import build_model

    if job["cache"] is None:
        side = job["splits"]["train"][0].shape[-1]
        network: nn.Module = build_model("small-cnn", 2, image_size=side)
    else:
        from photo_material import pretrained_lite0
        from photographs import FROZEN

        network = pretrained_lite0(Path(job["cache"]), 2)
        for part in (network._conv_stem, network._bn0, *network._blocks[:FROZEN]):
            part.requires_grad_(False)
    network.load_state_dict(job["weights"])
    return network


def run_bnnr(job: dict[str, Any], seed: int) -> tuple[Any, dict[str, Any]]:
    "bnnr by its own entry: the model it ends with, and what it says of it"
    import bnnr
    from bnnr.presets import build_icd_augmentations
    from torch.utils.data import DataLoader, TensorDataset

    settings, (mean, std) = job["settings"], job["scale"]
    model = Scaled(make_network(job), mean, std)
    loaders = []
    for name in ("train", "val"):
        images, labels, _ = job["splits"][name]
        data = TensorDataset(images.float() / 255, labels)
        order = torch.Generator().manual_seed(seed)
        loaders.append(DataLoader(data, settings["batch_size"], shuffle=name == "train", generator=order))
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, settings["lr"], momentum=0.9, weight_decay=1e-4)
    target = [[m for m in model.modules() if isinstance(m, nn.Conv2d)][-1]]
    icd = build_icd_augmentations(model, target, random_state=seed)[0]  # its preset's; the other one is its opposite
    folder = tempfile.mkdtemp(prefix="bnnr-")
    places = {"checkpoint_dir": f"{folder}/checkpoints", "report_dir": f"{folder}/reports"}
    how = {"m_epochs": settings["epochs"], "max_iterations": 1, "device": "cpu", "seed": seed, "verbose": False}
    result = bnnr.quick_run(model, *loaders, augmentations=[icd], optimizer=optimizer, **how, **places)
    kept = list(result.selected_augmentations)
    return model.eval(), {"version": bnnr.__version__, "kept": kept, "val": float(result.best_metrics["accuracy"])}


def run_ours(job: dict[str, Any], seed: int, repairing: bool) -> tuple[Any, dict[str, Any]]:
    "MaskTune from the untrained network on, or with `repair` behind its plain model"
    from masktune.data import ArrayDataset
    from masktune.finetune import MaskTune
    from masktune.repair import repair

    classes, *_ = job["names"]
    mean, std = job["scale"]
    data = {
        name: ArrayDataset(images, labels, classes, mean=mean, std=std)
        for name, (images, labels, _) in job["splits"].items()
    }
    run = MaskTune(make_network(job), **job["settings"], seed=seed, device="cpu", progress=False)
    if not repairing:
        return run.fit(data["train"], data["val"]).model_, {}
    found = repair(run.fit_erm(data["train"], data["val"]), data["train"], data["val"])
    return found.model, {"kept": [found.choice.name]}


@torch.no_grad()
def measure(model: Any, job: dict[str, Any], tool: str) -> dict[str, float]:
    "Average and worst group on the test images"
    images, labels, groups = job["splits"]["test"]
    whole = images.float() / 255 if tool == "bnnr" else images
    right = torch.cat([model(part).argmax(1) for part in whole.split(100)]) == labels
    worst = min(right[groups == group].double().mean().item() for group in groups.unique())
    return {"average": right.double().mean().item(), "worst_group": worst}


def work(path: Path, tool: str, seed: int) -> dict[str, Any]:
    "One tool on one job"
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    job = torch.load(path, weights_only=True)
    started = time.perf_counter()
    model, told = run_bnnr(job, seed) if tool == "bnnr" else run_ours(job, seed, tool == "repair")
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in kB
    return {"tool": tool, "seed": seed, "seconds": seconds, "megabytes": memory, **measure(model, job, tool), **told}


# The table


def run_jobs(given: argparse.Namespace, python: Path) -> list[dict[str, Any]]:
    "Every tool on every set with every seed, each in a process of its own, kept when it is done; what is kept stays"
    rows = read(given.out) if given.out and given.out.exists() else []
    done = {(row["set"], row["seed"], row["tool"]) for row in rows}
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sets:
            for seed in given.seeds:
                missing = [tool for tool in given.tools if (name, seed, tool) not in done]
                if not missing:
                    continue
                path = Path(folder) / f"{name}-{seed}.pt"
                made = digits(seed) if name == "digits" else sticker(seed, given.cache, given.quick)
                if given.quick:
                    made[2]["epochs"] = 2
                write_job(path, *made, given if name == "sticker" else argparse.Namespace(cache=None))
                for tool in missing:
                    words = [python, __file__, "--work", path, "--tools", tool, "--seeds", str(seed)]
                    found = subprocess.run(words, env=env, capture_output=True, text=True)
                    if found.returncode:
                        raise SystemExit(f"{tool} on {name}, seed {seed}:\n{found.stderr[-3000:]}")
                    rows.append({"set": name, **json.loads(found.stdout.splitlines()[-1])})
                    print(json.dumps(rows[-1]), flush=True)
                    if given.out:
                        write(given.out, {str(k): row for k, row in enumerate(rows)})
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    "Mean, and worst seed of the worst group"
    lines = ["| set | tool | average | worst group | worst seed | seconds | MB |", "| --- " * 7 + "|"]
    for name, tool in dict.fromkeys((row["set"], row["tool"]) for row in rows):
        own = [row for row in rows if (row["set"], row["tool"]) == (name, tool)]
        mean = {key: statistics.mean(row[key] for row in own) for key in ("average", "seconds", "megabytes")}
        worst = [row["worst_group"] for row in own]
        lines.append(
            f"| {name} | {tool} | {100 * mean['average']:.1f} | {100 * statistics.mean(worst):.1f} | "
            f"{100 * min(worst):.1f} | {mean['seconds']:.0f} | {mean['megabytes']:.0f} |"
        )
    return "\n".join(lines)


def seeds_of(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", type=Path, help="where the environment with bnnr is, or is to be made")
    parser.add_argument("--sets", nargs="+", choices=("digits", "sticker"), default=["digits"])
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    parser.add_argument("--seeds", type=seeds_of, default=[30, 31, 32], help="first-last (default: 30-32)")
    parser.add_argument("--cache", type=Path, help="of sticker: the folder that photo_material.py filled")
    parser.add_argument("--out", type=Path, help="a JSON file of rows: what is missing there is run and added")
    parser.add_argument("--quick", action="store_true", help="one seed, two epochs")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        print(json.dumps(work(given.work, given.tools[0], given.seeds[0])))
        return
    if given.env is None:
        parser.error("--env is missing: name a folder for the environment with bnnr")
    if "sticker" in given.sets and given.cache is None:
        parser.error("--sets sticker needs --cache: the folder that benchmarks/photo_material.py filled")
    if given.quick:
        given.seeds = given.seeds[:1]
        if given.out and given.out.exists():
            parser.error(f"--quick: {given.out} may hold rows of whole trainings; name a file that is not there")
    rows = run_jobs(given, make_environment(given.env))
    print(f"\n{table(rows)}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
