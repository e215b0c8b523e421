"""Linear probes of a model's answers: what they tell, what their maps cover, and what they refuse."""

import copy
import itertools
import json

import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.models import VisionTransformer

from masktune import findings, steps
from masktune.cli import main
from masktune.counterfactuals import TransplantBatch
from masktune.data import ArrayDataset
from masktune.diagnosis import LIMITS, REMEDIES, diagnose, stamped
from masktune.erm import fit
from masktune.files import save_weights
from masktune.findings import (
    LEAST_PROBED,
    appearance,
    find_in_classes,
    grown,
    likeness_by_class,
    repeated_part,
)
from masktune.finetune import MaskTune
from masktune.layers import find_target_layer, layer_values, named_layer
from masktune.masking import MaskBatch, Threshold
from masktune.models import Classifier
from masktune.probes import LEAST_CELLS, LONGEST, Probes, fit_probe, fit_probes, probe_maps
from masktune.repair import load_repaired, repair
from masktune.runs import load_run, open_run, save_run
from masktune.saliency import compute_saliency
from masktune.similarity import Look, features_under, look, same_look
from masktune.sources import make_source

SIDE, MARK = 32, (255, 220, 0)


def scenes(count, seed, kind, share=0.98):
    "A disc or a square, at any place, on noise; a mark on `share` of the discs and on the rest of the squares"
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(40, 130, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    marked = (torch.rand(count, generator=generator) < share) == (labels == 0)
    where = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    rows, columns = torch.arange(SIDE)[:, None], torch.arange(SIDE)
    for i in range(count):
        y, x = torch.randint(7, SIDE - 7, (2,), generator=generator).tolist()
        across = (rows - y).abs() + 0 * columns, (columns - x).abs() + 0 * rows
        shape = across[0] ** 2 + across[1] ** 2 < 36 if labels[i] == 0 else torch.maximum(*across) < 6
        images[i, :, shape] += 60
        if marked[i]:
            if kind == "frame":
                where[i] = (rows < 3) | (rows >= SIDE - 3) | (columns < 3) | (columns >= SIDE - 3)
            else:
                top, left = torch.randint(0, SIDE - 5, (2,), generator=generator).tolist()
                where[i, top : top + 5, left : left + 5] = True
            images[i, :, where[i]] = torch.tensor(MARK, dtype=torch.uint8)[:, None]
    groups = 2 * marked.long() + labels
    names = [f"{name}, {how}" for how in ("without", "with") for name in ("disc", "square")]
    return ArrayDataset(images, labels, ["disc", "square"], groups=groups, group_names=names, name=kind), where


class Deep(nn.Module):
    "Four grids, the last of them a single place with many channels, as of pretrained networks on small images"

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        sizes = (3, 16, 24, 32)
        pairs = itertools.pairwise(sizes)
        stages = [nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in pairs]
        self.stages = nn.Sequential(*stages, nn.Sequential(nn.Conv2d(32, 160, 2, 2), nn.ReLU()))
        self.head = nn.Linear(160, 2)

    def forward(self, images):
        return self.head(self.stages(images).mean((2, 3)))


@pytest.fixture(scope="module", params=["sticker", "frame"])
def trained(request):
    train, _ = scenes(400, 0, request.param)
    model = Classifier(Deep(), train.mean, train.std)
    fit(model, train, epochs=4, lr=0.02, batch_size=20, seed=0, device="cpu", progress=False)
    return model.eval(), *scenes(160, 1, request.param)


def test_probes_cover_the_mark_and_little_else(trained):
    "One rule for a small mark and for one of a third of the image; the paper's map of the last layer sees neither"
    model, val, where = trained
    marked = where.flatten(1).any(1)
    maps = compute_saliency(model, val, source="probe", device="cpu", progress=False)
    masks = Threshold("otsu")(maps.maps.float(), (SIDE, SIDE))[marked]
    true = where[marked]
    assert (masks & true).sum() / true.sum() > 0.75
    assert masks.float().mean() < 3 * true.float().mean()
    paper = compute_saliency(model, val, device="cpu", progress=False)
    theirs = Threshold("mean_std", 2.0)(paper.maps.float(), (SIDE, SIDE))[marked]
    assert (theirs & true).sum() / true.sum() < 0.5


def test_labels_and_groups_are_not_read(trained):
    model, val, _ = trained
    other = ArrayDataset(val.images, 1 - val.labels, val.classes, name=val.name)
    first, second = (fit_probes(model, data, device="cpu") for data in (val, other))
    assert first.told == second.told
    assert all(torch.equal(a, b) for a, b in zip(first.weights, second.weights, strict=True))


def test_layers_are_those_whose_grid_says_where(trained):
    model, val, _ = trained
    probes = fit_probes(model, val, device="cpu")
    assert [name.split(".")[-2] for name in probes.layers] == ["1", "0"]  # of 8 and 16 cells; 4 and 2 are too few
    assert min(8, 16) >= LEAST_CELLS > 4
    named = fit_probes(model, val, "network.stages.2.2", device="cpu")
    assert named.layers[0] == "network.stages.2.2" and len(named.layers) == 3
    maps = compute_saliency(model, val, "network.stages.2.2", "probe", device="cpu", progress=False)
    assert (maps.layer, maps.source, maps.maps.shape[1:]) == ("network.stages.2.2", "probe", (16, 16))
    large = torch.randint(0, 255, (8, 3, 160, 96), dtype=torch.uint8)
    wide = ArrayDataset(large, torch.arange(8) % 2, val.classes)
    assert max(compute_saliency(model, wide, source="probe", device="cpu", progress=False).maps.shape[1:]) == LONGEST


def test_answers_that_are_all_alike_give_empty_maps_and_are_told_of(trained, caplog):
    _, val, _ = trained
    always = Deep()
    nn.init.zeros_(always.head.weight)
    maps = compute_saliency(Classifier(always), val, source="xgradcam", layer="network.stages.1.2", device="cpu")
    assert not maps.scale.any()
    maps = compute_saliency(Classifier(always), val, "network.stages.1.2", "probe", device="cpu", progress=False)
    assert not maps.scale.any() and "are empty" in caplog.text


def test_one_image_and_one_grid_are_enough(caplog):
    seed = torch.manual_seed(0)
    images = torch.randint(0, 255, (1, 3, 28, 28), dtype=torch.uint8, generator=seed)
    one = ArrayDataset(images, torch.zeros(1, dtype=torch.int64), ["a", "b"])
    vit = VisionTransformer(
        image_size=28, patch_size=4, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=2
    )
    probes = fit_probes(Classifier(vit), one, device="cpu")
    assert len(probes.layers) == 1 and probes.weights[0].isfinite().all()
    assert probes.told == [0.0] and "their maps say little" in caplog.text


def test_few_images_and_answers_that_no_layer_tells_are_told_of(trained, caplog):
    "A report's eight examples alone gave maps that cover half of a frame, without a word"
    model, val, _ = trained
    fit_probes(model, val, device="cpu")
    assert "say little" not in caplog.text
    compute_saliency(model, val.subset(range(8)), source="probe", device="cpu", progress=False)
    assert "fitted to 8 images" in caplog.text and "Fit them to more images" in caplog.text


def test_images_whose_features_are_not_finite_are_named(trained):
    "The solver said that it did not converge"
    _, val, _ = trained

    class Fragile(Deep):
        def forward(self, images):
            bright = images.amax((1, 2, 3), keepdim=True) > 0
            return super().forward(torch.where(bright, images, images * torch.inf))

    dark = ArrayDataset(torch.cat([val.images[:9], 0 * val.images[:1]]), val.labels[:10], val.classes)
    with pytest.raises(ValueError, match="is not finite: its weights, or images"):
        fit_probes(Classifier(Fragile(), (0, 0, 0), (1, 1, 1)), dark, device="cpu")


def test_a_layer_that_hardly_speaks_for_a_class_does_not_drown_the_others():
    "It says 'against' at 63 of 64 places and next to nothing at the last, which was all that a mask then hid"
    telling, against = torch.full((1, 1, 8, 8), 0.05), torch.full((1, 1, 8, 8), -1.0)
    telling[..., 2:5, 2:5], against[..., 7, 7] = 1.0, 0.01
    probes = Probes(["late", "early"], [torch.ones(1, 1)] * 2, [0.9, 0.8])
    mask = Threshold("otsu")(probe_maps([telling, against], probes, torch.tensor([0])), (8, 8))[0]
    assert mask[2:5, 2:5].all() and mask.sum() == 9


def test_half_precision_does_not_lose_small_weights(trained):
    model, val, _ = trained
    probes = fit_probes(model, val, device="cpu")
    small = Probes(probes.layers, [1e-6 * weights for weights in probes.weights], probes.told)
    layers = [named_layer(model, name, val.images[:1]) for name in probes.layers]
    values, scores = layer_values(lambda: model(val.images[:8]), layers)
    whole = probe_maps(values, probes, scores.argmax(1))
    with torch.autocast("cpu", torch.float16):
        again = probe_maps(values, small, scores.argmax(1))
    assert torch.allclose(whole, again, rtol=1e-3, atol=1e-4)


def test_a_probe_tells_what_images_left_out_would_show():
    "The closed form against leaving each image out in turn, at the strength it chose"
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(24, 6, generator=generator).double()
    answers = (features[:, :2] + 0.5 * torch.randn(24, 2, generator=generator)).sigmoid()
    weights, told = fit_probe(features, answers)
    found = []
    for strength in (1e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0, 10.0):
        x = (features - features.mean(0)) / features.std(0, correction=0)
        missed = torch.zeros_like(answers)
        for i in range(24):
            rest = torch.arange(24) != i
            # the mean is left out, too; the penalty stays that of all images
            a, b = x[rest] - x[rest].mean(0), answers[rest] - answers[rest].mean(0)
            w = torch.linalg.solve(a.T @ a + strength * 24 * torch.eye(6).double(), a.T @ b)
            missed[i] = answers[i] - answers[rest].mean(0) - (x[i] - x[rest].mean(0)) @ w
        found.append(1 - float(missed.square().sum() / (answers - answers.mean(0)).square().sum()))
    assert told == pytest.approx(max(s for s in found if abs(s - told) < 1e-3), abs=1e-4)
    assert told >= 0.9 * max(found) - 1e-4 and weights.shape == (2, 6)


def as_it_comes():
    "A layer that gives each channel of an image as it comes"
    layer = nn.Conv2d(3, 3, 1, bias=False)
    layer.weight.data = torch.eye(3)[:, :, None, None]
    return layer


def test_several_labels_have_probes_of_their_own():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (120, 3, 16, 16), dtype=torch.uint8, generator=generator)
    labels = (torch.rand(120, 2, generator=generator) < 0.5).long()
    images[labels[:, 0] == 1, 0, :4, :4] = 255
    images[labels[:, 1] == 1, 2, -4:, -4:] = 255
    data = ArrayDataset(images, labels, ["red", "blue"])

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = as_it_comes()

        def forward(self, images):
            return 60 * self.conv(images).relu().mean((2, 3))[:, [0, 2]] - 9

    model = Classifier(Reads(), (0, 0, 0), (1, 1, 1))
    maps = compute_saliency(model, data, source="probe", device="cpu", progress=False).maps
    both = (labels == 1).all(1)
    red, blue = maps[both, 0].float(), maps[both, 1].float()
    assert red[:, :4, :4].mean() > 5 * red[:, -4:, -4:].mean()
    assert blue[:, -4:, -4:].mean() > 5 * blue[:, :4, :4].mean()


