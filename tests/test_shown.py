"What a notebook's user sees by just naming an object."

import pytest
import torch

from masktune.data import ArrayDataset
from masktune.evaluation import evaluate
from masktune.faithfulness import faithfulness
from masktune.features import ExploredFeatures
from masktune.finetune import MaskTune
from masktune.models import build_model
from masktune.saliency import compute_saliency


@pytest.fixture(scope="module")
def shown():
    "Objects of a run that took no training, by what they are"
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8, generator=generator)
    data = ArrayDataset(images, torch.arange(8) % 2, ["<b>a", "b"], name="eight")
    network = build_model("small-cnn", 2)
    run = MaskTune(network, epochs=0, finetune_lr=0.01, device="cpu", progress=False).fit_erm(data)
    run.metrics_ = {"erm": {"test": evaluate(run.erm_, data)}}
    maps = compute_saliency(run.erm_, data, device="cpu", progress=False)
    found = faithfulness(run.erm_, data, alone=False)
    return {"evaluation": run.metrics_["erm"]["test"], "maps": maps, "faithfulness": found, "run": run}


@pytest.mark.parametrize("name", ["evaluation", "maps", "faithfulness", "run"])
def test_an_object_shows_itself(shown, name):
    page = shown[name]._repr_html_()
    assert page.startswith(("<table", "<pre")) and "<b>a" not in page


def test_a_run_shows_every_model_and_says_what_is_still_to_be_done(shown):
    page = shown["run"]._repr_html_()
    accuracy = shown["evaluation"].average.accuracy
    assert f"{accuracy:.1%}" in page and "erm" in page and "plain model trained" in page
    assert "call fit_erm" in MaskTune(build_model("small-cnn", 2), epochs=1)._repr_html_()


def test_maps_show_what_they_come_from(shown):
    page = shown["maps"]._repr_html_()
    assert "xgradcam at network.features" in page and "8 of eight" in page and shown["maps"].model in page


def test_explored_features_show_themselves():
    assert callable(ExploredFeatures._repr_html_)


def test_what_was_chosen_and_refitted_shows_itself():
    from masktune.choice import Choice
    from masktune.refit import RefitResult
    from masktune.rounds import choose_by_outcomes

    rounds = choose_by_outcomes({1: [torch.tensor([1, 0, 0, 0]).bool()], 2: [torch.tensor([1, 1, 1, 1]).bool()]})
    page = rounds._repr_html_()
    assert page.startswith("<table") and "taken" in page and "25.0%" in page
    page = RefitResult(4.0, 0.003, "network.fc", 60, 41.2, 3, [0.7, 0.5], "<b>val")._repr_html_()
    assert "60 images of &lt;b&gt;val" in page and "0.7000 before, 0.5000 after" in page
    page = Choice("mask, <refit 4>", "two-step", "it is better")._repr_html_()
    assert "mask, &lt;refit 4&gt;" in page and "it is better" in page


def test_a_comparison_of_abstaining_shows_a_table_a_test_set(shown):
    from masktune.selective_report import compare_selective

    data = shown["run"].plain_model
    images = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    some = ArrayDataset(images, torch.arange(8) % 2, ["<b>a", "b"], name="eight")
    found = compare_selective({"erm": data}, some, {"test": some, "<other>": some}, progress=False, device="cpu")
    page = found._repr_html_()
    assert page.count("<table") == 2 and "&lt;other&gt;" in page and "AURC" in page
