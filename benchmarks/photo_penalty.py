"""Right for the right reasons: a penalty on what a network draws from places it should not use.

Hiding a shortcut leaves its feature without a gradient, and a pretrained network keeps it. Here the images stay as
they are, and the loss charges the share of the evidence that lies under the masks: the score's gradient at a layer
times the layer's value, summed over channels (as Grad-CAM's maps are made), positive and negative alike. Ross et al.,
"Right for the right reasons" (IJCAI 2017), charge squared input gradients; CRAYON (IEEE BigData 2024) the energy of the
map within what a person judged irrelevant, which is what this does where the masks are the person's."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor

from masktune.data import ImageDataset
from masktune.layers import TargetLayer, named_layer
from masktune.models import Classifier


class Watched:
    "Within: the value at a layer, with its graph, of the last forward pass"

    def __init__(self, layer: TargetLayer):
        self.layer, self.value = layer, torch.empty(0)

    def __enter__(self) -> "Watched":
        if self.layer.activated:
            raise ValueError("a layer whose activation follows as a function cannot be watched by a hook")
        register = self.layer.module.register_forward_pre_hook if self.layer.at_input else None
        self.handle = register(self._enters) if register else self.layer.module.register_forward_hook(self._leaves)
        return self

    def __exit__(self, *error) -> None:
        self.handle.remove()

    def _enters(self, module, args) -> None:
        self.value = args[0]

    def _leaves(self, module, args, output) -> None:
        self.value = output


def charged(value: Tensor, score: Tensor, masks: Tensor) -> Tensor:
    "The mean share of the evidence at a layer, (B, K, h, w), that lies under masks, (B, H, W) bool"
    (gradient,) = torch.autograd.grad(score.sum(), value, create_graph=True)
    evidence = (gradient * value).sum(1).abs()
    under = F.adaptive_avg_pool2d(masks[:, None].float(), evidence.shape[-2:])[:, 0]
    return ((evidence * under).sum((1, 2)) / evidence.sum((1, 2)).clamp(min=1e-9)).mean()


def begin(model: Classifier) -> Classifier:
    "Put a model in train mode, but what is frozen: its batch normalisation keeps its statistics"
    model.train()
    for module in model.modules():
        held = list(module.parameters())
        if held and not any(value.requires_grad for value in held):
            module.eval()
    return model


def penalised(
    model: Classifier,  # a trained classifier; a copy is trained
    dataset: ImageDataset,  # its training images
    masks: Tensor,  # (N, H, W) bool, what should not be used
    layer: str | TargetLayer,  # where evidence is measured
    *,
    strength: float,  # of the penalty, against cross-entropy
    lr: float,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
) -> Classifier:
    "Train on images as they are, charging what is drawn from under the masks"
    model = begin(copy.deepcopy(model))
    there = model.mean.device
    images = torch.stack([dataset[i].image for i in range(len(dataset))])
    found = layer if isinstance(layer, TargetLayer) else named_layer(model, layer, images[:1].to(there))
    found = found._replace(module=model.get_submodule(found.name))
    stepper = torch.optim.SGD(
        [value for value in model.parameters() if value.requires_grad], lr=lr, momentum=0.9, weight_decay=1e-4
    )
    generator = torch.Generator().manual_seed(seed)
    with Watched(found) as watched, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _ in range(epochs):
            for batch in torch.randperm(len(images), generator=generator).split(batch_size):
                scores, labels = model(images[batch].to(there)), dataset.labels[batch].to(there)
                hidden = masks[batch].to(there)
                others = scores.masked_fill(F.one_hot(labels, scores.shape[1]).bool(), -torch.inf)
                score = scores.gather(1, labels[:, None])[:, 0] - others.logsumexp(1)
                loss = F.cross_entropy(scores, labels) + strength * charged(watched.value, score, hidden)
                stepper.zero_grad()
                loss.backward()
                stepper.step()
    return model.eval()
