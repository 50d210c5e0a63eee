PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: example test check bench install clean

example: $(VENV)/installed  ## Install, then compile the embedded network to int8
	$(BIN)/compile build_configs/official_unet3p.yaml

test: $(VENV)/installed-dev  ## Install, then run all tests with coverage
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term:skip-covered --cov-fail-under=95
	$(BIN)/coverage report --include='calibration/*,compiler/passes/*' --skip-covered --fail-under=100

check: $(VENV)/installed-dev  ## Lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed-bench  ## Install the peers, then measure them and modc: docs/benchmarks.md
	$(BIN)/python tests/benchmarks/compare_engines.py --out build/bench $(ARGS)

install: $(VENV)/installed-dev

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

$(VENV)/installed-bench: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --editable '.[bench]'
	touch $@ $(VENV)/installed

clean:
	rm -rf $(VENV) build dist deploy_weights
