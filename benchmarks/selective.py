"""Selective classification on biased digits over ten seeds: who knows best when not to answer?

    python benchmarks/selective.py [--seeds 50-59] [--rounding all] [--jobs 2] [--out benchmarks/selective.json]

Four classifiers: the plain model (softmax response), MaskTune's (softmax response), the two together (the paper's
product, and the official code's, which applies softmax twice), and, at about the cost of the pair, two plain models
of different seeds (product). AURC is the area under the risk-coverage curve, lower is better; on the biased test, on
the test without squares, and on validation images, where the shortcut holds. The last two columns: thresholds chosen
on validation images for 90 % coverage, and what they come to on the biased test.

Settings are the recipe biased-digits. Nothing was chosen on these seeds.
"""

import statistics

import over_seeds


def run_seed(seed: int) -> dict:
    import torch

    from masktune.abstaining import SelectiveClassifier
    from masktune.devices import seed_everything
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.digits import BIASED_SPLITS
    from masktune.experiments.recipes import get_recipe
    from masktune.finetune import MaskTune
    from masktune.models import build_model
    from masktune.selective import aurc, selective_table

    torch.set_num_threads(1)
    train, val, test, biased_test = (load_dataset("biased-digits", split, seed=seed) for split in BIASED_SPLITS)
    machine = {"device": "cpu", "progress": False}

    def plain(other: int) -> MaskTune:
        seed_everything(other)
        return MaskTune(
            build_model("small-cnn", 2), **get_recipe("biased-digits").settings, seed=other, **machine
        ).fit_erm(train, val)

    run, second = plain(seed), plain(seed + 10_000)
    run.compute_maps(train).finetune_round(train)
    tried = {
        "ERM": ([run.erm_], "softmax-response"),
        "MaskTune": ([run.model_], "softmax-response"),
        "ERM x MaskTune": ([run.erm_, run.model_], "product"),
        "ERM x MaskTune, softmax twice": ([run.erm_, run.model_], "product-softmax"),
        "two ERM seeds": ([run.erm_, second.erm_], "product"),
    }
    rows = {}
    for name, (models, score) in tried.items():
        selective = SelectiveClassifier(models, score).calibrate(val, coverage=0.9, **machine)
        rows[name] = {}
        for where, data in (("biased-test", biased_test), ("test", test), ("val", val)):
            answer, sure = selective.scores(data, **machine)
            whole = selective_table(sure, answer, data, float(selective.threshold))[0]
            risk = whole.risk if whole.coverage else None
            rows[name][where] = {
                "aurc": aurc(sure, answer == data.labels),
                "error": whole.error,
                "coverage": whole.coverage,
                "risk": risk,
            }
    return {"seed": seed, **rows}


def table(rows: list[dict]) -> str:
    names = [name for name in rows[0] if name not in ("seed", "rounding", "job")]
    width = max(map(len, names))
    lines = [
        f"{'':{width}}  {'AURC biased test':>18}  {'test':>18}  {'validation':>18}  {'coverage, biased test':>22}  "
        f"{'risk there':>14}"
    ]

    def spread(values: list[float]) -> str:
        return f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}"

    for name in names:
        curves = [
            f"{spread([row[name][where]['aurc'] for row in rows]):>18}" for where in ("biased-test", "test", "val")
        ]
        risks = [row[name]["biased-test"]["risk"] for row in rows if row[name]["biased-test"]["risk"] is not None]
        coverage = spread([row[name]["biased-test"]["coverage"] for row in rows])
        lines.append(f"{name:{width}}  {'  '.join(curves)}  {coverage:>22}  {spread(risks):>14}")
    return "\n".join(lines)


if __name__ == "__main__":
    given = over_seeds.options(__doc__, "50-59").parse_args()
    over_seeds.run(given, run_seed, over_seeds.seeds_of(given), table)
