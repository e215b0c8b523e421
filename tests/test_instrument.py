"The front-end module in a real browser: its masks are the package's, bit for bit, and it draws within a frame."

import base64
import copy
import hashlib
import itertools
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from chromium import needs_chromium
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

pytestmark = needs_chromium


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
        f"<script type='module'>{script_text()}\n"
        "window.core = { maskOf, mapOf, bytesOf, Picture, Shown, patchOf };</script>"
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
            page.locator("summary", has_text="filters").click()
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
    page.locator("summary", has_text="filters").focus()
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


@pytest.mark.parametrize("fill", ["zero", "blur"])
def test_every_press_is_drawn_without_a_kernel(browser, saved, fill):
    "24 images of 224 pixels; how fast is measured by benchmarks/scrub.py"
    page = opened(browser, saved[0])
    page.locator(".mt-controls select").nth(1).select_option(fill)
    page.evaluate(WATCH)
    page.locator(".mt-strength input[type=range]").focus()
    for press in range(10):
        page.keyboard.press("ArrowLeft")
        page.wait_for_function("count => window.taken.length > count", arg=press)
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
    from masktune.models import in_turn
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
    with in_turn(model):  # until then nobody else asks the model: there is time to press stop
        page.get_by_role("button", name="measure what each is worth").click()
        live.until(lambda: page.get_by_role("button", name="stop measuring").count() == 1)
        page.get_by_role("button", name="stop measuring").click()
        live.until(lambda: not live.ahead() and "stop" in scrubber.view.wishes)
    live.until(lambda: "stopped after 1, measured with" in page.locator(".mt-looking").inner_text())
    assert len(scrubber.worth) == 1
    page.get_by_role("button", name="measure what each is worth").click()
    live.until(
        lambda: len(scrubber.worth) > 4 and "measured with mean_std(k=2)" in page.locator(".mt-looking").inner_text()
    )
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


@pytest.fixture(scope="module")
def answered(explained, digits):
    "Two selective classifiers on the same images, with a validation set that is easier"
    from masktune.abstaining import SelectiveClassifier
    from masktune.models import build_model

    model, images, _ = explained
    other = as_classifier(build_model("small-cnn", 2), images)
    return {"ERM": SelectiveClassifier([model]), "both": SelectiveClassifier([model, other], "product")}, images


def test_the_point_on_the_curve_is_dragged_and_everything_follows(browser, answered):
    from bridge import Bridge

    from masktune.lab.coverage import CoverageExplorer

    explorer = CoverageExplorer(*answered, page_size=6, device="cpu")
    live = Bridge(browser, explorer.view)
    page = live.page
    live.until(lambda: page.locator(".mt-card").count() == 6)
    plot = page.locator(".mt-plot").bounding_box()
    width, middle = plot["width"] / 520, plot["y"] + plot["height"] / 2
    page.mouse.move(plot["x"] + (58 + 0.9 * 450) * width, middle)
    page.mouse.down()
    page.mouse.move(plot["x"] + (58 + 0.6 * 450) * width, middle, steps=4)
    page.mouse.up()
    live.until(lambda: abs(explorer.coverage.value - 0.6) < 0.02)
    before = explorer.coverage.value
    page.keyboard.press("ArrowRight")  # the point has the focus
    live.until(lambda: explorer.coverage.value == pytest.approx(before + 0.01))
    page.get_by_label("classifier").select_option("both")
    live.until(lambda: explorer.classifier.value == "both" and not live.ahead())
    head = ["name", "count", "coverage", "risk", "error"]
    for row, line in zip(explorer.rows, page.locator(".mt-table tbody tr").all(), strict=True):
        cells = line.locator("th, td").all_inner_texts()
        told = [row.name, f"{row.count:,}", f"{row.coverage:.1%}", f"{row.risk:.1%}", f"{row.error:.1%}"]
        for name, cell, wanted in zip(head, cells, told, strict=True):
            assert cell.replace(" %", "%").startswith(wanted), (name, cells, told)
    answered_here = int(explorer.decided.answered.sum())
    assert page.locator(".mt-headline").inner_text().startswith(f"{answered_here} of {len(explorer.dataset)} images")
    assert page.locator(".mt-answered").count() == sum(bool(explorer.decided.answered[i]) for i in explorer.shown)
    assert "by sureness" in page.locator(".mt-card").first.inner_text()
    explorer.coverage.value = 0.555  # from code, where no step of the slider is
    live.until(
        lambda: page.locator(".mt-headline").inner_text().startswith(f"{int(explorer.decided.answered.sum())} of")
    )
    live.close()
    explorer.close()