def test_what_cannot_be_fitted_is_refused_before_any_work(trained):
    model, val, _ = trained
    settings = {"epochs": 0, "finetune_lr": 0.01, "device": "cpu"}
    with pytest.raises(ValueError, match="leave out on_device"):
        MaskTune(model, source="probe", on_device=True, **settings)
    for batch in (MaskBatch, TransplantBatch):
        with pytest.raises(ValueError, match="a batch is not all of them"):
            batch(model, source="probe")
    with pytest.raises(ValueError, match="fitted to images"):
        make_source("probe", model, None)
    with pytest.raises(ValueError, match="at least 2 images"):
        fit_probes(model, val, limit=1)
    with pytest.raises(ValueError, match="no layer with a spatial grid"):
        fit_probes(Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 2))), val)


def test_a_run_by_probes_is_kept_and_goes_on(trained, tmp_path):
    model, val, _ = trained
    run = MaskTune(model, epochs=0, finetune_lr=0.01, source="probe", rule="otsu", device="cpu", progress=False)
    run.fit(val)
    assert run.rounds_[0].maps.source == "probe"
    save_run(run, tmp_path / "run")
    again = load_run(tmp_path / "run", Classifier(Deep()))
    assert again.source == "probe" and torch.equal(again.rounds_[0].maps.maps, run.rounds_[0].maps.maps)


