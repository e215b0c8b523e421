"Small made images of three labels: a plus, a bar and a ring, each present or absent; the plus has a shortcut."

import torch

from masktune.data import ArrayDataset

LABELS = ["plus", "bar", "ring"]


def shapes():
    "7 x 7 stamps, white on nothing"
    plus, bar, ring = (torch.zeros(7, 7, dtype=torch.bool) for _ in LABELS)
    plus[3], plus[:, 3] = True, True
    bar[:, 2:5] = True
    ring[0], ring[6], ring[:, 0], ring[:, 6] = True, True, True, True
    return plus, bar, ring


def films(split, count, agree, seed, unknown=0.0, faint=False):
    "A red square stands in the images whose plus it `agree`s with, and of the others in those without a plus"
    generator = torch.Generator().manual_seed(1000 * seed + len(split))
    labels = (torch.rand(count, 3, generator=generator) < 0.5).long()
    follows = torch.rand(count, generator=generator) < agree
    square = torch.where(follows, labels[:, 0], 1 - labels[:, 0])
    images = torch.randint(0, 60 if faint else 8, (count, 3, 28, 28), dtype=torch.uint8, generator=generator)
    for i in range(count):
        columns = torch.randperm(3, generator=generator).tolist()
        for label, stamp in enumerate(shapes()):
            top, left = int(torch.randint(8, 21, (), generator=generator)), 9 * columns[label]
            if labels[i, label]:
                images[i, :, top : top + 7, left : left + 7][:, stamp] = 150 if faint else 255
        if square[i]:
            images[i, 0, :5, :5], images[i, 1:, :5, :5] = 255, 0
    told = labels.float()
    told[torch.rand(count, 3, generator=generator) < unknown] = float("nan")
    return ArrayDataset(
        images, told, LABELS, groups=square, group_names=["no square", "square"], name="marks", split=split
    )
