"""Run what trains under settings that stand for other processors; see `ROUNDINGS` in benchmarks/over_seeds.py.

    python scripts/rounding.py            the demo, the tutorials and every other test that trains, under each setting
    python scripts/rounding.py --settings avx2    the same under one of them
    python scripts/rounding.py --quick    the demo and the tutorial on two shortcuts, under one other setting

More options go to pytest. A setting that this machine cannot execute is named and left out; the exit status is 1
when none is left or a test fails."""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

from over_seeds import CAPABILITIES, FIXED, ROUNDINGS  # noqa: E402

QUICK = (("tests/test_command.py", "demo_shows"), ("tests/test_notebooks.py", "runs and 06_more"))


@cache  # asking costs a process that loads PyTorch
def capability(name: str) -> str:
    "What PyTorch says it computes with under a setting"
    asked = "import torch; print(torch.backends.cpu.get_cpu_capability())"
    environment = os.environ | ROUNDINGS[name]
    run = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip()


def executable() -> list[str]:
    "The settings this machine can execute; the others are named on stderr"
    found = []
    for name in FIXED:
        if (seen := capability(name)) == CAPABILITIES[name]:
            found.append(name)
        else:
            print(f"{name} is left out: this machine computes with {seen}, not {CAPABILITIES[name]}", file=sys.stderr)
    return found


def run_tests(name: str, *words: str) -> bool:
    "Whether pytest passes under a setting"
    settings = " ".join(f"{variable}={value}" for variable, value in ROUNDINGS[name].items())
    print(f"== {name}: {settings} pytest {' '.join(words)}", flush=True)
    return (
        subprocess.run([sys.executable, "-m", "pytest", *words], env=os.environ | ROUNDINGS[name], cwd=ROOT).returncode
        == 0
    )


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the demo and one tutorial, under one setting")
    parser.add_argument("--settings", nargs="+", choices=FIXED, default=FIXED, help="which (default: every one)")
    given, others = parser.parse_known_args(words)
    settings = [name for name in executable() if name in given.settings]
    if given.quick:
        calls = [(name, path, "-k", chosen, *others) for name in settings[:1] for path, chosen in QUICK]
    else:
        calls = [(name, "-m", "trains", *others) for name in settings]
    results = [run_tests(*call) for call in calls]
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
