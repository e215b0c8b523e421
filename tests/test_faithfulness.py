"What a map is worth to its model: known answers, nothing disturbed, and a choice that finds the true evidence."

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.erm import fit
from masktune.experiments.datasets import load_dataset
from masktune.experiments.recipes import get_recipe
from masktune.faithfulness import bootstrap_interval, choose_evidence, evidence_score, faithfulness, some_images
from masktune.finetune import MaskTune
from masktune.masking import mean_std, quantile
from masktune.models import Classifier, build_model, model_fingerprint
from masktune.resume import Resumable
from masktune.saliency import compute_saliency
from masktune.steps import look_where_true


class Corner(nn.Module):
    """Answers by the upper left corner alone: class 1 where it is bright. `deep` has a grid of its own that sees the
    same"""

    def __init__(self):
        super().__init__()
        self.wide = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU())
        self.deep = nn.Sequential(nn.AvgPool2d(4), nn.Conv2d(2, 2, 1, bias=False), nn.ReLU())
        self.head = nn.Linear(2 * 49, 2)
        with torch.no_grad():
            self.wide[0].weight.copy_(torch.full((2, 3, 1, 1), 1 / 3))
            self.deep[1].weight.copy_(torch.eye(2)[:, :, None, None])
            self.head.weight.zero_()
            self.head.weight[1, 0] = self.head.weight[1, 49] = 6.0
            self.head.bias.copy_(torch.tensor([0.0, -6.0]))

    def forward(self, images):
        return self.head(self.deep(self.wide(images)).flatten(1))


def corners(count=64):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 60, (count, 3, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.arange(count) % 2
    images[labels == 1, :, :4, :4] = 255
    return ArrayDataset(images, labels, ["dark", "bright"])


@pytest.fixture
def model():
    return Classifier(Corner()).eval()


def test_the_interval_covers_the_truth_as_often_as_it_says():
    generator = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(200):
        found = bootstrap_interval(torch.randn(60, generator=generator) + 2)
        inside += found.low <= 2 <= found.high
    assert 180 <= inside <= 199


def test_evidence_that_matters_is_worth_its_fall(model):
    bright = corners().subset(range(1, 64, 2))
    found = faithfulness(model, bright, "deep")
    assert found.hidden.mean > 0.9
    assert found.elsewhere.mean < 0.05
    assert found.effect.low > 0.85
    assert found.flips == 1
    assert found.flips_elsewhere < 0.05
    assert found.alone.low > 0.85


def test_labels_and_groups_are_never_read(model):
    data = corners()
    turned = ArrayDataset(
        data.images, 1 - data.labels, data.classes, groups=torch.arange(64) % 3, group_names=["a", "b", "c"]
    )
    assert faithfulness(model, data).to_dict() == faithfulness(model, turned).to_dict()


def test_nothing_of_the_callers_is_changed(model):
    model.train()
    model.network.wide.eval()
    modes = [module.training for module in model.modules()]
    before, random = model_fingerprint(model), torch.get_rng_state()
    gradients = [parameter.requires_grad for parameter in model.parameters()]
    choose_evidence(model, corners(), fills=("zero", "noise"), rules=(mean_std(2),))
    assert model_fingerprint(model) == before
    assert [module.training for module in model.modules()] == modes
    assert [parameter.requires_grad for parameter in model.parameters()] == gradients
    assert torch.get_rng_state().equal(random)


def test_the_choice_finds_the_corner(model):
    bright = corners().subset(range(1, 64, 2))
    chosen = choose_evidence(model, bright)
    maps = compute_saliency(model, bright, chosen.layer, chosen.source, device="cpu", progress=False)
    masks = chosen.rule(maps.maps, (28, 28))
    assert masks[:, :4, :4].float().mean() >= 0.8
    assert masks.float().mean() < 0.2
    assert chosen.chosen.effect.low > 0.5
    assert float(evidence_score(chosen.chosen.effects, chosen.chosen.areas)) >= float(
        evidence_score(chosen.reference.effects, chosen.reference.areas)
    )


def test_the_result_says_what_was_chosen_against_what_and_at_what_cost(model):
    chosen = choose_evidence(model, corners(), rules=(mean_std(2), quantile(0.9)), limit=32)
    layers = {candidate.layer for candidate in chosen.candidates}
    assert len(chosen.candidates) == len(layers) * 2 * 2
    assert chosen.chosen.name in str(chosen)
    assert f"{chosen.passes:.1f} passes" in str(chosen)
    assert 0 <= chosen.lead <= 1
    assert json.loads(json.dumps(chosen.to_dict()))["chosen"]["images"] == 32
    assert "<pre>" in chosen._repr_html_()
    assert chosen.to_dict() == choose_evidence(model, corners(), rules=(mean_std(2), quantile(0.9)), limit=32).to_dict()


def test_the_cost_is_counted_in_images_that_the_model_saw(model):
    seen = []
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    chosen = choose_evidence(model, corners(), sources=("xgradcam",), rules=(mean_std(2),))
    handle.remove()
    assert abs(sum(seen) / 64 - chosen.passes) < 0.3  # the search for layers looks at single images


def test_the_reference_is_measured_even_where_it_is_no_candidate(model):
    chosen = choose_evidence(model, corners(), rules=(quantile(0.9),), fills=("blur",))
    assert (chosen.reference.rule, chosen.reference.fill) == ("mean_std(k=2)", "zero")
    assert chosen.reference.images == chosen.chosen.images


def test_bad_input_is_refused(model):
    data = corners()
    with pytest.raises(ValueError, match="is empty"):
        faithfulness(model, data.subset([]))
    with pytest.raises(ValueError, match="unknown fill"):
        choose_evidence(model, data, fills=("grey",))
    with pytest.raises(ValueError, match="sources must be a list"):
        choose_evidence(model, data, sources="xgradcam")
    with pytest.raises(ValueError, match="limit must be"):
        some_images(data, 1)
    with pytest.raises(ValueError, match="unknown layer"):
        faithfulness(model, data, "nowhere")


def digits_and_model(seed):
    "Digits with a red square on one class, and a network that has learnt the square"
    train, val = (load_dataset("biased-digits", split, seed=seed) for split in ("train", "val"))
    seed_everything(seed)
    model = Classifier(build_model("small-cnn", 2), train.mean, train.std)
    fit(model, train, epochs=6, lr=0.01, schedule="cosine", seed=seed, device="cpu", progress=False)
    return val, model


@pytest.mark.parametrize("seed", [700, 701])
def test_on_biased_digits_the_square_is_what_is_found(seed):
    """Of seeds 700 to 703, each under two kinds of rounding, the least effect was 0.31 (interval from 0.26), the least
    coverage of the square 0.94, the largest fall elsewhere 0.001 (interval to 0.003), the largest area 2.6 %"""
    val, model = digits_and_model(seed)
    found = faithfulness(model, val)
    assert found.effect.low > 0.2
    assert found.elsewhere.high < 0.05
    chosen = choose_evidence(model, val, limit=96, sources=("xgradcam",), fills=("zero",))
    red = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]
    marked = torch.stack([(sample.image[:, :4, :4] == red).all() for sample in val]).nonzero().flatten()
    assert len(marked) > 100
    part = val.subset(marked)
    maps = compute_saliency(model, part, chosen.layer, chosen.source, device="cpu", progress=False)
    masks = chosen.rule(maps.maps.float(), (28, 28))
    assert masks[:, :4, :4].float().mean() >= 0.8
    assert masks.float().mean() < 0.1


