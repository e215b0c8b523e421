"""Draw the picture that stands beside a link to the site: `python scripts/preview.py`, in headless Chromium.

1200 x 630 pixels, the size that messengers and social networks ask for; the figures come from the benchmark's."""

import base64
import statistics

from result_entries import rows_of
from screenshots import CHROMIUM, FLAGS, ROOT

TARGET = ROOT / "scripts" / "docs_assets" / "preview.png"
PAGE = """<body style="margin:0;background:#111;color:#fff;font-family:sans-serif;width:1200px;height:630px">
<div style="padding:56px 64px 0">
<div style="font-size:44px;font-weight:700">MaskTune</div>
<div style="font-size:30px;color:#bbb;margin-top:10px">Find the shortcuts an image classifier takes,
and remove them, without group labels.</div>
<div style="font-size:132px;font-weight:700;margin-top:20px;line-height:1.1">{before} % <span
style="color:#56b4e9">&rarr; {after} %</span></div>
<div style="font-size:26px;color:#bbb">accuracy once the shortcut points the wrong way: before, after.
Mean over {count} trainings.</div></div>
<div style="height:190px;overflow:hidden;margin-top:22px"><img style="width:100%;margin-top:-10px"
src="data:image/png;base64,{picture}"></div></body>"""


def page() -> str:
    import digits_seeds

    found = digits_seeds.over(rows_of("digits_seeds.json"), "square")
    before, after = (f"{100 * statistics.mean(found[name]):.0f}" for name in ("ERM", "round 1"))
    picture = base64.b64encode((ROOT / "nbs" / "images" / "examples.png").read_bytes()).decode()
    return PAGE.format(before=before, after=after, count=len(found["ERM"]), picture=picture)


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        raise SystemExit("Chromium is missing: install it (Debian: apt-get install chromium) and run this again")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        view = browser.new_page(viewport={"width": 1200, "height": 630})
        view.set_content(page())
        view.wait_for_timeout(300)
        view.screenshot(path=TARGET)
        browser.close()
    print(f"{TARGET.relative_to(ROOT)}  {TARGET.stat().st_size / 1e3:.0f} kB")
