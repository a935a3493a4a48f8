# `make demo` and `make test` work on a fresh machine with Python 3.11+ and make: they create a
# virtual environment in .venv and install what they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp-dev
# pinned here, and before anything that depends on it: elsewhere any recent torch will do
TORCH := torch==2.13.0

# compiled files are kept, whatever the caller's environment says: tests start hundreds of processes
export PYTHONDONTWRITEBYTECODE :=

# the lowest version that the extra `gym` in pyproject.toml admits; `make test` has the highest
OLDEST_GYMNASIUM := gymnasium==1.0.0

.PHONY: demo test test-all test-long test-gymnasium test-rllib faults check bench learning matrix docs site dist clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# where memory has room, files of tests lie there: to sync them is much of what tests wait for
IN_MEMORY := $(shell test -w /dev/shm && ! grep -q ' /dev/shm [^ ]* [^ ]*noexec' /proc/mounts \
	&& awk '/MemAvailable/ && $$2 > 8388608 {found = 1} END {exit !found}' /proc/meminfo \
	&& df -Pk /dev/shm | awk 'NR == 2 && $$4 > 8388608 {print "TMPDIR=/dev/shm"}')
PYTEST := $(IN_MEMORY) $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal --durations 20

test: $(STAMP)
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || test -n "$$SIMGIT_CHROMIUM" \
		|| echo "Chromium is not installed: stories of the page are skipped"
	$(PYTEST)

# every test, those of minutes too, with all examples
test-all: $(STAMP)
	$(PYTEST) -m "" --hypothesis-profile full

# what `make test` leaves out, or does less of; with PROFILE=some, not all examples
PROFILE ?= full
test-long: $(STAMP)
	$(PYTEST) -m thorough --hypothesis-profile $(PROFILE)

test-gymnasium:
	$(PYTHON) -m venv --clear build/gymnasium
	build/gymnasium/bin/python -m pip install --quiet --editable . "$(OLDEST_GYMNASIUM)" pytest hypothesis
	build/gymnasium/bin/python -m pytest -m "" tests/gym/test_gymnasium_range.py

# Ray pins a Gymnasium that is not the newest: both have an environment of their own, which finds
# everything else, torch too, in that of `make test`
test-rllib: $(STAMP)
	$(PYTHON) -m venv --clear build/rllib
	$(BIN)/python -c "import site; print(site.getsitepackages()[0])" \
		> $$(build/rllib/bin/python -c "import site; print(site.getsitepackages()[0])")/main.pth
	build/rllib/bin/python -m pip install --quiet "ray[rllib]" distributed
	build/rllib/bin/python -m pytest -m "" tests/integrations/test_rllib.py \
		tests/integrations/test_ray.py tests/integrations/test_ray_read.py \
		tests/gym/tools/test_executors.py::test_a_dask_client_lends_its_workers

# hours; what is done is noted in build/faults.json, and it goes on from there
faults: $(STAMP)
	$(BIN)/python -m tests.faults

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m simgit.cli.docs | diff docs/cli.md -
	$(BIN)/python -m simgit.server.docs | diff docs/http-api.md -

bench: $(STAMP)
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/python tests/benchmarks --output docs/performance.md

learning: $(STAMP)
	$(BIN)/python tests/learning --output docs/learning.md

matrix: $(STAMP)
	$(BIN)/python tests/matrix --output docs/environments.md

docs: $(STAMP)
	$(BIN)/python -m simgit.cli.docs > docs/cli.md
	$(BIN)/python -m simgit.server.docs > docs/http-api.md
	$(BIN)/python -m simgit.cli.docs options > $(STAMP).options
	mv $(STAMP).options simgit/cli/option_table.py

# the documentation as a site; strict, and read as it is built: without the network
site: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	$(BIN)/python docs/scripts/check_site.py build/site

# the wheel and the source distribution
dist: $(STAMP)
	rm -rf dist
	$(BIN)/python -m build --outdir dist

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
