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
from scrub import WATCH

from masktune.data import ArrayDataset
from masktune.instrument import instrument_data, instrument_html, script_text
from masktune.masking import RULES, Threshold
from masktune.models import as_classifier
from masktune.saliency import SaliencyMaps

SHOTS = ROOT / ".cache" / "screenshots"
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
        f"<script type='module'>{script_text()}\nwindow.core = {{ maskOf, mapOf, bytesOf, Picture, Shown }};</script>"
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
sys.path[:0] = {paths!r}
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
    code = DIGEST.format(paths=[str(ROOT / name) for name in ("tests", "scripts", "benchmarks")])
    ran = subprocess.run([sys.executable, "-c", code], env=other, capture_output=True, text=True)
    assert ran.stdout.strip() == hashlib.sha256(all_masks()).hexdigest(), ran.stderr[-2000:]


EVIL = "<b onclick=alert(1)>5-9</b>"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    "A page with the instrument on 24 photographs, as a file: its address, the images, the maps"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(90, 256, (24, 3, 7, 7), generator=generator).float()
    images = torch.nn.functional.interpolate(images, (224, 224), mode="bilinear").byte()
    labels = torch.arange(24) % 2
    groups = {"groups": labels, "group_names": ["by day", "by night"]}
    data = ArrayDataset(images, labels, ["0-4", EVIL], **groups)
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(48, 2))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network[2].reset_parameters()
    model = as_classifier(network, data)
    with torch.no_grad():
        scores = model(images).softmax(1)
    maps = torch.rand(24, 7, 7, generator=generator).square().half()
    sure, said = scores.max(1)
    found = SaliencyMaps(maps, torch.ones(24), said, sure, data=data.fingerprint)
    part = instrument_html(instrument_data(data, found, range(24), model=model, tile=72), "saved", "<p>A still.</p>")
    page = f"<!doctype html><html lang='en'><meta charset='utf-8'><title>saved</title><main>{part}</main></html>"
    place = tmp_path_factory.mktemp("saved") / "page.html"
    place.write_text(page, encoding="utf-8")
    assert len(part) <= 500_000
    return place.as_uri(), images, found


def opened(browser, address, **options):
    page = browser.new_page(**({"viewport": {"width": 1400, "height": 1000}} | options))
    page.wrong = []
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.goto(address)
    page.locator(".mt-card").nth(23).wait_for()
    return page


@pytest.mark.parametrize("width, scheme", [(1400, "light"), (820, "dark"), (390, "light"), (390, "dark")])
def test_a_page_without_a_kernel_fits_and_axe_finds_nothing(browser, saved, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, saved[0], viewport={"width": width, "height": 900}, color_scheme=scheme)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"instrument-{width}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    tiles = page.locator(".mt-card canvas").evaluate_all(
        "all => all.slice(0, 4).map((c) => c.getBoundingClientRect().y)"
    )
    assert len(set(tiles)) == 1  # four columns, on a phone too
    for state in ("closed", "filters", "detail"):
        if state == "filters":
            page.locator("summary").click()
        if state == "detail":
            page.locator(".mt-open").first.click()
            page.screenshot(path=SHOTS / f"instrument-detail-{width}-{scheme}.png")
        found = [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in Axe().run(page).response["violations"]]
        assert not [each for each in found if not each.startswith(("landmark", "page-has-heading", "region"))], found
    assert not page.wrong
    page.close()


def test_what_is_drawn_is_what_the_package_masks(browser, saved):
    page = opened(browser, saved[0])
    maps = saved[2]
    page.get_by_label("tile").select_option("224")
    for k in ("2", "0.7"):
        page.locator(".mt-strength input[type=number]").fill(k)
        page.locator(".mt-strength input[type=number]").press("Enter")
        page.wait_for_timeout(500)
        black = page.locator(".mt-card canvas").evaluate_all(
            """all => all.filter((_, i) => i % 4 === 3).map((canvas) => {
                 const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
                 return Array.from({ length: data.length / 4 }, (_, i) => (data[4 * i] < 40 ? 1 : 0)).join("");
               })"""
        )
        masks = Threshold("mean_std", float(k))(maps.maps, (224, 224))
        wanted = ["".join(map(str, mask.flatten().int().tolist())) for mask in masks]
        assert black == wanted and "1" in black[0]
        words = page.locator(".mt-then").all_inner_texts()
        assert [float(text.split()[1]) for text in words] == pytest.approx(
            (100 * masks.float().mean((1, 2))).tolist(), abs=0.051
        )
    page.close()


