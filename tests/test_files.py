"Files when the disk is full or damaged: what was there stays, and the error names it."

import os
import subprocess
import sys

import pytest
import torch

from masktune.files import load_state, load_weights, save_state, save_weights
from masktune.models import build_model, model_fingerprint

FULL = """
import resource, signal, sys
import torch
from masktune.files import save_state, save_weights, write_json
from masktune.models import build_model
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))   # every file ends there, as on a disk that is full
weights = lambda: save_weights("w.safetensors", build_model("small-cnn", 2))
state = lambda: save_state("s.pt", {"m": torch.zeros(50_000)})
for write in (weights, state, lambda: write_json("j.json", list(range(10_000)))):
    try: write()
    except OSError as error: print(error)
"""


def test_a_full_disk_leaves_the_old_files(tmp_path):
    save_weights(tmp_path / "w.safetensors", build_model("small-cnn", 2))
    save_state(tmp_path / "s.pt", {"m": torch.ones(3)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run = subprocess.run([sys.executable, "-c", FULL], cwd=tmp_path, capture_output=True, text=True)
    lines = run.stdout.splitlines()
    assert run.returncode == 0 and len(lines) == 3, run.stderr
    assert (
        all("no space left to write" in line for line in lines)
        and "the file that was there is untouched" in lines[0]
        and "nothing was written" in lines[2]
    )
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_who_may_read_what_a_person_writes_may_read_the_weights(tmp_path):
    "safetensors wrote them so that nobody else could"
    (tmp_path / "plain").touch()
    save_weights(tmp_path / "w.safetensors", build_model("small-cnn", 2))
    save_state(tmp_path / "s.pt", {"m": torch.ones(3)})
    assert len({path.stat().st_mode for path in tmp_path.iterdir()}) == 1


def test_too_little_room_is_said_before_training(tmp_path, monkeypatch, capsys):
    import shutil

    from masktune.cli import main

    monkeypatch.setattr(shutil, "disk_usage", lambda place: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    assert main(["run", "biased-digits", "--out", str(tmp_path / "run")]) == 2
    assert "GB and the disk has 0.00 GB free" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("erm/*"))


@pytest.mark.parametrize("where", [0.1, 0.3, 0.5, 0.7, 0.95])
def test_a_flipped_byte_is_noticed_wherever_it_is(tmp_path, where):
    network = build_model("small-cnn", 2)
    save_weights(tmp_path / "w.safetensors", network)
    save_state(tmp_path / "s.pt", {name: value for name, value in network.state_dict().items()})
    for name, load in (
        ("w.safetensors", lambda path: load_weights(path, build_model("small-cnn", 2))),
        ("s.pt", load_state),
    ):
        content = bytearray((tmp_path / name).read_bytes())
        content[int(len(content) * where)] ^= 0xFF
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=name):
            load(tmp_path / name)


def test_the_order_of_classes_is_part_of_weights(tmp_path):
    from safetensors import safe_open

    network, path = build_model("small-cnn", 3), tmp_path / "w.safetensors"
    save_weights(path, network, classes=["0", "1", "10"])
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["classes"] == '["0", "1", "10"]'
    assert load_weights(path, network, classes=["0", "1", "10"]) is network
    before = model_fingerprint(network)
    with pytest.raises(
        ValueError,
        match=r"trained with classes \['0', '1', '10'\], the data has \['0', '10', '1'\]: open the data with classes=",
    ):
        load_weights(path, network, classes=["0", "10", "1"])
    with pytest.raises(ValueError, match="another task"):
        load_weights(path, network, classes=["cat", "dog", "bird"])
    assert model_fingerprint(network) == before  # nothing was loaded
    save_weights(path, network)
    assert load_weights(path, network, classes=["cat", "dog", "bird"]) is network  # files that say nothing are taken
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="no intact safetensors file"):
        load_weights(tmp_path / "broken.safetensors", network, classes=["a"])


def test_a_run_refuses_data_with_its_classes_in_another_order(tmp_path):
    "Numbers 0, 1, 10, 11, 2 were once sorted as text: every class from 2 on was scored as another"
    from masktune.abstaining import SelectiveClassifier
    from masktune.data import ArrayDataset
    from masktune.finetune import MaskTune
    from masktune.models import SmallCNN
    from masktune.runs import load_run, save_run

    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 3, 28, 28), dtype=torch.uint8, generator=generator)
    labels = torch.arange(12) % 3
    data, turned = (ArrayDataset(images, labels, names) for names in (["0", "2", "10"], ["0", "10", "2"]))
    run = MaskTune(SmallCNN(3), epochs=1, batch_size=6, progress=False, cache=0).fit(data)
    loaded = load_run(save_run(run, tmp_path / "run"), SmallCNN(3))
    assert loaded.classes_ == run.branch(rule="otsu").classes_ == ["0", "2", "10"]
    steps = (loaded.evaluate, loaded.compute_maps, loaded.swapped, loaded.finetune_round, loaded.fit_control)
    for step in steps:
        with pytest.raises(ValueError, match=r"trained for \['0', '2', '10'\]: open the data with classes="):
            step(turned)
    with pytest.raises(ValueError, match=r"best.safetensors was trained with classes \['0', '2', '10'\]"):
        load_weights(tmp_path / "run" / "erm" / "best.safetensors", SmallCNN(3), turned.classes)
    pair = SelectiveClassifier([run.erm_, run.model_]).calibrate(data, coverage=0.9)
    again = SelectiveClassifier.load(pair.save(tmp_path / "pair"), lambda: SmallCNN(3))
    for classifier in (pair, again):
        with pytest.raises(ValueError, match="calibrated for"):
            classifier.scores(turned)
