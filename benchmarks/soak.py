"""Open, use, close and re-run the panels for minutes, and see what is left behind.

    python benchmarks/soak.py [--minutes 30] [--exits 20] [--json FILE]

Every turn opens each panel on digits, moves it as its page would, waits for what it asks in the background, and closes
it; most turns also save it, as a notebook does. Reported at intervals and at the
end: live widgets, observers of the panels' controls, threads, open files, memory. What grows from turn to turn is a
leak; the last line says so. The interpreter must then end by itself, without an abort.

`--exits` also leaves so many interpreters with their panels at work in the background, each after another delay from 0
to 2 seconds: each must end with status 0 and say nothing on stderr."""

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from ipywidgets.widgets import widget

from masktune.abstaining import SelectiveClassifier
from masktune.experiments.datasets import load_dataset
from masktune.finetune import MaskTune
from masktune.kinds import find_kinds
from masktune.lab.compare import CompareExplorer
from masktune.lab.coverage import CoverageExplorer
from masktune.lab.evidence import ClassEvidence
from masktune.lab.launcher import Launcher
from masktune.lab.review import EvidenceReview
from masktune.lab.scrubber import ThresholdScrubber
from masktune.models import build_model

# What runs in the background: a question about the page and many images, a sorting, measuring, every remedy.
AT_WORK = """
import time
import torch
from masktune.data import ArrayDataset
from masktune.finetune import MaskTune
from masktune.lab.launcher import Launcher
from masktune.lab.scrubber import ThresholdScrubber
from masktune.models import build_model

generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (600, 3, 28, 28), dtype=torch.uint8, generator=generator)
images[1::2, :, 8:20, 8:20] |= 128  # one class is bright in the middle: there is something to look at
data, held = (ArrayDataset(part, torch.arange(len(part)) % 2, ["a", "b"]) for part in images.split(400))
torch.manual_seed(0)
settings = {"epochs": 2, "batch_size": 16, "lr": 0.01, "finetune_lr": 0.01, "device": "cpu", "progress": False}
run = MaskTune(build_model("small-cnn", 2), **settings).fit_erm(data)
scrubber = ThresholdScrubber(run.erm_, data, page_size=24)
scrubber.sort.value = scrubber.FALL
scrubber.measure()
launcher = Launcher(run, data, {"test": data}, val=held).sweep_remedies(["repair", "mask"] * 20)
time.sleep(0.3)
assert launcher.job.running
"""
GROWS = {"widgets": 0, "observers": 0, "threads": 0, "files": 0, "memory_mib": 60}  # more than this is a leak


def made() -> tuple[MaskTune, Any, Any]:
    "A small run that is trained in a few seconds: run, images, kinds of evidence"
    torch.manual_seed(0)
    images = load_dataset("biased-digits").subset(range(0, 1149, 12))
    run = MaskTune(build_model("small-cnn", 2), epochs=2, finetune_lr=0.01, device="cpu", progress=False)
    run.fit_erm(images).compute_maps(images)
    return run, images, find_kinds(run.erm_, images, limit=64, most=1, device="cpu")


def scrub(run: MaskTune, images: Any, folder: Path) -> list[Any]:
    "The scrubber and the launcher on it: move, look elsewhere, ask, finetune"
    scrubber = ThresholdScrubber(run.erm_, images, run.rounds_[0].maps, page_size=6)
    controls = scrubber.view.controls
    scrubber.view.controls = controls | {"strengths": controls["strengths"] | {"mean_std": 1.0}, "page": 2}
    scrubber.look(scrubber.looking.layers[-1])
    scrubber.wait()
    launcher = Launcher(run, images, {"test": images}, scrubber, folder=folder)
    launcher.launch().wait()
    run.layer, run.source = launcher.first
    run.compute_maps(images)
    return [launcher, scrubber]