def test_slider_filters_selection_and_large_view_by_keyboard(browser, saved):
    page = opened(browser, saved[0])
    headline, code = page.locator(".mt-headline"), page.locator(".mt-code")
    assert "of 24 answers on this page change when this is hidden" in headline.inner_text()
    page.locator(".mt-strength input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    assert code.inner_text() == "mean_std(k=1.95)"
    assert EVIL in page.locator(".mt-said").nth(1).inner_text()  # a name stays a name
    page.locator("summary").focus()
    page.keyboard.press("Enter")
    page.get_by_label("class", exact=True).select_option("1")
    assert page.locator(".mt-card").count() == 12 and "12 of 24 images" in page.locator(".mt-counts").inner_text()
    page.get_by_label("confidence at least").fill("1")
    page.get_by_label("confidence at least").press("Enter")
    assert page.get_by_text("No image matches these filters").is_visible() and page.locator(".mt-card").count() == 0
    page.get_by_role("button", name="remove the filter sure at least 1").click()
    assert page.locator(".mt-card").count() == 12
    page.get_by_role("button", name="reset").click()
    assert page.locator(".mt-card").count() == 24
    page.locator(".mt-open").nth(2).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert (
        "image 3" in dialog.inner_text() and "by night" in dialog.inner_text() and dialog.locator("canvas").count() == 4
    )
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    back = "document.activeElement.getAttribute('aria-label')?.includes('image 3')"
    page.wait_for_function(back)  # where one came from; a browser tells of the closing a moment later
    page.locator(".mt-open").nth(5).click(modifiers=["Shift"])
    page.locator(".mt-card input[type=checkbox]").nth(7).check()
    with page.expect_download() as download:
        page.get_by_role("button", name="save selection as CSV").click()
    lines = open(download.value.path()).read().splitlines()
    assert [line.split(",")[0] for line in lines] == ["index", "5", "7"] and not page.wrong
    page.close()


def test_answers_asked_beforehand_are_those_of_the_nearest_threshold(browser, saved):
    page = opened(browser, saved[0])
    before = page.locator(".mt-then").all_inner_texts()
    assert all("→" in text for text in before)
    page.locator(".mt-controls select").nth(1).select_option("mean")  # nobody was asked about this fill
    page.wait_for_timeout(300)
    assert not any("→" in text for text in page.locator(".mt-then").all_inner_texts())
    assert "The model was asked for the rule mean_std and the fill zero" in page.locator(".mt-headline").inner_text()
    page.close()


def test_without_scripts_the_still_is_there(browser, saved):
    page = browser.new_page(java_script_enabled=False)
    page.goto(saved[0])
    assert page.get_by_text("A still.").is_visible()
    page.close()


def test_a_threshold_is_drawn_within_a_frame(browser, saved):
    "24 images of 224 pixels, no kernel. The fastest of thirty counts: what else a machine does can only add to it"
    page = opened(browser, saved[0])
    page.evaluate(WATCH)
    page.locator(".mt-strength input[type=range]").focus()
    for press in range(30):
        page.keyboard.press("ArrowLeft" if press % 20 < 10 else "ArrowRight")
        page.wait_for_timeout(30)
    taken = page.evaluate("window.taken")
    assert len(taken) == 30 and min(taken) <= 16, sorted(taken)
    page.close()


@pytest.fixture(scope="module")
def explained(digits):
    "A small network that was hardly trained, and its maps: model, images, maps"
    from masktune.devices import seed_everything
    from masktune.finetune import MaskTune
    from masktune.models import build_model

    part = digits["train"].subset(range(0, len(digits["train"]), 8))
    seed_everything(0)
    run = MaskTune(build_model("small-cnn", 2), epochs=2, finetune_lr=0.01, device="cpu", progress=False)
    run.fit_erm(part).compute_maps(part)
    return run.erm_, part, run.rounds_[0].maps


def test_another_layer_is_looked_at_on_the_page_and_its_worth_is_measured_on_request(browser, explained):
    from bridge import Bridge

    from masktune.faithfulness import faithfulness
    from masktune.lab.scrubber import ThresholdScrubber
    from masktune.saliency import compute_saliency

    model, images, maps = explained
    scrubber = ThresholdScrubber(model, images, maps, page_size=6)
    first, other = scrubber.looking.layers[:2]
    live = Bridge(browser, scrubber.view)
    page = live.page
    live.until(lambda: page.locator(".mt-card").count() == 6)
    before = page.locator("canvas").nth(1).evaluate("c => c.toDataURL()")
    page.get_by_label("layer", exact=True).select_option(other)
    live.until(lambda: scrubber.looking.layer == other)
    live.until(lambda: page.locator("canvas").nth(1).evaluate("c => c.toDataURL()") != before)
    made = scrubber.looking.maps_for([])
    wanted = compute_saliency(model, images, other, device="cpu", progress=False)
    shown = scrubber.shown
    assert torch.equal(made.maps[shown], wanted.maps[shown]) and torch.equal(scrubber.maps.maps, made.maps)
    live.until(lambda: scrubber.finding is not None and "asked" in page.locator(".mt-headline").inner_text())
    found = faithfulness(model, images, other, alone=False, limit=64)
    page.locator("summary", has_text="where to look").click()
    assert not scrubber.worth  # nothing is measured unasked
    page.get_by_role("button", name="measure what each is worth").click()
    live.until(lambda: "measured with mean_std(k=2)" in page.locator(".mt-looking").inner_text())
    row = next(row for row in scrubber.worth if (row.layer, row.source, row.fill) == (other, "xgradcam", "zero"))
    assert row.effect == found.effect
    words = page.locator(".mt-looking tbody tr", has_text=f"xgradcam at {other}").first.inner_text()
    assert f"{found.effect.mean:.2f} [{found.effect.low:.2f}, {found.effect.high:.2f}]" in words
    page.get_by_role("button", name=f"look here: grad-cam at {first}, black").click()
    live.until(lambda: (scrubber.looking.layer, scrubber.looking.source) == (first, "grad-cam"))
    saved = scrubber.wait().saved()
    assert len(saved["options"]["worth"]["rows"]) == len(scrubber.worth)
    live.close()
    scrubber.close()


def test_a_page_of_maps_made_later_leaves_the_model_as_it_was(explained):
    from masktune.lab.looking import Looking
    from masktune.models import model_fingerprint

    model, images, maps = explained
    before = model_fingerprint(model), [module.training for module in model.modules()], torch.get_rng_state()
    looking = Looking(model, images, maps)
    looking.look(looking.layers[-1], "grad-cam")
    looking.maps_for(range(4))
    after = model_fingerprint(model), [module.training for module in model.modules()], torch.get_rng_state()
    assert before[:2] == after[:2] and torch.equal(before[2], after[2])


def test_a_blurred_fill_is_the_packages_but_for_its_grain(page):
    "Cell by cell instead of pixel by pixel: no farther from the package's than a few levels, on average"
    from masktune.masking import hide

    generator = torch.Generator().manual_seed(0)
    image = torch.nn.functional.interpolate(
        torch.randint(0, 256, (1, 3, 5, 5), generator=generator).float(), (64, 64), mode="bilinear"
    ).byte()
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[0, 8:30, 20:50] = True
    wanted = hide(image, mask, "blur")[0].permute(1, 2, 0)
    draw = """([pixels, mask]) => {
      const numbers = Uint32Array.from(pixels, ([r, g, b]) => ((255 << 24) | (b << 16) | (g << 8) | r) >>> 0);
      const shown = Object.assign(Object.create(core.Shown.prototype), {
        width: 64, height: 64, pixels: numbers, mask: Uint8Array.from(mask) });
      const canvas = document.createElement("canvas");
      shown.drawLeft(canvas, "blur");
      return Array.from(canvas.getContext("2d").getImageData(0, 0, 64, 64).data);
    }"""
    pixels = image[0].permute(1, 2, 0).reshape(-1, 3).tolist()
    found = torch.tensor(page.evaluate(draw, [pixels, mask.flatten().int().tolist()])).view(64, 64, 4)[..., :3]
    apart = (found - wanted.int()).abs().float()
    assert torch.equal(found[~mask[0]], wanted[~mask[0]].long()) and apart[mask[0]].mean() < 8


def test_a_blurred_threshold_is_drawn_within_a_frame(browser, saved):
    page = opened(browser, saved[0])
    page.locator(".mt-controls select").nth(1).select_option("blur")
    page.evaluate(WATCH)
    page.locator(".mt-strength input[type=range]").focus()
    for press in range(30):
        page.keyboard.press("ArrowLeft" if press % 20 < 10 else "ArrowRight")
        page.wait_for_timeout(30)
    taken = page.evaluate("window.taken")
    assert len(taken) == 30 and min(taken) <= 16, sorted(taken)
    page.close()
