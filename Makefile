# Needs git, make and Python 3.11 or 3.12; everything else comes from the locks into .venv.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: torture bench-quick help setup run test check fmt-check lint types imports fmt lock stripe-sim clean always
SHELL := /bin/sh

BIN := .venv/bin
# The mark names the folder: a virtual environment that was moved, or whose Python is gone, is made anew.
MADE := .venv/.made-in-$(shell pwd -P | cksum | cut -d ' ' -f 1)
READY := .venv/.ready
BROKEN := $(shell test -x $(BIN)/python || echo always)
EVENTS := 300000
FIRST := 0
HISTORIES := 5000
ifneq ($(origin PYTHON),command line)
  PYTHON :=
endif

# The caller's other Pythons, environments and tool settings stay outside; how to reach the network comes in.
NETWORK := UV_CACHE_DIR UV_LINK_MODE UV_OFFLINE UV_NATIVE_TLS UV_SYSTEM_CERTS UV_HTTP_% UV_CONCURRENT_% \
  UV_DEFAULT_INDEX UV_INDEX UV_INDEX_% UV_EXTRA_INDEX_URL UV_INSECURE_HOST UV_KEYRING_PROVIDER \
  PIP_CACHE_DIR PIP_CERT PIP_CLIENT_CERT PIP_PROXY PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST \
  PIP_DEFAULT_TIMEOUT PIP_TIMEOUT PIP_RETRIES PIP_KEYRING_PROVIDER PIP_CONFIG_FILE
FOREIGN := UV_% PIP_% PYTHON% VIRTUAL_ENV% CONDA_% MYPY% RUFF_% PYTEST_% HYPOTHESIS_% MILLRACE_% STRIPE_% __PYVENV_LAUNCHER__
unexport $(filter-out $(NETWORK) MILLRACE_TEST_%,$(filter $(FOREIGN),$(.VARIABLES)))
export UV_PYTHON_DOWNLOADS := never
UV_SYSTEM_CERTS ?= true
export UV_SYSTEM_CERTS

help: ## list these targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo '  ARGS="..." is handed on: make test ARGS="-k money", make lock ARGS=--upgrade'

setup: $(READY) ## make .venv with the locked tools and the program in it (PYTHON=... names the interpreter)

$(MADE): $(BROKEN)
	@python=$$(sh .ci/find-python $(PYTHON)) && echo "setup: .venv from $$python ($$("$$python" -V))" && \
	  "$$python" -m venv --clear .venv && touch $@

$(READY): $(MADE) requirements-dev.txt pyproject.toml
	@uv=$$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements-dev.txt); \
	if [ "$$($(BIN)/uv --version 2>/dev/null | cut -d ' ' -f 2)" != "$$uv" ]; then \
	  echo "setup: uv $$uv"; \
	  awk '/^uv==/ { on = 1 } on { print } on && !/\\$$/ { exit }' requirements-dev.txt | \
	    $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --no-deps \
	    --only-binary :all: --require-hashes --requirement /dev/stdin; fi
	@echo "setup: the locked packages"
	@$(BIN)/uv pip sync --python $(BIN)/python --require-hashes --no-build requirements-dev.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --offline --no-deps --no-build-isolation --editable .
	@echo "setup: compiling the inner loops" && work=$$(mktemp -d) && \
	  { $(BIN)/millrace demo --out "$$work/demo" --events 1000 > "$$work/log" 2>&1 || { cat "$$work/log"; exit 1; }; } && rm -rf "$$work"
	@touch $@ && echo "setup: done, $(BIN)/millrace is there"

always:

run: setup ## the main job on made-up events and an embedded ledger, in build/demo (EVENTS=300000)
	@$(BIN)/millrace demo --out build/demo --events $(EVENTS) $(ARGS)

test: setup ## the tests
	@$(BIN)/python -m pytest $(ARGS)

check: setup fmt-check lint types imports test ## all that CI checks: format, lint, types, import rules, tests
	@echo "check: all is well"

fmt-check: setup
	@echo "check: format" && $(BIN)/ruff format --check .

lint: setup
	@echo "check: lint" && $(BIN)/ruff check .

types: setup
	@echo "check: types" && $(BIN)/mypy

imports: setup
	@echo "check: import rules" && $(BIN)/lint-imports

fmt: setup ## put the code into its form
	@$(BIN)/ruff check --fix --select I . && $(BIN)/ruff format .

COMPILE := uv pip compile --quiet --universal --all-extras --python-version 3.11 --generate-hashes \
  --fork-strategy fewest --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock"
lock: setup ## write requirements.txt and requirements-dev.txt anew (ARGS=--upgrade for newer versions)
	@$(BIN)/$(COMPILE) $(ARGS) --output-file requirements.txt pyproject.toml
	@$(BIN)/$(COMPILE) $(ARGS) --group dev --constraints requirements.txt --output-file requirements-dev.txt pyproject.toml

torture: setup ## seeded kills and faults against a real broker, held to the model (ARGS="--seeds 25 --kills 8")
	@$(BIN)/python -m tests.torture $(ARGS)

bench-quick: setup ## two minutes: Millrace beside ClickHouse's own load of the same file
	@$(BIN)/millrace bench --quick --guard 0.75 $(ARGS)

stripe-sim: setup ## thousands of seeded histories of pushes to Stripe (FIRST=0 HISTORIES=5000)
	@PYTHONPATH=.:tests $(BIN)/python -m stripe_double.simulation $(FIRST) $(HISTORIES)
	@PYTHONPATH=.:tests $(BIN)/python -m stripe_double.by_itself $(FIRST) $$(($(HISTORIES) / 10))

clean: ## remove all that these targets made
	@rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
