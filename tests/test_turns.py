"Two threads that want one network take turns: modes and hooks are the network's, whoever sets them"

import os
import threading
import time
from contextlib import contextmanager

import pytest
import torch
import torchvision
from torch import nn

from masktune.abstaining import SelectiveClassifier
from masktune.batchnorm import recalibrate_batchnorm
from masktune.data import ArrayDataset
from masktune.devices import borrowed, seed_everything
from masktune.erm import fit
from masktune.evaluation import evaluate
from masktune.faithfulness import choose_evidence, faithfulness
from masktune.finetune import MaskTune
from masktune.instrument import hidden_scores
from masktune.layers import find_target_layer, named_layer
from masktune.models import Classifier, as_classifier, copy_of, evaluating, in_turn
from masktune.refit import refit
from masktune.saliency import compute_saliency
from masktune.sources import make_source

NOTHING = torch.zeros(1, 16, 16, dtype=torch.bool)


class Slow(nn.Module):
    "Passes on what it gets; one pass of many waits here for a while, and notes whether another thread came meanwhile"

    def __init__(self, training):
        super().__init__()
        self.waits, self.met, self.entered = None, False, threading.Event()
        self.when = training  # wait in a pass in train mode, or in any

    def __deepcopy__(self, memo):
        return nn.Identity()  # a copy is nobody else's

    def forward(self, x):
        if self.waits is None and (self.training or not self.when):
            self.waits = True
            self.entered.set()
            time.sleep(0.2)
            self.waits = False
        elif self.waits:
            self.met = True
        return x


def images():
    seed_everything(0)
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    return ArrayDataset(pixels, torch.arange(40) % 2, ["a", "b"], name="noise")


def network(training=False):
    seed_everything(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Slow(training), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Dropout(), nn.Linear(8, 2)).train()


