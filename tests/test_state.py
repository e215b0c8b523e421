"Nobody's model, process or random numbers are other than they were: what a call may change, and what it must leave."

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from masktune.abstaining import SelectiveClassifier
from masktune.batchnorm import recalibrate_batchnorm
from masktune.data import ArrayDataset
from masktune.devices import OneProcess, borrowed, find_device, seed_everything
from masktune.erm import fit
from masktune.evaluation import evaluate, predict
from masktune.finetune import MaskTune
from masktune.models import Classifier, build_model, model_fingerprint
from masktune.runs import load_run, save_run

QUICK = dict(device="cpu", progress=False)


@pytest.fixture(scope="module")
def few(digits):
    return {"train": digits["train"].subset(range(64)), "val": digits["val"].subset(range(40))}


@pytest.fixture(scope="module")
def run(few):
    seed_everything(0)
    return MaskTune(build_model("small-cnn", 2), epochs=1, rounds=2, **QUICK).fit(few["train"], few["val"])


def in_eval(model):
    return not any(module.training for module in model.modules())


def a_network():
    "Batch normalisation and dropout, of which owners freeze some"
    seed_everything(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32, 2),
    )


def statistics(norm):
    return torch.cat([norm.running_mean, norm.running_var]).clone()


def test_results_are_handed_over_in_eval_mode(run, few, tmp_path):
    loaded = load_run(save_run(run, tmp_path / "run"), build_model("small-cnn", 2))
    for found in (run, loaded):
        assert all(in_eval(model) for model in (found.erm_, found.model_, *(r.model for r in found.rounds_)))
    assert in_eval(run.fit_control(few["train"]))
    network = build_model("small-cnn", 2)
    fit(network, few["train"], epochs=1, lr=0.01, **QUICK)
    assert in_eval(network)
    taken = MaskTune(build_model("small-cnn", 2), epochs=0, finetune_lr=0.01, **QUICK).fit_erm(few["train"])
    assert in_eval(taken.erm_)


def test_a_selective_classifier_and_its_models_are_in_eval_mode(few, tmp_path):
    models = [Classifier(build_model("small-cnn", 2)) for _ in range(2)]
    pair = SelectiveClassifier(models)
    assert in_eval(pair)
    assert in_eval(SelectiveClassifier.load(pair.save(tmp_path), lambda: build_model("small-cnn", 2)))


def test_using_a_result_changes_no_statistics(run, few):
    before = model_fingerprint(run.erm_)
    run.erm_(torch.stack([few["train"][i].image for i in range(8)]))
    assert model_fingerprint(run.erm_) == before


def test_a_result_can_be_trained_again_as_a_whole(few):
    network = a_network().eval()
    before = statistics(network[1])
    fit(network, few["train"], epochs=1, lr=0.01, **QUICK)
    assert not torch.equal(statistics(network[1]), before)


def test_modules_in_eval_mode_within_a_network_in_train_mode_stay_in_it(few):
    network = a_network()
    network[1].eval()
    network[3].eval()
    seen = []
    network.register_forward_pre_hook(
        lambda module, args: seen.append([m.training for m in module]) if module.training else None
    )
    before, others = statistics(network[1]), statistics(network[5])
    fit(network, few["train"], epochs=2, lr=0.01, recalibrate=True, **QUICK)
    assert seen and all(not modes[1] and not modes[3] and modes[0] and modes[5] for modes in seen)
    assert torch.equal(statistics(network[1]), before)
    assert not torch.equal(statistics(network[5]), others)


def test_a_batchnorm_with_frozen_parameters_keeps_its_statistics_even_when_they_are_measured_anew(few):
    network = a_network()
    network[1].requires_grad_(False)
    before = statistics(network[1])
    fit(network, few["train"], epochs=1, lr=0.01, recalibrate=True, **QUICK)
    assert torch.equal(statistics(network[1]), before)
    others = statistics(network[5])
    recalibrate_batchnorm(network, few["train"].subset(range(32)), device="cpu")
    assert torch.equal(statistics(network[1]), before) and not torch.equal(statistics(network[5]), others)


