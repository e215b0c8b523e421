"Run the first tutorial in JupyterLab in a real browser, and take the README's picture: `make screenshots`."

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextmanager
def served(place: Path):
    "JupyterLab on a copy of the tutorials, on the loopback address alone; gives its address"
    for notebook in (ROOT / "nbs" / "tutorials").glob("*.ipynb"):
        shutil.copy(notebook, place)
    news = place / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(place / name.lower()) for name in ("CONFIG", "DATA")} | {
        "JUPYTERLAB_SETTINGS_DIR": str(place / "settings")
    }
    environment = os.environ | folders | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--IdentityProvider.token=",
        "--ServerApp.password=",
    ]
    with open(place / "lab.log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], cwd=place, env=environment, stdout=log, stderr=log
        )
        try:
            for _ in range(120):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=1)
                    break
                except OSError:
                    time.sleep(0.5)
            else:
                raise RuntimeError(f"JupyterLab did not start: {(place / 'lab.log').read_text()[-2000:]}")
            yield f"http://127.0.0.1:{port}/lab"
        finally:
            server.terminate()
            server.wait(60)  # it ends its kernels first, and they what computes in them


@contextmanager
def tutorial(place: Path):
    "The first tutorial in a browser, every cell run"
    from playwright.sync_api import sync_playwright

    with served(place) as lab, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1100})
        page.set_default_timeout(60_000)
        page.goto(f"{lab}/tree/01_find_and_remove_a_shortcut.ipynb?reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell")
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
        # The saved outputs go first: what is seen from here on was made by this kernel.
        page.get_by_role("menuitem", name="Edit", exact=True).click()
        page.locator(".lm-Menu-item", has_text="Clear Outputs of All Cells").first.click()
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.locator(".lm-Menu-item", has_text="Run All Cells").first.click()
        done = (
            "[...document.querySelectorAll('.jp-OutputArea-output pre')].some(e => /report.html [0-9.]+ "
            "MB/.test(e.textContent))"
        )
        page.wait_for_function(done, timeout=300_000)
        yield page
        browser.close()


def show(page, selector: str):
    "Scroll a thing into view; cells far from it are not laid out before that"
    found = page.locator(selector).last
    found.wait_for(state="attached")
    found.evaluate("e => e.scrollIntoView({block: 'center'})")
    page.wait_for_timeout(400)
    return found


def panel(page, words: str):
    "The output that holds a control of this description"
    label = f".widget-label:text-is('{words}')"
    show(page, label)
    area = page.locator(".jp-OutputArea-output", has=page.locator(label)).last
    area.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(400)
    return area


def instrument(page, last: bool = False):
    "A threshold scrubber that a kernel answers, scrolled into view"
    found = page.locator(".masktune.mt-scrubber:has(.mt-pages button)")
    area = found.last if last else found.first
    area.locator(".mt-card").first.wait_for(state="attached")
    area.evaluate("e => e.scrollIntoView({block: 'start'})")
    page.wait_for_timeout(400)
    return area


def painted(area) -> str:
    "What the first card of an instrument shows: four pictures as text"
    return area.locator(".mt-card canvas").evaluate_all("all => all.slice(0, 4).map((c) => c.toDataURL()).join()")


if __name__ == "__main__":
    if CHROMIUM is None:
        raise SystemExit("Chromium is missing: install it (Debian: apt-get install chromium) and run this again")
    with tempfile.TemporaryDirectory() as place, tutorial(Path(place)) as page:
        area = instrument(page)
        page.wait_for_timeout(1500)
        target = ROOT / "nbs" / "images" / "scrubber.png"
        area.screenshot(path=target)
        print(f"{target.relative_to(ROOT)}  {target.stat().st_size / 1e3:.0f} kB")
