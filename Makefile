# Two commands do everything: `make demo` and `make test`. Both build .venv when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PREFIX ?= /opt/vectord
DESTDIR ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format install uninstall clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: .venv/run ## Run the main job on the embedded PostgreSQL (ARGS="--images DIR --weights FILE --json")
	@$(BIN)/python -m daemon demo $(ARGS)

test: .venv/dev ## Run the tests (ARGS="tests/unit -k batch")
	$(BIN)/python -m pytest $(ARGS)

check: .venv/dev ## Lint, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: .venv/dev ## Lay the code out
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: ## Install it for systemd, as root (PREFIX=/opt/vectord DESTDIR= PYTHON=python3)
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" PYTHON="$(PYTHON)" systemd/install.sh

uninstall: ## Take that away again; data and configuration stay
	PREFIX="$(PREFIX)" DESTDIR="$(DESTDIR)" systemd/uninstall.sh

clean: ## Remove what was built
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis

.venv/run: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements.txt requirements-dev.txt .venv/moto/built
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch .venv/run $@

.venv/moto/built: tests/requirements-moto.txt
	@test -x .venv/moto/bin/python || $(PYTHON) -m venv .venv/moto
	.venv/moto/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements-moto.txt
	@touch $@
