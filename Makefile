# Every target makes its own environment first: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: setup demo test bench gpu faults fuzz families harness soak scaling zero3 plugins trackers quantized docs docs-check check-style fast oldest release-check clean

setup: .venv/ready

.venv/ready: requirements/pins.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -r requirements/pins.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

demo: setup
	$(BIN)/otr demo

test: check-style
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal

# The quick half of the tests, for use while writing code.
fast: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal -m "not slow"

# The trainer's tests on the oldest TRL and transformers that are supported.
oldest: .venv-oldest/ready
	OMP_NUM_THREADS=1 .venv-oldest/bin/python -m pytest -n 2 --dist worksteal tests/training tests/lm_head tests/integrations

.venv-oldest/ready: requirements/pins.txt requirements/oldest.txt pyproject.toml
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet -r requirements/pins.txt
	.venv-oldest/bin/pip install --quiet -r requirements/oldest.txt
	.venv-oldest/bin/pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

# The documentation site, into site/.
docs: setup
	$(BIN)/python -m website build

# Every command that the pages mark to be run, as a reader would run them: a few minutes.
docs-check: setup
	$(BIN)/python -m website check

# What the head costs beside other heads, on one thread: about half an hour. The figures go to
# benchmarks/results/ and the README's table.
bench: setup
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.readme

# How far the model of a step's memory and time is off on this machine, and docs/scaling.md.
scaling: setup
	$(BIN)/python -m benchmarks.scaling measure
	$(BIN)/python -m benchmarks.scaling report

# The head's tests and the benchmark on a GPU, with the Python that has torch for it and pytest.
GPU_PYTHON ?= $(if $(wildcard $(BIN)/python),$(BIN)/python,python3)
gpu:
	PYTHONPATH=src:$(PYTHONPATH) $(GPU_PYTHON) -m benchmarks.gpu

# The plugin for axolotl, the trackers that pins.txt leaves out, bitsandbytes (8-bit optimizers and
# QLoRA), lm-evaluation-harness, and DeepSpeed, which every import of transformers would load from then
# on: each with its tests, in an environment beside the development environment, whose packages it sees.
TESTS_plugins := tests/integrations/test_axolotl.py
TESTS_trackers := tests/training/test_trackers.py
TESTS_quantized := tests/training/test_features.py
TESTS_harness := tests/evaluation/test_harness.py
TESTS_zero3 := tests/training/test_many_processes.py
plugins trackers quantized harness zero3: %: .venv-%/ready
	AXOLOTL_DO_NOT_TRACK=1 HF_HUB_OFFLINE=1 .venv-$*/bin/python -m pytest $(TESTS_$*)

.venv-%/ready: requirements/%.txt requirements/build.txt .venv/ready
	$(PYTHON) -m venv .venv-$*
	printf '%s\n' $(CURDIR)/src $(CURDIR)/.venv/lib/python3*/site-packages > $$(echo .venv-$*/lib/python3*/site-packages)/otr.pth
	.venv-$*/bin/pip install --quiet -r requirements/build.txt
	DS_BUILD_OPS=0 .venv-$*/bin/pip install --quiet --no-deps --no-build-isolation -r requirements/$*.txt
	touch $@

# Training killed 50 times at random moments, at least 20 of them inside a save, and gone on with.
faults: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m reliability kills

# Random and damaged recipes, data, templates, run folders and checkpoints: used, or refused with a
# message.
fuzz: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m reliability fuzz

# A training step of every architecture that transformers lists, against its full logits; about ten
# minutes on one core. The outcomes go to families/results.json and docs/models.md.
families: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m families run

# 10,000 steps through `otr train`, memory measured.
soak: setup
	OMP_NUM_THREADS=1 nice $(BIN)/python -m reliability soak

check-style: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

# The source distribution and the wheel, in dist/: built, judged as PyPI judges them, installed and run
# without the extras; and the Dockerfile's lint.
release-check: setup .venv-release/ready
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	.venv-release/bin/twine check --strict dist/*
	.venv-release/bin/hadolint Dockerfile
	$(BIN)/pytest tests/packaging

.venv-release/ready: requirements/release.txt
	$(PYTHON) -m venv .venv-release
	.venv-release/bin/pip install --quiet --no-deps -r requirements/release.txt
	touch $@

clean:
	rm -rf .venv .venv-* dist site
