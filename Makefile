# `make demo` and `make test` are all that a new user needs. Everything is set up in .venv, from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-cache-dir --quiet
PORT ?= 3000

.PHONY: setup demo test lint format benchmark lock

setup: .venv/.ready

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "Setting up .venv (about 90 s the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup
	@$(BIN)/mem0-assets demo --port $(PORT)

test: setup
	@mkdir -p .tests
	$(BIN)/python -m pytest --basetemp=.tests/tmp --numprocesses=auto --maxprocesses=4 --dist=loadfile $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmark: setup
	$(BIN)/python -m benchmarks

# Writes the lock anew, for every supported Python and platform, without the address of any registry. Needs uv on PATH.
lock:
	uv pip compile pyproject.toml --extra test --universal --python-version 3.11 --generate-hashes \
		--no-header --no-emit-index-url --no-annotate --no-strip-extras --quiet --output-file requirements.lock
