# Everything a person does with this repository, one command each. `make` alone lists them.
#
#   make setup TORCH="torch==2.13.0+cu130 --extra-index-url URL"    another build of torch: see docs/install.md
#   make test ARGS="-m 'not slow' tests/model"                      a part of the tests
#   make test TEST_PROCESSES=4                                      in four processes; with 0 in one, in the order of the files

# The first interpreter here that is new enough; `make setup PYTHON=/path/to/python3.12` chooses one.
NEW_ENOUGH := 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$python" -c $(NEW_ENOUGH) 2>/dev/null && echo "$$python" && break; done)
VENV ?= .venv
TORCH ?= torch==2.13.0
ARGS ?=
TEST_PROCESSES ?= 2
# Judges of exports and scores, installed without what they require (their needs are in pyproject.toml, extra dev): they ask
# for opencv-python, which writes over opencv-python-headless and does not load on a machine without a display, or
# (datumaro, motmetrics) for older versions of what is here, of which their readers use nothing that has changed.
JUDGES := datumaro motmetrics trackeval vos-benchmark vot-toolkit

BIN := $(VENV)/bin
STAMP := $(VENV)/.setup-complete

# Local runs talk to loopback only, where Ray's token authentication has nothing to protect.
export RAY_AUTH_MODE ?= disabled
export RAY_USAGE_STATS_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: help setup demo cluster test lint bench gpu docs clean

help:  ## list these commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:  ## make .venv with everything pinned in constraints.txt
	@"$(PYTHON)" -c $(NEW_ENOUGH) 2>/dev/null || { \
		echo "siammask-batch needs Python 3.11 to 3.14 and $(or $(PYTHON),no python3 here) is none of these:" \
			"install one, or name it with PYTHON=/path/to/python3.12"; \
		exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian, Ubuntu: apt-get install python3-venv)"; \
		exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt
	@echo "Installing into $(VENV) with $$($(BIN)/python --version) and $(TORCH); the first time takes some minutes."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off \
		-c $(VENV)/constraints.txt $(TORCH) -e '.[dev]'
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --progress-bar off \
		--no-deps -c $(VENV)/constraints.txt $(JUDGES)
	@touch $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(MAKE) --no-print-directory setup

demo: $(STAMP)  ## make three short clips, track them, print tables, an overlay video and queries
	@$(BIN)/python jobs/demo.py $(ARGS)

cluster: $(STAMP)  ## run the demo corpus on a cluster of three nodes with object storage, all on this machine
	@$(BIN)/python -m infra.local.cluster $(ARGS)

test: $(STAMP)  ## run all tests, in two processes
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --durations 40 $(ARGS)

lint: $(STAMP)  ## check style, imports, types, and that nothing is there unused
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/vulture

bench: $(STAMP)  ## measure; prints the hardware and the ceiling beside each number
	@$(BIN)/python -m benchmarks $(ARGS)

gpu: $(STAMP)  ## prove this machine's GPU: agreement with the CPU, memory, failures, speed; writes docs/gpu/
	@$(BIN)/python -m benchmarks gpu $(ARGS)

docs: $(STAMP)  ## build docs/ as a site in out/site; a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo out/site/index.html

clean:  ## remove the environment, caches and outputs
	rm -rf $(VENV) out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
