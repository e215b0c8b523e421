"Two threads that want one model take turns: modes and hooks are the model's, whoever sets them"

import threading
import time

import pytest
import torch
from torch import nn

from masktune.data import ArrayDataset
from masktune.devices import seed_everything
from masktune.erm import fit
from masktune.evaluation import evaluate
from masktune.faithfulness import choose_evidence
from masktune.finetune import MaskTune
from masktune.instrument import hidden_scores
from masktune.layers import find_target_layer
from masktune.models import as_classifier, copy_of
from masktune.refit import refit
from masktune.saliency import compute_saliency


class Slow(nn.Module):
    "Passes on what it gets; the first pass waits here for a while, and notes whether another thread came meanwhile"

    def __init__(self):
        super().__init__()
        self.waits, self.met, self.entered = None, False, threading.Event()

    def __deepcopy__(self, memo):
        return nn.Identity()  # a copy is nobody else's

    def forward(self, x):
        if self.waits is None:
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


def network():
    seed_everything(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), Slow(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(8, 2)).train()


def swapped(model, data):
    run = MaskTune(model, device="cpu", progress=False)
    run.erm_ = model
    return run.swapped(data)


WORK = {
    "find_target_layer": lambda model, data: find_target_layer(model, data[0].image[None]),
    "compute_saliency": lambda model, data: compute_saliency(model, data, progress=False),
    "evaluate": lambda model, data: evaluate(model, data, progress=False),
    "choose_evidence": lambda model, data: choose_evidence(model, data, limit=8),
    "refit": lambda model, data: refit(model, data),
    "swapped": swapped,
    "fit": lambda model, data: fit(model, data, epochs=1, lr=0.01, batch_size=8, device="cpu", progress=False),
}


@pytest.mark.parametrize("work", WORK)
def test_who_asks_a_model_waits_while_another_thread_works_with_it(work):
    data = images()
    model = as_classifier(network(), data)
    slow = next(module for module in model.modules() if isinstance(module, Slow))
    asked, copied = [], []

    def ask():
        assert slow.entered.wait(20)
        shown = data[0].image[None]
        asked.append(hidden_scores(model, shown, torch.zeros(1, 16, 16, dtype=torch.bool), "zero"))
        copied.append(copy_of(model))

    other = threading.Thread(target=ask)
    other.start()
    WORK[work](model, data)
    other.join()
    assert slow.waits is False and not slow.met, "two threads were in the model at the same time"
    assert len(asked) == 1 and model.training is (work != "fit")
    hooks = [hook for module in copied[0].modules() for hook in (module._forward_hooks, module._forward_pre_hooks)]
    assert not any(hooks)


def test_a_training_stays_in_train_mode_while_it_is_asked():
    data, seen = images(), []
    model = as_classifier(network(), data)
    model.register_forward_pre_hook(lambda module, given: seen.append((threading.get_ident(), module.training)))
    ended = threading.Event()

    def ask():
        while not ended.is_set():
            hidden_scores(model, data[0].image[None], torch.zeros(1, 16, 16, dtype=torch.bool), "zero")

    other = threading.Thread(target=ask)
    other.start()
    fit(model, data, epochs=20, lr=0.01, batch_size=8, device="cpu", progress=False)
    ended.set()
    other.join()
    mine = [training for thread, training in seen if thread == threading.get_ident()]
    assert sum(mine) == 20 * 5 and not model.training
    assert not any(training for thread, training in seen if thread == other.ident) and len(seen) > len(mine)
