"""Rounds on biased digits: with and without accumulated masks, with one square and with two, and which round a label-free rule takes.

    python benchmarks/rounds.py [--seeds 40-44] [--jobs 2] [--out benchmarks/rounds.json]

Settings are the recipe biased-digits with three rounds, as in the paper. The rule was chosen on seeds 400 to 407, out of twelve,
by what an oracle (the round that is best on the biased test) gains over it. On those seeds it lost 0.9, 0.5, 0.5 and 0.0 points
in the four settings below, in their order; accuracy on plain validation images lost up to 26, on masked ones up to 35, swapped images
with ERM's evidence alone up to 12. Seeds 40 to 44 were run once, afterwards.
"""

import statistics

import over_seeds

ROUNDS = 3


def run_seed(job: tuple[int, str, bool]) -> dict:
    import torch

    from masktune.datasets import BIASED_SPLITS, load_dataset
    from masktune.finetune import MaskTune
    from masktune.models import build_model, seed_everything
    from masktune.recipes import get_recipe

    seed, shortcut, accumulate = job
    torch.set_num_threads(1)
    train, val, test, biased_test = (load_dataset("biased-digits", split, seed=seed, shortcut=shortcut) for split in BIASED_SPLITS)
    seed_everything(seed)
    settings = dict(get_recipe("biased-digits").settings) | {"rounds": ROUNDS, "accumulate": accumulate}
    run = MaskTune(build_model("small-cnn", 2), **settings, seed=seed, device="cpu", progress=False).fit(train, val)
    metrics = run.evaluate({"test": test, "biased-test": biased_test, "val": val})
    return {
        "seed": seed,
        "shortcut": shortcut,
        "accumulate": accumulate,
        "chosen": run.round_,
        "rounds": [{where: e.average.accuracy for where, e in metrics[name].items()} for name in ("erm", *(f"round-{n}" for n in range(1, ROUNDS + 1)))],
    }


def table(rows: list[dict]) -> str:
    lines = []
    for shortcut in ("square", "two-squares"):
        for accumulate in (False, True):
            mine = [row for row in rows if row["shortcut"] == shortcut and row["accumulate"] == accumulate]
            lines.append(f"{shortcut}, masks {'accumulated' if accumulate else 'anew each round'}, {len(mine)} seeds: mean [worst seed]")
            for where in ("biased-test", "test", "val"):
                cells = []
                for number in range(ROUNDS + 1):
                    values = [row["rounds"][number][where] for row in mine]
                    cells.append(f"{'ERM' if number == 0 else f'round {number}'} {statistics.mean(values):.3f} [{min(values):.3f}]")
                lines.append(f"  {where:12} " + "   ".join(cells))
            chosen = [row["rounds"][row["chosen"]]["biased-test"] for row in mine]
            oracle = [max(r["biased-test"] for r in row["rounds"][1:]) for row in mine]
            lines.append(f"  chosen round {statistics.mean(chosen):.3f} [{min(chosen):.3f}], rounds {[row['chosen'] for row in mine]}")
            lines.append(f"  oracle       {statistics.mean(oracle):.3f} [{min(oracle):.3f}]")
    return "\n".join(lines)


if __name__ == "__main__":
    given = over_seeds.options(__doc__, "40-44").parse_args()
    jobs = [(seed, shortcut, accumulate) for shortcut in ("square", "two-squares") for accumulate in (False, True) for seed in over_seeds.seeds_of(given)]
    over_seeds.run(given, run_seed, jobs, table)
