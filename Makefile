# Two commands from nothing but python3: `make mint` runs the main job, `make test` the tests. Both show what they run.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help mint test lint docs advisories clean
help:
	@echo "make mint   virtual environment, pip install -r requirements.txt, scripts/train_mint.py on the lab"
	@echo "make test   virtual environment, pip install -r requirements-dev.txt, pytest"
	@echo "make lint   ruff and mypy"
	@echo "make docs   the site, into site/: warnings and broken links are errors, and it loads nothing from elsewhere"
	@echo "make advisories  pip-audit over the pinned packages: asks the network what is known of them"
	@echo "make clean  removes $(VENV), the site and the runs of make mint"

mint: $(VENV)/installed-requirements.txt
	$(BIN)/python scripts/train_mint.py --head vanilla --out runs/lab-vanilla

test: $(VENV)/installed-requirements-dev.txt
	$(BIN)/python -m pytest

lint: $(VENV)/installed-requirements-dev.txt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

docs: $(VENV)/installed-requirements-docs.txt
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# In an environment of its own, because it brings packages that nothing here needs. A report: what it finds fails nobody's change.
advisories: $(VENV)/bin/python
	$(PYTHON) -m venv $(VENV)/advisories
	$(VENV)/advisories/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	-for pins in requirements.txt requirements-*.txt; do \
	  $(VENV)/advisories/bin/pip-audit --no-deps --disable-pip --progress-spinner off -r $$pins; done

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else \
	  f"Expected Python 3.11 to 3.13, received {v[0]}.{v[1]}. Name another: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/installed-%.txt: %.txt requirements.txt requirements-base.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

clean:
	rm -rf $(VENV) runs/lab-vanilla site
