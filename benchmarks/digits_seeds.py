"""Biased digits over ten seeds and two rounding settings: ERM, random masking, and MaskTune after one round and
after three.

    python benchmarks/digits_seeds.py --rounding all [--seeds 30-39] [--jobs 2] [--out benchmarks/digits_seeds.json]

With one red square and with two squares. `--rounding all` runs every seed under both settings that stand for other
processors (over_seeds.py); README, the first tutorial and the demo quote what comes of it. The settings were fixed
before these ten seeds were run, and none of them was chosen by groups or on these seeds:

- network, optimiser, ERM's rates and schedule (halved at every quarter), masking rule, checkpoints, one epoch of
  finetuning: the paper's, with 16 epochs of batches of 32 where its MNIST, forty times larger, has 100 of 128.
- of epochs with equal validation accuracy (289 validation images leave many) the latest gives the maps, being the
  nearest to the last weights, which are finetuned.
- the finetuning's rate (ERM's first, as in the official code) and measuring batch normalisation anew after it: by
  accuracy on swapped validation images over seeds 300 to 319 (digits_settings.py).

Earlier choices were measured and given up, with the mean on the biased test they had: a constant rate for ERM too
(0.852, seeds 0 to 9), the paper's last rate (0.651, seeds 10 to 19, which cannot unlearn the square in 36 steps), a
rate of 0.0025 in batches of 8 (0.933 and, with images in another order, 0.882, seeds 20 to 29). What made them
unsteady was batch normalisation's running statistics after a short epoch. Seeds seen before the last choice, 0 to 29
and 100 to 107, are not among the ten. So the candidates, though not the choice between the last of them, were shaped
by what earlier ones did on biased tests.

Which of three rounds is kept, `choose_round` decides by swapped validation images. That rule, the worst accuracy
over whose evidence is swapped, was chosen out of twelve on seeds 400 to 407 by what the round that is best on the
biased test gains over it; that rounds within one standard error of their difference count as equal is a convention,
taken as it stands (Breiman et al., 1984) and not tuned. `rounds.py --noise` shows what other widths would cost.

A seed sets all but how the processor rounds: the split of the scans, the exceptions to the shortcut, the initial
weights, the order of images."""

import statistics

import over_seeds

ROUNDS = 3
SHORTCUTS = ("square", "two-squares")


def run_seed(job: tuple[int, str], accumulate: bool = True) -> dict:
    import torch

    from masktune.devices import seed_everything
    from masktune.evaluation import evaluate
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.digits import BIASED_SPLITS
    from masktune.experiments.recipes import get_recipe
    from masktune.finetune import MaskTune
    from masktune.models import build_model

    seed, shortcut = job
    torch.set_num_threads(1)
    splits = [load_dataset("biased-digits", split, seed=seed, shortcut=shortcut) for split in BIASED_SPLITS]
    train, val, test, biased_test = splits
    tests = {"test": test, "biased-test": biased_test, "val": val}
    machine = {"device": "cpu", "progress": False}
    seed_everything(seed)
    settings = dict(get_recipe("biased-digits").settings) | {"rounds": ROUNDS, "accumulate": accumulate}
    run = (
        MaskTune(build_model("small-cnn", 2), **settings, seed=seed, **machine).fit_erm(train, val).compute_maps(train)
    )

    def measure(model) -> dict:
        found = {where: evaluate(model, data, **machine) for where, data in tests.items()}
        return {
            where: {"average": e.average.accuracy, "worst_group": e.worst_group_accuracy} for where, e in found.items()
        }

    def outcomes(run: MaskTune) -> list[list[str]]:
        "By round, then by whose evidence is swapped: which validation images are right, as hexadecimal digits"
        swapped = [run.swapped(val, number) for number in range(1, ROUNDS + 1)]
        models = [done.model for done in run.rounds_]
        return [[pack(evaluate(model, data, **machine).correct) for data in swapped] for model in models]

    row = {"seed": seed, "shortcut": shortcut, "images": len(val), "erm": measure(run.erm_)}
    row["random_mask"] = measure(run.fit_control(train))
    run.fit_rounds(train)  # without validation images: the choice is made from `swapped`, and can be made again
    return row | {"rounds": [measure(done.model) for done in run.rounds_], "swapped": outcomes(run)}


def pack(correct) -> str:
    "True and false as bits, in hexadecimal digits"
    return f"{int(''.join('1' if right else '0' for right in correct.tolist()), 2):0{-(-len(correct) // 4)}x}"


def unpack(text: str, count: int):
    import torch

    return torch.tensor([digit == "1" for digit in f"{int(text, 16):0{count}b}"])


def choice(row: dict, **options: float):
    "What `choose_round` says to this row: the same function, on the outcomes kept"
    from masktune.rounds import choose_by_outcomes

    outcomes = {n: [unpack(text, row["images"]) for text in sets] for n, sets in enumerate(row["swapped"], 1)}
    return choose_by_outcomes(outcomes, **options)


def columns(row: dict, where: str = "biased-test") -> dict[str, float]:
    """Accuracies of one training by what README's tables call them; `behind` is what the chosen round lacks to the
    best one"""
    rounds = [each[where]["average"] for each in row["rounds"]]
    chosen, oracle = rounds[choice(row).chosen - 1], max(rounds)
    named = {"ERM": row["erm"][where]["average"], "random masks": row["random_mask"][where]["average"]}
    named |= {f"round {number}": value for number, value in enumerate(rounds, 1)}
    return named | {"chosen": chosen, "oracle": oracle, "behind": oracle - chosen}


def over(rows: list[dict], shortcut: str, where: str = "biased-test") -> dict[str, list[float]]:
    "The columns of every training with that shortcut"
    found = [columns(row, where) for row in rows if row["shortcut"] == shortcut]
    return {name: [one[name] for one in found] for name in (found[0] if found else ())}


MEASURES = {
    "mean": statistics.mean,
    "std": lambda values: statistics.stdev(values) if len(values) > 1 else 0.0,
    "lowest": min,
    "highest": max,
}


def table(rows: list[dict]) -> str:
    lines = []
    for shortcut in SHORTCUTS:
        for where in ("biased-test", "test"):
            found = over(rows, shortcut, where)
            if not found:
                continue
            count = len(found["ERM"])
            lines.append(f"{shortcut}, {where}, {count} trainings")
            lines.append(f"{'':8}" + "".join(f"{name:>14}" for name in found))
            each = (
                [(str(row["seed"]), columns(row, where)) for row in rows if row["shortcut"] == shortcut]
                if count <= 10
                else []
            )
            for name, values in each:
                lines.append(f"{name:>8}" + "".join(f"{value:14.3f}" for value in values.values()))
            for name, measure in MEASURES.items():
                lines.append(f"{name:>8}" + "".join(f"{measure(values):14.3f}" for values in found.values()))
            lines.append("")
    return "\n".join(lines).rstrip()


if __name__ == "__main__":
    given = over_seeds.options(__doc__, "30-39").parse_args()
    jobs = [[seed, shortcut] for shortcut in SHORTCUTS for seed in over_seeds.seeds_of(given)]
    over_seeds.run(given, run_seed, jobs, table)
