"""What a saliency map costs: against a plain forward pass, and against the package grad-cam.

    python benchmarks/saliency.py [--quick] [--repeats 7] [--batch 32]

Times are medians over repeats in which the three take turns, so that a slow moment of the machine meets them all; read the
ratios, with the lowest and highest pair in brackets. Memory is what a fresh process needs for one batch beyond model and images.
Maps are compared as grad-cam gives them, scaled to 0..1 at the image's size.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch


def make(name: str, batch: int):
    from masktune.models import build_model, find_target_layer

    torch.manual_seed(0)
    size = 28 if name == "small-cnn" else 224
    model = build_model(name, 2).eval()
    images = torch.rand(batch * (8 if name == "small-cnn" else 1), 3, size, size)
    return model, find_target_layer(model, images[:1]), images


def methods(model, layer, images) -> dict:
    from pytorch_grad_cam import XGradCAM

    from masktune.xgradcam import LayerXGradCam

    ours, theirs = LayerXGradCam(model, layer), XGradCAM(model=model, target_layers=[layer.module])

    @torch.no_grad()
    def forward():
        return model(images)

    return {"forward": forward, "ours": lambda: ours.attribute(images), "grad-cam": lambda: theirs(input_tensor=images, targets=None)}


def peak_memory(name: str, batch: int, method: str) -> float:
    "MiB a fresh process needs for the method, beyond what it held before"
    command = [sys.executable, __file__, "--memory-of", name, method, "--batch", str(batch)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def highest() -> float:
    "This process's peak resident memory in MiB (Linux)"
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024


def measure_memory(name: str, batch: int, method: str) -> float:
    made = make(name, batch)
    call = methods(*made)[method]
    with torch.no_grad():
        made[0](made[2][:1])  # load kernels first
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # the peak begins anew
    before = highest()
    call()
    return highest() - before


def difference(model, layer, images) -> float:
    "The largest difference between our normalised maps and grad-cam's"
    from masktune.masking import normalize

    call = methods(model, layer, images[:8])
    return float((normalize(call["ours"]()[:, 0], images.shape[-2:]) - torch.from_numpy(call["grad-cam"]())).abs().max())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="ResNet-18 and the small CNN, three repeats, batches of 16")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    repeats, batch = options.repeats or (3 if options.quick else 7), options.batch or (16 if options.quick else 32)
    if options.memory_of:
        print(measure_memory(options.memory_of[0], batch, options.memory_of[1]))
        raise SystemExit
    print(
        f"{'network':10} {'images':>7} {'ms/image':>9} {'ours / forward':>20} {'grad-cam / ours':>20} {'MiB ours / forward':>20}"
        f" {'MiB grad-cam':>13} {'difference':>11}"
    )
    for name in ("small-cnn", "resnet18") if options.quick else ("small-cnn", "resnet18", "resnet50"):
        made = make(name, batch)
        calls, taken = methods(*made), {"forward": [], "ours": [], "grad-cam": []}
        for repeat in range(repeats + 1):
            for method, call in calls.items():
                started = time.perf_counter()
                call()
                if repeat:  # the first warms up
                    taken[method].append(time.perf_counter() - started)

        def ratio(a: str, b: str, taken=taken) -> str:
            pairs = [x / y for x, y in zip(taken[a], taken[b], strict=True)]
            return f"{statistics.median(pairs):.2f} [{min(pairs):.2f}, {max(pairs):.2f}]"

        memory = {method: peak_memory(name, batch, method) for method in calls}
        images = made[2]
        print(
            f"{name:10} {len(images):7} {1000 * statistics.median(taken['forward']) / len(images):9.2f} {ratio('ours', 'forward'):>20}"
            f" {ratio('grad-cam', 'ours'):>20} {memory['ours'] / max(memory['forward'], 0.1):20.2f} {memory['grad-cam']:13.0f}"
            f" {difference(*made):11.1e}",
            flush=True,
        )
