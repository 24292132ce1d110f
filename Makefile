# Everything a developer types. The work itself is in connector-runner; this only prepares and calls it.
.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 3

.PHONY: help install run test check bench soak clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP) ## Make the virtual environment (.venv) with all that is needed
	@:

# A .venv whose interpreter is gone, or out of this account's reach, is made anew. uv is quick, and is told of
# the index that pip is configured with; pip is what there always is.
$(STAMP): setup.cfg pyproject.toml
	@set -e; export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  for python in $(PYTHON) python3.13 python3.12 python3.11 python3 none; do \
	    rm -rf $(VENV); \
	    if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	      && $$python -m venv $(VENV); then break; fi; \
	  done; \
	fi; \
	if [ ! -x $(BIN)/python ]; then \
	  echo 'Python 3.11 or later with its venv module is needed (on Debian: apt install python3-venv).' >&2; exit 1; \
	fi; \
	echo "Installing into $(VENV) ($$($(BIN)/python --version)) ..."; \
	index=$$($(BIN)/python -m pip config list 2>/dev/null | sed -n "s/^[a-z:]*\.index-url='\(.*\)'$$/\1/p" | tail -n 1); \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
	export UV_SYSTEM_CERTS=1; \
	$(BIN)/python -m pip install -q uv && $(BIN)/uv pip install -q --compile-bytecode --python $(BIN)/python -e '.[local,test]' \
	  || { echo 'Trying again with pip ...' >&2; $(BIN)/python -m pip install -q -e '.[local,test]'; }
	@touch $(STAMP)

# On a terminal the stack gets a process group of its own (set -m), so Ctrl-C reaches it and not make,
# which would report an interrupt. Elsewhere it takes the shell's place, so signals to it are its own.
run: install ## Start the whole product here; Ctrl-C stops it
	@if [ -t 0 ] && [ -t 1 ]; then set -m; $(BIN)/connector-runner up $(ARGS); \
	else exec $(BIN)/connector-runner up $(ARGS); fi

# They wait more than they compute, so there are more processes than processors; each has servers of its own. In the
# order of their names the long stories (tests/acceptance) come first, and short files fill what is left of the time.
test: install ## Run the tests (ARGS="-k word" to choose, WORKERS=0 for one process)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

check: install ## Lint, formatting, types, import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

bench: install ## Measure speed; figures and their meaning in benchmarks/README.md
	@$(BIN)/python -m benchmarks $(ARGS)

soak: install ## Simulate 20,000 runs of the lane engine in which everything goes wrong (ARGS="--seed N" to see one)
	@$(BIN)/python -m tests.simulation $(ARGS)

clean: ## Stop the embedded servers; remove the virtual environment and caches, keep the data
	@if [ -x $(BIN)/connector-runner ]; then $(BIN)/connector-runner services down; fi
	@rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
