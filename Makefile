PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: test train playground clean

# One thread per process: pytest already fills two cores with its workers.
test: export OMP_NUM_THREADS := 1
test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest

train: $(INSTALLED)
	$(BIN)/python train_agent.py

playground: $(INSTALLED)
	$(BIN)/optcontrol playground

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable ".[dev]"
	touch $@
