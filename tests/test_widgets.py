"The panels without a browser: set a control, read the picture."

import base64
import threading
import time
import tracemalloc

import numpy as np
import pytest
import torch
from torch import nn

from masktune.abstaining import SelectiveClassifier
from masktune.data import ArrayDataset, ImageDataset
from masktune.devices import seed_everything
from masktune.erm import Step
from masktune.evaluation import evaluate
from masktune.experiments.datasets import load_dataset
from masktune.finetune import MaskTune
from masktune.kinds import find_kinds, load_kinds
from masktune.lab import jobs
from masktune.lab.compare import CompareExplorer
from masktune.lab.coverage import CoverageExplorer
from masktune.lab.evidence import ClassEvidence
from masktune.lab.launcher import FinetuningJob, Launcher
from masktune.lab.panels import step_through
from masktune.lab.review import EvidenceReview
from masktune.lab.scrubber import Asker, ThresholdScrubber
from masktune.masking import RULES, Rule, hide
from masktune.models import as_classifier, build_model, model_fingerprint
from masktune.runs import load_run
from masktune.saliency import SaliencyMaps, compute_saliency


@pytest.fixture(scope="module")
def run(digits):
    seed_everything(0)
    run = MaskTune(build_model("small-cnn", 2), epochs=8, device="cpu", progress=False)
    return run.fit_erm(digits["train"], digits["val"]).compute_maps(digits["train"])


@pytest.fixture
def scrubber(run, digits):
    scrubber = ThresholdScrubber(run.erm_, digits["train"], run.rounds_[0].maps, page_size=6)
    yield scrubber
    scrubber.close()


def tile(scrubber, card, place):
    still, side = scrubber.still(), scrubber.tile.value
    y, x = scrubber.sheet.place(card)
    x += place * (side + scrubber.sheet.gap)
    return still[y : y + side, x : x + side]


@pytest.mark.parametrize(
    "rule, strengths", [("mean_std", (0.5, 2.0, 3.5)), ("quantile", (0.6, 0.9, 0.99)), ("fixed", (0.2, 0.5, 0.9))]
)
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_the_masked_tile_is_the_masked_image(scrubber, digits, rule, strengths, fill):
    # 224 = 8 x 28: pixels stay whole
    scrubber.rule_name.value, scrubber.fill_name.value, scrubber.tile.value = rule, fill, 224
    for strength in strengths:
        scrubber.strength.value = strength
        for card, index in enumerate(scrubber.shown):
            mask = scrubber.rule(scrubber.maps[[index]], (28, 28))
            expected = digits["train"].images[index].clone()
            masked = hide(digits["train"].images[[index]], mask, fill)[0]
            shown = torch.from_numpy(tile(scrubber, card, 3)[4::8, 4::8].copy()).permute(2, 0, 1)
            assert torch.equal(shown[:, ~mask[0]], expected[:, ~mask[0]])
            assert (shown.int() - masked.int()).abs().max() <= 1
            assert scrubber.areas[card] == pytest.approx(float(mask.float().mean()), abs=1e-6)


def test_outline_surrounds_the_mask(scrubber):
    from masktune.figures import MASK_COLOR
    from masktune.lab.sketch import rgb

    scrubber.tile.value = 224
    for card in range(len(scrubber.shown)):
        ring = (tile(scrubber, card, 2) == rgb(MASK_COLOR)).all(-1)
        inside = np.kron(scrubber.mask[card].numpy(), np.ones((8, 8), bool))
        assert ring.any() == inside.any() and not (ring & inside).any()
    assert scrubber.mask.any()


def test_the_model_is_asked_about_the_page_after_the_slider_rests(scrubber, run, digits):
    for value in np.linspace(1, 3, 15):
        scrubber.strength.value = float(value)
    scrubber.wait()
    index = scrubber.shown
    masked = hide(digits["train"].images[index], scrubber.mask, "zero")
    with torch.no_grad():
        expected = run.erm_.eval()(masked).softmax(1)
    said = scrubber.maps.predicted[index]
    torch.testing.assert_close(scrubber.answers.kept, expected.gather(1, said[:, None])[:, 0])
    assert torch.equal(scrubber.answers.said, expected.argmax(1))


