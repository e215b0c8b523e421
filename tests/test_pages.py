"Pages that commands leave in a folder: they fit a phone, are dark where that is preferred, and axe finds nothing."

import pytest
import torch
from chromium import needs_chromium
from screenshots import CHROMIUM, FLAGS, ROOT
from torch import nn

from masktune.data import ArrayDataset
from masktune.diagnosis import diagnose, save_diagnosis
from masktune.experiments.compare_methods import MethodComparison, MethodRow
from masktune.experiments.recipes import get_recipe
from masktune.models import Classifier
from masktune.repair import repair

SHOTS = ROOT / ".cache" / "screenshots"


def stamped(count, seed):
    "A red corner on class 1, and a name as long as names of classes are"
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (count, 3, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2
    images[labels == 1, 0, :4, :4] = 255
    return ArrayDataset(images, labels, ["black-footed albatross", "yellow-headed blackbird"], name="stamped")


def method(name, seed):
    found = {"average": 0.9, "worst": 0.8, "groups": {"a": 0.8, "b": 1.0}}
    tests = {"test": found, "biased-test": found}
    return MethodRow(name, seed, {}, tests, None, None, [{"setting": {}, "cost": 1.0, "validation": {}}], 1.0, 1.0, 9.0)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    "diagnosis.html, repair.html and methods.html"
    folder = tmp_path_factory.mktemp("pages")
    torch.manual_seed(0)
    grid = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AvgPool2d(4))
    model = Classifier(nn.Sequential(grid, nn.Flatten(), nn.Linear(4 * 36, 2)))
    train, val = stamped(64, 0), stamped(40, 1)
    save_diagnosis(diagnose(model, val, device="cpu"), folder / "diagnosis.html")
    options = {"remedies": ["refit"], "device": "cpu", "progress": False, "finetune_lr": 0.01}
    mended = repair(model, train, val, **options)
    mended.evaluate({"test": val}, device="cpu", progress=False)
    mended.save(folder)
    rows = [method(name, seed) for name in ("erm", "masktune") for seed in (0, 1)]
    MethodComparison(get_recipe("biased-digits"), rows).save(folder)
    return folder


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_written_pages_fit_a_phone_in_both_schemes_and_axe_finds_nothing(pages, scheme):
    """`diagnosis.html` was 754 pixels wide on a phone, and all were white at night: a page's scheme is its root's.
    Where a table goes on is reached by keyboard"""
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 390, "height": 900}, color_scheme=scheme)
        for name in ("diagnosis", "repair", "methods"):
            page.goto((pages / f"{name}.html").as_uri())
            page.screenshot(path=SHOTS / f"{name}-390-{scheme}.png", full_page=True)
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
            assert (max(ground) < 60) == (scheme == "dark"), (name, ground)
            for table in page.locator("table").all():
                assert table.evaluate("e => !!e.closest('.wide[tabindex=\"0\"][aria-label]')"), name
            found = Axe().run(page).response["violations"]
            assert not found, [(name, v["id"], v["nodes"][0]["html"][:150]) for v in found]
        page.goto((pages / "diagnosis.html").as_uri())
        shown = page.locator("picture img").evaluate("e => e.currentSrc.length")
        assert (shown == page.locator("picture img").evaluate("e => e.src.length")) == (scheme == "light")
        browser.close()
