"The package as pip users get it: built, checked, installed away from the repository."

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def listed(key: str) -> list[str]:
    "The lines of one entry of settings.ini"
    import configparser

    settings = configparser.ConfigParser(delimiters=["="], interpolation=None)
    settings.read(ROOT / "settings.ini", encoding="utf-8")
    return settings["DEFAULT"][key].split()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    "sdist and wheel, made from what git would hand to a stranger"
    source, out = tmp_path_factory.mktemp("source") / "masktune", tmp_path_factory.mktemp("dist")
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run = subprocess.run([sys.executable, "-m", "build", "--outdir", out, source], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    return out


def test_distributions_pass_twine(built):
    files = sorted(built.iterdir())
    assert [f.suffix for f in files] == [".whl", ".gz"] or [f.suffix for f in files] == [".gz", ".whl"]
    run = subprocess.run([sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_metadata_come_from_settings(built):
    from zipfile import ZipFile

    with ZipFile(next(built.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    assert f"Version: {listed('version')[0]}\n" in metadata
    for requirement in listed("requirements"):
        assert f"Requires-Dist: {requirement}\n" in metadata
    for extra in ("report", "experiments", "command", "lab", "docs", "dev", "all"):
        assert f"Provides-Extra: {extra}\n" in metadata
    assert "masktune/py.typed" in names and not any(n.startswith(("tests/", "nbs/", "benchmarks/")) for n in names)


def test_the_wheel_runs_away_from_the_repository(built, tmp_path):
    "Installed alone; what it requires is borrowed from here, since a second PyTorch would take minutes"
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", next(built.glob("*.whl"))], check=True)
    site = Path(
        subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    )
    here = Path(sysconfig.get_path("purelib"))
    (site / "borrowed.pth").write_text(f"{here}\n")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    where = subprocess.run(
        [python, "-c", "import masktune; print(masktune.__file__)"],
        cwd=tmp_path,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert str(site) in where
    run = subprocess.run(
        [tmp_path / "venv" / "bin" / "masktune", "demo"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "runs" / "demo" / "report.html").stat().st_size > 100_000
    assert (site / "masktune" / "tutorials" / "01_find_and_remove_a_shortcut.ipynb").exists()


def test_the_type_checker_passes():
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:]


def test_every_public_function_is_typed():
    import importlib
    import inspect
    import pkgutil

    import masktune

    untyped = []
    for found in pkgutil.walk_packages(masktune.__path__, "masktune."):
        if found.name.split(".")[-1].startswith("_"):
            continue
        module = importlib.import_module(found.name)
        for name in getattr(module, "__all__", []):
            thing = getattr(module, name)
            functions = {name: thing} if inspect.isfunction(thing) else {}
            if inspect.isclass(thing):
                plain = {key: getattr(value, "__func__", value) for key, value in vars(thing).items()}
                functions = {
                    f"{name}.{key}": value
                    for key, value in plain.items()
                    if inspect.isfunction(value) and (key == "__init__" or not key.startswith("_"))
                }
            for title, function in functions.items():
                if function.__module__ != module.__name__:
                    continue
                signature = inspect.signature(function)
                untyped += [
                    f"{found.name}.{title}({p.name})"
                    for p in signature.parameters.values()
                    if p.name not in ("self", "cls") and p.annotation is p.empty
                ]
                if signature.return_annotation is signature.empty and not title.endswith("__init__"):
                    untyped.append(f"{found.name}.{title} ->")
    assert not untyped, untyped


def test_import_is_light():
    "In processor time, the fastest of five: a busy machine does not slow it"
    command = "import time; s = time.process_time(); import masktune; print(time.process_time() - s)"
    taken = [
        float(subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    assert min(taken) < 0.3, taken


def imported_as(requirement: str) -> str:
    "The name a requirement is imported by"
    name = re.split("[<>=]", requirement)[0]
    return {"scikit-learn": "sklearn", "pyyaml": "yaml", "pillow": "PIL"}.get(name, name)


def test_the_extras_bring_what_the_errors_say():
    from masktune._extras import EXTRAS

    for extra, names in EXTRAS.items():
        brought = {imported_as(line) for line in listed(f"{extra}_requirements")}
        assert set(names) - {"IPython"} <= brought, extra  # IPython comes with ipywidgets


WITHOUT = """
import importlib, json, sys
from pathlib import Path

root, missing = Path(sys.argv[1]), sys.argv[2]
names = sorted(".".join(p.relative_to(root).with_suffix("").parts) for p in (root / "masktune").rglob("[a-z]*.py"))
for name in names:
    importlib.import_module(name)  # so that what others need of the package is loaded: captum needs matplotlib itself
for name in list(sys.modules):
    if name.split(".")[0] in ("masktune", missing):
        del sys.modules[name]
sys.modules[missing] = None  # what Python itself takes for a package that cannot be imported
said = {}
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        said[name] = f"{type(error).__name__}: {error}"
print(json.dumps(said))
"""


@pytest.mark.parametrize(
    "missing", ["matplotlib", "jinja2", "sklearn", "scipy", "yaml", "fastcore", "shtab", "ipywidgets"]
)
def test_a_module_without_an_optional_package_loads_or_names_the_extra(missing):
    from masktune._extras import EXTRAS

    run = subprocess.run([sys.executable, "-c", WITHOUT, ROOT, missing], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    said = json.loads(run.stdout.splitlines()[-1])
    of_use_without = (
        "finetune",
        "faithfulness",
        "selective",
        "resume",
        "runs",
        "commands",
        "cli",
        "experiments.scenes",
    )
    assert not {f"masktune.{name}" for name in of_use_without} & said.keys(), said
    extras = [extra for extra, names in EXTRAS.items() if missing in names]
    for name, line in said.items():
        assert "\n" not in line and any(f"pip install 'masktune[{extra}]'" in line for extra in extras), (name, line)


def test_a_missing_package_is_said_in_one_line_by_the_command(tmp_path):
    code = (
        "import sys; sys.modules['shtab'] = None; from masktune.cli import main; sys.exit(main(['completion', 'bash']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 2
    assert run.stderr == "masktune: this needs shtab, which is not installed: pip install 'masktune[command]'\n"


def test_the_demo_runs_with_the_default_requirements_alone(tmp_path):
    from masktune._extras import EXTRAS

    default = {imported_as(line) for line in listed("requirements")} | {"scipy"}  # scikit-learn brings SciPy
    missing = sorted({name for names in EXTRAS.values() for name in names} - default)
    assert {"shtab", "ipywidgets", "jupyterlab"} <= set(missing)
    blocked = f"sys.modules.update(dict.fromkeys({missing}))"
    code = f"import sys; {blocked}; from masktune.cli import main; sys.exit(main(['demo']))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "runs" / "demo" / "report.html").stat().st_size > 100_000


def test_the_tests_of_a_file_run_in_one_process(tmp_path):
    "what a fixture built is built once: two processes that build one folder spoil it"
    for name in ("conftest.py", "ready.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path)
    for name in "ab":
        lines = [
            "import os, time, pytest",
            "@pytest.mark.parametrize('n', range(6))",
            "def test_it(n):",
            "    time.sleep(0.2)",
            f"    open({str(tmp_path / name)!r}, 'a').write(os.environ['PYTEST_XDIST_WORKER'] + '\\n')",
        ]
        (tmp_path / f"test_{name}.py").write_text("\n".join(lines))
    command = [sys.executable, "-m", "pytest", "-q", "--numprocesses", "2", tmp_path]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    workers = [set((tmp_path / name).read_text().split()) for name in "ab"]
    assert [len(found) for found in workers] == [1, 1] and workers[0] != workers[1]
