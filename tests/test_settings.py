"""Settings are what they say: rates, momentum, resumed trainings, what a run was trained with, and trainings that
diverge."""

import copy
import json
import math

import pytest
import torch
from captum.attr import LayerGradCam
from torch import nn

from masktune.counterfactuals import RandomMask
from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.divergence import TrainingDiverged
from masktune.erm import TrainingStopped, fit
from masktune.finetune import MaskTune, finetune
from masktune.models import build_model, model_fingerprint
from masktune.resume import Resumable
from masktune.runs import load_run, save_config, save_erm, save_round, save_run
from masktune.settings import Settings

QUICK = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def few(digits):
    return {"train": digits["train"].subset(range(96)), "val": digits["val"].subset(range(40))}


def network():
    seed_everything(0)
    return build_model("small-cnn", 2)


def tilt(image):
    return image.roll(int(torch.randint(5, ())), 2)


def lean(image):
    return image.roll(int(torch.randint(5, ())), 1)


# The rate of the last epoch of three, from 0.01.
LAST = {
    "constant": (dict(schedule="constant"), 0.01),
    "multistep": (dict(schedule="multistep"), 0.0025),
    "multistep, a milestone at the end": (dict(schedule="multistep", milestones=(2, 3), gamma=0.1), 0.001),
    "cosine": (dict(schedule="cosine"), 0.01 * (1 + math.cos(math.pi * 2 / 3)) / 2),
}


@pytest.fixture(scope="module", params=LAST)
def scheduled(request, few):
    settings, rate = LAST[request.param]
    return MaskTune(network(), epochs=3, lr=0.01, **settings, **QUICK).fit_erm(few["train"], few["val"]).compute_maps(
        few["train"]
    ), rate


@pytest.mark.parametrize("start_from", ["last", "best"])
@pytest.mark.parametrize("keep_optimizer", [True, False])
def test_the_papers_finetuning_goes_on_at_the_rate_training_ended_with(scheduled, few, start_from, keep_optimizer):
    run, rate = scheduled
    settings = dict(recipe="paper", start_from=start_from, keep_optimizer=keep_optimizer)
    branch = run.branch(**settings).finetune_round(few["train"])
    row = branch.history_["round-1"][0]
    assert row["lr"] == pytest.approx(rate)
    assert row["loss"] < 1  # measured under two kinds of rounding: at most 0.1; a rate of 1.0 gave 7
    # something was learned, at a rate that is not 0
    assert model_fingerprint(branch.model_) != model_fingerprint(branch.erm_)


def test_the_state_holds_the_last_epochs_rate(scheduled):
    run, rate = scheduled
    assert run.optimizer_state_["param_groups"][0]["lr"] == pytest.approx(rate) == run.history_["erm"][-1]["lr"]


def test_a_state_with_a_rate_of_zero_is_refused(scheduled, few):
    state = copy.deepcopy(scheduled[0].optimizer_state_)
    state["param_groups"][0]["lr"] = 0.0
    with pytest.raises(ValueError, match=r"lr must be above 0, got 0\.0"):
        fit(network(), few["train"], epochs=1, optimizer_state=state, **QUICK)


def test_explicit_momentum_and_weight_decay_win_over_a_state(scheduled, few):
    state = scheduled[0].optimizer_state_
    groups = {
        name: fit(network(), few["train"], epochs=1, optimizer_state=state, **given, **QUICK).optimizer_state[
            "param_groups"
        ][0]
        for name, given in {"kept": {}, "given": dict(momentum=0.5, weight_decay=0.0, lr=0.02)}.items()
    }
    old = state["param_groups"][0]
    assert all(groups["kept"][name] == old[name] for name in ("lr", "momentum", "weight_decay"))
    assert [groups["given"][name] for name in ("lr", "momentum", "weight_decay")] == [0.02, 0.5, 0.0]


def test_a_state_of_another_optimizer_or_network_is_refused(scheduled, few):
    state = scheduled[0].optimizer_state_
    for model, optimizer in ((network(), "adam"), (build_model("cifar-resnet32", 2), "sgd")):
        with pytest.raises(ValueError, match="optimizer_state does not belong to this model"):
            fit(model, few["train"], epochs=1, optimizer=optimizer, optimizer_state=state, **QUICK)


OTHERS = ArrayDataset(torch.zeros(8, 3, 28, 28).byte(), torch.arange(8) % 2, ["a", "b"])
BEGUN = dict(epochs=2, lr=0.01, augment=tilt, schedule="multistep", **QUICK)
CHANGES = {
    "lr": dict(lr=0.02),
    "momentum": dict(momentum=0.5),
    "weight_decay": dict(weight_decay=0.1),
    "milestones": dict(milestones=[1]),
    "gamma": dict(gamma=0.1),
    "schedule": dict(schedule="cosine"),
    "augment": dict(augment=None),
    "augment of another name": dict(augment=lean),
    "batch_transform": dict(batch_transform=RandomMask()),
    "freeze_batchnorm": dict(freeze_batchnorm=True),
    "recalibrate": dict(recalibrate=True),
    "recalibrate on images": dict(recalibrate=OTHERS),
    "mixed_precision": dict(mixed_precision="bf16"),
    "select": dict(select="last"),
    "seed": dict(seed=4),
}


