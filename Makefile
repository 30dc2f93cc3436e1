# make demo   set up, run the whole chain on sample_data/, hold it against what was planted
# make test   set up, run all tests that this machine can run
# Both start from a bare clone and need a Python >= 3.11 with venv, and a Python package index.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo
PEERS := .venv-peers

.PHONY: setup demo test lint format golden peers clean
.DEFAULT_GOAL := setup

setup: $(READY)

# Packages, the offline weights among them, then WordNet (no root needed).
$(READY): pyproject.toml
	@test -n "$(PYTHON)" || { echo "webclean needs Python 3.11 or newer with venv: apt install python3-venv, or make PYTHON=..."; exit 4; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[offline,dev]'
	$(BIN)/webclean doctor --fetch wordnet
	@touch $(READY)

demo: setup
	rm -rf $(DEMO)
	$(BIN)/webclean ingest sample_data/crawl $(DEMO)/run
	$(BIN)/webclean weight $(DEMO)/run
	$(BIN)/webclean weight $(DEMO)/run --evidence rank,text --decisions rank-text
	$(BIN)/webclean train $(DEMO)/run
	$(BIN)/webclean export $(DEMO)/run $(DEMO)/clean
	$(BIN)/python sample_data/check.py $(DEMO)/run sample_data/truth.csv

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup --max-worker-restart 0 -m "not gpu and not network" \
		--ignore tests/engines/test_ray.py tests
	$(BIN)/python -m pytest -n 0 tests/engines/test_ray.py  # a Ray cluster cannot be started in a worker of xdist

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

golden: setup
	$(BIN)/python tests/golden/regenerate.py

# Programs whose output is read here and whose pins would fight ours; tests that run them skip without.
peers: $(PEERS)/.ready

$(PEERS)/.ready: Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || { echo "img2dataset needs Python 3.11 or 3.12: make peers PYTHON=..."; exit 4; }
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip install --disable-pip-version-check -q 'img2dataset==1.47.*'
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