def test_filters_combine_and_an_empty_page_is_no_error(scrubber, digits):
    train, maps = digits["train"], scrubber.maps
    scrubber.class_filter.value, scrubber.predicted_filter.value = 0, 1
    expected = set(((train.labels == 0) & (maps.predicted == 1)).nonzero().flatten().tolist())
    assert set(scrubber.order.tolist()) == expected
    scrubber.group_filter.value, scrubber.verdict_filter.value = 3, "right"
    assert len(scrubber.shown) == 0 and "0 of" in scrubber.counts.value and scrubber.still().ndim == 3
    scrubber.class_filter.value = scrubber.predicted_filter.value = scrubber.group_filter.value = -1
    scrubber.verdict_filter.value = "all"
    scrubber.confidence.value = (0.0, 0.9)
    assert (maps.confidence[scrubber.order] <= 0.9 + 1e-6).all()


class Counted(ImageDataset):
    "Ten thousand images that are made when asked for, and counted"

    def __init__(self, count):
        super().__init__(torch.arange(count) % 2, ["a", "b"])
        self.asked = 0

    def _image(self, index):
        self.asked += 1
        return torch.full((3, 224, 224), index % 256, dtype=torch.uint8)

    def _pixel_digest(self, sha):
        sha.update(b"counted")


def test_ten_thousand_images_open_at_once_and_only_the_page_is_held():
    data = Counted(10_000)
    maps = SaliencyMaps(
        torch.rand(10_000, 7, 7).half(),
        torch.ones(10_000),
        torch.zeros(10_000, dtype=torch.int64),
        torch.rand(10_000),
        data=data.fingerprint,
    )
    tracemalloc.start()
    started = time.process_time()
    scrubber = ThresholdScrubber(None, data, maps, page_size=24)
    assert time.process_time() - started < 2  # of the processor's time: a promise of seconds, not a benchmark
    assert data.asked == 24 and len(scrubber.images) == 24
    scrubber.next.click()
    assert data.asked == 48 and len(scrubber.images) == 24
    tracemalloc.stop()
    scrubber.close()


def test_names_from_the_data_are_escaped(run, digits):
    evil = "<img src=x onerror=alert(1)>"
    train = digits["train"]
    data = ArrayDataset(
        train.images, train.labels, [evil, "b"], groups=train.labels, group_names=[evil, "b"], name=evil
    )
    maps = compute_saliency(run.erm_, data, device="cpu")
    scrubber = ThresholdScrubber(run.erm_, data, maps, page_size=6).wait()
    saved = scrubber._repr_html_()  # what the page part writes is text: `test_instrument.py` sees it in a browser
    assert "<img src=x" not in saved and "<img src=x" not in scrubber.table()._repr_html_()
    scrubber.close()
    panels = [
        ClassEvidence(data, maps),
        CompareExplorer(run.erm_, run.erm_, data, (maps, maps), page_size=6),
    ]
    for panel in panels:
        texts = [panel._repr_html_(), panel.table()._repr_html_()]
        assert not any("<img src=x" in text for text in texts), texts
        assert "&lt;img" in texts[1], texts
        panel.close()


def test_a_stopped_launch_is_on_disk_and_ends_like_an_unbroken_one(run, digits, tmp_path):
    from masktune.files import load_state

    launcher = Launcher(run, digits["train"], {"test": digits["test"]}, folder=tmp_path / "run")
    launcher.launch().wait()
    whole = model_fingerprint(run.model_)
    step = launcher.job.step
    launcher.job.step = lambda s: step(s) or s.step == 5
    launcher.launch().wait()
    assert load_state(tmp_path / "run" / "round-1" / "stopped.pt")["step"] == 5 and not launcher.resume.disabled
    later = load_run(tmp_path / "run", build_model("small-cnn", 2))  # another session, from the folder alone
    resumed = Launcher(later, digits["train"], folder=tmp_path / "run")
    assert not resumed.resume.disabled and "after step 5" in repr(resumed)
    resumed.go_on().wait()
    assert model_fingerprint(later.model_) == whole
    launcher.job.step = step
    launcher.go_on().wait()
    assert model_fingerprint(run.model_) == whole
    assert (
        not (tmp_path / "run" / "round-1" / "stopped.pt").exists()
        and (tmp_path / "run" / "round-1" / "last.safetensors").exists()
    )
    again = load_run(tmp_path / "run", build_model("small-cnn", 2))
    assert model_fingerprint(again.model_) == whole
    launcher.close()


