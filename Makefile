# Every target makes its own set-up: .venv out of the committed hashes, see requirements/prepare.py.
# Needs Python 3.11 or newer and make. Packages, jars and uv are kept in $FP_CACHE (default: ~/.cache/fraud-platform).
PYTHON ?= python3
ARGS ?=
BIN = .venv/bin

.PHONY: help setup run chaos test lint bench lock clean

help:
	@echo "make run    the whole platform on real engines, a seeded world through it, and its proofs (ARGS=\"--size 2000\")"
	@echo "make chaos  1000 kills of each service's workers, audited (ARGS=\"--kills 100\" for all services together)"
	@echo "make test   all tests (ARGS=\"-k name\")"
	@echo "make lint   ruff and mypy"
	@echo "make bench  the measurements"
	@echo "make lock   rewrite requirements/workspace.txt from the pyproject files"
	@echo "make clean  remove .venv, the tools' caches and runs/; the shared cache stays"

setup:
	@$(PYTHON) requirements/prepare.py

run: setup
	$(BIN)/fp run $(ARGS)

# Eight services: a thousand kills each.
chaos: setup
	$(BIN)/fp chaos --service all --kills 8000 $(ARGS)

test: setup
	$(BIN)/pytest $(ARGS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs services lambdas tests requirements benchmarks docs/examples

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

lock:
	@$(PYTHON) requirements/prepare.py lock

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
