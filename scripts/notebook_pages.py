"""A notebook as a page of the site: used by docs.py.

Tutorials and the front page are shown as they were run. A page of the reference is its notebook, with each exported
cell replaced by what a reader wants of it. What follows an entry as code is its example; assertions that only hold it
to its word are folded away under "Checks", and of an entry that has nothing else the first becomes the example:
`assert f(1) == 2` is shown as `f(1)  # 2`. An entry without code of its own is shown in use: a line from further down
its page, from a tutorial, or from another page, which is named."""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbformat import NotebookNode
from reference import NOTEBOOKS, described, linked, names_of, narrow_fences, pages, statements

CHECKS = {"code_prompt_show": "Checks", "code_prompt_hide": "Checks"}
TAGS = {"echo: false": "remove-input", "hide_input": "remove-input", "output: false": "remove-output"}


class Split(NamedTuple):
    "A cell's code: what is shown, and what is folded away"

    example: str
    checks: str


def is_check(node: ast.stmt) -> bool:
    "Whether a statement only holds the code to its word"
    if isinstance(node, (ast.For, ast.With, ast.If)):
        return any(isinstance(part, ast.Assert) for part in ast.walk(node))
    if isinstance(node, ast.Assert):
        return True
    call = node.value if isinstance(node, ast.Expr) else None
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.startswith("test_")


def answered(node: ast.stmt) -> str | None:
    "A check as an example with its answer: `assert f(1) == 2` is `f(1)  # 2`"
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        arguments = node.value.args
        if node.value.func.id == "test_fail":
            return refused(node.value)
        if node.value.func.id not in ("test_eq", "test_close") or len(arguments) < 2:
            return None
        asked, answer = arguments[:2]
    elif not isinstance(node, ast.Assert):
        return None
    else:
        test = node.test
        if isinstance(test, ast.Compare) and len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq):
            asked, answer = test.left, test.comparators[0]
        elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
            asked, answer = test.operand, ast.Constant(False)
        else:
            asked, answer = test, ast.Constant(True)
    return with_answer(ast.unparse(asked), ast.unparse(answer))


def with_answer(asked: str, answer: str) -> str:
    line = f"{asked}  # {answer}"
    return line if len(line) <= 88 else f"{asked}\n# {answer}"


def refused(call: ast.Call) -> str | None:
    "`test_fail(lambda: f(-1), contains='at least')` as a call and what is said to it"
    asked = call.args[0] if call.args else None
    words = next((word.value for word in call.keywords if word.arg == "contains"), None)
    if not isinstance(asked, ast.Lambda) or not isinstance(words, ast.Constant):
        return None
    return with_answer(ast.unparse(asked.body), f"an error: ... {words.value} ...")


def lines_of(source: str, nodes: list[ast.stmt]) -> str:
    "The lines on which statements stand, with the comments above them"
    lines, found, taken = source.split("\n"), [], {n for node in nodes for n in range(node.lineno, node.end_lineno + 1)}
    above: list[int] = []
    for number, line in enumerate(lines, start=1):
        if number in taken:
            found += [*above, number]
            above = []
        elif line.lstrip().startswith("#") or not line.strip():
            above.append(number)
        else:
            above = []
    return "\n".join(lines[number - 1] for number in found).strip("\n")


def split_checks(source: str, has_output: bool, wanted: bool) -> Split:
    "Part a cell of the reference into its example and its checks; `wanted`: the entry has no example yet"
    try:
        nodes = ast.parse(source).body
    except SyntaxError:  # a magic
        return Split(source, "")
    checks = [node for node in nodes if is_check(node)]
    others = [node for node in nodes if not is_check(node)]
    if not checks:
        return Split(source, "")
    if others and has_output:
        return Split(lines_of(source, others), lines_of(source, checks))
    if not wanted:
        return Split("", source)
    shown = next((node for node in checks if answered(node)), None)
    if shown is None:
        return Split("", source) if not others else Split(lines_of(source, others), lines_of(source, checks))
    setting = [node for node in others if node.lineno < shown.lineno]
    rest = [node for node in nodes if node is not shown and node not in setting]
    example = "\n".join(filter(None, [lines_of(source, setting), answered(shown)]))
    return Split(example, lines_of(source, rest))


def alternative(output: dict, before: str, code: str) -> str:
    "Words for a picture: a panel's own, else the sentence that asked the question"
    own = output["data"].get("text/plain", "")
    if own and not own.startswith("<"):
        return own.replace("\n", " ")
    words = re.sub(r"\$\$.*?\$\$", "", before, flags=re.DOTALL)  # a formula, read out without its signs, says nothing
    sentences = [line for line in re.sub(r"[*`_$>#\[\]]|\(http[^)]*\)", "", words).split("\n") if line.strip()]
    return (sentences[-1] if sentences else f"what this gives: {code.splitlines()[-1]}")[:400]


def picture_kind(output: NotebookNode) -> str | None:
    "The form in which an output is a picture: `image/png`, `image/jpeg` (of Pillow's photographs), `image/svg+xml` ..."
    kinds = [kind for kind in output.get("data", {}) if kind.startswith("image/")]
    return max(kinds, key=lambda kind: kind == "image/png", default=None)


def shown_outputs(outputs: list[NotebookNode]) -> list[NotebookNode]:
    "One form of each output, and nothing of what went to stderr"
    for output in outputs:
        data, kind = output.get("data", {}), picture_kind(output)
        if kind:
            output.data = {kind: data[kind]}
        elif "text/plain" in data and "text/markdown" not in data and "text/html" not in data:
            output.data = {"text/plain": data["text/plain"]}
    return [output for output in outputs if not (output.output_type == "stream" and output.name == "stderr")]


# -- where names are used


def called(node: ast.AST) -> set[str]:
    "Names of functions and classes that a statement calls, or takes attributes of"
    found = {part.func for part in ast.walk(node) if isinstance(part, ast.Call)}
    found |= {part.value for part in ast.walk(node) if isinstance(part, ast.Attribute)}
    names = {part.id for part in found if isinstance(part, ast.Name)}
    return names | {part.attr for part in found if isinstance(part, ast.Attribute)}


def shown_code(path: Path) -> list[str]:
    "A notebook's code that is no export and not hidden, without directives"
    code = []
    for part in nbformat.read(path, as_version=4).cells:
        directives = re.findall(r"^#\|\s*(\w+)", part.source, re.MULTILINE)
        if part.cell_type == "code" and not {"export", "hide", "default_exp"} & set(directives):
            code.append(re.sub(r"^#\|.*\n?", "", part.source, flags=re.MULTILINE))
    return code


@cache
def uses(path: Path) -> dict[str, str]:
    "By name, the first short statement of a notebook that uses it"
    found: dict[str, str] = {}
    for source in shown_code(path):
        try:
            nodes = ast.parse(source).body
        except SyntaxError:  # a magic
            continue
        for node in nodes:
            if isinstance(node, (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)):
                continue
            text = answered(node) if is_check(node) else lines_of(source, [node])
            if text and text.count("\n") < 8 and max(map(len, text.split("\n"))) <= 100:
                for name in called(node):
                    found.setdefault(name, text)
    return found


def in_use(name: str, own: Path) -> str:
    "A statement that uses a name: from its own notebook, else from a tutorial or another page, which is named"
    if name in uses(own):
        return uses(own)[name]
    tutorials = sorted((NOTEBOOKS / "tutorials").glob("*.ipynb"))
    for path in [*tutorials, *pages().values()]:
        if path != own and name in uses(path):
            where = f"tutorial {int(path.name[:2])}" if path in tutorials else f"notebook {path.name}"
            return f"# from {where}\n{uses(path)[name]}"
    return ""


def makers(name: str, module: str) -> list[str]:
    "Public functions and methods of a module that return a class: where nobody calls it, they show it in use"
    public = [node for node in statements(module) if not getattr(node, "name", "_").startswith("_")]
    parts = [part for node in public for part in (node.body if isinstance(node, ast.ClassDef) else [node])]
    return [
        part.name
        for part in parts
        if isinstance(part, ast.FunctionDef)
        and part.returns is not None
        and not part.name.startswith("_")
        and re.search(rf"\b{name}\b", ast.unparse(part.returns))
    ]


class Entry:
    "A function or class on a page, and whether it has been shown in use"

    def __init__(self, name: str, cell: NotebookNode, shown: bool):
        self.name, self.cell, self.shown = name, cell, shown


