# make demo | test | quick | bench | clean. Each creates the environment if it is missing or stale.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Options of `gabc demo`, for example: make demo DEMO="--steps 200"
DEMO ?=

.PHONY: demo test quick bench clean lint

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

bench: $(INSTALLED)
	for script in benchmarks/*.py; do OMP_NUM_THREADS=1 $(BIN)/python $$script || exit 1; done

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	touch $@

# Keeps the environment and the runs.
clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
