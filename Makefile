# Commonpool: `make up` runs it, `make test` tests it. Needs Python >= 3.11, pip and make.
# What else a target needs (Chromium for the browser tests, gcc for the node agent's, Prometheus) it installs itself
# when it is run as root on Debian, and otherwise says what to install.

PYTHON ?= python3
VENV   := .venv
OLD    := .venv-ray-2.10
BIN    := $(VENV)/bin
DATA   ?= .commonpool
PYTEST := $(BIN)/python -m pytest
SLOW   := ray or browser or faults or prometheus
# For `make fuzz`. Set here, so that the seconds which a shell counts in its own SECONDS, and may
# export, are not taken for it; what is given to make on the command line goes before this.
SECONDS := 600

.DEFAULT_GOAL := help
.PHONY: help setup compiled interpreted up down demo prometheus-demo test test-slow test-axe test-long fuzz test-ray test-browser test-prometheus test-compiled test-machines test-gpu check bench bench-portal tour old-client compiler chromium nginx prometheus provider zsh lock clean

help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with the pinned dependencies

$(VENV)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if v >= (3, 11) else f"Commonpool needs Python 3.11 or newer, and $(PYTHON) is {v[0]}.{v[1]}: try make PYTHON=python3.12")'
	@echo "setting up $(VENV): about 145 packages, one to three minutes the first time"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: on Debian or Ubuntu, apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

up: setup ## start everything on this machine: hub, sites, simulated nodes, portal
	@$(BIN)/commonpool up --data $(DATA)

down: ## stop everything that `make up` started
	@test ! -x $(BIN)/commonpool || $(BIN)/commonpool down --data $(DATA)

demo: setup ## a dozen real Ray programs from three sectors, narrated (after `make up`)
	@$(BIN)/commonpool demo --data $(DATA)

prometheus-demo: setup prometheus ## a real Prometheus that watches it all (after `make up`)
	@$(BIN)/commonpool prometheus --data $(DATA)

test: setup old-client compiler zsh ## everything that needs no Ray cluster and no browser
	$(PYTEST) -m "not ($(SLOW) or slow or fuzz or machines or gpu)"

test-slow: setup old-client compiler chromium nginx prometheus provider ## real Ray clusters, faults, a real browser, a real Prometheus
	$(PYTEST) -m "($(SLOW)) and not axe" --durations=15

test-axe: setup chromium ## axe-core on every page in both themes, minutes
	$(PYTEST) -m axe

test-long: setup ## whole traces replayed and checked, minutes each (needs the traces)
	$(PYTEST) -m slow

fuzz: setup ## random worlds for SECONDS (600); SEED=... repeats one go
	FUZZ_SEED=$(SEED) FUZZ_SECONDS=$(SECONDS) $(PYTEST) -m fuzz -s tests/core/test_fuzz.py

test-ray: setup compiler ## only the tests that start real Ray clusters
	$(PYTEST) -m ray

test-browser: setup chromium nginx provider ## only the tests in a real browser
	$(PYTEST) -m browser

test-machines: setup compiler ## several machines in namespaces with real Ray over them, and a systemd (as root)
	$(PYTEST) -m machines

test-gpu: setup ## only the tests on a real NVIDIA GPU, minutes; it should be idle
	$(PYTEST) -m gpu -s

test-prometheus: setup compiler prometheus ## only the tests with Debian's Prometheus and Alertmanager
	$(PYTEST) -m prometheus

test-compiled: compiled ## the planner's tests with the compiled planner, and that its plans are the same, minutes
	$(PYTEST) -m slow tests/replay/test_compiled.py
	$(BIN)/python -m scheduler.compiled -m pytest -m "not ($(SLOW) or slow or fuzz)" tests/core tests/replay tests/sim tests/loops

check: setup ## format, lint, types, import contracts, every test importable, migrations in step with the tables
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(PYTEST) --collect-only -qq >/dev/null || $(PYTEST) --collect-only -q
	$(BIN)/python -m scheduler.db.migrate check

compiled: setup compiler ## compile the planner for this environment and these sources: the same plans sooner, a few minutes
	@$(BIN)/python infra/planner/build.py

interpreted: ## take every compiled planner away again
	rm -rf $(VENV)/lib/commonpool-planner

bench: setup compiler chromium ## measure; prints each figure with its setting
	@for script in tests/bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

bench-portal: setup chromium ## measure the portal alone: first page, reruns of many people, a long list
	$(BIN)/python tests/bench/bench_portal.py

tour: setup chromium ## take docs/tour's pictures anew, from an instance of its own with real Ray jobs
	$(BIN)/python -m tests.portal.tour

old-client: $(OLD)/.installed

# The client of a user who never upgrades, in an environment of its own.
$(OLD)/.installed: tests/old_client/requirements.lock
	@echo "setting up $(OLD): the old Ray client that the tests also submit with"
	@test -x $(OLD)/bin/python || $(PYTHON) -m venv $(OLD)
	@$(OLD)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r tests/old_client/requirements.lock
	@touch $@

# The stand-in for NVIDIA's driver library is C, compiled by the tests that use it.
compiler:
	@command -v gcc >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's gcc for the stand-in of NVIDIA's library"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq gcc libc6-dev >/dev/null; \
	  else echo "the tests of the node agent need a C compiler: apt-get install gcc libc6-dev"; exit 1; fi; }

chromium:
	@command -v chromium >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's chromium for the browser tests"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	  else echo "the browser tests need Chromium: apt-get install chromium"; exit 1; fi; }

# An OpenID provider that keeps people signed in, for the tests of stepping up; they are skipped without it.
provider:
	@test -d node_modules/oidc-provider || { \
	  if command -v npm >/dev/null; then \
	    echo "installing npm's oidc-provider for the tests of stepping up"; \
	    npm install --silent --no-save --no-package-lock --no-audit --no-fund --fetch-retries=1 --fetch-timeout=60000 oidc-provider@9 \
	      || echo "not installed: stepping up is tested by nanoidp alone"; \
	  else echo "without npm's oidc-provider stepping up is tested by nanoidp alone: apt-get install npm"; fi; }

zsh:
	@command -v zsh >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's zsh for the tests of completion"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends zsh >/dev/null \
	      || echo "not installed: zsh's completion is not tested"; \
	  else echo "without zsh its completion is not tested: apt-get install zsh"; fi; }

# Not started as a service: the tests of the shipped examples start one of their own.
nginx:
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's nginx for the tests of its example configurations"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light >/dev/null; \
	  else echo "without nginx its examples are not tested: apt-get install nginx-light"; fi; }

# Installed without their recommendations: their services are of no use here, and stay as Debian's policy has them.
prometheus:
	@command -v prometheus >/dev/null && command -v prometheus-alertmanager >/dev/null || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing Debian's prometheus and prometheus-alertmanager for the tests of rules and dashboards"; \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus prometheus-alertmanager >/dev/null; \
	  else echo "these tests need Prometheus: apt-get install prometheus prometheus-alertmanager"; exit 1; fi; }

lock: ## for maintainers: pin anew, with hashes and without URLs (needs uv)
	uv pip compile pyproject.toml --all-extras --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade -o requirements.lock
	uv pip compile tests/old_client/requirements.in --generate-hashes --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --no-annotate --no-header --upgrade -o tests/old_client/requirements.lock

clean: down ## remove the environments and caches; the data folder stays
	rm -rf $(VENV) $(OLD) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
