"Each panel in a real browser: a rule is what the control says, and a saved notebook shows pictures where no kernel is."

import itertools
import json
import re
import subprocess
import sys

import nbformat
import pytest
from chromium import needs_chromium
from screenshots import CHROMIUM, FLAGS, ROOT, instrument, panel, served, show

SHOTS = ROOT / ".cache" / "screenshots"
DEFAULTS = {"mean_std": "mean_std(k=2)", "quantile": "quantile(q=0.9)", "fixed": "fixed(t=0.5)", "otsu": "otsu()"}
KERNEL = {"kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}}
MAKE = """
import os; os.environ.pop("TQDM_DISABLE", None)  # bars are on, as for any user
from masktune.lab.coverage import CoverageExplorer
from masktune.devices import seed_everything
from masktune.experiments.datasets import load_dataset
from masktune.finetune import MaskTune
from masktune.lab.launcher import Launcher
from masktune.models import build_model
from masktune.abstaining import SelectiveClassifier
from masktune.lab.compare import CompareExplorer
from masktune.lab.evidence import ClassEvidence
from masktune.lab.review import EvidenceReview
from masktune.lab.scrubber import ThresholdScrubber
from masktune.kinds import find_kinds
data = load_dataset("biased-digits", "train").subset(range(0, 1149, 8))
seed_everything(30)
settings = {"epochs": 8, "batch_size": 32, "finetune_lr": 0.01, "device": "cpu"}
run = MaskTune(build_model("small-cnn", 2), **settings).fit_erm(data).compute_maps(data)
run.finetune_round(data)
kinds = find_kinds(run.erm_, data, limit=96, most=2, device="cpu")
print("trained")
"""
CELLS = {
    "ThresholdScrubber": "scrubber = ThresholdScrubber(run.erm_, data, run.rounds_[0].maps, page_size=6)\nscrubber",
    "Launcher": "launcher = Launcher(run, data, {'test': data}, scrubber, folder='launched')\nlauncher",
    "ClassEvidence": "ClassEvidence(data, run.rounds_[0].maps)",
    "CompareExplorer": "CompareExplorer(run.erm_, run.model_, data, page_size=6)",
    "CoverageExplorer": "CoverageExplorer(SelectiveClassifier([run.erm_]), data, page_size=6)",
    "finer": "CoverageExplorer(SelectiveClassifier([run.erm_]), data, coverage=0.875, page_size=6)",
    "odd": "odd = ThresholdScrubber(run.erm_, data, run.rounds_[0].maps, rule='mean_std(k=2.03)', page_size=6)\nodd",
    "EvidenceReview": "EvidenceReview(kinds, data, run.erm_, 'kinds.json')",
}
ASK = "print('ticked', [picked.index for picked in scrubber.selected])"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab with a notebook of every panel, and a browser: the folder, the address, the browser"
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    place = tmp_path_factory.mktemp("panels")
    cells = [nbformat.v4.new_code_cell(source) for source in (MAKE, *CELLS.values(), ASK)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=KERNEL), place / "panels.ipynb")
    with served(place) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield place, address, browser
        browser.close()


@pytest.fixture(scope="module")
def page(lab):
    "The notebook, every cell run"
    _, address, browser = lab
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(120_000)
    page.goto(f"{address}/tree/panels.ipynb?reset")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    choose(page, "Run", "Run All Cells")
    page.locator(".masktune.mt-coverage .mt-card").first.wait_for(state="attached")
    # the kernel is idle for a moment between two cells: what counts is that every cell has shown something
    page.wait_for_function(f"document.querySelectorAll('.masktune-still').length == {len(CELLS)}")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    return page


def choose(page, menu, item):
    page.get_by_role("menuitem", name=menu, exact=True).click()
    page.locator(".lm-Menu-item", has_text=item).first.click()


def scrubber_of(page):
    "The first of the two: the second begins with a rule of its own"
    return instrument(page)


def says(page, area, rule):
    "Wait until the scrubber says `rule`, and see that it still does when the front end has had its say"
    area.locator(f"code:text-is('{rule}')").wait_for()
    page.wait_for_timeout(700)
    assert area.locator("code").first.inner_text() == rule


