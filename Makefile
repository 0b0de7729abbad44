# Set-up and everyday commands. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OVERRIDES ?=
# Where it is set, every interpreter that the tests start compiles torch anew, which takes longer than most tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# The whole way on synthetic clips; README, "Train, score and report", has the commands one by one.
NAME ?= tour
TRAINED := runs/train/synthetic/$(NAME)-best/video.safetensors,runs/train/synthetic/$(NAME)-random/video.safetensors

.PHONY: help setup demo demo-video tour test reliability lint format types wheel clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: $(READY) ## make the project's environment in .venv

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("error: Python %d.%d found, 3.11 or newer needed (make PYTHON=...)" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: no venv module; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(READY) ## set up, then search on synthetic street clips (minutes on two cores)
	$(BIN)/python -m vseg_nas.search $(OVERRIDES)

CLIP := runs/demo-video/street.mp4
demo-video: $(READY) ## label a synthetic drive with the trained network that comes along (under a minute)
	$(BIN)/python -c 'from pathlib import Path; from vseg_nas.video.synthetic_clip import write_clip; write_clip(Path("$(CLIP)"))'
	$(BIN)/python -m vseg_nas.predict source=$(CLIP) labels=true $(OVERRIDES)

tour: $(READY) ## search, train a found and a random cell, evaluate, benchmark, report (under ten minutes on two cores)
	$(BIN)/python -m vseg_nas.search name=$(NAME)
	$(BIN)/python -m vseg_nas.train cell=runs/search/synthetic/$(NAME):1 name=$(NAME)-best
	$(BIN)/python -m vseg_nas.train cell=random:4:1 name=$(NAME)-random
	$(BIN)/python -m vseg_nas.evaluate checkpoint=[$(TRAINED)] name=$(NAME)
	$(BIN)/python -m vseg_nas.benchmark checkpoint=[$(TRAINED)] size=[192,256] name=$(NAME)
	$(BIN)/python -m vseg_nas.report run=[runs/search/synthetic/$(NAME),runs/evaluate/synthetic/$(NAME),runs/benchmark/$(NAME)] name=$(NAME)

test: $(READY) ## set up, then run the tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=auto --maxprocesses=8 --dist=worksteal

reliability: $(READY) ## the full reliability tests with a table of what they show (20 minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu" --numprocesses=auto --maxprocesses=8 --dist=worksteal \
		tests/reliability tests/training/test_checkpoints.py tests/training/test_video_training.py tests/training/test_ranks.py

lint: $(READY) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY) ## check types
	$(BIN)/mypy

wheel: $(READY) ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean: ## remove the environment and build products, never runs/
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache
