"""What a threshold change costs in the browser and in the kernel, and what opening the scrubber costs.

    python benchmarks/scrub.py [--repeats 50] [--images 60000] [--json FILE]

A page of 24 photographs of 224 pixels, made here, with 7 x 7 maps. In the browser (Chromium, without a kernel): from
the input event of a key press to the frame that shows the new masks, for each rule and fill. In the kernel: from the
controls the browser sends to the controls it is told, no picture painted. Before, for comparison: what the kernel did
until the drawing went into the browser, that is to paint the page with Pillow. No model is called."""

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parent.parent / "scripts"))
from screenshots import CHROMIUM, FLAGS

from masktune.data import ArrayDataset, ImageDataset
from masktune.instrument import instrument_data, instrument_html
from masktune.lab.gallery import PageOfMasks
from masktune.lab.scrubber import ThresholdScrubber
from masktune.lab.sketch import encode
from masktune.masking import RULES, Threshold
from masktune.saliency import SaliencyMaps

# a message is handled once the frame is drawn: it measures from the event's own time to behind the frame
WATCH = """
window.taken = [];
const channel = new MessageChannel();
let started = 0;
channel.port1.onmessage = () => window.taken.push(performance.now() - started);
document.addEventListener("input", (event) => {
  started = event.timeStamp;
  requestAnimationFrame(() => channel.port2.postMessage(null));
}, true);
"""


def made(count: int, size: int) -> tuple[ArrayDataset, SaliencyMaps]:
    "Photographs that are noise, with maps"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(images, torch.arange(count) % 2, ["a", "b"])
    maps = torch.rand(count, 7, 7, generator=generator).square().half()
    ones = torch.ones(count)
    return data, SaliencyMaps(maps, ones, torch.zeros(count, dtype=torch.int64), ones, data=data.fingerprint)


class Many(ImageDataset):
    "Photographs that are made when they are asked for"

    def _image(self, index):
        return torch.full((3, 224, 224), index % 256, dtype=torch.uint8)

    def _pixel_digest(self, sha):
        sha.update(b"made when asked for")


def page_of_photographs(data: ArrayDataset, maps: SaliencyMaps) -> str:
    "A whole page with the instrument and 24 photographs"
    part = instrument_html(instrument_data(data, maps, range(24)), "scrub")
    return f"<!doctype html><html lang='en'><meta charset='utf-8'><title>scrub</title><body>{part}</body></html>"


def in_the_browser(page, rule: str, fill: str, repeats: int) -> list[float]:
    "Press a key on the slider, again and again: (repeats,) milliseconds from the input event to behind the frame"
    selects = page.locator(".mt-controls select")
    selects.nth(0).select_option(rule)
    selects.nth(1).select_option(fill)
    page.locator(".mt-strength input[type=range]").focus()
    page.keyboard.press("ArrowLeft")  # what a rule finds once (sorting, moments) is found
    page.wait_for_timeout(300)
    page.evaluate("window.taken = []")
    for press in range(repeats):
        page.keyboard.press("ArrowLeft" if press % 10 < 5 else "ArrowRight")
        page.wait_for_function("(count) => window.taken.length > count", arg=press)
        page.wait_for_timeout(40)
    taken = page.evaluate("window.taken")
    assert len(taken) == repeats, f"{len(taken)} frames for {repeats} key presses"
    return taken


def browser_times(repeats: int) -> dict[str, list[float]]:
    "By rule and fill, milliseconds"
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "scrub.html"
        path.write_text(page_of_photographs(*made(24, 224)), encoding="utf-8")
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.goto(path.as_uri())
        page.wait_for_selector(".mt-card >> nth=23")
        page.evaluate(WATCH)
        pairs = [("mean_std", "zero"), ("quantile", "zero"), ("fixed", "zero"), ("mean_std", "mean")]
        pairs += [("mean_std", "blur"), ("mean_std", "noise")]
        found = {f"{rule}, {fill}": in_the_browser(page, rule, fill, repeats) for rule, fill in pairs}
        browser.close()
    return found


def kernel_times(repeats: int) -> tuple[list[float], list[float]]:
    "Milliseconds of the kernel: now, and as it was when it painted the page itself"
    data, maps = made(48, 224)
    scrubber, now, before = ThresholdScrubber(None, data, maps), [], []
    painted = PageOfMasks(scrubber.images, maps[torch.tensor(scrubber.shown)], 72)
    for i in range(repeats):
        k = round(1 + 3 * i / repeats, 2)
        controls = scrubber.view.controls
        started = time.perf_counter()
        scrubber.view.controls = controls | {"strengths": controls["strengths"] | {"mean_std": k}}
        now.append(1000 * (time.perf_counter() - started))
        started = time.perf_counter()
        painted.mask_by(Threshold("mean_std", k), "zero")
        painted.sheet.write([[("a", (0, 0, 0)), ("masked", (0, 0, 0))]] * 24)
        encode(painted.sheet.canvas)
        before.append(1000 * (time.perf_counter() - started))
    scrubber.close()
    return now, before


def opening(count: int) -> tuple[float, float]:
    "Seconds until a scrubber of so many images is there, and by how many MiB the peak of memory grew"
    data = Many(torch.arange(count) % 2, ["a", "b"])
    generator = torch.Generator().manual_seed(0)
    maps = torch.rand(count, 7, 7, generator=generator).half()
    ones, said = torch.ones(count), torch.arange(count) % 2
    found = SaliencyMaps(maps, ones, said, ones, data=data.fingerprint)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    scrubber = ThresholdScrubber(None, data, found)
    opened = time.perf_counter() - started
    scrubber.close()
    return opened, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def line(name: str, taken: list[float]) -> str:
    "A row of the table"
    return f"{name:34} {statistics.median(taken):9.1f} {min(taken):8.1f} {max(taken):8.1f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("Chromium is missing: install it (Debian: apt-get install chromium) and run this again")
    assert set(RULES) >= {"mean_std", "quantile", "fixed"}
    opened, grown = opening(options.images)
    now, before = kernel_times(options.repeats)
    browser = browser_times(options.repeats)
    print(f"{'milliseconds, 24 images of 224':34} {'median':>9} {'lowest':>8} {'highest':>8}")
    for name, taken in browser.items():
        print(line(f"browser: {name}", taken))
    print(line("kernel: told of it", now))
    print(line("kernel, before: painting the page", before))
    print(f"opened on {options.images:,} images in {opened:.2f} s; peak memory grew by {grown:.0f} MiB")
    if options.json:
        told = {"browser": browser, "kernel": now, "kernel_before": before, "opened_s": opened, "grown_mib": grown}
        options.json.write_text(json.dumps(told, indent=1))