def test_the_launcher_takes_the_scrubbers_rule_at_the_moment_of_starting(run, digits, scrubber):
    launcher = Launcher(run, digits["train"], scrubber=scrubber)
    scrubber.rule_name.value, scrubber.fill_name.value = "fixed", "mean"
    assert "fixed(t=0.5)" in launcher.rule_shown.value
    launcher.launch().wait()
    assert (run.rule, run.fill) == ("fixed(t=0.5)", "mean")
    launcher.close()


def test_the_same_controls_fill_alike_in_every_trial(run, digits, scrubber):
    "A remedy's own fill where nobody chose one; what somebody chose, for every remedy"
    launcher = Launcher(run, digits["train"], scrubber=scrubber)
    fills = []
    for chosen in ("zero", "blur"):
        scrubber.fill_name.value = chosen
        for remedy in ("transplant", "transplant", "mask"):
            launcher.launch(remedy=remedy).wait()
            fills.append(run.fill)
    launcher.close()
    assert fills == ["blur", "blur", "zero", "blur", "blur", "blur"]


def test_a_question_asked_while_an_answer_is_told_is_asked_too():
    told = []

    def tell(answer):
        told.append(answer)
        if len(told) == 1:
            asker.ask()

    asker = Asker(lambda: lambda: len(told), tell, threading.RLock(), delay=0.01)
    asker.ask()
    asker.wait()
    assert told == [0, 1]


def test_an_asker_that_failed_asks_again():
    told, replies = [], [lambda: 1 / 0, lambda: "well"]
    asker = Asker(lambda: replies.pop(0), told.append, threading.RLock(), delay=0.01)
    failed, threading.excepthook = threading.excepthook, lambda _: None
    try:
        asker.ask()
        asker.wait()
    finally:
        threading.excepthook = failed
    asker.ask()
    asker.wait()
    assert told == ["well"]


def test_a_job_needs_no_widgets_and_counts_its_steps_over_all_epochs(digits):
    network, settings = build_model("small-cnn", 2), {"finetune_lr": 0.01, "device": "cpu", "progress": False}
    untrained = MaskTune(network, epochs=0, **settings).fit_erm(digits["train"])
    happened = []
    job = FinetuningJob(untrained, digits["train"], changed=lambda: happened.append(None))
    for epoch in (1, 2, 3):
        assert job.step(Step(epoch, 4, 1, 1, torch.tensor([0.5, 1.0, 2.0]), dict)) is False
    assert "step 3 of 4, loss 0.2500, accuracy 50.0%" in job.lines[-1] and "steps a second" in job.lines[-1]
    assert job.share == 0.75 / untrained.rounds and len(happened) >= 3
    job.halt()
    assert job.step(Step(4, 4, 1, 1, torch.tensor([0.5, 1.0, 2.0]), dict)) is True


def test_every_rule_has_its_own_strength_and_keeps_it(scrubber):
    usual = {"mean_std": 2.0, "quantile": 0.9, "fixed": 0.5, "otsu": None}
    for first in usual:
        for second in usual:
            scrubber.rule_name.value = first
            scrubber.rule_name.value = second
            assert (scrubber.rule.name, scrubber.rule.strength) == (second, usual[second])
    scrubber.rule_name.value = "quantile"
    scrubber.strength.value = 0.7
    scrubber.rule_name.value = "fixed"
    scrubber.rule_name.value = "quantile"
    assert scrubber.rule.strength == 0.7 and scrubber.picker.slot.children == (scrubber.strength,)


def test_no_slider_ever_gets_other_ends(scrubber):
    "A front end answers new ends with an old value: that is how a rule got another rule's strength"
    moved = []
    for slider in scrubber.strengths.values():
        slider.observe(lambda change: moved.append(change["name"]), ["min", "max", "step"])
    for name in (*scrubber.strengths, *reversed(scrubber.strengths)):
        scrubber.rule_name.value = name
    assert moved == []


@pytest.mark.parametrize(
    "value, low, step",
    [(2.03, 0.0, 0.05), (0.9537, 0.5, 0.005), (0.875, 0.01, 0.01), (1 / 3, 0.1, 0.05), (2.0, 0.0, 0.05)],
)
def test_a_sliders_grid_holds_its_value(value, low, step):
    found = step_through(value, low, step)
    assert found <= step and abs(low + round((value - low) / found) * found - value) < 1e-6


def half_frozen():
    "In train mode, but for a batch normalisation that its owner froze"
    model = build_model("small-cnn", 2).train()
    model.features[1].eval()
    model.features[0].weight.requires_grad_(False)
    return model