class Blind(nn.Module):
    "Its last grid, of the middle alone, has next to nothing to do with its answers: as of pretrained networks"

    def __init__(self):
        super().__init__()
        self.first = Deep()
        self.late = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(3, 128, 1), nn.ReLU())
        self.aside = nn.Linear(4 * 128, 2)
        self.aside.weight.data *= 1e-4

    def forward(self, images):
        return self.first(images) + self.aside(self.late(images[..., 12:20, 12:20]).flatten(1))


@pytest.mark.parametrize("kind", ["sticker", "frame"])
def test_diagnose_names_a_mark_that_the_last_layer_does_not_show(kind):
    val, _ = scenes(160, 1, kind)
    train = scenes(400, 0, kind)[0]
    model = Classifier(Blind(), train.mean, train.std)
    fit(model, train, epochs=4, lr=0.02, batch_size=20, seed=0, device="cpu", progress=False)
    found = diagnose(model.eval(), val)
    assert "linear probes" in found.layer and found.rule == "otsu()", found
    assert found.remedy in ("mask", "both") and "Class 'disc' goes by one thing" in str(found)
    assert found.classes["disc"].look.mean > max(LEAST_PROBED, found.classes["square"].look.mean)
    unread = diagnose(model, val, limits=LIMITS._replace(pasted=1.1))  # as if pasting it turned nobody
    assert unread.remedy not in ("mask", "both") and "little shows that the answers go by it" in str(unread)
    assert "same thing in every image" not in str(unread)
    (train, _), (val, _) = scenes(400, 3, kind, 0.5), scenes(160, 2, kind, 0.5)
    clean = Classifier(Blind(), train.mean, train.std)
    fit(clean, train, epochs=6, lr=0.02, batch_size=20, seed=0, device="cpu", progress=False)
    assert "goes by one thing" not in str(diagnose(clean.eval(), val))


def test_diagnose_asks_probes_where_a_layer_shows_something_but_no_mark(trained):
    "The last layer's maps cost something to hide, so that nobody looked further; a frame they show"
    model, val, _ = trained
    first = diagnose(model, val, layer=model_layer(model))
    assert max(one.fall.mean for one in first.classes.values()) > LIMITS.blind
    found = diagnose(model, val)
    assert "Class 'disc' goes by one thing" in str(found)
    if val.name == "frame":  # of which nobody hides all
        assert (first.remedy, found.remedy, found.layer, found.passes) == ("both", "both", first.layer, first.passes)
        return
    assert first.remedy == "refit" and "Any place of an image tells the class" in str(first)
    assert found.remedy == "mask" and "Any place of an image tells the class" not in str(found)
    assert "probes see one" in found.findings[0] and "show the evidence from afar" in found.findings[1]
    assert found.rule == "otsu()" and found.passes == 2 * first.passes + 2.5 + 0.75


@pytest.mark.parametrize(
    ("never", "passes", "said"),
    [
        ({"look": 1.1, "alike": 1.1}, 6.75, "at most"),
        ({"fall": 1.1, "strong": 1.1, "pasted": 1.1}, 12.0, "little shows that the answers go by it"),
    ],
)
def test_what_a_first_look_says_stays_where_probes_see_no_mark(trained, never, passes, said):
    "Nothing is so much alike; or it is, and pasted elsewhere it turns too little"
    model, val, _ = trained
    limits = LIMITS._replace(**never)
    first, found = (diagnose(model, val, layer=layer, limits=limits) for layer in (model_layer(model), None))
    assert first.remedy not in ("mask", "both")
    assert (found.remedy, found.layer, found.findings[1:]) == (first.remedy, first.layer, first.findings)
    assert said in found.findings[0] and found.passes == passes


def test_of_few_images_probes_are_not_asked(trained):
    model, val, _ = trained
    for data, limits in ((val.subset(range(40)), LIMITS), (val, LIMITS._replace(few=100))):
        limits = limits._replace(look=1.1, alike=1.1)
        assert diagnose(model, data, limits=limits).passes == 4.75


def test_training_images_are_seen_once_though_a_model_is_looked_at_twice(trained):
    model, val, _ = trained
    seen = []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = diagnose(model, val, train=val)
    handle.remove()
    assert found.classes["disc"].train.accuracy > 0.9
    together = sum(count for count in seen if count > 1)  # where layers are looked up, one image is
    assert abs(together / len(val) - found.passes - 1) < 0.03 and len(seen) < 100


def model_layer(model):
    "The layer that the structure suggests, named: nobody looks further"
    return find_target_layer(model, torch.zeros(1, 3, SIDE, SIDE))


def test_evidence_is_compared_where_probes_say_most():
    "What they mask is half beside a line of letters: a mark within as much of something else, another in every image"
    count, cells = 40, 8
    generator = torch.Generator().manual_seed(0)
    values = torch.rand(count, 3, cells, cells, generator=generator) / 10
    values[:, 1:, 2:6, 2:6] = torch.rand(count, 2, 1, 1, generator=generator)  # beside the mark, as the image has it
    values[:, 0, 2:6, 2:6] = 0.5
    values[:, :, 3:5, 3:5] = torch.tensor([1.0, 1.0, 0.0])[:, None, None]  # the mark, the same in every image

    class Shown(nn.Module):
        def __init__(self):
            super().__init__()
            self.grid = as_it_comes()

        def forward(self, images):
            score = self.grid(images)[:, 0].mean((1, 2))
            return torch.stack([score, -score], 1)

    data = ArrayDataset((255 * values).to(torch.uint8), torch.arange(count) % 2, ["a", "b"])
    probes = Probes(["network.grid"], [torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])], [1.0])
    model = Classifier(Shown(), (0.0,) * 3, (1.0,) * 3).eval()
    seen = look(model, data.images, probes)
    masks = Threshold("otsu")(seen.maps, (cells, cells))
    assert masks[:, 2:6, 2:6].all() and masks.float().mean() == 0.25  # four times the mark
    alike, _ = likeness_by_class(model, data, probes)
    masked = same_look(features_under(seen.values, masks.float())).mean()
    assert min(alike.values()) > 0.99 and masked < 0.9


def test_probes_say_what_they_are():
    probes = Probes(["layer1"], [torch.zeros(2, 3)], [0.5])
    assert repr(probes) == "Probes(layers=['layer1'], told=[0.5])"


class Colours(nn.Module):
    "Sees red, green and yellow at two grids, and answers by red and green; by how much yellow, is to be said"

    def __init__(self, yellow):
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 64, 1), nn.Conv2d(64, 128, 1)
        self.head = nn.Linear(128, 2)
        with torch.no_grad():
            for conv in (self.early, self.late):
                conv.weight.zero_(), conv.bias.zero_()
            kinds = torch.tensor([[1.0, -1, 0], [-1, 1, 0], [1, 1, -2]])
            self.early.weight[:] = kinds.repeat(22, 1)[:64, :, None, None]
            self.early.bias[:] = torch.tensor([-0.3, -0.3, -1.2]).repeat(22)[:64]
            self.late.weight[torch.arange(128), torch.arange(128) % 3] = 1.0
            said = torch.tensor([1.0, -1.0, yellow]).repeat(43)[:128]
            self.head.weight[:], self.head.bias[:] = 4 * torch.stack([said, -said]), 0.0

    def forward(self, images):
        early = nn.functional.avg_pool2d(self.early(images).relu(), 2)
        return self.head(nn.functional.avg_pool2d(self.late(early).relu(), 2).mean((2, 3)))


