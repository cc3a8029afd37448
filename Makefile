# `make demo`: video files -> pre-training -> fine-tuning -> retrieval, in one go.
# `make search`: a page to search the demo's videos in.
# `make test`: tests, lint and types.
# `make docs`: the documentation site, in site/. A broken link or reference is an error.
# Each makes its own virtual environment in .venv.

PYTHON ?= python3
DEMO ?= demo-run

BIN := .venv/bin
# Python compiles what is imported, pip would compile all.
INSTALL := $(BIN)/pip install --disable-pip-version-check --no-compile
DATA := $(DEMO)/data
RECIPE := --config.data.dir=$(DATA)
SHARDS := $(DATA)/demo/default/2.0.0/dataset_info.json
COMPARED := $(DEMO)/from-scratch/test/metrics.json $(DEMO)/pre-trained/test/metrics.json

export JAX_PLATFORMS ?= cpu
# Without bytecode, every process would compile TensorFlow's sources again, for seconds.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo search test lint types pytest docs clean
.DELETE_ON_ERROR:
.SECONDARY:

demo: $(COMPARED)
	@$(BIN)/vtmask compare $(patsubst %/test/metrics.json,%,$^) --out=$(DEMO)/compare.html
	@echo "Which second shows it? \`make search\` opens a page on these videos."

search: $(DEMO)/localization/export/model.json | .venv/search
	$(BIN)/vtmask index $(dir $(SHARDS))videos --model $(DEMO)/localization/export --out $(DEMO)/index
	$(BIN)/vtmask serve $(DEMO)/index

test: .venv/dev
	@$(MAKE) --no-print-directory --jobs=2 lint types pytest

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/dev
	$(BIN)/mypy .

pytest: .venv/dev
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder --durations=10

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(DEMO) site

.venv/runtime: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(INSTALL) -r requirements.txt -e .
	touch $@

.venv/search: .venv/runtime
	$(INSTALL) -q -e '.[search]'
	touch $@

.venv/dev: .venv/runtime
	$(INSTALL) -q -e '.[dev]'
	touch $@

.venv/docs: .venv/runtime
	$(BIN)/pip install --disable-pip-version-check -q -e '.[docs]'
	touch $@

$(SHARDS): | .venv/runtime
	$(BIN)/python -m data.build demo --config=default --data_dir=$(DATA)

$(DEMO)/pretrain/export/model.json: $(SHARDS)
	$(BIN)/python train.py --config=configs/demo.py $(RECIPE) --workdir=$(DEMO)/pretrain

$(DEMO)/from-scratch/export/model.json: $(SHARDS)
	$(BIN)/python train.py --config=configs/demo_retrieval.py $(RECIPE) --workdir=$(DEMO)/from-scratch

$(DEMO)/pre-trained/export/model.json: $(SHARDS) $(DEMO)/pretrain/export/model.json
	$(BIN)/python train.py --config=configs/demo_retrieval.py $(RECIPE) --workdir=$(DEMO)/pre-trained \
		--config.init_from=$(DEMO)/pretrain/export

$(DEMO)/localization/export/model.json: $(SHARDS) $(DEMO)/pretrain/export/model.json
	$(BIN)/python train.py --config=configs/demo_localization.py:all $(RECIPE) \
		--workdir=$(DEMO)/localization --config.init_from=$(DEMO)/pretrain/export

$(DEMO)/%/test/metrics.json: $(DEMO)/%/export/model.json
	$(BIN)/python evaluate.py --config=configs/demo_retrieval.py $(RECIPE) \
		--config.eval.split=test --model=$(DEMO)/$*/export --out=$(DEMO)/$*/test
