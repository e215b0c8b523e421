"""Selective classification: properties that hold for any scores, a guarantee kept in simulation, figures from an
independent implementation."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from masktune.abstaining import SelectiveClassifier
from masktune.models import Classifier, build_model
from masktune.selective import (
    SCORES,
    aurc,
    coverage_threshold,
    error_auroc,
    excess_aurc,
    risk_bound,
    risk_coverage,
    risk_threshold,
    selective_score,
)

samples = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=40)


def tensors(drawn):
    return torch.tensor([s / 6 for s, _ in drawn]), torch.tensor([c for _, c in drawn])


@settings(deadline=None, max_examples=150)
@given(samples, st.randoms(use_true_random=False))
def test_order_of_samples_does_not_matter_and_full_coverage_is_the_plain_error(drawn, random):
    score, correct = tensors(drawn)
    shuffled = list(drawn)
    random.shuffle(shuffled)
    other, right = tensors(shuffled)
    ours, theirs = risk_coverage(score, correct), risk_coverage(other, right)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b)
    assert ours.coverage[-1] == 1 and math.isclose(ours.risk[-1], (~correct).double().mean())
    assert (ours.threshold.diff() < 0).all() and (ours.coverage.diff() > 0).all()
    assert math.isclose(aurc(score, correct), aurc(other, right), abs_tol=1e-12)


@settings(deadline=None, max_examples=100)
@given(samples)
def test_excess_is_never_negative_and_none_for_a_perfect_order(drawn):
    score, correct = tensors(drawn)
    assert excess_aurc(score, correct) >= -1e-12
    assert math.isclose(excess_aurc(correct.double(), correct), 0, abs_tol=1e-12)


@settings(deadline=None, max_examples=100)
@given(samples)
def test_auroc_is_scikit_learns(drawn):
    score, correct = tensors(drawn)
    if correct.all() or not correct.any():
        assert math.isnan(error_auroc(score, correct))
    else:
        assert math.isclose(error_auroc(score, correct), roc_auc_score(correct.numpy(), score.numpy()), abs_tol=1e-9)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=30, max_size=60, unique=True))
def test_thresholds_fall_as_coverage_grows(scores):
    found = [coverage_threshold(torch.tensor(scores, dtype=torch.float64), c / 20) for c in range(2, 21)]
    assert found == sorted(found, reverse=True)


def test_aurc_with_ties_is_the_mean_over_all_orders():
    from itertools import permutations

    correct = [True, False, True, False, False]
    mean = (
        sum(sum(sum(not c for c in order[: k + 1]) / (k + 1) for k in range(5)) / 5 for order in permutations(correct))
        / 120
    )
    assert math.isclose(aurc(torch.zeros(5), torch.tensor(correct)), mean, abs_tol=1e-12)


def test_the_guaranteed_risk_is_kept_as_often_as_promised():
    "500 draws of 800 validation images from a population whose risk above every threshold is known"
    broken, had, confidence, allowed = 0, 0, 0.9, 0.12
    for seed in range(500):
        generator = torch.Generator().manual_seed(seed)
        score = torch.rand(800, generator=generator, dtype=torch.float64)
        # wrong with probability 0.3 (1 - score)
        correct = torch.rand(800, generator=generator, dtype=torch.float64) < 0.7 + 0.3 * score
        try:
            threshold, bound = risk_threshold(score, correct, allowed, confidence)
        except ValueError:
            continue
        had += 1
        assert bound <= allowed
        true_risk = 0.3 * (1 - (1 + threshold) / 2)  # of scores uniform above the threshold
        broken += true_risk > allowed
    assert had > 400 and broken / had <= 1 - confidence


def test_bound_is_the_binomial_tail():
    from scipy.stats import binom

    for wrong, count in ((0, 50), (3, 50), (20, 200)):
        assert math.isclose(binom.cdf(wrong, count, risk_bound(wrong, count, 0.95)), 0.05, rel_tol=1e-6)
    assert risk_bound(5, 5, 0.95) == 1


def test_scores_over_three_models_rank_like_their_definitions():
    p = torch.rand(3, 50, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    product = p.prod(0) / p.prod(0).sum(-1, keepdim=True)
    torch.testing.assert_close(selective_score(p, "product")[1], product.max(-1).values)
    # the same answers, another order
    assert torch.equal(selective_score(p, "product")[0], selective_score(p, "product-softmax")[0])
    assert not torch.equal(
        selective_score(p, "product")[1].argsort(), selective_score(p, "product-softmax")[1].argsort()
    )
    agree = (p.argmax(-1) == p.argmax(-1)[0]).all(0) & (p.argmax(-1)[0] == p.mean(0).argmax(-1))
    score = selective_score(p, "agreement")[1]
    assert agree.any() and score[agree].min() > score[~agree].max()
    for name in SCORES:
        answer, sure = selective_score(p[:1], name)
        assert torch.equal(answer, p[0].argmax(-1)) and sure.shape == (50,)


def test_what_cannot_be_had_names_the_nearest():
    score, correct = torch.tensor([0.2] * 50 + [0.9] * 50), torch.ones(100, dtype=torch.bool)
    with pytest.raises(ValueError, match=r"coverage 75.0% cannot be had .* the nearest are 50.0% and 100.0%"):
        coverage_threshold(score, 0.75)
    # no error in 100, at a confidence shared out among eight steps: 1 - (0.05 / 8) ** (1 / 100)
    with pytest.raises(
        ValueError,
        match=r"a risk of 1.00% cannot be guaranteed .* the lowest bound found is 4\.95%, at coverage 100\.0%",
    ):
        risk_threshold(score, correct, 0.01)


def test_the_curve_and_its_area_are_torch_uncertaintys():
    """Another package's curve, point by point; its area is by trapezoids between N points, ours the mean of the N
    (Geifman et al., 2019)"""
    from torch_uncertainty.metrics.classification import AURC

    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        probabilities = torch.randn(200, 3, generator=generator).softmax(1)
        labels = torch.randint(3, (200,), generator=generator)
        answer, score = selective_score(probabilities[None], "softmax-response")
        assert len(score.unique()) == 200  # no ties: torch-uncertainty orders them as they come
        theirs = AURC()
        theirs.update(probabilities, labels)
        risk = risk_coverage(score, answer == labels).risk
        torch.testing.assert_close(risk.float(), theirs.partial_compute().float(), atol=1e-6, rtol=0)
        ends = float(risk[0] + risk[-1]) / 2
        assert math.isclose(200 * aurc(score, answer == labels) - ends, 199 * float(theirs.compute()), abs_tol=1e-4)


@pytest.mark.parametrize(
    "where",
    [("cuda:0", "cpu", "cpu"), ("cuda:0", "cuda:0", "cpu"), ("cpu", "cpu", "cuda:0"), ("cpu", "cuda:0", "cuda:0")],
)
def test_models_threshold_and_images_may_lie_on_several_devices(where):
    """A pretended second device, on which tensors have a shape and a place and no values: what mixes devices fails
    as it would on a GPU"""
    from torch._subclasses.fake_tensor import FakeTensorMode

    def place(mode, model, device):
        "Put pretended tensors in the place of a model's own, once it is built: pretended ones cannot be copied"
        for module in model.modules():
            for name, value in module._parameters.items():
                module._parameters[name] = torch.nn.Parameter(mode.from_tensor(value).detach().to(device))
            for name, value in module._buffers.items():
                module._buffers[name] = mode.from_tensor(value).to(device)

    first, second, images = where
    pair = SelectiveClassifier([Classifier(build_model("small-cnn", 2)) for _ in range(2)])
    with FakeTensorMode() as mode:
        for model, device in zip(pair.models, (first, second), strict=True):
            place(mode, model, device)
        pair.threshold = torch.zeros((), device=second)
        decision = pair.predict(torch.zeros(4, 3, 28, 28, dtype=torch.uint8, device=images))
    assert {part.device for part in decision} == {torch.device(images)} and decision.label.shape == (4,)


def test_no_double_precision_is_kept_on_a_models_device():
    pair = SelectiveClassifier([Classifier(build_model("small-cnn", 2))])
    assert {value.dtype for value in pair.buffers()} <= {torch.float32, torch.int64}  # some devices have no other


def test_a_threshold_in_single_precision_answers_the_images_it_was_chosen_on():
    score = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    threshold = coverage_threshold(score, 0.8)
    assert (score >= torch.tensor(threshold, dtype=torch.float32)).sum() == (score.double() >= threshold).sum() == 800


# Kept and changed: what fails leaves the classifier as it was, and weights belong to their threshold


@pytest.fixture
def pixels():
    from masktune.data import ArrayDataset

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (24, 3, 28, 28), dtype=torch.uint8, generator=generator)
    return ArrayDataset(images, torch.arange(24) % 2, ["cat", "dog"])


def classifier(*seeds):
    members = []
    for seed in seeds:
        torch.manual_seed(seed)
        members.append(Classifier(build_model("small-cnn", 2)).eval())
    return SelectiveClassifier(members, "softmax-response" if len(members) == 1 else "product")


HERE = {"device": "cpu", "num_workers": 0, "progress": False}


def test_a_calibration_that_fails_leaves_the_classifier_as_it_was(pixels):
    from masktune.data import ArrayDataset

    selective = classifier(0).calibrate(pixels, coverage=0.5, **HERE)
    threshold, noted = float(selective.threshold), dict(selective.calibration_)
    several = ArrayDataset(pixels.images, torch.ones(24, 2), ["a", "b"])
    for data, how in ((pixels, {"max_risk": 0.001}), (pixels, {"coverage": 2.0}), (several, {"coverage": 0.5})):
        with pytest.raises(ValueError):
            selective.calibrate(data, **how, **HERE)
        assert selective.classes_ == ["cat", "dog"] and float(selective.threshold) == threshold
        assert selective.calibration_ == noted
    turned = ArrayDataset(pixels.images, 1 - pixels.labels, ["dog", "cat"])
    with pytest.raises(ValueError, match="this classifier was calibrated for"):
        selective.scores(turned, **HERE)
    assert selective.calibrate(turned, coverage=0.5, **HERE).classes_ == ["dog", "cat"]  # anew, it may be


def test_a_classifier_of_fewer_models_leaves_none_of_those_before(pixels, tmp_path):
    classifier(0, 1, 2).calibrate(pixels, coverage=0.5, **HERE).save(tmp_path / "s")
    (tmp_path / "s" / "model-mine.safetensors").touch()
    classifier(3).save(tmp_path / "s")
    names = {path.name for path in (tmp_path / "s").iterdir()}
    assert names == {"model-0.safetensors", "selective.json", "model-mine.safetensors"}


def test_weights_that_do_not_belong_to_the_threshold_are_refused(pixels, tmp_path, monkeypatch):
    import json

    import masktune.abstaining as abstaining

    def build():
        return build_model("small-cnn", 2)

    first = classifier(0, 1).calibrate(pixels, coverage=0.5, **HERE)
    folder = first.save(tmp_path / "s")
    again = SelectiveClassifier.load(folder, build).predict(pixels.images)
    assert torch.equal(again.score, first.predict(pixels.images).score)

    def stops(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(abstaining, "write_json", stops)  # killed between weights and threshold
        with pytest.raises(KeyboardInterrupt):
            classifier(2, 3).save(folder)
    with pytest.raises(ValueError, match=r"model-0\.safetensors holds other weights than the threshold in selective"):
        SelectiveClassifier.load(folder, build)
    about = json.loads((folder / "selective.json").read_text())
    del about["weights"]  # as earlier versions wrote it
    (folder / "selective.json").write_text(json.dumps(about))
    assert float(SelectiveClassifier.load(folder, build).threshold) == float(first.threshold)


def test_a_selective_classifier_refuses_pixels_of_another_type(pixels):
    selective = classifier(0).calibrate(pixels, coverage=0.5, **HERE)
    for images in (pixels.images.long(), pixels.images.float()):
        with pytest.raises(ValueError, match=r"a Classifier takes uint8, or floats in 0..1"):
            selective.predict(images)
