# What a developer of router does, one word each. `make help` lists it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONCE ?=
# Each process starts brokers and databases of its own; a file's tests share theirs.
AT_ONCE := -n auto --maxprocesses 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo test test-kafka test-ledgers lint types bench chaos day fuzz docs lock clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

# Environments: the running one for the demo, the developer's for all else. Both are made from
# hashed lock files, so that nothing else than what was reviewed is installed.

$(VENV)/.run: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@ $(VENV)/.run

demo: $(VENV)/.run ## See it work; ONCE=1 publishes every sample once and ends
	$(BIN)/router demo $(if $(ONCE),--once)

test: $(VENV)/.dev ## Run the tests, on the embedded broker
	$(BIN)/python -m pytest $(AT_ONCE) $(ARGS)

test-kafka: $(VENV)/.dev ## Run the broker-facing tests on Apache Kafka (Java 17+ and Maven, or ROUTER_TEST_KAFKA)
	ROUTER_TEST_BROKERS=apache $(BIN)/python -m pytest $(AT_ONCE) -m "kafka or kill" $(ARGS)

test-ledgers: $(VENV)/.dev ## Run the worker's tests on PostgreSQL and Redis, where they are installed
	ROUTER_TEST_LEDGERS=postgres,redis $(BIN)/python -m pytest $(AT_ONCE) tests/contract/delivery $(ARGS)

lint: $(VENV)/.dev ## Check style and shape
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev ## Check types, strictly
	$(BIN)/pyright

bench: $(VENV)/.dev ## Measure decode, match, render, ledger and the whole path
	$(BIN)/python -m benchmarks

chaos: $(VENV)/.dev ## Kill, stall and cut off what it runs on, and do the books after each; ARGS=--list names the faults
	$(BIN)/python -m tests.chaos $(ARGS)

day: $(VENV)/.dev ## Live a day in a minute with every policy and many faults; SEED=, EVENTS=, LEDGER=
	$(BIN)/python -m tests.day --seed $(or $(SEED),1) --events $(or $(EVENTS),100000) --ledger $(or $(LEDGER),sqlite) $(ARGS)

fuzz: $(VENV)/.dev ## Feed the readers what nobody expects, for SECONDS=600; what fails is kept
	$(BIN)/python -m tests.fuzz $(or $(SECONDS),600) $(TARGETS)

docs: $(VENV)/.dev ## Write the reference pages and schemas from the models
	$(BIN)/python -m router.authoring.reference
	$(BIN)/router schema --write schema

LOCK = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate pyproject.toml

lock: ## Make the lock files anew: hashes, no addresses
	$(BIN)/python -m pip install --quiet uv
	$(LOCK) --group build --extra demo --extra mjml --extra push --extra signing --extra speed -o requirements.lock
	$(LOCK) --group build --extra mjml --extra postgres --extra push --extra redis --extra signing --extra speed -o requirements-image.lock
	$(LOCK) --group build --group dev --all-extras -o requirements-dev.lock

clean: ## Remove everything that the other targets made
	rm -rf $(VENV) .router build dist .pytest_cache .ruff_cache .hypothesis
