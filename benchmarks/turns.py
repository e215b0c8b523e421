"""What the benchmarks of cost share: things timed in turn, so that a slow moment of the machine meets them all, and
read as ratios."""

import statistics
import time
from collections.abc import Callable, Mapping


def machine() -> str:
    "The kind of machine, for the table's head"
    import os
    import platform

    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}"
    return f"{os.cpu_count()} {platform.machine()} cores, no GPU, PyTorch {torch.__version__}"


def take_turns(calls: Mapping[str, Callable[[], object]], repeats: int, warm: int = 1) -> dict[str, list[float]]:
    "Seconds of each, `repeats` times round; the first `warm` rounds are not counted"
    import torch

    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warm + repeats):
        for name, call in calls.items():
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            started = time.perf_counter()
            call()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if turn >= warm:
                taken[name].append(time.perf_counter() - started)
    return taken


def ratio(taken: Mapping[str, list[float]], over: str, under: str) -> str:
    "The median of the rounds' ratios, with the lowest and the highest"
    pairs = [a / b for a, b in zip(taken[over], taken[under], strict=True)]
    return f"{statistics.median(pairs):.2f} [{min(pairs):.2f}, {max(pairs):.2f}]"


def highest() -> float:
    "This process's peak resident memory in MiB (Linux)"
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) / 1024
