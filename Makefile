# The commands that the README and CI use. `make demo` and `make test` need Python >= 3.11 only.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-alfworld check bench clean

demo: .venv/demo            ## plan with a real local model, once fixed and once adaptively
	$(BIN)/amp demo

test: .venv/dev             ## run all tests, those on a real small model among them
	$(BIN)/python -m pytest

test-alfworld: .venv/alfworld  ## run ALFWorld's tests; its packages compile for minutes (needs gcc)
	$(BIN)/python -m pytest tests/benchmarks

check: .venv/dev            ## format, lint, types, and the directions of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/dev            ## ratios that the README states, each measured within one run
	$(BIN)/python -m perf

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[local,babyai]"
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[dev]"
	touch $@

.venv/alfworld: .venv/dev
	$(PIP) --editable ".[dev,alfworld]"
	touch $@

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis
