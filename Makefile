# Every target makes its own environment first: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test check-style fast oldest clean

setup: .venv/ready

.venv/ready: requirements/pins.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements/pins.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/otr demo

test: check-style
	$(BIN)/pytest -n 2

# The quick half of the tests, for use while writing code.
fast: setup
	$(BIN)/pytest -n 2 -m "not slow"

# The trainer's tests on the oldest TRL and transformers that are supported.
oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet -r requirements/pins.txt
	.venv-oldest/bin/pip install --quiet -r requirements/oldest.txt
	.venv-oldest/bin/pip install --quiet --no-deps --no-build-isolation -e .
	.venv-oldest/bin/python -m pytest -n 2 tests/training tests/lm_head

check-style: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

clean:
	rm -rf .venv .venv-oldest
