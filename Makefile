# make demo: environment, then the whole road on packaged data.  make test: environment, then all tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
RUNS ?= runs
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow bench web lint environment test-environment clean

demo: environment
	PATH="$(abspath $(BIN)):$$PATH" examples/demo.sh $(RUNS)/demo

test: test-environment lint
	$(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile $(PYTEST_ARGS)

test-slow: test-environment
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: test-environment
	$(BIN)/python benchmarks/accuracy.py --runs $(RUNS)/benchmarks --markdown docs/accuracy.md
	$(BIN)/python benchmarks/peers.py --runs $(RUNS)/peers --markdown docs/peers.md

# What the page of `tfpipe serve` runs models with: two packages, their versions and digests in a lock file.
web:
	npm ci --ignore-scripts --no-audit --no-fund --prefix pipeline/web/npm

# Types are checked in the built package: mypy does not know that pipeline/ is called tfpipe.
lint: test-environment
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/package build/lib && $(BIN)/pip install -q --no-deps --no-build-isolation --target build/package .
	cd build && MYPYPATH=package ../$(BIN)/mypy --config-file ../pyproject.toml -p tfpipe -p device_runner

environment: $(VENV)/.installed
test-environment: $(VENV)/.installed-dev

$(VENV)/.installed: pyproject.toml constraints.txt
	if command -v uv >/dev/null; then uv venv --allow-existing --seed --python $(PYTHON) $(VENV); \
	else $(PYTHON) -m venv $(VENV); fi
	$(call install,-e .)
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(call install,-e '.[dev]')
	touch $@

define install
	if command -v uv >/dev/null; then uv pip install --python $(BIN)/python -c constraints.txt setuptools $(1); \
	else $(BIN)/python -m pip install -q -c constraints.txt setuptools $(1); fi
endef

clean:
	rm -rf $(VENV) build dist *.egg-info
