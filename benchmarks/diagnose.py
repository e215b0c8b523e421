"""Does `diagnose` name the right remedy, and is it quiet where there is no shortcut?

    python benchmarks/diagnose.py [--seeds 710-719] [--sets square ...] [--models DIR] [--quick] [--out diagnose.json]

Eight sets of scanned digits whose shortcut is known (shortcut_sets.py); one plain model each and seed, by the recipe
biased-digits. The right remedy of a set is the one that wins in worst-group accuracy on it (--remedies measures them;
a set where nothing wins by itself counts as told when its shortcut is). The limits were fixed on seeds 700 to 703,
the table is of others. Figures are written after every training, and a second call runs only what is missing; with
--minutes it stops in time, with --models it keeps the plain models. --quick: two seeds of three sets."""

import argparse
import json
import time
from pathlib import Path

import over_seeds
from shortcut_sets import SETS, open_set, plain_run

RIGHT: dict[str, tuple[str, ...]] = {
    "square": ("mask", "both"),
    "two squares": ("mask", "both"),
    "sticker on scenes": ("mask", "both"),
    "text on scenes": ("mask", "both"),
    "frame on scenes": ("mask", "both"),
    "background": ("refit",),
    "clean digits": ("nothing",),
    "clean scenes": ("nothing",),
}


def worst_group(model, data) -> float:
    from masktune.evaluation import evaluate

    found = evaluate(model, data, device="cpu", progress=False)
    return float(found.worst_group_accuracy)


def outcomes(run, splits) -> dict[str, float]:
    "Worst-group accuracy of the plain model and after each remedy"
    from masktune.refit import refit

    found = {"plain": worst_group(run.erm_, splits.test)}
    found["refit"] = worst_group(refit(run.erm_, splits.val, device="cpu", progress=False)[0], splits.test)
    run.compute_maps(splits.train).fit_rounds(splits.train, splits.val)
    found["mask"] = worst_group(run.model_, splits.test)
    both = refit(run.model_, splits.val, gamma=0.0, device="cpu", progress=False)[0]
    return found | {"both": worst_group(both, splits.test)}


def run_one(name: str, seed: int, given: argparse.Namespace) -> dict:
    from masktune.diagnosis import diagnose

    splits = open_set(name, seed)
    run = plain_run(name, seed, splits, given.network, given.models)
    started = time.perf_counter()
    found = diagnose(run.erm_, splits.val, device="cpu")
    row = {"set": name, "seed": seed, "network": given.network, "remedy": found.remedy, "certainty": found.certainty}
    row["layer"] = found.layer
    row |= {"passes": found.passes, "seconds": round(time.perf_counter() - started, 2)}
    row["worst_group"] = worst_group(run.erm_, splits.test)
    for figure in ("look", "shared", "fall", "anywhere", "place"):
        row[figure] = [round(getattr(one, figure).mean, 3) for one in found.classes.values()]
    for figure in ("plain", "hidden", "elsewhere", "swapped", "alone", "unsure"):
        row[figure] = [round(getattr(one, figure).accuracy, 3) for one in found.classes.values()]
    return row | ({"outcomes": outcomes(run, splits)} if given.remedies else {})


def table(rows: list[dict]) -> str:
    lines = [f"{'':20}{'seeds':>6}{'right':>7}{'sure':>7}{'worst group':>13}  named"]
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        named = [row["remedy"] for row in mine]
        counts = ", ".join(f"{named.count(r)} {r}" for r in dict.fromkeys(named))
        right = sum(remedy in RIGHT[name] for remedy in named)
        sure, worst = (sum(row[key] for row in mine) / len(mine) for key in ("certainty", "worst_group"))
        lines.append(f"{name:20}{len(mine):6}{right:7}{sure:7.0%}{worst:13.1%}  {counts}")
    return "\n".join([*lines, f"passes over the images: at most {max((row['passes'] for row in rows), default=0):.2f}"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="710-719", help="first-last")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--network", default="small-cnn")
    parser.add_argument("--models", type=Path, help="folder where plain models are kept")
    parser.add_argument("--remedies", action="store_true", help="measure what each remedy brings, too")
    parser.add_argument("--again", action="store_true", help="run what is there already once more")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so long")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the figures, as JSON; what stands there already is not run again")
    return parser.parse_args()


def main() -> None:
    import torch

    given = arguments()
    torch.set_num_threads(1)
    if given.quick:
        given.seeds, given.sets = "710-711", ["square", "background", "clean digits"]
    kept = {}
    if given.out and given.out.exists():
        kept = {json.dumps([row["set"], row["seed"], row["network"]]): row for row in over_seeds.read(given.out)}
    started = time.monotonic()
    for seed in over_seeds.seeds_of(given):
        for name in given.sets:
            key = json.dumps([name, seed, given.network])
            if (key in kept and not given.again) or time.monotonic() - started > 60 * given.minutes:
                continue
            kept[key] = run_one(name, seed, given)
            if given.out:
                over_seeds.write(given.out, kept)
    wanted = [row for row in kept.values() if row["seed"] in over_seeds.seeds_of(given) and row["set"] in given.sets]
    print(table(wanted))


if __name__ == "__main__":
    main()
