# `make` prints the targets. Every target that runs Python, test-gpu apart, first brings VENV into the state of
# requirements.lock.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
WORKERS ?= 2
DISK_GB ?= 10

PY := $(VENV)/bin/python
# A copy of the lock, written last: an environment without it, or with another one, is not complete.
STAMP := $(VENV)/requirements.lock
# One thread a worker: parallel workers that each take every core are slower than one.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow test-slurm test-lowest test-wheel test-gpu lint lint-style lint-types lint-imports lint-docker format docs bench gpu-proof venv lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

quickstart: venv ## train on the digits, sample and score: minutes on a CPU
	$(PY) train.py experiment=digits
	$(PY) sample.py experiment=digits ckpt_path=last num_samples=1000 batch_size=250 score=true

test: venv ## run the test suite
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not gpu and not slurm"

test-slow: venv ## run the tests that take longer
	$(PYTEST) -m "slow and not gpu and not slurm"

# Debian's packages; elsewhere install SLURM and munge yourself. The tests start the daemons and stop them.
test-slurm: venv ## run the tests on a SLURM cluster of one node, which they start and stop (needs root)
	@$(PY) -m tests.slurm.cluster || { \
		[ "$$(id -u)" = 0 ] || { echo "make: install slurm-wlm and munge, or run this as root" >&2; exit 1; }; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q slurm-wlm munge; }
	$(PYTEST) -m slurm tests/slurm

# uv knows how to resolve the lowest versions; pip does not.
test-lowest: ## run the test suite with the lowest versions that pyproject.toml allows
	rm -rf build/lowest && $(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install uv
	build/lowest/bin/uv pip install --python build/lowest/bin/python --resolution lowest-direct -r pyproject.toml --extra dev
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not gpu and not slurm"

test-wheel: venv ## build the wheel and use it from an empty folder
	$(PYTEST) -m slow tests/package

# Without `venv`: machines with a card often have PyTorch already and no network. PYTHON=... names another interpreter.
test-gpu: ## run the tests for a CUDA device in the active environment
	$(if $(filter file,$(origin PYTHON)),python3,$(PYTHON)) -m pytest tests/gpu

lint: lint-style lint-types lint-imports lint-docker ## what CI and pre-commit check

lint-style: venv
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lint-types: venv
	$(PY) -m mypy

lint-imports: venv
	$(VENV)/bin/lint-imports --no-logo

lint-docker: venv
	$(VENV)/bin/hadolint Dockerfile

format: venv ## rewrite the sources in the house style
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: venv ## build the site into build/site; warnings, such as broken links, are errors
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: venv ## measure speed against other implementations
	$(PY) -m bench

gpu-proof: venv ## on a GPU: tests, speed, and CIFAR-10 in nine minutes (DATA: folder with CIFAR-10)
	$(PY) -m bench.gpu_proof --data $(or $(DATA),data)

# The message is for people, so no traceback and no half-made environment: each check is one line, and the stamp is last.
venv: ## create or renew the environment from requirements.lock
	@if cmp -s requirements.lock $(STAMP) && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	fail() { echo "make: $$1" >&2; exit 1; }; \
	[ -n "$(PYTHON)" ] || fail "no Python 3.11 or newer found: install one, or name it with PYTHON=/path/to/python"; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| fail "$(PYTHON) is missing or older than 3.11: name a newer one with PYTHON=/path/to/python"; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| fail "$(PYTHON) cannot make environments: install its venv package (on Debian: python3-venv)"; \
	[ ! -e "$(VENV)" ] || [ -f "$(VENV)/pyvenv.cfg" ] \
		|| fail "$(VENV) exists and is no virtual environment: move it, or choose another with VENV=/path"; \
	rm -rf "$(VENV)" && mkdir -p "$(VENV)" || fail "cannot write $(VENV): choose another place with VENV=/path"; \
	free=$$(df -Pk "$(VENV)" | awk 'NR == 2 {print int($$4 / 1048576)}'); \
	[ "$$free" -ge $(DISK_GB) ] \
		|| { rmdir "$(VENV)"; fail "$$free GB free for $(VENV), $(DISK_GB) GB needed: make room, or choose a disk with VENV=/path"; }; \
	echo "Installing requirements.lock into $(VENV): about 6.5 GB, a few minutes"; \
	{ $(PYTHON) -m venv "$(VENV)" && $(PY) -m pip install --disable-pip-version-check -r requirements.lock \
		&& $(PY) -m pip --disable-pip-version-check check; } \
		|| fail "the installation failed, see above: run make again once the cause is gone"; \
	cp requirements.lock "$(STAMP).part" && mv "$(STAMP).part" "$(STAMP)"

lock: ## resolve the dependencies of pyproject.toml anew
	rm -rf build && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install ".[dev,bench,sweep,datasets,docs,hub]"
	{ head -n 1 requirements.lock; build/lock/bin/python -m pip freeze --all --exclude pip --exclude score-sde \
		| sed -E 's/^((nvidia|cuda)-.*|triton=.*)$$/\1 ; platform_system == "Linux"/'; } > build/requirements.lock
	build/lock/bin/python -m pip check
	mv build/requirements.lock requirements.lock
	rm -rf build

clean: ## remove caches (the environment, data and logs stay)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
