"What a user can give wrongly to training and to several labels an image, and the sentence that comes back."

import pytest
import torch
from marks_of_labels import films

from masktune.abstaining import SelectiveClassifier
from masktune.adapters import as_dataset
from masktune.counterfactuals import SwappedDataset
from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.diagnosis import diagnose
from masktune.erm import fit
from masktune.faithfulness import choose_evidence
from masktune.features import explored_features
from masktune.finetune import MaskTune
from masktune.kinds import find_kinds
from masktune.lab.scrubber import ThresholdScrubber
from masktune.models import as_classifier, build_model, model_fingerprint
from masktune.refit import refit
from masktune.repair import repair
from masktune.saliency import compute_saliency
from masktune.settings import Settings

QUICK = dict(device="cpu", progress=False)


def network(outputs=2):
    seed_everything(0)
    return build_model("small-cnn", outputs)


# A setting, and what is said of it: by `Settings` (so by MaskTune, a recipe, the command), and by `fit` alike.
SETTINGS = [
    (dict(optimizer="adamv"), "unknown optimizer 'adamv': did you mean 'adam'? known are sgd, adam, adamw"),
    (dict(optimizer=3), "optimizer must be sgd, adam, adamw or a function of the parameters to train, got 3"),
    (dict(warmup=-1), "warmup must be at least 0 epochs, got -1"),
    (dict(warmup="long"), "warmup must be a finite number, got 'long'"),
    (dict(warmup=9), "warmup takes 9 epochs, the training 2: it must be at most as long"),
    (dict(max_grad_norm=0), "max_grad_norm must be above 0, or None to clip nothing, got 0"),
    (dict(label_smoothing=1.0), "label_smoothing must be from 0 to below 1, got 1.0"),
    (dict(class_weights="balance"), "unknown class_weights 'balance': did you mean 'balanced'? known are balanced"),
    (dict(class_weights=3), 'class_weights must be "balanced" or a number for each class, got 3'),
    (dict(class_weights=[1, -1]), "class_weights must be numbers from 0 on, not all of them 0, got [1.0, -1.0]"),
    (dict(class_weights=[0, 0]), "class_weights must be numbers from 0 on, not all of them 0, got [0.0, 0.0]"),
    (dict(sampling="balance"), "unknown sampling 'balance': did you mean 'balanced'? known are shuffled, balanced"),
    (
        dict(select="balance"),
        "unknown select 'balance': did you mean 'balanced'? "
        "known are auto, average, balanced, worst_class, auroc, last",
    ),
    (
        dict(criterion=torch.nn.functional.cross_entropy, label_smoothing=0.1),
        "criterion is the whole loss: leave class_weights and label_smoothing out, or build them in",
    ),
]


@pytest.mark.parametrize(
    "given, sentence", SETTINGS, ids=[", ".join(given) + f" {n}" for n, (given, _) in enumerate(SETTINGS)]
)
def test_a_wrong_setting_is_one_sentence_everywhere(digits, given, sentence):
    model = network()
    before = model_fingerprint(model)
    for attempt in (
        lambda: Settings(epochs=2, **given),
        lambda: fit(model, digits["train"], digits["val"], epochs=2, lr=0.01, **given, **QUICK),
    ):
        with pytest.raises(ValueError) as error:
            attempt()
        assert str(error.value) == sentence
    assert model_fingerprint(model) == before


FITS = [
    (dict(class_weights=[1, 2, 3]), "class_weights has 3 numbers for 2 classes: 0-4, 5-9"),
    (dict(criterion="focal"), "criterion must be a function of scores and labels, got 'focal'"),
    (dict(criterion=lambda s, y: s), "criterion must return a scalar, the mean over a batch, got shape (1, 2)"),
    (dict(criterion=lambda s, y: 0.5), "criterion must return a scalar, the mean over a batch, got float"),
    (
        dict(criterion=lambda s, y: s.detach().sum()),
        "criterion must be computed from the scores: what it returned has no gradient",
    ),
    (dict(criterion=lambda s, y: s @ y), "criterion fails on scores (1, 2) and labels (1,): "),
    (
        dict(optimizer=lambda parameters: None, lr=None),
        "optimizer must be a function that returns a torch.optim.Optimizer, it returned NoneType",
    ),
    (
        dict(optimizer=lambda p: torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0), lr=None),
        "optimizer returned one that trains other weights than the model's: use the parameters it is called with",
    ),
    (
        dict(optimizer=lambda p: torch.optim.SGD(p, lr=1.0), momentum=0.5, lr=None),
        "optimizer is a function, which chooses momentum itself: leave momentum out",
    ),
    (dict(select="auroc"), "select='auroc' is for several labels an image: use 'balanced' or 'auto'"),
]


@pytest.mark.parametrize("given, sentence", FITS, ids=[sentence[:48] for _, sentence in FITS])
def test_what_does_not_fit_the_data_is_said_before_the_first_step(digits, given, sentence):
    steps = []
    with pytest.raises(ValueError) as error:
        options = dict(epochs=1, lr=0.01, on_step=lambda step: steps.append(step)) | given
        fit(network(), digits["train"], digits["val"], **options, **QUICK)
    assert str(error.value).startswith(sentence) and not steps


IMAGES = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
LABELS = [
    ([[1, 2], [0, 1], [0, 0]], ["a", "b"], "label 'b' of image 0 is 2: write 1 for present, 0 for absent, -1 or NaN"),
    ([[1, 0], [0, 0.5], [0, 0]], ["a", "b"], "label 'b' of image 1 is 0.5: write 1 for present, 0 for absent"),
    ([[1], [0], [1]], ["a"], "one label an image is two classes: give labels as (N,) and classes as two names"),
    ([[1, 0], [0, 1], [0, 0]], ["a", "b", "c"], "labels of shape (3, 2) need 2 names, got 3"),
]


