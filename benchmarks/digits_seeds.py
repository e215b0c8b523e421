"""Biased digits over ten seeds: ERM, random masking and MaskTune after one round, every seed printed.

    python benchmarks/digits_seeds.py [--seeds 30-39] [--jobs 2] [--out benchmarks/digits_seeds.json]

The settings were fixed before these ten seeds were run, and none of them was chosen by groups or by a test set:

- network, optimiser, ERM's rates and schedule (halved at every quarter), masking rule, checkpoints, one epoch of finetuning:
  the paper's, with 16 epochs of batches of 32 where its MNIST, forty times larger, has 100 of 128.
- of epochs with equal validation accuracy (289 validation images leave many) the latest gives the maps, being the nearest
  to the last weights, which are finetuned.
- the finetuning's rate (ERM's first, as in the official code) and measuring batch normalisation anew after it: by accuracy
  on swapped validation images over seeds 300 to 319 (digits_settings.py).

Earlier choices were measured and given up, with the mean on the biased test they had: a constant rate for ERM too (0.852, seeds
0 to 9), the paper's last rate (0.651, seeds 10 to 19, which cannot unlearn the square in 36 steps), a rate of 0.0025 in batches
of 8 (0.933 and, with images in another order, 0.882, seeds 20 to 29). What made them unsteady was batch normalisation's running
statistics after a short epoch. Seeds seen before the last choice, 0 to 29 and 100 to 107, are not among the ten.

A seed sets everything: the split of the scans, the exceptions to the shortcut, the initial weights, the order of images.
"""

import statistics

import over_seeds


def run_seed(seed: int) -> dict:
    import torch

    from masktune.datasets import BIASED_SPLITS, load_dataset
    from masktune.finetune import MaskTune
    from masktune.models import build_model, seed_everything
    from masktune.recipes import get_recipe

    torch.set_num_threads(1)
    train, val, test, biased_test = (load_dataset("biased-digits", split, seed=seed) for split in BIASED_SPLITS)
    seed_everything(seed)
    run = MaskTune(build_model("small-cnn", 2), **get_recipe("biased-digits").settings, seed=seed, device="cpu", progress=False).fit(train, val)
    measured = run.evaluate({"test": test, "biased-test": biased_test}, others={"random_mask": run.fit_control(train)})
    return {
        "seed": seed,
        **{
            name: {where: {"average": e.average.accuracy, "worst_group": e.worst_group_accuracy} for where, e in tests.items()}
            for name, tests in measured.items()
        },
    }


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
    given = over_seeds.options(__doc__, "30-39").parse_args()
    over_seeds.run(given, run_seed, over_seeds.seeds_of(given), table)