def state_of(model):
    modes = [module.training for module in model.modules()]
    return (
        modes,
        [p.requires_grad for p in model.parameters()],
        [p.device for p in model.parameters()],
        model_fingerprint(model),
    )


def test_a_panel_leaves_a_model_as_it_was(digits):
    one, other = half_frozen(), half_frozen()
    before = state_of(one), state_of(other)
    scrubber = ThresholdScrubber(one, digits["test"], page_size=6)
    scrubber.sort.value = "fall of confidence when masked"
    scrubber.wait()
    compare = CompareExplorer(one, other, digits["test"], page_size=6)
    selective = SelectiveClassifier([as_classifier(model, digits["test"]) for model in (one, other)])
    explorer = CoverageExplorer(selective, digits["test"], page_size=6)
    threshold = selective.threshold.clone()
    assert explorer.calibrated().threshold != threshold and torch.equal(selective.threshold, threshold)
    assert (state_of(one), state_of(other)) == before
    for panel in (scrubber, compare, explorer):
        panel.close()


def test_every_figure_of_the_comparison_is_the_one_evaluate_gives(run, digits):
    models = (run.erm_, build_model("small-cnn", 2))
    compare = CompareExplorer(*models, digits["test"], page_size=6, device="cpu")
    for found, model in zip(compare.evaluations, models, strict=True):
        wanted = evaluate(model, digits["test"], device="cpu")
        assert found.to_dict() == wanted.to_dict()
        assert torch.equal(found.confidence, wanted.confidence) and torch.equal(found.predicted, wanted.predicted)
        sure = compare.view.options["sure"]
        assert f"{wanted.loss:.3f} " in sure and f"{wanted.confidence.mean():.1%} " in sure
    for index in compare.shown:
        for found in compare.evaluations:
            name = digits["test"].classes[int(found.predicted[index])]
            assert f"{name} {found.confidence[index]:.3f}, {'right' if found.correct[index] else 'wrong'}" in str(
                compare.table()
            )
    compare.close()


def test_any_two_classifiers_can_be_compared(run, digits):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 2))  # no layer of it knows places
    compare = CompareExplorer(run.erm_, flat, digits["test"], page_size=6)
    assert compare.maps == () and "no layer with a spatial grid" in compare.view.options["made"]
    assert compare.evaluations[1].average == evaluate(flat, digits["test"]).average and compare.still().ndim == 3
    with pytest.raises(ValueError, match=r"these saliency maps were made with model"):
        CompareExplorer(flat, run.erm_, digits["train"], (run.rounds_[0].maps, run.rounds_[0].maps))
    compare.close()


def test_panels_show_the_maps_of_the_run(digits):
    settings = {
        "source": "grad-cam",
        "layer": "network.features.5",
        "target": "label",
        "rule": "quantile(q=0.8)",
        "fill": "mean",
    }
    run = (
        MaskTune(build_model("small-cnn", 2), epochs=1, device="cpu", progress=False, **settings)
        .fit_erm(digits["train"])
        .compute_maps(digits["train"])
    )
    own = ThresholdScrubber(None, digits["train"], run=run, page_size=6)
    assert own.maps is run.rounds_[0].maps and (repr(own.rule), own.fill) == ("quantile(q=0.8)", "mean")
    new = ThresholdScrubber(None, digits["test"], run=run, page_size=6)
    compare = CompareExplorer(run.erm_, build_model("small-cnn", 2), digits["test"], page_size=6, run=run)
    for maps in (new.maps, *compare.maps):
        assert (maps.source, maps.layer, maps.target) == ("grad-cam", "network.features.5", "label")
    for panel in (own, new, compare, ClassEvidence(digits["train"], own.maps)):
        assert "grad-cam at network.features.5, for the label class" in panel.view.options["made"]
    for panel in (own, new, compare):
        panel.close()
    with pytest.raises(ValueError, match="source is the run's here"):
        CompareExplorer(run.erm_, run.erm_, digits["test"], run=run, source="xgradcam")


