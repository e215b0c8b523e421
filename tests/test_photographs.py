"The benchmark on photographs: what counts as one, the penalty, and a job that is stopped and goes on."

import json

import numpy as np
import photo_tutorial
import photographs
import pytest
import torch
from photo_material import flatness, is_photograph, stillness
from photo_penalty import charged, penalised
from PIL import Image, ImageDraw
from sklearn.datasets import load_sample_image
from torch import nn

from masktune.data import ArrayDataset
from masktune.masking import Threshold
from masktune.models import as_classifier


def drawing() -> Image.Image:
    image = Image.new("RGBA", (96, 96), (0, 0, 0, 0))
    ImageDraw.Draw(image).ellipse((8, 8, 88, 88), fill=(230, 40, 40, 255), outline=(0, 0, 0, 255), width=3)
    return image


def photograph() -> Image.Image:
    image = Image.fromarray(load_sample_image("china.jpg")[150:246, 150:246]).convert("RGBA")
    image.putalpha(drawing().getchannel("A"))
    return image


def test_a_drawing_is_told_from_a_photograph():
    assert is_photograph(photograph()) and not is_photograph(drawing())
    assert flatness(photograph()) < 0.1 < 0.8 < flatness(drawing())
    few = photograph().convert("RGB").quantize(16).convert("RGBA")  # a poster: fine in structure, poor in colours
    assert not is_photograph(few)
    smooth = Image.fromarray(np.tile(np.arange(96, dtype=np.uint8)[:, None, None], (1, 96, 3)))
    assert stillness(smooth) > 0.9 > 0.35 > stillness(photograph().convert("RGB"))


def marked(count: int = 64, seed: int = 0) -> tuple[ArrayDataset, torch.Tensor]:
    "Noise with a bright patch in a corner of the first class; a weak stripe tells the classes apart, too"
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 120, (count, 3, 24, 24), generator=generator).to(torch.uint8)
    labels, masks = torch.arange(count) * 2 // count, torch.zeros(count, 24, 24, dtype=torch.bool)
    images[labels == 0, 0, 1:7, 1:7] = 250
    masks[labels == 0, 1:7, 1:7] = True
    images[labels == 1, 2, 12:20] += 40
    groups = {"groups": labels, "group_names": ["marked with", "striped without"]}
    return ArrayDataset(images, labels, ["marked", "striped"], name="marks", split="train", **groups), masks


def network() -> nn.Module:
    torch.manual_seed(0)
    body = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))


def test_all_or_nothing_of_the_evidence_is_charged():
    value = torch.rand(2, 4, 6, 6, requires_grad=True)
    score = (value * torch.rand(4, 1, 1)).sum((1, 2, 3))
    every = torch.ones(2, 24, 24, dtype=torch.bool)
    assert charged(value, score, every).item() == pytest.approx(1, abs=1e-5)
    assert charged(value, score, ~every).item() == 0
    left = every.clone()
    left[:, :, 12:] = False
    right = charged(value, score, ~left).item()
    assert charged(value, score, left).item() + right == pytest.approx(1, abs=1e-5) and 0 < right < 1


def test_the_penalty_moves_evidence_away_and_leaves_the_model_given_alone():
    data, masks = marked()
    model = as_classifier(network(), data).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    options = {"lr": 0.05, "epochs": 6, "batch_size": 16}
    plain = penalised(model, data, masks, "network.3", strength=0.0, **options)
    charged_for = penalised(model, data, masks, "network.3", strength=20.0, **options)

    def under(found):
        kept = []
        handle = found.get_submodule("network.3").register_forward_hook(lambda m, a, out: kept.append(out))
        scores = found(data.images[data.labels == 0])
        handle.remove()
        return charged(kept[0], scores[:, 0] - scores[:, 1], masks[data.labels == 0]).item()

    assert under(charged_for) < 0.6 * under(plain)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


class SmallJob(photographs.Job):
    "A job on made images, for a network that trains in a second"

    def images(self, split="train", correlated=True):
        return marked(seed=["train", "val", "test"].index(split))[0]

    def truth(self, split):
        return marked()[1]

    def untrained(self):
        return as_classifier(network(), self.images())


def test_a_job_that_was_stopped_ends_as_one_that_was_not(tmp_path, monkeypatch):
    monkeypatch.setitem(photographs.NETWORKS, "made", (3, 0.05))
    whole = SmallJob(tmp_path / "whole", "choose", "sticker-98", "made", 1, seconds=1e9).plain
    now = [0.0]
    monkeypatch.setattr(photographs.time, "monotonic", lambda: now.append(now[-1] + 1) or now[-1])
    with pytest.raises(photographs.Stop):  # after an epoch
        _ = SmallJob(tmp_path / "cut", "choose", "sticker-98", "made", 1, seconds=1.5).plain
    assert [path.name for path in (tmp_path / "cut").rglob("*.pt")] == ["erm-1.pt"]
    again = SmallJob(tmp_path / "cut", "choose", "sticker-98", "made", 1, seconds=1e9).plain
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in whole.state_dict().items())


def test_rows_are_kept_and_not_measured_again(tmp_path):
    job = SmallJob(tmp_path, "choose", "sticker-98", "made", 1, seconds=1e9)
    job.write("erm", {"worst": 0.03, "average": 0.5, "val": 0.98})
    again = SmallJob(tmp_path, "choose", "sticker-98", "made", 1, seconds=1e9)
    assert photographs.run_job(again, ["erm"]) == {"erm": {"worst": 0.03, "average": 0.5, "val": 0.98}}
    shown = photographs.table([{"set": "sticker-98", "network": "lite0", "rows": again.rows}])
    assert "| ERM | 3.0 | 3.0 | 50.0 |  |" in shown
    assert json.loads((job.folder / "rows.json").read_text()) == again.rows


def test_every_row_is_measured_and_masks_of_the_truth_cover_it(tmp_path, monkeypatch):
    monkeypatch.setitem(photographs.NETWORKS, "made", (2, 0.05))
    job = SmallJob(tmp_path, "choose", "sticker-98", "made", 1, seconds=1e9, quick=True)
    before = {name: value.clone() for name, value in job.plain.state_dict().items()}
    rows = photographs.run_job(job, list(photographs.ROWS))
    assert set(photographs.ROWS) | {"evidence"} == set(rows)
    assert all(0 <= row["worst"] <= row["average"] <= 1 for name, row in rows.items() if name != "evidence")
    assert all(torch.equal(value, before[name]) for name, value in job.plain.state_dict().items())
    assert job.coverage(job.given(), Threshold("fixed", 0.5))["coverage"] == 1
    assert {"coverage", "area", "layer"} <= set(rows["structural"]) and {"coverage", "area"} <= set(rows["masktune"])


def test_the_chapter_is_measured_by_its_own_cells():
    "One line sets the seed, and nothing is drawn where it is measured"
    code = photo_tutorial.cells()
    assert sum(photo_tutorial.SEED in source for source in code) == 1
    assert any("repair(" in source for source in code) and any("finetune(black" in source for source in code)
    assert not any(word in source for source in code for word in photo_tutorial.DRAWS)
    assert photo_tutorial.without_drawing("a = 1\nplt.show()\nb = 2") == "a = 1\n"
