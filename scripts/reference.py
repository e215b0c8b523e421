"""What the site's reference says of a module's functions and classes, and links to it: used by docs.py."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = ROOT / "nbs"
sys.path.insert(0, str(ROOT))


@cache
def pages() -> dict[str, Path]:
    "The reference: module name (masking, lab.scrubber) to notebook, in the order of their numbers"
    found = sorted((NOTEBOOKS / "api").rglob("*.ipynb"), key=lambda path: path.name)
    return {
        ".".join([*path.relative_to(NOTEBOOKS / "api").parts[:-1], path.stem.split("_", 1)[1]]): path for path in found
    }


def anchor(module: str, name: str) -> str:
    "Where on its page a name is described, in the letters that HTML ids end up with"
    kind = (
        "-class" if re.match("[A-Z][a-z]", name) else ""
    )  # ids do not know case, and `Faithfulness` has a function beside it
    return re.sub("[_.]", "-", f"api-{module}-{name}{kind}".lower())


def statements(module: str) -> list[ast.stmt]:
    return ast.parse(source_file(module).read_text(encoding="utf-8")).body


def source_file(module: str) -> Path:
    "Where a module's exported code lies"
    return ROOT / "masktune" / f"{module.replace('.', '/')}.py"


def names_of(node: ast.stmt) -> list[str]:
    "What a statement of a module defines"
    if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return [node.name]
    targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)]


STEPS = ("commands", "steps", "evidence_steps", "repair_steps")  # what the words of the command call


def public_names() -> dict[str, str]:
    """Where each public function and class is described; a name that two modules export is left out. A word of the
    command is no name of its step: `repair` leads to the function, and `report`, `lab` or `run` nowhere."""
    from masktune.cli import COMMANDS

    words = {word.replace("-", "_") for word in COMMANDS}
    homes: dict[str, list[str]] = {}
    for module in pages():
        for node in statements(module):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    for word in words & set(homes):
        homes[word] = [module for module in homes[word] if module not in STEPS and is_called(word, module)]
    return {name: modules[0] for name, modules in homes.items() if len(modules) == 1}


def is_called(word: str, module: str) -> bool:
    "Whether a reader means this module by a word of the command: of experiments only one that has the same name"
    return not module.startswith("experiments.") or module.split(".")[-1] == word


# -- what a function or class says of itself


def spelt(annotation: object) -> str:
    "A type as one writes it"
    if annotation in (None, type(None)):
        return "None"
    text = (
        annotation
        if isinstance(annotation, str)
        else getattr(annotation, "__name__", None)
        if isinstance(annotation, type) and not hasattr(annotation, "__args__")
        else str(annotation)
    )
    return re.sub(
        r"\b(?:typing|collections\.abc|masktune(?:\.\w+)+|torch\.nn\.modules\.\w+|torch|pathlib|numpy)\.(?=[A-Z])",
        "",
        text or str(annotation),
    ).replace(" | ", "|")


def cell(text: str) -> str:
    "Text that may stand in a table"
    return text.replace("|", "\\|").replace("\n", " ")


def parameter_table(function: object) -> list[str]:
    "Parameter, type, default and meaning as a Markdown table; and what is returned"
    from fastcore.docments import docments

    found = dict(docments(function, full=True))
    # docments leaves out *args and **options
    gathered = dict(re.findall(r"^\s*\*+(\w+)\b[^#\n]*#\s*(.+)$", inspect.getsource(function), re.MULTILINE))
    above = re.findall(r"^\s*#\s*(.+)\n\s*\*+(\w+)\b", inspect.getsource(function), re.MULTILINE)
    gathered |= {name: words for words, name in above}
    empty, rows, meaning = inspect.Parameter.empty, [], ""
    returned = found.pop("return", None)
    for name, about in found.items():
        if name == "self":
            continue
        kind = "" if about["anno"] is empty else f"`{cell(spelt(about['anno']))}`"
        default = "" if about["default"] is empty else f"`{cell(repr(about['default']))}`"
        if len(default) > 60 or ADDRESS.search(default):
            default = "see source"
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(about.get("kind"), "")
        words = about["docment"] or gathered.get(name, "")
        if stars and not words:  # handed on to what the text names
            continue
        # a table's rows are read alone: what is said by pointing at the row above is said again
        meaning = re.sub(r"^likewise\b", meaning, words) if words.startswith("likewise") else words
        rows.append(f"| `{stars}{name}` | {kind} | {default} | {cell(meaning)} |")
    lines = ["| parameter | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""] if rows else []
    if (
        returned
        and returned["anno"] not in (empty, None)
        and (returned["docment"] or spelt(returned["anno"]) != "None")
    ):
        lines += [
            f"Returns `{spelt(returned['anno'])}`" + (f": {returned['docment']}" if returned["docment"] else ""),
            "",
        ]
    return lines


def field_table(module: str, node: ast.ClassDef) -> list[str]:
    "Fields of a class that lists them in its body, type, default, and meaning from the comment behind each"
    lines = source_file(module).read_text(encoding="utf-8").split("\n")
    rows: list[str] = []
    for each in node.body:
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name) or each.target.id[0] == "_":
            continue
        default = "" if each.value is None else f"`{cell(ast.unparse(each.value))}`"
        default = "see source" if len(default) > 60 or "field(" in default else default
        behind = re.search(r"#\s+(.+)$", lines[each.end_lineno - 1])
        above = re.match(r"\s*#\s+(.+)$", lines[each.lineno - 2])
        words = re.sub(r"^type: ignore\[[\w-]+\]\s*#?\s*", "", (behind or above or ["", ""])[1])
        rows.append(f"| `{each.target.id}` | `{cell(ast.unparse(each.annotation))}` | {default} | {cell(words)} |")
    return ["| field | type | default | meaning |", "| --- | --- | --- | --- |", *rows, ""] if rows else []


def signature(name: str, function: object) -> str:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    shown = [str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters]
    star = next((i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if star is not None and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        shown.insert(star, "*")
    shown = [ADDRESS.sub("...", s) for s in shown]
    line = f"{name}({', '.join(shown)})"
    return line if len(line) <= CODE_WIDTH - len("classmethod ") else f"{name}(\n    " + ",\n    ".join(shown) + ")"


ADDRESS = re.compile(r"<(?:[^<>]|<[^<>]*>)*>")  # what Python prints of a function, which is another at each start
CODE_WIDTH, LONG = 88, 16  # characters that fit beside the copy button; lines of a value that are shown without a click


LAYOUT = [sys.executable, "-m", "ruff", "format", "--isolated", f"--line-length={CODE_WIDTH}"]


@cache
def narrow(code: str) -> str:
    "Python code with lines that fit the page; as it is where it is no whole statement"
    if all(len(line) <= CODE_WIDTH for line in code.split("\n")):
        return code
    run = subprocess.run([*LAYOUT, "-"], input=code, capture_output=True, text=True, encoding="utf-8")
    return code if run.returncode else run.stdout.rstrip("\n")


def narrow_notebooks(folder: Path) -> None:
    "Lay out the code of all notebooks below a folder so that it fits the page, in one go"
    subprocess.run([*LAYOUT, "--quiet", folder], check=True)


def narrow_fences(text: str) -> str:
    "A Markdown text whose Python examples fit the page"
    found = re.compile(r"^```python\n(.*?)\n```$", re.DOTALL | re.MULTILINE)
    return found.sub(lambda fence: f"```python\n{narrow(fence[1])}\n```", text)


def constant(node: ast.stmt, source: str) -> str:
    "A name and its value as they are written; a long value is closed until somebody opens it"
    code = narrow(ast.get_source_segment(source, node) or ast.unparse(node))
    fence, lines = f"```python\n{code}\n```", code.count("\n") + 1
    if lines <= LONG:
        return fence
    return f"<details><summary>{names_of(node)[0]}: {lines} lines</summary>\n\n{fence}\n\n</details>"


def prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("Example::", "Example:")


def is_ours(function: object) -> bool:
    "Whether a method is written here, not made for a class by the library that it inherits from"
    return Path(function.__code__.co_filename).is_relative_to(ROOT / "masktune")


def described(module: str, node: ast.stmt, level: int) -> str:
    "The page's piece for an exported function, class or constant"
    loaded = importlib.import_module(f"masktune.{module}")
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return constant(node, source_file(module).read_text(encoding="utf-8"))
    thing = getattr(loaded, node.name)
    mark, source = (
        "#" * level,
        f'<a class="source" href="../source/{module}.html#L-{node.lineno}">source of {node.name}</a>',
    )
    lines = [f"({anchor(module, node.name)})=", f"{mark} {node.name}", ""]
    if isinstance(node, ast.FunctionDef):
        return "\n".join(
            [
                *lines,
                f"```python\n{signature(node.name, thing)}\n```",
                "",
                prose(thing.__doc__),
                "",
                *parameter_table(thing),
                source,
            ]
        )
    bases = ", ".join(
        base.__name__ for base in thing.__bases__ if base is not object and not base.__name__.startswith("_")
    )
    own = "__init__" in vars(thing)
    try:
        call = signature(node.name, thing)
    except (ValueError, TypeError):
        call = node.name
    lines += [f"```python\nclass {call}\n```", "", prose(thing.__doc__) + (f" (a `{bases}`)" if bases else ""), ""]
    listed = "__dataclass_fields__" in vars(thing) or hasattr(thing, "_fields")
    if listed:
        lines += field_table(module, node)
    elif own:
        lines += parameter_table(thing.__init__)
    for name, method in vars(thing).items():
        plain = inspect.unwrap(method.__func__ if isinstance(method, (classmethod, staticmethod)) else method)
        if name.startswith("_") or not (inspect.isfunction(plain) and plain.__doc__ and is_ours(plain)):
            continue
        kind = "classmethod " if isinstance(method, classmethod) else ""
        call = (
            signature(f"{node.name}.{name}", plain)
            .replace("(cls, ", "(")
            .replace("(cls)", "()")
            .replace("\n    cls,", "")
        )
        rows = [row for row in parameter_table(plain) if not row.startswith("| `cls`")]
        lines += [
            f"{mark}# {node.name}.{name}",
            "",
            f"```python\n{kind}{call}\n```",
            "",
            prose(plain.__doc__),
            "",
            *rows,
        ]
    return "\n".join([*lines, source])


# -- links


def linked(text: str, homes: dict[str, str], prefix: str) -> str:
    "Names of ours in backticks lead to where they are described"

    def link(found: re.Match) -> str:
        name = found[1]
        said = name.removeprefix("masktune.")
        module = next(
            (m for m in sorted(pages(), key=len, reverse=True) if said == m or said.startswith(f"{m}.")), None
        )
        if name != said and module is not None:
            rest = said[len(module) + 1 :]
            if not rest:
                return f"[`{name}`]({prefix}api/{module}.ipynb)"
            return (
                f"[`{name}`]({prefix}api/{module}.ipynb#{anchor(module, rest)})"
                if homes.get(rest) == module
                else found[0]
            )
        bare = name.removesuffix("()")
        return f"[`{name}`]({prefix}api/{homes[bare]}.ipynb#{anchor(homes[bare], bare)})" if bare in homes else found[0]

    # no links in code, headings, and names of parameters
    parts = re.split(r"(```.*?```|^    .*?$|^#+ .*?$|^\| `[*\w]+` \|)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        part if i % 2 else re.sub(r"(?<!\[)`([A-Za-z_][\w.]*(?:\(\))?)`(?!\])", link, part)
        for i, part in enumerate(parts)
    )
