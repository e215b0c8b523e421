"""What was measured, as pages: `python scripts/results.py` writes benchmarks/RESULTS.md (with --check it only says
whether that is in step), and the site's "Results" is made of the same, with plots.

A result is an entry in result_entries.py, which makes tables of the figures a benchmark keeps as JSON; or it is a file
in benchmarks/tables, where a benchmark that keeps no figures of its own has its printed table. A result whose files are
not there is left out, so that an entry can stand before its benchmark is run."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from charts import Dots, dot_plot

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
TARGET = BENCHMARKS / "RESULTS.md"
NOTE = "<!-- Made by scripts/results.py from the files beside it: edit scripts/result_entries.py or tables/. -->"
INTRODUCTION = (
    "Each result with its command, the kind of machine, and the date. Machines are shared and noisy: of times, read "
    "ratios and medians. Where rows compete, the best is in bold letters; where one column is meant for choosing, it "
    "is the best by that."
)


@dataclass(frozen=True)
class Grid:
    "One table of a result"

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    says: str = ""  # one sentence: what it shows
    best: str | None = None  # the row, by its first cell, that is marked
    plot: str = ""  # HTML
    folded: str = ""  # words on the lid, where it is folded away

    def __post_init__(self):
        for row in self.rows:
            if len(row) != len(self.head):
                raise ValueError(f"a row of {len(row)} cells under {len(self.head)} names, {list(self.head)}: {row}")
        if self.best is not None and self.best not in {row[0] for row in self.rows}:
            raise ValueError(f"no row is called {self.best!r}: {[row[0] for row in self.rows]}")

    def is_of_figures(self, place: int) -> bool:
        "Whether a column is of figures: its cells begin with one, and few words follow"
        return all(
            re.fullmatch(r"|[-+]?\d[\d.,]*(e-?\d+)?( ?%)?( ?[±\[(].*| (of|to) [\d.]+)?", row[place])
            for row in self.rows
        )

    def markdown(self, close: bool = False) -> str:
        "The table, its best row in bold letters; `close`: a figure and its spread stay on one line"
        rules = ["---", *("---:" if self.is_of_figures(place) else "---" for place in range(1, len(self.head)))]
        lines = [self.head, rules]
        for row in self.rows:
            bold = self.best is not None and row[0] == self.best
            lines.append([f"**{cell}**" if bold and cell else cell for cell in row])
        escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
        if close:
            escaped = [[re.sub(r"(?<=\d) (?=[±\[])|(?<=±) ", "\u00a0", cell) for cell in line] for line in escaped]
        return "\n".join(f"| {' | '.join(line)} |" for line in escaped)


@dataclass(frozen=True)
class Result:
    "One thing that was measured"

    name: str  # of its page
    title: str
    says: str | Callable[[], str]  # one sentence: what came of it; a function that makes it of the figures
    command: str
    machine: str
    date: str  # year-month-day
    grids: Callable[[], list[Grid]]
    files: Sequence[str] = ()  # in benchmarks/: the figures
    about: str = ""  # how it was measured, and what the columns are
    order: int = 50
    settings: Sequence[float] = field(default=())  # figures that were set, not measured

    @property
    def measured(self) -> bool:
        return all((BENCHMARKS / name).exists() for name in self.files)

    def sentence(self) -> str:
        return self.says() if callable(self.says) else self.says

    def script(self) -> str:
        "The benchmark's file, where the command runs one"
        found = re.search(r"benchmarks/(\w+\.py)", self.command)
        return found[1] if found else ""


def from_table_file(path: Path) -> Result:
    "A result whose printed tables are kept as they are"
    kept = json.loads(path.read_text(encoding="utf-8"))
    names = ("title", "says", "command", "machine", "date", "about", "order")
    about = {name: kept[name] for name in names if name in kept}

    def grids() -> list[Grid]:
        return [grid_of(table) for table in kept["tables"]]

    return Result(path.stem, files=(f"tables/{path.name}",), grids=grids, **about)


def grid_of(table: dict) -> Grid:
    "A table of a file in benchmarks/tables, with the plot that it asks for"
    plot = table_plot(table) if "plot" in table else ""
    parts = {name: table.get(name, "") for name in ("title", "says")}
    return Grid(table["head"], table["rows"], best=table.get("best"), plot=plot, **parts)


def table_plot(table: dict) -> str:
    "Draw one column of cells such as 94.6 ± 5.8 (deviation) or 0.937 [0.882] (lowest)"
    asked = table["plot"]
    column = list(table["head"]).index(asked["column"])
    low, high = asked["range"]
    rows = []
    for row in table["rows"]:
        mean, *more = [float(number) for number in re.findall(r"-?[\d.]+", row[column])]
        span = None
        if "±" in row[column]:
            span = (mean - more[0], mean + more[0])
        elif more:
            span = (min(more), max([mean, *more[1:]]))
        rows.append(Dots(row[0], mean=mean, span=span, ours=row[0] == table.get("ours")))
    return dot_plot(rows, asked["caption"], low, high, asked.get("unit", ""))


def results() -> list[Result]:
    "All that is there, in order"
    from result_entries import ENTRIES

    kept = [from_table_file(path) for path in sorted((BENCHMARKS / "tables").glob("*.json"))]
    there = [result for result in (*ENTRIES, *kept) if result.measured]
    return sorted(there, key=lambda result: (result.order, result.name))


def made_by(result: Result, files: str) -> str:
    "Command, machine and date, with the files; `files` is the folder they are linked in"
    names = [name for name in (result.script(), *result.files) if name]
    links = ", ".join(f"[{Path(name).name}]({files}{name})" for name in names)
    return f"`{result.command}` · {result.machine} · {result.date}" + (f" · {links}" if links else "")


def body(result: Result, files: str, site: bool, level: int) -> list[str]:
    "A result below its title"
    made = made_by(result, files)
    lines = [result.sentence(), "", *(["{.made}"] if site else []), made, ""]
    if result.about:
        lines += [result.about.replace("](../nbs/", "](../") if site else result.about, ""]
    for grid in result.grids():
        if grid.title:
            lines += [f"{'#' * level} {grid.title}", ""]
        if grid.says:
            lines += [grid.says, ""]
        if site and grid.plot:
            lines += ["```{raw} html", grid.plot, "```", ""]
        table = ["{.results}", grid.markdown(close=True)] if site else [grid.markdown()]
        lid = [f"<details><summary>{grid.folded}</summary>", ""] if grid.folded else []
        lines += [*lid, *table, "", *(["</details>", ""] if lid else [])]
    return lines


def place_of(title: str) -> str:
    "Where a heading is found on a page, as repositories show Markdown"
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


@cache  # every text of the site asks
def places() -> dict[str, str]:
    "The name of each result's page, by where it stands in benchmarks/RESULTS.md"
    return {place_of(result.title): result.name for result in results()}


def document() -> str:
    "benchmarks/RESULTS.md"
    lines = [NOTE, "", "# Results", "", INTRODUCTION, ""]
    for result in results():
        lines += [f"## {result.title}", "", *body(result, "", False, 3)]
    text = "\n".join(lines).rstrip() + "\n"
    for place, name in places().items():
        text = text.replace(f"]({name}.md)", f"](#{place})")
    return text


def result_pages() -> dict[str, str]:
    "The site's pages in Markdown: an overview, and one for each result"
    found = results()
    rows = [f"| [{each.title}](results/{each.name}.md) | {each.sentence()} | {each.date} |" for each in found]
    listed = ["```{toctree}", ":hidden:", "", *(f"results/{each.name}" for each in found), "```"]
    table = ["| what was measured | what it shows | date |", "| --- | --- | --- |", *rows]
    pages = {"results": "\n".join(["# Results", "", INTRODUCTION, "", *table, "", *listed, ""])}
    for each in found:
        lines = [f"# {each.title}", "", *body(each, "files/", True, 2)]
        pages[f"results/{each.name}"] = "\n".join(lines)
    return pages


def result_files() -> list[str]:
    "The scripts and figures that the pages link, in benchmarks/"
    names = [name for result in results() for name in (result.script(), *result.files) if name]
    return list(dict.fromkeys(names))


def numbers(text: str) -> set[float]:
    "The numbers that stand in a text"
    return {float(found.replace(",", "")) for found in re.findall(r"\d[\d,]*(?:\.\d+)?", text)}


def figures(name: str) -> set[float]:
    "The figures that a result's page shows, its settings among them: what other pages may say of it"
    result = next((each for each in results() if each.name == name), None)
    if result is None:
        raise ValueError(f"no result is called {name!r}, only {', '.join(each.name for each in results())}")
    found = set(result.settings) | numbers(result.sentence()) | numbers(result.about)
    for grid in result.grids():
        if not grid.folded:
            found |= numbers(grid.says).union(*(numbers(cell) for row in grid.rows for cell in row))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing")
    text = document()
    if not parser.parse_args().check:
        TARGET.write_text(text, encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != text:
        sys.exit("benchmarks/RESULTS.md is not in step with the figures: run python scripts/results.py")
