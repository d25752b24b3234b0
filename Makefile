# fieldengine: everything a person does here has a name. `make` lists them.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
READY   = $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo test check check-all bench gpu-check docs clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

setup: $(READY)  ## make .venv and install everything into it

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not here; install Python 3.11 or newer, or say make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fieldengine needs Python 3.11 or newer; this is `$(PYTHON) --version`"; exit 1; }
	@echo "making $(VENV) and installing fieldengine (torch alone is about 200 MB; some minutes on a slow line)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY)  ## train a small radiance field and make a video, images and a mesh of it (about two minutes)
	$(BIN)/python tools/demo.py

test: $(READY)  ## run every test but the slow proofs (about 10 minutes)
	@echo "running the tests; real data is looked for in FIELDENGINE_DATA, and tests that need it are skipped without it"
	$(BIN)/python -m pytest -m "not slow"

check: $(READY)  ## what CI does: format, lint, types, tests
	$(BIN)/python tools/check.py

check-all: $(READY)  ## check, and the slow proofs on real data
	$(BIN)/python tools/check.py --all

bench: $(READY)  ## run the benchmarks and fill docs/benchmarks.md
	$(BIN)/python tools/bench/run.py

gpu-check:  ## on a CUDA machine: check operations and scenes against the CPU, measure speed (8 minutes)
	$(if $(wildcard $(READY)),$(BIN)/python,$(PYTHON)) tools/gpu_check.py $(ARGS)

docs: $(READY)  ## write docs/reference.md from the plugins' docstrings
	$(BIN)/python tools/reference.py

clean:  ## remove .venv and caches; runs stay
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
