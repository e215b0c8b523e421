"The page that says whether it worked: nothing that was measured is left out."

import html
import json
import re

import pytest
from chromium import needs_chromium
from screenshots import CHROMIUM, FLAGS, ROOT

from masktune.devices import seed_everything
from masktune.evaluation import Share, evaluate
from masktune.figures import measured_models, plot_groups
from masktune.finetune import MaskTune
from masktune.models import build_model
from masktune.report import GroupRow, group_table, plot_risk_coverage, tell_story, who_paid, write_report
from masktune.selective import risk_coverage


@pytest.fixture(scope="module")
def run(digits):
    seed_everything(0)
    run = MaskTune(build_model("small-cnn", 2), epochs=2, rounds=2, device="cpu", progress=False).fit(
        digits["train"], digits["val"]
    )
    controls = {
        "random_mask": run.fit_control(digits["train"]),
        "unmasked": run.fit_control(digits["train"], "unmasked"),
    }
    others = controls | {"a <rival>": build_model("small-cnn", 2)}
    run.evaluate({"test": digits["test"], "val": digits["val"]}, others=others)
    return run


SHOWN = ["ERM", "random masks", "unmasked", "a <rival>", "round 1", "round 2", "MaskTune"]


def texts(pattern, page):
    return [text.replace("&lt;", "<").replace("&gt;", ">") for text in re.findall(pattern, page)]


def test_the_report_shows_every_model_measured(run, digits, tmp_path):
    page = write_report(run, tmp_path / "report.html", digits["train"], {"test": digits["test"]}).read_text()
    heads = [texts('<th scope="col">(.*?)</th>', table) for table in re.findall("<thead>.*?</thead>", page)]
    assert ["group", "images", *SHOWN, "change"] in heads
    row = re.search(r'<tr class="average">.*?</tr>', page).group()
    for model in ("erm", "random_mask", "unmasked", "a <rival>", "round-1", "round-2", "masktune"):
        assert f"<td>{100 * run.metrics_[model]['test'].average.accuracy:.1f} <small>" in row
    assert texts('Risk against coverage on test for (.*?)"', page) == [", ".join(SHOWN)]


def test_the_report_shows_every_test_set_measured(run, digits, tmp_path):
    page = write_report(run, tmp_path / "report.html", digits["train"], {"test": digits["test"]}).read_text()
    tables = re.findall("<h3>(.*?)</h3>", page)
    assert tables == ["test", "val"]  # val was measured, and not given to the report
    val = page.split("<h3>val</h3>")[1].split("</table>")[0]
    rows = group_table(run.metrics_["erm"]["val"], run.metrics_["masktune"]["val"], digits["val"])
    assert f"{100 * rows[0].change:+.1f}</span> <small>[{100 * rows[0].interval[0]:+.1f}" in val
    for row in rows[1:]:
        assert f"<td>{row.name}</td>" in val and f"<td>{100 * row.change:+.1f}</td>" in val


def test_the_report_shows_a_model_measured_on_one_test_set_alone(run, digits, tmp_path):
    run.metrics_["late"] = {"val": evaluate(run.erm_, digits["val"], device="cpu")}
    try:
        page = write_report(run, tmp_path / "report.html", digits["train"], {"test": digits["test"]}).read_text()
    finally:
        del run.metrics_["late"]
    assert (
        "late" not in page.split("<h3>test</h3>")[1].split("</table>")[0] and ">late<" in page.split("<h3>val</h3>")[1]
    )


def test_the_curves_show_every_model_in_a_colour_of_its_own(run):
    drawn = plot_groups(run.metrics_, "test")
    handles, labels = drawn.axes[0].get_legend_handles_labels()
    assert labels == SHOWN and len({(bar[0].get_color(), bar[0].get_marker()) for bar in handles}) == len(SHOWN)
    found = run.metrics_["erm"]["test"]
    eight = {f"model {i}": risk_coverage(found.confidence, found.correct) for i in range(8)}
    lines = plot_risk_coverage(eight).axes[0].lines
    assert [line.get_label() for line in lines] == list(eight)
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 8


