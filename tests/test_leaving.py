"A notebook that is closed while its panels are at work: the interpreter ends in silence, whenever it is."

import subprocess
import sys

# What runs in the background: a question about the page and many images, a sorting, measuring, a training.
SCRIPT = """
import time
import torch
from masktune.data import ArrayDataset
from masktune.finetune import MaskTune
from masktune.lab.launcher import Launcher
from masktune.lab.scrubber import ThresholdScrubber
from masktune.models import build_model

generator = torch.Generator().manual_seed(0)
images = torch.randint(0, 256, (400, 3, 28, 28), dtype=torch.uint8, generator=generator)
data = ArrayDataset(images, torch.arange(400) % 2, ["a", "b"], name="noise")
run = MaskTune(build_model("small-cnn", 2), epochs=0, finetune_lr=0.01, device="cpu", progress=False).fit_erm(data)
run.rounds = 5
scrubber = ThresholdScrubber(run.erm_, data, page_size=24)
scrubber.sort.value = scrubber.FALL
scrubber.measure()
launcher = Launcher(run, data, {"test": data}, val=data).sweep_remedies(["repair"])
time.sleep(0.3)
assert launcher.job.running
"""


def left(code):
    "Run a script that leaves its panels at work: what it ends with"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    return ran.returncode, ran.stderr


def test_the_interpreter_ends_in_silence_while_panels_are_at_work():
    """Threads that compute in PyTorch while Python takes itself down abort the process: here they end before it.
    A repair cannot be asked to stop: it is interrupted."""
    assert left(SCRIPT) == (0, "")


def test_a_training_that_is_left_ends_in_silence_and_can_be_gone_on_with(tmp_path):
    "At exit it is asked to stop after its step: where it was is on disk"
    code = SCRIPT.replace("scrubber.measure()\n", "").replace("val=data", f"folder={str(tmp_path)!r}")
    code = code.replace('sweep_remedies(["repair"])', "launch()")
    code = code.replace("time.sleep(0.3)", "[time.sleep(0.02) for _ in range(1000) if not launcher.job.points]")
    assert left(code) == (0, "")
    assert list(tmp_path.glob("round-*/stopped.pt"))
