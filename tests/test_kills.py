"A run that is killed at thirty random moments and gone on with each time: nothing broken, nothing lost, the same end."

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file

from masktune.files import load_state

# A process that has imported everything starts each run by a fork: a kill then costs its own time alone.
STARTER = """
import os, sys
import torch
torch.set_num_threads(1)
import fastcore.docments, jinja2, matplotlib.figure, scipy.stats, sklearn.datasets
import masktune.cli, masktune.experiments.datasets, masktune.report, masktune.resume, masktune.runs
for line in sys.stdin:
    child = os.fork()
    if not child:
        code = 1
        try: code = masktune.cli.main(line.split())
        finally: os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
COMMAND = "run biased-digits --set settings.epochs=3 --set settings.device=cpu --set settings.rounds=2"


class Starter:
    def __init__(self, log):
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
            env=os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"},
        )

    def start(self, line):
        self.process.stdin.write(line + " --keep-every 0.1\n")
        return int(self.read())

    def read(self):
        "The starter's next number: what its children print goes the same way"
        while not (line := self.process.stdout.readline().strip()).lstrip("-").isdigit():
            assert line or self.process.poll() is None, "the starter has died"
        return line

    def ended(self):
        return int(self.read())


@pytest.fixture
def starter(tmp_path):
    with open(tmp_path / "errors.txt", "w") as log:
        starter = Starter(log)
        yield starter
        starter.process.stdin.close()
        starter.process.wait(30)


def place(out):
    "How far a folder has come: phases finished, then the step of the one begun"
    done = sum((out / part / "state.pt").exists() for part in ("erm", "round-1", "round-2"))
    maps = sum((out / part / "maps.safetensors").exists() for part in ("round-1", "round-2"))
    begun = [load_state(path) for path in out.glob("*/step.pt") if not (path.parent / "state.pt").exists()]
    return (done, maps, *max(((state["epoch"], state["step"]) for state in begun), default=(0, 0)))


def check_files(out):
    for path in out.rglob("*"):
        if path.suffix == ".safetensors" and not path.name.startswith("."):
            load_file(path)
        if path.suffix == ".json":
            json.loads(path.read_text())
        if path.suffix == ".pt":
            load_state(path)


def results(out):
    weights = {str(p.relative_to(out)): load_file(p) for p in sorted(out.rglob("*.safetensors"))}
    rows = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return (
        weights,
        json.loads((out / "metrics.json").read_text()),
        [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in rows],
    )


def test_thirty_kills_change_nothing(starter, tmp_path):
    whole = tmp_path / "whole"
    started = time.perf_counter()
    starter.start(f"{COMMAND} --out {whole}")
    assert starter.ended() == 0, (tmp_path / "errors.txt").read_text()
    lasted = time.perf_counter() - started
    weights, metrics, log = results(whole)
    assert set(weights) == {
        f"{p}.safetensors"
        for p in ("erm/best", "erm/last", "round-1/maps", "round-1/last", "round-2/maps", "round-2/last")
    }
    draw, kills, runs, met = random.Random(5), 0, 0, set()
    while kills < 30:
        runs += 1
        out, before = tmp_path / f"killed-{runs}", (0, 0, 0, 0)
        while True:
            child = starter.start(f"{COMMAND} --out {out} --resume")
            time.sleep(draw.uniform(0.02, 0.3) * lasted)  # a slow machine is killed later
            if kills < 30:
                with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                    os.kill(child, signal.SIGKILL)
            code = starter.ended()
            assert code in (0, -signal.SIGKILL), (tmp_path / "errors.txt").read_text()
            if code == 0:
                break
            kills += 1
            if not out.exists():
                continue
            check_files(out)
            after = place(out)
            assert after >= before, "work that was saved is gone"
            before = after
            met.add(after[:2])
        found = results(out)
        assert found[1] == metrics and found[2] == log
        for name, tensors in weights.items():
            for key, value in tensors.items():
                assert torch.equal(found[0][name][key], value), (name, key)
        assert not list(out.rglob("*.tmp")) and not list(out.rglob("step.pt")) and not list(out.rglob("*.part*"))
    assert len(met) >= 3, met  # kills met several phases
    print(f"{kills} kills over {runs} runs of {lasted:.1f} s, at {sorted(met)}")


def test_sigterm_and_interrupts_save_and_say_how_to_go_on(starter, tmp_path):
    for number, workers in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGTERM, 2)):
        out = tmp_path / f"{number.name}-{workers}"
        child = starter.start(
            f"run biased-digits --set settings.epochs=30 --set settings.num_workers={workers} --out {out}"
        )
        while not list(out.glob("erm/step.pt")):
            time.sleep(0.05)
        readers = psutil.Process(child).children(recursive=True)
        assert len(readers) == workers
        os.kill(child, number)
        assert starter.ended() == 130
        assert psutil.wait_procs(readers, timeout=10)[1] == []  # they leave with their parent
        said = (tmp_path / "errors.txt").read_text().splitlines()[-1]
        assert said.startswith("masktune: interrupted: saved erm after step") and said.endswith(
            "with --resume goes on from there"
        )
        state = load_state(out / "erm" / "step.pt")
        assert f"after step {state['step']} of epoch {state['epoch']}" in said


def test_a_second_writer_is_refused_and_a_killed_one_forgotten(starter, tmp_path):
    from masktune.cli import main

    out = tmp_path / "run"
    child = starter.start(f"run biased-digits --set settings.epochs=30 --out {out}")
    while not list(out.glob("erm/step.pt")):
        time.sleep(0.05)
    refused = subprocess.run([sys.executable, "-m", "masktune", "evaluate", out], capture_output=True, text=True)
    assert refused.returncode == 2 and f"is being written by another process ({child} on" in refused.stderr
    os.kill(child, signal.SIGKILL)
    assert starter.ended() == -signal.SIGKILL
    assert (out / ".owner.json").exists()  # as a killed process leaves it
    assert main(f"run biased-digits --set settings.epochs=2 --out {out} --overwrite".split()) == 0
