PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# Needs no network. Warnings are errors; the variable silences an advertisement.
SITE := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

.PHONY: test train docs playground clean

# One thread per process: pytest already fills two cores with its workers.
test: export OMP_NUM_THREADS := 1
# Types are checked, and the documentation is built, while the tests run: mypy reads torch for half a minute on one core.
test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	{ $(BIN)/mypy && $(SITE) --quiet; } & others=$$!; $(BIN)/python -m pytest; tests=$$?; wait $$others && exit $$tests

docs: $(INSTALLED)
	$(SITE)
	@echo The site is in build/site.

train: $(INSTALLED)
	$(BIN)/python train_agent.py

playground: $(INSTALLED)
	$(BIN)/optcontrol playground

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

# Python compiles what it imports; compiled by pip, all that is installed takes as long as its download.
$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --no-compile --editable ".[dev]"
	touch $@
