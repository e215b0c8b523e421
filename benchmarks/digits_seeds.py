"""Biased digits over ten seeds: ERM, random masking and MaskTune after one round, every seed printed.

    python benchmarks/digits_seeds.py [--seeds 0-9] [--jobs 2] [--out benchmarks/digits_seeds.json]

The settings were fixed before seeds 0 to 9 were run, and none of them was chosen by groups or by a test set:

- network, optimiser, momentum, weight decay, masking rule, checkpoints, one epoch: the paper's and its official code's.
- learning rate constant at 0.01, in finetuning too: the official code's. Its paper decays the rate to an eighth first;
  an epoch here has 36 steps where MNIST's has 375, so that an eighth of the rate would hardly move the weights.
- 15 epochs of batches of 32 where MNIST has 100 of 128: validation accuracy stands still from about the tenth on.
- maps from the best epoch by validation accuracy, as in the official code. Two hundred and eighty-nine validation images
  leave many epochs equal; the latest of them is taken, being the nearest to the last weights, which are finetuned.

Seeds 100 to 107 were looked at while this was built, which is why they are not among the ten.
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
    parser.add_argument("--seeds", default="0-9", help="first-last")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split("-"))
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(run_seed, range(first, last + 1)))
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
