"""Time the last layer trained again on cached features, beside scikit-learn's logistic regression on the same ones.

    python benchmarks/refit.py [--images 10000] [--width 2048] [--classes 2] [--repeats 5] [--out benchmarks/refit.json]

The features look like a network's after its last ReLU and pooling: nowhere negative, some channels large and many
small, a few that tell the classes apart. The budget is 2 s for 10,000 images of width 2,048 on two cores."""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch

from masktune.refit import fit_head, refit_weights


def draw(images: int, width: int, classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(images) % classes
    features = torch.randn(images, width, generator=generator)
    features[:, : 8 * classes] += torch.nn.functional.one_hot(labels, classes).repeat_interleave(8, 1)
    sizes = torch.exp(torch.randn(width, generator=generator))
    return features.relu() * sizes, labels


def timed(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def measure(given: argparse.Namespace) -> dict:
    features, labels = draw(given.images, given.width, given.classes)
    probability = torch.rand(given.images, generator=torch.Generator().manual_seed(1))
    old = torch.randn(given.classes, given.width, generator=torch.Generator().manual_seed(2)) / given.width**0.5
    row = {"images": given.images, "width": given.width, "classes": given.classes, "threads": torch.get_num_threads()}
    for gamma in (0.0, 4.0, 8.0):
        weights = refit_weights(probability, labels, gamma)

        def ours(weights=weights):
            return fit_head(features, labels, weights, old, torch.zeros(given.classes))

        row[f"evaluations_{gamma:g}"] = len(ours()[2])
        row[f"seconds_{gamma:g}"] = statistics.median(timed(ours) for _ in range(given.repeats))
    if given.peer:
        from sklearn.linear_model import LogisticRegression

        scaled = (features - features.mean(0)) / features.std()
        peer = LogisticRegression(C=1 / 0.003, max_iter=1000)
        row["scikit_learn_seconds"] = timed(
            lambda: peer.fit(scaled.numpy(), labels.numpy(), sample_weight=weights.numpy())
        )
    return row


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer", action="store_true", help="time scikit-learn too")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    given = parser.parse_args()
    found = measure(given)
    print(json.dumps(found, indent=1))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