def coloured(count, seed):
    "Red or green blots, each another one, and a yellow square on nearly all that are red"
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    images = torch.randint(0, 40, (count, 3, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    marked = (torch.rand(count, generator=generator) < 0.97) == (labels == 0)
    for i in range(count):
        y, x, high, wide = torch.randint(4, 14, (4,), generator=generator).tolist()
        images[i, labels[i], y : y + high, x : x + wide] = 210
        if marked[i]:
            images[i, :, 24:30, 2:8] = torch.tensor(MARK, dtype=torch.uint8)[:, None, None]
    return ArrayDataset(images, labels, ["red", "green"], name="blots", mean=(0, 0, 0), std=(1, 1, 1))


@pytest.mark.parametrize("yellow", [0.0, 6.0])
def test_a_mark_is_one_only_where_an_answer_depends_on_it(yellow):
    "Probes see whatever goes with the answers; a mended model still answers as the mark does, and no longer reads it"
    data = coloured(200, 0)
    model = Classifier(Colours(yellow), data.mean, data.std).eval()
    found = find_in_classes(model, data, fit_probes(model, data, device="cpu"), Threshold("otsu"))
    red = found.classes[0]
    assert red.plain.accuracy == 1 and red.look.mean > 0.9 and found.passes == 5.25
    assert (red.pasted.mean == 0) if yellow == 0 else (red.pasted.mean > 0.9)
    at = LIMITS._replace(look=LEAST_PROBED, alike=LEAST_PROBED)
    figures = [torch.tensor([getattr(red, name).mean]) for name in ("look", "fall", "shared", "pasted")]
    assert stamped(*figures[:2], at, *figures[2:]).tolist() == [yellow > 0]


def test_growing_takes_what_hangs_together_with_where_it_begins():
    through = torch.zeros(2, 6, 6, dtype=torch.bool)
    through[0, 0, :3], through[0, 1, 3], through[0, 4:, :2], through[1] = True, True, True, True
    start = torch.zeros_like(through)
    start[0, 0, 0], start[0, 3, 5] = True, True  # the second lies in nothing
    taken = grown(start, through)
    assert taken[0].nonzero().tolist() == [[0, 0], [0, 1], [0, 2], [1, 3]]  # over a corner, too
    assert not taken[1].any()


def marks_beside_objects(count: int, side: int = 10) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    "Maps, values, labels: in one class a mark of 2 x 4 places of which the map shows an edge, in both an object"
    generator = torch.Generator().manual_seed(0)
    maps = torch.linspace(0.01, 0.1, side * side).view(side, side).repeat(count, 1, 1)
    values = torch.rand(count, 9, side, side, generator=generator) * 0.1
    labels = torch.arange(count) % 2
    for at in range(count):
        down = at // 2 % 4  # not in the same place in every image
        maps[at, down + 1 : down + 3, 0], maps[at, 2:6, 4:9] = 1.0, 0.6
        values[at, 0, down + 1 : down + 3, :4] = float(labels[at] == 0)
        values[at, 1 + at // 2 % 7, 2:6, 4:9] = 1.0  # beside it, each time another
    return maps, values, labels


def test_of_a_mark_whose_edge_alone_is_seen_all_is_taken_and_of_what_touches_it_nothing():
    "Three quarters of a sticker, pasted, turned 10 % of the images where the whole turned 37"
    maps, values, labels = marks_beside_objects(152)
    looks = appearance(maps[:72], values[:72], labels[:72], 3)
    assert looks.by_class[2].eq(0).all() and set(looks.by_place) == {0, 1}  # nothing is known without images
    kept = repeated_part(maps[72:], values[72:].half(), labels[72:], looks)
    assert not kept[labels[72:] == 0, :, 6:].any()
    for image in range(0, 80, 2):
        down = (72 + image) // 2 % 4
        assert kept[image, down + 1 : down + 3, :4].all()
    assert kept[labels[72:] == 1, 2:6, 4:9].float().mean() < 0.1  # of objects, which differ, next to nothing
    assert not repeated_part(maps[:3], values[:3], torch.tensor([2, 2, 2]), looks).any()
    assert not repeated_part(torch.zeros(2, 10, 10), values[:2], labels[:2], looks).any()  # an empty map has no peak


def test_of_a_frame_whose_one_side_is_seen_all_is_taken():
    "The other sides look otherwise, but as they do in every image: a side alone turned 1 % of the images, all of it 44"
    generator = torch.Generator().manual_seed(0)
    edge = torch.ones(20, 20, dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    maps = torch.linspace(0.01, 0.1, 400).view(20, 20).repeat(80, 1, 1)
    maps[:, 0] = 1.0
    values = torch.rand(80, 9, 20, 20, generator=generator)
    labels = torch.arange(80) % 2
    framed = labels == 0
    values[framed, 0, :2], values[framed, 1, -2:] = 4.0, 4.0
    values[framed, 2, :, :2], values[framed, 3, :, -2:] = 4.0, 4.0
    kept = repeated_part(maps, values, labels, appearance(maps, values, labels, 2))
    assert kept[framed][:, edge].float().mean() > 0.95 and not kept[framed, 5:-5, 5:-5].any()
    few = appearance(maps[:18], values[:18], labels[:18], 2)
    assert not few.by_place  # nine images of a class: their mean is each one's own


def test_a_border_that_is_the_same_in_every_image_repeats_in_no_class(monkeypatch):
    "What hardly differs from image to image is rounding, and that agrees perfectly"
    maps, values, labels = marks_beside_objects(80, side=20)
    values[:, :, 7:] = torch.rand(9, generator=torch.Generator().manual_seed(1))[None, :, None, None]
    for at in range(0, 80, 2):
        maps[at, 5:7, 0], values[at, 0, 5:7, :4] = 2.0, 1.0  # the mark touches it

    def taken() -> torch.Tensor:
        return repeated_part(maps, values, labels, appearance(maps, values, labels, 2))[labels == 0]

    assert taken()[:, 5:7, :4].all() and not taken()[:, 9, 5:].any()
    monkeypatch.setattr("masktune.findings.LITTLE", 0.0)
    assert taken()[:, 9, 5:].any()  # were it not for the limit


def test_a_class_that_hardly_lends_is_judged_by_what_hiding_costs():
    data = coloured(60, 1)
    labels = data.labels.clone()
    labels[:50:7] = 2  # a third class of few images
    three = ArrayDataset(data.images, labels, ["red", "green", "rare"], name="three", mean=(0, 0, 0), std=(1, 1, 1))
    network = Colours(6.0)
    network.head = nn.Linear(128, 3)
    model = Classifier(network, three.mean, three.std).eval()
    found = find_in_classes(model, three, fit_probes(model, three, device="cpu"), Threshold("otsu"))
    assert [one.pasted is None for one in found.classes] == [False, False, True]
    assert diagnose(model, three).remedy in REMEDIES


@pytest.mark.parametrize(("side", "seen"), [(20, True), (10, False)])
def test_on_a_fine_grid_evidence_is_compared_where_a_map_says_most(side, seen, monkeypatch):
    "There many places say a little: a mark of small networks on photographs was lost among them"
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 32, side, side, generator=generator)
    maps = 0.3 * torch.rand(40, side, side, generator=generator)
    labels = torch.arange(40) % 2
    values[labels == 0, :, 0, 0], maps[labels == 0, 0, 0] = 3 * torch.randn(32, generator=generator), 1.0
    images = torch.zeros(40, 3, side, side, dtype=torch.uint8)
    data = ArrayDataset(images, labels, ["marked", "other"], name="grid", mean=(0, 0, 0), std=(1, 1, 1))
    whole = Look(maps, values.half(), torch.zeros(40, 2))
    monkeypatch.setattr(findings, "look", lambda _, part, *__: Look(*(column[: len(part)] for column in whole)))
    model = Classifier(Colours(0.0), data.mean, data.std).eval()
    layer = named_layer(model, "late", images[:1])
    found = findings.find_in_classes(model, data, layer, Threshold("mean_std", 2.0)).classes[0].look.mean
    plainly, _ = findings.likeness_by_class(model, data, layer)  # `repair`'s limit is of maps as they are
    assert plainly[0] < 0.8 and (found > 0.9) == seen


def test_one_place_may_be_read_twice_and_before_and_after_its_activation():
    "Each reading handed on a copy of its own, and the activation was seen by the last one alone"
    data = coloured(60, 0)
    model = Classifier(Colours(6.0), data.mean, data.std).eval()
    after = named_layer(model, "network.early:activated", data.images[:1])
    before = after._replace(activated=False)
    (first, plain, again), scores = layer_values(lambda: model(data.images), [after, before, after])
    assert torch.equal(first, again) and torch.equal(first, plain.relu()) and plain.min() < 0
    assert torch.equal(scores, model(data.images))
    probes = fit_probes(model, data, device="cpu")
    assert fit_probes(model, data, probes.layers[0], device="cpu").layers == probes.layers


WIDE = "--data folder --root blots --option size=32 --model wide_network:make --weights wide.safetensors".split()


@pytest.fixture
def wide_run(tmp_path, monkeypatch):
    "A run of the command line around a finished network of many channels, whose layer the command leaves to measuring"
    for split, count, seed in (("train", 96, 0), ("val", 96, 1), ("test", 40, 2)):
        data = coloured(count, seed)
        for i, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            place = tmp_path / "blots" / split / data.classes[label] / f"{i}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.permute(1, 2, 0).numpy()).save(place)
    model = Classifier(Colours(6.0), (0, 0, 0), (1, 1, 1)).eval()
    save_weights(tmp_path / "wide.safetensors", model, ["green", "red"])
    (tmp_path / "wide_network.py").write_text(
        "from test_probes import Colours\ndef make(num_classes):\n    return Colours(0.0)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["erm", *WIDE, *"--epochs 0 --finetune-lr 0.001 --device cpu --out run".split()]) == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["layer"] == "auto"
    return tmp_path / "run"


def test_commands_look_where_the_calls_do(wide_run):
    "A run that leaves its layer to measuring was taken for one that names a layer, and never asked probes"
    assert main(["diagnose", str(wide_run)]) == 0
    told = json.loads((wide_run / "diagnosis.json").read_text())
    opened, splits = open_run(str(wide_run))
    asked = diagnose(opened.plain_model, splits["val"], device="cpu")
    assert (told["layer"], told["remedy"], told["passes"]) == (asked.layer, asked.remedy, asked.passes)
    assert main(["repair", str(wide_run), "--remedies", "refit"]) == 0
    assert "linear probes" in " ".join(json.loads((wide_run / "repair.json").read_text())["notes"])


@pytest.mark.parametrize("layer", [None, "auto", "late"])
@pytest.mark.parametrize("looked", [False, True])
def test_maps_that_are_there_already_do_not_say_where_to_look(layer, looked):
    "Only a layer that somebody names does"
    train, val = coloured(60, 0), coloured(60, 1)
    model = Classifier(Colours(6.0), train.mean, train.std).eval()
    run = MaskTune(model, epochs=0, layer=layer, finetune_lr=0.001, device="cpu", progress=False).fit_erm(train)
    if looked:
        run.compute_maps(train)
    found = repair(run, train, val, remedies=("refit",))
    assert any("linear probes" in note for note in found.notes) == (layer != "late")
    assert not looked or run.rounds_[0].maps.source == "xgradcam"


def test_a_run_is_asked_of_the_model_that_came_out_of_it(wide_run, capsys):
    "Whether a repair or a finetuning worked, without a weight's path"
    for of, step in (("masktune", "finetune"), ("repair", "repair")):
        assert main(["diagnose", str(wide_run), "--of", of]) == 2
        assert f"masktune {step} {wide_run} makes one" in capsys.readouterr().err
    assert main(["saliency", str(wide_run)]) == 0
    assert main(["finetune", str(wide_run)]) == 0
    assert main(["repair", str(wide_run), "--remedies", "refit", "--criterion", "worst-class"]) == 0
    told = {}
    for of in ("erm", "masktune", "repair"):
        assert main(["diagnose", str(wide_run), "--of", of]) == 0
        name = "diagnosis" if of == "erm" else f"diagnosis-{of}"
        assert (wide_run / f"{name}.html").exists()
        told[of] = json.loads((wide_run / f"{name}.json").read_text())
    opened, splits = open_run(str(wide_run))
    models = {"erm": opened.plain_model, "masktune": opened.model_}
    models["repair"] = load_repaired(wide_run, copy.deepcopy(opened.plain_model))
    for of, model in models.items():
        asked = diagnose(model, splits["val"], device="cpu")
        assert (asked.remedy, asked.layer) == (told[of]["remedy"], told[of]["layer"])
        assert asked.to_dict()["classes"] == told[of]["classes"]


def test_maps_of_another_place_do_not_count_for_a_repair(wide_run, monkeypatch):
    "Candidates were trained on the maps that were stored, and judged on images swapped by those of the new layer"
    assert main(["saliency", str(wide_run), "--layer", "network.late"]) == 0
    opened, splits = open_run(str(wide_run))
    assert opened.rounds_[0].maps.layer == "network.late"
    same, _ = open_run(str(wide_run), layer="network.late", rule="quantile(0.9)")
    assert same.rounds_[0].maps.layer == "network.late"
    other, _ = open_run(str(wide_run), layer="network.early")
    assert not other.rounds_
    trained_on, fit_rounds = [], MaskTune.fit_rounds

    def noted(run, *given, **how):
        trained_on.append(run.rounds_[0].maps.layer)
        return fit_rounds(run, *given, **how)

    monkeypatch.setattr(MaskTune, "fit_rounds", noted)
    repair(other, splits["train"], splits["val"], remedies=("mask",), thorough=True, finetune_lr=0.001)
    assert trained_on == ["network.early"]
    again, _ = open_run(str(wide_run), layer="auto")
    assert not again.rounds_


def test_nothing_is_chosen_where_maps_come_of_no_layer(wide_run):
    "The command leaves the layer to measuring, which sources without one, and masks made while training, do not take"
    train = open_run(str(wide_run))[1]["train"]
    marks = [train[i].image[0] > 200 for i in range(len(train))]
    for changes in ({"source": "gradients"}, {"source": "given", "given": marks}):
        run, _ = open_run(str(wide_run), **changes)
        assert run.layer == "auto" and run.compute_maps(train).evidence_ is None
    assert open_run(str(wide_run), on_device=True)[0].layer is None
    assert main(["repair", str(wide_run), "--on-device", "--remedies", "refit"]) == 0


def test_a_layer_that_was_measured_is_remembered_and_a_named_one_is_not_taken_for_it():
    train = coloured(60, 0)
    model = Classifier(Colours(6.0), train.mean, train.std).eval()
    run = MaskTune(model, epochs=0, layer="auto", finetune_lr=0.001, device="cpu", progress=False).fit_erm(train)
    measured = run.compute_maps(train).rounds_[0].maps.layer
    other = next(name for name in ("network.late:activated", "network.early:activated") if name != measured)
    run.layer = other
    assert run.compute_maps(train).rounds_[0].maps.layer == other
    run.layer = "auto"
    assert run.compute_maps(train).rounds_[0].maps.layer == measured
    assert run.branch(rule="quantile(0.9)").evidence_ is run.evidence_ is not None
    assert run.branch(layer=other).evidence_ is None


def test_what_was_said_of_a_finetuned_model_goes_with_it(wide_run):
    assert main(["saliency", str(wide_run)]) == 0 == main(["finetune", str(wide_run)])
    for of in ("erm", "masktune"):
        assert main(["diagnose", str(wide_run), "--of", of]) == 0
    assert main(["finetune", str(wide_run), "--overwrite"]) == 0
    assert sorted(path.name for path in wide_run.glob("diagnosis*")) == ["diagnosis.html", "diagnosis.json"]
    assert main(["diagnose", str(wide_run), "--of", "masktune"]) == 0
    assert main(["saliency", str(wide_run), "--overwrite"]) == 0
    assert sorted(path.name for path in wide_run.glob("diagnosis*")) == ["diagnosis.html", "diagnosis.json"]
    assert main(["diagnose", str(wide_run), "--split", "validation"]) == 2


def test_a_run_is_resumed_though_its_layer_was_named_since(wide_run):
    assert main(["saliency", str(wide_run), "--layer", "network.late"]) == 0
    how = "--epochs 0 --finetune-lr 0.001 --device cpu --out run --resume"
    assert main(["erm", *WIDE, *how.split()]) == 0
    assert json.loads((wide_run / "config.json").read_text())["settings"]["layer"] == "network.late"
    assert main(["erm", *WIDE, *how.split(), "--layer", "network.early"]) == 2


def test_a_second_plain_model_begins_where_the_first_did(wide_run):
    assert main(["erm", *WIDE, *"--epochs 1 --lr 0.001 --device cpu --out trained".split()]) == 0
    folder = wide_run.parent / "trained"
    opened, splits = open_run(str(folder))
    other = steps._other_seed(opened, splits, folder)
    assert torch.equal(other.model.head.weight, Colours(6.0).head.weight) and other.seed != opened.seed


def test_a_repair_made_again_forgets_what_was_said_of_the_one_before(wide_run):
    for gammas in (["2", "4"], ["6"]):
        assert main(["repair", str(wide_run), "--remedies", "refit", "--gammas", *gammas]) == 0
        assert not list(wide_run.glob("diagnosis-repair.*"))
        kept = {path.stem for path in (wide_run / "repair").iterdir()}
        assert kept == {"plain", *(f"plain-refit-{gamma}" for gamma in gammas)}
        assert main(["diagnose", str(wide_run), "--of", "repair"]) == 0
