# Every target does its own set-up: a virtual environment in .venv with the versions of constraints.txt.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PEERS := .venv-peers/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: audit test bench peers papers docs chromium
.DELETE_ON_ERROR:

audit: .venv/audit.ready
	$(BIN)/saddlepoint audit

test: .venv/dev.ready chromium
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 2 --dist worksteal

bench: .venv-peers/ready
	OMP_NUM_THREADS=1 .venv-peers/bin/saddlepoint bench --out benchmarks/bench.json

peers: .venv-peers/ready
	OMP_NUM_THREADS=1 .venv-peers/bin/python benchmarks/peers.py tests/reference/cases tests/reference/peers.json
	OMP_NUM_THREADS=1 .venv-peers/bin/python benchmarks/queries.py benchmarks/queries.json

papers: .venv/dev.ready
	OMP_NUM_THREADS=1 $(BIN)/python tests/reference/cases.py tests/reference/ours.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/trust.py benchmarks/trust.json
	$(BIN)/python docs/make_pages.py

docs: .venv/dev.ready
	$(BIN)/python docs/make_pages.py
	$(BIN)/zensical build

# The public libraries live in an environment of their own. Three come without their requirements: torchattacks wants a requests
# that the others do not, adv-lib a visdom that no longer builds, and cleverhans half of TensorFlow. None uses them here.
.venv-peers/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS) torch==2.13.0
	$(PEERS) --editable ".[bench]"
	$(PEERS) --no-deps torchattacks adv-lib cleverhans
	touch $@

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/audit.ready: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) torch==2.13.0
	$(PIP) --editable ".[demo]"
	touch $@

.venv/dev.ready: .venv/audit.ready
	$(PIP) --editable ".[dev]"
	touch $@

# The report is looked at in a real browser. Without one, that test says so and is skipped.
chromium:
	@command -v chromium >/dev/null \
	|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| echo "No chromium, and no way to install it: the browser test will be skipped."
