# Two commands are enough: `make demo` and `make test`. The rest is for people who work on xbench.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := benchmark tests scripts perf

.PHONY: demo test test-slow check format wheel bench clean

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "make: xbench needs Python 3.11 or newer, and '$(PYTHON)' is not; use make PYTHON=python3.12"; exit 3; }
	@free=$$(df -Pk . | awk 'NR==2 {print $$4}'); [ "$$free" -gt 4000000 ] || \
	  { echo "make: the packages need 4 GB of disk space here, $$((free / 1000)) MB are free"; exit 3; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test,dev,plot]'
	@touch $@

demo: $(STAMP)  ## the embedded model on three tasks: tables, result files and the site
	$(BIN)/xbench eval --model xbench-tiny --task demo --output results/demo \
	  --method mean-heads --method mean-heads:layers=1 --method 'raw-attention:layer=1,head=*' \
	  --method mean-layers:head=0 --method diagonal:width=0.2 --method uniform --method random
	$(BIN)/xbench examples export results/demo --out results/examples --limit 4
	$(BIN)/xbench leaderboard build results/demo --out results/site --examples results/examples

test: $(STAMP)  ## the tests, under 15 minutes
	$(BIN)/python -m pytest -q -n auto

test-slow: $(STAMP)  ## the long tests
	$(BIN)/python -m pytest -q -m slow -n auto

check: $(STAMP)  ## style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: $(STAMP)  ## measure costs as ratios, the short ones first; writes perf/*.md (see perf/README.md)
	$(BIN)/python perf/significance.py
	$(BIN)/python perf/metrics.py
	$(BIN)/python perf/methods.py
	$(BIN)/python perf/reference_speed.py
	$(BIN)/python perf/reference_speed.py --time-to-reliability
	$(BIN)/python perf/reference_time.py
	$(BIN)/python perf/encoders.py
	$(BIN)/python perf/reliability.py
	$(BIN)/python perf/fast_vs_paper.py

wheel: $(STAMP)  ## dist/xbench-*.whl
	$(BIN)/python -m build --wheel --outdir dist .

clean:
	rm -rf $(VENV) dist build
