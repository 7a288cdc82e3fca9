# make run: set up .venv and train the default recipe.  make test: set up .venv and run the tests (make test-long: the rest).
# make fuzz: strangers' files, first starts and kills by the thousand.  make gpu: the tests and the benchmark that need a card.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test test-long check bench fuzz gpu clean
run: $(VENV)/ready
	$(BIN)/lightning run recipes/tspo.yaml

test: $(VENV)/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-long: $(VENV)/ready
	$(BIN)/python -m pytest -m long

check: $(VENV)/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -m "not slow and not long"

bench: $(VENV)/ready
	$(BIN)/python tests/benchmarks/step.py
	$(BIN)/python tests/benchmarks/sampler.py
	$(BIN)/python tests/benchmarks/joint_step.py
	$(BIN)/python tests/benchmarks/refocus.py
	$(BIN)/python tests/benchmarks/decoding.py
	$(BIN)/python tests/benchmarks/checkpoint.py auto

# strangers' files, first starts of MLflow and kills, by the thousand (two hours); SEED=1 tries others
SEED ?= 0
fuzz: $(VENV)/ready
	$(BIN)/python tests/fuzz/media.py --seed $(SEED) --count 3000
	$(BIN)/python tests/fuzz/annotations.py --seed $(SEED) --count 10000
	$(BIN)/python tests/fuzz/recipes.py --seed $(SEED) --count 3000
	$(BIN)/python tests/fuzz/first_starts.py --seed $(SEED)
	$(BIN)/python tests/fuzz/kills.py --seed $(SEED) --kills 100

# where there is a CUDA device: contracts of every part, steps of 7B and 3B shapes, and docs/baselines/CARD.json
gpu: $(VENV)/ready
	KAIROS_TEST_DEVICE=cuda $(BIN)/python -m pytest tests/gpu $(wildcard tests/accelerator/device)
	$(BIN)/python tests/benchmarks/gpu_step.py

# the versions that were tested (CONSTRAINTS= for the newest); where they cannot be had, those that pyproject.toml allows
CONSTRAINTS ?= constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet
PINS = $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade "pip>=24"
	$(INSTALL) -e ".[dev]" $(PINS) || { \
	  echo "The tested versions of constraints.txt cannot be installed here; trying what pyproject.toml allows."; \
	  $(INSTALL) -e ".[dev]"; }
	$(INSTALL) "setuptools>=77" wheel ninja
	$(INSTALL) --no-build-isolation -e ".[sharding]"
	touch $@

clean:
	rm -rf $(VENV) build
