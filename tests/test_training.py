"Training: the same seed gives the same weights, groups are never seen, nothing trains what it should not."

import pytest
import torch

from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.erm import TrainingStopped, fit
from masktune.finetune import MaskTune
from masktune.models import build_model, model_fingerprint

SHORT = dict(epochs=2, device="cpu", progress=False)


def with_groups(data, groups, names):
    return ArrayDataset(
        data.images, data.labels, data.classes, groups=groups, group_names=names, name=data.name, split=data.split
    )


def trained(data, val, **settings):
    seed_everything(0)
    return MaskTune(build_model("small-cnn", 2), **SHORT | settings).fit(data, val)


def fingerprints(run):
    return model_fingerprint(run.erm_), model_fingerprint(run.model_), run.erm_last_["features.0.weight"].sum().item()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"on_device": True},
        {"rounds": 2},
        {"augment": "crop-flip"},
        {"optimizer": "adam", "lr": 1e-3},
        {"fill": "noise"},
    ],
)
def test_the_same_seed_gives_the_same_weights(digits, settings):
    first, second = (trained(digits["train"], digits["val"], **settings) for _ in range(2))
    assert fingerprints(first) == fingerprints(second)
    assert fingerprints(first) != fingerprints(trained(digits["train"], digits["val"], seed=1, **settings))


def test_shuffled_groups_leave_training_bit_identical(digits):
    train, val = digits["train"], digits["val"]
    shuffled = [
        with_groups(d, d.groups[torch.randperm(len(d), generator=torch.Generator().manual_seed(3))], d.group_names)
        for d in (train, val)
    ]
    unknown = [with_groups(d, None, []) for d in (train, val)]
    expected = fingerprints(trained(train, val, select="worst_class"))
    assert fingerprints(trained(*shuffled, select="worst_class")) == expected
    assert fingerprints(trained(*unknown, select="worst_class")) == expected


def test_the_model_given_is_not_trained(digits):
    model = build_model("small-cnn", 2)
    before = model_fingerprint(model)
    MaskTune(model, **SHORT).fit(digits["train"], digits["val"])
    assert model_fingerprint(model) == before


def test_finetuning_starts_from_the_last_weights_and_explains_the_best(digits):
    run = trained(digits["train"], digits["val"], epochs=3)
    assert run.rounds_[0].maps.model == model_fingerprint(run.erm_)
    last = build_model("small-cnn", 2)
    last.load_state_dict(run.erm_last_)
    fit(
        last,
        run.masked(digits["train"], 1),
        epochs=1,
        optimizer_state=run.optimizer_state_,
        lr=run.history_["erm"][-1]["lr"],
        seed=1,
        device="cpu",
        progress=False,
    )
    assert model_fingerprint(last) == model_fingerprint(run.model_)


def test_stored_and_on_device_masks_train_alike(digits):
    stored, on_device = (trained(digits["train"], digits["val"], on_device=flag) for flag in (False, True))
    for a, b in zip(stored.model_.state_dict().values(), on_device.model_.state_dict().values(), strict=True):
        # half-precision maps tip a pixel here and there
        torch.testing.assert_close(a.float(), b.float(), atol=5e-3, rtol=0)


def test_batchnorm_can_be_kept_still(digits):
    run = trained(digits["train"], digits["val"], freeze_batchnorm=True, finetune_lr=1e-4)
    for name, value in run.model_.network.state_dict().items():
        if "running" in name:
            assert torch.equal(value, run.erm_last_[name]), name


def test_rounds_accumulate_masks(digits):
    run = trained(digits["train"], digits["val"], rounds=2)
    first, both = run.masked(digits["train"], 1), run.masked(digits["train"], 2)
    black = [torch.stack([d[i].image for i in range(40)]).eq(0).all(1) for d in (first, both)]
    assert (black[0] & ~black[1]).sum() == 0 and black[1].sum() > black[0].sum()
    assert run.rounds_[1].maps.model == model_fingerprint(run.rounds_[0].model)


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda d: dict(train=d["train"], val=d["val"].subset([])), "is empty"),
        (lambda d: dict(train=d["train"].subset([0]), val=None), "too few images"),
    ],
)
def test_what_cannot_work_is_said_before_training(digits, break_it, message):
    with pytest.raises(ValueError, match=message):
        MaskTune(build_model("small-cnn", 2), **SHORT).fit(**break_it(digits))


def test_a_compiled_training_ends_like_a_plain_one(digits, monkeypatch):
    "The compiler's front end alone: what it would generate needs a C++ compiler, and rounds differently"
    monkeypatch.setattr(torch, "compile", lambda model, real=torch.compile: real(model, backend="eager"))
    plain, compiled = (trained(digits["train"], digits["val"], compile=flag) for flag in (False, True))
    assert fingerprints(compiled) == fingerprints(plain)
    assert list(compiled.model_.network.state_dict()) == list(plain.model_.network.state_dict())


def test_the_random_control_depends_on_the_seed_alone(digits):
    run = trained(digits["train"], digits["val"], recalibrate=True)
    first = model_fingerprint(run.fit_control(digits["train"]))
    torch.rand(7)  # whatever was drawn in between
    assert model_fingerprint(run.fit_control(digits["train"])) == first


def test_a_state_can_be_gone_on_with_twice(digits):
    "Resuming reads it: sums, history and weights in it stay those of the stop"
    train = digits["train"].subset(range(96))
    options = dict(epochs=2, lr=0.01, device="cpu", progress=False)
    with pytest.raises(TrainingStopped) as stopped:
        fit(build_model("small-cnn", 2), train, on_step=lambda step: step.step == 2, **options)
    state = stopped.value.state
    sums = state["totals"].clone()
    first, second = (fit(build_model("small-cnn", 2), train, resume=state, **options) for _ in range(2))
    assert torch.equal(state["totals"], sums) and state["history"] == []
    assert [row["loss"] for row in first.history] == [row["loss"] for row in second.history]
    assert all(torch.equal(value, second.last_state[name]) for name, value in first.last_state.items())
