"""Sets of scanned digits whose shortcut is known, and plain models trained on them: what diagnose.py measures with.

`SETS` names them. Each comes as training images, validation images that follow the shortcut as the training images
do, balanced test images with groups, and where the shortcut lies in a validation image (a mask, or None where it is
everywhere or nowhere)."""

from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Splits(NamedTuple):
    train: object
    val: object
    test: object  # every group equally frequent, or each at least present
    where: object  # (N, H, W) bool of `val`: where the shortcut lies; None: it has no place
    marked: object  # (N,) bool: which images of `val` carry it; None: all


SETS = (
    "square",
    "two squares",
    "sticker on scenes",
    "text on scenes",
    "frame on scenes",
    "background",
    "clean digits",
    "clean scenes",
)
CORRELATION = 0.98  # of marks on scenes


def _both(dataset, shortcut):
    "The test digits with and without every cue"
    import itertools

    import torch

    from masktune.data import ArrayDataset
    from masktune.experiments.digits import plant_shortcut

    grey, labels = dataset.images[:, 0], dataset.labels
    cues = 2 if shortcut == "two-squares" else 1
    images, groups, names = [], [], []
    for number, present in enumerate(itertools.product((False, True), repeat=cues)):
        cue = torch.tensor(present).expand(len(labels), cues)
        images.append(plant_shortcut(grey, cue, shortcut))
        groups.append(labels * 2**cues + number)
    for label in dataset.classes:
        names += [f"{label}, {present}" for present in itertools.product(("no", "yes"), repeat=cues)]
    return ArrayDataset(
        torch.cat(images),
        labels.repeat(2**cues),
        dataset.classes,
        groups=torch.cat(groups),
        group_names=names,
        name=dataset.name,
        split="test",
    )


def _squares(seed, shortcut, exceptions):
    import torch

    from masktune.experiments.datasets import load_dataset

    options = {"seed": seed, "shortcut": shortcut, "exceptions": exceptions}
    train, val, test = (load_dataset("biased-digits", split, **options) for split in ("train", "val", "test"))
    where = torch.zeros(len(val), 28, 28, dtype=torch.bool)
    corners = [((slice(0, 4), slice(0, 4)), (255, 0, 0)), ((slice(-4, None), slice(-4, None)), (0, 0, 255))]
    for (rows, columns), colour in corners[: 2 if shortcut == "two-squares" else 1]:
        paint = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
        present = (val.images[:, :, rows, columns] == paint).flatten(1).all(1)
        where[present, rows, columns] = True
    clean = exceptions == 0.5
    marked = where.flatten(1).any(1)
    return Splits(train, val, _both(test, shortcut), None if clean else where, None if clean else marked)


def _marked(dataset, present, mark):
    "The images with a mark where it is `present`, and where it lies"
    import numpy as np
    import torch
    from PIL import Image

    from masktune.experiments.marks import draw_mark

    images, where = dataset.images.clone(), torch.zeros(len(dataset), *dataset.images.shape[-2:], dtype=torch.bool)
    for i in present.nonzero().flatten().tolist():
        image, mask = draw_mark(Image.fromarray(dataset.images[i].permute(1, 2, 0).numpy()), mark)
        images[i] = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
        where[i] = torch.from_numpy(mask)
    return images, where


def _marks(seed, mark):
    import torch

    from masktune.data import ArrayDataset
    from masktune.experiments.datasets import load_dataset
    from masktune.experiments.digits import assign_shortcut

    parts, places, carriers = [], None, None
    for salt, split in enumerate(("train", "val", "test")):
        data = load_dataset("digit-scenes", split, seed=seed, correlation=0.5)
        shares = (0.5, 0.5) if split == "test" else (CORRELATION, 1 - CORRELATION)
        present = assign_shortcut(data.labels, shares, seed=seed * 1000 + 700 + salt)
        images, where = _marked(data, present, mark)
        names = [f"{label}, {which} {mark}" for label in data.classes for which in ("no", "with")]
        groups = 2 * data.labels + present.long()
        facts = {"groups": groups, "group_names": names, "name": f"{mark} on digit-scenes", "split": split}
        parts.append(ArrayDataset(images, data.labels, data.classes, **facts))
        if split == "val":
            places, carriers = where, torch.as_tensor(present)
    return Splits(*parts, places, carriers)


def _scenes(seed, correlation):
    from masktune.experiments.datasets import load_dataset

    options = {"seed": seed, "correlation": correlation}
    parts = [load_dataset("digit-scenes", split, **options) for split in ("train", "val", "test")]
    return Splits(*parts, None, None)


def open_set(name: str, seed: int) -> Splits:
    if name in ("square", "two squares"):
        return _squares(seed, name.replace(" ", "-"), 0.01)
    if name == "clean digits":
        return _squares(seed, "square", 0.5)
    if name in ("background", "clean scenes"):
        return _scenes(seed, 0.95 if name == "background" else 0.5)
    return _marks(seed, name.split()[0])


def plain_run(name: str, seed: int, splits: Splits, network: str = "small-cnn", models: Path | None = None, **changes):
    "A run whose plain model is trained by the recipe biased-digits, or was kept in `models`"
    from safetensors.torch import load_file, save_file

    from masktune.devices import seed_everything
    from masktune.experiments.recipes import get_recipe
    from masktune.finetune import MaskTune
    from masktune.models import build_model

    side = splits.train[0].image.shape[-1]
    seed_everything(seed)
    settings = dict(get_recipe("biased-digits").settings) | {"seed": seed, "device": "cpu", "progress": False} | changes
    model = build_model(network, 2, image_size=side)
    kept = None if models is None else models / f"{name.replace(' ', '-')}-{network}-{seed}.safetensors"
    if kept is not None and kept.exists():
        model.load_state_dict(load_file(kept))
        settings |= {"epochs": 0}
        return MaskTune(model, **settings).fit_erm(splits.train, splits.val)
    run = MaskTune(model, **settings).fit_erm(splits.train, splits.val)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_suffix(".part")
        save_file({k: v.contiguous() for k, v in run.erm_.network.state_dict().items()}, beside)
        beside.replace(kept)
    return run