def test_what_is_frozen_stays_frozen_through_rounds_and_a_folder(few, tmp_path):
    network = a_network()
    network[1].eval()
    network[4].requires_grad_(False)
    run = MaskTune(network, epochs=1, rounds=1, recalibrate=True, layer="6", **QUICK).fit(few["train"])
    weight, before = network[4].weight, statistics(network[1])
    loaded = load_run(save_run(run, tmp_path / "run"), a_network())
    loaded.finetune_round(few["train"])
    for model in (run.erm_, run.model_, loaded.model_):
        assert torch.equal(statistics(model.network[1]), before)
        assert torch.equal(model.network[4].weight, weight)
    assert model_fingerprint(loaded.model_) == model_fingerprint(run.model_)


def test_parameters_that_require_gradients_alone_are_trained(few):
    network = a_network().requires_grad_(False)
    network[-1].requires_grad_(True)
    before = copy.deepcopy(network.state_dict())
    fit(network, few["train"], epochs=1, lr=0.1, **QUICK)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"9.weight", "9.bias"}
    with pytest.raises(ValueError, match="every parameter of the model is frozen"):
        fit(network.requires_grad_(False), few["train"], epochs=1, lr=0.1, **QUICK)


def test_a_failed_measuring_gives_the_statistics_back(few):
    network = a_network()
    before = statistics(network[1])

    def fails(images):
        raise RuntimeError("out of paper")

    with pytest.raises(RuntimeError, match="out of paper"):
        recalibrate_batchnorm(network, few["train"], batch_transform=fails, device="cpu")
    assert torch.equal(statistics(network[1]), before) and network[1].momentum == 0.1


def state_of(model):
    return (
        model_fingerprint(model),
        [module.training for module in model.modules()],
        [
            (
                p.requires_grad,
                p.device,
                p.is_contiguous(memory_format=torch.channels_last) if p.ndim == 4 else None,
                p.grad,
            )
            for p in model.parameters()
        ],
        [id(p) for p in model.parameters()] + [p.data_ptr() for p in model.parameters()],
        torch.get_rng_state().tolist(),
    )


