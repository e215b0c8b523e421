"""How a network's weights lie in memory, and what it is worth on a CPU: a training step and a forward pass.

    python benchmarks/layout.py                                       # the networks of the table
    python benchmarks/layout.py --networks resnet18 --size 224

Weights of convolutions can lie channels-first, as PyTorch makes them, or channels-last. `masktune.devices.place_model`
takes channels-last for networks with grouped convolutions (EfficientNet, MobileNet). Batches of 32 random images;
both orders are measured in turn, so that a slow moment of the machine meets both; what counts is their ratio."""

import argparse

import torch
import torch.nn.functional as F
from turns import machine, ratio, take_turns

from masktune.models import build_model

NETWORKS = ["efficientnet_b0", "mobilenet_v3_large", "resnet18", "resnet50", "densenet121", "convnext_tiny"]


class Measured:
    "A network whose weights lie one way, with what it needs for a step"

    def __init__(self, name: str, size: int, order: torch.memory_format):
        torch.manual_seed(0)
        network = build_model(name, 2)
        self.network = network.train().to(memory_format=order)
        self.images, self.labels = torch.rand(32, 3, size, size), torch.arange(32) % 2
        self.optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)

    def step(self) -> None:
        F.cross_entropy(self.network(self.images), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def forward(self) -> None:
        self.network(self.images)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, help="as `build_model` names them")
    parser.add_argument("--size", type=int, default=112, help="side of the images; small-cnn has 28")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    print(f"{machine()}, {torch.get_num_threads()} threads")
    print("channels-first over channels-last: median [lowest, highest]")
    for name in given.networks:
        size = 28 if name == "small-cnn" else given.size
        first, last = (Measured(name, size, order) for order in (torch.contiguous_format, torch.channels_last))
        steps = take_turns({"first": first.step, "last": last.step}, given.repeats, warm=2)
        passes = take_turns({"first": first.forward, "last": last.forward}, given.repeats, warm=2)
        print(f"{name}: a step {ratio(steps, 'first', 'last')}, a pass {ratio(passes, 'first', 'last')}", flush=True)


if __name__ == "__main__":
    main()
