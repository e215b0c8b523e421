"""Build the site from the notebooks: `make docs`, or `python scripts/docs.py [--serve]`. Pages go to _docs/.

Tutorials and the front page are shown as they were run. A page of the reference is its notebook, with each exported
cell replaced by what a reader wants of it: signature, parameters with type, default and meaning, source. Nothing is
run."""

import argparse
import ast
import hashlib
import importlib
import inspect
import re
import shutil
import sys
import warnings
from functools import cache
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
NOTEBOOKS, ASSETS, STAGE, SITE = (
    ROOT / "nbs",
    ROOT / "scripts" / "docs_assets",
    ROOT / "_build" / "docs",
    ROOT / "_docs",
)

GUIDES = [
    "your_own_data",
    "your_own_data_model_and_loop",
    "choosing_a_threshold",
    "reading_the_report",
    "when_not_to_answer",
    "many_gpus",
    "resuming",
]
GROUPS = {
    "Images and models": [
        "errors",
        "images",
        "data",
        "checks",
        "tables",
        "folders",
        "unwrapping",
        "models",
        "tracing",
        "layers",
        "devices",
        "pixels",
        "pairs",
        "adapters",
        "files",
        "weights",
    ],
    "Measure and train": [
        "evaluation",
        "optimizers",
        "losses",
        "loading",
        "batchnorm",
        "divergence",
        "training_state",
        "selection",
        "training_checks",
        "erm",
        "cache",
    ],
    "See and hide": [
        "xgradcam",
        "sources",
        "mask_files",
        "label_maps",
        "given_masks",
        "saliency",
        "masking",
        "figures",
        "counterfactuals",
        "faithfulness",
        "similarity",
        "instrument",
    ],
    "Find and mend": [
        "settings",
        "rounds",
        "refit",
        "finetune",
        "features",
        "loops",
        "selective",
        "abstaining",
        "findings",
        "diagnosis",
        "kinds",
        "choice",
        "comparing",
        "repair",
    ],
    "Experiments": [
        "experiments.published_datasets",
        "experiments.small_images",
        "experiments.marks",
        "experiments.cutouts",
        "experiments.scenes",
        "experiments.waterbirds",
        "experiments.digits",
        "experiments.datasets",
        "experiments.recipes",
        "experiments.ablations",
    ],
    "Keep and tell": [
        "runs",
        "resume",
        "report",
        "selective_report",
        "evidence_steps",
        "steps",
        "repair_steps",
        "commands",
        "cli",
    ],
    "In the notebook": [
        "lab.sketch",
        "lab.panels",
        "lab.view",
        "lab.gallery",
        "lab.scrubber",
        "lab.evidence",
        "lab.review",
        "lab.compare",
        "lab.trials",
        "lab.launcher",
        "lab.coverage",
    ],
}


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


def public_names() -> dict[str, str]:
    "Where each public function and class is described; a name that two modules export is left out"
    homes: dict[str, list[str]] = {}
    for module in pages():
        for node in statements(module):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(module)
    return {name: modules[0] for name, modules in homes.items() if len(modules) == 1}


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
    empty, rows = inspect.Parameter.empty, []
    returned = found.pop("return", None)
    for name, about in found.items():
        if name == "self":
            continue
        kind = "" if about["anno"] is empty else f"`{cell(spelt(about['anno']))}`"
        default = "" if about["default"] is empty else f"`{cell(repr(about['default']))}`"
        if len(default) > 60:
            default = "see source"
        stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}.get(about.get("kind"), "")
        rows.append(f"| `{stars}{name}` | {kind} | {default} | {cell(about['docment'] or gathered.get(name, ''))} |")
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


