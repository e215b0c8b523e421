"What the tests of the built site read of a page: links, pictures, anchors, visible words, tables, figures"

import re
from html.parser import HTMLParser

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
