"Training: the same seed gives the same weights, groups are never seen, nothing trains what it should not."

import copy
import json
import logging

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from masktune.batchnorm import recalibrate_batchnorm
from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.erm import TrainingStopped, fit
from masktune.finetune import MaskTune
from masktune.models import as_classifier, build_model, model_fingerprint
from masktune.resume import Resumable
from masktune.runs import load_run, save_run

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
    run = trained(digits["train"], digits["val"], epochs=3, recipe="paper")
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


def statistics(model):
    norms = [m for m in model.network.modules() if isinstance(m, nn.BatchNorm2d)]
    return torch.cat([value for norm in norms for value in (norm.running_mean, norm.running_var)])


def test_statistics_are_measured_on_images_as_they_are_where_that_is_asked_for(digits):
    "Masked black, everything is darker: what batch normalisation measured there is not what the model will be asked"
    train = digits["train"]
    run = trained(train, digits["val"], rule="quantile(0.5)")
    by = {"xgradcam": {"mask": False, "transplant": False}, "probe": {"mask": False, "transplant": True}}
    for source, modes in by.items():
        for mode, plain in modes.items():
            assert run.branch(source=source, mode=mode).finetuning(len(train)).plain is plain
    found = {}
    for on in ("auto", "changed", "plain"):
        found[on] = run.branch(recalibrate=True, recalibrate_on=on).finetune_round(train).model_
    assert model_fingerprint(found["auto"]) == model_fingerprint(found["changed"])
    weights = [{name: value for name, value in model.network.named_parameters()} for model in found.values()]
    assert all(torch.equal(weights[0][name], weights[2][name]) for name in weights[0])  # the same training
    assert (statistics(found["plain"]) - statistics(found["changed"])).abs().max() > 0.01
    anew = copy.deepcopy(found["changed"])
    recalibrate_batchnorm(anew, train, seed=run.seed + 1, device="cpu")
    assert torch.allclose(statistics(anew), statistics(found["plain"]), atol=1e-6)


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


def plain_loop(model, data, epochs, lr, seed):
    "What `fit` with its defaults is: SGD with momentum, cross-entropy, batches of 32 in the seed's order"
    model = as_classifier(model, data)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for epoch in range(1, epochs + 1):
            model.train()
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
            for part in order.split(32):
                loss = F.cross_entropy(model(data.images[part]), data.labels[part])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
    return model_fingerprint(model)


def fresh():
    seed_everything(0)
    return build_model("small-cnn", 2)


def test_a_training_with_defaults_is_a_plain_loop_bit_for_bit(digits):
    few, model = digits["train"].subset(range(96)), fresh()
    fit(model, few, epochs=2, lr=0.01, seed=5, device="cpu", progress=False)
    assert model_fingerprint(model) == plain_loop(fresh(), few, 2, 0.01, 5)


def focal(scores, labels):
    chosen = scores.softmax(1).gather(1, labels[:, None])
    return ((1 - chosen) ** 2 * -chosen.log()).mean()


def radam(parameters):
    return torch.optim.RAdam(parameters, lr=2e-3)


CHOICES = {
    "adamw": dict(optimizer="adamw", lr=1e-3),
    "warmup": dict(warmup=1.5),
    "warmup and cosine": dict(warmup=0.5, schedule="cosine"),
    "max_grad_norm": dict(max_grad_norm=0.1),
    "label_smoothing": dict(label_smoothing=0.2),
    "class_weights": dict(class_weights=(1.0, 9.0)),
    "sampling": dict(sampling="balanced"),
    "criterion": dict(criterion=focal),
    "optimizer": dict(optimizer=radam, lr=None),
}


@pytest.fixture(scope="module")
def uneven(digits):
    "Twelve of the first class, forty-eight of the second"
    labels = digits["train"].labels
    chosen = [*(labels == 0).nonzero().flatten()[:12].tolist(), *(labels == 1).nonzero().flatten()[:48].tolist()]
    return digits["train"].subset(chosen)


@pytest.mark.parametrize("name", CHOICES)
def test_each_choice_trains_otherwise_and_is_gone_on_with_after_a_stop(name, uneven):
    options = dict(epochs=2, lr=0.01, device="cpu", progress=False, batch_size=16) | CHOICES[name]
    whole, usual = fresh(), fresh()
    fit(whole, uneven, **options)
    fit(usual, uneven, epochs=2, lr=0.01, device="cpu", progress=False, batch_size=16)
    assert model_fingerprint(whole) != model_fingerprint(usual)
    with pytest.raises(TrainingStopped) as stopped:
        fit(fresh(), uneven, on_step=lambda step: step.epoch == 2 and step.step == 2, **options)
    state, resumed = stopped.value.state, fresh()
    fit(resumed, uneven, resume=state, **options)
    assert model_fingerprint(resumed) == model_fingerprint(whole)
    changed = options | {"optimizer": "sgd", "lr": 0.01} if "optimizer" in CHOICES[name] else dict(options)
    for key in set(CHOICES[name]) - {"optimizer", "lr", "schedule"}:
        del changed[key]
    with pytest.raises(ValueError, match="of another training"):
        fit(fresh(), uneven, resume=state, **changed)