def test_wrong_arguments_are_named(run, digits):
    train, maps, erm = digits["train"], run.rounds_[0].maps, run.erm_
    pair = SelectiveClassifier([erm])
    wrong = {
        "unknown fill 'black'": lambda: ThresholdScrubber(erm, train, maps, fill="black"),
        "tile must be a whole number of at least 8, got 0": lambda: ThresholdScrubber(erm, train, maps, tile=0),
        "page_size must be a whole number of at least 1, got 0": lambda: ThresholdScrubber(
            erm, train, maps, page_size=0
        ),
        "dataset must be a data set (ImageDataset), got Classifier": lambda: ThresholdScrubber(train, erm, maps),
        "model must be a classifier (torch.nn.Module), got str": lambda: ThresholdScrubber("small-cnn", train, maps),
        "maps must be saliency maps (`compute_saliency` makes them), got Classifier": lambda: ThresholdScrubber(
            erm, train, erm
        ),
        "model must give scores of shape (1, 2)": lambda: ThresholdScrubber(build_model("small-cnn", 3), train),
        "after must give scores of shape (1, 2)": lambda: CompareExplorer(erm, nn.Identity(), train),
        "after must be a classifier (torch.nn.Module), got ArrayDataset": lambda: CompareExplorer(
            erm, digits["test"], digits["test"]
        ),
        "maps must be two, of before and of after": lambda: CompareExplorer(erm, erm, train, maps),
        "run must be a MaskTune, got Classifier": lambda: CompareExplorer(erm, erm, train, run=erm),
        "count must be a whole number of at least 1, got 0": lambda: ClassEvidence(train, maps, count=0),
        "share must be above 0 and at most 1, got 30": lambda: ClassEvidence(train, maps, share=30),
        "selective must be a SelectiveClassifier": lambda: CoverageExplorer(erm, train),
        "selective['x'] must be a SelectiveClassifier": lambda: CoverageExplorer({"x": erm}, train),
        "coverage must be above 0 and at most 1, got '90'": lambda: CoverageExplorer(pair, train, coverage="90"),
        "val must be a data set": lambda: CoverageExplorer(pair, train, 0.9),
        "run must be a MaskTune, got ": lambda: Launcher(train, run),
        "tests must be data sets by name": lambda: Launcher(run, train, digits["test"]),
        "scrubber must be a ThresholdScrubber, got str": lambda: Launcher(run, train, scrubber="mean_std"),
    }
    for message, call in wrong.items():
        with pytest.raises(ValueError) as caught:
            call()
        assert message in str(caught.value)


@pytest.mark.parametrize("page_size, tile", [(6, 72), (48, 224)])
def test_what_a_notebook_keeps_stays_small(run, digits, page_size, tile):
    scrubber = ThresholdScrubber(run.erm_, digits["train"], run.rounds_[0].maps, page_size=page_size, tile=tile)
    page = scrubber._repr_html_()  # the page part, its data, and a still picture for where no script runs
    assert len(page) < 500_000 and scrubber.describe() in page and "run the cell to make it live" in page
    scrubber.close()


def test_committed_notebooks_hold_still_pictures_not_dead_widgets():
    import json
    from pathlib import Path

    for path in (Path(__file__).parent.parent / "nbs").rglob("*.ipynb"):
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        assert not any("widget-view" in kind for output in outputs for kind in output.get("data", {})), (
            f"{path}: run scripts/execute.py on it"
        )
        seen = ["".join("".join(text) for text in output.get("data", {}).values()) for output in outputs]
        assert not any("model not found" in text or "Error displaying widget" in text for text in seen), path


def moved(scrubber, **changes):
    "What the page does when its user moves something"
    scrubber.view.controls = {**scrubber.view.controls, **changes}


def test_what_is_set_on_the_page_is_what_the_kernel_has(scrubber, digits):
    strengths = scrubber.view.controls["strengths"] | {"fixed": 0.25}
    moved(scrubber, rule="fixed", strengths=strengths, fill="mean", page=2)
    assert (repr(scrubber.rule), scrubber.fill, scrubber.page.value) == ("fixed(t=0.25)", "mean", 2)
    shown = [image["index"] for image in scrubber.view.page["images"]]
    assert shown == scrubber.shown == scrubber.order[6:12].tolist()
    filters = scrubber.view.controls["filters"] | {"class": 1, "verdict": "right"}
    moved(scrubber, filters=filters, page=1)
    labels, said = digits["train"].labels, scrubber.maps.predicted
    assert set(scrubber.order.tolist()) == set(((labels == 1) & (said == 1)).nonzero().flatten().tolist())
    assert scrubber.view.summary["chosen"] == len(scrubber.order)
    assert [image["index"] for image in scrubber.view.page["images"]] == scrubber.shown


