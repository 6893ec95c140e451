# Every target is a line of CI or of the README. `make` prints this help; only Python 3.11+ and GNU make are needed.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PDF ?=
CORPUS ?= ../shared/corpus
ARGS ?=

# One environment, filled in two steps whose pins agree: `make demo` and `make up` never download test tools.
RUNTIME := $(VENV)/.runtime
DEV := $(VENV)/.dev
# The peers have an environment of their own: some of their pins cannot live beside ours.
BENCH := $(VENV)/bench/.installed
BULLMQ := bullmq@6.7.0 ioredis@6.0.0

PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
# On a terminal a running counter, elsewhere one line.
COUNT = awk -v live="$$(test -t 2 && echo 1)" '/^Collecting/ {if (live) printf "\r  %d packages", ++n; else n++} \
	/^Installing/ {if (live) printf ", unpacking ..."} {fflush()} \
	END {printf "%s  %d packages downloaded\n", live ? "\r\033[K" : "", n}'
# Everything pip said is in $(VENV)/install.log; its end is shown on failure.
define install
	$(PIP) install $(1) 2>&1 | tee $(VENV)/install.log | $(COUNT) \
		|| { grep -v '^WARNING: Location' $(VENV)/install.log | tail -n 20 >&2; exit 1; }
endef

##@ Use

demo: $(RUNTIME) ## Ingest a sample PDF (or PDF=path), search it, stop, leave nothing behind
	@$(BIN)/headrace demo $(if $(PDF),"$(PDF)")

up: $(RUNTIME) ## Start PostgreSQL, Valkey, workers, scheduler and HTTP API; Ctrl-C stops all of them
	@$(BIN)/headrace up

corpus: $(RUNTIME) ## Ingest every file of CORPUS=folder and print the table
	@$(BIN)/python -m benchmarks.corpus "$(CORPUS)"

##@ Develop

install: $(DEV) ## Create .venv with everything pinned and hash-checked

# Two at a time, each with servers of its own, whole files in their order: those that wait most come first. Servers that
# the environment names are one pair for all.
IN_PARALLEL = $(if $(DATABASE_URL)$(HEADRACE_TEST_REDIS_URL),,-n 2 --dist loadfile --no-loadscope-reorder)

test: $(DEV) ## Run all tests on embedded servers (ARGS="-k name" for some)
	@CORPUS_DIR="$(wildcard $(CORPUS))" $(BIN)/python -m pytest $(IN_PARALLEL) $(ARGS)

chaos: $(DEV) ## Hurt real processes and servers in every way, prove that nothing is lost (some 20 minutes)
	@$(BIN)/python -m tests.chaos $(ARGS)

chaos-quick: $(DEV) ## One fault of each kind, few documents (two minutes; the tests run this too)
	@$(BIN)/python -m tests.chaos --quick $(ARGS)

check: $(DEV) ## Format, lint, types, import directions
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(DEV) ## Let ruff format and fix what it can
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

docs: $(DEV) ## Regenerate docs/configuration.md and .env.example from the settings
	@$(BIN)/python -m adapters.configuration

bench: $(BENCH) ## Measure everything against its peers (about two hours; ARGS="--only idle" for some)
	@CORPUS_DIR="$(wildcard $(CORPUS))" $(VENV)/bench/bin/python -m benchmarks $(ARGS)
	@$(VENV)/bench/bin/python -m benchmarks.report

bench-quick: $(BENCH) ## The same at small sizes: shows that it runs, not how fast anything is
	@CORPUS_DIR="$(wildcard $(CORPUS))" $(VENV)/bench/bin/python -m benchmarks --quick $(ARGS)

bench-media: $(BENCH) ## Thumbnails against plain loops of Pillow and of libvips (three minutes; ARGS=--quick)
	@CORPUS_DIR="$(wildcard $(CORPUS))" $(VENV)/bench/bin/python -m benchmarks.pictures $(ARGS)

