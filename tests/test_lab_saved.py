"What is left of the panels where no kernel is: in nbconvert's pages, in MyST-NB's, and where scripts are stripped."

import html
import subprocess
import sys
from html.parser import HTMLParser

import nbformat
import pytest
import torch
from chromium import needs_chromium
from screenshots import CHROMIUM, FLAGS

from masktune.abstaining import SelectiveClassifier
from masktune.data import ArrayDataset
from masktune.finetune import MaskTune
from masktune.instrument import instrument_data
from masktune.kinds import find_kinds
from masktune.lab.compare import CompareExplorer
from masktune.lab.coverage import CoverageExplorer
from masktune.lab.evidence import ClassEvidence
from masktune.lab.launcher import Launcher
from masktune.lab.review import EvidenceReview
from masktune.lab.scrubber import ThresholdScrubber
from masktune.models import as_classifier, build_model
from masktune.saliency import compute_saliency

pytestmark = needs_chromium

SEEN = {"evidence": ".mt-patch", "review": ".mt-kind", "launcher": ".mt-looked"}
STILL = "run the cell to make it live"


@pytest.fixture(scope="module")
def outputs():
    "What the cells of a notebook keep of each panel: name -> HTML"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 28, 28), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(images, torch.arange(24) % 2, ["a", "b"], name="noise")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = (as_classifier(build_model("small-cnn", 2), data).eval() for _ in range(2))
    maps = compute_saliency(one, data, device="cpu", progress=False)
    kinds = find_kinds(one, data, limit=24, most=1, device="cpu")
    plain = MaskTune(one.network, epochs=0, finetune_lr=0.01, progress=False, device="cpu").fit_erm(data)
    panels = {
        "scrubber": ThresholdScrubber(one, data, maps, page_size=6).wait(),
        "evidence": ClassEvidence(data, maps, count=4),
        "compare": CompareExplorer(one, other, data, page_size=6, device="cpu"),
        "coverage": CoverageExplorer(SelectiveClassifier([one]), data, page_size=6, device="cpu"),
        "review": EvidenceReview(kinds, data, one),
        "launcher": Launcher(plain, data, {"test": data}).launch().wait(),
    }
    found = {name: (panel._repr_html_(), panel.describe()) for name, panel in panels.items()}
    for panel in panels.values():
        panel.close()
    return found


@pytest.fixture(scope="module")
def notebook(outputs, tmp_path_factory):
    "A notebook as it was saved, a cell a panel: its path"
    cells = [nbformat.v4.new_markdown_cell("# Panels\n\nAs they were saved.")]
    for name, (page, words) in outputs.items():
        shown = nbformat.v4.new_output("display_data", {"text/html": page, "text/plain": words})
        cells.append(nbformat.v4.new_code_cell(name, outputs=[shown]))
    path = tmp_path_factory.mktemp("saved") / "panels.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def all_live(browser, path, names, scheme="light"):
    "Every panel of a page on disk has come alive, axe finds nothing in it, and no still is left"
    from axe_playwright_python.sync_playwright import Axe

    page, wrong = browser.new_page(viewport={"width": 1000, "height": 900}, color_scheme=scheme), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto(path.as_uri())
    for place in page.locator(".mt-place").all():
        place.evaluate("e => e.scrollIntoView({block: 'start'})")
    for name in names:
        area = page.locator(f".masktune.mt-{name}")
        area.locator(SEEN.get(name, ".mt-card")).first.wait_for()
        assert area.locator(".mt-headline").inner_text().strip()
    found = Axe().run(page, context=[".masktune.mt"]).response["violations"]
    assert not found, [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]
    assert not wrong and not any(still.is_visible() for still in page.get_by_text(STILL).all())
    page.close()


def test_nbconverts_page_has_every_panel_alive(browser, notebook, outputs):
    ran = [sys.executable, "-m", "nbconvert", "--to", "html", str(notebook)]
    subprocess.run(ran, check=True, capture_output=True)
    all_live(browser, notebook.with_suffix(".html"), outputs)


