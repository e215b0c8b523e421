"Kinds of evidence: what looks alike together, a person's word kept and obeyed, nothing else changed."

import json

import pytest
import torch
from test_diagnosis import Corner, noise

from masktune.__main__ import main
from masktune.data import ArrayDataset
from masktune.kinds import cluster_evidence, find_kinds, judged_maps, load_kinds, plot_kind, save_kinds
from masktune.masking import MaskedDataset
from masktune.models import Classifier, model_fingerprint
from masktune.saliency import compute_saliency


class TwoCorners(Corner):
    "Class 1 by red in the upper left corner, or by blue in the lower right one"

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.head.weight[1, 49 + 48] = 40.0


def data(count=120):
    "Half of class 1 has a red corner, the other half a blue one"
    images, labels = noise(count), torch.arange(count) % 2
    red, blue = torch.arange(count) % 4 == 1, torch.arange(count) % 4 == 3
    images[red, :, :4, :4] = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    images[blue, :, -4:, -4:] = torch.tensor([0, 0, 255], dtype=torch.uint8)[:, None, None]
    return ArrayDataset(images, labels, ["plain", "marked"], name="corners", split="val"), red, blue


@pytest.fixture
def model():
    return Classifier(TwoCorners()).eval()


@pytest.fixture
def found(model):
    return find_kinds(model, data()[0], device="cpu")


def of(found, place):
    return next(name for name, kind in found.kinds.items() if kind.label == "marked" and kind.where == place)


def test_two_marks_are_two_kinds(found):
    _, red, blue = data()
    left, right = found.kinds[of(found, "upper left")], found.kinds[of(found, "lower right")]
    assert left.members.tolist() == red.nonzero().flatten().tolist()
    assert right.members.tolist() == blue.nonzero().flatten().tolist()
    assert left.share == right.share == 0.5
    assert left.look > 0.8
    assert left.hidden.accuracy < 0.1 < 0.9 < left.pasted.accuracy
    assert left.fall.low > 0.5


def test_images_without_evidence_are_a_kind_that_lies_nowhere(found):
    "Empty maps were said to lie in the centre"
    empty = [kind for kind in found.kinds.values() if kind.where == "nowhere"]
    assert empty and all(kind.label == "plain" for kind in empty)  # which is answered where no corner is bright
    assert sum(kind.images for kind in found.kinds.values()) == 120


def test_the_images_of_a_kind_are_selectable(found):
    images, red, _ = data()
    part = found.select(of(found, "upper left"), images)
    assert part.images.equal(images.images[red])
    with pytest.raises(ValueError, match="were found in"):
        found.select(of(found, "upper left"), data(60)[0])


def test_positions_are_of_the_whole_data_set_when_a_part_was_looked_at(model):
    images, red, _ = data(200)
    found = find_kinds(model, images, limit=80, device="cpu")
    kind = found.kinds[of(found, "upper left")]
    assert found.images == 80
    assert red[kind.members].all()


def test_only_what_was_judged_a_shortcut_is_hidden_and_the_object_never(model, found):
    images, red, blue = data()
    maps = compute_saliency(model, images, device="cpu", progress=False)
    found.judge(of(found, "upper left"), "shortcut").judge(of(found, "lower right"), "object")
    judged = judged_maps(found, model, images, maps, device="cpu")
    hidden = MaskedDataset(images, judged.check(images, model)).masks(range(len(images)))
    before = MaskedDataset(images, maps).masks(range(len(images)))
    assert hidden[red].equal(before[red])
    assert not hidden[blue].any()
    assert not hidden[images.labels == 0].any()
    found.judge(of(found, "lower right"), "shortcut")
    both = MaskedDataset(images, judged_maps(found, model, images, maps, device="cpu")).masks(range(len(images)))
    assert both[blue].equal(before[blue])


def test_evidence_judged_the_object_is_spared_within_an_image_that_has_both(model, found):
    images, red, _ = data()
    pixels = images.images.clone()
    pixels[red, :, -4:, -4:] = torch.tensor([0, 0, 200], dtype=torch.uint8)[:, None, None]  # a weaker blue one, too
    both = ArrayDataset(pixels, images.labels, images.classes)
    maps = compute_saliency(model, both, device="cpu", progress=False)
    assert (maps.maps[red][:, -1, -1] > 0).all()
    found.judge(of(found, "upper left"), "shortcut").judge(of(found, "lower right"), "object")
    judged = judged_maps(found, model, both, maps, device="cpu")
    assert (judged.maps[red][:, -1, -1] == 0).all()
    assert not MaskedDataset(both, judged).masks(range(len(both)))[red][:, -4:, -4:].any()


def test_a_word_is_kept(found, tmp_path):
    name = of(found, "upper left")
    again = load_kinds(save_kinds(found.judge(name, "shortcut"), tmp_path / "run" / "kinds.json"))
    assert again.verdicts == {name: "shortcut"}
    assert again.judged("shortcut") == [name]
    assert str(again) == str(found)
    assert (tmp_path / "run" / "kinds.json").stat().st_size < 20_000
    assert torch.allclose(again.centres, found.centres, atol=1e-4)


