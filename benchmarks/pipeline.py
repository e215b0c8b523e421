"""What MaskTune costs after ERM: maps, masks and the finetuning epoch, against one ERM epoch and against the
official way.

    python benchmarks/pipeline.py [--quick] [--repeats 5] [--images 64] [--batch 16] [--mixed-precision no]

Four ways through the same images, which lie in memory, in turns; read the ratios to the ERM epoch.

- ERM epoch: plain training, forward, backward, step.
- stored maps: a pass for the maps, stored as 7 x 7 halves, then an epoch over masked images.
- on the device: masks made inside the training step from a frozen copy of the model, one pass over the data.
- the official way: the map's gradient runs back through the whole network, masks are made in NumPy on the CPU image
  by image, masked images are written as PNG files and read back for the epoch. Written from its description; it is
  not the official code, and has none of its copies between processes.

`python benchmarks/pipeline.py --profile` prints where the time of an ERM epoch and of one with masks made on the
device goes (PyTorch's profiler)."""

import argparse
import statistics
import tempfile
from pathlib import Path

import torch
from turns import machine, ratio, take_turns


def official(model, layer, data, folder: Path, batch: int):
    "Masked images by full backward, NumPy and PNG files; gives them as a data set of files"
    import numpy as np
    from PIL import Image

    from masktune.data import FileDataset

    kept = {}
    handle = layer.module.register_forward_hook(lambda module, args, output: kept.update(activations=output))
    paths = []
    model.eval()
    for start in range(0, len(data), batch):
        images = torch.stack([data[i].image for i in range(start, min(start + batch, len(data)))])
        device = model.mean.device
        # gradients all the way down, weights included
        scores = model(images.to(device).float().div(255).requires_grad_())
        scores.max(1).values.sum().backward(inputs=[*model.parameters(), kept["activations"]])
        activations, gradients = kept["activations"].detach().cpu().numpy(), kept["activations"].grad.cpu().numpy()
        model.zero_grad()
        weights = (gradients * activations).sum((2, 3)) / (activations.sum((2, 3)) + 1e-7)
        for k, image in enumerate(images.numpy()):
            heat = np.maximum((weights[k][:, None, None] * activations[k]).sum(0), 0)
            heat = np.array(
                Image.fromarray(heat.astype(np.float32)).resize(image.shape[:0:-1], Image.Resampling.BILINEAR)
            )
            heat = (heat - heat.min()) / (heat.max() - heat.min() + 1e-7)
            positive = heat[heat > 0]
            masked = image * (heat <= (positive.mean() + 2 * positive.std() if len(positive) else np.inf))
            paths.append(folder / f"{start + k}.png")
            Image.fromarray(masked.transpose(1, 2, 0).astype(np.uint8)).save(paths[-1])
    handle.remove()
    return FileDataset(paths, data.labels, data.classes, resize=None, crop=None, mean=data.mean, std=data.std)


def ways(name: str, count: int, size: int, batch: int, precision: str) -> dict:
    from masktune.data import ArrayDataset
    from masktune.devices import default_device
    from masktune.erm import fit
    from masktune.layers import find_target_layer
    from masktune.masking import MaskBatch, MaskedDataset
    from masktune.models import as_classifier, build_model
    from masktune.saliency import compute_saliency

    torch.manual_seed(0)
    data = ArrayDataset(
        torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8), torch.arange(count) % 2, ["a", "b"]
    )
    device = default_device()
    machine = dict(device=device, mixed_precision=precision, progress=False)
    model = as_classifier(build_model(name, 2, image_size=size), data).to(device)
    layer = find_target_layer(model, data[0].image[None].to(device))

    def epoch(images, **options):
        fit(model, images, epochs=1, lr=1e-6, batch_size=batch, **machine, **options)

    def stored():
        maps = compute_saliency(model, data, layer, batch_size=batch, **machine)
        epoch(MaskedDataset(data, maps))

    def files():
        with tempfile.TemporaryDirectory() as folder:
            epoch(official(model, layer, data, Path(folder), batch))

    return {
        "ERM epoch": lambda: epoch(data),
        "stored maps": stored,
        "on the device": lambda: epoch(data, batch_transform=MaskBatch(model, layer)),
        "official way": files,
    }


def profile(name: str, count: int, size: int, batch: int, precision: str) -> None:
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as watch

    calls = ways(name, count, size, batch, precision)
    for way in ("ERM epoch", "on the device"):
        calls[way]()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
        with watch(activities=activities) as seen:
            calls[way]()
        by = "self_cuda_time_total" if torch.cuda.is_available() else "self_cpu_time_total"
        print(f"{way}\n{seen.key_averages().table(sort_by=by, row_limit=12, max_name_column_width=50)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the small CNN and ResNet-18, two repeats")
    parser.add_argument("--networks", nargs="+", choices=["small-cnn", "resnet18", "resnet50"])
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--mixed-precision", default="no", choices=["no", "bf16", "fp16"])
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    if given.profile:
        profile("resnet18" if given.quick else "resnet50", given.images, 224, given.batch, given.mixed_precision)
        raise SystemExit
    print(f"{machine()}, mixed precision {given.mixed_precision}")
    print(
        f"{'network':10} {'images':>7} {'ERM epoch, s':>13} {'stored maps':>19} {'on the device':>19} "
        f"{'official way':>19}"
    )
    usual = ["small-cnn", "resnet18"] if given.quick else ["small-cnn", "resnet18", "resnet50"]
    for name in given.networks or usual:
        small = name == "small-cnn"
        count = given.images * (32 if small else 1)
        calls = ways(name, count, 28 if small else 224, given.batch * (4 if small else 1), given.mixed_precision)
        taken = take_turns(calls, given.repeats or (2 if given.quick else 5))
        ratios = " ".join(
            f"{ratio(taken, way, 'ERM epoch'):>19}" for way in ("stored maps", "on the device", "official way")
        )
        print(f"{name:10} {count:7} {statistics.median(taken['ERM epoch']):13.2f} {ratios}", flush=True)
    print("ratios to the ERM epoch of the same round: median [lowest, highest]")
