"""Build the site from the notebooks: `make docs`, or `python scripts/docs.py [--serve]`. Pages go to _docs/.

Tutorials and the front page are shown as they were run. A page of the reference is its notebook, with each exported
cell replaced by what a reader wants of it: signature, parameters with type, default and meaning, source. Nothing is
run."""

import argparse
import html
import json
import os
import re
import shutil
import warnings
from pathlib import Path

import nbformat
from dark_pictures import add_dark_pictures
from notebook_pages import stage_notebook
from reference import NOTEBOOKS, ROOT, cell, linked, narrow_fences, narrow_notebooks, pages, public_names, source_file
from results import places, result_files, result_pages

ASSETS, STAGE, SITE = ROOT / "scripts" / "docs_assets", ROOT / "_build" / "docs", ROOT / "_docs"

GUIDES = [
    "diagnose_a_model",
    "repair_a_model",
    "judge_evidence",
    "compare_models",
    "try_a_known_shortcut",
    "your_own_data",
    "your_own_data_model_and_loop",
    "choosing_a_threshold",
    "reading_the_report",
    "when_not_to_answer",
    "many_gpus",
    "resuming",
]
UNDERSTAND = ["method", "results", "data_sets", "comparison", "glossary", "faq"]
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
        "probes",
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
        "experiments.published",
        "experiments.recipes",
        "experiments.ablations",
        "experiments.reweighting",
        "experiments.last_layers",
        "experiments.abstention_losses",
        "experiments.attempts",
        "experiments.methods",
        "experiments.compare_methods",
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
        "lab.background",
        "lab.panels",
        "lab.view",
        "lab.gallery",
        "lab.looking",
        "lab.pages",
        "lab.answers",
        "lab.ordering",
        "lab.explained",
        "lab.scrubber",
        "lab.evidence",
        "lab.review",
        "lab.compare",
        "lab.trials",
        "lab.jobs",
        "lab.launcher",
        "lab.coverage",
    ],
}


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
            f"| fact | {name} |",
            "| --- | --- |",
            *(f"| {label} | {cell(fact)} |" for label, fact in dataset_facts(name).items()),
            "",
            "```text",
            info.tree,
            "```",
            "",
        ]
    (STAGE / "data_sets.md").write_text("\n".join(parts), encoding="utf-8")


def title_of(path: Path) -> str:
    "The first heading of a Markdown file or a notebook"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        text = nbformat.reads(text, as_version=4).cells[0].source
    return re.search(r"^# (.+)$", text, re.MULTILINE)[1]


def summary_of(module: str) -> str:
    "The quoted line below a module's title: what it is for"
    first = nbformat.read(pages()[module], as_version=4).cells[0].source
    found = re.search(r"^> (.+)$", first, re.MULTILINE)
    return found[1] if found else ""


# -- the front page


def live_instrument(still: str) -> str:
    "Twelve images with their maps and what the plain model says of them, as a page part that needs no Python"
    from masktune.instrument import instrument_html

    kept = json.loads((NOTEBOOKS / "images" / "instrument.json").read_text(encoding="utf-8"))
    part = instrument_html(kept["data"], "home", still.replace('src="images/', 'src="_static/'))
    words = f'<p class="instrument-words">{html.escape(kept["words"])}</p>'
    return f'```{{raw}} html\n<div class="home-instrument">\n{words}\n{part}\n</div>\n```'


INSTRUMENT = re.compile(r"^<!-- instrument -->\n(.*?)^<!-- /instrument -->\n?", re.DOTALL | re.MULTILINE)
BUTTONS = re.compile(r"^<!-- buttons -->\n\n?(.+)$", re.MULTILINE)


def buttons(found: re.Match) -> str:
    "A paragraph of links, without the dots between them"
    links = " ".join(re.findall(r"\[[^\]]+\]\([^)]+\)", found[1]))
    return f"{{.buttons}}\n{links}"