def test_a_state_of_a_training_with_defaults_knows_nothing_of_later_choices(uneven):
    "So a training that was stopped before there were any goes on"
    options = dict(epochs=1, lr=0.01, device="cpu", progress=False)
    with pytest.raises(TrainingStopped) as stopped:
        fit(fresh(), uneven, on_step=lambda step: True, **options)
    state = stopped.value.state
    assert not {"warmup", "max_grad_norm", "label_smoothing", "class_weights", "sampling", "criterion"} & set(
        state["plan"]
    )
    for name, value in (("warmup", 1), ("sampling", "balanced"), ("criterion", focal)):
        with pytest.raises(ValueError, match=f"of another training: {name}"):
            fit(fresh(), uneven, resume=state, **options | {name: value})


def test_pytorchs_own_loss_as_a_criterion_is_the_default(uneven):
    options = dict(epochs=1, lr=0.01, device="cpu", progress=False)
    given, usual = fresh(), fresh()
    fit(given, uneven, criterion=nn.CrossEntropyLoss(), **options)
    fit(usual, uneven, **options)
    assert model_fingerprint(given) == model_fingerprint(usual)


def test_clipping_bounds_the_step(uneven):
    "At a rate of 1 without momentum the first step is the gradient itself"
    before, after = fresh(), fresh()
    plain = dict(epochs=1, lr=1.0, momentum=0.0, weight_decay=0.0, device="cpu", progress=False, batch_size=60)
    fit(after, uneven, max_grad_norm=0.01, **plain)
    moved = torch.cat([(a - b).flatten() for a, b in zip(after.parameters(), before.parameters(), strict=True)])
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-2)


def test_a_vision_transformer_needs_warm_up_and_clipping_and_gets_them(digits):
    "Three blocks of one, random weights, the digits with their square: a loss that stays at guessing, or falls"
    import timm

    def trained_vit(**options):
        seed_everything(0)
        model = timm.create_model("vit_tiny_patch16_224", img_size=28, patch_size=7, num_classes=2, depth=3)
        options = dict(epochs=4, lr=1e-3, optimizer="adamw", weight_decay=0.05, device="cpu", progress=False) | options
        return fit(model, digits["train"], digits["val"], **options).history

    history = trained_vit(warmup=2, max_grad_norm=1.0)
    assert history[-1]["val_accuracy"] > 0.9 and history[-1]["loss"] < 0.3
    assert [row["lr"] for row in history] == pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])


def test_an_optimiser_of_ones_own_goes_through_a_whole_run(uneven, tmp_path):
    def two_rates(parameters):
        return torch.optim.SGD([{"params": parameters[:4]}, {"params": parameters[4:], "lr": 0.002}], lr=0.02)

    settings = {**SHORT, "epochs": 1, "optimizer": two_rates, "criterion": focal, "finetune_lr": 0.01}
    run = MaskTune(fresh(), **settings).fit(uneven)
    rates = [
        [g["lr"] for g in state["param_groups"]] for state in (run.optimizer_state_, run.rounds_[0].optimizer_state)
    ]
    assert rates[0] == pytest.approx([0.02, 0.002]) and rates[1] == pytest.approx([0.01, 0.001])  # in one ratio
    folder = save_run(run, tmp_path / "run")
    stored = json.loads((folder / "config.json").read_text())["settings"]
    assert stored["criterion"].endswith("test_training.focal") and "two_rates" in stored["optimizer"]
    loaded = load_run(folder, fresh())
    with pytest.raises(
        ValueError, match=r"made with optimizer=function .*two_rates, which a file cannot hold: give it"
    ):
        loaded.finetune_round(uneven)
    again = load_run(folder, fresh(), optimizer=two_rates, criterion=focal).finetune_round(uneven)
    assert model_fingerprint(again.model_) == model_fingerprint(run.model_)


def test_a_loss_named_by_its_module_is_imported_and_kept_by_name(uneven, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        "import torch.nn.functional as F\n\n\ndef doubled(s, y):\n    return 2 * F.cross_entropy(s, y)\n"
    )
    monkeypatch.chdir(tmp_path)
    options = {**SHORT, "epochs": 1, "criterion": "my_losses:doubled"}
    kept = Resumable(MaskTune(fresh(), **options), tmp_path / "run").fit_erm(uneven)
    usual = MaskTune(fresh(), **{**SHORT, "epochs": 1}).fit_erm(uneven)
    rows = kept.run.history_["erm"][0], usual.history_["erm"][0]
    assert rows[0]["loss"] > rows[1]["loss"]
    assert json.loads((tmp_path / "run" / "config.json").read_text())["settings"]["criterion"] == "my_losses:doubled"
    assert Resumable.open(tmp_path / "run", fresh()).fit_rounds(uneven).run.model_ is not None


