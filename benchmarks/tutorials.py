"""What the tutorials say, over seeds: each chapter's comparison as numbers.

    python benchmarks/tutorials.py --rounding all [--seeds 60-64] [--jobs 2] [--out benchmarks/tutorials.json]

A tutorial shows one training, and one training proves nothing. Each function below trains what a chapter trains and
returns what its text compares; tests/test_tutorials.py runs two seeds of it, with margins taken from the trainings
written down in tutorials.json. The chapters on two squares and on abstaining are measured by digits_seeds.py and
selective.py."""

import statistics
import tempfile
from pathlib import Path

import over_seeds

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
CHAPTERS = ("stamps", "threshold", "scenes")


def accuracy(model, dataset) -> float:
    from masktune.evaluation import evaluate

    return evaluate(model, dataset, **MACHINE).average.accuracy


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


# The second chapter's photographs: where pieces of two classes, and what lies behind them, are cut from
PIECES = {"temple": ("china.jpg", (85, 95, 345, 415)), "dahlia": ("flower.jpg", (200, 115, 412, 330))}
BEHIND = [
    ("china.jpg", (330, 0, 640, 200)),
    ("china.jpg", (350, 200, 640, 427)),
    ("flower.jpg", (0, 0, 180, 427)),
    ("flower.jpg", (430, 0, 640, 300)),
]


def crop(photograph, box, side, generator):
    "A square of a photograph, somewhere in a box"
    from PIL import Image
    from sklearn.datasets import load_sample_image

    left, top, right, bottom = box
    x, y = generator.integers(left, right - side + 1), generator.integers(top, bottom - side + 1)
    return Image.fromarray(load_sample_image(photograph)[y : y + side, x : x + side])


def medallion(image, generator):
    "A round piece, turned, tinted, as bright and as rich in contrast as any other"
    from PIL import Image, ImageDraw, ImageOps

    image = image.rotate(generator.uniform(0, 360), Image.Resampling.BICUBIC)
    hue, _, value = image.convert("HSV").split()
    turn, saturation = int(generator.integers(0, 256)), int(generator.integers(60, 150))
    bands = (
        hue.point(lambda level: (level + turn) % 256),
        Image.new("L", image.size, saturation),
        ImageOps.equalize(value).point(lambda level: 50 + level * 160 // 255),
    )
    image, alpha = Image.merge("HSV", bands).convert("RGB"), Image.new("L", image.size)
    ImageDraw.Draw(alpha).ellipse((3, 3, image.width - 4, image.height - 4), fill=255)
    image.putalpha(alpha)
    return image


def stamped_scenes(sources: Path, seed: int) -> Path:
    "The second chapter's images: pieces before backgrounds, a date on nearly all of one class"
    import numpy as np

    from masktune.experiments.scenes import compose_scenes

    generator = np.random.default_rng(seed)
    for label, (photograph, box) in PIECES.items():
        (sources / label).mkdir()
        for i in range(40):
            piece = crop(photograph, box, int(generator.integers(70, 110)), generator)
            medallion(piece, generator).save(sources / label / f"{i:02}.png")
    (sources / "outdoors").mkdir()
    for i in range(24):
        photograph, box = BEHIND[i % len(BEHIND)]
        side = int(generator.integers(100, min(box[2] - box[0], box[3] - box[1]) + 1))
        crop(photograph, box, side, generator).save(sources / "outdoors" / f"{i:02}.png")
    return compose_scenes(
        {label: sources / label for label in PIECES},
        sources / "scenes",
        backgrounds={"outdoors": sources / "outdoors"},
        mark="text",
        text="'98 11 24",
        mark_size=0.4,
        correlation=0.98,
        counts=(320, 120, 160),
        size=72,
        object_size=(0.25, 0.4),
        seed=seed,
        progress=False,
    )


def small_network():
    "The second chapter's network"
    from torch import nn

    def block(inside, outside, stride):
        return [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]

    body = (*block(3, 24, 2), *block(24, 48, 2), *block(48, 48, 1), *block(48, 96, 2), *block(96, 96, 1))
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(96, 2))


def stamps(seed: int) -> dict:
    """Chapter 2: held-out, swapped and worst-group accuracy, before and after each remedy, and of what `repair`
    chose"""
    import copy

    from masktune.devices import seed_everything
    from masktune.erm import fit
    from masktune.evaluation import evaluate
    from masktune.experiments.datasets import load_dataset
    from masktune.finetune import finetune
    from masktune.models import as_classifier
    from masktune.repair import repair
    from masktune.saliency import compute_saliency

    with tempfile.TemporaryDirectory() as folder:
        listing = stamped_scenes(Path(folder), seed)
        train, val = (load_dataset("folder", split, listing.parent / "images", size=64) for split in ("train", "val"))
        test, rule = load_dataset("csv", "test", listing, size=64), "mean_std(k=1)"
        seed_everything(seed)
        plain = as_classifier(small_network(), train)
        fit(plain, train, epochs=4, lr=0.02, batch_size=16, seed=seed, **MACHINE)
        how = {"batch_size": 16, "recalibrate": True, "seed": seed, **MACHINE}
        tuning = {"finetune_epochs": 5, "finetune_lr": 0.02, "rule": rule, "fill": "blur"}
        mended = repair(plain, train, val, gammas=(0, 4), thorough=True, **tuning, **how)
        black = copy.deepcopy(plain)
        maps = compute_saliency(plain, train, **MACHINE)
        finetune(black, train, maps, rule=rule, fill="zero", lr=0.02, epochs=5, **how)
        measured = mended.evaluate({"test": test}, everything=True, **MACHINE)
        found = {name: figures(tests["test"]) for name, tests in measured.items()}
        for name, candidate in mended.candidates.items():
            found[name] |= {"held out": candidate.scores.average, "swapped": candidate.scores.swapped}
        found |= {"black": figures(evaluate(black, test, **MACHINE)), "chosen": dict(found[mended.choice.name])}
    return found


def figures(measured) -> dict[str, float]:
    return {"average": measured.average.accuracy, "worst group": measured.worst_group_accuracy}


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


def run_seed(job: list) -> dict:
    import torch

    torch.set_num_threads(1)
    seed, chapter = job
    return {
        "seed": seed,
        "chapter": chapter,
        "found": {"stamps": stamps, "threshold": threshold, "scenes": scenes}[chapter](seed),
    }


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
    given = over_seeds.options(__doc__, "60-64").parse_args()
    jobs = [[seed, chapter] for chapter in CHAPTERS for seed in over_seeds.seeds_of(given)]
    over_seeds.run(given, run_seed, jobs, table)
