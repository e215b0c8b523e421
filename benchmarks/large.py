"""What each step takes on photographs of 224 pixels with a ResNet-50: against a plain forward pass and an ERM epoch.

    python benchmarks/large.py --cache FOLDER --device cuda --mixed-precision bf16 --batch 64
    python benchmarks/large.py --cache FOLDER --images 32 --batch 16 --epochs 1        # two batches, on a CPU

Photographs with a sticker, composed as in benchmarks/photographs.py, but of 224 pixels; images lie in memory. The
network begins with random weights: this says what the work costs, and nothing about accuracy. Four times as many
images train as are held out.

- plain forward: the network alone on images that lie on the device already, in mixed precision where that is asked for
- predict: the same through the package, images fetched, moved and normalised
- maps: the xGradCAM map of every image
- ERM epoch: forward, backward, step
- MaskTune: maps, masks, an epoch on masked images (of 32 steps at least), batch normalisation measured anew
- diagnose: of the held-out images; refit: features of the held-out images and a last layer
- repair: everything that it decides to do, by count (`cost`) and by the clock"""

import argparse
import copy
import statistics
import tempfile
from pathlib import Path
from typing import Any

import torch
from photographs import compose, decoded
from saliency import within
from turns import machine, take_turns

from masktune import MaskTune, build_model, diagnose
from masktune.data import ArrayDataset
from masktune.erm import fit
from masktune.evaluation import predict
from masktune.models import Classifier
from masktune.refit import refit
from masktune.repair import repair
from masktune.saliency import compute_saliency


def composed(cache: Path, images: int, size: int) -> tuple[ArrayDataset, ArrayDataset]:
    "Training and held-out photographs, decoded"
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {"mark": "sticker", "correlation": 0.98, "size": size, "seed": 710}
        out = compose(cache, "report", Path(folder) / "scenes", counts=(images, images // 4, 8), **options)
        return decoded("train", out), decoded("val", out)


def plain_forward(model: Classifier, data: ArrayDataset, batch: int):
    "A call that passes every image through the network and nothing else"
    there = data.images.to(model.mean.device)

    @torch.no_grad()
    def call():
        for part in there.split(batch):
            model(part)

    return call


def told(name: str, seconds: float, count: int, forward: float, epoch: float) -> None:
    "One row"
    figures = f"{seconds:.2f} | {count / seconds:,.0f} | {seconds / forward:.2f} | {seconds / epoch:.3f}"
    print(f"| {name} | {count:,} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="the folder that photo_material.py filled")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    parser.add_argument("--mixed-precision", default="no", choices=["no", "bf16", "fp16"])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--images", type=int, default=1600, help="that train")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8, help="of the plain training, before anything is timed")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    device, precision, batch = given.device, given.mixed_precision, given.batch
    train, val = composed(given.cache.expanduser().resolve(), given.images, given.size)
    settings: dict[str, Any] = {"batch_size": batch, "eval_batch_size": batch, "mixed_precision": precision}
    settings |= {"device": device, "cache": 0, "lr": 0.02, "progress": False, "seed": 710}
    torch.manual_seed(710)
    run = MaskTune(build_model(given.network, 2, image_size=given.size), epochs=given.epochs, **settings)
    run.fit_erm(train)
    where: dict[str, Any] = {"device": device, "mixed_precision": precision, "progress": False, "batch_size": batch}

    trained = copy.deepcopy(run.plain_model)

    def epoch():
        fit(trained, train, epochs=1, lr=1e-6, **where)

    def masked():
        run.branch().compute_maps(train).fit_rounds(train)

    model, made = run.plain_model.to(device).eval(), []
    calls = {
        "plain forward": within(plain_forward(model, train, batch), device, precision),
        "predict": lambda: predict(model, train, **where),
        "maps": lambda: compute_saliency(model, train, **where),
        "ERM epoch": epoch,
        "MaskTune": masked,
    }
    once = {
        "diagnose": lambda: diagnose(model, val, device=device, batch_size=batch),
        "refit": lambda: refit(model, val, gamma=2.0, **where),
        "repair": lambda: made.append(repair(run.branch(), train, val)),
    }
    taken = take_turns(calls, given.repeats)
    forward, whole = (statistics.median(taken[name]) for name in ("plain forward", "ERM epoch"))
    print(f"{machine()}, {given.network}, {given.size} pixels, mixed precision {precision}, batches of {batch}")
    print(f"| step | images | seconds | images a second | / plain forward of as many | / ERM epoch of {len(train)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, times in (taken | take_turns(once, 1, warm=0)).items():
        count = {"diagnose": len(val), "refit": len(val), "repair": len(train) + len(val)}.get(name, len(train))
        told(name, statistics.median(times), count, forward * count / len(train), whole)
    (found,) = made
    print(
        f"repair: {len(found.candidates)} candidates, {found.choice.name} taken, {found.cost:.2f} ERM epochs by count"
    )
    print("\n".join(found.notes), flush=True)
    if device.startswith("cuda"):
        print(f"at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the card")


if __name__ == "__main__":
    main()
