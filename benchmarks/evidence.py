"""Does the evidence that `choose_evidence` takes cover the true shortcut? The structural layer is the column to beat.

    python benchmarks/evidence.py [--seeds 710-712] [--sets square ...] [--network small-cnn] [--models DIR]
                                  [--quick] [--out benchmarks/evidence.json]

Sets of shortcut_sets.py whose shortcut has a place; plain models by the recipe biased-digits (resnet18: 8 epochs).
Covered is the share of the shortcut's pixels under the masks, over the validation images that carry it; the choice
never sees where it lies. Figures are written after every training, and a second call runs only what is missing."""

import argparse
import json
import time
from pathlib import Path

import over_seeds
from shortcut_sets import SETS, open_set, plain_run

PLACED = [name for name in SETS if name not in ("background", "clean digits", "clean scenes")]


def covered(model, splits, layer, source, rule) -> tuple[float, float]:
    "The share of the shortcut that is masked, and of the image"
    from masktune.saliency import compute_saliency

    marked = splits.where.flatten(1).any(1)
    part = splits.val.subset(marked.nonzero().flatten().tolist())
    maps = compute_saliency(model, part, layer, source, device="cpu", progress=False)
    masks, true = rule(maps.maps.float(), tuple(splits.where.shape[1:])), splits.where[marked]
    return float((masks & true).sum() / true.sum()), float(masks.float().mean())


def run_one(name: str, seed: int, given: argparse.Namespace) -> dict:
    from masktune.faithfulness import choose_evidence
    from masktune.masking import Threshold

    splits = open_set(name, seed)
    changes = {} if given.network == "small-cnn" else {"epochs": 8}
    model = plain_run(name, seed, splits, given.network, given.models, **changes).erm_
    started = time.perf_counter()
    found = choose_evidence(model, splits.val)
    row = {"set": name, "seed": seed, "network": given.network, "seconds": round(time.perf_counter() - started, 2)}
    row |= {"chosen": found.chosen.name, "lead": found.lead, "passes": found.passes, "effect": found.chosen.effect.mean}
    row["covered"], row["area"] = covered(model, splits, found.layer, found.source, found.rule)
    paper = covered(model, splits, None, "xgradcam", Threshold("mean_std", 2.0))
    return row | {"structural": paper[0], "structural_area": paper[1], "true_area": float(splits.where.float().mean())}


def table(rows: list[dict]) -> str:
    lines = [f"{'':12}{'':20}{'seeds':>6}{'covered':>9}{'least':>7}{'area':>7}{'structural':>12}{'area':>7}{'true':>7}"]
    for network, name in dict.fromkeys((row["network"], row["set"]) for row in rows):
        mine = [row for row in rows if (row["network"], row["set"]) == (network, name)]
        mean = {key: sum(row[key] for row in mine) / len(mine) for key in mine[0] if isinstance(mine[0][key], float)}
        least = min(row["covered"] for row in mine)
        lines.append(
            f"{network:12}{name:20}{len(mine):6}{mean['covered']:9.2f}{least:7.2f}{mean['area']:7.1%}"
            f"{mean['structural']:12.2f}{mean['structural_area']:7.1%}{mean['true_area']:7.1%}"
        )
    return "\n".join(lines)


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="710-712", help="first-last")
    parser.add_argument("--sets", nargs="+", default=PLACED, choices=PLACED)
    parser.add_argument("--network", default="small-cnn")
    parser.add_argument("--models", type=Path, help="folder where plain models are kept")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after so long")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, help="the figures, as JSON; what stands there already is not run again")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.quick:
        given.seeds, given.sets = "710-710", ["square", "sticker on scenes"]
    kept, started = {}, time.monotonic()
    if given.out and given.out.exists():
        kept = {json.dumps([row["set"], row["seed"], row["network"]]): row for row in over_seeds.read(given.out)}
    for seed in over_seeds.seeds_of(given):
        for name in given.sets:
            key = json.dumps([name, seed, given.network])
            if key not in kept and time.monotonic() - started < 60 * given.minutes:
                kept[key] = run_one(name, seed, given)
                if given.out:
                    over_seeds.write(given.out, kept)
    print(table(list(kept.values())))


if __name__ == "__main__":
    main()
