"The panels without a browser: set a control, read the picture."

import time
import tracemalloc

import numpy as np
import pytest
import torch

from masktune.data import ArrayDataset, ImageDataset
from masktune.finetune import MaskTune
from masktune.launcher import Launcher
from masktune.masking import hide
from masktune.models import build_model, model_fingerprint, seed_everything
from masktune.widgets import ClassEvidence, CompareExplorer, ThresholdScrubber
from masktune.xgradcam import SaliencyMaps, compute_saliency


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
    y, x = scrubber._sheet.place(card)
    side = scrubber.tile.value
    x += place * (side + scrubber._sheet.gap)
    return scrubber.still()[y : y + side, x : x + side]


@pytest.mark.parametrize("rule, strengths", [("mean_std", (0.5, 2.0, 3.5)), ("quantile", (0.6, 0.9, 0.99)), ("fixed", (0.2, 0.5, 0.9))])
@pytest.mark.parametrize("fill", ["zero", "mean"])
def test_the_masked_tile_is_the_masked_image(scrubber, digits, rule, strengths, fill):
    scrubber.rule_name.value, scrubber.fill_name.value, scrubber.tile.value = rule, fill, 224  # 224 = 8 x 28: pixels stay whole
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
    from masktune.panels import _rgb
    from masktune.report import MASK_COLOR

    scrubber.tile.value = 224
    for card in range(len(scrubber.shown)):
        ring = (tile(scrubber, card, 2) == _rgb(MASK_COLOR)).all(-1)
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
    torch.testing.assert_close(scrubber._answers[1], expected.gather(1, said[:, None])[:, 0])
    assert torch.equal(scrubber._answers[0], expected.argmax(1))


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
    maps = SaliencyMaps(torch.rand(10_000, 7, 7).half(), torch.ones(10_000), torch.zeros(10_000, dtype=torch.int64), torch.rand(10_000), data=data.fingerprint)
    tracemalloc.start()
    started = time.process_time()
    scrubber = ThresholdScrubber(None, data, maps, page_size=24)
    assert time.process_time() - started < 2  # of the processor's time: a promise of seconds, not a benchmark
    assert data.asked == 24 and len(scrubber._images) == 24
    scrubber.next.click()
    assert data.asked == 48 and len(scrubber._images) == 24
    tracemalloc.stop()
    scrubber.close()


def test_names_from_the_data_are_escaped(run, digits):
    evil = "<img src=x onerror=alert(1)>"
    train = digits["train"]
    data = ArrayDataset(train.images, train.labels, [evil, "b"], groups=train.labels, group_names=[evil, "b"], name=evil)
    maps = compute_saliency(run.erm_, data, device="cpu")
    panels = [
        ThresholdScrubber(run.erm_, data, maps, page_size=6).wait(),
        ClassEvidence(data, maps),
        CompareExplorer(run.erm_, run.erm_, data, (maps, maps), page_size=6),
    ]
    for panel in panels:
        texts = [panel.as_text.value, getattr(panel, "counts", panel.as_text).value, getattr(panel, "table", panel.as_text).value]
        assert not any("<img" in text for text in texts), texts
        assert any("&lt;img" in text for text in texts), texts
        panel.close()


def test_a_stopped_launch_is_on_disk_and_ends_like_an_unbroken_one(run, digits, tmp_path):
    from masktune.files import load_state

    launcher = Launcher(run, digits["train"], {"test": digits["test"]}, folder=tmp_path / "run")
    launcher.launch().wait()
    whole = model_fingerprint(run.model_)
    step = launcher._step
    launcher._step = lambda s: step(s) or s.step == 5
    launcher.launch().wait()
    assert load_state(tmp_path / "run" / "round-1" / "stopped.pt")["step"] == 5 and not launcher.resume.disabled
    later = MaskTune.load(tmp_path / "run", build_model("small-cnn", 2))  # another session, from the folder alone
    resumed = Launcher(later, digits["train"], folder=tmp_path / "run")
    assert not resumed.resume.disabled and "after step 5" in repr(resumed)
    resumed.go_on().wait()
    assert model_fingerprint(later.model_) == whole
    launcher._step = step
    launcher.go_on().wait()
    assert model_fingerprint(run.model_) == whole
    assert not (tmp_path / "run" / "round-1" / "stopped.pt").exists() and (tmp_path / "run" / "round-1" / "last.safetensors").exists()
    again = MaskTune.load(tmp_path / "run", build_model("small-cnn", 2))
    assert model_fingerprint(again.model_) == whole
    launcher.close()


def test_the_launcher_takes_the_scrubbers_rule_at_the_moment_of_starting(run, digits, scrubber):
    launcher = Launcher(run, digits["train"], scrubber=scrubber)
    scrubber.rule_name.value, scrubber.fill_name.value = "fixed", "mean"
    assert "fixed(t=0.5)" in launcher.rule_shown.value
    launcher.launch().wait()
    assert (run.rule, run.fill) == ("fixed(t=0.5)", "mean")
    launcher.close()


def test_committed_notebooks_hold_still_pictures_not_dead_widgets():
    import json
    from pathlib import Path

    for path in (Path(__file__).parent.parent / "nbs").rglob("*.ipynb"):
        outputs = [output for cell in json.loads(path.read_text())["cells"] for output in cell.get("outputs", [])]
        assert not any("widget-view" in kind for output in outputs for kind in output.get("data", {})), f"{path}: run scripts/execute.py on it"