@pytest.fixture(scope="module")
def stopped(few):
    with pytest.raises(TrainingStopped) as stopped:
        fit(network(), few["train"], few["val"], on_step=lambda step: step.step == 2, **BEGUN)
    return stopped.value.state


@pytest.mark.parametrize("name", CHANGES)
def test_a_training_is_resumed_with_its_own_settings_alone(name, few, stopped):
    with pytest.raises(ValueError, match=rf"of another training: .*{name.partition(' ')[0]}"):
        fit(network(), few["train"], few["val"], resume=stopped, **BEGUN | CHANGES[name])


def test_a_training_is_resumed_on_its_own_data_and_with_the_same_parts_frozen(few, stopped):
    train = few["train"]
    other = ArrayDataset(255 - train.images, train.labels, train.classes, name=train.name, split=train.split)
    frozen = network()
    frozen.features[1].eval()
    for model, data, val in ((network(), other, few["val"]), (network(), train, None), (frozen, train, few["val"])):
        with pytest.raises(ValueError, match=r"of another training: (data|val|still)"):
            fit(model, data, val, resume=stopped, **BEGUN)
    whole = network()
    fit(whole, train, few["val"], **BEGUN)
    resumed = network()
    fit(resumed, train, few["val"], resume=stopped, **BEGUN)
    assert model_fingerprint(resumed) == model_fingerprint(whole)


def test_a_training_goes_on_with_the_images_its_statistics_are_measured_on(few):
    begun = BEGUN | {"recalibrate": OTHERS}
    with pytest.raises(TrainingStopped) as stopped:
        fit(network(), few["train"], few["val"], on_step=lambda step: step.step == 2, **begun)
    state, whole, resumed = stopped.value.state, network(), network()
    for other in (True, False, ArrayDataset(255 - OTHERS.images, OTHERS.labels, OTHERS.classes)):
        with pytest.raises(ValueError, match=r"of another training: .*recalibrate"):
            fit(network(), few["train"], few["val"], resume=state, **BEGUN | {"recalibrate": other})
    fit(whole, few["train"], few["val"], **begun)
    fit(resumed, few["train"], few["val"], resume=state, **begun)
    assert model_fingerprint(resumed) == model_fingerprint(whole)


@pytest.mark.parametrize("recalibrate", [None, 1, "plain", OTHERS.subset([])])
def test_what_statistics_cannot_be_measured_on_is_said_before_training(recalibrate, few):
    with pytest.raises(ValueError, match=r"^recalibrate"):
        fit(network(), few["train"], on_step=pytest.fail, **BEGUN | {"recalibrate": recalibrate})


def test_a_run_with_a_function_for_augmentation_goes_on_with_it_or_not_at_all(few, tmp_path):
    settings = dict(epochs=2, augment=tilt, **QUICK)
    whole = Resumable(MaskTune(network(), **settings), tmp_path / "whole").fit(few["train"], few["val"])
    run = Resumable(MaskTune(network(), **settings), tmp_path / "run").fit_erm(few["train"], few["val"])
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["augment"].endswith(
        "test_settings.tilt"
    )
    without = Resumable.open(tmp_path / "run", network())
    without.compute_maps(few["train"])
    with pytest.raises(ValueError, match=r"made with augment=function .*tilt, which a file cannot hold: give it again"):
        without.fit_rounds(few["train"], few["val"])
    again = Resumable.open(tmp_path / "run", network(), augment=tilt).fit(few["train"], few["val"])
    assert model_fingerprint(again.model_) == model_fingerprint(whole.model_)
    assert run.run.settings["augment"] == again.settings["augment"]


def test_a_source_that_is_a_class_is_saved_and_given_again(few, tmp_path):
    run = MaskTune(network(), epochs=1, source=LayerGradCam, **QUICK).fit(few["train"])
    folder = save_run(run, tmp_path / "run")
    loaded = load_run(folder, network())
    assert torch.equal(loaded.rounds_[0].maps.maps, run.rounds_[0].maps.maps) and model_fingerprint(
        loaded.model_
    ) == model_fingerprint(run.model_)
    with pytest.raises(ValueError, match=r"made with source=class captum.*LayerGradCam, which a file cannot hold"):
        loaded.compute_maps(few["train"])
    again = load_run(folder, network(), source=LayerGradCam).compute_maps(few["train"])
    assert torch.equal(again.rounds_[0].maps.maps, run.rounds_[0].maps.maps)