def in_background(work):
    "What `work` gives, or raises, in a thread of its own: call what comes back to wait for it"
    found = []

    def run():
        try:
            found.append((work(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()

    def result():
        thread.join(60)
        assert found, "a thread waits for ever"
        if found[0][1] is not None:
            raise found[0][1]
        return found[0][0]

    return result


@contextmanager
def looked_at(model, seconds):
    "Within: another thread is in the middle of looking, for so long or until the end"
    inside, leave = threading.Event(), threading.Event()

    def look():
        with evaluating(model):
            inside.set()
            leave.wait(seconds)

    looked = in_background(look)
    assert inside.wait(20)
    yield
    leave.set()
    looked()


def swapped(model, data):
    run = MaskTune(model, device="cpu", progress=False)
    run.erm_ = model
    return run.swapped(data)


TRAINING = {"lr": 0.01, "batch_size": 8, "device": "cpu", "progress": False}
WORK = {
    "find_target_layer": lambda model, data: find_target_layer(model, data[0].image[None]),
    "compute_saliency": lambda model, data: compute_saliency(model, data, progress=False),
    "evaluate": lambda model, data: evaluate(model, data, progress=False),
    "choose_evidence": lambda model, data: choose_evidence(model, data, limit=8),
    "refit": lambda model, data: refit(model, data),
    "swapped": swapped,
    "a classifier is called": lambda model, data: model(data.images),
    "a step of fit": lambda model, data: fit(model, data, epochs=1, **TRAINING),
}


@pytest.mark.parametrize("work", WORK)
def test_who_asks_a_model_waits_while_another_thread_works_with_it(work):
    data, trains = images(), work == "a step of fit"
    model = as_classifier(network(trains), data)
    slow = next(module for module in model.modules() if isinstance(module, Slow))

    def ask():
        assert slow.entered.wait(20)
        return hidden_scores(model, data[0].image[None], NOTHING, "zero"), copy_of(model)

    asked = in_background(ask)
    WORK[work](model, data)
    copied = asked()[1]
    assert slow.waits is False and not slow.met, "two threads were in the network at the same time"
    assert model.training is (not trains)
    hooks = [hook for module in copied.modules() for hook in (module._forward_hooks, module._forward_pre_hooks)]
    assert not any(hooks)


def test_a_training_stays_in_train_mode_while_it_is_asked():
    data, seen = images(), []
    model = as_classifier(network(), data)
    model.register_forward_pre_hook(lambda module, given: seen.append((threading.get_ident(), module.training)))
    ended, here = threading.Event(), threading.get_ident()

    def ask():
        while not ended.is_set():
            hidden_scores(model, data[0].image[None], NOTHING, "zero")

    asked = in_background(ask)
    fit(model, data, epochs=20, **TRAINING)
    ended.set()
    asked()
    assert sum(training for thread, training in seen if thread == here) == 20 * 5 and not model.training
    others = [training for thread, training in seen if thread != here]
    assert others and not any(others)


def test_what_its_owner_froze_stays_frozen_while_somebody_looks():
    "Who looks sets eval mode: read then, the whole network would seem to be in eval mode, and be trained as a whole"
    data = images()
    model = as_classifier(network(), data)
    frozen = next(module for module in model.modules() if isinstance(module, nn.BatchNorm2d)).eval()
    before = frozen.running_mean.clone()
    with looked_at(model, 0.5):
        fit(model, data, epochs=1, **TRAINING)
    model.train()
    frozen.eval()
    assert torch.equal(frozen.running_mean, before)
    with looked_at(model, 0.5):
        recalibrate_batchnorm(model, data, batch_size=8, device="cpu")
    assert torch.equal(frozen.running_mean, before)


def test_a_hook_is_its_own_threads(recwarn):
    "A bare network that another thread calls in its own way gets what it would get alone, and disturbs no map"
    data = images()
    plain = network().eval()
    shown, ended = data.images.float() / 255, threading.Event()
    with torch.no_grad():
        wanted = plain(shown)
    maps = compute_saliency(plain, data, device="cpu", progress=False)

    def call():
        found = []
        while not ended.is_set():
            with torch.no_grad():
                found.append(plain(shown))
        return found

    called = in_background(call)
    again = [compute_saliency(plain, data, device="cpu", progress=False) for _ in range(10)]
    ended.set()
    found = called()
    assert all(torch.equal(one.maps, maps.maps) and one.layer == maps.layer for one in again)
    assert found and all(torch.equal(one, wanted) and not one.requires_grad for one in found)


def test_who_wants_another_network_does_not_wait():
    data = images()
    one, other = (as_classifier(network(), data) for _ in range(2))
    with borrowed(one, "cpu"):
        in_background(lambda: fit(other, data, epochs=1, **TRAINING))()


def test_the_same_two_networks_in_either_order_block_nobody():
    one, other = network(), network()
    both = SelectiveClassifier([as_classifier(copy_of(each), images()) for each in (one, other)], "mean")
    started = threading.Barrier(2)

    def take(*models):
        started.wait(20)
        for _ in range(2000):
            with in_turn(*models):
                pass

    first, second = in_background(lambda: take(one, other)), in_background(lambda: take(other, one))
    first(), second()
    with in_turn(both):
        waits = in_background(lambda: both.models[1](images().images))
        time.sleep(0.1)
    assert waits().shape == (40, 2)


class Wrapped(nn.Module):
    "A network that holds a classifier, as an ensemble or a module of a training framework may"

    def __init__(self):
        super().__init__()
        self.inner = as_classifier(network(), images())

    def forward(self, x):
        return self.inner(x)


def transformer():
    seed_everything(0)
    kept = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "mlp_dim": 8, "num_classes": 2}
    return torchvision.models.VisionTransformer(image_size=16, patch_size=4, **kept)


@pytest.mark.parametrize("make", [Wrapped, transformer])
def test_a_call_and_a_pass_over_one_model_never_wait_for_each_other(make):
    models = [Classifier(make()).eval() for _ in range(8)]  # locks lie in memory in either order
    shown = images().images[:2]
    if make is transformer:
        works = [make_source("attention-rollout", model, named_layer(model, None, shown[:1]))[0] for model in models]
        works = [lambda work=work: work(shown, None) for work in works]
    else:
        works = [lambda model=model: model(shown) for model in models]

    def looks():
        for _ in range(20):
            for model, work in zip(models, works, strict=True):
                with evaluating(model):
                    work()

    def calls():
        for _ in range(20):
            for work in works:
                work()

    with torch.no_grad():
        first, second = in_background(looks), in_background(calls)
        first(), second()


def test_looking_in_another_thread_changes_no_training_of_a_seed():
    data = images()
    looked_at, ended = as_classifier(network(), data), threading.Event()

    def trained():
        model = as_classifier(network(), data)
        fit(model, data, epochs=6, seed=3, **TRAINING)
        return torch.cat([weights.flatten() for weights in model.parameters()])

    def look():
        while not ended.is_set():
            faithfulness(looked_at, data, limit=8, device="cpu")

    alone = trained()
    looked = in_background(look)
    watched = [trained() for _ in range(3)]
    ended.set()
    looked()
    assert all(torch.equal(one, alone) for one in watched)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system knows no fork")
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded")
def test_a_process_that_was_forked_waits_for_no_thread_of_its_parent():
    model = network()
    with looked_at(model, 20):
        child = os.fork()
        if child == 0:
            with evaluating(model):
                os._exit(0)
        ended, status = os.waitpid(child, os.WNOHANG), None
        for _ in range(100):
            if ended[0]:
                status = os.waitstatus_to_exitcode(ended[1])
                break
            time.sleep(0.1)
            ended = os.waitpid(child, os.WNOHANG)
        else:
            os.kill(child, 9)
            os.waitpid(child, 0)
    assert status == 0