def test_a_threshold_moved_on_the_page_fetches_no_image_and_paints_nothing(scrubber):
    scrubber.wait()
    page = scrubber.view.page
    moved(scrubber, strengths=scrubber.view.controls["strengths"] | {"mean_std": 1.0})
    assert scrubber.view.page is page and not hasattr(scrubber, "masks")


def test_an_answer_names_what_it_is_the_answer_to(scrubber):
    scrubber.strength.value = 1.0
    scrubber.wait()
    assert scrubber.view.answers["key"] == scrubber.key == "mean_std(k=1)|zero|1"
    looking = f"{scrubber.looking.layer}|{scrubber.looking.source}"
    assert (
        scrubber.view.finding["key"] == f"mean_std(k=1)|zero|{looking}"
        and "elsewhere" in scrubber.view.finding["words"]
    )
    scrubber.strength.value = 3.0  # until it is asked again, the page knows that this is no answer to what it shows
    assert scrubber.view.answers["key"] != scrubber.key


def test_a_rule_of_ones_own_is_masked_by_the_kernel(scrubber):
    RULES["half"] = Rule(lambda saliency, share: saliency > share, "share", 0.4)
    try:
        own = ThresholdScrubber(None, scrubber.dataset, scrubber.maps, rule="half(0.3)", page_size=6)
        bits = [np.unpackbits(np.frombuffer(base64.b64decode(b), np.uint8))[: 28 * 28] for b in own.view.masks["bits"]]
        assert own.view.masks["key"] == own.key and np.array_equal(np.stack(bits).reshape(-1, 28, 28), own.mask.numpy())
        own.close()
    finally:
        del RULES["half"]


def test_what_was_ticked_is_known_by_position_and_file(pets):
    data = load_dataset("folder", "train", root=pets, size=28)
    scrubber = ThresholdScrubber(build_model("small-cnn", 2), data, page_size=6)
    scrubber.view.selected = [7, 2]
    assert [picked.index for picked in scrubber.selected] == [2, 7]
    assert [picked.path for picked in scrubber.selected] == [str(data.paths[2]), str(data.paths[7])]
    scrubber.close()


def test_a_sweep_over_what_a_rule_does_not_take_is_said(run, digits):
    run.rule = "fixed(t=0.5)"
    launcher = Launcher(run, digits["train"])
    launcher.sweep_over.value = "0.2, 1"
    launcher.sweep_all.click()
    assert "threshold 'fixed' needs 0 &lt;= t &lt; 1" in launcher.result.value.replace("&#x27;", "'")
    assert not launcher.job.running and not launcher.trials.trials


def test_every_finetuning_is_a_row_whose_model_can_be_taken_back(run, digits):
    run.rule = "mean_std(k=2)"
    launcher = Launcher(run, digits["train"], {"test": digits["test"], "swapped-val": run.swapped(digits["val"])})
    launcher.sweep([1, 4])
    launcher.wait()
    assert [trial.settings["rule"] for trial in launcher.trials.trials] == ["mean_std(k=1)", "mean_std(k=4)"]
    first, last = launcher.trials.trials
    assert launcher.trials.best is max((last, first), key=lambda trial: trial.swapped) and launcher.trials.kept == 2
    rows = launcher.view.page["trials"]
    assert [row["kept"] for row in rows] == [False, True] and all(row["points"] for row in rows)
    assert [row["best"] for row in rows] == [trial is launcher.trials.best for trial in launcher.trials.trials]
    launcher.view.wishes = {"keep": 1, "asked": 1}  # what the button of the first row does
    assert [row["kept"] for row in launcher.view.page["trials"]] == [True, False]
    assert (launcher.trials.kept, run.rule) == (1, "mean_std(k=1)")
    assert evaluate(run.model_, digits["test"], device="cpu").average == first.metrics["test"].average
    assert "who paid" in launcher.trials._repr_html_()
    with pytest.raises(ValueError, match="there are trials 1 to 2, got 3"):
        launcher.keep(3)
    launcher.close()


