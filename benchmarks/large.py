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
import time
from pathlib import Path
from typing import Any

import torch
from photo_material import prepare
from turns import machine, take_turns

from masktune import MaskTune, build_model, diagnose
from masktune.data import ArrayDataset
from masktune.erm import fit
from masktune.evaluation import predict
from masktune.experiments.scenes import compose_scenes, open_scenes
from masktune.refit import refit
from masktune.repair import repair
from masktune.saliency import compute_saliency

TYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def composed(cache: Path, images: int, size: int) -> dict[str, ArrayDataset]:
    "Training and held-out photographs, decoded"
    material = prepare(cache)
    objects = {label: material / "objects" / "report" / label for label in ("grown", "made")}
    options: dict[str, Any] = {"mark": "sticker", "correlation": 0.98, "size": size, "seed": 710, "progress": False}
    options |= {"backgrounds": {path.name: path for path in sorted((material / "backgrounds").iterdir())}}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "scenes"
        compose_scenes(objects, out, counts=(images, images // 4, 8), **options)
        for split in ("train", "val"):
            data = open_scenes(split, out)
            pixels = torch.stack([sample.image for sample in data])
            found[split] = ArrayDataset(pixels, data.labels, **data.meta(torch.arange(len(data))))
    return found


def plain_forward(run: MaskTune, data: ArrayDataset, batch: int, device: str, precision: str):
    "A call that passes every image through the network and nothing else"
    model = run.plain_model.to(device).eval()
    there = data.images.to(device)

    @torch.no_grad()
    def call():
        with torch.autocast(torch.device(device).type, TYPES[precision], enabled=precision != "no"):
            for part in there.split(batch):
                model(part)

    return call


def seconds_of(call) -> tuple[float, Any]:
    "How long a call takes, and what it gives"
    began = time.perf_counter()
    found = call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began, found


def told(name: str, seconds: float, count: int, forward: float, epoch: float) -> None:
    "One row"
    figures = f"{seconds:.2f} | {count / seconds:,.0f} | {seconds / forward:.2f} | {seconds / epoch:.3f}"
    print(f"| {name} | {count:,} | {figures} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True, help="the folder that photo_material.py filled")
    parser.add_argument("--device", default="cpu", help="cpu, cuda ...")
    parser.add_argument("--mixed-precision", default="no", choices=TYPES)
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--images", type=int, default=1600, help="that train")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=8, help="of the plain training, before anything is timed")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    device, precision, batch = given.device, given.mixed_precision, given.batch
    splits = composed(given.cache.expanduser().resolve(), given.images, given.size)
    train, val = splits["train"], splits["val"]
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

    model = run.plain_model
    calls = {
        "plain forward": plain_forward(run, train, batch, device, precision),
        "predict": lambda: predict(model, train, **where),
        "maps": lambda: compute_saliency(model, train, **where),
        "ERM epoch": epoch,
        "MaskTune": masked,
    }
    taken = take_turns(calls, given.repeats)
    held = {
        "diagnose": lambda: diagnose(model, val, device=device, batch_size=batch),
        "refit": lambda: refit(model, val, gamma=2.0, **where),
    }
    print(f"{machine()}, {given.network}, {given.size} pixels, mixed precision {precision}, batches of {batch}")
    print(f"| step | images | seconds | images a second | / plain forward of as many | / ERM epoch of {len(train)} |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    forward, whole = (statistics.median(taken[name]) for name in ("plain forward", "ERM epoch"))
    for name, times in taken.items():
        told(name, statistics.median(times), len(train), forward, whole)
    for name, call in held.items():
        told(name, seconds_of(call)[0], len(val), forward * len(val) / len(train), whole)
    seconds, found = seconds_of(lambda: repair(run.branch(), train, val))
    print(f"repair: {len(found.candidates)} candidates, {found.choice.name} taken, {seconds:.1f} s")
    print(f"repair: {found.cost:.2f} ERM epochs by count, {seconds / whole:.2f} by the clock")
    print("\n".join(found.notes), flush=True)
    if device.startswith("cuda"):
        print(f"at most {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB on the card")


if __name__ == "__main__":
    main()