def test_bad_input_is_one_sentence(model, found, tmp_path):
    images = data()[0]
    maps = compute_saliency(model, images, device="cpu", progress=False)
    with pytest.raises(ValueError, match="no kind was judged a shortcut"):
        judged_maps(found, model, images, maps)
    other = Classifier(Corner()).eval()
    others = compute_saliency(other, images, device="cpu", progress=False)
    with pytest.raises(ValueError, match="these kinds are of model"):
        judged_maps(
            load_kinds(save_kinds(found, tmp_path / "a.json")).judge("plain/1", "shortcut"), other, images, others
        )
    with pytest.raises(ValueError, match="unknown verdict"):
        found.judge(of(found, "upper left"), "good")
    with pytest.raises(ValueError, match="unknown kind"):
        found.judge("marked/9", "object")
    with pytest.raises(ValueError, match="is empty"):
        find_kinds(model, images.subset([]))
    with pytest.raises(ValueError, match="most must be"):
        find_kinds(model, images, most=0)
    (tmp_path / "kinds.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no kinds"):
        load_kinds(tmp_path / "kinds.json")


def test_groups_are_never_read_and_the_same_call_says_the_same(model, found):
    images = data()[0]
    turned = ArrayDataset(
        images.images, images.labels, images.classes, groups=torch.arange(120) % 3, group_names=["a", "b", "c"]
    )
    before = model_fingerprint(model)
    again = find_kinds(model, turned, device="cpu")
    assert model_fingerprint(model) == before
    assert [kind.to_dict() for kind in again.kinds.values()] == [kind.to_dict() for kind in found.kinds.values()]


def test_one_thing_is_one_kind():
    generator = torch.Generator().manual_seed(0)
    blob = torch.ones(40, 16) + 0.2 * torch.randn(40, 16, generator=generator)
    assert cluster_evidence(blob).unique().tolist() == [0]
    assert cluster_evidence(torch.randn(3, 4, generator=generator)).tolist() == [0, 0, 0]


def test_two_shades_of_one_mark_are_one_kind_and_two_marks_two():
    generator = torch.Generator().manual_seed(0)
    faint = 0.02 * torch.randn(60, 16, generator=generator)
    shades = faint + torch.ones(16)
    shades[30:, :4] += 0.5  # apart, and yet nearly the same direction
    assert cluster_evidence(shades).unique().tolist() == [0]
    assert cluster_evidence(shades, alike=1.0).unique().tolist() == [0, 1]
    shades[30:, :8] = faint[30:, :8]
    assert cluster_evidence(shades).unique().tolist() == [0, 1]


def test_the_sheet_shows_images_with_their_surroundings(model, found):
    figure = plot_kind(found, of(found, "upper left"), data()[0], model, count=4)
    assert len(figure.axes) == 8
    assert figure.axes[0].images[0].get_array().shape[:2] == (28, 28)
    assert figure.png()[:4] == b"\x89PNG"


def test_the_command_judges_and_what_mends_obeys(tmp_path, capsys, monkeypatch):
    run = str(tmp_path / "run")
    made = ["erm", "--out", run, "--data", "biased-digits", "--model", "small-cnn", "--epochs", "3", "--device", "cpu"]
    assert main([*made, "--finetune-lr", "0.01"]) == 0
    assert main(["judge", run, "0-4/1", "shortcut"]) == 2
    assert "no kinds of evidence" in capsys.readouterr().err
    assert main(["judge", run]) == 0
    said = capsys.readouterr().out
    assert "0-4/1" in said
    assert (tmp_path / "run" / "figures" / "kind-1.png").is_file()
    assert main(["judge", run, "0-4/1", "shortcut"]) == 0
    assert main(["judge", run, "5-9/1", "object"]) == 0
    written = json.loads((tmp_path / "run" / "kinds.json").read_text(encoding="utf-8"))
    assert written["verdicts"] == {"0-4/1": "shortcut", "5-9/1": "object"}
    capsys.readouterr()
    assert main(["judge", run, "0-4/1"]) == 0
    listed = capsys.readouterr().out.split()
    assert len(listed) == written["kinds"]["0-4/1"]["images"]
    assert main(["saliency", run]) == 0
    assert main(["finetune", run]) == 0
    assert "hidden: 0-4/1; kept: 5-9/1" in capsys.readouterr().out
    assert main(["judge", run]) == 0  # and a command that is not refused
    assert f"then masktune finetune {run} --overwrite" in capsys.readouterr().out
    assert main(["evaluate", run]) == 0 and main(["report", run]) == 0
    assert "what a person judged a shortcut alone: 0-4/1" in (tmp_path / "run" / "report.html").read_text()
    asked = []

    def mended(*_, **options):
        asked.append(options["kinds"])
        raise ValueError("far enough")

    monkeypatch.setattr("masktune.repair.repair", mended)
    assert main(["repair", run]) == 2
    assert asked[0].judged("shortcut") == ["0-4/1"] and asked[0].judged("object") == ["5-9/1"]