def test_two_models_are_compared_on_the_page_by_what_changed(browser, explained):
    from bridge import Bridge

    from masktune.lab.compare import CompareExplorer

    model, images, _ = explained
    other = copy.deepcopy(model)  # answers the other way round: what was right is newly wrong
    last = [module for module in other.modules() if isinstance(module, torch.nn.Linear)][-1]
    with torch.no_grad():
        last.weight.neg_()
        last.bias.neg_()
    compare = CompareExplorer(model, other, images, page_size=6, device="cpu")
    live = Bridge(browser, compare.view)
    page = live.page
    live.until(lambda: page.locator(".mt-card").count() == 6)
    counts = {name: int(which.sum()) for name, which in compare.cases.items()}
    headline = page.locator(".mt-headline").inner_text()
    assert f"{counts['newly right']} images newly right, {counts['newly wrong']} newly wrong" in headline
    assert f"{100 * compare.comparison.mean_moved:.0f} % of the heat moved" in headline
    page.get_by_role("button", name=f"newly wrong ({counts['newly wrong']})").click()
    live.until(lambda: compare.verdict_filter.value == "newly wrong" and not live.ahead())
    live.until(lambda: page.locator(".mt-card").count() == min(counts["newly wrong"], 6))
    text = page.locator(".mt-card").first.inner_text()
    assert "before: " in text and "after: " in text and "map's height" in text and "✗ wrong" in text
    page.locator(".mt-open").first.click()
    dialog = page.get_by_role("dialog")
    assert dialog.locator("canvas").count() == 3 and "newly wrong" in dialog.inner_text()
    page.keyboard.press("Escape")
    page.get_by_label("class", exact=True).select_option("0")
    live.until(lambda: compare.class_filter.value == 0 and all(images.labels[i] == 0 for i in compare.shown))
    live.close()
    compare.close()


def test_patches_are_cut_out_in_the_browser_where_the_package_cuts_them(browser, page, explained):
    from bridge import Bridge

    from masktune.kinds import find_kinds
    from masktune.lab.evidence import ClassEvidence, evidence_patches
    from masktune.lab.scrubber import ThresholdScrubber

    model, images, maps = explained
    kinds = find_kinds(model, images, limit=64, most=2, device="cpu")
    evidence = ClassEvidence(images, maps, count=4, kinds=kinds, model=model)
    for share in (0.3, 0.45):
        patches, index = evidence_patches(images, maps, 0, 4, share)
        for patch, i in zip(patches, index, strict=True):
            grid = list(maps.maps.shape[1:])
            asked = [encoded(maps.maps[i]), grid, [28, 28], share]
            at = page.evaluate("([map, ...how]) => core.patchOf(core.mapOf(map), ...how)", asked)
            top, left, side = at["top"], at["left"], at["side"]
            assert torch.equal(images[i].image[:, top : top + side, left : left + side], patch)
    scrubber = ThresholdScrubber(None, images, maps, page_size=len(images), kinds=kinds)
    told = {about["index"]: about.get("kind") for about in scrubber.view.page["images"]}
    assert all(told[int(i)] == kind.name for kind in kinds.kinds.values() for i in kind.members)
    scrubber.close()
    live = Bridge(browser, evidence.view)
    seen = live.page
    shown = [kind for kind in kinds.kinds.values() if kind.label in [each.name for each in evidence.found]]
    sections = len(evidence.found) + len(shown)
    live.until(lambda: seen.locator("section.mt-kind").count() == sections)
    assert seen.locator(".mt-patch").count() >= 8
    words = f"{100 * evidence.finding.changed / evidence.finding.asked:.0f} % ["
    assert words in seen.locator(".mt-headline").inner_text() and "recognised in row" in seen.content()
    assert shown[0].name in seen.locator("section.mt-under .mt-patch").first.inner_text()
    seen.get_by_label("side of a patch").focus()
    seen.keyboard.press("ArrowRight")
    live.until(lambda: evidence.share.value == pytest.approx(0.35))
    seen.get_by_label("patches a class").fill("2")
    seen.get_by_label("patches a class").press("Enter")
    live.until(lambda: evidence.count.value == 2 and len(evidence.view.page["classes"][0]["images"]) == 2)
    seen.locator(".mt-patch .mt-open").first.click()
    assert seen.get_by_role("dialog").locator("canvas").count() == 2
    live.close()
    evidence.close()


