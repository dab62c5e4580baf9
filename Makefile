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

# Under a minute: no type checker, no test marked slow.
quick: $(INSTALLED) lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -rs -m "not slow"

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
