# Everything below sets up what it needs by itself, once: a virtual environment with the exact versions of
# constraints.txt, whose files have the hashes in locks/ (docs/decisions/locks.md).  PYTHON names the interpreter (3.11
# or newer) that it is made with.
PYTHON ?= python3
DEMO_FLAGS ?=
BENCH_FLAGS ?=
PAPER_FLAGS ?=
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
UV_VERSION := 0.13.9
HASHED := .venv-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-header --no-emit-package torch --constraint constraints.txt

.PHONY: demo test bits slow bench paper lint types contracts audit check format lock hashes clean

demo: .venv/.package ## train on the bundled films, evaluate, recommend by title, write a report
	$(BIN)/hyvae demo $(DEMO_FLAGS)

test: .venv/.dev ## all tests but the long ones, a file at a time on each core
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

bits: .venv/.dev ## what promises equal bits, under other instruction sets, alignments and threads
	$(BIN)/python tools/same_bits.py

slow: .venv/.dev ## the long tests: quality on the real data sets (needs HYVAE_DATA)
	$(BIN)/pytest -m slow

bench: .venv/.dev ## measure against the peers, about an hour on an idle machine (needs HYVAE_DATA); rewrites docs/performance.md
	$(BIN)/python benchmarks/suite.py $(BENCH_FLAGS)
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/serving/hostile.py

paper: .venv/.package ## the paper's tables, figures and claims, for hours (needs HYVAE_DATA); rewrites docs/reproduction
	$(BIN)/hyvae paper all --out docs/reproduction $(PAPER_FLAGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.dev
	$(BIN)/mypy

contracts: .venv/.dev ## who may import whom (docs/architecture.md)
	$(BIN)/lint-imports

audit: .venv/.dev ## advisories of the versions in constraints.txt
	$(BIN)/python tools/audit.py

check: test bits lint types contracts audit ## what a change must pass

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew constraints.txt with the newest versions (torch stays: a newer one may pull gigabytes of CUDA), and locks/
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install -q --upgrade pip setuptools
	.venv-lock/bin/python -m pip install -q "$$(grep ^torch== constraints.txt)" -e ".[dev]"
	(sed -n '/^#/p' constraints.txt && .venv-lock/bin/python -m pip freeze --all --exclude-editable | sed 's/+cpu//') \
	  > constraints.new
	mv constraints.new constraints.txt
	$(MAKE) hashes

hashes: ## write locks/ anew: the versions of constraints.txt, with the hashes of all files that they have
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install -q uv==$(UV_VERSION)
	mkdir -p locks
	printf 'pip\nsetuptools\n' | $(HASHED) - --output-file locks/build.txt
	$(HASHED) pyproject.toml --extra report --extra serve --output-file locks/package.txt
	$(HASHED) pyproject.toml --extra dev --output-file locks/dev.txt
	$(HASHED) pyproject.toml --extra serve --extra postgres --output-file locks/image.txt
	rm -rf .venv-lock

clean:
	rm -rf .venv build dist demo-run

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hyvae needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

# torch comes without a hash: which of its builds is taken depends on the machine
.venv/.package: .venv/bin/python pyproject.toml constraints.txt locks/build.txt locks/package.txt src/hyvae/nn/_kernels.cpp
	$(PIP_INSTALL) --require-hashes --requirement locks/build.txt
	$(PIP_INSTALL) --require-hashes --no-deps --requirement locks/package.txt
	$(PIP_INSTALL) --constraint constraints.txt torch
	$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.package locks/dev.txt
	$(PIP_INSTALL) --require-hashes --no-deps --requirement locks/dev.txt
	@touch $@
