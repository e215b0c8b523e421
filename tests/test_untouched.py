"""No call that only looks changes what it looks at: weights, modes, gradients' flags, devices, layouts, random
numbers, Accelerate."""

import copy
import hashlib
import random

import lightning.pytorch  # noqa: F401 (what draws from Python's generator when it is first imported is imported before)
import numpy as np
import pytest
import torch
from torch import nn

from masktune.abstaining import SelectiveClassifier
from masktune.comparing import compare
from masktune.counterfactuals import MovedMasks, RandomMask, SwappedDataset, TransplantBatch
from masktune.data import ArrayDataset
from masktune.diagnosis import diagnose
from masktune.evaluation import evaluate, predict
from masktune.experiments.compare_methods import run_method
from masktune.experiments.methods import Bench
from masktune.experiments.recipes import get_recipe
from masktune.faithfulness import choose_evidence, faithfulness
from masktune.features import explored_features
from masktune.finetune import MaskTune
from masktune.instrument import ask_widely, instrument_data
from masktune.kinds import find_kinds, judged_maps
from masktune.lab.compare import CompareExplorer
from masktune.lab.coverage import CoverageExplorer
from masktune.lab.evidence import ClassEvidence
from masktune.lab.review import EvidenceReview
from masktune.lab.scrubber import ThresholdScrubber
from masktune.layers import find_target_layer, grid_layers, named_layer
from masktune.loops import MaskCallback, MaskHook, MaskTrainerCallback
from masktune.masking import MaskBatch, MaskedDataset, Threshold
from masktune.models import as_classifier, evaluating, model_fingerprint
from masktune.probes import fit_probes
from masktune.refit import choose_refit
from masktune.repair import repair
from masktune.report import write_report
from masktune.runs import load_run, save_run
from masktune.saliency import compute_saliency
from masktune.sources import SOURCES
from masktune.xgradcam import LayerXGradCam

COUNT, SIZE = 24, 16


class Network(nn.Module):
    "Batch normalisation, dropout and an in-place activation: everything whose mode or memory matters"

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, 2)

    def forward(self, images):
        return self.head(self.dropout(self.features(images).mean((2, 3))))


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (COUNT, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator)
    labels = torch.arange(COUNT) % 2
    return ArrayDataset(
        pixels, labels, ["even", "odd"], groups=labels, group_names=["a", "b"], name="noise", split="val"
    )


def later(images):
    "As many less two, which were not trained on"
    names = {"groups": images.groups[2:], "group_names": images.group_names, "name": images.name, "split": "val"}
    return ArrayDataset(255 - images.images[2:], images.labels[2:], images.classes, **names)


def mixed(kind):
    "A classifier as its owner may have left it"
    torch.manual_seed(0)
    model = as_classifier(
        Network(), ArrayDataset(torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8), [0, 1], ["even", "odd"])
    )
    model.train()
    if kind == "eval":
        model.eval()
    if kind == "frozen":
        model.network.features[1].eval()
        for parameter in model.network.features[:2].parameters():
            parameter.requires_grad_(False)
    if kind == "channels-last":
        model.to(memory_format=torch.channels_last)
        model.network.dropout.eval()
    return model


def state(model):
    "Everything of a model that a guest must leave alone"
    values = [*model.named_parameters(), *model.named_buffers()]
    return {
        "fingerprint": model_fingerprint(model),
        "modes": [(name, module.training) for name, module in model.named_modules()],
        "requires_grad": [(name, value.requires_grad) for name, value in values],
        "grad": [(name, value.grad is None) for name, value in values],
        "placed": [(name, value.device, value.dtype, value.stride(), value.data_ptr()) for name, value in values],
        "hooks": [
            (name, len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks))
            for name, module in model.named_modules()
        ],
    }