def test_imbalanced_validation_images_choose_by_balanced_accuracy_and_say_so(uneven, digits, caplog):
    with caplog.at_level(logging.WARNING, logger="masktune"):
        found = fit(fresh(), digits["train"].subset(range(64)), uneven, epochs=3, lr=0.01, device="cpu", progress=False)
    assert "validation images are imbalanced (48 of 5-9, 12 of 0-4): the best epoch is chosen by class-balanced" in (
        caplog.text
    )
    best = max(row["val_balanced_accuracy"] for row in found.history)
    assert found.history[found.best_epoch - 1]["val_balanced_accuracy"] == best
    assert {row["selected_by"] for row in found.history} == {"class-balanced accuracy"}
    caplog.clear()
    fit(
        fresh(),
        digits["train"].subset(range(64)),
        uneven,
        epochs=1,
        lr=0.01,
        select="average",
        device="cpu",
        progress=False,
    )
    fit(fresh(), digits["train"].subset(range(64)), digits["val"], epochs=1, lr=0.01, device="cpu", progress=False)
    assert "imbalanced" not in caplog.text  # asked for, or balanced


def test_a_run_writes_what_chose_its_epoch(uneven, tmp_path):
    run = MaskTune(fresh(), **{**SHORT, "epochs": 1})
    Resumable(run, tmp_path / "run").fit_erm(uneven, uneven)
    row = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert row["selected_by"] == "class-balanced accuracy"
    assert row["val_balanced_accuracy"] == pytest.approx(run.history_["erm"][0]["val_balanced_accuracy"])


def test_the_command_takes_every_choice_and_writes_it(tmp_path, monkeypatch, capsys):
    from masktune.cli import main

    (tmp_path / "their_losses.py").write_text(
        "import torch.nn.functional as F\n\n\ndef plain(s, y):\n    return F.cross_entropy(s, y)\n"
    )
    monkeypatch.chdir(tmp_path)
    begin = ["erm", "--data", "biased-digits", "--epochs", "1", "--device", "cpu"]
    given = "--optimizer adamw --lr 0.001 --warmup 0.5 --max-grad-norm 1 --sampling balanced".split()
    assert main([*begin, "--out", "a", *given, "--label-smoothing", "0.1", "--class-weights", "balanced"]) == 0
    stored = json.loads((tmp_path / "a" / "config.json").read_text())["settings"]
    expected = dict(optimizer="adamw", warmup=0.5, max_grad_norm=1.0, sampling="balanced", label_smoothing=0.1)
    assert expected | {"class_weights": "balanced"} == {name: stored[name] for name in (*expected, "class_weights")}
    capsys.readouterr()
    for wrong, words in (
        (["--criterion", "their_losses:plain", "--class-weights", "1", "2"], "criterion is the whole loss"),
        (["--class-weights", "1", "2", "3"], "class_weights has 3 numbers for 2 classes: 0-4, 5-9"),
        (["--criterion", "their_losses:plane"], "criterion='their_losses:plane' cannot be imported"),
        (["--warmup", "2"], "warmup takes 2 epochs, the training 1"),
    ):
        assert main([*begin, "--out", "b", *wrong]) == 2
        error = capsys.readouterr().err.strip().splitlines()
        assert words in error[-1] and not [line for line in error if "Traceback" in line]


def test_clipping_takes_the_scale_of_half_precision_off_first():
    "The scaler works on any device; that it belongs to fp16, which needs a GPU, is no matter here"
    from masktune.devices import OneProcess

    process, weight = OneProcess(torch.device("cpu")), nn.Parameter(torch.zeros(3))
    process.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    stepper = process.prepare(torch.optim.SGD([weight], lr=1.0))
    process.backward((weight * torch.tensor([3.0, 0.0, 4.0])).sum())
    assert float(process.clip_grad_norm_([weight], 1.0)) == pytest.approx(5.0)
    stepper.step()
    assert weight.tolist() == pytest.approx([-0.6, 0.0, -0.8])


def test_the_papers_recipe_chooses_by_plain_accuracy_as_the_paper_does():
    from masktune.experiments.recipes import RECIPES
    from masktune.settings import Settings

    assert Settings().select == "auto" and Settings(recipe="paper").select == "average"
    assert Settings(recipe="paper", select="balanced").select == "balanced"
    for name in ("waterbirds", "celeba", "svhn-selective", "biased-mnist"):
        assert Settings(**RECIPES[name].settings).select == "average", name
