# Partner Desk. `make help` says what there is; only git, make and python3 >= 3.11 with pip are assumed.

PORT ?= 8000
SANDBOX_PORT ?= 8001
PROFILE ?= demo
export PORT SANDBOX_PORT PROFILE
# Where this is set, each of the hundreds of processes of the tests would compile Django and the tests anew.
unexport PYTHONDONTWRITEBYTECODE

# Debian's and Ubuntu's own Python is built with optimisations that a plain build leaves out.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.1[1-9]) python3)
PY := .venv/bin/python
UV := .tools/bin/uv
# pip trusts this machine's certificates; uv trusts its own, unless told. Behind a company's proxy that matters.
CERTIFICATES := $(if $(wildcard /etc/ssl/certs/ca-certificates.crt),--system-certs)
STAMP := .venv/.synced
LOCK := $(CERTIFICATES) --quiet --upgrade --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11
TEMPLATES := $(shell find templates -name '*.html' 2>/dev/null)

.PHONY: help setup demo clean-demo test screenshots check fix bench torture lock
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

help:  ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | awk -F '\t' '{printf "  make %-11s %s\n", $$1, $$2}'

setup: $(STAMP)  ## the virtual environment .venv, from the hash-locked requirements
	@:

$(STAMP): requirements-dev.lock | $(UV)
	@test -x $(PY) || $(UV) venv --quiet --no-python-downloads --python $(PYTHON) .venv
	@$(UV) pip sync $(CERTIFICATES) --quiet --compile-bytecode --python $(PY) --require-hashes requirements-dev.lock
	@touch $@

$(UV): requirements-tools.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; $(PYTHON) is " + sys.version.split()[0] + ". Name another: make setup PYTHON=python3.12")'
	@for python in $(PYTHON) python3; do if $$python -m pip --version >/dev/null 2>&1; then exec $$python -m pip install -qq \
		--disable-pip-version-check --root-user-action ignore --no-deps --upgrade --require-hashes --target .tools \
		-r requirements-tools.lock; fi; done; \
		echo 'pip is missing. Install it first: apt-get install python3-pip (and python3-venv)'; exit 1
	@touch $@

demo: setup  ## the portal and its pretend cloud on this machine (PORT, SANDBOX_PORT, PROFILE=demo|large|empty)
	@$(PY) -m scripts.demo

clean-demo:  ## forgets the demo's database, keys and log
	rm -rf var

test: setup  ## the whole suite, on SQLite and PostgreSQL (REQUIRE_ALL=1: nothing may be skipped)
	@$(PY) -m scripts.run_tests

check: setup  ## lint, types, import rules, templates, migrations, deployment, dead code, what must not be committed
	@$(PY) -m scripts.run_checks

screenshots: setup  ## the pictures of docs/screenshots (needs Debian's Chromium)
	@$(PY) -m scripts.screenshots

fix: setup  ## lets ruff and djade mend what they can
	@$(PY) -m ruff check --fix --quiet . || true
	@$(PY) -m ruff format --quiet .
	@test -z "$(TEMPLATES)" || .venv/bin/djade --target-version 5.2 $(TEMPLATES) || true

bench: setup  ## figures for docs/performance.md (BENCH_SHORT=1: only whether it works)
	@$(PY) -m benchmarks.run

torture: setup  ## the long tests: kills, races, random input
	@$(PY) -m pytest -m torture -p no:xdist

lock: $(UV)  ## newer versions of everything, with hashes
	@$(UV) pip compile $(LOCK) pyproject.toml -o requirements.lock
	@$(UV) pip compile $(LOCK) pyproject.toml --group dev --group bench -o requirements-dev.lock
	@echo uv | $(UV) pip compile $(LOCK) - -o requirements-tools.lock
