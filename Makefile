# make demo | test | quick | bench | bench-train | clean. Each creates the environment if it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Options of `gabc demo`, for example: make demo DEMO="--steps 200"
DEMO ?=

.PHONY: demo test quick bench bench-train clean lint

demo: $(INSTALLED)
	$(BIN)/gabc demo $(DEMO)

test: $(INSTALLED) lint
	.ci/typecheck $(BIN)/python
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -rs

# Under a minute: the language, its proofs and its rules; no type checker, no training, nothing slow.
QUICK := tests/ops $(addprefix tests/test_,architecture.py causality.py contracts.py dead.py dims.py \
	docs.py elaborate.py explain.py golden.py hostile.py language.py reference.py render.py syntax.py \
	syntax_errors.py syntax_limits.py)

quick: $(INSTALLED) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -rs -m "not slow" $(QUICK)

lint: $(INSTALLED)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

BENCHMARKS := check_speed check_scaling recurrences mixers decode

bench: $(INSTALLED)
	for name in $(BENCHMARKS); do OMP_NUM_THREADS=1 $(BIN)/python benchmarks/$$name.py || exit 1; done
	OMP_NUM_THREADS=$$(nproc) $(BIN)/python benchmarks/recurrences.py

# Every design of examples/ at 14M through 50 steps; a quarter of an hour on one core.
bench-train: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_examples.py

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# Keeps the environment and the runs.
clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
