"""Rounds on biased digits whose masks are made anew, beside those of digits_seeds.py, which keep earlier masks.

    python benchmarks/rounds.py --rounding all [--seeds 30-39] [--jobs 2] [--out benchmarks/rounds.json]
    python benchmarks/rounds.py --noise FIGURES.json

The first trains as digits_seeds.py does, with `accumulate=False`. The second trains nothing: it reads figures that
digits_seeds.py wrote and prints what other widths of "within noise" would cost on those seeds: how far the round
that `choose_by_outcomes` takes is behind the best on the biased test. To change the width, use seeds that nothing is
reported on, such as 400 to 407. There the statistic itself was chosen, out of twelve: accuracy on plain validation
images lost up to 26 points, on masked ones up to 35, on images swapped with ERM's evidence alone up to 12."""

import statistics
from functools import partial
from pathlib import Path

import digits_seeds
import over_seeds

WIDTHS = (0.0, 0.5, 1.0, 1.5, 2.0)  # standard errors


def noise_table(rows: list[dict]) -> str:
    lines = [f"{'shortcut':12}{'errors':>8}{'behind, mean':>14}{'worst':>8}   rounds taken"]
    for shortcut in digits_seeds.SHORTCUTS:
        mine = [row for row in rows if row["shortcut"] == shortcut]
        for width in WIDTHS:
            taken = [digits_seeds.choice(row, errors=width).chosen for row in mine]
            accuracies = [[each["biased-test"]["average"] for each in row["rounds"]] for row in mine]
            behind = [max(rounds) - rounds[number - 1] for rounds, number in zip(accuracies, taken, strict=True)]
            lines.append(f"{shortcut:12}{width:8.1f}{statistics.mean(behind):14.3f}{max(behind):8.3f}   {taken}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = over_seeds.options(__doc__, "30-39")
    parser.add_argument("--noise", type=Path, help="figures of digits_seeds.py: train nothing, compare widths of noise")
    given = parser.parse_args()
    if given.noise:
        print(noise_table(over_seeds.read(given.noise)))
    else:
        jobs = [[seed, shortcut] for shortcut in digits_seeds.SHORTCUTS for seed in over_seeds.seeds_of(given)]
        over_seeds.run(given, partial(digits_seeds.run_seed, accumulate=False), jobs, digits_seeds.table)
