"Several processes on one machine: the same data, once each, the same model in the end, stopped and resumed."

import pytest
import torch

from masktune.batchnorm import recalibrate_batchnorm
from masktune.devices import seed_everything
from masktune.erm import TrainingStopped
from masktune.evaluation import evaluate
from masktune.finetune import MaskTune
from masktune.models import build_model, copy_of, model_fingerprint
from masktune.resume import finetune_round_in_processes


@pytest.fixture(scope="module")
def run(digits):
    seed_everything(0)
    settings = dict(epochs=4, batch_size=16, recipe="paper", recalibrate=True, device="cpu", progress=False)
    run = MaskTune(build_model("small-cnn", 2), **settings)
    return run.fit_erm(digits["train"], digits["val"]).compute_maps(digits["train"])


def weights(run):
    return {name: value.clone() for name, value in run.rounds_[0].model.network.state_dict().items()}


def test_two_processes_train_one_model(run, digits, tmp_path):
    steps = []
    finetune_round_in_processes(
        run, digits["train"], tmp_path / "two", processes=2, on_step=lambda s: steps.append((s.step, s.steps))
    )
    two = weights(run)
    assert steps == [(i, 9) for i in range(1, 10)]  # 288 images: nine steps of twice sixteen
    run.finetune_batch_size = 32  # one process with the same images in each step
    run.finetune_round(digits["train"])
    run.finetune_batch_size = None
    one = weights(run)
    moved = max(float((one[name] - run.erm_last_[name]).abs().max()) for name in one if one[name].is_floating_point())
    apart = max(
        float((one[name] - two[name]).abs().max())
        for name in one
        if "running" not in name and one[name].is_floating_point()
    )
    assert apart < 0.5 * moved  # batch statistics are per process: alike, not equal


def test_stopped_processes_go_on_to_the_same_weights(run, digits, tmp_path):
    finetune_round_in_processes(run, digits["train"], tmp_path / "whole", processes=2)
    whole = model_fingerprint(run.rounds_[0].model)
    with pytest.raises(TrainingStopped) as stopped:
        finetune_round_in_processes(
            run, digits["train"], tmp_path / "stopped", processes=2, on_step=lambda step: step.step == 3
        )
    assert 3 <= stopped.value.state["step"] < 9
    assert sorted(p.name for p in (tmp_path / "stopped").glob("stopped-*")) == ["stopped-0.pt", "stopped-1.pt"]
    finetune_round_in_processes(run, digits["train"], tmp_path / "stopped", processes=2, resume=True)
    assert model_fingerprint(run.rounds_[0].model) == whole
    assert evaluate(run.model_, digits["test"], device="cpu").average.count == len(digits["test"])


def test_few_images_leave_no_process_without_statistics(digits, tmp_path):
    "160 images are one batch of 128: shared out among two processes, neither had any, and means of zero were kept"
    few = digits["train"].subset(range(160))
    run = MaskTune(build_model("small-cnn", 2), epochs=1, batch_size=16, recalibrate=True, device="cpu", progress=False)
    run.fit_erm(few).compute_maps(few)
    finetune_round_in_processes(run, few, tmp_path / "few", processes=2)
    found = run.model_.network.state_dict()
    anew = recalibrate_batchnorm(copy_of(run.model_), run.masked(few, 1), device="cpu").network.state_dict()
    for name in (name for name in found if name.endswith("running_mean")):
        spread = anew[name.replace("mean", "var")].sqrt()
        assert found[name].abs().max() > 0 and ((found[name] - anew[name]).abs() < 0.1 * spread).all()


def test_too_many_processes_are_refused(run, digits, tmp_path):
    with pytest.raises(ValueError, match="processes must be from 1 to"):
        finetune_round_in_processes(run, digits["train"], tmp_path, processes=10_000)


def test_an_error_in_a_process_reaches_the_caller(run, digits, tmp_path):
    with pytest.raises(Exception, match="too few images"):
        one = digits["train"].subset([0])
        alone = (
            MaskTune(run.erm_, epochs=0, finetune_lr=0.01, device="cpu", progress=False).fit_erm(one).compute_maps(one)
        )
        finetune_round_in_processes(alone, one, tmp_path, processes=2)
    assert torch.is_grad_enabled()
