"The front-end module in a real browser: its masks are the package's, bit for bit, and it draws within a frame."

import base64
import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from screenshots import CHROMIUM, FLAGS, ROOT

from masktune.masking import RULES, Threshold

SCRIPT = ROOT / "masktune" / "lab" / "static" / "instrument.js"
SHAPES = [((7, 7), (224, 224)), ((8, 8), (28, 28)), ((5, 9), (61, 33)), ((3, 4), (2, 3)), ((1, 6), (19, 40))]
STRENGTHS = {"mean_std": (-0.5, 0.0, 1.3, 2.0, 3.7), "quantile": (0.5, 0.9, 0.973), "fixed": (0.0, 0.31, 0.98)}

if CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("Chromium is missing: .ci/run is to install it", pytrace=False)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package chromium")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(browser):
    "A page that knows the module's functions"
    page = browser.new_page()
    page.set_content(
        f"<script type='module'>{SCRIPT.read_text()}\nwindow.core = {{ maskOf, mapOf, bytesOf, Picture }};</script>"
    )
    page.wait_for_function("window.core !== undefined")
    return page


def maps_of(h, w):
    "Ordinary maps, and those that are a trap: empty, constant, nearly so, one hot cell, faint, large, negative"
    some = torch.rand(6, h, w, generator=torch.Generator().manual_seed(h * w)).square()
    some[1] *= 1e-4
    some[2] = 5e4 * some[2]
    some[3] -= 0.5
    some[4] = some[4] > 0.8
    hot, steps = torch.zeros(h, w), torch.arange(h * w).view(h, w) % 3 / 2
    hot[-1, -1] = 1
    almost = torch.full((h, w), 0.5)
    almost[0, 0] += 2**-11
    return torch.stack([*some, torch.zeros(h, w), torch.full((h, w), 0.7), almost, hot, steps]).half()


def encoded(map_):
    return base64.b64encode(map_.numpy().tobytes()).decode()


@pytest.mark.parametrize("shape, size", SHAPES)
def test_masks_in_the_browser_are_the_packages_bit_for_bit(page, shape, size):
    maps = maps_of(*shape)
    for name, rule in RULES.items():
        for strength in STRENGTHS[name] if rule.parameter else (None,):
            wanted = Threshold(name, strength)(maps, size)
            asked = [[encoded(map_), *shape, *size, name, strength] for map_ in maps]
            found = page.evaluate(
                "all => all.map(([map, ...how]) => core.maskOf(core.mapOf(map), ...how).join(''))", asked
            )
            for place, (bits, mask) in enumerate(zip(found, wanted, strict=True)):
                assert bits == "".join(map(str, mask.flatten().int().tolist())), (name, strength, place)


def test_what_people_have_marked_is_heeded_in_the_browser_bit_for_bit(page):
    from masktune.data import ArrayDataset
    from masktune.given_masks import Marks, read_masks
    from masktune.instrument import page_data
    from masktune.masking import masks_of
    from masktune.saliency import SaliencyMaps

    maps, size = maps_of(5, 9), (61, 33)
    count = len(maps)
    images = torch.zeros(count, 3, *size, dtype=torch.uint8)
    data, ones = ArrayDataset(images, [i % 2 for i in range(count)], ["a", "b"]), torch.ones(count)
    stored = SaliencyMaps(maps.clamp(min=0), ones, ones.long(), ones, data=data.fingerprint)
    given, protect = ([box] * (count - 1) + [None] for box in ((3, 5, 17, 30), (10, 20, 30, 50)))
    marks = Marks(read_masks(data, given), read_masks(data, protect))
    shown = page_data(data, stored, [data[i] for i in range(count)], marks=marks)
    find = """([about, page, name, strength]) => {
      const picture = new core.Picture(about, page);
      picture.measure(name, strength);
      const bits = Array.from(picture.saliency, (value, i) => picture.marked(i, value > picture.height));
      return [bits.join(""), picture.area];
    }"""
    for source, (name, strength) in itertools.product(("xgradcam", "given"), (("mean_std", 1.3), ("quantile", 0.7))):
        wanted = masks_of(replace(stored, source=source), Threshold(name, strength), range(count), size, marks)
        for about, mask in zip(shown["images"], wanted, strict=True):
            bits, area = page.evaluate(find, [about, shown | {"source": source}, name, strength])
            assert bits == "".join(map(str, mask.flatten().int().tolist())), (source, name, about["index"])
            assert abs(area - float(mask.double().mean())) < 1e-9


DIGEST = """
import hashlib, sys, torch
sys.path.insert(0, {tests!r})
from test_instrument import all_masks
print(hashlib.sha256(all_masks()).hexdigest())
"""


def all_masks():
    "Masks of every shape and rule as bytes; maps alone and in a batch are masked alike"
    found = b""
    for (shape, size), name in itertools.product(SHAPES, RULES):
        rule = Threshold(name, RULES[name].default)
        together = rule(maps_of(*shape), size)
        assert torch.equal(together, torch.cat([rule(map_[None], size) for map_ in maps_of(*shape)]))
        found += together.numpy().tobytes()
    return found


def test_masks_are_the_same_bits_on_another_processor():
    other = os.environ | {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    code = DIGEST.format(tests=str(ROOT / "tests"))
    paths = f"{ROOT / 'scripts'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=other | {"PYTHONPATH": paths}, capture_output=True, text=True
    )
    assert ran.stdout.strip() == hashlib.sha256(all_masks()).hexdigest(), ran.stderr[-2000:]
