"""Why a finetuning takes ERM's first rate, at least 32 steps, and batch normalisation measured anew.

    python benchmarks/finetuning_defaults.py --rounding all [--seeds 720-729] [--out FILE.json]

The case: `MaskTune(small_cnn, epochs=20, batch_size=128, lr=0.01)` as a reader of README would write it, on embedded
digits with the square on 99 %. An epoch has 9 steps of 128 images, at a rate that was halved three times. One plain
model a seed; every row is a branch of it. Shown: accuracy on the biased test, mean and worst seed.

Settings were looked at on seeds 704 and 705, which are not among those reported."""

import statistics

import over_seeds

# Each row adds one thing to the row before.
VARIANTS: dict[str, dict] = {
    "paper": {"recipe": "paper", "recalibrate": None},
    "ERM's first rate": {"recipe": "paper", "recalibrate": None, "finetune_lr": 0.01},
    "and statistics anew": {"recipe": "paper", "recalibrate": True, "finetune_lr": 0.01},
    "and 32 steps: measured": {},
}


def run_seed(seed: int) -> dict:
    import torch

    from masktune.devices import seed_everything
    from masktune.evaluation import evaluate
    from masktune.experiments.datasets import load_dataset
    from masktune.finetune import MaskTune
    from masktune.models import build_model

    torch.set_num_threads(1)
    train, val, biased = (load_dataset("biased-digits", split, seed=seed) for split in ("train", "val", "biased-test"))
    machine = {"device": "cpu", "progress": False}
    seed_everything(seed)
    run = MaskTune(build_model("small-cnn", 2), epochs=20, batch_size=128, lr=0.01, seed=seed, **machine)
    run.fit_erm(train, val).compute_maps(train)
    found = {"ERM": evaluate(run.plain_model, biased, **machine).average.accuracy}
    for name, changes in VARIANTS.items():
        branch = run.branch(**changes).finetune_round(train)
        found[name] = evaluate(branch.model_, biased, **machine).average.accuracy
    return {"accuracy": found}


def table(rows: list[dict]) -> str:
    from masktune.evaluation import Table

    names = ["ERM", *VARIANTS]
    by_name = {name: [row["accuracy"][name] for row in rows] for name in names}
    cells = [[name, statistics.mean(values), min(values)] for name, values in by_name.items()]
    head = ["finetuning", "mean", "worst seed"]
    said = f"biased test, {len(rows)} trainings"
    return str(Table(head, cells, said, dict.fromkeys(head[1:], ".1%")))


if __name__ == "__main__":
    given = over_seeds.options(__doc__, "720-729").parse_args()
    over_seeds.run(given, run_seed, list(over_seeds.seeds_of(given)), table)
