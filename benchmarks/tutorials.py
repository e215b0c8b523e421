"""What the tutorials say, over seeds: each chapter's comparison as numbers.

    python benchmarks/tutorials.py --rounding all [--seeds 60-64] [--chapters judging ...] [--jobs 2] [--out FILE]

A tutorial shows one training, and one training proves nothing. Each function below trains what a chapter trains and
returns what its text compares; tests/test_tutorials.py runs two seeds of it, with margins taken from the trainings
written down in tutorials.json. The chapters on two squares and on abstaining are measured by digits_seeds.py and
selective.py."""

import statistics
from functools import cache

import over_seeds
from photo_tutorial import photographs  # noqa: F401 chapter 2, found by its name in `run_seed`

MACHINE = {"device": "cpu", "progress": False}
RULES = (
    "mean_std(k=0.5)",
    "mean_std(k=1)",
    "mean_std(k=2)",
    "mean_std(k=4)",
    "quantile(q=0.9)",
    "fixed(t=0.5)",
    "otsu()",
)
CHAPTERS = ("photographs", "evidence", "threshold", "scenes", "refitting", "judging")


def accuracy(model, dataset) -> float:
    from masktune.evaluation import evaluate

    return evaluate(model, dataset, **MACHINE).average.accuracy


@cache  # several chapters begin with it: branch it before it is finetuned
def plain_digits(seed: int, name: str = "biased-digits", **network: int):
    "The plain model of a recipe, and its splits"
    from masktune.devices import seed_everything
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.recipes import get_recipe
    from masktune.finetune import MaskTune
    from masktune.models import build_model

    train, val = (load_dataset(name, split, seed=seed) for split in ("train", "val"))
    seed_everything(seed)
    run = MaskTune(build_model("small-cnn", 2, **network), **get_recipe(name).settings, seed=seed, **MACHINE)
    return run.fit_erm(train, val).compute_maps(train), train, val


def evidence(seed: int) -> dict:
    """Chapter 3: what hiding a map's evidence costs, class by class. Chapters 3 and 4: what the most faithful evidence
    costs to hide, against the usual, and what finetunings make of either"""
    from masktune.experiments.datasets import load_dataset
    from masktune.faithfulness import choose_evidence, faithfulness
    from masktune.masking import mean_std

    run, train, val = plain_digits(seed)
    biased_test = load_dataset("biased-digits", "biased-test", seed=seed)
    found: dict = {"worth": {}}
    for label, name in enumerate(val.classes):
        part = val.subset((val.labels == label).nonzero().flatten().tolist())
        found["worth"][name] = faithfulness(run.erm_, part, rule=mean_std(2.0), limit=64, alone=False).effect.mean
    best = choose_evidence(run.erm_, val, limit=64)
    found["lead"] = best.lead
    sides: dict = {
        "usual": (best.reference, {}),
        "chosen": (best.chosen, {"layer": best.layer.spelled, "rule": repr(best.rule)}),
    }
    for name, (measured, changes) in sides.items():
        trial = run.branch(**changes).compute_maps(train).finetune_round(train)
        found[name] = {"worth": measured.effect.mean, "biased-test": accuracy(trial.model_, biased_test)}
    return found


def threshold(seed: int) -> dict:
    "Chapter 4: hidden area, swapped validation and biased-test accuracy by rule"
    from masktune.experiments.datasets import load_dataset

    run, train, val = plain_digits(seed)
    biased_test, found = load_dataset("biased-digits", "biased-test", seed=seed), {}
    tests = {"swapped": run.swapped(val), "biased-test": biased_test, "val": val}
    for rule in RULES:
        model = run.branch(rule=rule).finetune_round(train).model_
        found[rule] = {where: accuracy(model, data) for where, data in tests.items()}
    return found


def scenes(seed: int) -> dict:
    """Chapter 5: the worst group before and after, what is hidden, and what the plain models lose to hiding and to
    swapping"""
    from masktune.evaluation import evaluate
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.digits import digit_scene_parts
    from masktune.masking import MaskedDataset, mean_std

    run, train, val = plain_digits(seed, "digit-scenes", image_size=32)
    patch, _, corner_val = plain_digits(seed)
    test = load_dataset("digit-scenes", "test", seed=seed)
    run = run.branch()
    masks = mean_std(2)(run.rounds_[0].maps.maps, (32, 32))
    parts = zip(("digit", "photograph"), digit_scene_parts("train", seed=seed), strict=True)
    found: dict = {"hidden": {name: ((masks & part).sum() / part.sum()).item() for name, part in parts}}
    run.finetune_round(train)
    models = (("before", run.erm_), ("after", run.model_))
    found["worst_group"] = {name: evaluate(model, test, **MACHINE).worst_group_accuracy for name, model in models}
    for name, one, images in (("corner", patch, corner_val), ("background", run, val)):
        swapped = one.swapped(images)
        sets = {"as it is": images, "hidden": MaskedDataset(images, swapped.maps), "swapped": swapped}
        found[name] = {question: accuracy(one.erm_, data) for question, data in sets.items()}
    return found


