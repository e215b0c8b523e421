"""What a pass for maps costs as the data grow: time an image, peak memory, bytes on disk.

    python benchmarks/scale.py [--counts 1000 10000 100000] [--in-memory]

Made images of 28 pixels, drawn when they are asked for, through the small CNN; each count in a fresh process. Maps
go to disk as they come; `--in-memory` keeps them instead. Memory is the whole process's highest, PyTorch included."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from turns import highest, machine


def measure(count: int, in_memory: bool) -> dict:
    import torch

    from masktune.data import ImageDataset
    from masktune.devices import seed_everything
    from masktune.models import build_model
    from masktune.saliency import compute_saliency

    pool = torch.randint(0, 256, (64, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    class Made(ImageDataset):
        def _image(self, index):
            return pool[index % 64].roll(index // 64, -1)

        def _pixel_digest(self, sha):
            sha.update(f"{len(self)} made images".encode())

    seed_everything(0)
    data, model = Made(torch.arange(count) % 2, ["a", "b"], name="made"), build_model("small-cnn", 2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "maps.safetensors"
        started = time.perf_counter()
        maps = compute_saliency(
            model, data, batch_size=256, path=None if in_memory else path, device="cpu", progress=False
        )
        seconds, memory = time.perf_counter() - started, highest()
        if in_memory:
            maps.save(path)
        return {"seconds": seconds, "memory": memory, "bytes": path.stat().st_size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--in-memory", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.in_memory)))
        raise SystemExit
    print(f"{machine()}\n{'images':>8} {'seconds':>9} {'ms/image':>9} {'peak MiB':>9} {'bytes/image on disk':>20}")
    rows = {}
    for count in given.counts:
        command = [sys.executable, __file__, "--one", str(count), *(["--in-memory"] if given.in_memory else [])]
        rows[count] = row = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(
            f"{count:8,} {row['seconds']:9.1f} {1000 * row['seconds'] / count:9.3f} {row['memory']:9.0f} "
            f"{row['bytes'] / count:20.1f}",
            flush=True,
        )
    first, last = [rows[count] for count in given.counts[-2:]]
    time_grown, memory_grown = last["seconds"] / first["seconds"], last["memory"] / first["memory"]
    few, many = given.counts[-2:]
    print(
        f"from {few:,} to {many:,}: time x {time_grown:.2f} for {many / few:.0f} times the images, peak memory x "
        f"{memory_grown:.3f}"
    )
