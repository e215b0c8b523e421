"The last layer trained again: the minimum is the right one, found for every head, and nothing else is touched."

import json
import os
import subprocess
import sys

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.models import Classifier, build_model, model_fingerprint
from masktune.refit import cache_features, find_head, fit_head, refit, refit_weights


def some_digits(count=60, size=28, classes=2):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)
    return ArrayDataset(images, torch.arange(count) % classes, [str(c) for c in range(classes)])


def some_features(count=300, width=20, classes=2):
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(count) % classes
    features = torch.randn(count, width, generator=generator) + 5
    features[:, :classes] += 1.5 * nn.functional.one_hot(labels, classes)
    return features, labels


def centred(features):
    shifted = features - features.mean(0)
    scale = shifted.square().sum(1).mean().sqrt()
    return torch.cat([shifted / scale, torch.ones(len(features), 1)], 1), scale


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("l2", [0.1, 0.003])
def test_from_an_empty_layer_it_is_scikit_learns_logistic_regression(classes, l2):
    features, labels = some_features(classes=classes)
    weights = refit_weights(torch.rand(len(labels)), labels, 0.0)  # gamma 0: probabilities do not matter
    weight, bias, _ = fit_head(features, labels, weights, torch.zeros(classes, 20), torch.zeros(classes), l2)
    # the same objective: the bias is the last column, penalised as the others; C multiplies the sum, l2 the penalty
    columns, scale = centred(features)
    # two classes have one vector in scikit-learn, the difference of ours, whose halves have half its penalty
    strength = 1 / l2 if classes > 2 else 2 / l2
    peer = LogisticRegression(C=strength, fit_intercept=False, tol=1e-8, max_iter=5000)
    peer.fit(columns.double().numpy(), labels.numpy(), sample_weight=weights.numpy())
    theirs = torch.tensor(peer.coef_)
    ours = torch.cat([weight * scale, (bias + weight @ features.mean(0))[:, None]], 1).double()
    ours = ours[1:] - ours[:1] if classes == 2 else ours
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)


def test_the_penalty_draws_towards_the_old_layer():
    features, labels = some_features()
    weights = refit_weights(torch.rand(len(labels)), labels, 0.0)
    old, shift = torch.randn(2, 20), torch.randn(2)
    distance, (_, scale) = [], centred(features)
    for l2 in (1e-3, 1e-1, 10.0, 1e4):
        weight, bias, _ = fit_head(features, labels, weights, old, shift, l2)
        at_centre = bias - shift + (weight - old) @ features.mean(0)
        distance.append(float(torch.cat([(weight - old) * scale, at_centre[:, None]], 1).norm()))
    assert distance == sorted(distance, reverse=True)
    assert distance[-1] < 1e-3


def test_the_minimum_is_one_whatever_the_start_of_the_solver():
    "At the minimum the gradient is zero: checked with autograd on the objective as the page states it"
    features, labels = some_features(classes=3)
    probability = torch.rand(len(labels), generator=torch.Generator().manual_seed(2))
    weights = refit_weights(probability, labels, 4.0)
    old, shift = torch.randn(3, 20), torch.randn(3)
    weight, bias, _ = fit_head(features, labels, weights, old, shift, 0.01)
    columns, scale = centred(features)
    units = [
        torch.cat([w * scale, (b + w @ features.mean(0))[:, None]], 1).double()
        for w, b in ((weight, bias), (old, shift))
    ]
    layer = units[0].requires_grad_()
    log_p = (columns.double() @ layer.T).log_softmax(1)
    loss = -(weights * log_p.gather(1, labels[:, None])[:, 0]).sum() + 0.01 / 2 * (layer - units[1]).square().sum()
    loss.backward()
    assert layer.grad.abs().max() < 1e-4


def test_a_head_without_a_bias_gets_none():
    features, labels = some_features()
    weights = refit_weights(torch.rand(len(labels)), labels, 0.0)
    _, bias, losses = fit_head(features, labels, weights, torch.zeros(2, 20), None, 0.01)
    assert not bias.any()
    assert losses[-1] < losses[0]
    network = nn.Sequential(
        nn.Conv2d(3, 8, 5, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2, bias=False)
    )
    changed, _ = refit(network, some_digits(), device="cpu")
    assert changed.network[4].bias is None
    assert not changed.network[4].weight.equal(network[4].weight)


@pytest.mark.parametrize(
    "name, head",
    [
        ("resnet18", "fc"),
        ("mobilenet_v3_small", "classifier.3"),
        ("densenet121", "classifier"),
        ("shufflenet_v2_x0_5", "fc"),
        ("vit_b_32", "heads.head"),
    ],
)
def test_the_head_of_torchvisions_networks_is_found(name, head):
    assert find_head(build_model(name, 3), torch.rand(1, 3, 224, 224)) == head


