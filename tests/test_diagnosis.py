"What a finished model goes by: known answers, images counted, nothing disturbed, one sentence for bad input."

import json

import pytest
import torch
from torch import nn

from masktune.__main__ import main
from masktune.data import ArrayDataset
from masktune.diagnosis import LIMITS, REMEDIES, choose_remedy, diagnose, save_diagnosis
from masktune.erm import fit
from masktune.findings import balanced_part, every
from masktune.models import Classifier, build_model, model_fingerprint


class Corner(nn.Module):
    "Answers by a bright upper left corner, or by the mean brightness of the whole image"

    def __init__(self, everywhere=False):
        super().__init__()
        self.grid = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 2, 1, bias=False), nn.ReLU())
        self.head = nn.Linear(2 * 49, 2)
        with torch.no_grad():
            self.grid[1].weight.copy_(torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])[:, :, None, None] / 2)
            self.head.weight.zero_()
            if everywhere:
                self.head.weight[1, :49] = 2.0
                self.head.bias.copy_(torch.tensor([0.0, -8.0]))
            else:
                self.head.weight[1, 0] = 40.0
                self.head.bias.copy_(torch.tensor([0.0, -8.0]))

    def forward(self, images):
        return self.head(self.grid(images).flatten(1))


class Blind(Corner):
    "Its last grid has next to nothing to do with its answers, as of many pretrained networks"

    def __init__(self):
        super().__init__()
        self.late = nn.Sequential(nn.AvgPool2d(7), nn.Conv2d(3, 2, 1), nn.ReLU())
        self.aside = nn.Linear(8, 2)
        with torch.no_grad():
            self.late[1].weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])[:, :, None, None])
            self.aside.weight.fill_(1e-3)
            self.aside.weight[1] *= -1

    def forward(self, images):
        return super().forward(images) + self.aside(self.late(images[..., 14:, 14:]).flatten(1))


def test_a_model_that_guesses_is_told_so_first():
    "A checkpoint read with other classes, sizes or normalisation than its own called everything one class"
    images = ArrayDataset(noise(), torch.arange(120) % 2, ["a", "b"])
    blind = diagnose(Classifier(Corner()), images, device="cpu")  # no corner is bright: all are called a
    assert blind.findings[0].startswith("The model is hardly better than guessing: on average over the classes 50%")
    knows = diagnose(Classifier(Corner()), stamped(), device="cpu")
    assert not any("guessing" in sentence for sentence in knows.findings)


def noise(count=120, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 90, (count, 3, 28, 28), dtype=torch.uint8, generator=generator)


def stamped(count=120):
    "A red corner on class 1"
    images, labels = noise(count), torch.arange(count) % 2
    images[labels == 1, 0, :4, :4] = 255
    images[labels == 1, 1:, :4, :4] = 0
    groups = torch.arange(count) % 3
    return ArrayDataset(images, labels, ["plain", "stamped"], groups=groups, group_names=["a", "b", "c"])


def tinted(count=120):
    "A reddish cast over all of class 1"
    images, labels = noise(count), torch.arange(count) % 2
    images[labels == 1, 0] += 120
    return ArrayDataset(images, labels, ["plain", "tinted"])


@pytest.fixture
def model():
    return Classifier(Corner()).eval()


def test_a_stamp_is_to_be_masked(model):
    found = diagnose(model, stamped())
    assert found.remedy == "mask"
    assert found.alarm
    assert found.certainty > 0.95
    marked = found.classes["stamped"]
    assert marked.plain.accuracy == 1
    assert marked.hidden.accuracy < 0.1 < 0.9 < marked.elsewhere.accuracy
    assert marked.alone.accuracy > 0.9
    assert marked.look.low > LIMITS.look
    assert "'stamped' goes by one thing" in str(found)
    assert "object itself" in " ".join(found.unknown)


def test_where_the_structure_suggests_nothing_another_layer_is_measured():
    "A sticker on photographs, EfficientNet-Lite0: `nothing` was said of a layer that did not see it"
    blind = Classifier(Blind()).eval()
    seen = diagnose(blind, stamped(), layer="late.2")
    assert seen.remedy == "nothing" and max(one.fall.mean for one in seen.classes.values()) < LIMITS.blind
    assert "hiding what the maps show costs at most" in " ".join(seen.unknown)
    found = diagnose(blind, stamped())
    assert found.remedy == "mask" and found.layer == "network.grid.2"
    assert "found by measuring" in found.findings[0] and "late" in found.findings[0]
    assert found.passes > seen.passes


