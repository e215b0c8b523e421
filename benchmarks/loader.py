"""What reading images costs: decoded each time, by worker processes, and from the cache of decoded images.

    python benchmarks/loader.py [--quick] [--images 512] [--repeats 5]

JPEG files of 500 x 375 pixels, made here, resized to 256 and cropped to 224 as ImageNet's networks want them, in
batches of 32. The ways take turns; read the ratios to decoding in the training process."""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

from turns import machine, ratio, take_turns


def make_files(folder: Path, count: int) -> list[Path]:
    import numpy as np
    from PIL import Image

    generator = np.random.default_rng(0)
    paths = []
    for i in range(count):
        # enlarged: as smooth as a photograph
        small = Image.fromarray(generator.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        paths.append(folder / f"{i}.jpg")
        small.resize((500, 375), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="128 images, two repeats")
    parser.add_argument("--images", type=int)
    parser.add_argument("--repeats", type=int)
    given = parser.parse_args()
    count, repeats = given.images or (128 if given.quick else 512), given.repeats or (2 if given.quick else 5)
    with tempfile.TemporaryDirectory() as place:
        os.environ["MASKTUNE_CACHE"] = str(Path(place) / "cache")
        from masktune.cache import cached
        from masktune.data import FileDataset
        from masktune.devices import batches

        paths = make_files(Path(place), count)
        plain = FileDataset(paths, [i % 2 for i in range(count)], ["a", "b"])
        kept = cached(plain)

        def read(data, workers=0):
            for _ in batches(data, 32, workers):
                pass

        def fill():
            for path in Path(os.environ["MASKTUNE_CACHE"]).glob("*"):
                path.unlink()
            read(cached(plain))

        calls = {
            "decode": lambda: read(plain),
            "2 workers": lambda: read(plain, 2),
            "cache, first pass": fill,
            "cache, later passes": lambda: read(kept),
            "cache, 2 workers": lambda: read(kept, 2),
        }
        read(kept)
        taken = take_turns(calls, repeats)
        print(f"{machine()}, {count} images\n{'':20} {'images/s':>9} {'times as fast as decoding':>28}")
        for name, seconds in taken.items():
            print(f"{name:20} {count / statistics.median(seconds):9.0f} {ratio(taken, 'decode', name):>28}")
