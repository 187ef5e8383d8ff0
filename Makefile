# Everything a contributor types. `make demo` and `make test` need only Python 3.11, pip and make.
PYTHON ?= python3.11
BIN := .venv/bin

.PHONY: help venv demo test check bench clean

help:
	@echo "make demo   the main job on real shards through the Prefect flow, with the shipped model"
	@echo "make test   every check and test, with real services (about ten minutes on two cores)"
	@echo "make check  ruff, mypy and the import contracts"
	@echo "make bench  side-by-side measurements"

venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: venv
	@$(BIN)/python flows/demo.py

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "services or not services"

bench: venv
	$(BIN)/python -m tests.benchmarks.lanes

clean:
	rm -rf .venv demo-output