@pytest.mark.parametrize("labels, names, sentence", LABELS)
def test_labels_that_are_none_are_named(labels, names, sentence):
    with pytest.raises(ValueError) as error:
        ArrayDataset(IMAGES, labels, names, name="films")
    assert str(error.value).startswith(f"films: {sentence}")


def test_rows_of_other_lengths_and_unknown_names_are_named():
    pairs = [(image, row) for image, row in zip(IMAGES, ([1, 0], [1], [0, 1]), strict=True)]
    with pytest.raises(
        ValueError, match=r"rows of labels differ in length \(1 and 2\): give each image 0 or 1 for every"
    ):
        as_dataset(pairs)
    named = [(image, row) for image, row in zip(IMAGES, (["edema"], [], ["nodul"]), strict=True)]
    with pytest.raises(ValueError, match=r"label 'nodul' of image 2 is none of classes=\['edema', 'nodule'\]"):
        as_dataset(named, classes=["edema", "nodule"])


@pytest.fixture(scope="module")
def marks():
    return films("train", 24, 0.9, 0)


REFUSED = {
    "refit": lambda model, data, maps: refit(model, data),
    "SelectiveClassifier": lambda model, data, maps: SelectiveClassifier([model]).calibrate(data, coverage=0.9),
    "evidence of another class": lambda model, data, maps: SwappedDataset(data, maps),
    "faithfulness": lambda model, data, maps: choose_evidence(model, data),
    "explored_features": lambda model, data, maps: explored_features(MaskTune(model.network, epochs=1), data),
    "diagnose": lambda model, data, maps: diagnose(model, data),
    "find_kinds": lambda model, data, maps: find_kinds(model, data),
    "repair": lambda model, data, maps: repair(model, data, data, finetune_lr=0.01),
    "the instrument": lambda model, data, maps: ThresholdScrubber(model, data, maps),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_needs_one_label_an_image_says_so_before_any_work(marks, name):
    model = as_classifier(network(3), marks).eval()
    maps = compute_saliency(model, marks, **QUICK)
    with pytest.raises(ValueError) as error:
        REFUSED[name](model, marks, maps)
    assert str(error.value) == (
        f"{name} needs one label an image, and marks/train (24 images, 3 labels each) has 3 each: of several labels "
        "fit, evaluate, compute_saliency, finetune and MaskTune go"
    )


@pytest.mark.parametrize("word", ["erm", "finetune", "repair"])
def test_the_commands_options_of_training_are_all_there(word, capsys):
    "`repair` has a criterion of its own, which chooses: a loss there comes with the run"
    from masktune.cli import main

    with pytest.raises(SystemExit) as ended:
        main([word, "--help"])
    said = capsys.readouterr().out
    assert ended.value.code in (0, None) and "--criterion" in said and "--max-grad-norm" in said


SEVERAL = [
    (
        dict(outputs=2),
        {},
        "the model gives scores of shape (1, 2) for one image, marks/train (24 images, 3 labels each)",
    ),
    ({}, dict(sampling="balanced"), "sampling='balanced' draws classes equally often, and an image of several labels"),
    ({}, dict(class_weights=[1, 2]), "class_weights has 2 numbers for 3 classes: plus, bar, ring"),
]


@pytest.mark.parametrize("made, given, sentence", SEVERAL)
def test_what_several_labels_cannot_be_trained_with_is_said(marks, made, given, sentence):
    with pytest.raises(ValueError) as error:
        fit(network(**{"outputs": 3} | made), marks, epochs=1, lr=0.01, **given, **QUICK)
    assert str(error.value).startswith(sentence)


def test_data_of_one_label_and_of_several_do_not_go_together(marks):
    single = ArrayDataset(marks.images, marks.labels[:, 0], marks.classes, name="single")
    with pytest.raises(ValueError, match="both need several labels an image, or both one"):
        fit(network(3), marks, single, epochs=1, lr=0.01, **QUICK)


def test_rounds_cannot_be_chosen_by_swapped_evidence(marks):
    with pytest.raises(ValueError, match="several labels an image have no other class: choose='last' takes the last"):
        MaskTune(network(3), epochs=1, rounds=2, **QUICK).fit(marks, marks)


def test_a_label_that_is_none_is_named(marks):
    with pytest.raises(ValueError, match="unknown target 'rign': did you mean 'ring'"):
        compute_saliency(network(3), marks, target="rign", **QUICK)


CSVS = [
    (dict(label_columns=["edema", "x"]), "label_columns has no column 'x': got ['edema', 'x']"),
    (dict(label_columns=["edema"]), "label_columns must be two columns or more, each once: got ['edema']"),
    (dict(label_columns=["edema", "nodule"], blank_label="no"), "unknown blank_label 'no'"),
    (dict(label_columns=["edema", "nodule"], label_separator="|"), "label_columns are columns of numbers"),
    (dict(label_columns=["edema", "nodule"]), "line 3: nodule is 'maybe': write 1 for present, 0 for absent"),
]


@pytest.mark.parametrize("given, sentence", CSVS)
def test_a_csv_of_several_labels_is_refused_by_its_line(tmp_path, given, sentence):
    from PIL import Image

    from masktune.folders import open_csv

    for i in range(2):
        Image.new("RGB", (28, 28), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "films.csv").write_text("path,edema,nodule\n0.png,1,0\n1.png,0,maybe\n")
    with pytest.raises(ValueError) as error:
        open_csv("train", tmp_path / "films.csv", size=28, **given)
    assert sentence in str(error.value)