clean: ## Remove the environment, caches and build output (data in .headrace stays)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Release and deploy

# For every platform and Python at once, with the hash of every wheel, without any address of where they came from.
COMPILE = uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url $(if $(UPGRADE),--upgrade)

requirements: ## Recompile requirements/*.txt (UPGRADE=1 moves the pins to the newest versions allowed)
	@command -v uv >/dev/null || { echo "make requirements needs uv: pip install uv" >&2; exit 1; }
	$(COMPILE) requirements/build.in -o requirements/build.txt
	$(COMPILE) pyproject.toml --all-extras -c requirements/build.txt -o requirements/dev.txt
	$(COMPILE) pyproject.toml --extra embedded --extra local --extra cli --extra api --extra export -c requirements/dev.txt -o requirements/embedded.txt
	$(COMPILE) pyproject.toml --extra cli --extra local --extra api --extra export -c requirements/dev.txt -o requirements/worker-local.txt
	$(COMPILE) pyproject.toml --extra cli --extra api --extra export -c requirements/dev.txt -o requirements/worker.txt
	$(COMPILE) requirements/bench.in pyproject.toml --extra embedded --extra local --extra cli \
		--override <($(BENCH_PINS)) -o requirements/bench.txt

# Our own pins, whatever the peers ask for (arq: redis<6, langchain-postgres: pgvector<0.4), except that Celery will have
# no other dateutil than its own. Nothing that is measured uses it.
BENCH_PINS = sed -nE 's/^([A-Za-z0-9_.-]+==[^\\]*)\\?$$/\1/p' requirements/embedded.txt | grep -v '^python-dateutil=='; \
	echo python-dateutil==2.9.0.post0

secrets: ## Write random passwords to deploy/secrets for docker compose (keeps those that exist)
	@$(PYTHON) deploy/make_secrets.py

help: ## Print this help
	@awk 'BEGIN {FS = ":.*## "; print "make TARGET [PDF=path] [CORPUS=folder] [ARGS=...] [PYTHON=python3.13]"} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Headrace needs Python 3.11 or newer; say which: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "python3 -m venv failed (Debian: apt install python3-venv)" >&2; exit 1; }

$(RUNTIME): requirements/build.txt requirements/embedded.txt pyproject.toml | $(BIN)/python
	@echo "Installing Headrace into $(VENV) (pinned, hash-checked) ..."
	@$(call install,--require-hashes -r requirements/build.txt -r requirements/embedded.txt)
	@$(PIP) install --quiet --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUNTIME) requirements/dev.txt
	@echo "Installing the test and lint tools into $(VENV) ..."
	@$(call install,--require-hashes -r requirements/dev.txt)
	@touch $@

# Installed without resolving, since BENCH_PINS overrule the peers. BullMQ is left out where npm is missing.
$(BENCH): requirements/build.txt requirements/bench.txt pyproject.toml | $(BIN)/python
	@echo "Installing Headrace and its peers into $(VENV)/bench (pinned, hash-checked) ..."
	@test -x $(VENV)/bench/bin/python || $(PYTHON) -m venv $(VENV)/bench
	@$(VENV)/bench/bin/python -m pip --disable-pip-version-check --no-input install --quiet --quiet --no-deps \
		--require-hashes -r requirements/build.txt -r requirements/bench.txt
	@$(VENV)/bench/bin/python -m pip --disable-pip-version-check --no-input install --quiet --quiet --no-deps \
		--no-build-isolation --editable .
	@if command -v npm >/dev/null; then npm install --silent --no-audit --no-fund --no-package-lock \
		--prefix $(VENV)/bench/node $(BULLMQ) || echo "BullMQ could not be installed and will be skipped"; \
		else echo "There is no npm: BullMQ will be skipped"; fi
	@touch $@

.PHONY: demo up corpus install test chaos chaos-quick bench bench-quick bench-media check format docs clean requirements secrets help
