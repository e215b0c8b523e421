"""Whole works away from the host: each way to find and to mend runs on a device from end to end, and answers there as
it does here. A pretended device everywhere (see `pretended.py`), a GPU where there is one."""

from contextlib import nullcontext

import pytest
import torch
from pretended import SecondDevice
from test_repair import network, spots

from masktune.abstaining import SelectiveClassifier
from masktune.comparing import compare
from masktune.diagnosis import diagnose
from masktune.evaluation import evaluate
from masktune.experiments.compare_methods import chosen_methods, run_method
from masktune.experiments.datasets import load_dataset
from masktune.experiments.methods import make_bench
from masktune.experiments.recipes import get_recipe, override
from masktune.faithfulness import choose_evidence
from masktune.features import explored_features
from masktune.finetune import MaskTune
from masktune.kinds import find_kinds, judged_maps
from masktune.refit import cache_features, refit
from masktune.repair import repair
from masktune.saliency import compute_saliency


@pytest.fixture(scope="module")
def images():
    return {"train": spots(160, 0), "val": spots(80, 1), "test": spots(80, 3, 0.5)}


@pytest.fixture(scope="module")
def run(images):
    "A plain model that goes by the corner, trained on the host"
    few = {"epochs": 3, "lr": 0.05, "batch_size": 32, "device": "cpu", "progress": False, "cache": 0}
    return MaskTune(network(), **few).fit_erm(images["train"], images["val"])


@pytest.fixture(params=["pretended", pytest.param("cuda", marks=pytest.mark.gpu)])
def away(request):
    "The name of a device that is not the host; what runs on the pretended one is counted"
    with SecondDevice() if request.param == "pretended" else nullcontext() as device:
        yield "mps" if device else "cuda"
    assert device is None or device.operations > 30  # else nothing was there


def test_a_diagnosis_away_says_what_it_says_here(run, images, away):
    there, here = (diagnose(run.plain_model, images["val"], images["train"], device=d) for d in (away, "cpu"))
    assert there.remedy == here.remedy and there.classes.keys() == here.classes.keys()
    for name, one in there.classes.items():
        assert one.plain.accuracy == here.classes[name].plain.accuracy


def test_evidence_is_chosen_away(run, images, away):
    options = {"sources": ("xgradcam",), "limit": 40}
    there, here = (choose_evidence(run.plain_model, images["val"], device=d, **options) for d in (away, "cpu"))
    assert there.layer.spelled == here.layer.spelled and str(there.source) == str(here.source)


def test_kinds_are_found_and_judged_away(run, images, away):
    kinds = find_kinds(run.plain_model, images["val"], device=away)
    assert kinds.kinds.keys() == find_kinds(run.plain_model, images["val"], device="cpu").kinds.keys()
    kinds.judge(next(iter(kinds.kinds)), "shortcut")
    maps = compute_saliency(run.plain_model, images["train"], kinds.layer, device=away, progress=False)
    left = judged_maps(kinds, run.plain_model, images["train"], maps, device=away)
    assert left.maps.device.type == "cpu" and 0 < left.maps.float().sum() < maps.maps.float().sum()


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("faithful", [False, True])
def test_a_repair_away_makes_the_same_candidates(run, images, away, on_device, faithful):
    def mended(device):
        branch = run.branch(device=device, on_device=on_device)
        return repair(branch, images["train"], images["val"], faithful=faithful)

    there, here = mended(away), mended("cpu")
    assert there.candidates.keys() == here.candidates.keys() and len(there.candidates) > 1
    assert evaluate(there.model, images["test"], device=away).average.count == len(images["test"])


def test_a_last_layer_is_refitted_away(run, images, away):
    layers = [refit(run.plain_model, images["val"], gamma=2.0, device=d)[0] for d in (away, "cpu")]
    there, here = (model.cpu().network[-1].weight for model in layers)
    torch.testing.assert_close(there, here, atol=1e-3, rtol=1e-3)


DOORS = {  # what takes a bare network, and where it is asked to compute
    "diagnose": lambda network, images, device: diagnose(network, images, device=device),
    "kinds": lambda network, images, device: find_kinds(network, images, device=device),
    "evidence": lambda network, images, device: choose_evidence(network, images, limit=40, device=device),
    "maps": lambda network, images, device: compute_saliency(network, images, device=device, progress=False),
    "accuracy": lambda network, images, device: evaluate(network, images, device=device, progress=False),
    "features": lambda network, images, device: cache_features(network, images, device=device, progress=False),
    "refit": lambda network, images, device: refit(network, images, gamma=1.0, device=device, progress=False),
    "compare": lambda network, images, device: compare(network, network, images, device=device),
    "repair": lambda network, images, device: repair(
        network,
        images.subset(range(len(images) // 2)),
        images.subset(range(len(images) // 2, len(images))),
        remedies=("refit",),
        device=device,
        finetune_lr=0.01,
        progress=False,
    ),
    "fit": lambda network, images, device: MaskTune(network, epochs=1, device=device, progress=False).fit(images),
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("asked", ["there", "here"])
def test_a_bare_network_that_lies_away_is_taken(door, asked, images, away):
    mine = network().eval().to(away)
    DOORS[door](mine, images["val"], away if asked == "there" else "cpu")


def test_a_pair_that_lies_away_is_exported(run, images, away, tmp_path):
    pair = SelectiveClassifier([run.plain_model, run.plain_model]).to(away)
    some = images["test"].images[:4]
    path = pair.export(tmp_path / "pair.pt2", some.to(away))
    assert pair.models[0].mean.device.type == away  # left where it is
    if away == "cuda":  # what is pretended cannot be loaded within the pretence
        answer = torch.export.load(path).module()(some)[0]
        assert torch.equal(answer, pair.predict(some.to(away)).label.cpu())


def test_rounds_and_the_pair_that_abstains_run_away(run, images, away):
    branch = run.branch(device=away).compute_maps(images["train"]).fit_rounds(images["train"], images["val"])
    pair = SelectiveClassifier([branch.plain_model, branch.model_])
    pair.calibrate(images["val"], coverage=0.8, device=away)
    decided = pair.to(away).predict(images["test"].images[:6].to(away))
    assert all(part.device.type == away for part in decided)


def test_two_models_are_compared_and_features_shown_away(run, images, away):
    branch = run.branch(device=away).compute_maps(images["train"]).fit_rounds(images["train"], images["val"])
    found = compare(branch.plain_model, branch.model_, images["test"], device=away)
    assert found.mean_moved is None or 0 <= found.mean_moved <= 1
    assert explored_features(branch, images["test"]).area.keys() == {"ERM", "MaskTune"}


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_mixed_precision_trains_on_a_gpu(images, precision):
    mixed = MaskTune(network(), epochs=10, lr=0.05, device="cuda", mixed_precision=precision, progress=False)
    mixed.fit(images["train"], images["val"])
    whole = evaluate(mixed.plain_model, images["val"], device="cuda").average.accuracy
    assert whole > 0.9 and all(value.isfinite().all() for value in mixed.model_.state_dict().values())


def test_every_method_is_compared_away(away):
    recipe = override(get_recipe("biased-digits"), [f"settings.device={away}", "settings.epochs=1"])
    splits = {split: load_dataset("biased-digits", split) for split in ("train", "val", "test")}
    few = {split: data.subset(range(0, len(data), len(data) // 96)) for split, data in splits.items()}
    bench = make_bench(recipe, 0, few["train"], few["val"])
    for name in chosen_methods(None, recipe, few)[0]:
        row = run_method(bench, name, {"test": few["test"]})
        assert 0 <= row.tests["test"]["average"] <= 1, name
