"""What a threshold change costs in the kernel, and what opening the scrubber costs on ten thousand images.

    python benchmarks/scrub.py [--repeats 50]

A page of 24 photographs of 224 pixels, made here, with 7 x 7 maps. Timed is everything the kernel does from the
slider's new value to the encoded picture: thresholds, outlines, masked images, histogram, lines of text, encoding.
No model is called."""

import argparse
import resource
import statistics
import time

import torch

from masktune.data import ArrayDataset
from masktune.lab.scrubber import ThresholdScrubber
from masktune.saliency import SaliencyMaps


def made(count: int, size: int) -> tuple[ArrayDataset, SaliencyMaps]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(images, torch.arange(count) % 2, ["a", "b"])
    maps = torch.rand(count, 7, 7, generator=generator).square().half()
    ones = torch.ones(count)
    return data, SaliencyMaps(maps, ones, torch.zeros(count, dtype=torch.int64), ones, data=data.fingerprint)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    data, maps = made(48, 224)
    print(f"{'rule':10} {'tile':>5} {'median ms':>10} {'lowest':>7} {'highest':>8}")
    for tile in (72, 96):
        scrubber = ThresholdScrubber(None, data, maps, page_size=24, tile=tile)
        for rule in ("mean_std", "fixed", "quantile"):
            scrubber.rule_name.value = rule
            low, high = scrubber.strength.min, scrubber.strength.max
            taken = []
            for i in range(options.repeats):
                started = time.perf_counter()
                scrubber.strength.value = low + (high - low) * (0.2 + 0.6 * i / options.repeats)
                taken.append(1000 * (time.perf_counter() - started))
            print(f"{rule:10} {tile:5} {statistics.median(taken):10.1f} {min(taken):7.1f} {max(taken):8.1f}")
        scrubber.close()
    data, maps = made(10_000, 96)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    scrubber = ThresholdScrubber(None, data, maps)
    opened = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"opened on 10,000 images in {opened:.2f} s; peak memory grew by {grown:.0f} MiB")
