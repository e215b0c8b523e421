"""Processes that have PyTorch at hand when they start.

A new Python takes four seconds to import it, and a hundred notebooks take that a hundred times. Here they are forked
from a process that did nothing but import: as separate as new ones, each with its own modules, folder, streams and
environment. What a start is tested by, what computes elsewhere, and what is stopped by signals starts a new Python."""

import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from multiprocessing import get_context
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from unittest.mock import patch

SEED = int(os.environ.get("MASKTUNE_TEST_SEED", 0))  # what a test draws without a seed of its own begins here
_AHEAD = ["torch", "torchvision", "captum.attr", "matplotlib.pyplot", "sklearn.cluster", "ipywidgets", "nbdev.test"]
_CONTEXT = get_context("forkserver")
_CONTEXT.set_forkserver_preload(_AHEAD)


def _carry_out(function, arguments, streams, folder, environment):
    "In the new process: put everything in place as a shell would, then call"
    for stream, path in zip((1, 2), streams, strict=True):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.exit(function(*arguments))


def run_ready(
    function: Callable[..., Any],  # of a module; what it returns is the exit status, as of `main`
    *arguments: Any,
    cwd: str | Path | None = None,  # default: this process's
    env: Mapping[str, str] | None = None,  # default: this process's
) -> CompletedProcess[str]:  # exit status and what was written, as `subprocess.run` gives them
    "Call a function in a process of its own that has PyTorch at hand"
    with tempfile.TemporaryDirectory() as kept:
        streams = [Path(kept, name) for name in ("out", "err")]
        for path in streams:
            path.touch()
        given = (function, arguments, streams, str(cwd or Path.cwd()), dict(env or os.environ))
        process = _CONTEXT.Process(target=_carry_out, args=given)
        with patch.dict(os.environ, MPLBACKEND="agg"):  # read where the process that imports ahead starts
            process.start()
        process.join()
        words = [path.read_text(encoding="utf-8") for path in streams]
        return CompletedProcess([function.__name__, *map(str, arguments)], process.exitcode, *words)


def run_command(words: list[str]) -> int:
    "The `masktune` command"
    from masktune.cli import main

    sys.argv = ["masktune", *words]
    return main(words)


def run_notebook(path: Path) -> None:
    "Run a notebook from top to bottom, as `nbdev-test` does, from the seed of the tests"
    import torch
    from nbdev.test import nbdev_test

    torch.manual_seed(SEED)
    nbdev_test(str(path), n_workers=0)