@pytest.mark.parametrize(
    "name, head",
    [
        ("resnet18", "fc"),
        ("convnext_atto", "head.fc"),
        ("mobilenetv3_small_050", "classifier"),
        ("vit_tiny_patch16_224", "head"),
        ("resnetv2_50", "head.fc"),
    ],
)
def test_the_head_of_timms_networks_is_found(name, head):
    timm = pytest.importorskip("timm")
    assert find_head(timm.create_model(name, num_classes=3), torch.rand(1, 3, 224, 224)) == head


def test_a_convolution_that_scores_every_place_is_a_head():
    seed_everything(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    data = some_digits()
    model = Classifier(network)
    features = cache_features(model, data, device="cpu")
    head = model.get_submodule(features.head)
    again = features.features @ head.weight.flatten(1).T + head.bias
    torch.testing.assert_close(again.detach(), features.logits, rtol=1e-4, atol=1e-4)
    changed, result = refit(model, features)
    assert changed.network[2].weight.shape == network[2].weight.shape
    assert result.losses[-1] < result.losses[0]


@pytest.mark.parametrize("last", [nn.ReLU(), nn.Softmax(1)])
def test_scores_that_no_linear_layer_gives_are_refused(last):
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), last)
    with torch.no_grad():
        network[1].bias.copy_(torch.tensor([-9.0, 9.0]))
    with pytest.raises(ValueError, match="is not the scores"):
        find_head(network, torch.rand(1, 3, 2, 2))


def test_a_layer_that_runs_twice_is_no_head():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.Linear(12, 12)

        def forward(self, images):
            return self.mix(self.mix(images.flatten(1)))

    with pytest.raises(ValueError, match="no last layer"):
        find_head(Twice(), torch.rand(1, 3, 2, 2))


def test_the_given_model_is_left_as_it_is():
    seed_everything(0)
    data = some_digits()
    model = Classifier(build_model("small-cnn", 2)).train()
    model.network.features[1].eval()  # one frozen layer
    modes = [module.training for module in model.modules()]
    before, random = model_fingerprint(model), torch.get_rng_state()
    changed, _ = refit(model, data, device="cpu")
    assert model_fingerprint(model) == before
    assert [module.training for module in model.modules()] == modes
    assert torch.get_rng_state().equal(random)
    assert not any(module.training for module in changed.modules())
    assert all(parameter.grad is None for parameter in changed.parameters())


def test_groups_are_never_read():
    seed_everything(0)
    data = some_digits()
    model = Classifier(build_model("small-cnn", 2))
    grouped = ArrayDataset(
        data.images, data.labels, data.classes, groups=torch.arange(60) % 3, group_names=["a", "b", "c"]
    )
    first, _ = refit(model, data, device="cpu")
    second, _ = refit(model, grouped, device="cpu")
    assert model_fingerprint(first) == model_fingerprint(second)


def test_another_models_probability_can_weigh():
    seed_everything(0)
    data = some_digits()
    model = Classifier(build_model("small-cnn", 2))
    features = cache_features(model, data, device="cpu")
    doubt = torch.ones(60)
    doubt[:4] = 0
    _, result = refit(model, features, gamma=50.0, probability=doubt)
    assert result.errors == 4
    assert abs(result.effective_images - 4) < 0.1


def test_bad_input_is_refused_before_any_pass(monkeypatch):
    data = some_digits()
    model = Classifier(build_model("small-cnn", 2))
    monkeypatch.setattr("masktune.refit.predict", lambda *args, **options: pytest.fail("a pass was made"))
    with pytest.raises(ValueError, match="gamma"):
        refit(model, data, gamma=-1.0)
    with pytest.raises(ValueError, match="l2"):
        refit(model, data, l2=0.0)
    with pytest.raises(ValueError, match="no image of class '1'"):
        refit(model, data.subset([0, 2, 4]))
    with pytest.raises(ValueError, match="one for each image"):
        refit(model, data, probability=torch.ones(7))
    with pytest.raises(ValueError, match="is empty"):
        cache_features(model, data.subset([]))


ELSEWHERE = """
import json, torch
from tests.test_refit import some_features
from masktune.refit import fit_head, refit_weights
torch.set_num_threads(1)
features, labels = some_features(600, 256)
weights = refit_weights(features[:, 3].sigmoid(), labels, 4.)
weight, bias, _ = fit_head(features, labels, weights, torch.zeros(2, 256), torch.zeros(2))
print(json.dumps([*weight.flatten().tolist(), *bias.tolist()]))
"""


def test_another_processor_finds_the_same_layer():
    found = []
    for changes in ({}, {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}):
        run = subprocess.run(
            [sys.executable, "-c", ELSEWHERE], capture_output=True, text=True, env=os.environ | changes, check=True
        )
        found.append(torch.tensor(json.loads(run.stdout)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-3, atol=1e-4)
