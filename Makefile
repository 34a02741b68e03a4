# `make help` lists the targets. They need only Python 3.11 or newer and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Two processes more than there are cores, at most 4: most tests wait for servers and processes more than they compute.
PYTEST := $(BIN)/python -m pytest -n $(shell $(PYTHON) -c "import os; print(min(4, os.cpu_count() + 2))") --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install run demo test parsers applications replay fallback check docs bench torture lock clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY)  ## create .venv with the locked dependencies and the pipeline command

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; this is %d.%d" % sys.version_info[:2] or 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: install  ## run the service with the shipped settings: demo site, crawl, digest, heartbeat (Ctrl-C stops)
	$(BIN)/pipeline serve

demo: install  ## crawl the demo once, deliver its digest, and exit
	$(BIN)/pipeline serve --once

test: install  ## run the tests
	$(PYTEST)

parsers:  ## install the MIME parsers that the tests of mails compare with Python's (needs node 20 and npm)
	cd tests/mail/parsers && npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock

applications:  ## install the web applications that the tests crawl in a browser (needs node 20 and npm)
	cd tests/applications && npm install --silent --no-audit --no-fund --ignore-scripts --no-package-lock

replay: install  ## install pywb and the validator of WACZ files, and test with them what is archived
	$(PYTHON) -m venv tests/archive/tools/.venv
	tests/archive/tools/.venv/bin/pip install -q --disable-pip-version-check -r tests/archive/tools/requirements.txt
	$(BIN)/python -m pytest tests/archive/replay.py

fallback: install  ## run the tests of crawls again, on Scrapy's own engine
	TEST_ENGINE=scrapy $(PYTEST) tests/crawl tests/spiders

check: install  ## run ruff, mypy --strict and the import contracts
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: install  ## generate the settings reference and the tables of registered parts in docs/
	$(BIN)/python docs/generate.py

bench: install  ## measure speed and memory, compared with other programs; takes minutes
	$(BIN)/python -m benchmarks

torture: install  ## run the long tests with hundreds of kills and faults; takes many minutes
	$(BIN)/python -m tests.torture

lock:  ## refresh requirements.lock (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --group dev --group build pyproject.toml -o requirements.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --extra ai --extra archive --extra channels --extra charts --extra cluster --extra images --extra postgres --extra s3 --group build --constraints requirements.lock pyproject.toml -o deploy/requirements.lock

clean:  ## remove .venv and the demo's data
	rm -rf $(VENV) var
