"""Open, use, close and re-run the panels for minutes, and see what is left behind.

    python benchmarks/soak.py [--minutes 30] [--json FILE]

Every turn opens each panel on digits, moves it as its page would, waits for what it asks in the background, and closes
it; most turns also save it, as a notebook does. Reported at intervals and at the
end: live widgets, observers of the panels' controls, threads, open files, memory. What grows from turn to turn is a
leak; the last line says so. The interpreter must then end by itself, without an abort."""

import argparse
import gc
import json
import os
import resource
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


def line(row: dict[str, float]) -> str:
    "A row of the report"
    return "  ".join(f"{name} {value:g}" for name, value in row.items())


def grown(rows: list[dict[str, float]]) -> list[str]:
    "What is more at the end than after the third turn, by more than is allowed"
    first, last = rows[0], rows[-1]
    return [
        f"{name} {first[name]:g} -> {last[name]:g}" for name, more in GROWS.items() if last[name] > first[name] + more
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = soak(options.minutes)
    leaks = grown(found)
    print(f"left behind: {'; '.join(leaks)}" if leaks else f"nothing left behind after {found[-1]['turns']:g} turns")
    if options.json:
        options.json.write_text(json.dumps({"rows": found, "left_behind": leaks}, indent=1))
    sys.exit(bool(leaks))
