PYTHON ?= $(shell command -v python3.11 || command -v python3)
UV_VERSION := 0.13.9
BIN := .venv/bin
UNMARKED := not slow and not gpu and not chaos and not browser and not system

COMPILE := .uv/bin/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-annotate --custom-compile-command "make lock" --quiet

.PHONY: train test test-quick test-all lint format lock bench chaos wheel setup clean

## train: set everything up and train the ensemble of pipelines/digits.yaml
train: setup
	$(BIN)/quorate train pipelines/digits.yaml

## test: the suite that continuous integration runs
test: setup
	$(BIN)/pytest -n 2 --dist loadfile -m "$(UNMARKED)"
	$(BIN)/pytest --durations=20 -m "(chaos or browser or system) and not slow and not gpu"

## test-quick: the tests without a mark, under four minutes on two cores
test-quick: setup
	$(BIN)/pytest -n 2 --dist loadfile -m "$(UNMARKED)"

test-all: setup
	$(BIN)/pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

## bench: measured comparisons, side by side in one run
bench: setup
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks

SCHEDULES ?= 10
SEED ?= 1

## chaos: disturb jobs on real Ray hosts with seeded faults; SCHEDULES=50 SEED=1, CHAOS="--markdown FILE"; needs root
chaos: setup
	PYTHONPATH=platform:. $(BIN)/python -m tests.chaos --schedules $(SCHEDULES) --seed $(SEED) $(CHAOS)

# XGBoost asks for NCCL of CUDA 12, whose file would replace that of torch; it is used only on several GPUs at once.
## lock: resolve pyproject.toml again, for development and for the image; no index URL is written
lock: .uv/bin/uv
	$(COMPILE) --extra dev $(LOCKFLAGS) -o requirements.lock
	$(COMPILE) --extra onnx --extra boosting --extra server --constraints requirements.lock \
	  --no-emit-package nvidia-nccl-cu12 $(LOCKFLAGS) -o requirements-runtime.lock

## wheel: the package as dist/quorate-VERSION-py3-none-any.whl, to be installed elsewhere
wheel: .uv/bin/uv
	.uv/bin/uv build --quiet --wheel -o dist

setup: .venv/.ready

.uv/bin/uv:
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet "uv==$(UV_VERSION)"

# `sync` removes what the lock does not name, so the package itself is installed after it. Without compiled bytecode,
# every process of the tests would compile torch anew where PYTHONDONTWRITEBYTECODE is set.
.venv/.ready: requirements.lock pyproject.toml | .uv/bin/uv
	test -x $(BIN)/python || $(PYTHON) -m venv --without-pip .venv
	.uv/bin/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	.uv/bin/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv .uv dist .pytest_cache .mypy_cache .ruff_cache
