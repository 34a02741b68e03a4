# Everything a person does here; `make help` lists it. Only Python 3.11+ and a package index are needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help install run demo test check docs bench torture lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## .venv with the locked dependencies and the pipeline command

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is %d.%d" % sys.version_info[:2] or 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: install  ## serve settings.toml as shipped: demo site, crawl, digest, heartbeat (Ctrl-C stops)
	$(BIN)/pipeline serve

demo: install  ## one pass of the demo, and an end when its digest has arrived
	$(BIN)/pipeline serve --once

test: install  ## the tests
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: install  ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install  ## the settings reference and the tables of registered parts in docs/, generated from the code
	$(BIN)/python docs/generate.py

bench: install  ## speed and memory, side by side with peers; takes minutes
	$(BIN)/python -m benchmarks

torture: install  ## long proofs: hundreds of kills and cuts; takes many minutes
	$(BIN)/python -m tests.torture

lock:  ## refresh requirements.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --group dev --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra charts --extra postgres --group build --constraints requirements.lock pyproject.toml -o deploy/requirements.lock

clean:  ## remove .venv and the demo's data
	rm -rf $(VENV) var
