# Every action of a developer; CI runs `make test`.
PYTHON ?= python3
VENV ?= .venv
# CI runs the long tests too.
PYTEST_ARGS ?= $(if $(CI),,-m "not long")
DATA ?= data/coco
FLOORS ?= work_dirs/floors
FLOORS_CONFIG := configs/solov2/solov2-light_r18_fpn_ms-3x_coco.py

BIN := $(VENV)/bin
STAMP := $(VENV)/.solo-installed
DOCS_STAMP := $(VENV)/.solo-docs-installed
SETUP_FILES := requirements.txt setup.py pyproject.toml tools/opencv-headless/pyproject.toml

.DEFAULT_GOAL := help
.PHONY: help install test demo docs lint format floors clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  PYTHON=$(PYTHON) (3.10 or newer) and VENV=$(VENV) can be given."

install: $(STAMP)  ## create $(VENV) and install solo with everything it needs; quick when it is there already

$(STAMP): $(SETUP_FILES)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 10) and \
		"error: $(PYTHON) is Python %d.%d; 3.10 or newer is needed: make PYTHON=/path/to/python3.11" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -e '.[dev]'
	@touch $@

test: lint  ## lint, types and tests; the long ones too with CI=true
	$(BIN)/python -m pytest $(PYTEST_ARGS)

demo: install  ## train on generated shapes, evaluate, visualise: minutes on two cores
	$(BIN)/python tools/demo.py

docs: $(DOCS_STAMP)  ## build the documentation site into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: -e '.[docs]'
	@touch $@

lint: install  ## style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

floors: install  ## compare the speed with mmdetection: DATA=DIR with images in COCO's layout (docs/benchmarks.md)
	$(BIN)/python tools/benchmark.py train $(FLOORS_CONFIG) --against mmdet --data $(DATA) --iters 5 \
		--rows host_syncs mask_bytes targets sample_pipeline mask_loss peak_memory_train --json $(FLOORS)/floors_train.json
	$(BIN)/python tools/benchmark.py infer $(FLOORS_CONFIG) --against mmdet --data $(DATA) --iters 5 \
		--rows head_to_rle peak_memory_predict --json $(FLOORS)/floors_infer.json
	$(BIN)/python tools/benchmark.py evaluate $(FLOORS_CONFIG) --against mmdet --data $(DATA) --images 24 \
		--deploy auto --rows val_loop --json $(FLOORS)/floors_evaluate.json

clean:  ## remove caches and build leftovers; the environment, data and results stay
	rm -rf build dist site *.egg-info tools/opencv-headless/build tools/opencv-headless/*.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find solo benchmarks tools configs tests -name __pycache__ -type d -prune -exec rm -rf {} +