def test_a_stamp_among_much_else_is_one_where_other_evidence_varies():
    "Likeness as it was measured: a sticker and a misleading background on photographs, digits without a shortcut"
    look = torch.tensor([[0.64, 0.16], [0.47, 0.19], [0.16, 0.13], [0.39, 0.56], [0.33, 0.54]])
    fall = torch.tensor([[0.35, 0.02], [0.35, 0.12], [0.32, 0.14], [0.09, 0.10], [0.02, 0.43]])
    nowhere = torch.full((5, 2), 0.03)
    assert choose_remedy(look, fall, nowhere) == ["mask", "mask", "nothing", "nothing", "nothing"]


def test_what_is_everywhere_asks_for_a_refit():
    found = diagnose(Classifier(Corner(everywhere=True)).eval(), tinted())
    assert found.remedy in ("refit", "both")
    assert "Any place of an image tells the class" in str(found)


class FromAfar(nn.Module):
    "Every place also shows what is brightest anywhere, as places do that see nearly all of an image"

    def forward(self, values):
        return values + 2 * values.amax((2, 3), keepdim=True)


def far_sighted():
    model = Corner()
    model.grid.append(FromAfar())
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([0.0, -28.0]))
    return Classifier(model).eval()


def test_a_stamp_that_every_place_shows_from_afar_is_nothing_spread():
    "ResNet-18 on images of 64 pixels: a stamp in a corner was said to be a background, too"
    found = diagnose(far_sighted(), stamped(200), layer="grid.3")
    assert found.remedy == "mask" and "from afar" in found.findings[0]
    assert "Any place of an image" not in str(found) and found.passes == 4.75 + 0.5
    assert all(one.anywhere.mean < LIMITS.anywhere for one in found.classes.values())
    both = stamped(200)
    images = both.images.clone()
    images[both.labels == 1, 2] += 150  # and a cast, which is there when the stamp is hidden
    spread = diagnose(far_sighted(), ArrayDataset(images, both.labels, both.classes), layer="grid.3")
    assert spread.remedy == "both" and "Any place of an image tells the class" in str(spread)
    assert "from afar" not in str(spread)


def test_the_model_sees_at_most_five_times_the_images(model):
    data, seen = stamped(400), []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = diagnose(model, data)
    handle.remove()
    assert sum(seen) <= 5 * 400
    assert found.passes <= 5
    assert sum(seen) <= found.passes * 400 + 40  # the search for the layer looks at single images
    seen.clear()
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    assert diagnose(model, data, limit=100).images == 100
    handle.remove()
    assert sum(seen) <= 5 * 100 + 20


def test_the_layer_may_be_chosen_by_its_evidence_and_the_passes_are_counted(model):
    data, seen = stamped(200), []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = diagnose(model, data, layer="auto")
    handle.remove()
    assert found.remedy == "mask"
    assert abs(sum(seen) / 200 - found.passes) < 0.4


def test_groups_are_never_read(model):
    data = stamped()
    other = ArrayDataset(data.images, data.labels, data.classes)
    first, second = diagnose(model, data).to_dict(), diagnose(model, other).to_dict()
    assert {k: v for k, v in first.items() if k != "dataset"} == {k: v for k, v in second.items() if k != "dataset"}


def test_the_same_call_says_the_same_and_moves_no_random_state(model):
    data, state, before = stamped(), torch.get_rng_state(), model_fingerprint(model)
    first = diagnose(model, data).to_dict()
    assert torch.get_rng_state().equal(state)
    assert model_fingerprint(model) == before
    assert diagnose(model, data).to_dict() == first


def test_the_least_confident_tenth_is_a_tenth(model):
    found = diagnose(model, stamped())
    assert [one.unsure.count for one in found.classes.values()] == [6, 6]


def test_training_images_tell_overfitting(model):
    data = stamped()
    wrong = ArrayDataset(data.images, 1 - data.labels, data.classes)
    found = diagnose(model, wrong, train=data)
    assert found.classes["plain"].train.accuracy == 1
    assert found.remedy in ("collect images", "mask")
    assert "right in training" in str(found) or "0% right" in str(found)


def test_few_images_and_absent_classes_are_named(model):
    data = stamped(24)
    few = ArrayDataset(data.images, data.labels, data.classes)
    assert "fewer than 20" in " ".join(diagnose(model, few).unknown)
    images, labels = noise(60), torch.arange(60) % 2
    head = nn.Linear(98, 3)
    network = Corner()
    network.head = head
    absent = ArrayDataset(images, labels, ["a", "b", "c"])
    assert "Anything of c" in " ".join(diagnose(Classifier(network).eval(), absent).unknown)