def test_every_change_of_rule_gives_that_rules_own_strength(page):
    area = scrubber_of(page)
    rules = area.locator("select").first
    shown = page.locator("code", has_text=re.compile(r"^(mean_std|quantile|fixed|otsu)\("))
    for first, second in itertools.permutations(DEFAULTS, 2):
        rules.select_option(first)
        says(page, area, DEFAULTS[first])
        rules.select_option(second)
        says(page, area, DEFAULTS[second])
        usual = re.search(r"=([\d.]+)", DEFAULTS[second])
        if usual:
            assert float(area.locator(".mt-strength input[type=number]").input_value()) == float(usual.group(1))
        assert DEFAULTS[second] in shown.all_inner_texts()[1]  # the launcher's line: what it would train with
    page.screenshot(path=SHOTS / "rules.png")


def test_a_rule_keeps_the_strength_it_was_given(page):
    area = scrubber_of(page)
    rules = area.locator("select").first
    rules.select_option("quantile")
    says(page, area, "quantile(q=0.9)")
    area.locator(".mt-strength input[type=range]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    says(page, area, "quantile(q=0.915)")
    rules.select_option("fixed")
    says(page, area, "fixed(t=0.5)")
    rules.select_option("quantile")
    says(page, area, "quantile(q=0.915)")


def test_a_strength_between_two_steps_is_left_as_it_was_given(page):
    area = instrument(page, last=True)
    page.wait_for_timeout(1000)
    assert area.locator("code").first.inner_text() == "mean_std(k=2.03)"
    show(page, "text=87.5 % asked")
    page.wait_for_timeout(1000)
    assert page.locator("[role=status]", has_text="87.5 % asked").count() == 1


def test_the_launcher_trains_with_the_rule_that_is_shown(page, lab):
    scrubber_of(page).locator("select").first.select_option("fixed")
    says(page, scrubber_of(page), "fixed(t=0.5)")
    area = panel(page, "learning rate")
    area.get_by_role("button", name="start").click()
    area.locator("[role=status]").filter(has_text="done").wait_for()
    assert json.loads((lab[0] / "launched" / "config.json").read_text())["settings"]["rule"] == "fixed(t=0.5)"
    area.locator(".mt-launcher tr.mt-looked", has_text="fixed(t=0.5)").get_by_text("✓ kept").wait_for()


def test_fewer_pages_never_leave_a_page_that_is_not_there(page):
    area = scrubber_of(page)
    number = area.get_by_label("page", exact=True)
    for _ in range(4):
        area.get_by_role("button", name="next").click()
    page.wait_for_function("e => e.value === '5'", arg=number.element_handle())
    area.locator("summary", has_text="filters").click()
    area.get_by_label("verdict").select_option("wrong")
    area.get_by_text(re.compile(r"of 144 images\)")).wait_for()
    page.wait_for_timeout(700)
    assert number.input_value() == "1"
    area.get_by_role("button", name="reset").click()
    area.get_by_text(re.compile(r"\(144 of 144 images\)")).wait_for()
    assert number.input_value() == "1"


def test_what_is_ticked_in_the_browser_is_known_in_the_kernel(page):
    area = scrubber_of(page)
    area.locator(".mt-open").nth(1).click(modifiers=["Shift"])
    area.locator(".mt-card input[type=checkbox]").nth(3).check()
    area.get_by_text("2 selected").wait_for()
    page.locator(".jp-CodeCell").last.evaluate("e => e.scrollIntoView()")
    page.locator(".jp-CodeCell .cm-content").last.click()
    page.keyboard.press("Shift+Enter")
    page.get_by_text(re.compile(r"ticked \[\d+, \d+\]")).wait_for()


def test_two_models_are_compared_and_a_coverage_is_dragged_in_jupyterlab(page):
    compare = page.locator(".masktune.mt-compare").first
    compare.evaluate("e => e.scrollIntoView({block: 'start'})")
    chip = compare.locator(".mt-chip", has_text="right in both")
    chip.click()
    count = int(re.search(r"\((\d+)\)", chip.inner_text()).group(1))
    compare.get_by_text(re.compile(rf"\({count} of 144 images\)")).wait_for()
    page.screenshot(path=SHOTS / "lab-compare.png")
    compare.locator(".mt-chip", has_text="all").click()
    compare.get_by_text(re.compile(r"\(144 of 144 images\)")).wait_for()
    coverage = page.locator(".masktune.mt-coverage").first
    coverage.evaluate("e => e.scrollIntoView({block: 'start'})")
    coverage.locator(".mt-point").focus()
    for _ in range(3):
        page.keyboard.press("PageDown")  # the point is a slider: ten steps
    coverage.locator("[role=status]", has_text="60 % asked").wait_for()
    page.screenshot(path=SHOTS / "lab-coverage.png")
    evidence = page.locator(".masktune.mt-evidence").first
    evidence.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(300)
    page.screenshot(path=SHOTS / "lab-evidence.png")


def test_evidence_is_judged_by_keys_and_kept(page, lab):
    kept = lab[0] / "kinds.json"
    review = page.locator(".mt-review").first
    review.evaluate("e => e.scrollIntoView({block: 'start'})")
    cards = review.locator(".mt-kind")
    cards.first.focus()
    page.keyboard.press("1")  # and the next card comes
    page.keyboard.press("2")
    review.get_by_text(re.compile("^2 of .* judged")).wait_for()
    names = [card.locator(".mt-title").inner_text() for card in cards.all()]
    wanted = {names[0]: "shortcut", names[1]: "object"}
    for _ in range(50):
        if kept.exists() and json.loads(kept.read_text())["verdicts"] == wanted:
            break
        page.wait_for_timeout(100)
    assert json.loads(kept.read_text())["verdicts"] == wanted
    page.screenshot(path=SHOTS / "review.png")
    page.keyboard.press("u")
    review.get_by_text(re.compile("^1 of .* judged")).wait_for()
    assert cards.nth(1).evaluate("e => e === document.activeElement")


@pytest.mark.parametrize("width", [1400, 820, 480])
def test_the_instrument_follows_the_dark_theme_at_any_width(page, width):
    if width == 1400:
        choose(page, "Settings", "Theme")
        page.locator(".lm-Menu-item", has_text="JupyterLab Dark").last.click()
        page.wait_for_function("document.body.dataset.jpThemeLight === 'false'")
    if width == 480:
        page.keyboard.press("Control+b")  # who works so narrowly folds the side bar away
    page.set_viewport_size({"width": width, "height": 1000})
    page.wait_for_timeout(800)
    area = scrubber_of(page)
    colors = area.evaluate("e => { const s = getComputedStyle(e); return [s.color, s.backgroundColor]; }")
    ink, paper = (sum(map(float, re.findall(r"[\d.]+", color)[:3])) for color in colors)
    assert ink > 500 and paper < 150, colors
    assert area.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    page.screenshot(path=SHOTS / f"lab-dark-{width}.png")
    if width == 480:
        page.keyboard.press("Control+b")
        page.set_viewport_size({"width": 1500, "height": 1100})
        choose(page, "Settings", "Theme")
        page.locator(".lm-Menu-item", has_text="JupyterLab Light").first.click()


def theme(page, name):
    "Choose JupyterLab's theme, Light or Dark"
    choose(page, "Settings", "Theme")
    page.locator(".lm-Menu-item", has_text=f"JupyterLab {name}").first.click()
    page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(name == 'Light').lower()}'")


