# Everything below sets up what it needs by itself, once: a virtual environment with the exact versions of
# constraints.txt.  PYTHON names the interpreter (3.11 or newer) that it is made with.
PYTHON ?= python3
DEMO_FLAGS ?=
BENCH_FLAGS ?=
PAPER_FLAGS ?=
BIN := .venv/bin

.PHONY: demo test bits slow bench paper lint types contracts check format lock clean

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

check: test bits lint types contracts ## what a change must pass

format: .venv/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## renew constraints.txt with the newest versions (torch stays: a newer one may pull gigabytes of CUDA)
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -q "$$(grep ^torch== constraints.txt)" -e ".[dev]"
	(sed -n '/^#/p' constraints.txt && .venv-lock/bin/pip freeze --exclude-editable | sed 's/+cpu//') > constraints.new
	mv constraints.new constraints.txt && rm -rf .venv-lock

clean:
	rm -rf .venv build dist demo-run

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "hyvae needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.package: .venv/bin/python pyproject.toml constraints.txt src/hyvae/nn/_kernels.cpp
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[report,serve]"
	@touch $@

.venv/.dev: .venv/.package
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@
