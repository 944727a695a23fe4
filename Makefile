# The words a developer and CI type. Each brings its own .venv: all it needs is make and a Python with venv.

BIN := .venv/bin
PYTHON ?= $(shell scripts/find-python.sh)
LIBRARY := .venv/.library
DEV := .venv/.dev
MUTATION := .venv/.mutation
PYTEST := $(BIN)/pytest -n 2 --dist worksteal
STATIC := ruff format-check mypy pyright imports spelling tidy
TOGETHER = $(MAKE) --no-print-directory --silent --keep-going --jobs 2 --output-sync

.DEFAULT_GOAL := help
.PHONY: help setup demo test quick check coverage mutate bench simulate truth crash fuzz services fmt docs unit $(STATIC)

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV) ## .venv with partita (editable) and the tools

demo: $(LIBRARY) ## the shop, end to end [FORM=choreography|orchestration|hybrid ARGS=...]
	@$(BIN)/partita demo $(if $(FORM),--form $(FORM)) $(ARGS)

test: $(DEV) ## every test but the slow ones [ARGS=...]
	@$(PYTEST) $(ARGS)

quick: $(DEV) ## static checks and unit tests, within a minute
	@$(TOGETHER) unit $(STATIC)

check: $(DEV) ## static checks: lint, format, types, floors, spelling, house rules
	@$(TOGETHER) $(STATIC)

coverage: $(DEV) ## branches that `make test` takes, its child processes included; fails below the floors [ARGS=...]
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n 2 --dist worksteal -o faulthandler_timeout=600 $(ARGS); ended=$$?; \
		$(BIN)/coverage combine --quiet && $(BIN)/coverage report && $(BIN)/python scripts/floors.py && exit $$ended

mutate: $(MUTATION) ## how many small lies in a room a test notices [ROOM=store|replay|dispatch|fold|verdicts ARGS=...]
	@$(BIN)/python scripts/mutate.py $(ROOM) $(ARGS)

bench: $(LIBRARY) ## measure; prints JSON [ARGS=...]
	@$(BIN)/python benchmarks/run.py $(ARGS)

simulate: $(LIBRARY) ## seeded runs of the whole system [SEEDS=count FIRST=seed | SEED=one ARGS=--shrink]
	@$(BIN)/python -m partita.testing.simulate \
		$(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(ARGS)

truth: $(LIBRARY) ## does the story tell the truth? trouble by kind, form and seed [SEEDS=count FIRST=seed ARGS=...]
	@$(BIN)/python -m partita.testing.truth $(if $(SEEDS),--seeds $(SEEDS)) $(if $(FIRST),--first $(FIRST)) $(ARGS)

crash: $(DEV) ## kill processes, fail disks, cut the power; full counts [ARGS=...]
	@$(BIN)/pytest tests/crash -v -m "slow or not slow" -o faulthandler_timeout=1800 $(ARGS)

fuzz: $(DEV) ## every door under bytes guided by coverage, 60 s each [ARGS="codec door --seconds 600"]
	@$(BIN)/python -c "import atheris" 2>/dev/null || $(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@$(BIN)/python -m tests.fuzz.run $(ARGS)

services: ## servers that the tests need
	@scripts/services.sh

fmt: $(DEV) ## format, and mend what can be mended
	@$(BIN)/ruff check --fix-only --quiet && $(BIN)/ruff format --quiet

docs: $(DEV) ## run every code block of the documents
	@$(BIN)/pytest tests/docs $(ARGS)

unit: $(DEV)
	@$(BIN)/pytest tests/unit -q

ruff: $(DEV)
	@$(BIN)/ruff check --quiet

format-check: $(DEV)
	@$(BIN)/ruff format --check --quiet

mypy: $(DEV)
	@$(BIN)/mypy --no-error-summary

pyright: $(DEV)
	@$(BIN)/pyright --pythonpath $(BIN)/python

imports: $(DEV)
	@$(BIN)/lint-imports --no-logo

spelling: $(DEV)
	@$(BIN)/codespell

tidy: $(DEV)
	@$(BIN)/pytest tests/test_tidy.py tests/test_front_door.py -q

# Stamps: what is installed is as new as pyproject.toml. The tools come after the library, never beside it.
$(BIN)/pip:
	@$(if $(PYTHON),,$(error partita needs Python 3.11 or newer with venv; on Debian: apt-get install python3-venv))
	@$(PYTHON) -m venv .venv

$(LIBRARY): pyproject.toml | $(BIN)/pip
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(DEV): $(LIBRARY)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

$(MUTATION): $(DEV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[mutation]'
	@touch $@