CALLS = {
    "predict": lambda model, few, folder: predict(model, few["val"], batch_size=16, **QUICK),
    "evaluate": lambda model, few, folder: evaluate(model, few["val"], mixed_precision="bf16", **QUICK),
    "run.evaluate": lambda model, few, folder: (
        MaskTune(model, epochs=0, finetune_lr=0.1, **QUICK).fit_erm(few["train"]).evaluate(few["val"], {"x": model})
    ),
    "run.fit": lambda model, few, folder: MaskTune(model, epochs=1, layer="6", **QUICK).fit(few["train"], few["val"]),
    "calibrate": lambda model, few, folder: SelectiveClassifier([Classifier(copy.deepcopy(model))]).calibrate(
        few["val"], coverage=0.5, **QUICK
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_that_looks_leaves_everything_as_it_was(name, few, tmp_path):
    network = a_network()
    network[1].eval()
    network[0].requires_grad_(False)
    before = state_of(network)
    CALLS[name](network, few, tmp_path)
    assert state_of(network) == before


def test_a_selective_classifier_predicts_and_exports_without_a_trace(few, tmp_path):
    pair = SelectiveClassifier([Classifier(a_network())])
    pair.models[0].network[3].train()
    before = state_of(pair)
    pair.predict(torch.stack([few["train"][i].image for i in range(4)]))
    pair.export(tmp_path / "pair.pt2", torch.stack([few["train"][i].image for i in range(2)]))
    assert state_of(pair) == before


@pytest.mark.parametrize("breaks", [False, True])
def test_a_borrowed_model_comes_back_from_another_device_as_it_was(breaks):
    "The device without values stands for a second one: what is taken there must not stay there"
    model = Classifier(a_network())
    model.network[1].eval()
    model.network[4].to(memory_format=torch.channels_last)
    model(torch.rand(2, 3, 16, 16)).sum().backward()
    before, grads = state_of(model), [p.grad.clone() for p in model.parameters()]
    buffers = [id(b) for b in model.buffers()]
    try:
        with borrowed(model, torch.device("meta")) as taken:
            assert (
                taken is model
                and in_eval(model)
                and {t.device.type for t in (*model.parameters(), *model.buffers())} == {"meta"}
            )
            if breaks:
                raise RuntimeError
    except RuntimeError:
        assert breaks
    found = state_of(model)
    assert [v for v in found[:2]] == list(before[:2]) and found[3:] == before[3:]
    assert [b[:3] for b in found[2]] == [b[:3] for b in before[2]]
    assert all(torch.equal(p.grad, grad) for p, grad in zip(model.parameters(), grads, strict=True))
    assert [id(b) for b in model.buffers()] == buffers


ACCELERATE = """
import sys
sys.path.insert(0, {tests!r})
import torch
from conftest import split_digits
from masktune.devices import OneProcess, borrowed
from masktune.erm import fit
from masktune.evaluation import evaluate
from masktune.devices import seed_everything
from masktune.models import build_model, model_fingerprint
from masktune.saliency import compute_saliency
few = split_digits()["train"].subset(range(64))
def trained(**options):
    seed_everything(0)
    model = build_model("small-cnn", 2)
    fit(model, few, few, epochs=1, lr=0.01, progress=False, **options)
    return model
model = trained(device="cpu")
compute_saliency(model, few, device="cpu", progress=False)
assert "accelerate" not in sys.modules, "one process has no use for it"
from accelerate import Accelerator
mine = Accelerator(cpu=True, mixed_precision="bf16")   # can be made after any call
evaluate(model, few, device="cpu", progress=False)
compute_saliency(model, few, device="cpu", progress=False)
trained(device="cpu")
assert mine.mixed_precision == "bf16" and mine.state.mixed_precision == "bf16"
alone, handed = trained(device="cpu", mixed_precision="bf16"), trained(accelerator=mine)
assert model_fingerprint(alone) == model_fingerprint(handed) != model_fingerprint(model)
assert "forward" not in handed.__dict__
evaluate(handed, few, accelerator=mine, progress=False)
for wrong in (dict(mixed_precision="fp16"), dict(device="cuda")):
    try: evaluate(handed, few, accelerator=mine, **wrong)
    except ValueError as error: assert "accelerator" in str(error)
    else: raise SystemExit("was not refused")
"""


def test_accelerate_is_left_to_its_owner(tmp_path):
    script = ACCELERATE.format(tests=__file__.rpartition("/")[0])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_device_is_the_one_that_was_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert find_device("cuda:1") == torch.device("cuda:1") and find_device("cuda") == find_device(None) == torch.device(
        "cuda:0"
    )
    with pytest.raises(
        ValueError, match=r"'cuda:9' is not available here: leave it out, or use cpu or cuda:0 or cuda:1"
    ):
        find_device("cuda:9")


@pytest.mark.parametrize("device", ["gpu", "cuda:9", "meta", 3.5])
def test_a_device_that_is_not_there_is_refused_before_any_work(device, few):
    read = []

    class Watched(ArrayDataset):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    data = Watched(few["train"].images, few["train"].labels, few["train"].classes)
    for call in (
        lambda: fit(a_network(), data, epochs=1, lr=0.1, device=device),
        lambda: predict(a_network(), data, device=device),
    ):
        with pytest.raises(ValueError, match="device"):
            call()
    assert not read


def test_a_gradient_scaler_changes_no_step():
    """The half-precision path without a GPU: gradients scaled up by a power of two and down again are the same to
    the last bit"""
    images, labels = torch.rand(8, 3, 16, 16), torch.arange(8) % 2
    found = []
    for scaled in (False, True):
        model, process = a_network().eval(), OneProcess(torch.device("cpu"))
        process.scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if scaled else None
        optimizer = process.prepare(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        for _ in range(3):
            process.backward(nn.functional.cross_entropy(model(images), labels))
            optimizer.step()
            optimizer.zero_grad()
        found.append((model_fingerprint(model), optimizer.param_groups[0]["lr"], len(optimizer.state_dict()["state"])))
    assert found[0] == found[1]


def test_the_rest_of_an_epoch_is_the_epochs_rest(few):
    process = OneProcess(torch.device("cpu"))
    loader = process.prepare(torch.utils.data.DataLoader(torch.arange(10), batch_size=3))
    whole, rest = list(loader), list(process.skip_first_batches(loader, 2))
    assert len(whole) == 4 and [batch.tolist() for batch in rest] == [batch.tolist() for batch in whole[2:]]
