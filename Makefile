# Every target makes .venv first when it is missing or older than the requirement lists.
PYTHON ?= python3
BIN := .venv/bin
LISTS := settings.ini setup.py pyproject.toml

.PHONY: help demo test test-rounding lab bench docs docs-serve results readme screenshots minimal clean

help:
	@echo "make demo    MaskTune on scans of handwritten digits: table, pictures, report, in about a minute"
	@echo "make test    every test: notebooks, package, command"
	@echo "make test-rounding   what trains, under settings that round as other processors do"
	@echo "make lab     JupyterLab on the first tutorial"
	@echo "make docs    the site, in _docs/ (make docs-serve shows it too)"
	@echo "make bench   the benchmarks, in their quick forms"
	@echo "make results   benchmarks/RESULTS.md from the figures beside it"
	@echo "make readme  README.md from nbs/index.ipynb"
	@echo "make minimal   the demo and the tests of the package with every requirement at its lower bound, in .venv-minimal"
	@echo "make screenshots   the README's picture of the scrubber, taken in a real browser (needs Chromium)"

demo: .venv/base
	$(BIN)/masktune demo

test: .venv/dev
	$(BIN)/python -m pytest --numprocesses auto

test-rounding: .venv/dev
	$(BIN)/python scripts/rounding.py --numprocesses auto

lab: .venv/dev
	$(BIN)/masktune lab

bench: .venv/dev
	$(BIN)/python benchmarks/saliency.py --quick
	$(BIN)/python benchmarks/scrub.py
	$(BIN)/python benchmarks/pipeline.py --quick
	$(BIN)/python benchmarks/scale.py --counts 1000 10000 20000
	$(BIN)/python benchmarks/loader.py --quick

docs: .venv/dev
	$(BIN)/python scripts/docs.py

docs-serve: .venv/dev
	$(BIN)/python scripts/docs.py --serve

results: .venv/dev
	$(BIN)/python scripts/results.py

readme: .venv/dev
	$(BIN)/python scripts/readme.py

screenshots: .venv/dev
	$(BIN)/python scripts/screenshots.py

MINIMAL_TESTS := masking training data files widgets published
minimal:
	@test -x .venv-minimal/bin/python || $(PYTHON) -m venv .venv-minimal
	.venv-minimal/bin/python scripts/minimal.py lab_requirements > .venv-minimal/lower-bounds.txt
	.venv-minimal/bin/python -m pip install --quiet --constraint .venv-minimal/lower-bounds.txt '.[lab]' pytest hypothesis nbformat
	.venv-minimal/bin/masktune demo --out .venv-minimal/demo
	.venv-minimal/bin/python -m pytest -q $(MINIMAL_TESTS:%=tests/test_%.py)

clean:
	rm -rf .venv .venv-minimal build dist _build _docs _proc *.egg-info

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing: install Python 3.10 or newer, or name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$$($(PYTHON) --version) is too old: install Python 3.10 or newer, or name one with make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "python3 -m venv is missing: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up .venv (PyTorch is large: a few minutes the first time)"
	$(PYTHON) -m venv .venv

.venv/base: $(LISTS) | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/dev: $(LISTS) | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch .venv/base $@