def test_every_remedy_is_tried_in_one_press_and_a_repairs_candidates_are_rows(run, digits):
    tests = {"test": digits["test"], "swapped-val": run.swapped(digits["val"])}
    launcher = Launcher(run, digits["train"], tests, val=digits["val"])
    launcher.sweep_remedies(["transplant", "refit"])
    launcher.wait()
    assert [trial.remedy for trial in launcher.trials.trials] == ["transplant", "refit"]
    refitted = launcher.trials.trials[1]
    assert evaluate(run.model_, digits["test"], device="cpu").average == refitted.metrics["test"].average
    headline = launcher.view.summary["headline"]
    assert "before" in headline and "[" in headline and headline in launcher._repr_html_()
    table = str(launcher.trials)
    assert "remedy" in table and "transplant" in table and "who paid" in table
    launcher.keep(1)
    assert run.mode == "transplant"
    with pytest.raises(ValueError, match="unknown remedy 'masks'"):
        launcher.launch(remedy="masks")
    launcher.close()
    run.mode = "mask"
    alone = Launcher(run, digits["train"])
    assert alone.remedies == ("mask", "transplant")  # the others need images that were not trained on
    alone.close()


def stop_pressed(launcher, monkeypatch, when):
    "Have the stop button pressed during a repair, in the step for which `when(step)` says so"
    whole = jobs.repair

    def watched(*given, on_step, **options):
        def step(now):
            if when(now):
                launcher.stop.click()
            return on_step(now)

        return whole(*given, on_step=step, **options)

    monkeypatch.setattr(jobs, "repair", watched)


def test_a_repair_is_stopped_and_what_was_made_by_then_is_kept(run, digits, monkeypatch):
    run.rule = "mean_std(k=2)"
    tests = {"test": digits["test"], "swapped-val": run.swapped(digits["val"])}
    launcher = Launcher(run, digits["train"], tests, val=digits["val"])
    stop_pressed(launcher, monkeypatch, lambda step: step.made == 3)
    launcher.sweep_remedies(["repair", "refit"]).wait()
    assert [trial.remedy for trial in launcher.trials.trials] == ["plain, refit 0", "plain, refit 2"]
    said = "repair stopped after plain, refit 2; 1 more of the sweep not begun"
    assert launcher.view.summary["stopped"] == said and said in str(launcher.trials) and said in launcher._repr_html_()
    assert "stopped after plain, refit 2" in launcher.says.value and not launcher.job.running
    assert not launcher.start.disabled and launcher.stop.disabled
    launcher.launch(remedy="refit").wait()  # another can be started
    assert launcher.trials.trials[-1].remedy == "refit" and launcher.view.summary["stopped"] == ""
    launcher.close()


def test_a_repair_is_stopped_in_the_middle_of_a_training(run, digits, monkeypatch):
    launcher = Launcher(run, digits["train"], val=digits["val"])
    before = model_fingerprint(run.model_)
    steps = []
    stop_pressed(launcher, monkeypatch, lambda step: "step" in step.doing and not steps.append(step.doing))
    launcher.launch(remedy="repair").wait()
    assert len(steps) == 1 and steps[0].startswith("transplant, step 1 of")  # not one more
    assert launcher.job.repaired.stopped and "stopped after plain, refit 6" in launcher.says.value
    if launcher.job.repaired.choice.name == "plain":
        assert model_fingerprint(run.model_) == before
    launcher.close()


def test_a_panel_that_is_closed_stops_its_repair_and_leaves_the_run_as_it_was(run, digits, monkeypatch):
    launcher = Launcher(run, digits["train"], {"test": digits["test"]}, val=digits["val"])
    rounds = list(run.rounds_)
    job, reached, go_on = launcher.job, threading.Event(), threading.Event()

    def step(now):
        reached.set()
        return not go_on.wait(60)

    stop_pressed(launcher, monkeypatch, step)
    launcher.stop = launcher.resume  # nobody presses it: the panel is closed
    launcher.launch(remedy="repair")
    assert reached.wait(120)
    launcher.close()
    go_on.set()
    job.wait()
    assert job.stopped and not job.measured and not job.running and run.rounds_ == rounds


def test_the_launcher_looks_where_the_scrubber_looks(run, digits, scrubber):
    launcher = Launcher(run, digits["train"], scrubber=scrubber)
    before = run.layer, run.source
    scrubber.look(scrubber.looking.layers[1], "grad-cam")
    launcher.launch().wait()
    maps = run.rounds_[0].maps
    assert (maps.layer, maps.source) == (scrubber.looking.layers[1], "grad-cam")
    scrubber.look(scrubber.looking.layers[0], "xgradcam")
    launcher.launch().wait()  # back at the run's own: its maps are made again
    assert (run.layer, run.source) == before and run.rounds_[0].maps.source == "xgradcam"
    launcher.close()