def stage_front(homes: dict[str, str], navigation: list[str]) -> None:
    """The front page: README's text, with what its comments ask of the site. The links after "buttons" are buttons, and
    below them stands the live instrument, in place of the picture that README has of it, and of the words on it."""
    target = STAGE / "index.ipynb"
    stage_notebook(NOTEBOOKS / "index.ipynb", target, homes, "")
    index, still = nbformat.read(target, as_version=4), ""
    for part in index.cells:
        if part.cell_type == "markdown" and (place := INSTRUMENT.search(part.source)):
            still = re.search(r"<img [^>]*>", place[1])[0]
            part.source = part.source.replace(place[0], "")
    for number, part in enumerate(index.cells):
        if part.cell_type == "markdown" and BUTTONS.search(part.source):
            part.source = BUTTONS.sub(buttons, part.source)
            index.cells.insert(number + 1, nbformat.v4.new_markdown_cell(live_instrument(still), id="live"))
            break
    index.cells.append(nbformat.v4.new_markdown_cell("\n".join(navigation), id="contents"))
    nbformat.write(index, target)


# -- all pages


def contents(title: str, entries: list[str], depth: int = 1) -> str:
    return "\n".join(["```{toctree}", ":hidden:", f":caption: {title}", f":maxdepth: {depth}", "", *entries, "```", ""])


def stage_reference(homes: dict[str, str]) -> list[str]:
    "A page for each module, its source, and a page for each floor; gives the floors' pages"
    if missing := set(pages()) - {m for modules in GROUPS.values() for m in modules}:
        raise SystemExit(f"scripts/docs.py: GROUPS lacks {sorted(missing)}")
    for module, path in pages().items():
        stage_notebook(path, STAGE / "api" / f"{module}.ipynb", homes, "../", module)
        stage_source(module)
    names = []
    for number, (title, modules) in enumerate(GROUPS.items()):
        rows = [f"| [masktune.{m}](api/{m}.ipynb) | {cell(summary_of(m))} |" for m in modules]
        listed = ["```{toctree}", ":hidden:", "", *(f"api/{m}" for m in modules), "```", ""]
        lines = [f"# {title}", "", "| module | what it is for |", "| --- | --- |", *rows, "", *listed]
        names.append(f"reference-{number}")
        (STAGE / f"{names[-1]}.md").write_text(linked("\n".join(lines), homes, ""), encoding="utf-8")
    return names


def stage_text(path: Path, target: str, homes: dict[str, str]) -> None:
    "A page that is written in Markdown"
    place = STAGE / target
    place.parent.mkdir(exist_ok=True)
    names, up = places(), "../" * target.count("/")
    text = linked(path.read_text(encoding="utf-8"), homes, up)
    # a result is a section of one page in the repository, and a page of its own here
    section = r"\]\((?:\.\./)+benchmarks/RESULTS\.md#([\w-]+)\)"
    text = re.sub(section, lambda found: f"]({up}results/{names[found[1]]}.md)", text)
    place.write_text(narrow_fences(text), encoding="utf-8")


def stage() -> None:
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)
    homes = public_names()
    shutil.copytree(NOTEBOOKS / "images", STAGE / "images")
    tutorials = sorted((NOTEBOOKS / "tutorials").glob("*.ipynb"))
    for path in tutorials:
        stage_notebook(path, STAGE / "tutorials" / path.name, homes, "../")
    for name in GUIDES:
        stage_text(NOTEBOOKS / "guides" / f"{name}.md", f"guides/{name}.md", homes)
    texts = [name for name in UNDERSTAND if (NOTEBOOKS / f"{name}.md").exists()]
    for path in [*(NOTEBOOKS / f"{name}.md" for name in texts), ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md"]:
        stage_text(path, path.name.lower(), homes)
    for name, text in result_pages().items():
        place = STAGE / f"{name}.md"
        place.parent.mkdir(exist_ok=True)
        place.write_text(linked(text, homes, "../" * name.count("/")), encoding="utf-8")
    for name in result_files():
        place = STAGE / "results" / "files" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "benchmarks" / name, place)
    stage_data_sets()
    understand = [name for name in UNDERSTAND if name in (*texts, "results", "data_sets")]
    navigation = [
        contents("Tutorials", [f"{int(p.stem[:2])}. {title_of(p)} <tutorials/{p.stem}>" for p in tutorials]),
        contents("Guides", [f"guides/{name}" for name in GUIDES]),
        contents("Understand", understand, 2),
        contents("Reference", stage_reference(homes), 2),
        contents("Project", ["changelog", "contributing"]),
    ]
    stage_front(homes, navigation)
    narrow_notebooks(STAGE)