def signature(name: str, function: object) -> str:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    shown = [str(p.replace(annotation=inspect.Parameter.empty)) for p in parameters]
    star = next((i for i, p in enumerate(parameters) if p.kind is p.KEYWORD_ONLY), None)
    if star is not None and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
        shown.insert(star, "*")
    shown = [re.sub(r"<[^>]*>", "...", s) for s in shown]
    line = f"{name}({', '.join(shown)})"
    return line if len(line) < 88 else f"{name}(\n    " + ",\n    ".join(shown) + ")"


def prose(text: str | None) -> str:
    return inspect.cleandoc(text or "").replace("Example::", "Example:")


def described(module: str, node: ast.stmt, level: int) -> str:
    "The page's piece for an exported function, class or constant"
    loaded = importlib.import_module(f"masktune.{module}")
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        text = ast.unparse(node)
        return f"```python\n{text if len(text) < 1200 else text[:1200] + ' ...'}\n```"
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
    lines += (
        parameter_table(thing.__init__) if own and "__dataclass_fields__" not in vars(thing) else parameter_table(thing)
    )
    for name, method in vars(thing).items():
        plain = method.__func__ if isinstance(method, (classmethod, staticmethod)) else method
        if name.startswith("_") or not (
            inspect.isfunction(plain) and plain.__doc__ and plain.__qualname__.startswith(node.name + ".")
        ):
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


# -- from notebooks to pages


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

    # no links in code and headings
    parts = re.split(r"(```.*?```|^    .*?$|^#+ .*?$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(
        part if i % 2 else re.sub(r"(?<!\[)`([A-Za-z_][\w.]*(?:\(\))?)`(?!\])", link, part)
        for i, part in enumerate(parts)
    )


def alternative(output: dict, before: str, code: str) -> str:
    "Words for a picture: a panel's own, else the sentence that asked the question"
    own = output["data"].get("text/plain", "")
    if own and not own.startswith("<"):
        return own.replace("\n", " ")
    sentences = [line for line in re.sub(r"[*`_$>#\[\]]|\(http[^)]*\)", "", before).split("\n") if line.strip()]
    return (sentences[-1] if sentences else f"what this gives: {code.splitlines()[-1]}")[:400]


def stage_notebook(source: Path, target: Path, homes: dict[str, str], module: str | None = None) -> None:
    notebook, cells, before, depth = nbformat.read(source, as_version=4), [], "", 1
    nodes = {name: node for node in statements(module) for name in names_of(node)} if module else {}
    prefix = "../" if target.parent != STAGE else ""
    for part in notebook.cells:
        directives = re.findall(r"^#\|\s*(.+?)\s*$", part.source, re.MULTILINE)
        if part.cell_type == "markdown":
            text = part.source
            if module and not cells:
                text = text.replace(f"# {module.split('.')[-1]}", f"# masktune.{module}", 1)
            depth = (
                max([depth, *(len(h) for h in re.findall(r"^(#+) ", text, re.MULTILINE))]) if "## " in text else depth
            )
            before = "\n".join(line for line in text.split("\n") if line.strip() and not line.startswith("#")) or before
            part.source = linked(text, homes, prefix)
            part.pop("attachments", None)
            cells.append(part)
            continue
        if part.cell_type != "code" or "hide" in directives or any(d.startswith("default_exp") for d in directives):
            continue
        if "export" in directives:
            for node in ast.parse(part.source).body:
                names = names_of(node)
                if not names or names[0].startswith("_"):
                    continue
                exported = nodes.get(names[0], node)
                text = linked(described(module, exported, min(depth, 2) + 1), homes, prefix)
                cells.append(
                    nbformat.v4.new_markdown_cell(text, id=hashlib.sha1((part.id + names[0]).encode()).hexdigest()[:8])
                )
            continue
        part.source = re.sub(r"^#\|.*\n?", "", part.source, flags=re.MULTILINE).strip("\n")
        if not part.source:
            continue
        tags = [
            tag
            for directive, tag in (
                ("echo: false", "remove-input"),
                ("hide_input", "remove-input"),
                ("output: false", "remove-output"),
            )
            if directive in directives
        ]
        pictures = [output for output in part.outputs if "image/png" in output.get("data", {})]
        part.metadata = {"tags": tags} | (
            {"mystnb": {"image": {"alt": alternative(pictures[0], before, part.source)}}} if pictures else {}
        )
        for output in part.outputs:
            if "image/png" in output.get("data", {}):
                output.data = {"image/png": output.data["image/png"]}
            elif (
                "text/plain" in output.get("data", {})
                and "text/markdown" not in output.get("data", {})
                and "text/html" not in output.get("data", {})
            ):
                output.data = {"text/plain": output.data["text/plain"]}
        part.outputs = [
            output for output in part.outputs if not (output.output_type == "stream" and output.name == "stderr")
        ]
        cells.append(part)
    notebook.cells = cells
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)