def test_a_device_is_kept_as_its_name(few, tmp_path):
    run = MaskTune(network(), epochs=1, device=torch.device("cpu"), progress=False).fit_erm(few["train"])
    assert run.device == "cpu" and load_run(save_run(run, tmp_path / "run"), network()).device == "cpu"
    assert Settings(device="cuda:1").device == "cuda:1"  # which the machine that runs it may have
    with pytest.raises(ValueError, match="device 'cuda:9' is not available here"):
        MaskTune(network(), epochs=1, device="cuda:9").fit_erm(few["train"])


def test_what_the_plain_model_was_trained_with_stands(few, tmp_path):
    run = MaskTune(network(), epochs=1, batch_size=16, seed=3, **QUICK).fit_erm(few["train"])
    folder = save_run(run, tmp_path / "run")
    own = dict(batch_size=8, seed=5, augment="flip", momentum=0.5)
    tuned = load_run(folder, network(), **own).compute_maps(few["train"]).finetune_round(few["train"])
    save_run(tuned, folder)
    config = json.loads((folder / "config.json").read_text())
    assert [config["settings"][name] for name in own] == [16, 3, "none", 0.9] and config["finetuning"] == own
    loaded = load_run(folder, network())
    assert {name: getattr(loaded, name) for name in own} == own
    assert [loaded.erm_settings_[name] for name in own] == [16, 3, "none", 0.9]
    for wrong in (dict(epochs=5), dict(lr=0.5), dict(schedule="cosine"), dict(milestones=(1,))):
        with pytest.raises(ValueError, match=rf"was trained with {next(iter(wrong))} .*its plain model is finished"):
            load_run(folder, network(), **wrong)
    assert load_run(folder, network(), epochs=1).epochs == 1  # what it is anyway


DIVERGING = dict(epochs=3, lr=1e4)


def dry():
    "No batch normalisation holds it together"
    seed_everything(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 2),
    )


@pytest.mark.parametrize("make", [network, dry])
def test_a_diverging_training_stops_and_gives_the_model_back(make, few):
    model, rows = make(), []
    model[0].eval() if isinstance(model, nn.Sequential) else model.features[1].eval()
    before, modes = model_fingerprint(model), [m.training for m in model.modules()]
    with pytest.raises(TrainingDiverged, match="at learning rate 10000, which is too high here: lower it, to 1000"):
        fit(model, few["train"], on_epoch=rows.append, **DIVERGING, **QUICK)
    assert model_fingerprint(model) == before and [m.training for m in model.modules()] == modes
    assert len(rows) < 3


def test_an_exploded_loss_stops_a_training_in_the_middle_of_an_epoch(few):
    steps = []
    with pytest.raises(TrainingDiverged, match="the loss went from"):
        fit(dry(), few["train"], epochs=1, lr=1e4, batch_size=2, on_step=lambda step: steps.append(step.step), **QUICK)
    assert len(steps) == 19  # of 48: the first look is after 20


def test_a_diverged_run_keeps_nothing(few, tmp_path):
    run = MaskTune(dry(), layer="3", **DIVERGING, **QUICK)
    kept = Resumable(run, tmp_path / "run", seconds=0)
    with pytest.raises(ValueError, match="learning rate 10000"):
        kept.fit(few["train"], few["val"])
    assert run.erm_ is None and not run.history_
    assert not list((tmp_path / "run").rglob("*.pt"))
    log = tmp_path / "run" / "log.jsonl"
    assert not log.exists() or not log.read_text()


def test_a_finetuning_that_diverges_leaves_the_run_as_it_was(few):
    run = (
        MaskTune(dry(), epochs=1, layer="3", finetune_lr=1e5, finetune_epochs=3, **QUICK)
        .fit_erm(few["train"])
        .compute_maps(few["train"])
    )
    before = model_fingerprint(run.erm_)
    with pytest.raises(ValueError, match="at learning rate 100000"):
        run.finetune_round(few["train"])
    assert run.rounds_[0].model is None and set(run.history_) == {"erm"} and model_fingerprint(run.erm_) == before


@pytest.mark.parametrize("lr", [0.1, 1.0])
def test_a_lively_training_is_no_diverging_one(few, lr):
    """Rates ten and a hundred times the recipe's: rough, but the loss was at most 18 of the 69 allowed (three seeds,
    two kinds of rounding)"""
    assert len(fit(network(), few["train"], epochs=3, lr=lr, **QUICK).history) == 3


