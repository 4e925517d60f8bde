# The single door: `make help` lists what it opens.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DATA ?= demo-data
NAME ?=
WORKERS ?= $(shell echo $$(($$(nproc) + 1)))
OF ?= $(BIN)/python
.DEFAULT_GOAL := help
.PHONY: help demo test check bench soak sbom fmt clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

$(VENV)/demo.ok: setup.cfg constraints.txt
	@tools/venv "$(PYTHON)" $(VENV) demo
	@touch $@

$(VENV)/dev.ok: setup.cfg constraints.txt
	@tools/venv "$(PYTHON)" $(VENV) dev
	@touch $@ $(VENV)/demo.ok

demo: $(VENV)/demo.ok ## a whole simulated district on this machine; prints the address of the page
	@$(BIN)/yemai demo --data $(DATA)

test: $(VENV)/dev.ok ## every test that fits in minutes, against real servers where they are installed
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations 15

check: $(VENV)/dev.ok ## lint, types, import contracts, generated files up to date
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m device_profiles.schema --check
	@$(BIN)/python -m dashboards --check

bench: $(VENV)/dev.ok ## figures as JSON lines; NAME=… for one of them
	@$(BIN)/python -m bench $(NAME)

soak: $(VENV)/dev.ok ## outages, kills and counts for as long as it takes
	@SOAK=1 $(BIN)/python -m pytest -m soak --timeout 0 -s

sbom: $(VENV)/dev.ok ## what an installation is made of, as CycloneDX; OF=… is the python of another one
	@tools/sbom $(OF) $(VENV)/sbom yemai.cdx.json

fmt: $(VENV)/dev.ok ## bring the code into shape
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

clean: ## remove the virtual environment and the demo's data
	@rm -rf $(VENV) $(DATA)