def look(run: MaskTune, images: Any, kinds: Any, folder: Path) -> list[Any]:
    "The other panels, each moved once"
    maps, model = run.rounds_[0].maps, run.erm_
    evidence = ClassEvidence(images, maps, count=4)
    evidence.view.controls = evidence.view.controls | {"count": 6}
    compare = CompareExplorer(model, model, images, (maps, maps), page_size=6, device="cpu")
    compare.view.controls = compare.view.controls | {"class": 1}
    coverage = CoverageExplorer(SelectiveClassifier([model]), images, page_size=6, device="cpu")
    coverage.view.controls = coverage.view.controls | {"coverage": 0.5}
    review = EvidenceReview(kinds, images, model, folder / "kinds.json")
    review.judge(next(iter(kinds.kinds)), "unsure")
    return [evidence, compare, coverage, review]


def state() -> dict[str, float]:
    "What is there now"
    gc.collect()
    live = list(widget._instances.values())
    observers = sum(
        len(calls) for each in live for by_type in each._trait_notifiers.values() for calls in by_type.values()
    )
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    return {
        "widgets": len(live),
        "observers": observers,
        "threads": threading.active_count(),
        "files": files,
        "memory_mib": memory(),
    }


def memory() -> float:
    "Mebibytes held now; where the system does not say, the most that was ever held"
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return round(pages * resource.getpagesize() / 2**20, 1)
    except OSError:
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def soak(minutes: float) -> list[dict[str, float]]:
    "Turn after turn until the time is over; a row of figures after the third turn, then now and then, and at the end"
    run, images, kinds = made()
    rows: list[dict[str, float]] = []
    started, turns, told = time.monotonic(), 0, 0.0
    with tempfile.TemporaryDirectory() as place:
        while time.monotonic() - started < 60 * minutes or turns < 6:
            folder = Path(place) / "run"
            panels = scrub(run, images, folder) + look(run, images, kinds, folder)
            for panel in panels:
                if not rows or turns % 5:
                    panel._repr_html_()
                panel.close()
            del panels, panel
            turns += 1
            passed = time.monotonic() - started
            if turns == 3 or (rows and passed - told > max(6 * minutes, 10)):
                told = passed
                rows.append({"turns": turns, "minutes": round(passed / 60, 2), **state()})
                print(line(rows[-1]), flush=True)
        rows.append({"turns": turns, "minutes": round((time.monotonic() - started) / 60, 2), **state()})
    print(line(rows[-1]), flush=True)
    return rows


def left(code: str) -> tuple[int, str]:
    "Run a script that leaves its panels at work: its exit status, and what it says on stderr"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=180)
    return ran.returncode, ran.stderr


def leave(times: int) -> list[dict[str, Any]]:
    "Leave interpreters at work, after delays from 0 to 2 seconds: a row each"
    rows = []
    for k in range(times):
        delay = round(2 * k / max(times - 1, 1), 2)
        started = time.monotonic()
        status, said = left(AT_WORK.replace("time.sleep(0.3)", f"time.sleep({delay})"))
        took = round(time.monotonic() - started, 1)
        rows.append({"delay": delay, "status": status, "stderr": said, "seconds": took})
        print(f"left after {delay:.2f} s: status {status}, {took} s in all {said[-300:]}", flush=True)
    return rows


def line(row: dict[str, float]) -> str:
    "A row of the report"
    return "  ".join(f"{name} {value:g}" for name, value in row.items())


def grown(rows: list[dict[str, float]]) -> list[str]:
    """What is more at the end than after the third turn, by more than is allowed; of memory, which an allocator first
    fills up and then keeps, than after a third of the time"""
    first, last = rows[0] | {"memory_mib": rows[len(rows) // 3]["memory_mib"]}, rows[-1]
    return [
        f"{name} {first[name]:g} -> {last[name]:g}" for name, more in GROWS.items() if last[name] > first[name] + more
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--exits", type=int, default=0, help="how many interpreters are left with panels at work")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = soak(options.minutes) if options.minutes else []
    leaks = grown(found) if found else []
    if found:
        print(
            f"left behind: {'; '.join(leaks)}" if leaks else f"nothing left behind after {found[-1]['turns']:g} turns"
        )
    exits = leave(options.exits)
    bad = [row for row in exits if row["status"] or row["stderr"]]
    if exits:
        print(f"{len(exits) - len(bad)} of {len(exits)} interpreters ended in silence")
    if options.json:
        options.json.write_text(json.dumps({"rows": found, "left_behind": leaks, "exits": exits}, indent=1))
    sys.exit(bool(leaks or bad))
