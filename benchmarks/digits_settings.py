"""How hard to finetune on biased digits: the choice behind the recipe, made without group labels and without a test
set.

    python benchmarks/digits_settings.py [--seeds 300-319] [--jobs 2]

Every candidate finetunes the same ERM models. Printed, as means over the seeds with the worst seed in brackets, are
accuracies on validation images: as they are; with what the ERM model looks at hidden (masked); and with it hidden
and what it looks at in an image of the other class pasted in (swapped). The last asks for both things a finetuned
model should be: able to read the digit, and not led by the old evidence. The recipe takes the candidate that is best
on it, in the mean and for the worst seed."""

import argparse
import statistics
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

CANDIDATES = {
    f"rate {lr}, batch {batch_size}{', recalibrated' if recalibrate else ''}": (lr, batch_size, recalibrate)
    for lr, batch_size in ((0.00125, 32), (0.0025, 8), (0.005, 32), (0.01, 32))
    for recalibrate in (False, True)
}


def run_seed(seed: int) -> dict[str, list[float]]:
    import torch

    from masktune.devices import seed_everything
    from masktune.evaluation import evaluate
    from masktune.experiments.datasets import load_dataset
    from masktune.finetune import MaskTune
    from masktune.masking import MaskedDataset
    from masktune.models import build_model

    torch.set_num_threads(1)
    train, val = (load_dataset("biased-digits", split, seed=seed) for split in ("train", "val"))
    seed_everything(seed)
    erm = (
        MaskTune(build_model("small-cnn", 2), seed=seed, device="cpu", progress=False)
        .fit_erm(train, val)
        .compute_maps(train)
    )
    swapped = erm.swapped(val)
    views = (val, MaskedDataset(val, swapped.maps), swapped)
    measured = {"ERM": [evaluate(erm.erm_, view, device="cpu").average.accuracy for view in views]}
    for name, (lr, batch_size, recalibrate) in CANDIDATES.items():
        run = erm.branch(finetune_lr=lr, finetune_batch_size=batch_size, recalibrate=recalibrate).finetune_round(train)
        measured[name] = [evaluate(run.model_, view, device="cpu").average.accuracy for view in views]
    return measured


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="300-319", help="first-last")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    options = parser.parse_args()
    first, last = map(int, options.seeds.split("-"))
    with ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(run_seed, range(first, last + 1)))
    print(f"{'finetuning':38}{'validation':>16}{'masked':>16}{'swapped':>16}")
    for name in rows[0]:
        columns = list(zip(*(row[name] for row in rows), strict=True))
        print(f"{name:38}" + "".join(f"{statistics.mean(c):>8.3f} [{min(c):.3f}]" for c in columns))