# -- what Sphinx is told


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


def description(doctree) -> str:
    "What a page is about, for whoever shows a link to it: its first paragraph that says something"
    from docutils import nodes

    for paragraph in doctree.findall(nodes.paragraph) if doctree is not None else ():
        words = " ".join(paragraph.astext().split())
        if len(words) >= 40:
            return words if len(words) <= 200 else words[:197].rsplit(" ", 1)[0] + " ..."
    return "Find the shortcuts an image classifier takes, and remove them, without group labels."


def shared_links(app, pagename, templatename, context, doctree) -> None:
    """Title, description and picture for whoever shows a link to a page; addresses are absolute where MASKTUNE_SITE
    says where the site will stand"""
    base = os.environ.get("MASKTUNE_SITE", "").rstrip("/")
    title = re.sub(r"<[^>]+>", "", context.get("title") or "MaskTune")
    picture = f"{base}/_static/preview.png" if base else context["pathto"]("_static/preview.png", 1)
    tags = {
        "description": description(doctree),
        "og:type": "website",
        "og:site_name": "MaskTune",
        "og:title": html.unescape(title),
        "og:description": description(doctree),
        "og:image": picture,
        "og:image:alt": "A digit with a red square in its corner, the map on the square, and the digit without it",
        "twitter:card": "summary_large_image",
    }
    if base:
        tags["og:url"] = f"{base}/{pagename}.html"
    lines = [
        f'<meta {"property" if name.startswith("og:") else "name"}="{name}" content="{html.escape(words)}" />'
        for name, words in tags.items()
    ]
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def prepare(app) -> None:
    "What conf.py calls `setup`"
    mathml(app)
    app.connect("html-page-context", shared_links)


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
        "extensions": ["myst_nb", "sphinx_copybutton"],
        # code that is read, not what it printed
        "copybutton_selector": "div:not(.output) > div.highlight > pre",
        "copybutton_prompt_text": r">>> |\.\.\. |\$ ",
        "copybutton_prompt_is_regexp": True,
        "nb_execution_mode": "off",
        "nb_merge_streams": True,
        "nb_render_markdown_format": "myst",
        "myst_enable_extensions": ["dollarmath", "html_image", "attrs_inline", "attrs_block"],
        "myst_heading_anchors": 3,
        "html_theme": "furo",
        "html_static_path": [str(ASSETS), str(NOTEBOOKS / "images")],
        "html_favicon": str(ASSETS / "favicon.svg"),
        "html_css_files": ["site.css"],
        "html_js_files": ["site.js"],
        "html_math_renderer": "mathml",
        "html_show_sphinx": False,
        "html_copy_source": False,
        "html_use_index": False,  # it would be empty: names are found by search
        "pygments_style": "a11y-high-contrast-light",
        "pygments_dark_style": "a11y-high-contrast-dark",
        "suppress_warnings": ["mystnb.unknown_mime_type"],
        "language": "en",
    }
    configuration = (
        f"import sys\nsys.path.insert(0, {str(ROOT / 'scripts')!r})\nfrom docs import prepare as "
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
    add_dark_pictures(built)
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
