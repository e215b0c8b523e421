"Files when the disk is full or damaged: what was there stays, and the error names it."

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
    assert all("no space left to write" in line for line in lines) and "the file that was there is untouched" in lines[0] and "nothing was written" in lines[2]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


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
    for name, load in (("w.safetensors", lambda path: load_weights(path, build_model("small-cnn", 2))), ("s.pt", load_state)):
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
    with pytest.raises(ValueError, match=r"trained with classes \['0', '1', '10'\], the data has \['0', '10', '1'\]: open the data with classes="):
        load_weights(path, network, classes=["0", "10", "1"])
    with pytest.raises(ValueError, match="another task"):
        load_weights(path, network, classes=["cat", "dog", "bird"])
    assert model_fingerprint(network) == before  # nothing was loaded
    save_weights(path, network)
    assert load_weights(path, network, classes=["cat", "dog", "bird"]) is network  # files that say nothing are taken
    (tmp_path / "broken.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="no intact safetensors file"):
        load_weights(tmp_path / "broken.safetensors", network, classes=["a"])