def stage_source(module: str) -> None:
    "The module's source as a page, every line with an anchor"
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    text = source_file(module).read_text(encoding="utf-8")
    shown = highlight(
        text, PythonLexer(), HtmlFormatter(linenos="inline", lineanchors="L", anchorlinenos=False, cssclass="highlight")
    )
    head = (
        f"---\norphan: true\n---\n\n# Source of masktune.{module}\n\nExported from "
        f"`{pages()[module].relative_to(ROOT)}`: [read it there](../api/{module}.ipynb).\n"
    )
    page = f"{head}\n```{{raw}} html\n{shown}\n```\n"
    (STAGE / "source").mkdir(exist_ok=True)
    (STAGE / "source" / f"{module}.md").write_text(page, encoding="utf-8")


def stage_data_sets() -> None:
    from masktune.experiments.datasets import DATASETS, dataset_facts

    parts = [
        "# Data sets",
        "",
        "What each is, where to download it, and how it must lie on disk. `masktune datasets` prints the same; "
        "`load_dataset` opens them.",
        "",
    ]
    for name, info in DATASETS.items():
        parts += [
            f"## {name}",
            "",
            "| | |",
            "| --- | --- |",
            *(f"| {label} | {cell(fact)} |" for label, fact in dataset_facts(name).items()),
            "",
            "```text",
            info.tree,
            "```",
            "",
        ]
    (STAGE / "data_sets.md").write_text("\n".join(parts), encoding="utf-8")


def stage() -> None:
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)
    homes = public_names()
    stage_notebook(NOTEBOOKS / "index.ipynb", STAGE / "index.ipynb", homes)
    shutil.copytree(NOTEBOOKS / "images", STAGE / "images")
    for path in sorted((NOTEBOOKS / "tutorials").glob("*.ipynb")):
        stage_notebook(path, STAGE / "tutorials" / path.name, homes)
    for module, path in pages().items():
        stage_notebook(path, STAGE / "api" / f"{module}.ipynb", homes, module)
        stage_source(module)
    (STAGE / "guides").mkdir()
    for name in GUIDES:
        (STAGE / "guides" / f"{name}.md").write_text(
            linked((NOTEBOOKS / "guides" / f"{name}.md").read_text(encoding="utf-8"), homes, "../"), encoding="utf-8"
        )
    for path in [
        *(NOTEBOOKS / f"{name}.md" for name in ("method", "comparison", "faq")),
        ROOT / "CHANGELOG.md",
        ROOT / "CONTRIBUTING.md",
    ]:
        (STAGE / path.name.lower()).write_text(linked(path.read_text(encoding="utf-8"), homes, ""), encoding="utf-8")
    results = (ROOT / "benchmarks" / "RESULTS.md").read_text(encoding="utf-8")
    (STAGE / "results.md").write_text(linked(results, homes, ""), encoding="utf-8")
    stage_data_sets()

    def contents(title: str, entries: list[str], depth: int = 1) -> str:
        return "\n".join(
            ["```{toctree}", ":hidden:", f":caption: {title}", f":maxdepth: {depth}", "", *entries, "```", ""]
        )

    tutorials = [f"tutorials/{path.stem}" for path in sorted((NOTEBOOKS / "tutorials").glob("*.ipynb"))]
    reference = [f"reference-{i}" for i, _ in enumerate(GROUPS)]
    for name, (title, modules) in zip(reference, GROUPS.items(), strict=True):
        listing = "\n".join(f"- [masktune.{m}](api/{m}.ipynb)" for m in modules)
        page = (
            f"# {title}\n\n{listing}\n\n```{{toctree}}\n:hidden:\n\n"
            + "\n".join(f"api/{m}" for m in modules)
            + "\n```\n"
        )
        (STAGE / f"{name}.md").write_text(page, encoding="utf-8")
    if missing := set(pages()) - {m for modules in GROUPS.values() for m in modules}:
        raise SystemExit(f"scripts/docs.py: GROUPS lacks {sorted(missing)}")
    index = nbformat.read(STAGE / "index.ipynb", as_version=4)
    navigation = [
        contents("Tutorials", tutorials),
        contents("Guides", [f"guides/{name}" for name in GUIDES]),
        contents("Understand", ["method", "results", "data_sets", "comparison", "faq"]),
        contents("Reference", reference, 2),
        contents("Project", ["changelog", "contributing"]),
    ]
    index.cells.append(nbformat.v4.new_markdown_cell("\n".join(navigation), id="contents"))
    nbformat.write(index, STAGE / "index.ipynb")