@pytest.mark.parametrize("name", ["Dark", "Light"])
def test_axe_finds_nothing_in_any_panel_in_either_theme(page, name):
    "The page part of each, and the launcher's buttons and fields, which are ipywidgets"
    from axe_playwright_python.sync_playwright import Axe

    theme(page, name)
    kinds = {"scrubber", "launcher", "evidence", "compare", "coverage", "review"}
    assert all(page.locator(f".masktune.mt-{kind}").count() for kind in kinds)
    found = Axe().run(page, context=[".jp-OutputArea-output:has(.masktune)"]).response["violations"]
    said = [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found if each["impact"] != "minor"]
    assert not said, "\n".join(said)


def test_a_live_panel_hides_its_still_picture(page):
    stills = page.locator(".masktune-still")
    assert stills.count() == len(CELLS) and not any(still.is_visible() for still in stills.all())


def dead(page):
    "Every text of a widget that did not come alive, and is seen"
    texts = page.get_by_text(re.compile("model not found|Error displaying widget|Loading widget"))
    return [found.inner_text() for found in texts.all() if found.is_visible()]


def panels_are_seen(page):
    "Scroll to every panel: its page part lives without a kernel, and no still picture is left in its place"
    for place in page.locator(".mt-place").all():
        place.evaluate("e => e.scrollIntoView({block: 'start'})")
        place.locator(".mt-card").nth(5).or_(place.locator(".mt-kind, .mt-looked").first).wait_for()
        assert place.locator(".mt-headline").inner_text().strip()
        if place.locator(".mt-review").count():
            assert "kinds of evidence judged" in place.inner_text()
        if place.locator(".mt-launcher").count():
            assert "run the cell to finetune" in place.inner_text() and place.locator(".mt-chart").count() == 2
        if not place.locator(".mt-scrubber").count():
            continue
        drawn = "all => all.map((canvas) => canvas.toDataURL())"
        before = place.locator("canvas").evaluate_all(drawn)
        place.locator(".mt-strength input[type=number]").fill("0.3")
        place.locator(".mt-strength input[type=number]").press("Enter")
        page.wait_for_timeout(300)
        assert place.locator("canvas").evaluate_all(drawn) != before
        assert "hidden on this page" in place.locator(".mt-status").inner_text()
    assert page.locator(".mt-place").count() == len(CELLS) and page.locator(".masktune-still").count() == 0


