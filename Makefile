# `make demo` and `make test` work on a fresh clone: each does its own set-up, once.

PYTHON ?= python3
PYTEST ?= --numprocesses=auto

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory --no-builtin-rules
.DEFAULT_GOAL := help
.NOTPARALLEL:

VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.demo ## Run the demonstration
	@$(RUN) examples/demo.py

.PHONY: test
test: tools lint type wheel optimized ## Run every check and every test
	@.ci/tests $(RUN) -m pytest $(PYTEST)

.PHONY: lint
lint: $(VENV)/.dev ## Check style and format
	@$(RUN) -m ruff check --quiet
	@$(RUN) -m ruff format --quiet --check

.PHONY: type
type: $(VENV)/.dev ## Check types, strictly, of package and tests
	@$(RUN) -m mypy

.PHONY: unit
unit: $(VENV)/.dev ## Run the unit tests only
	@$(RUN) -m pytest $(PYTEST) tests/unit

.PHONY: optimized
optimized: $(VENV)/.dev ## Run the unit tests under python -O
	@.ci/tests $(RUN) -O -m pytest $(PYTEST) --quiet -W ignore::pytest.PytestConfigWarning tests/unit

.PHONY: test-faults
test-faults: tools $(VENV)/.dev ## Inject faults into everything, in full, and count
	@$(RUN) tests/faults/run.py $(FAULTS)

.PHONY: fuzz
fuzz: $(VENV)/.dev $(VENV)/.fuzz ## Fuzz all readers of foreign input, guided by coverage
	@$(RUN) tests/faults/fuzz.py $(FUZZ)

.PHONY: bench
bench: $(VENV)/.dev ## Measure speed
	@$(RUN) tests/bench/run.py

.PHONY: docs
docs: $(VENV)/.dev ## Build the documentation into build/docs
	@$(RUN) -m mkdocs build --quiet

.PHONY: wheel
wheel: $(VENV)/.dev ## Build the wheel and try it in a clean environment
	@.ci/wheel $(RUN)

.PHONY: tools
tools:
	@.ci/tools

.PHONY: clean
clean: ## Remove what the other targets have made
	[ ! -d _demo ] || chmod -R u+w _demo # What is realized is read-only.
	rm -rf $(VENV) build dist _demo .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find plxnix tests examples -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

# One environment for both; each extra has its stamp, so that `make demo` installs no linters.
$(VENV)/.%: pyproject.toml .ci/venv
	@.ci/venv $(PYTHON) $(VENV) $*
	@touch $@
