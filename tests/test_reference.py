"What the reference says of each public name, read from the exported code: the site need not be built."

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

import nbformat
import notebook_pages
import pytest
from reference import pages, source_file, statements

# A table's rows are read alone: what points at another row, or at something outside the table, says nothing there.
POINTING = re.compile(
    r"(likewise|ditto|as above|the same|same|its|theirs?)\b(?!-)"
    r"|(which|whose|how many|how often)( (ones?|images|there are|it has|are wanted))?$",
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def comments(module: str) -> dict[int, tuple[str, bool]]:
    "By line, what a comment says, and whether it has the line to itself"
    text = io.StringIO(source_file(module).read_text(encoding="utf-8"))
    found = [token for token in tokenize.generate_tokens(text.readline) if token.type == tokenize.COMMENT]
    told = {}
    for token in found:
        said = re.sub(r"#\s*type: ignore(\[[\w-]+\])?", "", token.string).strip(" #")
        told[token.start[0]] = (said, token.line.lstrip().startswith("#"))
    return told


def said_of(module: str, node: ast.AST) -> str:
    "The comment behind a parameter, field or return, or the one above it"
    told = comments(module)
    behind = told.get(node.lineno, ("", False))[0]
    above, alone = told.get(node.lineno - 1, ("", False))
    return behind or (above if alone else "")


def parts_of(function: Function, name: str) -> Iterator[tuple[str, ast.AST]]:
    "A function's parameters and what it returns, each with the place where its meaning stands"
    given = function.args
    for part in [*given.posonlyargs, *given.args, *given.kwonlyargs]:
        if part.arg not in ("self", "cls"):
            yield f"{name}({part.arg})", part
    returns = function.returns
    if returns is not None and not (isinstance(returns, ast.Constant) and returns.value is None):
        yield f"{name} -> {ast.unparse(returns)}", returns


def lists_fields(node: ast.ClassDef) -> bool:
    "Whether a class's annotations are its fields"
    made_of = {ast.unparse(part).split("(")[0] for part in [*node.bases, *node.decorator_list]}
    return bool(made_of & {"NamedTuple", "dataclass"})


def is_listed_method(node: ast.FunctionDef) -> bool:
    "Whether a page describes a method: properties are read, not called"
    read = {"property", "cached_property", "functools.cached_property"} & set(map(ast.unparse, node.decorator_list))
    return node.name[0] != "_" and not read and ast.get_docstring(node) is not None


def entries(module: str) -> Iterator[tuple[str, ast.AST]]:
    "Every row of the tables of a module's page"
    for node in statements(module):
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield from parts_of(node, node.name)
        if not isinstance(node, ast.ClassDef) or node.name.startswith("_"):
            continue
        if lists_fields(node):
            fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
            yield from ((f"{node.name}.{part.target.id}", part) for part in fields if part.target.id[0] != "_")
        for part in node.body:
            if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                yield from parts_of(part, node.name)
            elif isinstance(part, ast.FunctionDef) and is_listed_method(part):
                yield from parts_of(part, f"{node.name}.{part.name}")


@pytest.mark.parametrize("module", pages())
def test_every_parameter_field_and_return_has_a_meaning_that_stands_alone(module):
    rows = list(entries(module))
    unsaid = [name for name, node in rows if not said_of(module, node)]
    assert not unsaid, f"{module}: a comment behind each must say what it is: {'; '.join(unsaid)}"
    pointing = [f"{name}: {said_of(module, node)}" for name, node in rows if POINTING.match(said_of(module, node))]
    assert not pointing, f"{module}: these point at something that a reader of the table does not see: {pointing}"


def without_example(module: str) -> set[str]:
    "Names of a module's page that nothing shows in use: neither their own cells, nor a line from elsewhere"
    path = pages()[module]
    page = notebook_pages.Pages({}, "", module)
    for part in nbformat.read(path, as_version=4).cells:
        page.add(part)
    unshown = set()
    for name in (entry.name for entry in page.entries if not entry.shown):
        if not any(notebook_pages.in_use(each, path) for each in (name, *notebook_pages.makers(name, module))):
            unshown.add(name)
    return unshown


def test_every_name_is_shown_in_use(monkeypatch):
    monkeypatch.setattr(notebook_pages, "described", lambda module, node, level: ast.unparse(node))
    found = {module: without_example(module) for module in pages()}
    unshown = {module: sorted(names) for module, names in found.items() if names}
    assert not unshown, f"each needs an example below the cell that exports it: {unshown}"


def test_a_name_without_an_example_is_seen(monkeypatch, tmp_path):
    notebook, bare = nbformat.read(pages()["devices"], as_version=4), tmp_path / "08_devices.ipynb"
    examples_of_others = [cell for cell in notebook.cells if "leave_processes" not in cell.source]
    notebook.cells = [cell for cell in notebook.cells if "#| export" in cell.source or cell in examples_of_others]
    nbformat.write(notebook, bare)
    monkeypatch.setattr(notebook_pages, "described", lambda module, node, level: ast.unparse(node))
    monkeypatch.setitem(pages(), "devices", bare)
    assert without_example("devices") == {"leave_processes"}


def test_a_meaning_that_points_elsewhere_is_seen():
    for words in ("likewise", "theirs", "the same", "its name", "how many", "which", "whose images"):
        assert POINTING.match(words), words
    for words in ("how many images are drawn", "same-class images", "(N,) labels", "whose gradients are shortened"):
        assert not POINTING.match(words), words


def has_picture(cell: nbformat.NotebookNode) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


@pytest.mark.parametrize("module", pages())
def test_the_first_picture_of_a_room_has_a_caption_that_says_what_is_seen(module):
    first = next(filter(has_picture, nbformat.read(pages()[module], as_version=4).cells), None)
    if first is not None:
        found = re.search(r"^#\| fig-cap: [\"'](.+)[\"']$", first.source, re.MULTILINE)
        assert found and len(found[1].split()) >= 6, f"{module}: its first picture needs a line #| fig-cap: ..."
