"""The site: built without a warning, no link leads nowhere, every picture has words, search finds, axe finds nothing
serious."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import nbformat
import pytest
from execute import code_stamp, is_current
from screenshots import CHROMIUM, FLAGS, ROOT
from sitepages import Page

SITE, SHOTS = ROOT / "_docs", ROOT / ".cache" / "screenshots"
PAGES = {
    "home": "index.html",
    "tutorial": "tutorials/01_find_and_remove_a_shortcut.html",
    "api": "api/masking.html",
    "results": "results.html",
    "guide": "guides/many_gpus.html",
    "method": "method.html",
}


@pytest.fixture(scope="module")
def site():
    run = subprocess.run([sys.executable, ROOT / "scripts" / "docs.py"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return {path.relative_to(SITE).as_posix(): Page(path.read_text(encoding="utf-8")) for path in SITE.rglob("*.html")}


def test_no_link_and_no_picture_is_missing(site):
    wrong = []
    for name, page in site.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link):
                continue
            target, fragment = urldefrag(unquote(urljoin(f"/{name}", link)))
            target = target.lstrip("/") or "index.html"
            if target not in site and not (SITE / target).is_file():
                wrong.append(f"{name}: {link}")
            elif fragment and target in site and fragment not in site[target].anchors:
                wrong.append(f"{name}: {link} (no such place)")
        for source, words in page.pictures:
            inside = source.startswith("data:image/")  # a panel's still picture
            if not inside and not (SITE / unquote(urljoin(f"/{name}", source)).lstrip("/")).is_file():
                wrong.append(f"{name}: picture {source}")
            if len(words.strip()) < 12 or words.endswith(".png"):
                wrong.append(f"{name}: picture {source[-30:]} says {words!r}")
    assert not wrong, "\n".join(wrong[:30])


def test_no_raw_markdown_stands_in_a_page(site):
    raw = {name: page.raw() for name, page in site.items() if page.raw()}
    assert not raw, "\n".join(f"{name}: {each}" for name, found in list(raw.items())[:30] for each in found)


def test_every_table_has_a_heading_row(site):
    "Every column says what it is; the corner above row names alone may be empty"
    wrong = []
    for name, page in site.items():
        for heads in page.tables:
            if len(heads) < 2 or not all(heads[1:]):
                wrong.append(f"{name}: {heads}")
    assert not wrong, "\n".join(wrong[:30])


def test_no_picture_of_a_tutorial_is_older_than_its_code():
    "`scripts/execute.py` leaves a stamp of the code that it ran"
    shown = [ROOT / "nbs" / "index.ipynb", *sorted((ROOT / "nbs" / "tutorials").glob("*.ipynb"))]
    old = [path.name for path in shown if not is_current(nbformat.read(path, as_version=4))]
    assert not old, f"run these again, python scripts/execute.py NAME: {', '.join(old)}"


def test_a_stamp_tells_changed_code_from_changed_layout():
    cells = [nbformat.v4.new_code_cell("#| hide_input\nx = 1  # one"), nbformat.v4.new_code_cell("%time x\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    assert not is_current(notebook)  # never run
    notebook.metadata["masktune"] = {"code": code_stamp(notebook)}
    notebook.cells[0].source = "x = (\n    1\n)"
    assert is_current(notebook)
    notebook.cells[0].source = "x = 2"
    assert not is_current(notebook)


def test_every_module_tutorial_and_guide_is_there_and_no_page_is_heavy(site):
    for path in (ROOT / "masktune").rglob("*.py"):
        if not path.stem.startswith("_"):
            module = ".".join(path.relative_to(ROOT / "masktune").with_suffix("").parts)
            assert f"api/{module}.html" in site, path
    for folder in ("tutorials", "guides"):
        assert {p.stem for p in (ROOT / "nbs" / folder).iterdir() if p.suffix in (".ipynb", ".md")} == {
            Path(n).stem for n in site if n.startswith(f"{folder}/")
        }
    for name in site:
        assert (SITE / name).stat().st_size < 2_000_000, name


def test_a_reference_page_says_what_a_reader_asks(site):
    text = re.sub(r"<[^>]+>", "", site["api/masking.html"].text)
    for words in (
        "parameter",
        "zero (the paper",
        "True where the image is hidden",
        "(B, 3, H, W) uint8",
        "source of hide",
    ):
        assert words in text, words
    assert "_read_rule" not in text  # private


@pytest.fixture(scope="module")
def browser(site):
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("Chromium is missing: .ci/run is to install it", pytrace=False)
        pytest.skip("no Chromium here: install the package chromium")
    from playwright.sync_api import sync_playwright

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium, f"http://127.0.0.1:{server.server_port}/"
        chromium.close()
    server.shutdown()


@pytest.mark.parametrize("width, scheme", [(1400, "light"), (390, "light"), (1400, "dark")])
def test_pages_fit_and_axe_finds_nothing_serious(browser, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    chromium, address = browser
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    serious = []
    for name, place in PAGES.items():
        page.goto(address + place)
        page.wait_for_timeout(150)
        page.screenshot(path=SHOTS / f"site-{name}-{width}-{scheme}.png")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than {width} pixels"
        for found in Axe().run(page).response["violations"]:
            if found["impact"] in ("serious", "critical"):
                serious.append(f"{name}: {found['id']}: {found['help']}: {found['nodes'][0]['html'][:200]}")
    page.close()
    assert not serious, "\n".join(serious)


# Tables whose words are cut off or run out of their cell, and pages that a table makes wider.
CROWDED = """() => {
  const said = [];
  for (const cell of document.querySelectorAll("article td, article th")) {
    if (cell.offsetParent === null) continue;
    const table = cell.closest("table"), box = (table.closest(".table-wrapper, .cell_output") || table.parentElement);
    const cut = cell.scrollWidth > cell.clientWidth + 1;
    const wide = cell.offsetWidth > box.clientWidth + 1;
    if (cut || wide) said.push(`${cut ? "cut off" : "wider than its table"}: ${cell.innerText.slice(0, 60)}`);
  }
  for (const table of document.querySelectorAll("article table")) {
    if (table.offsetParent === null || !table.rows.length) continue;
    const box = table.closest(".table-wrapper") || table.parentElement;
    if (table.offsetWidth > box.clientWidth + 1) said.push(`scrolls: ${table.rows[0].innerText.slice(0, 60)}`);
  }
  return said;
}"""


@pytest.mark.parametrize("width", [1400, 390])
def test_no_cell_is_wider_than_its_container(site, browser, width):
    "On every page with a table"
    chromium, address = browser
    page = chromium.new_page(viewport={"width": width, "height": 900})
    crowded = []
    for name in sorted(name for name, each in site.items() if each.tables):
        page.goto(address + name)
        crowded += [f"{name}: {what}" for what in page.evaluate(CROWDED)]
        if page.evaluate("document.documentElement.scrollWidth") > width:
            crowded.append(f"{name}: the page is wider than {width} pixels")
    page.close()
    assert not crowded, f"{len(crowded)} in all\n" + "\n".join(crowded[:30])


@pytest.mark.parametrize(
    "words, first",
    [("LayerXGradCam", "masktune.xgradcam"), ("worst-group", None), ("MaskedDataset", "masktune.masking")],
)
def test_search_finds(browser, words, first):
    chromium, address = browser
    page = chromium.new_page()
    page.set_default_timeout(120_000)  # a busy machine takes its time to read the index
    page.goto(f"{address}search.html?q={words}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_function("document.querySelector('#search-results .search-summary')?.innerText.includes('found')")
    titles = page.locator("#search-results li > a").all_inner_texts()
    assert titles and (first is None or first in titles[:3]), titles
    page.close()


def test_the_contributing_examples_run():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(examples) == 3
    for example in examples:
        assert len(example.splitlines()) < 30
        run = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