def test_a_page_of_the_site_has_every_panel_alive(browser, notebook, outputs):
    "MyST-NB, as the site is built: HTML outputs come through whole"
    place = notebook.parent
    (place / "conf.py").write_text('extensions = ["myst_nb"]\nnb_execution_mode = "off"\nroot_doc = "panels"\n')
    ran = [sys.executable, "-m", "sphinx", "-q", "-b", "html", str(place), str(place / "site")]
    subprocess.run(ran, check=True, capture_output=True)
    all_live(browser, place / "site" / "panels.html", outputs, "dark")


class Stripped(HTMLParser):
    """The text and the pictures that are left where a page is stripped, as GitHub does: scripts and styles with what
    is in them, and every attribute but a picture's own; `page` is what is left"""

    KEPT = ("src", "alt", "href", "colspan", "scope")

    def __init__(self, page):
        super().__init__()
        self.within, self.text, self.alternatives, self.page = [], [], [], ""
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "style"):
            self.within.append(tag)
            return
        kept = [f' {name}="{html.escape(value or "")}"' for name, value in attributes if name in self.KEPT]
        self.page += f"<{tag}{''.join(kept)}>"
        if tag == "img":
            self.alternatives.append(dict(attributes).get("alt", ""))

    def handle_endtag(self, tag):
        if self.within and self.within[-1] == tag:
            self.within.pop()
        else:
            self.page += f"</{tag}>"

    def handle_data(self, data):
        if not self.within and data.strip():
            self.text.append(data.strip())
            self.page += html.escape(data)


@pytest.mark.parametrize("name", ["scrubber", "evidence", "compare", "coverage", "review", "launcher"])
def test_where_scripts_are_stripped_a_picture_and_a_sentence_are_left(outputs, name):
    "As GitHub shows a notebook"
    page, words = outputs[name]
    left = Stripped(page)
    assert STILL in left.text[0] and (name == "launcher" or len(left.text) == 1)  # no script, no data has become text
    assert words in left.alternatives[0] and len(left.alternatives) == 1 and len(words) > 20
    if name == "launcher":  # its tables can be read
        assert {"who paid", "average", "95 % interval"} <= set(left.text) and "masktune" not in "".join(left.text)
    assert len(page) < 500_000


def test_what_is_left_of_a_stripped_page_is_seen(browser, outputs):
    "Nothing hides the picture and the sentence where neither style nor class nor script is left"
    page = browser.new_page(viewport={"width": 900, "height": 900})
    for name, (saved, words) in outputs.items():
        page.set_content(f"<!doctype html><title>{name}</title>{Stripped(saved).page}")
        picture = page.get_by_role("img", name=words)
        assert picture.is_visible() and picture.evaluate("e => e.naturalWidth") > 100, name
        assert page.get_by_text(STILL).is_visible() and page.locator("[style], [class], script, style").count() == 0
    page.close()


def test_images_with_several_labels_are_refused_in_a_sentence():
    images = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = ArrayDataset(images, torch.tensor([[1, 0], [0, 1], [1, 1], [0, 0]]), ["cat", "dog"], name="pairs")
    with torch.random.fork_rng():
        model = as_classifier(build_model("small-cnn", 2), data).eval()
    maps = compute_saliency(model, data, device="cpu", progress=False)
    assert maps.maps.ndim == 4
    single = ArrayDataset(images, torch.arange(4) % 2, ["cat", "dog"], name="singles")
    run = MaskTune(build_model("small-cnn", 2), epochs=0, finetune_lr=0.01, progress=False, device="cpu")
    kinds = find_kinds(run.fit_erm(single).erm_, single, limit=4, most=1, device="cpu")
    calls = {
        "page": lambda: instrument_data(data, maps, range(2)),
        "scrubber": lambda: ThresholdScrubber(model, data, maps),
        "evidence": lambda: ClassEvidence(data, maps),
        "compare": lambda: CompareExplorer(model, model, data),
        "coverage": lambda: CoverageExplorer(SelectiveClassifier([model]), data),
        "review": lambda: EvidenceReview(kinds, data, model),
        "launcher": lambda: Launcher(run, data),
        "launcher's tests": lambda: Launcher(run, single, {"test": data}),
    }
    for name, call in calls.items():
        with pytest.raises(ValueError, match=r"the instrument needs one label an image, and .*pairs") as caught:
            call()
        assert "\n" not in str(caught.value), name
