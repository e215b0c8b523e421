"The page that says whether it worked: nothing that was measured is left out."

import json
import re

import pytest

from masktune.devices import seed_everything
from masktune.evaluation import evaluate
from masktune.figures import measured_models, plot_groups
from masktune.finetune import MaskTune
from masktune.models import build_model
from masktune.report import group_table, plot_risk_coverage, write_report
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