class Pages:
    "Turns one notebook's cells into those of its page"

    def __init__(self, homes: dict[str, str], prefix: str, module: str | None):
        self.homes, self.prefix, self.module = homes, prefix, module
        self.nodes = {name: node for node in statements(module) for name in names_of(node)} if module else {}
        self.before, self.depth, self.wanted = "", 1, False
        self.cells: list[NotebookNode] = []
        self.entries: list[Entry] = []

    def add(self, part: NotebookNode) -> None:
        directives = re.findall(r"^#\|\s*(.+?)\s*$", part.source, re.MULTILINE)
        if part.cell_type == "markdown":
            self.add_prose(part)
        elif part.cell_type != "code" or "hide" in directives or any(d.startswith("default_exp") for d in directives):
            return
        elif "export" in directives:
            self.add_entries(part)
        else:
            self.add_code(part, directives)

    def add_prose(self, part: NotebookNode) -> None:
        text = part.source
        if self.module and not self.cells:
            text = text.replace(f"# {self.module.split('.')[-1]}", f"# masktune.{self.module}", 1)
        if "## " in text:
            self.depth = max([self.depth, *(len(h) for h in re.findall(r"^(#+) ", text, re.MULTILINE))])
        said = [line for line in text.split("\n") if line.strip() and not line.startswith("#")]
        self.before = "\n".join(said) or self.before
        part.source = linked(text, self.homes, self.prefix)
        part.pop("attachments", None)
        self.cells.append(part)

    def add_entries(self, part: NotebookNode) -> None:
        "The functions and classes that a cell exports, described"
        for node in ast.parse(part.source).body:
            names = names_of(node)
            if not names or names[0].startswith("_"):
                continue
            entry = described(self.module, self.nodes.get(names[0], node), min(self.depth, 2) + 1)
            mark = hashlib.sha1((part.id + names[0]).encode()).hexdigest()[:8]
            self.cells.append(nbformat.v4.new_markdown_cell(linked(entry, self.homes, self.prefix), id=mark))
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                self.entries.append(Entry(node.name, self.cells[-1], "Example:" in entry))
                self.wanted = True

    def add_code(self, part: NotebookNode, directives: list[str]) -> None:
        part.source = re.sub(r"^#\|.*\n?", "", part.source, flags=re.MULTILINE).strip("\n")
        if not part.source:
            return
        pictures = [output for output in part.outputs if picture_kind(output)]
        part.metadata = {"tags": [tag for directive, tag in TAGS.items() if directive in directives]}
        if pictures:
            part.metadata["mystnb"] = {"image": {"alt": alternative(pictures[0], self.before, part.source)}}
            caption = next((words[8:].strip(' "') for words in directives if words.startswith("fig-cap:")), "")
            if caption:
                part.metadata["mystnb"]["figure"] = {"caption": caption}
        part.outputs = shown_outputs(part.outputs)
        if not self.module or "remove-input" in part.metadata["tags"]:
            self.place(part)
            return
        found = split_checks(part.source, bool(part.outputs), self.wanted)
        if found.example:
            part.source, self.wanted = found.example, False
            self.place(part)
            self.shows(found.example)
        if found.checks:
            self.fold(found.checks, part.id)

    def place(self, part: NotebookNode) -> None:
        "Put a cell on the page; where it drew several pictures, its caption stands once, below the last of them"
        self.cells.append(part)
        pictures = [number for number, output in enumerate(part.outputs) if picture_kind(output)]
        described = part.metadata.get("mystnb", {})
        if len(pictures) < 2 or "figure" not in described:
            return
        mark = hashlib.sha1(f"last picture of {part.id}".encode()).hexdigest()[:8]
        last = nbformat.v4.new_code_cell(part.source, id=mark, outputs=part.outputs[pictures[-1] :])
        last.metadata = {"tags": ["remove-input"], "mystnb": dict(described)}
        part.outputs = part.outputs[: pictures[-1]]
        described.pop("figure")
        self.cells.append(last)

    def shows(self, code: str) -> None:
        "An example is of the entry above it, and of every other that it names"
        for entry in self.entries:
            entry.shown = entry.shown or entry is self.entries[-1] or re.search(rf"\b{entry.name}\b", code) is not None

    def show_the_rest(self, own: Path) -> None:
        "Put an example below each entry that has none"
        for entry in self.entries:
            if entry.shown:
                continue
            names = [entry.name, *makers(entry.name, self.module)]
            code = next(filter(None, (in_use(name, own) for name in names)), "")
            if code:
                mark = hashlib.sha1(f"{entry.cell.id} in use".encode()).hexdigest()[:8]
                place = next(n for n, cell in enumerate(self.cells) if cell is entry.cell)
                self.cells.insert(place + 1, nbformat.v4.new_code_cell(code, id=mark))

    def fold(self, checks: str, near: str) -> None:
        "Checks, closed until somebody opens them; those that follow each other as one"
        last = self.cells[-1] if self.cells else None
        if last is not None and "hide-input" in last.metadata.get("tags", []):
            last.source += f"\n\n{checks}"
            return
        mark = hashlib.sha1(f"checks of {near}".encode()).hexdigest()[:8]
        folded = nbformat.v4.new_code_cell(checks, id=mark, metadata={"tags": ["hide-input"], "mystnb": dict(CHECKS)})
        self.cells.append(folded)


def heading_level(part: NotebookNode) -> int:
    "Of a cell that begins with a heading how deep it is, 0 of any other"
    found = re.match(r"(?:\(.*\)=\n)?(#+) ", part.source) if part.cell_type == "markdown" else None
    return len(found[1]) if found else 0


def without_empty_headings(cells: list[NotebookNode]) -> list[NotebookNode]:
    "Leave out headings below which nothing is left, because all that stands there is private"
    kept: list[NotebookNode] = []
    for part in reversed(cells):
        level = heading_level(part)
        alone = level > 1 and "\n" not in part.source.strip()
        below = heading_level(kept[-1]) if kept else 1
        if not alone or not 0 < below <= level:
            kept.append(part)
    return kept[::-1]


def stage_notebook(source: Path, target: Path, homes: dict[str, str], prefix: str, module: str | None = None) -> None:
    "Write a notebook as the site shows it"
    notebook, page = nbformat.read(source, as_version=4), Pages(homes, prefix, module)
    for part in notebook.cells:
        page.add(part)
    page.show_the_rest(source)
    notebook.cells = without_empty_headings(page.cells)
    for part in notebook.cells:
        if part.cell_type == "markdown" and module is None:
            part.source = narrow_fences(part.source)
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
