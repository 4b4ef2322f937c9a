# Blackstart: all there is to learn.  `make` lists the targets.
PYTHON ?= python3
CORE   ?= on
BIN    := .venv/bin
UV     := .venv-lock/bin/uv
LOCK    = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
          $(if $(UPGRADE),--upgrade)
QUICK   = not slow and not crash_all and not powercut
TOGETHER = tests/hil_sim tests/peers tests/system # whole programs: one at a time
APART    = $(filter-out $(TOGETHER) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)) $(wildcard tests/test_*.py))
export PYTHON CORE
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup fix check demo kill crash-all powercut pythons bench bench-io bench-journal peers lock wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s%s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo 'CORE=off with any of them leaves the reasoning core (llama.cpp) out.'

setup: ## install everything into .venv and do nothing else
	@tools/setup.sh

fix: setup ## format, and repair what the linter can repair
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

check: setup ## lint, types, imports, tests, and the demo once: what CI runs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -m "$(QUICK)" $(APART) -n 2 --dist loadfile
	$(BIN)/python -m pytest -m "$(QUICK)" $(TOGETHER)
	$(MAKE) demo ONCE=1

demo: setup ## the substation, the daemon and its story on this terminal (ONCE=1: no keyboard, ends by itself)
	@$(BIN)/blackstart demo $(if $(filter-out 0,$(ONCE)),--once) $(if $(filter off,$(CORE)),--core off)

kill: setup ## the long tests: power cuts and kills
	$(BIN)/python -m pytest -m slow

crash-all: setup ## every crash state and every damage to the log, not a sample of them
	$(BIN)/python -m pytest -m crash_all --timeout 7200

pythons: ## the engine's tests on Python 3.11, 3.12 and 3.13, as far as they are on this machine
	@tools/pythons.sh

powercut: setup ## power cuts on a real file system (needs root and qemu; says what is missing)
	$(BIN)/python -m pytest -m powercut -s

bench: setup ## every program in benchmarks/, each writes one JSON
	@set -e; for program in $(patsubst benchmarks/%.py,%,$(wildcard benchmarks/*.py)); do \
	  echo "$$program"; $(BIN)/python -m benchmarks.$$program; done

bench-io: setup .venv-thingsboard/.installed ## field I/O beside bare loops and thingsboard-gateway (make peers first)
	@$(BIN)/python -m benchmarks.io

.venv-thingsboard/.installed: requirements/thingsboard.lock # the peer pins libraries that differ from ours
	$(PYTHON) -m venv --clear .venv-thingsboard
	.venv-thingsboard/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	touch $@

bench-journal: setup .venv-bench/.made ## the journal beside DBOS, DuckDB and a bare append (FULL=1: with 10^7 rows)
	$(BIN)/python -m benchmarks.durable $(if $(filter-out 0,$(FULL)),--full)

.venv-bench/.made: requirements/bench.lock
	$(PYTHON) -m venv --clear .venv-bench
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	touch $@

peers: ## install what the tests like to have from Debian (needs root; says what is missing, never fails)
	@tools/peers.sh

lock: $(UV) ## pin all dependencies anew (UPGRADE=1: to their latest versions)
	$(LOCK) pyproject.toml --extra sim --extra train --group dev -o requirements/dev.lock
	$(LOCK) pyproject.toml --extra sim --extra train -c requirements/dev.lock -o requirements/run.lock
	$(LOCK) requirements/build.in -c requirements/dev.lock -o requirements/build.lock
	$(LOCK) requirements/core.in -c requirements/dev.lock -o requirements/core.lock
	$(LOCK) requirements/model.in --no-deps -o requirements/model.lock
	$(LOCK) requirements/bench.in -o requirements/bench.lock
	$(LOCK) requirements/thingsboard.in -o requirements/thingsboard.lock

$(UV):
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9

wheel: setup ## build dist/blackstart-*.whl
	$(BIN)/python -m hatchling build -t wheel

clean: ## remove everything that the targets above have made
	rm -rf .venv .venv-lock .venv-bench .venv-thingsboard .venv-pythons .powercut .peers dist \
	  .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
