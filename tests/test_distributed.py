"""Two processes under torchrun, as on two GPUs or two machines: the same maps, counts and losses as one process, and
the command speaks once."""

import json
import os
import subprocess
import sys
import time

import psutil
import torch
from torch import nn

from masktune.erm import fit
from masktune.evaluation import evaluate
from masktune.files import load_state
from masktune.models import model_fingerprint
from masktune.saliency import SaliencyMaps, compute_saliency

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]


def network():
    "Without batch normalisation, whose statistics are each process's own"
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 2),
    )


def everything(digits, folder, batch_size):
    "Train, explain and measure; the first of several processes keeps what came of it"
    options = dict(device="cpu", progress=False)
    model = network()
    train = digits["train"].subset(range(256))
    history = fit(model, train, digits["val"], epochs=3, lr=0.05, batch_size=batch_size, seed=3, **options).history
    # divides into no even batches: two processes pad, and drop what they padded
    odd = digits["test"].subset(range(69))
    maps = compute_saliency(model, odd, batch_size=16, path=folder / "maps.safetensors", **options)
    found = evaluate(model, odd, batch_size=16, **options)
    torch.manual_seed(0)
    normed = nn.Sequential(
        nn.Conv2d(3, 4, 3, 4), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    fit(normed, train, epochs=1, lr=0.05, batch_size=batch_size, **options)
    rank = os.environ.get("RANK", "0")
    (folder / f"network-{rank}").write_text(model_fingerprint(normed))
    if rank == "0":
        torch.save(
            {
                "losses": [(row["loss"], row["val_loss"], row["accuracy"]) for row in history],
                "metrics": found.to_dict(),
                "correct": found.correct,
                "count": len(maps),
                "weights": {name: value.cpu() for name, value in model.state_dict().items()},
            },
            folder / "found.pt",
        )


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from conftest import split_digits
from test_distributed import everything
everything(split_digits(), Path(sys.argv[1]), 8)
"""


def test_two_processes_find_what_one_finds(digits, tmp_path):
    "torchrun is what accelerate launch calls on GPUs; on CPUs alone accelerate launch would want MPI"
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(tests=os.path.dirname(__file__)))
    run = subprocess.run([*TORCHRUN, script, two], capture_output=True, text=True, env=ENVIRONMENT)
    assert run.returncode == 0, run.stderr[-3000:]
    first, second = ((two / f"network-{rank}").read_text() for rank in (0, 1))
    assert first == second, "each process kept running statistics of its own"
    everything(digits, one, 16)
    expected, found = (torch.load(folder / "found.pt", weights_only=True) for folder in (one, two))
    torch.testing.assert_close(torch.tensor(found["losses"]), torch.tensor(expected["losses"]), atol=1e-4, rtol=0)
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, atol=1e-4, rtol=0)
    assert found["count"] == 69 and torch.equal(found["correct"], expected["correct"])
    for block in ("groups", "classes"):
        assert {k: (v["count"], v["accuracy"]) for k, v in found["metrics"][block].items()} == {
            k: (v["count"], v["accuracy"]) for k, v in expected["metrics"][block].items()
        }
    ours, theirs = (SaliencyMaps.load(folder / "maps.safetensors") for folder in (one, two))
    assert torch.equal(ours.predicted, theirs.predicted)
    # halves, of weights that are equal to 1e-4
    torch.testing.assert_close(ours.maps.float(), theirs.maps.float(), atol=2e-3, rtol=0)
    torch.testing.assert_close(ours.scale, theirs.scale, atol=1e-3, rtol=1e-3)


def test_the_same_weights_give_the_same_maps_in_any_number_of_processes(digits, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import sys
from pathlib import Path
sys.path.insert(0, {os.path.dirname(__file__)!r})
from conftest import split_digits
from test_distributed import network
from masktune.saliency import compute_saliency
images = split_digits()["test"].subset(range(69))
compute_saliency(network(), images, batch_size=16, path=Path(sys.argv[1]), device="cpu", progress=False)
""")
    for name, launch in (("one", [sys.executable]), ("two", TORCHRUN)):
        run = subprocess.run(
            [*launch, script, tmp_path / f"{name}.safetensors"], capture_output=True, text=True, env=ENVIRONMENT
        )
        assert run.returncode == 0, run.stderr[-3000:]
    one, two = (SaliencyMaps.load(tmp_path / f"{name}.safetensors") for name in ("one", "two"))
    assert len(two) == 69 and torch.equal(one.predicted, two.predicted)
    # whole batches: bit for bit
    assert torch.equal(one.maps[:64], two.maps[:64]) and torch.equal(one.scale[:64], two.scale[:64])
    # the last is padded, and so computed in another shape
    torch.testing.assert_close(one.maps[64:], two.maps[64:], atol=1e-3, rtol=0)


def test_the_command_in_two_processes_speaks_once_stops_and_resumes(tmp_path):
    words = "run biased-digits --set settings.epochs=2 --set settings.device=cpu --keep-every 0 --resume --out".split()

    def run(out, wait=None):
        with open(tmp_path / "said.txt", "w") as said:
            process = subprocess.Popen(
                [*TORCHRUN, "-m", "masktune", *words, out], stdout=said, stderr=subprocess.STDOUT, env=ENVIRONMENT
            )
            if wait is not None:
                wait()
                for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                    one.kill()
            process.wait()
        return process.returncode, (tmp_path / "said.txt").read_text()

    code, said = run(tmp_path / "whole")
    assert code == 0 and said.count("Report: ") == 1 and said.count("best validation accuracy") == 1, said
    metrics = json.loads((tmp_path / "whole" / "metrics.json").read_text())
    assert (
        metrics["masktune"]["test"]["count"] == 359
        and sum(g["count"] for g in metrics["masktune"]["test"]["groups"].values()) == 359
    )

    def a_step():
        while not list((tmp_path / "killed").glob("erm/step.pt")):
            time.sleep(0.02)
        time.sleep(0.3)

    run(tmp_path / "killed", a_step)
    assert len(load_state(tmp_path / "killed" / "erm" / "step.pt")["each"]) == 2
    alone = subprocess.run(
        [sys.executable, "-m", "masktune", *words, tmp_path / "killed"], capture_output=True, text=True
    )
    assert alone.returncode == 2 and "was written by 2 processes, this is a run of 1" in alone.stderr
    code, said = run(tmp_path / "killed")
    assert code == 0, said
    from masktune.files import load_weights
    from masktune.models import build_model

    for name in ("erm/last", "erm/best", "round-1/last"):
        a, b = (
            load_weights(tmp_path / which / f"{name}.safetensors", build_model("small-cnn", 2))
            for which in ("whole", "killed")
        )
        assert model_fingerprint(a) == model_fingerprint(b), name