def world():
    "What belongs to the process: random numbers, settings of PyTorch, Accelerate's shared state"
    from accelerate.state import AcceleratorState, PartialState

    return {
        "torch": hashlib.sha256(torch.get_rng_state().numpy().tobytes()).hexdigest(),
        "numpy": hashlib.sha256(np.random.get_state()[1].tobytes()).hexdigest() + str(np.random.get_state()[2]),
        "python": hash(random.getstate()),
        "gradients": torch.is_grad_enabled(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "fast attention": torch.backends.mha.get_fastpath_enabled(),
        "dtype": torch.get_default_dtype(),
        "accelerate": (dict(AcceleratorState._shared_state), dict(PartialState._shared_state)),
    }


def maps_of(model, images):
    with evaluating(model):
        return compute_saliency(model, images)


def run_of(model, images):
    "A run that takes the model as its plain one, with a finetuned one beside it"
    run = MaskTune(model, epochs=0, finetune_lr=1e-3, batch_size=8, progress=False, cache=0)
    return run.fit(images, images)


def review_all(model, images):
    "Judge every kind of evidence in the panel"
    kinds = find_kinds(model, images)
    review = EvidenceReview(kinds, images, model)
    for name in kinds.kinds:
        review.judge(name, "unsure")
    review.close()


def judge_all(model, images):
    kinds = find_kinds(model, images)
    for name in kinds.kinds:
        kinds.judge(name, "shortcut")
    with evaluating(model):
        return judged_maps(kinds, model, images, maps_of(model, images))


def look_at_run(model, images, use):
    run = run_of(model, images)
    fingerprints = [model_fingerprint(m) for m in (run.erm_, run.model_)]
    use(run)
    assert [model_fingerprint(m) for m in (run.erm_, run.model_)] == fingerprints
    assert not run.erm_.training and not run.model_.training


SCALE = {"mean": (0.5,) * 3, "std": (0.25,) * 3}


def floats_of(images):
    "A batch as a loop of one's own has it"
    return (images.images[:4] / 255 - 0.5) / 0.25


def look_elsewhere(scrubber):
    "Another layer's maps, and what each is worth"
    scrubber.look(scrubber.looking.layers[-1], scrubber.looking.sources[-1]).measure().wait().close()


CALLS = {
    "predict": lambda model, images, tmp: predict(model, images),
    "predict, bf16": lambda model, images, tmp: predict(model, images, mixed_precision="bf16"),
    "evaluate": lambda model, images, tmp: evaluate(model, images),
    "evaluate, on the CPU": lambda model, images, tmp: evaluate(model, images, device="cpu"),
    "find_target_layer": lambda model, images, tmp: find_target_layer(model, images[0].image[None]),
    "grid_layers": lambda model, images, tmp: grid_layers(model, images[0].image[None]),
    "named_layer": lambda model, images, tmp: named_layer(model, "network.features.2", images[0].image[None]),
    "attribute": lambda model, images, tmp: LayerXGradCam(model, model.network.features[5]).attribute(
        images.images[:4]
    ),
    "attribute to input": lambda model, images, tmp: LayerXGradCam(model, model.network.features[5]).attribute(
        images.images[:4], attribute_to_layer_input=True
    ),
    "MaskBatch": lambda model, images, tmp: MaskBatch(model)(images.images[:4]),
    "MaskBatch, noise": lambda model, images, tmp: MaskBatch(model, fill="noise")(images.images[:4]),
    "MaskBatch, normalised floats": lambda model, images, tmp: MaskBatch(model.network, **SCALE)(floats_of(images)),
    "MaskHook": lambda model, images, tmp: MaskHook(model.network, fill="noise", **SCALE)(floats_of(images), None),
    "MaskTrainerCallback": lambda model, images, tmp: MaskTrainerCallback(model.network, **SCALE).masked(
        (floats_of(images),), {}
    ),
    "MaskCallback": lambda model, images, tmp: MaskCallback(model.network, **SCALE).mask(floats_of(images)),
    "compute_saliency, given": lambda model, images, tmp: compute_saliency(
        model, images, source="given", given=[(0, 0, 4, 4)] * COUNT
    ),
    "MaskedDataset, given": lambda model, images, tmp: MaskedDataset(
        images, maps_of(model, images), given=[(0, 0, 4, 4)] * COUNT, protect=[(4, 4, 9, 9)] * COUNT
    )[0],
    "MaskedDataset": lambda model, images, tmp: MaskedDataset(images, maps_of(model, images))[0],
    "MaskedDataset, noise": lambda model, images, tmp: MaskedDataset(images, maps_of(model, images), fill="noise")[0],
    "SwappedDataset": lambda model, images, tmp: SwappedDataset(images, maps_of(model, images))[0],
    "MovedMasks": lambda model, images, tmp: MovedMasks(images, maps_of(model, images))[0],
    "compute_saliency, probe": lambda model, images, tmp: compute_saliency(model, images, source="probe"),
    "fit_probes": lambda model, images, tmp: fit_probes(model, images),
    "faithfulness": lambda model, images, tmp: faithfulness(model, images),
    "choose_evidence": lambda model, images, tmp: choose_evidence(model, images, rules=("mean_std(k=2)",)),
    "find_kinds": lambda model, images, tmp: find_kinds(model, images),
    "judged_maps": lambda model, images, tmp: judge_all(model, images),
    "diagnose": lambda model, images, tmp: diagnose(model, images),
    "threshold": lambda model, images, tmp: Threshold.parse("otsu")(maps_of(model, images).maps, (SIZE, SIZE)),
    "SelectiveClassifier": lambda model, images, tmp: (
        SelectiveClassifier([model]).calibrate(images, coverage=0.8).predict(images.images)
    ),
    "SelectiveClassifier.export": lambda model, images, tmp: SelectiveClassifier([model]).export(
        tmp / "model.pt2", images.images[:4]
    ),
    "SelectiveClassifier.save": lambda model, images, tmp: SelectiveClassifier([model]).save(tmp / "selective"),
    "ThresholdScrubber": lambda model, images, tmp: look_elsewhere(
        ThresholdScrubber(model, images, maps_of(model, images)).wait()
    ),
    "EvidenceReview": lambda model, images, tmp: review_all(model, images),
    "instrument_data": lambda model, images, tmp: instrument_data(
        images, maps_of(model, images), range(4), fill="noise", model=model
    ),
    "ask_widely": lambda model, images, tmp: ask_widely(
        model, images, maps_of(model, images), range(len(images)), Threshold.parse("otsu"), "noise"
    ),
    "ClassEvidence": lambda model, images, tmp: ClassEvidence(images, maps_of(model, images), model=model).close(),
    "CoverageExplorer": lambda model, images, tmp: CoverageExplorer(SelectiveClassifier([model]), images).close(),
    "compare": lambda model, images, tmp: compare(model, model, images),
    "CompareExplorer": lambda model, images, tmp: CompareExplorer(model, model, images).close(),
    "run, evaluate": lambda model, images, tmp: look_at_run(model, images, lambda run: run.evaluate(images)),
    "run, swapped": lambda model, images, tmp: look_at_run(model, images, lambda run: run.swapped(images)[0]),
    "run, choose_round": lambda model, images, tmp: look_at_run(model, images, lambda run: run.choose_round(images)),
    "run, features": lambda model, images, tmp: look_at_run(model, images, lambda run: explored_features(run, images)),
    "run, control": lambda model, images, tmp: look_at_run(model, images, lambda run: run.fit_control(images)),
    "run, refit": lambda model, images, tmp: look_at_run(model, images, lambda run: run.refit(images)),
    "run, repair": lambda model, images, tmp: look_at_run(
        model, images, lambda run: repair(run, images, later(images))
    ),
    "run_method": lambda model, images, tmp: look_at_run(
        model,
        images,
        lambda run: run_method(Bench(get_recipe("biased-digits"), 0, images, images, run), "afr", {"test": images}),
    ),
    "choose_refit": lambda model, images, tmp: choose_refit(model, images, gammas=(0, 4)),
    "repair, by probes": lambda model, images, tmp: repair(
        model, images, later(images), gammas=(0,), finetune_lr=1e-3, batch_size=8, progress=False, faithful=True
    ),
    "repair": lambda model, images, tmp: repair(
        model,
        images,
        later(images),
        gammas=(0,),
        finetune_lr=1e-3,
        batch_size=8,
        progress=False,
        cache=0,
        thorough=True,
    ),
    "TransplantBatch": lambda model, images, tmp: TransplantBatch(model).explain(images.images[:4]),
    "run, report": lambda model, images, tmp: look_at_run(
        model, images, lambda run: (run.evaluate(images), write_report(run, tmp / "report.html", images, images))
    ),
    "run, saved and loaded": lambda model, images, tmp: look_at_run(
        model, images, lambda run: load_run(save_run(run, tmp / "run"), copy.deepcopy(model))
    ),
}
for source in SOURCES:
    if not source.startswith("attention"):
        CALLS[f"compute_saliency, {source}"] = lambda model, images, tmp, source=source: compute_saliency(
            model, images, source=source
        )


@pytest.mark.parametrize("kind", ["train", "eval", "frozen", "channels-last"])
@pytest.mark.parametrize("call", CALLS)
def test_looking_changes_nothing(call, kind, images, tmp_path):
    model, pixels = mixed(kind), images.images.clone()
    before, around = state(model), world()
    CALLS[call](model, images, tmp_path)
    after, around_after = state(model), world()
    assert {key: after[key] == before[key] for key in before} == dict.fromkeys(before, True)
    assert {key: around_after[key] == around[key] for key in around} == dict.fromkeys(around, True)
    assert torch.equal(images.images, pixels)


def test_a_random_mask_needs_no_model_and_may_draw(images):
    "The one exception: a random mask draws from the global generator, as the augmentation it stands for does"
    torch.manual_seed(1)
    first = RandomMask()(images.images)
    torch.manual_seed(1)
    assert torch.equal(first, RandomMask()(images.images))


def test_maps_belong_to_the_model_after_it_was_looked_at(images):
    model = mixed("train")
    maps = compute_saliency(model, images)
    LayerXGradCam(model, model.network.features[5]).attribute(images.images[:4])
    maps.check(images, model)


def test_ones_own_accelerator_is_left_alone(images):
    "In a process of its own: Accelerate's state is the process's"
    import subprocess
    import sys

    program = """
import torch
from accelerate import Accelerator
from masktune.data import ArrayDataset
from masktune.erm import fit
from masktune.evaluation import evaluate
from masktune.models import Classifier
from torch import nn

images = ArrayDataset(torch.randint(0, 256, (8, 3, 8, 8), dtype=torch.uint8), [0, 1] * 4, ["a", "b"])
def network(): return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
if "own first" == ORDER:
    mine = Accelerator(mixed_precision="bf16", cpu=True)
    evaluate(network(), images)
    fit(network(), images, epochs=1, lr=0.01, batch_size=4, progress=False)
else:
    evaluate(network(), images)
    fit(network(), images, epochs=1, lr=0.01, batch_size=4, progress=False)
    mine = Accelerator(mixed_precision="bf16", cpu=True)
print(mine.mixed_precision)
"""
    for order in ("own first", "own last"):
        run = subprocess.run([sys.executable, "-c", f"ORDER = {order!r}\n{program}"], capture_output=True, text=True)
        assert run.stdout.strip() == "bf16", run.stdout + run.stderr