def test_a_scrubber_goes_on_while_a_job_trains_and_makes_maps(run, digits, scrubber):
    "Both want the plain model: they take turns, nobody waits for ever, and what is shown is right"
    run.rule, run.rounds_ = "mean_std(k=2)", []  # the job makes maps first
    job = FinetuningJob(run, digits["train"]).launch()
    layers = scrubber.looking.layers[:2]
    for turn in range(6):
        scrubber.look(layers[turn % 2])
        scrubber.strength.value = 1.0 + turn / 4
    job.wait()
    scrubber.wait()
    assert job.finished and not job.failed and not run.erm_.training
    shown = scrubber.shown
    wanted = compute_saliency(run.erm_, digits["train"].subset(shown), layers[1], device="cpu", progress=False)
    torch.testing.assert_close(scrubber.maps.maps[shown], wanted.maps)
    again = compute_saliency(run.erm_, digits["train"], device="cpu", progress=False)
    torch.testing.assert_close(run.rounds_[0].maps.maps, again.maps)


def test_what_is_said_of_evidence_is_kept_and_can_be_taken_back(run, digits, tmp_path):
    kinds = find_kinds(run.erm_, digits["train"], limit=64, most=2, device="cpu")
    review = EvidenceReview(kinds, digits["train"], run.erm_, tmp_path / "kinds.json")
    first, *_, last = kinds.kinds
    review.view.judgements = {first: "shortcut", last: "object"}
    assert load_kinds(tmp_path / "kinds.json").judged("shortcut") == [first] and kinds.judged("object") == [last]
    review.view.judgements = {first: "shortcut"}
    assert load_kinds(tmp_path / "kinds.json").verdicts == {first: "shortcut"}
    assert len(review.view.options["kinds"]) == len(kinds.kinds) and len(review._repr_html_()) < 500_000
    review.close()


def test_a_page_that_sets_several_controls_is_followed_once(run, digits, monkeypatch):
    "By the class that all panels share: everything is set, then what follows is done"
    from masktune.lab import evidence
    from masktune.lab.pages import SetByPage

    panel = ClassEvidence(digits["train"], run.rounds_[0].maps, count=2)
    assert isinstance(panel, SetByPage)
    gathered, gather = [], evidence.gather_evidence
    monkeypatch.setattr(evidence, "gather_evidence", lambda *given: gathered.append(given[2:]) or gather(*given))
    panel.view.controls = panel.view.controls | {"count": 3, "share": 0.5}
    assert gathered == [(3, 0.5)] and len(panel.view.page["classes"][0]["images"]) == 3
    panel.share.value = 0.4  # from code, too
    assert gathered[1:] == [(3, 0.4)] and panel.view.controls["share"] == 0.4
    panel.close()


def test_opening_and_closing_leaves_no_widget_and_no_thread_behind(run, digits):
    from ipywidgets.widgets import widget

    def opened_and_closed():
        scrubber = ThresholdScrubber(run.erm_, digits["test"], page_size=6)
        scrubber.strength.value = 1.0
        scrubber.wait()
        scrubber.close()

    opened_and_closed()
    widgets, threads = len(widget._instances), threading.active_count()
    for _ in range(5):
        opened_and_closed()
    assert threading.active_count() == threads
    assert len(widget._instances) == widgets


def test_a_cell_that_is_run_again_closes_the_panels_of_its_last_run(run, digits, monkeypatch):
    import IPython

    class Shell:
        def get_parent(self):
            return {"metadata": {"cellId": "a cell"}, "header": {"msg_id": self.run}}

    shell = Shell()
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    make = lambda: ClassEvidence(digits["train"], run.rounds_[0].maps, count=2)  # noqa: E731
    shell.run = "first"
    one, two = make(), make()
    assert not one.closed and not two.closed  # one run may make several
    shell.run = "second"
    three = make()
    assert one.closed and two.closed and not three.closed
    three.close()


def test_opening_moving_and_closing_every_panel_leaves_nothing_behind(tmp_path):
    from soak import grown, look, made, scrub, state

    trained, images, kinds = made()
    rows = []
    for turn in range(3):
        for panel in scrub(trained, images, tmp_path) + look(trained, images, kinds, tmp_path):
            panel._repr_html_()
            panel.close()
        del panel
        rows += [state()] if turn else []
    assert not grown(rows), rows