def refitting(seed: int) -> dict:
    "Chapter 5: the worst group of a background's plain model, and of what `repair` makes of it by refitting"
    from masktune.diagnosis import diagnose
    from masktune.evaluation import evaluate
    from masktune.experiments.datasets import load_dataset
    from masktune.repair import PLAIN, repair

    run, train, val = plain_digits(seed, "digit-scenes", image_size=32)
    test = load_dataset("digit-scenes", "test", seed=seed)
    repaired = repair(run, train, val, remedies=("refit",))
    found: dict = {"says refit": float(diagnose(run.erm_, val, device="cpu").remedy == "refit")}
    found["refitted"] = float(repaired.choice.name != PLAIN)
    for name, model in (("before", repaired.plain), ("after", repaired.model)):
        measured = evaluate(model, test, **MACHINE)
        found[name] = {"worst group": measured.worst_group_accuracy, "average": measured.average.accuracy}
    return found


def judge_by_eye(kinds) -> None:
    "What a person says who looks at the cards: the square, which is always the same and in one place, is a shortcut"
    for name, kind in kinds.kinds.items():
        kinds.judge(name, "shortcut" if kind.where == "upper left" and kind.look > 0.7 else "object")


def heat_in_the_corner(model, dataset) -> float:
    "Chapter 1: the share of the maps' heat that lies where the square stands, over the images that have one"
    from masktune.saliency import compute_saliency

    maps = compute_saliency(model, dataset, **MACHINE).maps[dataset.groups == 3].float()
    heat = maps.sum((1, 2))
    return (maps[:, :2, :2].sum((1, 2)) / heat)[heat > 0].mean().item()


def judging(seed: int) -> dict:
    """Chapter 8: finetuned with all evidence hidden, and with what a person called a shortcut hidden alone.

    Chapter 1: the heat on the square before and after."""
    import copy

    from masktune.experiments.datasets import load_dataset
    from masktune.finetune import finetune
    from masktune.kinds import find_kinds, judged_maps

    run, train, _ = plain_digits(seed)
    tests = {name: load_dataset("biased-digits", name, seed=seed) for name in ("test", "biased-test")}
    kinds = find_kinds(run.erm_, train, most=3, device="cpu")
    judge_by_eye(kinds)
    maps = run.rounds_[0].maps
    hidden = {"all": maps, "judged": judged_maps(kinds, run.erm_, train, maps, device="cpu")}
    found: dict = {"ERM": {name: accuracy(run.erm_, data) for name, data in tests.items()}}
    found["ERM"]["heat in the corner"] = heat_in_the_corner(run.erm_, tests["biased-test"])
    for what, shown in hidden.items():
        model = copy.deepcopy(run.erm_)
        finetune(model, train, shown, lr=run.finetune_lr, batch_size=32, recalibrate=True, seed=seed, **MACHINE)
        found[what] = {name: accuracy(model, data) for name, data in tests.items()}
        found[what]["heat in the corner"] = heat_in_the_corner(model, tests["biased-test"])
    return found


def run_seed(job: list) -> dict:
    import torch

    torch.set_num_threads(1)
    seed, chapter = job
    return {"seed": seed, "chapter": chapter, "found": globals()[chapter](seed)}


def flat(found: dict, name: str = "") -> dict[str, float]:
    "Nested figures by a name such as `before, test`"
    if not isinstance(found, dict):
        return {name: found}
    return {
        key: value
        for word, inner in found.items()
        for key, value in flat(inner, f"{name}, {word}" if name else word).items()
    }


def table(rows: list[dict]) -> str:
    lines = []
    for chapter in CHAPTERS:
        mine = [flat(row["found"]) for row in rows if row["chapter"] == chapter]
        lines.append(f"{chapter}, {len(mine)} trainings: mean, lowest, highest")
        for name in mine[0] if mine else ():
            values = [row[name] for row in mine]
            lines.append(f"  {name:32}{statistics.mean(values):8.3f}{min(values):8.3f}{max(values):8.3f}")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = over_seeds.options(__doc__, "60-64")
    parser.add_argument("--chapters", nargs="+", choices=CHAPTERS, default=CHAPTERS)
    given = parser.parse_args()
    jobs = [[seed, chapter] for chapter in given.chapters for seed in over_seeds.seeds_of(given)]
    over_seeds.run(given, run_seed, jobs, table)
