"The house: rooms in order, imports downward only, private things private, old addresses still answered."

import ast
import importlib
import json
import os
import re
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
API = ROOT / "nbs" / "api"
TORCH_OWN = {"_version"}  # a tensor's count of in-place changes


@cache
def rooms() -> dict[str, Path]:
    "Module name to notebook, in the order of their numbers"
    found = sorted(API.rglob("*.ipynb"), key=lambda path: path.name)
    return {".".join([*path.relative_to(API).parts[:-1], path.stem.split("_", 1)[1]]): path for path in found}


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse((ROOT / "masktune" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))


def imports(module: str) -> list[tuple[str, str]]:
    "Every (module, name) of ours that a module imports, at its top or within a function"
    found = []
    for node in ast.walk(parsed(module)):
        if isinstance(node, ast.Import):
            found += [(a.name.removeprefix("masktune."), "") for a in node.names if a.name.startswith("masktune.")]
        if isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                source = ".".join([*module.split(".")[: -node.level], source])
            elif source.split(".")[0] != "masktune":
                continue
            if source.strip(".") in ("", "masktune"):  # from . import room
                found += [(a.name, "") for a in node.names]
            else:
                found += [(source.removeprefix("masktune."), a.name) for a in node.names]
    return [(source, name) for source, name in found if not source.startswith("_")]


def test_every_notebook_has_its_own_number_and_exports_under_its_name():
    numbers = [path.name.split("_")[0] for path in rooms().values()]
    assert len(set(numbers)) == len(numbers), sorted(n for n in numbers if numbers.count(n) > 1)
    for module, path in rooms().items():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        assert any("".join(cell["source"]).strip() == f"#| default_exp {module}" for cell in cells), path.name


def test_every_module_comes_from_a_notebook():
    modules = {
        ".".join(path.relative_to(ROOT / "masktune").with_suffix("").parts)
        for path in (ROOT / "masktune").rglob("*.py")
        if not path.name.startswith("_")
    }
    assert modules == set(rooms())


def test_imports_run_downward_only():
    "So there is no circle either: what is imported has the smaller number"
    place = {module: number for number, module in enumerate(rooms())}
    upward = {(module, source) for module in rooms() for source, _ in imports(module) if place[source] >= place[module]}
    assert not upward, upward


