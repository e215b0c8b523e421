"What the reference says of each public name, read from the exported code: the site need not be built."

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache

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


# What other changes are just being made in: these lose their place here with the next merge.
LATER = {module for module in pages() if re.match(r"6[2-7]", pages()[module].name)}


@pytest.mark.parametrize("module", [module for module in pages() if module not in LATER])
def test_every_parameter_field_and_return_has_a_meaning_that_stands_alone(module):
    rows = list(entries(module))
    unsaid = [name for name, node in rows if not said_of(module, node)]
    assert not unsaid, f"{module}: a comment behind each must say what it is: {'; '.join(unsaid)}"
    pointing = [f"{name}: {said_of(module, node)}" for name, node in rows if POINTING.match(said_of(module, node))]
    assert not pointing, f"{module}: these point at something that a reader of the table does not see: {pointing}"