@pytest.mark.parametrize("width, scheme", [(820, "light"), (480, "dark")])
def test_axe_finds_nothing_in_saved_panels_and_they_live_without_a_kernel(browser, explained, answered, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    from masktune.lab.compare import CompareExplorer
    from masktune.lab.coverage import CoverageExplorer
    from masktune.lab.evidence import ClassEvidence

    model, images, maps = explained
    panels = [
        ClassEvidence(images, maps, count=6),
        CompareExplorer(model, model, images, (maps, maps), page_size=6),
        CoverageExplorer(*answered, page_size=6, device="cpu"),
    ]
    text = "".join(panel._repr_html_() for panel in panels)
    assert all(len(panel._repr_html_()) < 500_000 for panel in panels)
    page = browser.new_page(viewport={"width": width, "height": 6000}, color_scheme=scheme)
    page.set_content(f"<!doctype html><html lang='en'><meta charset='utf-8'><title>saved</title><main>{text}</main>")
    page.locator(".mt-coverage .mt-card").nth(5).wait_for()
    page.locator(".mt-compare .mt-card").nth(5).wait_for()
    page.locator(".mt-evidence .mt-patch").nth(5).wait_for()
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"panels-saved-{width}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in Axe().run(page).response["violations"]]
    assert not [each for each in found if not each.startswith(("landmark", "page-has-heading", "region"))], found
    headline = page.locator(".mt-coverage .mt-headline")
    before = headline.inner_text()
    page.locator(".mt-point").focus()
    page.keyboard.press("PageDown")
    assert headline.inner_text() != before
    page.locator(".mt-coverage").get_by_label("decision").select_option("left open")
    assert "of 6 images" in page.locator(".mt-coverage .mt-counts").inner_text()
    page.close()
    for panel in panels:
        panel.close()


@pytest.fixture(scope="module")
def tried(explained):
    "A launcher that has finetuned twice on a few images"
    from masktune.finetune import MaskTune
    from masktune.lab.launcher import Launcher

    model, images, _ = explained
    run = MaskTune(model.network, epochs=0, finetune_lr=0.01, device="cpu", progress=False).fit_erm(images)
    launcher = Launcher(run, images, {"test": images, "swapped": run.swapped(images)})
    yield launcher.sweep([1, 4]).wait()
    launcher.close()


def test_a_row_of_the_table_keeps_its_model_and_is_looked_at_and_sorted(browser, tried):
    from bridge import Bridge

    live = Bridge(browser, tried.view)
    page = live.page
    live.until(lambda: page.locator("tbody tr:has([data-key])").count() == 2)
    assert tried.trials.kept == 2 and page.locator(".mt-chart").count() == 2
    page.get_by_role("button", name="keep this model: trial 1, mask").focus()
    page.keyboard.press("Enter")
    live.until(lambda: tried.trials.kept == 1 and not live.ahead())
    assert tried.run.rule == "mean_std(k=1)"
    kept = page.get_by_role("button", name="✓ kept: trial 1, mask")
    assert kept.evaluate("e => e === document.activeElement")  # where the keyboard was
    page.get_by_role("button", name="look at trial 2").press("Enter")
    assert "Trial 2, mask: mean_std(k=4)" in page.locator(".mt-groups .mt-title").inner_text()
    assert page.locator(".mt-groups table").count() == 2 and "of trial 2" in page.locator(".mt-chart").first.evaluate(
        "e => e.getAttribute('aria-label')"
    )
    live.until(lambda: tried.view.controls.get("chosen") == 2)
    numbers = lambda: page.locator("button[data-key^='look']").all_inner_texts()  # noqa: E731
    for down in (True, False):
        page.locator("th button[data-key='sort on test']").press("Enter")
        wanted = sorted(tried.trials.trials, key=lambda trial: (trial.scores[0][0], -trial.number), reverse=down)
        if len({trial.scores[0][0] for trial in wanted}) == 2:
            assert numbers() == [str(trial.number) for trial in wanted]
        order = page.locator("th", has=page.locator("[data-key='sort on test']")).get_attribute("aria-sort")
        assert order == ("descending" if down else "ascending")
    tried.view.summary = tried.view.summary | {"running": True, "points": [[0.1, 0.7, 0.5], [0.4, 0.6, 0.6]]}
    live.until(lambda: page.get_by_role("button", name="keep this model: trial 2, mask").is_disabled())
    assert "Thick: running" in page.locator(".mt-launcher").inner_text()
    live.close()


def looks_the_same(browser, text, width, scheme, name):
    "Open a panel's saved HTML, keep a picture, and let axe look at it: the page"
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": width, "height": 1500}, color_scheme=scheme)
    page.set_content(f"<!doctype html><html lang='en'><meta charset='utf-8'><title>saved</title><main>{text}</main>")
    page.locator(".masktune.mt .mt-headline").wait_for()
    page.wait_for_timeout(300)
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}-saved-{width}-{scheme}.png")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    found = [f"{v['id']}: {v['nodes'][0]['html'][:150]}" for v in Axe().run(page).response["violations"]]
    assert not [each for each in found if not each.startswith(("landmark", "page-has-heading", "region"))], found
    return page