@cache
def own_attributes(module: str) -> set[str]:
    "Underscore names that a module gives its own objects: methods, fields, what is set on an object"
    found = set()
    for node in ast.walk(parsed(module)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found.add(node.target.id)
    return {name for name in found if re.match(r"_[^_]", name)}


def test_no_module_reads_anothers_underscore_names():
    found: dict[str, set[str]] = {}
    for module in rooms():
        others = set().union(*(own_attributes(other) for other in rooms() if other != module)) - own_attributes(module)
        read = {name for source, name in imports(module) if name.startswith("_")}
        read |= {
            n.attr for n in ast.walk(parsed(module)) if isinstance(n, ast.Attribute) and n.attr in others - TORCH_OWN
        }
        if read:
            found[module] = read
    assert not found, found


def test_an_exported_cell_fits_on_a_screen_or_its_prose_says_why():
    "The reason is a sentence with the words `in one piece` in the prose just above"
    long = {}
    for module, path in rooms().items():
        before = ""
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            text = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                before = text
            elif re.search(r"^#\|\s*export\b", text, re.MULTILINE) and len(text.splitlines()) > 61:
                if "in one piece" not in before:
                    first = next(
                        n
                        for n in ast.parse(text).body
                        if hasattr(n, "name") or isinstance(n, (ast.Assign, ast.AnnAssign))
                    )
                    name = getattr(first, "name", None) or ast.unparse(
                        getattr(first, "targets", [getattr(first, "target", None)])[0]
                    )
                    long.setdefault(module, set()).add(name)
    assert not long, long


def test_exported_lines_are_no_wider_than_120_columns():
    "But for `__all__`, which nbdev wraps by itself"
    wide = []
    for path in (ROOT / "masktune").rglob("*.py"):
        if path.name == "_modidx.py":
            continue
        text = path.read_text(encoding="utf-8")
        named = [
            n for n in ast.parse(text).body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"
        ]
        skipped = {line for n in named for line in range(n.lineno, n.end_lineno + 1)}
        lines = enumerate(text.splitlines(), 1)
        wide += [f"{path.name}:{place}" for place, line in lines if len(line) > 120 and place not in skipped]
    assert not wide, wide


def fresh(code: str, *options: str) -> str:
    return subprocess.run(
        [sys.executable, *options, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_importing_the_package_loads_nothing_heavy():
    "Neither PyTorch nor anything that is not Python's own, so that it takes milliseconds on any machine"
    heavy = (
        "{'torch', 'numpy', 'PIL', 'captum', 'accelerate', 'matplotlib', 'IPython', 'ipywidgets', 'sklearn', 'scipy'}"
    )
    assert fresh(f"import sys, masktune\nprint(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_no_name_offered_at_the_top_is_a_modules_name():
    "Importing `masktune.refit` would put the module in the place of a function of that name"
    import masktune

    assert not set(masktune.__all__) & {module.split(".")[0] for module in rooms()}


def former() -> list[tuple[str, str, str]]:
    from masktune._aliases import MOVED

    return [(old, name, room) for old, homes in MOVED.items() for room, names in homes.items() for name in names]


def test_every_old_address_warns_and_gives_the_same_thing():
    from masktune._aliases import RENAMED

    for old, name, room in former():
        now = getattr(importlib.import_module(f"masktune.{room}"), RENAMED.get(name, name))
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            was = getattr(importlib.import_module(f"masktune.{old}"), name)
        assert was is now, f"masktune.{old}.{name}"
        said = [
            str(w.message) for w in heard if w.category is DeprecationWarning and f"masktune.{room}" in str(w.message)
        ]
        assert len(said) == 1, f"masktune.{old}.{name}: {said}"


def test_former_methods_of_a_run_warn_and_do_what_the_functions_do(tmp_path):
    from torch import nn

    from masktune._aliases import FORMER_METHODS
    from masktune.finetune import MaskTune

    run = MaskTune(nn.Identity(), epochs=3)
    with pytest.warns(DeprecationWarning, match=r"MaskTune\.save goes with 1\.0: call masktune\.runs\.save_run"):
        folder = run.save(tmp_path / "run", about={"data": "none"})
    with pytest.warns(DeprecationWarning, match=r"call masktune\.runs\.load_run") as heard:
        again = MaskTune.load(folder, nn.Identity())
    assert heard[0].filename == __file__ and again.settings == run.settings
    for name, (room, function) in FORMER_METHODS.items():
        assert callable(getattr(importlib.import_module(f"masktune.{room}"), function))
        assert function in getattr(MaskTune, name).__doc__


@pytest.mark.parametrize(
    "statement, room",
    [
        ("from masktune.widgets import ThresholdScrubber", "masktune.lab.scrubber"),
        ("import masktune.erm; masktune.erm.evaluate", "masktune.evaluation"),  # which `erm` imports itself
        ("from masktune.processes import finetune_round_in_processes", "masktune.resume"),
        ("from masktune.datasets import *; load_dataset", "masktune.experiments.datasets"),
    ],
)
def test_an_old_import_warns_at_the_line_that_has_it(statement, room):
    run = subprocess.run([sys.executable, "-W", "always", "-c", statement], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    assert f"<string>:1: DeprecationWarning: {statement.split()[1].rstrip(';')}" in run.stderr and room in run.stderr


def test_the_package_itself_uses_no_old_address():
    everything = "; ".join(f"import masktune.{module}" for module in rooms())
    run = subprocess.run([sys.executable, "-W", "always", "-c", everything], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0 and "has moved" not in run.stderr, run.stderr


def test_a_name_that_never_was_is_an_error_that_says_so():
    for module in ("erm", "widgets"):
        with pytest.raises(AttributeError, match=f"module 'masktune.{module}' has no attribute 'evaluates'"):
            _ = importlib.import_module(f"masktune.{module}").evaluates
    with pytest.raises(ImportError):
        importlib.import_module("masktune.nowhere")


def test_the_drawing_in_contributing_is_true():
    "Every room it names stands on the floor it is drawn on, and every floor is drawn"
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    drawing = text.split("## The house")[1].split("What may be changed")[0]
    drawn: dict[str, list[str]] = {}
    for floor, named in re.findall(r"^\| (\d)x, [^|]*\|([^|]*)\|", drawing, re.MULTILINE):
        drawn[floor] = re.findall(r"`([\w.]+)`", named)
    assert sorted(drawn) == sorted({path.name[0] for path in rooms().values()})
    for floor, named in drawn.items():
        assert named
        for module in named:
            assert rooms()[module].name[0] == floor, f"{module} is drawn on floor {floor}x"
        assert f"**{floor}x, " in text  # what may be changed there


LOOKS = re.compile(r"\b(compute_saliency|ThresholdScrubber|explained|diagnose)\(")
SEEDS = re.compile(r"\b(seed_everything|manual_seed)\(|\bseed=")


def test_what_a_room_shows_of_a_network_begins_at_a_seed():
    "PyTorch draws other weights in every process: one network in ten that nobody trained has empty maps"
    unseeded = []
    for path in rooms().values():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        examples = "\n".join(source for source in code if "#| export" not in source)
        if "build_model(" in examples and LOOKS.search(examples) and not SEEDS.search(examples):
            unseeded.append(path.stem)
    assert not unseeded, "draws what it shows without a seed"


def test_every_benchmark_begins_as_its_page_says(tmp_path):
    "`python benchmarks/NAME.py` from a bare shell, wherever one stands: what it imports is found, its usage is printed"
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def asked(script: Path) -> str:
        command = [sys.executable, str(script), "--help"]
        done = subprocess.run(command, cwd=tmp_path, env=bare, capture_output=True, text=True)
        return "" if done.returncode == 0 and "usage:" in done.stdout else f"{script.name}: {done.stderr[-500:]}"

    scripts = [path for path in sorted((ROOT / "benchmarks").glob("*.py")) if "__main__" in path.read_text()]
    assert len(scripts) > 20
    with ThreadPoolExecutor(2) as pool:
        assert not [failed for failed in pool.map(asked, scripts) if failed]
