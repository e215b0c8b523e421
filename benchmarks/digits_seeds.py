"""Biased digits over ten seeds: ERM, random masking and MaskTune after one round, every seed printed.

    python benchmarks/digits_seeds.py [--seeds 10-19] [--jobs 2] [--out benchmarks/digits_seeds.json]

The settings were fixed before these ten seeds were run, and none of them was chosen by groups or by a test set:

- network, optimiser, rates, schedule (halved at every quarter), masking rule, checkpoints and the one epoch of finetuning
  at the last rate: the paper's.
- 16 epochs of batches of 32, where the paper's MNIST has 100 of 128: there are 40 times fewer images.
- of epochs with equal validation accuracy (289 validation images leave many) the latest gives the maps, being the nearest
  to the last weights, which are finetuned.

A first version kept the rate constant at 0.01, as the official code does. On seeds 0 to 9 its mean on the biased test was
0.852. The rate was then chosen by validation accuracy on *masked validation images* over seeds 200 to 219: 0.874 at the
constant rate (worst seed 0.536), 0.967 with the paper's schedule (worst 0.927). Seeds that were looked at before that
choice, 0 to 9 and 100 to 107, are not among the ten.

A seed sets everything: the split of the scans, the exceptions to the shortcut, the initial weights, the order of images.
"""
import argparse
import json
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path


def run_seed(seed: int) -> dict:
    import torch

    from masktune.data import BIASED_SPLITS, load_dataset
    from masktune.finetune import MaskTune
    from masktune.models import build_model, seed_everything

    torch.set_num_threads(1)
    train, val, test, biased_test = (load_dataset("biased-digits", split, seed=seed) for split in BIASED_SPLITS)
    seed_everything(seed)
    run = MaskTune(build_model("small-cnn", 2), seed=seed, device="cpu", progress=False).fit(train, val)
    measured = run.evaluate({"test": test, "biased-test": biased_test}, others={"random_mask": run.fit_random_mask(train)})
    return {"seed": seed, **{name: {where: {"average": e.average.accuracy, "worst_group": e.worst_group_accuracy} for where, e in tests.items()}
                             for name, tests in measured.items()}}


def table(rows: list[dict]) -> str:
    models, tests = ("erm", "random_mask", "masktune"), ("test", "biased-test")
    head = ["seed", *(f"{model} {test}" for test in tests for model in models)]
    body = [[str(row["seed"]), *(f"{row[model][test]['average']:.3f}" for test in tests for model in models)] for row in rows]
    for name, measure in (("mean", statistics.mean), ("std", statistics.stdev), ("min", min), ("max", max)):
        if len(rows) > 1:
            body.append([name, *(f"{measure([row[model][test]['average'] for row in rows]):.3f}" for test in tests for model in models)])
    widths = [max(len(line[i]) for line in [head, *body]) for i in range(len(head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *body])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="10-19", help="first-last")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split("-"))
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(run_seed, range(first, last + 1)))
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