@pytest.mark.parametrize("width, scheme", [(1400, "light"), (820, "dark"), (480, "light")])
def test_a_saved_launcher_is_looked_at_and_sorted_without_a_kernel(browser, tried, width, scheme):
    tried.view.controls = {}
    text = tried._repr_html_()
    assert len(text) < 500_000
    page = looks_the_same(browser, text, width, scheme, "launcher")
    assert "run the cell to finetune, or to keep another model" in page.locator(".mt-launcher").inner_text()
    assert page.get_by_text("keep this model").count() == 0 and page.get_by_text("✓ kept").count() == 1
    page.get_by_role("button", name="look at trial 1").press("Enter")
    assert "Trial 1, mask: mean_std(k=1)" in page.locator(".mt-groups .mt-title").inner_text()
    page.locator("th button[data-key='sort number']").press("Enter")
    assert page.locator("button[data-key^='look']").all_inner_texts() == ["2", "1"]
    page.close()


@pytest.mark.parametrize("width, scheme", [(820, "dark"), (480, "light")])
def test_a_saved_scrubber_looks_elsewhere_without_a_kernel(browser, explained, width, scheme):
    from masktune.lab.scrubber import ThresholdScrubber
    from masktune.saliency import compute_saliency

    model, images, maps = explained
    scrubber = ThresholdScrubber(model, images, maps, page_size=24)
    layer = scrubber.looking.layers[1]
    scrubber.wait().looking.look(layer, "grad-cam")
    scrubber.looking.maps_for(scrubber.shown)  # somebody has looked there: these maps are saved, too
    scrubber.looking.look(*scrubber.looking.first)
    asked = []
    watch = model.register_forward_hook(lambda *_: asked.append(1))
    here = scrubber.saved()
    watch.remove()
    assert not asked  # saving asks nobody
    assert [(each["layer"], each["source"]) for each in here["page"]["elsewhere"]] == [(layer, "grad-cam")]
    text = scrubber._repr_html_()
    assert len(text) < 500_000
    page = looks_the_same(browser, text, width, scheme, "elsewhere")
    drawn = "all => all.map((canvas) => canvas.toDataURL())"
    first, words = page.locator("canvas").evaluate_all(drawn), page.locator(".mt-made").inner_text()
    page.get_by_label("maps", exact=True).select_option(label=f"grad-cam at {layer}")
    page.wait_for_function("words => document.querySelector('.mt-made').innerText !== words", arg=words)
    page.wait_for_timeout(300)
    elsewhere = page.locator("canvas").evaluate_all(drawn)
    assert f"grad-cam at {layer}" in page.locator(".mt-made").inner_text()
    assert "→" not in "".join(page.locator(".mt-then").all_inner_texts())  # nobody was asked about these masks
    made = scrubber.looking.saved(scrubber.shown, [(layer, "grad-cam")])[0]
    for card, about in enumerate(here["page"]["images"]):
        changed = made["maps"][card] != about["map"]
        assert (elsewhere[4 * card + 1] != first[4 * card + 1]) == changed, card
        assert elsewhere[4 * card] == first[4 * card], card  # the image is the same
    other = compute_saliency(model, images.subset(scrubber.shown), layer, "grad-cam", device="cpu", progress=False)
    areas = Threshold("mean_std", 2.0)(other.maps, (28, 28))
    shown = [float(text.split()[1]) for text in page.locator(".mt-then").all_inner_texts()]
    assert shown == pytest.approx((100 * areas.float().mean((1, 2))).tolist(), abs=0.051)
    page.get_by_label("maps", exact=True).select_option("0")
    page.wait_for_function("words => document.querySelector('.mt-made').innerText === words", arg=words)
    page.wait_for_timeout(300)
    assert page.locator("canvas").evaluate_all(drawn) == first
    page.close()
    scrubber.close()


