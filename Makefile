# Everything runs in .venv, built from requirements.lock (every file's hash is checked). No target needs more
# than make and a Python of 3.11 to 3.13.

VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PYTHON ?=  # an interpreter to try before those on the path
PYENV := $(sort $(wildcard $(HOME)/.pyenv/versions/3.1*/bin/python3))
SUPPORTED := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
NEWEST := import sys, venv, ensurepip; sys.exit(not (3, 12) <= sys.version_info[:2])
PEERS := torch jax flower pfl
BENCHMARKS := runner resume gradients transformer spiking gan quantum driving federated deep parallel reproduce

.PHONY: help demo test test-fast test-slow test-latest browser lint format docs gallery bench peers lock wheel clean
.DELETE_ON_ERROR:

help:  ## say what each target does
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

demo: $(VENV)/installed  ## train an MLP on scikit-learn's digits and write its report
	$(BIN)/chainlab run mlp/digits

test: $(VENV)/installed  ## the whole suite, slow tests included
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile

test-fast: $(VENV)/installed  ## the suite without its slow tests
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow"

test-slow: $(VENV)/installed  ## the slow tests alone
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m slow

test-latest: .venv-latest/installed  ## the fast suite on the newest JAX
	.venv-latest/bin/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow"

browser: $(VENV)/installed  ## open the reports in headless Chromium
	$(BIN)/python -m pytest -q -m browser -rs

lint: $(VENV)/installed  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/installed  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed  ## build the documentation into site/
	$(BIN)/python docs/cli.py
	$(BIN)/mkdocs build --strict

gallery: $(VENV)/installed  ## write the results tables and pages from docs/records
	$(BIN)/python docs/gallery.py

bench: $(VENV)/installed  ## every benchmark, one after another (peers: make peers)
	@for name in $(BENCHMARKS); do $(BIN)/chainlab bench $$name || exit 1; done

peers: $(PEERS:%=.venv-peers/%/installed)  ## the environments of the libraries that benchmarks compare with

wheel: $(VENV)/installed  ## build the wheel into dist/
	$(BIN)/python -m build --wheel --no-isolation

lock:  ## resolve requirements.lock anew
	$(call python,3.11 to 3.13,$(SUPPORTED),$(PYTHON) python3.11 python3.12 python3.13 python3 $(PYENV)); \
	$$python -m venv .venv-lock && .venv-lock/bin/python -m pip install -q uv && \
	.venv-lock/bin/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
		--generate-hashes --no-emit-index-url --no-annotate --custom-compile-command "make lock" -o requirements.lock

clean:  ## remove environments, caches and builds; runs are kept
	rm -rf .venv .venv-latest .venv-lock .venv-peers build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis

# $(call python,versions in words,check,candidates): sets $$python to the first candidate that passes the check.
define python
@python=; for each in $(3); do if $$each -c '$(2)' >/dev/null 2>&1; then python=$$each; break; fi; done; \
if [ -z "$$python" ]; then \
	echo "chainlab needs Python $(1) with the venv module (on Debian: apt-get install python3-venv), or make PYTHON=...; tried $(3)" >&2; \
	exit 1; \
fi
endef

$(VENV)/installed: requirements.lock pyproject.toml setup.py
	$(call python,3.11 to 3.13,$(SUPPORTED),$(PYTHON) python3.11 python3.12 python3.13 python3 $(PYENV)); \
	echo "making $(VENV) with $$($$python --version)" >&2 && $$python -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

.venv-latest/installed: pyproject.toml setup.py
	$(call python,3.12 or newer,$(NEWEST),$(PYTHON) python3.14 python3.13 python3.12 python3 $(PYENV)); \
	echo "making .venv-latest with $$($$python --version)" >&2 && $$python -m venv .venv-latest
	.venv-latest/bin/python -m pip install -q --disable-pip-version-check --upgrade -e '.[test,tensorboard,images]'
	@touch $@

.venv-peers/%/installed: experiments/benchmarks/peers/%.txt
	$(call python,3.11 to 3.13,$(SUPPORTED),$(PYTHON) python3.11 python3.12 python3.13 python3 $(PYENV)); \
	$$python -m venv .venv-peers/$*
	.venv-peers/$*/bin/python -m pip install -q --disable-pip-version-check -r $<
	@touch $@