@pytest.fixture(scope="module")
def saved(page, lab):
    "The notebook as JupyterLab saved it, its kernel gone"
    place, _, _ = lab
    choose(page, "File", "Save Notebook")
    page.wait_for_timeout(3000)
    choose(page, "Kernel", "Shut Down Kernel")
    page.wait_for_timeout(1000)
    page.close()
    return place / "panels.ipynb"


def test_a_saved_notebook_keeps_nothing_of_its_progress_bars(saved):
    first = json.loads(saved.read_text())["cells"][0]["outputs"]
    assert "".join("".join(output.get("text", [])) for output in first) == "trained\n"
    assert not any(output.get("data") for output in first)


@pytest.mark.parametrize("kernel", ["none", "new"])
def test_a_notebook_opened_again_shows_its_stills(saved, lab, kernel):
    _, address, browser = lab
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.set_default_timeout(60_000)
    if kernel == "new":
        page.goto(f"{address}/tree/panels.ipynb?reset")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    else:
        page.goto(f"{address}?reset")
        page.locator(".jp-DirListing-item", has_text="panels.ipynb").click(button="right")
        page.locator(".lm-Menu-item", has_text="Open With").hover()
        page.locator(".lm-Menu-item", has_text="Notebook (no kernel)").click()
        page.wait_for_selector("text=No Kernel")
    page.wait_for_selector(".masktune-still, .mt-place", state="attached")
    page.wait_for_timeout(4000)  # a widget is looked for during two seconds
    panels_are_seen(page)
    assert dead(page) == []
    page.locator(".mt-place").first.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.screenshot(path=SHOTS / f"saved-{kernel}.png")
    page.close()


def test_a_notebook_that_is_not_trusted_shows_its_stills(saved, lab):
    place, address, browser = lab
    notebook = json.loads(saved.read_text())
    notebook["cells"][0]["source"] = "# changed by somebody else"
    (place / "sent.ipynb").write_text(json.dumps(notebook))
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.goto(f"{address}/tree/sent.ipynb?reset")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    page.wait_for_timeout(4000)
    assert page.get_by_text("run the cell to make it live").count() == len(CELLS) and dead(page) == []
    images = page.locator(".jp-OutputArea-output img")
    assert images.count() == len(CELLS) and all(image.evaluate("e => e.naturalWidth") > 100 for image in images.all())
    page.screenshot(path=SHOTS / "saved-untrusted.png")
    page.close()


def test_a_saved_notebook_as_a_web_page_shows_its_stills(saved, lab):
    place, _, browser = lab
    subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", str(saved)], check=True, capture_output=True)
    page = browser.new_page(viewport={"width": 1500, "height": 1100})
    page.goto(f"file://{place / 'panels.html'}")
    panels_are_seen(page)
    assert dead(page) == []
    page.close()


@pytest.mark.parametrize("width", [1400, 820, 480])
def test_saved_panels_fit_and_are_looked_at_in_both_themes(saved, lab, width):
    place, _, browser = lab
    if not (place / "panels.html").exists():
        subprocess.run([sys.executable, "-m", "nbconvert", "--to", "html", str(saved)], check=True, capture_output=True)
    scheme = "dark" if width == 820 else "light"
    page = browser.new_page(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page.goto(f"file://{place / 'panels.html'}")
    for area in page.locator(".mt-place").all():
        area.evaluate("e => e.scrollIntoView({block: 'start'})")
        area.locator(".mt-headline").wait_for()
        assert area.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    page.screenshot(path=SHOTS / f"saved-panels-{width}-{scheme}.png", full_page=True)
    page.close()
