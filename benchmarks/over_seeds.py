"What the benchmarks over seeds share: options, one single-threaded process a job, a table, the figures as JSON."

import argparse
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path


def options(description: str, seeds: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default=seeds, help="first-last")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--out", type=Path, help="write the figures here as JSON")
    return parser


def seeds_of(given: argparse.Namespace) -> range:
    first, last = map(int, given.seeds.split("-"))
    return range(first, last + 1)


def run(given: argparse.Namespace, run_job: Callable, jobs: Sequence, table: Callable[[list[dict]], str]) -> None:
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(run_job, jobs))
    print(table(rows))
    if given.out:
        given.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
