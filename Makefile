# `make` prints the targets. Every target that runs Python, except test-gpu and test-lowest, first updates VENV to match
# requirements.lock.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
WORKERS ?= 2
DISK_GB ?= 10

PY := $(VENV)/bin/python
# A copy of the lock file, written last: without it, or with another one, the environment is not complete.
STAMP := $(VENV)/requirements.lock
# One thread per worker: parallel workers that each use all cores are slower than a single one. Many tests start
# processes, which import faster with the bytecode of the first one.
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-slow test-slurm test-lowest test-wheel test-gpu lint lint-style lint-types lint-imports lint-docker format docs bench gpu-proof venv lock clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

quickstart: venv ## train on digits, sample and score: minutes on a CPU
	$(PY) train.py experiment=digits
	$(PY) sample.py experiment=digits ckpt_path=last num_samples=1000 batch_size=250 score=true

test: venv ## run the test suite
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "not slow and not gpu and not slurm"

test-slow: venv ## run the tests marked slow
	$(PYTEST) -m "slow and not gpu and not slurm"

# Installs Debian's packages; on other systems install SLURM and munge yourself.
test-slurm: venv ## start a SLURM cluster of one node, run its tests, stop it (needs root)
	@$(PY) -m tests.slurm.cluster || { \
		[ "$$(id -u)" = 0 ] || { echo "make: install slurm-wlm and munge, or run this as root" >&2; exit 1; }; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q slurm-wlm munge; }
	$(PYTEST) -m slurm tests/slurm

# uv can resolve the lowest versions; pip cannot.
test-lowest: ## run the test suite with the lowest versions that pyproject.toml allows
	rm -rf build/lowest && $(PYTHON) -m venv build/lowest
	build/lowest/bin/python -m pip install uv
	build/lowest/bin/uv pip install --python build/lowest/bin/python --resolution lowest-direct -r pyproject.toml \
		--extra dev --extra sweep --extra datasets --extra hub
	OMP_NUM_THREADS=1 build/lowest/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow and not gpu and not slurm"

test-wheel: venv ## build the wheel and test it in an empty folder
	$(PYTEST) -m slow tests/package

# Does not depend on `venv`: machines with a GPU often have PyTorch but no network. PYTHON=... chooses the interpreter.
test-gpu: ## run the CUDA tests in the active environment
	$(if $(filter file,$(origin PYTHON)),python3,$(PYTHON)) -m pytest tests/gpu

lint: lint-style lint-types lint-imports lint-docker ## run the checks of CI and pre-commit

lint-style: venv
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

lint-types: venv
	$(PY) -m mypy

lint-imports: venv
	$(VENV)/bin/lint-imports --no-logo

lint-docker: venv
	$(VENV)/bin/hadolint Dockerfile

format: venv ## fix and format the sources with ruff
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: venv ## build the site into build/site; warnings such as broken links are errors
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet

bench: venv ## compare the speed with other implementations
	$(PY) -m bench

gpu-proof: venv ## on a GPU: tests, speed, and CIFAR-10 in nine minutes (DATA: folder with CIFAR-10)
	$(PY) -m bench.gpu_proof --data $(or $(DATA),data)

# Errors are one line and leave no incomplete environment: the checks come first, and the stamp is written last.
venv: ## create or update the environment from requirements.lock
	@if cmp -s requirements.lock $(STAMP) && $(PY) -c '' 2>/dev/null; then exit 0; fi; \
	fail() { echo "make: $$1" >&2; exit 1; }; \
	[ -n "$(PYTHON)" ] || fail "no Python 3.11 or newer found: install one, or name it with PYTHON=/path/to/python"; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| fail "$(PYTHON) is missing or older than 3.11: name a newer one with PYTHON=/path/to/python"; \
	$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
		|| fail "$(PYTHON) cannot create environments: install its venv package (on Debian: python3-venv)"; \
	[ ! -e "$(VENV)" ] || [ -f "$(VENV)/pyvenv.cfg" ] \
		|| fail "$(VENV) exists and is not a virtual environment: move it, or choose another path with VENV=/path"; \
	rm -rf "$(VENV)" && mkdir -p "$(VENV)" || fail "cannot write $(VENV): choose another path with VENV=/path"; \
	free=$$(df -Pk "$(VENV)" | awk 'NR == 2 {print int($$4 / 1048576)}'); \
	[ "$$free" -ge $(DISK_GB) ] \
		|| { rmdir "$(VENV)"; fail "$$free GB free for $(VENV), $(DISK_GB) GB needed: free disk space, or choose another path with VENV=/path"; }; \
	echo "Installing requirements.lock into $(VENV): about 6.5 GB, a few minutes"; \
	{ $(PYTHON) -m venv "$(VENV)" && $(PY) -m pip install --disable-pip-version-check -r requirements.lock \
		&& $(PY) -m pip --disable-pip-version-check check; } \
		|| fail "the installation failed, see above: fix the cause and run make again"; \
	cp requirements.lock "$(STAMP).part" && mv "$(STAMP).part" "$(STAMP)"

lock: ## update requirements.lock from pyproject.toml
	rm -rf build && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install ".[dev,bench,sweep,datasets,docs,hub]"
	{ head -n 1 requirements.lock; build/lock/bin/python -m pip freeze --all --exclude pip --exclude score-sde \
		| sed -E 's/^((nvidia|cuda)-.*|triton=.*)$$/\1 ; platform_system == "Linux"/'; } > build/requirements.lock
	build/lock/bin/python -m pip check
	mv build/requirements.lock requirements.lock
	rm -rf build

clean: ## remove caches (keeps the environment, data and logs)
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist *.egg-info
	find src tests -type d -name __pycache__ -prune -exec rm -rf {} +