OUT_OF_ORDER = {
    "fit_rounds": lambda run, few: run.fit_rounds(few["train"]),
    "compute_maps": lambda run, few: run.compute_maps(few["train"]),
    "finetune_round": lambda run, few: run.finetune_round(few["train"]),
    "choose_round": lambda run, few: run.choose_round(few["val"]),
    "evaluate": lambda run, few: run.evaluate(few["val"]),
    "fit_control": lambda run, few: run.fit_control(few["train"]),
    "swapped": lambda run, few: run.swapped(few["val"]),
    "masked": lambda run, few: run.masked(few["train"], 1),
    "branch": lambda run, few: run.branch(fill="mean"),
    "model_": lambda run, few: run.model_,
    "save_erm": lambda run, few: save_erm(run, "nowhere"),
}


@pytest.mark.parametrize("name", OUT_OF_ORDER)
def test_a_step_out_of_order_says_what_comes_first(name, few):
    with pytest.raises(ValueError, match=r"call (fit|compute_maps|fit_erm)"):
        OUT_OF_ORDER[name](MaskTune(network(), epochs=1, **QUICK), few)


def test_rounds_out_of_order_say_so(few):
    run = MaskTune(network(), epochs=1, **QUICK).fit_erm(few["train"])
    for call in (
        lambda: run.fit_rounds(few["train"]),
        lambda: run.finetune_round(few["train"]),
        lambda: run.masked(few["train"], 1),
    ):
        with pytest.raises(ValueError, match="round 1 has no maps yet: call compute_maps first"):
            call()
    with pytest.raises(ValueError, match="round 2 explains round 1, which has not been finetuned yet"):
        run.compute_maps(few["train"], 2)
    for number in (0, -1, 1.5):
        with pytest.raises(ValueError, match="number must be a"):
            run.compute_maps(few["train"], number)
    with pytest.raises(ValueError, match="there is no data set to measure on"):
        run.evaluate({})


WRONG = [
    dict(lr="fast"),
    dict(lr=True),
    dict(lr=math.nan),
    dict(lr=0),
    dict(finetune_lr="slow"),
    dict(rounds=2.0),
    dict(epochs=True),
    dict(epochs="3"),
    dict(batch_size=1),
    dict(finetune_batch_size=16.0),
    dict(eval_batch_size=0),
    dict(seed=-1),
    dict(seed=2**32),
    dict(momentum=1),
    dict(momentum="0.9"),
    dict(weight_decay=-1e-4),
    dict(gamma=0),
    dict(milestones=5),
    dict(milestones="5"),
    dict(milestones=(1.5,)),
    dict(num_workers=None),
    dict(cache="big"),
    dict(on_device="yes"),
    dict(recalibrate=1),
    dict(recalibrate_on="masked"),
    dict(fill=3),
    dict(optimizer=None),
    dict(source=7),
    dict(augment=7),
    dict(layer=nn.ReLU()),
    dict(device="gpu"),
    dict(device=3.5),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_a_setting_of_a_wrong_kind_is_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)


def test_numbers_of_other_kinds_are_plain_numbers_in_a_file(few, tmp_path):
    import numpy as np

    run = MaskTune(network(), epochs=np.int64(1), lr=np.float32(0.01), milestones=np.array([1]), **QUICK)
    config = json.loads(save_config(run, tmp_path).read_text())["settings"]
    assert config["epochs"] == 1 and config["lr"] == pytest.approx(0.01) and config["milestones"] == [1]


class Counting(nn.Module):
    "Notes how many images come at once, in training and else: copies note in the same place"

    seen = {True: set(), False: set()}  # noqa: RUF012

    def __init__(self):
        super().__init__()
        self.inner = network()

    def forward(self, images):
        self.seen[self.inner.features[0].training].add(len(images))
        return self.inner(images)


@pytest.mark.parametrize("given, most", [(24, 24), (None, 96)])
def test_passes_over_images_take_as_many_at_once_as_they_may(few, given, most):
    for counts in Counting.seen.values():
        counts.clear()
    run = MaskTune(Counting(), epochs=1, batch_size=8, eval_batch_size=given, recalibrate=True, rounds=2, **QUICK)
    run.fit(few["train"], few["val"]).evaluate(few["val"])
    assert max(Counting.seen[True]) == 8 and max(Counting.seen[False]) == most


def test_a_plain_finetuning_takes_no_more_at_once_than_it_may(few):
    Counting.seen[False].clear()
    finetune(Counting(), few["train"], lr=0.01, eval_batch_size=10, **QUICK)
    assert max(Counting.seen[False]) == 10


def test_what_cannot_be_saved_or_read_back_is_said(few, tmp_path):
    "Round 0 was once the last one, and a config without its normalisation a KeyError"
    run = MaskTune(network(), epochs=1, **QUICK).fit_erm(few["train"]).compute_maps(few["train"])
    for number in (0, 2):
        with pytest.raises(ValueError, match=f"this run has 1 rounds: there is no round {number} to save"):
            save_round(run, tmp_path, number)
    folder = save_run(run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    del config["normalisation"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="does not say how the plain model's images are normalised"):
        load_run(folder, network())
