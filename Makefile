# Two commands do everything: `make demo` and `make test`. Both build .venv when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
PREFIX ?= /opt/vectord
DESTDIR ?=

.DEFAULT_GOAL := help
.PHONY: help demo test faults soak bench check format install uninstall clean

help: ## Say what can be made
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

demo: .venv/run ## Run the main job on the embedded PostgreSQL (ARGS="--images DIR --weights FILE --json")
	@$(BIN)/python -m daemon demo $(ARGS)

# All of them by four workers, since much of it waits; the files in their order, the longest first.
test: .venv/dev ## Run the tests, all of them in 15 min (ARGS="tests/unit -k batch")
	$(BIN)/python -m pytest $(or $(ARGS),-n 4 --dist loadfile --no-loadscope-reorder)

faults: .venv/dev ## Break the daemon in every way, and write docs/reliability.md (50 min; ARGS="-k killed")
	$(BIN)/python -m pytest tests/faults tests/integration/test_backfill.py -m "" -p tests.faults.report --report=docs/reliability.md $(ARGS)

soak: .venv/dev ## Load and faults for five minutes: does what the daemon holds stay flat? (ARGS="--minutes 480")
	$(BIN)/python -m tests.faults.soak $(ARGS)

bench: .venv-bench/built ## Measure it beside what else one would use, and write benchmarks/RESULTS.md (150 min; ARGS="--quick" 12, ARGS="pipeline" 25)
	.venv-bench/bin/python -m benchmarks $(ARGS)

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
	rm -rf .venv .venv-bench .bench .mypy_cache .pytest_cache .ruff_cache .hypothesis

# A virtual environment whose making failed in the middle (Debian without python3-venv), or whose Python will not do or is gone,
# is made anew. `ensurepip` and the version are looked at first, so that the remedy is the last thing on the screen.
UNFIT = import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=/path/to/python3.13")
NO_VENV = "it cannot make virtual environments: apt install python3-venv, or make PYTHON=/path/to/another"
define venv
	@$(1)/bin/python -c '$(UNFIT)' >/dev/null 2>&1 && $(1)/bin/python -m pip --version >/dev/null 2>&1 || { \
		$(PYTHON) -c '$(UNFIT)' && \
		{ $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON): "$(NO_VENV) >&2; false; }; } && \
		rm -rf $(1)/bin $(1)/lib $(1)/pyvenv.cfg && $(PYTHON) -m venv $(1); }
endef

# Stamps say what was installed. Where the Python beside them is gone, with the system's old one say, nothing is.
$(foreach venv,.venv .venv/moto .venv-bench,$(shell test -x $(venv)/bin/python || rm -f $(addprefix $(venv)/,run dev built)))

.venv/run: requirements.txt
	$(call venv,.venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/dev: requirements.txt requirements-dev.txt .venv/moto/built
	$(call venv,.venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch .venv/run $@

# Of its own, since what vectord is compared with is large: 5 GB, less where pip finds PyTorch's build for CPUs.
.venv-bench/built: requirements.txt requirements-dev.txt requirements-bench.txt
	$(call venv,.venv-bench)
	.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

.venv/moto/built: tests/requirements-moto.txt
	$(call venv,.venv/moto)
	.venv/moto/bin/python -m pip install --quiet --disable-pip-version-check -r tests/requirements-moto.txt
	@touch $@
