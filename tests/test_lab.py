"The first tutorial in a real browser: JupyterLab, every cell, the slider by mouse and keyboard, start, stop, resume."
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHROMIUM = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
SHOTS = ROOT / ".cache" / "screenshots"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"]

if CHROMIUM is None and os.environ.get("CI"):
    pytest.fail("Chromium is missing: .ci/run is to install it", pytrace=False)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package chromium")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    "JupyterLab on a copy of the tutorials; its address"
    place = tmp_path_factory.mktemp("lab")
    for notebook in (ROOT / "nbs" / "tutorials").glob("*.ipynb"):
        shutil.copy(notebook, place)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(place / "config"), "JUPYTER_DATA_DIR": str(place / "data"), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = open(place / "lab.log", "w")
    server = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}", "--IdentityProvider.token=", "--ServerApp.password="],
        cwd=place, env=environment, stdout=log, stderr=log,
    )
    address = f"http://127.0.0.1:{port}/lab"
    try:
        for _ in range(120):
            try:
                urllib.request.urlopen(address + "/../api", timeout=1)
                break
            except OSError:
                time.sleep(0.5)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


@pytest.fixture(scope="module")
def page(lab):
    "The first tutorial, every cell run"
    from playwright.sync_api import sync_playwright

    SHOTS.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        page.set_default_timeout(60_000)
        page.goto(f"{lab}/tree/01_find_and_remove_a_shortcut.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_timeout(3000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator(".lm-Menu-item", has_text="Run All Cells").first.click()
        page.wait_for_timeout(1000)
        show(page, "text=A page with all of this")
        page.wait_for_selector("text=/report.html [0-9.]+ MB/", timeout=300_000)
        yield page
        browser.close()


def show(page, selector):
    "Scroll the notebook until a thing is attached and in view: cells far away are not rendered"
    box = page.locator(".jp-WindowedPanel-outer").first
    for _ in range(60):
        found = page.locator(selector)
        if found.count() and found.first.is_visible():
            found.first.scroll_into_view_if_needed()
            return found.first
        box.evaluate("e => { e.scrollTop = e.scrollTop + 500; if (e.scrollTop + e.clientHeight >= e.scrollHeight - 5) e.dataset.end = '1' }")
        page.wait_for_timeout(120)
        if box.evaluate("e => e.dataset.end === '1'"):
            box.evaluate("e => { e.dataset.end = ''; e.scrollTop = 0 }")
    raise AssertionError(f"{selector} is nowhere in the notebook")


def panel(page, words):
    "The output that holds a control of this description"
    show(page, f".widget-label:text-is('{words}')")
    return page.locator(".jp-OutputArea-output", has=page.locator(f".widget-label:text-is('{words}')")).last


def picture(area):
    return area.locator("img.widget-image").last.get_attribute("src")


def changed(page, area, before):
    page.wait_for_function("([e, old]) => [...e.querySelectorAll('img.widget-image')].at(-1).src !== old", arg=[area.element_handle(), before])


def test_every_cell_ran(page):
    page.evaluate("document.querySelector('.jp-WindowedPanel-outer').scrollTop = 0")
    show(page, "text=Find and remove a shortcut in five minutes")
    page.screenshot(path=SHOTS / "tutorial-top.png")
    assert page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.error']").count() == 0


def test_slider_by_mouse_changes_picture_and_rule(page):
    area = panel(page, "rule")
    before, rule = picture(area), area.locator("code").first.inner_text()
    handle = area.locator(".noUi-handle").first
    spot = handle.bounding_box()
    page.mouse.move(spot["x"] + spot["width"] / 2, spot["y"] + spot["height"] / 2)
    page.mouse.down()
    for step in range(10):
        page.mouse.move(spot["x"] + 6 * step, spot["y"] + spot["height"] / 2)
    page.mouse.up()
    changed(page, area, before)
    assert re.fullmatch(r"mean_std\(k=[\d.]+\)", area.locator("code").first.inner_text()) and area.locator("code").first.inner_text() != rule
    page.wait_for_timeout(1500)
    page.screenshot(path=SHOTS / "scrubber.png")


def test_slider_by_keyboard_changes_picture_and_rule(page):
    area = panel(page, "rule")
    before, rule = picture(area), area.locator("code").first.inner_text()
    area.locator(".noUi-handle").first.focus()
    page.keyboard.press("ArrowLeft")
    changed(page, area, before)
    assert area.locator("code").first.inner_text() != rule


def test_filter_and_page(page):
    area = panel(page, "rule")
    before = picture(area)
    area.locator("select").nth(2).select_option("5-9")  # rule, fill, class
    changed(page, area, before)
    area.get_by_text(re.compile(r"573 of 1,149 images")).wait_for()
    before = picture(area)
    area.get_by_role("button", name="next").click()
    changed(page, area, before)
    assert area.locator("input[type=number]").first.input_value() == "2"


def test_start_shows_progress_and_the_result(page):
    area = panel(page, "learning rate")
    area.get_by_role("button", name="start").click()
    area.get_by_text(re.compile(r"step \d+ of 36, loss")).wait_for()
    area.get_by_text("done", exact=True).first.wait_for()
    area.get_by_role("cell", name="MaskTune").first.wait_for()
    page.screenshot(path=SHOTS / "launcher.png")


def test_stop_and_resume(page):
    area = panel(page, "learning rate")
    area.get_by_role("button", name="start").click()
    area.get_by_role("button", name="stop").click()
    area.get_by_text(re.compile(r"stopped in round 1 after step \d+")).first.wait_for()
    area.get_by_role("button", name="resume").click()
    area.get_by_text("done", exact=True).first.wait_for()


def test_comparison_shows_both_models(page):
    area = panel(page, "verdict") if False else panel(page, "learning rate")
    show(page, "text=/images newly right/")
    page.screenshot(path=SHOTS / "compare.png")
    assert area is not None


def test_scrubbing_is_felt_as_immediate(page):
    "From input event to new picture, in the browser: the median of thirty key presses"
    area = panel(page, "rule")
    area.locator(".noUi-handle").first.focus()
    taken = []
    for press in range(30):
        before = picture(area)
        started = time.perf_counter()
        page.keyboard.press("ArrowRight" if press % 20 < 10 else "ArrowLeft")
        changed(page, area, before)
        taken.append(time.perf_counter() - started)
    (SHOTS / "scrub.txt").write_text(f"median {1000 * sorted(taken)[15]:.0f} ms from key press to new picture, {1000 * min(taken):.0f} to {1000 * max(taken):.0f}\n")
