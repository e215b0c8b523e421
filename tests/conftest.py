import json
import os
import re
import tempfile
from functools import cache

# tests run side by side: a thread each is faster than two that wait for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from ready import SEED

from masktune.experiments.datasets import load_dataset

os.environ["TQDM_DISABLE"] = "1"
os.environ["MASKTUNE_CACHE"] = tempfile.mkdtemp(prefix="masktune-cache-")

# A call that trains, in Python or by the command. The file counts, not the function: fixtures train, too.
TRAINS = re.compile(
    r"\b(fit|fit_erm|fit_rounds|fit_control|fit_in_processes|finetune|finetune_round|launch|run_seed)\("
    r"|\b(run_method|compare_methods|make_bench)\("
    r"|\"(demo|run|erm|finetune|ablate|compare-methods)\""
)


@cache
def trains(path):
    "Whether a test file, or the code of a notebook, trains a network"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return TRAINS.search(text) is not None


def pytest_collection_modifyitems(items):
    """Mark what trains, so that `make test-rounding` finds it, in files that are yet to be written, too; skip what is
    for a GPU where there is none"""
    for item in items:
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))
        notebook = getattr(item, "callspec", None) and item.callspec.params.get("notebook")
        if trains(notebook or item.path):
            item.add_marker("trains")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """Begin each test, and its fixtures, at one seed: PyTorch begins elsewhere in every process.

    What is said of a network that nobody trained must hold for all of them: `MASKTUNE_TEST_SEED=1 pytest` draws
    others."""
    torch.manual_seed(SEED)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Share out files, whose tests share what a fixture trained or built; notebooks one by one.

    `--dist loadgroup` would do, but pytest-xdist 3.8 marks groups where pytest 9 no longer looks: every test went
    where there was room, and two processes built the site into one folder."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return nodeid if "test_notebooks.py" in nodeid else nodeid.partition("::")[0]

    return ByFile(config, log)


def split_digits():
    "Small parts of biased-digits, enough to train on for a second"
    train = load_dataset("biased-digits", "train")
    return {
        "train": train.subset(torch.arange(0, len(train), 4)),
        "val": load_dataset("biased-digits", "val"),
        "test": load_dataset("biased-digits", "test"),
    }


@pytest.fixture(scope="session")
def digits():
    return split_digits()


@pytest.fixture
def pets(tmp_path):
    "A folder of someone's own images: two classes of odd-sized photographs, told apart by colour and by a stripe"
    from PIL import Image, ImageDraw

    generator = torch.Generator().manual_seed(0)
    for label, colour in (("cat", (200, 120, 40)), ("dog", (60, 90, 160))):
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(20):
            width, height = (int(v) for v in torch.randint(70, 140, (2,), generator=generator))
            image = Image.new("RGB", (width, height), colour)
            ImageDraw.Draw(image).rectangle((i, 10, i + 30, 20 if label == "cat" else 60), fill="white")
            image.save(tmp_path / "pets" / label / f"{i}.jpg")
    return tmp_path / "pets"


@pytest.fixture
def make_mnist():
    "Writes MNIST's four files with made digits below a folder"
    import struct

    def write(root, train, test):
        raw = root / "MNIST" / "raw"
        raw.mkdir(parents=True)
        generator = torch.Generator().manual_seed(0)
        for part, count in (("train", train), ("t10k", test)):
            images = torch.randint(0, 256, (count, 28, 28), dtype=torch.uint8, generator=generator)
            (raw / f"{part}-images-idx3-ubyte").write_bytes(
                struct.pack(">4i", 2051, count, 28, 28) + images.numpy().tobytes()
            )
            (raw / f"{part}-labels-idx1-ubyte").write_bytes(
                struct.pack(">2i", 2049, count) + bytes(i % 10 for i in range(count))
            )
        return root

    return write


@pytest.fixture
def second_device():
    'A device that is none: see `pretended.py`. Gives the mode; within it `torch.device("mps")` is the second device'
    from pretended import SecondDevice

    with SecondDevice() as device:
        yield device