class ByMean(nn.Module):
    "As many scores as are asked for, each of a share of the image's columns"

    def __init__(self, count):
        super().__init__()
        self.conv, self.count = nn.Conv2d(3, 4, 3, padding=1), count

    def forward(self, images):
        return nn.functional.adaptive_avg_pool2d(self.conv(images).relu(), (1, self.count)).mean((1, 2))


def test_of_many_classes_enough_images_are_looked_at():
    "Of 30 classes with 60 images each `diagnose` looked at 17 of each, and said that there were fewer than 20"
    labels = torch.arange(30 * 24) % 30
    images = noise(len(labels))[..., :8, :8]
    found = diagnose(ByMean(30), ArrayDataset(images, labels, list(map(str, range(30)))), device="cpu")
    assert found.images == 600 and "fewer than" not in str(found)
    assert diagnose(ByMean(30), ArrayDataset(images, labels, list(map(str, range(30)))), limit=60).images == 60


def test_classes_that_have_no_image_are_numbered_and_labels_that_begin_at_1_are_told():
    images, labels = noise(90), torch.arange(90) % 3
    some = labels < 2
    pairs = torch.utils.data.TensorDataset(images[some].float() / 255, labels[some])
    found = diagnose(ByMean(3), pairs, device="cpu")
    assert "Anything of 2" in " ".join(found.unknown)
    with_train = torch.utils.data.TensorDataset(images.float() / 255, labels)
    assert "Anything of 2" in " ".join(diagnose(ByMean(3), pairs, with_train, device="cpu").unknown)
    from_one = torch.utils.data.TensorDataset(images.float() / 255, labels + 1)
    with pytest.raises(ValueError, match="no label is 0, do they count from 1"):
        diagnose(ByMean(3), from_one, device="cpu")


def test_where_most_classes_look_the_same_it_may_be_the_objects():
    "Ten classes of digits without a shortcut: eight were said to go by one thing, and nothing of digits"
    labels = torch.arange(200) % 4
    images = noise(200)
    for label in range(4):  # each class has a thing of its own, always at one place
        images[labels == label, label % 3, 6 * label : 6 * label + 6, 6 * label : 6 * label + 6] = 255
    data = ArrayDataset(images, labels, ["a", "b", "c", "d"])
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Conv2d(3, 12, 5, padding=2), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten()))
    model.network.append(nn.Linear(12 * 49, 4))
    fit(model, data, epochs=6, lr=0.02, batch_size=20, seed=0, device="cpu", progress=False)
    found = diagnose(model.eval(), data, device="cpu")
    marks = sum("goes by one thing" in sentence for sentence in found.findings)
    assert (marks > 2) == any("may be the objects themselves" in sentence for sentence in found.findings)
    assert marks > 2, str(found)


def test_a_part_has_of_every_class_alike():
    data = ArrayDataset(noise(100), [0] * 90 + [1] * 10, ["many", "few"])
    assert balanced_part(data, 40).labels.bincount().tolist() == [30, 10]
    assert balanced_part(data, 16).labels.bincount().tolist() == [8, 8]
    assert balanced_part(data, 500).labels.equal(data.labels)


