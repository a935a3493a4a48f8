# `make demo` and `make test` work on a fresh machine with Python 3.11+ and make: they create a
# virtual environment in .venv and install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-dev
# pinned here, and before anything that depends on it: elsewhere any recent torch will do
TORCH := torch==2.13.0

# the lowest version that the extra `gym` in pyproject.toml admits; `make test` has the highest
OLDEST_GYMNASIUM := gymnasium==1.0.0

.PHONY: demo test test-gymnasium stress faults check bench learning matrix docs clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --maxprocesses 4

test-gymnasium:
	$(PYTHON) -m venv --clear build/gymnasium
	build/gymnasium/bin/python -m pip install --quiet --editable . "$(OLDEST_GYMNASIUM)" pytest hypothesis
	build/gymnasium/bin/python -m pytest tests/gym/test_gymnasium_range.py

stress: $(STAMP)
	$(BIN)/python -m pytest -m slow

# hours; what is done is noted in build/faults.json, and it goes on from there
faults: $(STAMP)
	$(BIN)/python -m tests.faults

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m simgit.cli.docs | diff docs/cli.md -

bench: $(STAMP)
	$(BIN)/python tests/benchmarks --output docs/performance.md

learning: $(STAMP)
	$(BIN)/python tests/learning --output docs/learning.md

matrix: $(STAMP)
	$(BIN)/python tests/matrix --output docs/environments.md

docs: $(STAMP)
	$(BIN)/python -m simgit.cli.docs > docs/cli.md

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