def mathml(app) -> None:
    "Equations as MathML, which browsers draw themselves: the site needs nothing from elsewhere"
    from docutils import nodes
    from latex2mathml.converter import convert

    def inline(self, node):
        self.body.append(convert(node.astext()))
        raise nodes.SkipNode

    def block(self, node):
        self.body.append(f'<div class="equation">{convert(node.astext(), display="block")}</div>')
        raise nodes.SkipNode

    app.add_html_math_renderer("mathml", (inline, None), (block, None))


def build() -> None:
    from importlib.metadata import version

    from sphinx.application import Sphinx

    warnings.filterwarnings("ignore", module="fastcore")
    stage()
    settings = {
        "project": "MaskTune",
        "html_title": "MaskTune",
        "version": version("masktune"),
        "copyright": "MaskTune maintainers",
        "extensions": ["myst_nb"],
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "myst_enable_extensions": ["dollarmath", "html_image", "attrs_inline"],
        "myst_heading_anchors": 3,
        "html_theme": "furo",
        "html_static_path": [str(ASSETS)],
        "html_css_files": ["site.css"],
        "html_js_files": ["site.js"],
        "html_math_renderer": "mathml",
        "html_show_sphinx": False,
        "html_copy_source": False,
        "pygments_style": "a11y-high-contrast-light",
        "pygments_dark_style": "a11y-high-contrast-dark",
        "suppress_warnings": ["mystnb.unknown_mime_type"],
        "language": "en",
    }
    configuration = (
        f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nfrom docs import mathml as "
        f"setup\nglobals().update({settings!r})\n"
    )
    (STAGE / "conf.py").write_text(configuration, encoding="utf-8")
    shutil.rmtree(SITE, ignore_errors=True)
    built = ROOT / "_build" / "html"
    shutil.rmtree(built, ignore_errors=True)
    app = Sphinx(
        STAGE, STAGE, built, ROOT / "_build" / "doctrees", "html", warningiserror=True, freshenv=True, status=None
    )
    app.build()
    if app.statuscode:
        raise SystemExit(f"scripts/docs.py: the site has {app._warncount} warnings, above: none is allowed")
    shutil.move(built, SITE)
    print(f"{SITE.relative_to(ROOT)}/index.html")


def serve(port: int) -> None:
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    print(f"http://127.0.0.1:{port}", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), partial(SimpleHTTPRequestHandler, directory=SITE)).serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="then show it on this machine")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    build()
    if given.serve:
        serve(given.port)