def test_a_model_that_is_called_like_another_is_shown_all_the_same(run):
    twice = {"erm": run.metrics_["erm"], "ERM": run.metrics_["unmasked"], "masktune": run.metrics_["masktune"]}
    assert [label for label, *_ in measured_models(twice, "test").values()] == ["ERM", "ERM (ERM)", "MaskTune"]


def test_the_report_shows_what_selective_found(run, digits, tmp_path):
    coverages = [
        {"wanted": 0.8, "threshold": 0.9, "coverage": 0.75, "risk": 0.125},
        {"wanted": 1.0, "threshold": None, "coverage": 0.0, "risk": None},
    ]
    (tmp_path / "selective.json").write_text(
        json.dumps({"test": {"ERM x MaskTune": {"aurc": 0.1, "coverages": coverages}}})
    )
    page = write_report(run, tmp_path / "report.html", digits["train"], {"test": digits["test"]}).read_text()
    assert "When not to answer" in page and "<td>ERM x MaskTune</td><td>12.5 (75.0)</td><td>-</td>" in page


@pytest.fixture(scope="module")
def written(run, digits, tmp_path_factory):
    return write_report(
        run, tmp_path_factory.mktemp("report") / "report.html", digits["train"], {"test": digits["test"]}
    )


def test_the_report_begins_with_what_it_comes_to(run, digits, written):
    page = written.read_text()
    sentences = tell_story(run, digits["train"], {"test": digits["test"]})
    assert len(sentences) == 3 and sentences[1].startswith("On test, accuracy goes from ")
    places = [page.index(html.escape(sentence, quote=False)[:40]) for sentence in sentences]
    assert places == sorted(places) and places[-1] < page.index('href="#groups"') < page.index("mt-data-report")


def test_who_paid_is_the_group_that_lost_most():
    def row(name, change, low, high):
        share = Share(0.5, 100, (0.4, 0.6))
        return GroupRow(name, 100, share, share._replace(accuracy=0.5 + change), change, (low, high))

    rows = [row("average", 0.1, 0.0, 0.2), row("a", -0.16, -0.2, -0.1), row("b", -0.05, -0.1, -0.01)]
    assert who_paid({"test": rows}).startswith(
        "Who paid: a on test lost 16 points [10, 20], from 50 % to 34 %, and 1 more"
    )
    assert "No group lost" in who_paid({"test": [rows[0], row("c", -0.3, -0.7, 0.1)]})


def test_what_differs_from_the_defaults_can_be_made_again(run, written):
    page = written.read_text()
    said = page.replace('<span class="word">', "").replace("</span>", "")  # words that do not break
    assert "MaskTune(model, epochs=2, rounds=2, device=&#39;cpu&#39;)" in said
    assert "<dt>rounds</dt><dd><code>2</code></dd>" in page.split('id="again"')[1].split("<pre")[0]


# The ground of pictures as they are shown: red, green and blue of the first pixel
CORNER = """(all) => all.map((image) => {
  const context = document.createElement("canvas").getContext("2d");
  context.drawImage(image, 0, 0);
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
})"""


@needs_chromium
@pytest.mark.parametrize("width, scheme", [(1400, "light"), (390, "dark")])
def test_the_report_opened_from_a_file_is_live_and_axe_finds_nothing(written, width, scheme):
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(written.as_uri())
        page.locator("#scrubber").scroll_into_view_if_needed()
        page.locator(".mt-card").nth(23).wait_for()
        before = page.locator(".mt-then").all_inner_texts()
        page.locator(".mt-strength input[type=number]").fill("1")
        page.locator(".mt-strength input[type=number]").press("Enter")
        page.wait_for_timeout(400)
        assert page.locator(".mt-then").all_inner_texts() != before
        assert "answers on this page change when this is hidden" in page.locator(".mt-headline").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        found = Axe().run(page).response["violations"]
        assert not found, [(v["id"], v["nodes"][0]["html"][:150]) for v in found]
        corners = page.locator("figure img:not(.chart)").evaluate_all(CORNER)
        assert len(corners) == 3 and all((max(corner) < 60) == (scheme == "dark") for corner in corners), corners
        (ROOT / ".cache" / "screenshots").mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ROOT / ".cache" / "screenshots" / f"report-{width}-{scheme}.png")
        assert not [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]  # no network
        browser.close()
