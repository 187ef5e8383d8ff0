# Everything a contributor types. `make demo` and `make test` need only Python 3.11, pip and make.
PYTHON ?= python3.11
BIN := .venv/bin
unexport PYTHONDONTWRITEBYTECODE  # tests start many processes, and each would compile every module

.PHONY: help venv demo test check pytest proofs coverage bench docs clean

help:
	@echo "make demo      the main job on real shards through the Prefect flow, with the shipped model"
	@echo "make test      every check, and the tests with real services"
	@echo "make proofs    the rest of the tests: kills of all kinds, simulations, whole grids, long pages"
	@echo "make check     ruff, mypy and the import contracts"
	@echo "make coverage  every test, and which lines and branches they run"
	@echo "make bench     side-by-side measurements"
	@echo "make docs      the documentation, docs/_build/index.html"

venv: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[dev]'
	@$(BIN)/python -m compileall -qq -j 0 .venv/lib diffaug flows tests || true  # pip would use one core
	@touch $@

demo: venv
	@$(BIN)/python flows/demo.py

check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: venv
	@$(MAKE) --no-print-directory --jobs 2 check pytest

pytest: venv
	$(BIN)/python -m pytest -m "not proof"

proofs: venv
	$(BIN)/python -m pytest -m proof

coverage: venv
	$(BIN)/python -m coverage erase
	$(BIN)/python -m pytest -m "" --cov --cov-report=
	$(BIN)/python -m coverage report
	$(BIN)/python -m coverage html

bench: venv
	$(BIN)/python -m tests.benchmarks.lanes
	$(BIN)/python -m tests.benchmarks.guided

docs: venv
	$(BIN)/python -m sphinx -W --keep-going -q docs docs/_build
	@echo "look at it: docs/_build/index.html"

clean:
	rm -rf .venv .coverage .coverage.* build demo-output docs/_build