def tiny_run(**settings):
    "A run that takes `Corner` as its plain model"
    given = {"epochs": 0, "finetune_lr": 0.001, "batch_size": 16, "device": "cpu", "progress": False, "cache": 0}
    return MaskTune(Corner(), **given | settings)


def test_masktune_takes_the_layer_that_is_truest_and_says_so(caplog):
    data = corners()
    run = tiny_run(layer="auto")
    with caplog.at_level("WARNING", logger="masktune"):
        run.fit_erm(data).compute_maps(data)
    assert run.rounds_[0].maps.layer == run.evidence_.layer.spelled
    assert "evidence: " in caplog.text
    assert "leads in" in caplog.text or "structure says" in caplog.text
    assert run.layer == "auto"
    assert run.explain(run.plain_model, data).layer == run.rounds_[0].maps.layer
    assert run.branch(rule="quantile(0.9)").compute_maps(data).rounds_[0].maps.layer == run.rounds_[0].maps.layer
    structural = tiny_run().fit_erm(data).compute_maps(data)
    assert structural.evidence_ is None


def test_a_run_keeps_what_was_chosen_and_goes_on_with_it(tmp_path):
    data = corners()
    kept = Resumable(tiny_run(layer="auto"), tmp_path)
    kept.fit_erm(data).compute_maps(data)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    said = next(row for row in rows if row["phase"] == "evidence")
    assert said["chosen"] == kept.run.rounds_[0].maps.layer
    assert 0 <= said["lead"] <= 1
    assert "against" in said["said"] or "structure" in said["said"]
    assert len(json.loads((tmp_path / "evidence.json").read_text(encoding="utf-8"))["candidates"]) >= 2
    again = Resumable.open(tmp_path, Corner())
    assert again.run.layer == "auto"
    again.fit_rounds(data)
    assert again.run.explain(again.run.plain_model, data).layer == said["chosen"]


def test_auto_needs_stored_maps():
    with pytest.raises(ValueError, match="on_device stores none"):
        tiny_run(layer="auto", on_device=True)


def test_the_command_chooses_for_networks_that_are_not_the_papers():
    recipe = get_recipe("biased-digits")
    assert look_where_true(recipe) is recipe
    other = replace(recipe, model="resnet18")
    assert look_where_true(other).settings["layer"] == "auto"
    named = replace(other, settings=dict(other.settings) | {"layer": "layer3"})
    assert look_where_true(named).settings["layer"] == "layer3"


def test_the_choice_is_cheap(model):
    seen, data = [], corners(400)
    handle = model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    chosen = choose_evidence(model, data)
    handle.remove()
    assert chosen.chosen.images == 64
    assert sum(seen) < 64 * 40