def test_a_part_of_the_images_holds_every_class_in_whatever_order_they_come():
    for labels in (torch.arange(40) % 2, torch.arange(40) // 20):
        assert labels[every(2, labels)].bincount().tolist() == [10, 10]
        assert labels[every(4, labels)].bincount().tolist() == [5, 5]


def test_the_rule_reads_three_figures():
    high, low = torch.tensor([0.95, 0.1]), torch.tensor([0.2, 0.1])
    costs, nothing = torch.tensor([0.3, 0.0]), torch.zeros(2)
    assert choose_remedy(high[None], costs[None], nothing[None]) == ["mask"]
    assert choose_remedy(high[None], costs[None], torch.full((1, 2), 0.4)) == ["both"]
    assert choose_remedy(low[None], costs[None], torch.full((1, 2), 0.4)) == ["refit"]
    assert choose_remedy(low[None], costs[None], nothing[None]) == ["nothing"]
    assert choose_remedy(low[None], costs[None], nothing[None], weak=True) == ["collect images"]
    assert choose_remedy(high[None], nothing[None], nothing[None]) == ["nothing"]
    assert all(text[0].islower() for text in REMEDIES.values())


def test_bad_input_is_one_sentence(model):
    data = stamped()
    with pytest.raises(ValueError, match="is empty: there is nothing to diagnose"):
        diagnose(model, data.subset([]))
    with pytest.raises(ValueError, match="at least 2 classes"):
        diagnose(model, data.subset([0, 2, 4]))
    with pytest.raises(ValueError, match="unknown fill"):
        diagnose(model, data, fill="grey")
    with pytest.raises(ValueError, match="at least 8 images"):
        diagnose(model, data, limit=3)
    with pytest.raises(ValueError, match=r"2 scores .* 3 classes"):
        diagnose(model, ArrayDataset(data.images, data.labels, ["a", "b", "c"]))
    with pytest.raises(ValueError, match="open both alike"):
        diagnose(model, data, train=ArrayDataset(data.images, data.labels, ["a", "b"]))


def test_it_is_written_as_json_and_as_a_page(model, tmp_path):
    found = diagnose(model, stamped())
    written = json.loads(save_diagnosis(found, tmp_path / "deep" / "diagnosis.json").read_text(encoding="utf-8"))
    assert written["remedy"] == "mask"
    assert written["classes"]["stamped"]["look"]["mean"] > LIMITS.look
    assert written["classes"]["stamped"]["plain"]["interval"][0] > 0.9
    page = save_diagnosis(found, tmp_path / "diagnosis.html").read_text(encoding="utf-8")
    assert "goes by one thing" in page
    assert "data:image/png;base64," in page
    assert "<table" in found._repr_html_()
    with pytest.raises(ValueError, match=r"\.json or .html"):
        save_diagnosis(found, tmp_path / "diagnosis.md")


def test_the_command_diagnoses_a_finished_checkpoint(pets, tmp_path, capsys):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    network = build_model("small-cnn", 2, image_size=32)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    given = ["--model", "small-cnn", "--weights", str(tmp_path / "mine.safetensors"), "--data", "folder"]
    given += ["--root", str(pets), "--option", "size=32", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(["diagnose", *given]) == 0
    said = capsys.readouterr().out
    assert "Try: " in said
    assert (tmp_path / "out" / "diagnosis.html").is_file()
    found = json.loads((tmp_path / "out" / "diagnosis.json").read_text(encoding="utf-8"))
    assert found["remedy"] in REMEDIES
    assert found["images"] == 40 and "all 40 images" in said  # it asked about a random 15 % of them, and told nobody
    assert main(["diagnose", *given, "--split", "val"]) == 0  # as a training on this folder would split it
    assert json.loads((tmp_path / "out" / "diagnosis.json").read_text(encoding="utf-8"))["images"] == 6
    assert main(["diagnose", *given, "--train"]) == 2 and "trained on" in capsys.readouterr().err
    for label in ("cat", "dog"):  # what was held out, alone
        (pets / "val").mkdir(exist_ok=True)
        (pets / label).rename(pets / "val" / label)
    assert main(["diagnose", *given]) == 0 and "all 40 images" in capsys.readouterr().out
    for label in ("cat", "dog"):
        (pets / "train" / label).mkdir(parents=True)
        for at in range(10):
            (pets / "val" / label / f"{at}.jpg").rename(pets / "train" / label / f"{at}.jpg")
    assert main(["diagnose", *given, "--train"]) == 0 and "all 40 images" not in capsys.readouterr().out


def test_what_is_held_out_of_a_table_that_names_splits(pets):
    from masktune.folders import open_csv

    lines = [f"{label}/{i}.jpg,{label}" for label in ("cat", "dog") for i in range(20)]
    listing = pets / "listing.csv"
    for named, count in (("", 40), ("val", 40), ("train test", 20), ("train val test", 13), ("val test", 20)):
        splits = named.split()
        rows = [f"{line},{splits[at % len(splits)]}" if splits else line for at, line in enumerate(lines)]
        listing.write_text("path,label" + ",split" * bool(splits) + "\n" + "\n".join(rows), encoding="utf-8")
        assert len(open_csv("held-out", listing, size=32)) == count, named


def test_the_command_says_what_is_missing(tmp_path, capsys):
    assert main(["diagnose"]) == 2
    assert "--weights" in capsys.readouterr().err
    assert main(["diagnose", "--data", "folder", "--model", "small-cnn"]) == 2
    assert "--weights" in capsys.readouterr().err
    assert main(["diagnose", str(tmp_path / "nowhere")]) == 2
    assert "no run folder" in capsys.readouterr().err
