"""What the benchmarks over seeds share: options, rounding settings, one single-threaded process a job, figures as JSON.

A processor's instruction set decides in which order sums are rounded, and a short training carries that far: the
same seed ends in another model on another machine. So each job can be run under settings that stand for other
processors (`ROUNDINGS`). The figures are written after every job, and a second call runs only the jobs that are
missing."""

import argparse
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# What a processor without AVX, and one with AVX2 but without AVX-512, would compute with.
# Both run on any x86-64 that has AVX2.
ROUNDINGS: dict[str, dict[str, str]] = {
    "native": {},
    "sse41": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "avx2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
}
# What `torch.backends.cpu.get_cpu_capability()` says where a machine can execute them.
CAPABILITIES = {"sse41": "DEFAULT", "avx2": "AVX2"}
FIXED = ("sse41", "avx2")  # the same on every machine that can run them: what published figures are made of


def options(description: str, seeds: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default=seeds, help="first-last")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--rounding", default="native", choices=(*ROUNDINGS, "all"), help="all: sse41 and avx2")
    parser.add_argument("--out", type=Path, help="the figures, as JSON; what stands there already is not run again")
    return parser


def seeds_of(given: argparse.Namespace) -> range:
    first, last = map(int, given.seeds.split("-"))
    return range(first, last + 1)


def roundings_of(given: argparse.Namespace) -> tuple[str, ...]:
    return FIXED if given.rounding == "all" else (given.rounding,)


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    "Set variables for processes that are started inside"
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def key_of(rounding: str, job: object) -> str:
    return json.dumps([rounding, job])


def read(path: Path) -> list[dict]:
    return json.loads(path.read_text(encoding="utf-8"))


def write(path: Path, rows: Mapping[str, dict]) -> None:
    beside = path.with_suffix(".part")
    beside.write_text(json.dumps(list(rows.values()), indent=1) + "\n", encoding="utf-8")
    beside.replace(path)


def outcomes(processes: int, rounding: str, run_job: Callable, jobs: Sequence) -> Iterator[tuple[object, dict]]:
    "Each job with what it found, as they end; one that fails stops those that have not begun"
    with environment(ROUNDINGS[rounding]), ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run_job, job): job for job in jobs}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def run(given: argparse.Namespace, run_job: Callable, jobs: Sequence, table: Callable[[list[dict]], str]) -> list[dict]:
    "Run what is missing, print a table for each rounding and one of all; a row says its `rounding` and its `job`"
    kept: dict[str, dict] = {}
    if given.out and given.out.exists():
        kept = {key_of(row["rounding"], row["job"]): row for row in read(given.out) if "rounding" in row}
    asked = [(rounding, job) for rounding in roundings_of(given) for job in jobs]
    for rounding in roundings_of(given):
        missing = [job for job in jobs if key_of(rounding, job) not in kept]
        for job, found in outcomes(given.jobs, rounding, run_job, missing):
            kept[key_of(rounding, job)] = {"rounding": rounding, "job": job, **found}
            if given.out:
                write(given.out, kept)
    rows = [kept[key_of(rounding, job)] for rounding, job in asked]
    for rounding in roundings_of(given):
        print(f"{rounding}\n{table([row for row in rows if row['rounding'] == rounding])}\n")
    if len(roundings_of(given)) > 1:
        print(f"{' and '.join(roundings_of(given))} together\n{table(rows)}")
    if given.out:  # in the order of the jobs, whichever was finished first
        write(given.out, {key_of(*pair): kept[key_of(*pair)] for pair in asked} | kept)
    return rows
