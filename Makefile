# Two commands need nothing but Python 3.11 or later: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help

help: ## what each target does
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/.ready: pyproject.toml uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "runctl needs Python 3.11 or later; this is $$($(PYTHON) -V). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "setting up .venv (once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv sync --quiet --locked --all-extras
	@touch $@

demo: .venv/.ready ## train a real model on real data on this machine, and look at the result
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

.venv/wheels/.ready: .venv/.ready tests/wheels.sh examples/digits/requirements.txt examples/trainer/requirements.txt
	@echo "fetching what the examples install (once)"
	@sh tests/wheels.sh .venv/wheels
	@touch $@

.venv/clients/.ready: .venv/.ready tests/clients.sh tests/clients.txt
	@echo "installing the clients the sandbox is tested with (once)"
	@sh tests/clients.sh .venv/clients

.venv/.packages: .venv/.ready tests/packages.sh
	@sh tests/packages.sh
	@touch $@

test: .venv/.ready check .venv/.packages .venv/wheels/.ready .venv/clients/.ready ## every check and every test
	sh tests/netns.sh $(BIN)/python -m pytest -n 3 --dist loadgroup tests

check: .venv/.ready ## format, lint, types, import rules, dead code, the agent's Python version
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/vulture
	$(BIN)/vermin --quiet --no-tips --violations --target=3.8- --backport dataclasses --backport typing src/runctl/agent src/runctl/formats src/runctl/transports/ssm/machine

fix: .venv/.ready ## format and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/.ready ## the figures the project promises, as ratios, on this machine
	$(BIN)/python -m benchmarks

docs: .venv/.ready ## regenerate the pages that come from the code, and build the site into .site/
	$(BIN)/python -m docs.generate
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

clean: ## remove the environment and caches
	rm -rf .venv .site .mypy_cache .ruff_cache .pytest_cache .hypothesis

.PHONY: help demo test check fix bench docs clean
