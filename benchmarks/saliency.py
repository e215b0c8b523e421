"""What a saliency map costs: against a plain forward pass, and against the package grad-cam.

    python benchmarks/saliency.py [--quick] [--repeats 7] [--batch 32]
    python benchmarks/saliency.py --device cuda --mixed-precision bf16 --batch 256

The second, on a GPU, also gives images a second, and the share of the card's measured matrix-product rate that the
forward pass reaches.

Times are medians over repeats in which the three take turns, so that a slow moment of the machine meets them all;
read the ratios, with the lowest and highest pair in brackets. Memory is what a fresh process needs for one batch
beyond model and images. Maps are compared as grad-cam gives them, scaled to 0..1 at the image's size. In mixed
precision grad-cam stays in float32: it cannot read bfloat16."""

import argparse
import json
import statistics
import subprocess
import sys
from contextlib import nullcontext

import torch
from turns import highest, machine, ratio, take_turns


def make(name: str, batch: int, device: str = "cpu"):
    from masktune.layers import find_target_layer
    from masktune.models import build_model

    torch.manual_seed(0)
    size = 28 if name == "small-cnn" else 224
    model = build_model(name, 2).eval().to(device)
    images = torch.rand(batch * (8 if name == "small-cnn" else 1), 3, size, size, device=device)
    if device != "cpu":
        model, images = (
            model.to(memory_format=torch.channels_last),
            images.contiguous(memory_format=torch.channels_last),
        )
    return model, find_target_layer(model, images[:1]), images


def within(call, device: str, precision: str):
    "The call in mixed precision"

    def run():
        with (
            torch.autocast(device, {"bf16": torch.bfloat16, "fp16": torch.float16}[precision])
            if precision != "no"
            else nullcontext()
        ):
            return call()

    return run


def matrix_rate(device: str, precision: str) -> float:
    "Operations a second of the best of a few large matrix products, in TF32 where convolutions compute in it"
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    dtype = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = 8192 if device != "cpu" else 2048
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = min(take_turns({"product": lambda: a @ b}, 5)["product"])
    matmul.allow_tf32 = before  # what is timed next computes as it would have
    return 2 * size**3 / seconds


def methods(model, layer, images) -> dict:
    from pytorch_grad_cam import XGradCAM

    from masktune.xgradcam import LayerXGradCam

    ours, theirs = LayerXGradCam(model, layer), XGradCAM(model=model, target_layers=[layer.module])

    @torch.no_grad()
    def forward():
        return model(images)

    return {
        "forward": forward,
        "ours": lambda: ours.attribute(images),
        "grad-cam": lambda: theirs(input_tensor=images, targets=None),
    }


def peak_memory(name: str, batch: int, method: str) -> float:
    "MiB a fresh process needs for the method, beyond what it held before"
    command = [sys.executable, __file__, "--memory-of", name, method, "--batch", str(batch)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


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


def card_memory(call) -> float:
    "MiB on the card at most, beyond what lay there before"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def difference(model, layer, images) -> float:
    "The largest difference between our normalised maps and grad-cam's"
    from masktune.masking import normalize

    call = methods(model, layer, images[:8])
    return float(
        (normalize(call["ours"]()[:, 0], images.shape[-2:]) - torch.from_numpy(call["grad-cam"]()).to(images.device))
        .abs()
        .max()
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="ResNet-18 and the small CNN, three repeats, batches of 16"
    )
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--mixed-precision", default="no", choices=["no", "bf16", "fp16"])
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    repeats, batch = options.repeats or (3 if options.quick else 7), options.batch or (16 if options.quick else 32)
    if options.memory_of:
        print(measure_memory(options.memory_of[0], batch, options.memory_of[1]))
        raise SystemExit
    device, precision = options.device, options.mixed_precision
    print(f"{machine()}, mixed precision {precision}")
    print(
        f"{'network':10} {'images':>7} {'ms/image':>9} {'ours / forward':>20} {'grad-cam / ours':>20} "
        f"{'MiB ours / forward':>20}"
        f" {'MiB grad-cam':>13} {'difference':>11}"
    )
    for name in ("small-cnn", "resnet18") if options.quick else ("small-cnn", "resnet18", "resnet50"):
        made = make(name, batch, device)
        # it cannot read halves
        calls = {
            way: call if way == "grad-cam" else within(call, device, precision) for way, call in methods(*made).items()
        }
        taken, images = take_turns(calls, repeats), made[2]
        memory = {
            way: peak_memory(name, batch, way) if device == "cpu" else card_memory(call) for way, call in calls.items()
        }
        print(
            f"{name:10} {len(images):7} {1000 * statistics.median(taken['forward']) / len(images):9.2f} "
            f"{ratio(taken, 'ours', 'forward'):>20}"
            f" {ratio(taken, 'grad-cam', 'ours'):>20} {memory['ours'] / max(memory['forward'], 0.1):20.2f} "
            f"{memory['grad-cam']:13.0f}"
            f" {difference(*made):11.1e}",
            flush=True,
        )
        if device != "cpu":
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counted:
                calls["forward"]()
            rates = {way: len(images) / statistics.median(taken[way]) for way in ("forward", "ours")}
            share = counted.get_total_flops() * rates["forward"] / len(images) / matrix_rate(device, precision)
            print(
                f"{'':10} forward {rates['forward']:,.0f} images a second, {share:.0%} of the measured "
                f"matrix-product rate; maps {rates['ours']:,.0f}",
                flush=True,
            )