def test_the_filters_of_the_coverage_page_choose_its_images(browser, answered):
    from bridge import Bridge

    from masktune.lab.coverage import CoverageExplorer

    explorer = CoverageExplorer(*answered, page_size=48, coverage=0.5, device="cpu")
    images = explorer.dataset
    live = Bridge(browser, explorer.view)
    page = live.page
    live.until(lambda: page.locator(".mt-card").count() == len(images))
    names = "all => all.map((button) => button.getAttribute('aria-label').split(':')[0].split(' ')[1])"
    numbers = lambda: sorted(map(int, page.locator(".mt-open").evaluate_all(names)))  # noqa: E731
    for decision, verdict in (("answered", "wrong"), ("left open", "right"), ("all", "wrong"), ("left open", "all")):
        page.get_by_label("decision").select_option(decision)
        page.get_by_label("verdict").select_option(verdict)
        chosen = {"decision": decision, "verdict": verdict}.items()
        live.until(lambda chosen=chosen: chosen <= explorer.view.controls.items())
        found = explorer.decided
        wanted = torch.ones(len(images), dtype=torch.bool)
        if decision != "all":
            wanted &= found.answered == (decision == "answered")
        if verdict != "all":
            wanted &= found.correct == (verdict == "right")
        assert set(explorer.order.tolist()) == set(wanted.nonzero().flatten().tolist())
        live.until(lambda: numbers() == sorted(explorer.shown))
        assert f"{len(explorer.order)} of {len(images)} images" in page.locator(".mt-counts").inner_text()
    page.get_by_label("class", exact=True).select_option("1")
    live.until(lambda: explorer.class_filter.value == 1 and numbers() == sorted(explorer.shown))
    assert all(images.labels[i] == 1 for i in explorer.shown) and len(explorer.shown) > 0
    live.close()
    explorer.close()
