# Two commands are enough: `make demo` and `make test`. The rest is for people who work on xbench.
PYTHON ?= python3
PYTHONS := 3.11 3.12 3.13
VENV := .venv
NEWEST := .venv-newest
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(subst /,-,$(PYTHON))
SOURCES := benchmark tests scripts perf

.PHONY: demo test test-slow test-newest check format golden submissions site docs contribution constraints wheel bench clean

# Addresses that the leaderboard links to: LINKS='--repository URL --documentation URL --base-url URL'.
LINKS ?=

# What `make submissions` looks at, and the file that gets its report.
PROPOSED ?= submissions
REPORT ?= build/submissions.txt

# $(call environment,FOLDER) makes a virtual environment; one of another Python that is there already goes.
define environment
	@version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); \
	  case " $(PYTHONS) " in *" $$version "*) ;; *) \
	  echo "make: xbench is tested with Python $(firstword $(PYTHONS)) to $(lastword $(PYTHONS)) and refuses others;" \
	    "'$(PYTHON)' is $${version:-no Python that runs}; use make PYTHON=python$(lastword $(PYTHONS))"; exit 3;; esac
	@free=$$(df -Pk . | awk 'NR==2 {print $$4}'); [ "$$free" -gt 6000000 ] || \
	  { echo "make: the packages need 6 GB of disk space here, $$((free / 1000)) MB are free"; exit 3; }
	@[ "$$($(1)/bin/python -V 2>&1)" = "$$($(PYTHON) -V 2>&1)" ] || rm -rf $(1)
	$(PYTHON) -m venv $(1)
endef

# Pins without hashes: pip refuses to install this folder as editable when a constraint has a hash, and a build of
# torch for processors only has another hash than the one of the package index.
$(STAMP): pyproject.toml constraints.txt
	$(call environment,$(VENV))
	$(BIN)/python -m pip install --quiet --upgrade --constraint constraints.txt pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt \
	  --editable '.[test,dev,plot]'
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

# Deprecations pass here, so that what is broken already stands out; the last line counts those that our calls meet.
test-newest:  ## the tests with the newest versions that pyproject.toml allows, in an environment of their own
	$(call environment,$(NEWEST))
	$(NEWEST)/bin/python -m pip install --quiet --upgrade pip
	$(NEWEST)/bin/python -m pip install --quiet --upgrade --upgrade-strategy eager --editable '.[test,plot]'
	PYTHONPATH=scripts $(NEWEST)/bin/python -m pytest -q -n auto -p newest_versions -W default::DeprecationWarning \
	  -W default::PendingDeprecationWarning -W default::FutureWarning

check: $(STAMP)  ## style and types
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

golden: $(STAMP)  ## keep new scores in tests/golden; refuses one that moved without a version
	$(BIN)/python scripts/golden.py --write

submissions: $(STAMP)  ## validate result files and recompute their aggregates; runs nobody's code
	@mkdir -p $(dir $(REPORT))
	@$(BIN)/xbench validate $(PROPOSED) > $(REPORT) 2>&1; status=$$?; cat $(REPORT); exit $$status

site: $(STAMP)  ## the leaderboard of submissions/, built and checked
	$(BIN)/xbench leaderboard build submissions --out site --examples docs/examples $(LINKS)
	$(BIN)/xbench leaderboard check site submissions

docs: $(STAMP)  ## the documentation site, strictly: build/docs
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --build-constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

contribution: check test submissions site docs  ## all that CI asks of a pull request, the long tests apart

# With pip, and with editables, which hatchling asks for when it installs this folder as editable.
constraints:  ## constraints.txt: the newest versions that pyproject.toml allows become the tested ones
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(PYTHON) -m venv "$$folder" && \
	  "$$folder/bin/python" -m pip install --quiet uv && \
	  printf '%s\n' pip editables | \
	  "$$folder/bin/uv" pip compile pyproject.toml - --extra test --extra dev --extra plot --extra docs --upgrade \
	    --universal --fork-strategy fewest --python-version $(firstword $(PYTHONS)) --no-annotate --no-config --quiet \
	    --custom-compile-command 'make constraints' --output-file constraints.txt

bench: $(STAMP)  ## measure costs as ratios, the short ones first; writes perf/*.md (see perf/README.md)
	$(BIN)/python perf/significance.py
	$(BIN)/python perf/metrics.py
	$(BIN)/python perf/methods.py
	$(BIN)/python perf/isolation.py
	$(BIN)/python perf/prefix.py
	$(BIN)/python perf/reference_speed.py
	$(BIN)/python perf/reference_speed.py --time-to-reliability
	$(BIN)/python perf/reference_time.py
	$(BIN)/python perf/encoders.py
	$(BIN)/python perf/reliability.py
	$(BIN)/python perf/fast_vs_paper.py

wheel: $(STAMP)  ## dist/xbench-*.whl
	$(BIN)/python -m build --wheel --no-isolation --outdir dist .

clean:
	rm -rf $(VENV) $(NEWEST) dist build
