"Stored maps: a pass that is killed goes on, files of earlier versions open, memory stays flat."

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from masktune.data import ArrayDataset
from masktune.models import Classifier, build_model
from masktune.saliency import SaliencyMaps, compute_saliency

PASS = dict(device="cpu", progress=False, batch_size=8)
ROWS = ("maps", "scale", "predicted", "confidence")


class Breaks(ArrayDataset):
    "Images of which one cannot be read, until it can; notes what was asked for"

    broken, asked = None, ()

    def _image(self, index):
        self.asked = (*self.asked, int(index))
        if index == self.broken:
            raise OSError("unreadable")
        return super()._image(index)


@pytest.fixture
def made():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (40, 3, 28, 28), dtype=torch.uint8)
    return Classifier(build_model("small-cnn", 2)).eval(), Breaks(images, torch.arange(40) % 2, ["a", "b"])


def same(found, wanted):
    return all(torch.equal(getattr(found, name), getattr(wanted, name)) for name in ROWS)


def killed(model, data, path, at=29):
    assert data.fingerprint  # asks for every image, once
    data.broken = at
    with pytest.raises(OSError, match="unreadable"):
        compute_saliency(model, data, path=path, **PASS)
    data.broken, data.asked = None, ()
    assert (path.parent / f".{path.name}.part" / "progress.json").exists()


def test_a_killed_pass_goes_on_with_the_first_batch_that_was_not_noted(made, tmp_path):
    model, data = made
    whole, path = compute_saliency(model, data, **PASS), tmp_path / "maps.safetensors"
    killed(model, data, path)
    assert not path.exists()
    found = compute_saliency(model, data, path=path, **PASS)
    assert same(found, whole) and min(data.asked[1:]) == 24  # the first is asked to find the layer
    assert [p.name for p in tmp_path.iterdir()] == ["maps.safetensors"]


def test_rows_of_another_pass_are_not_gone_on_with(made, tmp_path):
    model, data = made
    path = tmp_path / "maps.safetensors"
    killed(model, data, path)
    found = compute_saliency(model, data, target="label", path=path, **PASS)
    assert min(data.asked[1:]) == 0 and same(found, compute_saliency(model, data, target="label", **PASS))


@pytest.mark.parametrize("left", ["progress.json", "maps.npy"])
def test_half_of_a_killed_pass_is_begun_anew(made, tmp_path, left):
    model, data = made
    path = tmp_path / "maps.safetensors"
    killed(model, data, path)
    (tmp_path / ".maps.safetensors.part" / left).write_bytes(b"{")
    assert same(compute_saliency(model, data, path=path, **PASS), compute_saliency(model, data, **PASS))
    assert [p.name for p in tmp_path.iterdir()] == ["maps.safetensors"]


def test_what_an_earlier_version_left_of_a_pass_is_in_nobodys_way(made, tmp_path):
    model, data = made
    (tmp_path / ".maps.safetensors.part").write_bytes(b"rows")  # it was a file
    compute_saliency(model, data, path=tmp_path / "maps.safetensors", **PASS)
    assert [p.name for p in tmp_path.iterdir()] == ["maps.safetensors"]


def test_files_of_earlier_versions_open(made, tmp_path):
    "Their head was written by hand, widest values first"
    model, data = made
    maps, path = compute_saliency(model, data, **PASS), tmp_path / "old.safetensors"
    kinds = {"predicted": "I64", "scale": "F32", "confidence": "F32", "maps": "F16"}
    about, bodies, end = {"__metadata__": {n: getattr(maps, n) for n in maps.__dict__ if n not in ROWS}}, [], 0
    for name, kind in kinds.items():
        value = getattr(maps, name).numpy()
        bodies.append(value.tobytes())
        about[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    head = json.dumps(about).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(len(head).to_bytes(8, "little") + head + b"".join(bodies))
    assert same(SaliencyMaps.load(path).check(data, model), maps)


def test_opening_stored_maps_reads_none_of_them(tmp_path):
    "256 MB on disk, of which a few pages come into memory; in a process of its own"
    count = 128_000
    path = tmp_path / "large.safetensors"
    rows = (torch.ones(count), torch.zeros(count, dtype=torch.int64), torch.ones(count))
    SaliencyMaps(torch.from_numpy(np.zeros((count, 32, 32), np.float16)), *rows).save(path)
    code = (
        "import resource, sys\nfrom masktune.saliency import SaliencyMaps\nimport safetensors\n"
        "def highest(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024\n"
        "before = highest()\nmaps = SaliencyMaps.load(sys.argv[1])\nmaps[[5, 100_000]].sum()\nprint(highest() - before)"
    )
    run = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, env=os.environ)
    assert int(run.stdout) < 40, run.stdout + run.stderr
