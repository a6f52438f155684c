# `make demo` and `make test` on a fresh machine need Python 3.11 or newer and a package index; nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# constraints.txt pins every package; without it pip may pick another torch and its CUDA packages.
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo install test lint types unit parity-llm2vec clean

demo: $(VENV)/.installed
	$(BIN)/genembench compare

install: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV): PyTorch and what stands on it, a few minutes the first time."
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

test: lint types unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# Two processes of one thread each: threads of two processes that share two cores wait for each other. Files in the order
# of tests/conftest.py, the long ones first.
unit: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# Hold our LLM2Vec against the authors' package, which needs an environment of its own and records on the spot.
LLM2VEC = tests/parity/llm2vec_oracle
LLM2VEC_VENV = .venv-llm2vec
LLM2VEC_SEEDS ?= 0 1

parity-llm2vec: install $(LLM2VEC_VENV)/.installed
	set -e; export OMP_NUM_THREADS=1; for seed in $(LLM2VEC_SEEDS); do \
		HF_HUB_OFFLINE=1 $(LLM2VEC_VENV)/bin/python $(LLM2VEC)/record.py build/parity-llm2vec/$$seed --seed $$seed; \
		GENEMBENCH_PARITY=build/parity-llm2vec/$$seed $(BIN)/python -m pytest tests/parity -k llm2vec -rs; \
	done

$(LLM2VEC_VENV)/.installed: $(LLM2VEC)/constraints.txt
	$(PYTHON) -m venv --clear $(LLM2VEC_VENV)
	@echo "Installing llm2vec 0.2.3 and the transformers it needs into $(LLM2VEC_VENV): a few minutes the first time."
	$(LLM2VEC_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c $(LLM2VEC)/constraints.txt llm2vec==0.2.3
	@touch $@

clean:
	rm -rf $(VENV) $(LLM2VEC_VENV) build/parity-llm2vec .mypy_cache .ruff_cache .pytest_cache *.egg-info
