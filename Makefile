# Every target sets up the environment itself when it is missing: Python 3.11 and make are enough.
PYTHON  ?= $(shell command -v python3.11 || command -v python3)
PROFILE ?= classroom
VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help reproduce dry-run plan status test test-fast test-long test-vllm lab check clean notebooks

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || \
		{ echo "Python 3.11 is needed, found: $$($(PYTHON) --version); say make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --editable '.[dev]'
	@touch $@

reproduce: $(READY)  ## run the whole study: make reproduce [PROFILE=classroom] [CORES=2] [CLUSTER=slurm]
	$(PY) -m lib reproduce --profile $(PROFILE) $(if $(CORES),--cores $(CORES)) $(if $(CLUSTER),--cluster $(CLUSTER))

dry-run: PROFILE = paper
dry-run: $(READY)  ## run a profile's whole chain in minutes, on stand-ins and the real vLLM: make dry-run [PROFILE=paper]
	PYTHON=$(PYTHON) tests/vllm/setup.sh
	.venv-vllm/bin/python -m lib reproduce --profile $(PROFILE) $(if $(CORES),--cores $(CORES)) --overrides '{"tiny": true}'

plan: $(READY)  ## say what a run will take before it starts: make plan PROFILE=paper [CALIBRATE=1]
	@$(PY) -m lib plan --profile $(PROFILE) $(if $(CORES),--cores $(CORES)) $(if $(CALIBRATE),--calibrate)

status: $(READY)  ## show what is done, what failed and why, and the time left
	@$(PY) -m lib status --profile $(PROFILE)

test: test-fast  ## run all tests, the fast ones first
	$(PY) -m pytest -q -n 2 -m slow

test-long: $(READY)  ## run the tests of whole grids, clusters and several processes too (minutes each)
	$(PY) -m pytest -q -m long

test-vllm: $(READY)  ## run the generator's tests with the real vLLM on the CPU, in an environment of its own
	PYTHON=$(PYTHON) tests/vllm/setup.sh
	.venv-vllm/bin/python -m pytest -q -m "not long" tests/vllm

test-fast: $(READY)  ## run the fast tests only
	$(PY) -m pytest -q -n 2 -m "not slow and not long"

lab: $(READY)  ## open the notebooks in JupyterLab
	$(PY) -m jupyterlab notebooks

notebooks: $(READY)  ## execute the committed notebooks again, in place (after make reproduce)
	$(PY) -m lib notebooks

check: $(READY)  ## say whether this machine can run the kit, and what to mend
	$(PY) -m ruff check lib tests
	$(PY) -m lib check --profile $(PROFILE)

clean:  ## delete runs and caches (not the environment, not the figures)
	rm -rf runs .snakemake .pytest_cache .ruff_cache .hypothesis
