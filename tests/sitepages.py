"What the tests of the built site read of a page: links, pictures, anchors, visible words, tables, figures"

import re
from html.parser import HTMLParser
from typing import NamedTuple

# Not words a reader takes as prose: code, what scripts read, drawings, formulas.
SILENT = {"pre", "code", "script", "style", "svg", "math", "template", "textarea"}
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}

# What is left of Markdown that nobody rendered.
RAW = {
    "a row of a table": r"(?m)^\s*\|.*\|\s*$",
    "a rule of a table": r"\|\s*:?-{3,}",
    "bold stars": r"\*\*[^*\n]+\*\*",
    "a link": r"\[[^\]\n]+\]\([^)\s]+\)",
    "a fence": r"```",
    "a heading": r"(?m)^#{1,6} \w",
    "a comment": r"<!--",
    "attributes": r"\{[.#][\w-]+\}",
    "a formula": r"\$\\|\\\$",
}


class Page(HTMLParser):
    "Links, pictures, anchors, visible words and tables of a page"

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str]] = []
        self.anchors: set[str] = set()
        self.meta: dict[str, str] = {}
        self.tables: list[list[str]] = []  # by table: the heading cells' words
        self.text, self.words = text, ""
        self._open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.anchors.update(found[key] for key in ("id", "name") if found.get(key))
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        if tag == "img":
            self.pictures.append((found.get("src", ""), found.get("alt", "")))
        if tag == "meta":
            self.meta[found.get("property") or found.get("name") or ""] = found.get("content", "")
        if tag == "table":
            self.tables.append([])
        if tag == "th" and self.tables and "thead" in self._open:
            self.tables[-1].append("")
        if tag not in VOID:
            self._open.append(tag)
        if tag in ("p", "br", "td", "th", "li", "div"):
            self.words += "\n"

    def handle_endtag(self, tag):
        if tag in self._open:
            while self._open.pop() != tag:
                pass

    def handle_data(self, data):
        if "thead" in self._open and "th" in self._open and self.tables and self.tables[-1]:
            self.tables[-1][-1] += data.strip()
        if not SILENT & set(self._open):
            self.words += data

    def raw(self) -> list[str]:
        "What a reader sees of Markdown that nobody rendered"
        found = [(what, re.search(pattern, self.words)) for what, pattern in RAW.items()]
        return [f"{what}: {match[0][:80]!r}" for what, match in found if match]


# -- figures that a page states

# Not prose: code, addresses, comments, tags. A number behind a name is its version: Python 3.10, Apache 2.0.
NO_PROSE = re.compile(r"```.*?```|^    .*?$|`[^`]*`|\]\([^)]*\)|<[^>]*>|https?://\S+", re.DOTALL | re.MULTILINE)
VERSION = re.compile(r"\b[A-Z][\w-]*(?:,? version)? v?\d+(?:\.\d+)+")
SOURCES = re.compile(r"<!-- figures: ([\w ]+) -->")
FIGURE = re.compile(r"(?<![\w.-])(\d+(?:\.\d+)?)(?= to (\d+(?:\.\d+)?)\s?%|\s?%)|(?<![\w.-])(\d+\.\d+)(?![\w.])")


class Figure(NamedTuple):
    "A measured figure as a page states it"

    written: str
    per_cent: bool
    sources: tuple[str, ...]  # the results it may come from
    near: str  # words around it

    def is_among(self, figures: set[float]) -> bool:
        "Whether one of the figures is written so, when it is rounded to as many digits"
        digits = len(self.written.partition(".")[2])
        scales = (1.0, 100.0) if self.per_cent else (1.0,)
        said = float(self.written)
        return any(abs(round(scale * figure, digits) - said) < 1e-9 for figure in figures for scale in scales)


def measured_figures(text: str, sources: tuple[str, ...]) -> list[Figure]:
    """What a Markdown text states as measured: every percentage and every number with a decimal point in prose and
    tables. Code, links and versions are none. `<!-- figures: digits_seeds selective -->` says from which results
    those after it come, up to the next such comment or heading; elsewhere `sources` are asked."""
    found = []
    for part in re.split(r"(?=^#+ )", text, flags=re.MULTILINE):
        pieces = SOURCES.split(part)
        named = [sources, *(tuple(names.split()) for names in pieces[1::2])]
        for names, piece in zip(named, pieces[::2], strict=True):
            prose = VERSION.sub(" ", NO_PROSE.sub(" ", piece))
            for match in FIGURE.finditer(prose):
                near = " ".join(prose[max(match.start() - 40, 0) : match.end() + 30].split())
                found.append(Figure(match[1] or match[3], match[1] is not None, names, near))
    return found
