# Each target works from a bare clone: it needs Python 3.10 or newer, pip, git and make.
# PYTHON is the interpreter that the virtual environments are made with.
PYTHON ?= python3

VENV := .venv
BIN := $(VENV)/bin
PROTOC_PYTHON := .venv-protoc/bin/python
# The protobuf compiler's wheels end at Python 3.12.
PROTOC_BASE = $(shell for python in $(PYTHON) python3.12 python3.11 python3.10; do \
	$$python -c 'import ensurepip, sys; sys.exit(sys.version_info >= (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
SCRIPTS := scripts

.PHONY: help durability test test-all test-frameworks demo bench fuzz flips torture-kills torture-races lint format protos check-protos clean

help:
	@echo "make test      every check that CI runs"
	@echo "make test-all  the tests without TensorFlow on each supported Python, and with the"
	@echo "               lowest versions that pyproject.toml allows"
	@echo "make test-frameworks"
	@echo "               the tests of PyTorch's state, with a PyTorch of its own (200 MB, CPU only"
	@echo "               where pip is offered such a build); make test leaves them out"
	@echo "make fuzz      fuzz every parser for a minute each; FUZZ=\"--target v1 --secs 3600\" for one"
	@echo "make flips     10,000 flipped bits and cut files; FLIPS=\"--count 500\" for fewer"
	@echo "make torture-kills"
	@echo "               kill a trainer 1,000 times; KILLS=\"100 --seed 2\" for others"
	@echo "make torture-races"
	@echo "               writers, readers and deleters on one directory, killed at random, for 3"
	@echo "               minutes; RACES=\"30 --seed 2\" for others"
	@echo "make demo      the demonstration"
	@echo "make bench     the benchmarks, about 15 minutes; BENCH=\"--scale 0.05 --rounds 1\" for a look"
	@echo "make durability"
	@echo "               every failure of every operation, with a table of how many; 15 minutes"
	@echo "make lint      style, types, layers and generated code"
	@echo "make format    format the code"
	@echo "make protos    generate ckptmgr/_proto from protos/"
	@echo "make clean     remove what these targets made"

test: lint
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
ifeq ($(PROTOC_BASE),)
	@echo "NOT CHECKED: ckptmgr/_proto (the compiler needs Python 3.10, 3.11 or 3.12)"
else
	$(MAKE) --no-print-directory check-protos
endif

check-protos: .venv-protoc/.installed
	$(PROTOC_PYTHON) $(SCRIPTS)/generate_protos.py --check

format: $(VENV)/.installed
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

protos: .venv-protoc/.installed
	$(PROTOC_PYTHON) $(SCRIPTS)/generate_protos.py

demo: $(VENV)/.installed-examples
	$(BIN)/python -m examples.demo

durability: $(VENV)/.installed
	$(BIN)/python -m tests.durability $(DURABILITY)

bench: .venv-bench/.installed
	.venv-bench/bin/python -m benchmarks $(BENCH)

fuzz: .venv-fuzz/.installed
	.venv-fuzz/bin/python -m tests.fuzz $(FUZZ)

flips: $(VENV)/.installed
	$(BIN)/python -m tests.durability.flips $(FLIPS)

torture-kills: $(VENV)/.installed
	$(BIN)/python -m tests.torture kills $(KILLS)

torture-races: $(VENV)/.installed
	$(BIN)/python -m tests.torture races $(RACES)

test-all: $(VENV)/.installed
	$(BIN)/python $(SCRIPTS)/test_interpreters.py

test-frameworks: .venv-frameworks/.installed
	.venv-frameworks/bin/python -m pytest tests/adapters -m "not tensorflow"

# A stamp is older than pyproject.toml when what it needs may have changed.
$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test,dev]'
	touch $@ $(VENV)/.installed-examples

$(VENV)/.installed-examples: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[examples]'
	touch $@

# PyTorch first: nothing that comes after it then asks for a build with CUDA.
.venv-bench/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-bench
	.venv-bench/bin/python -m pip install --quiet torch==2.13.0
	.venv-bench/bin/python -m pip install --quiet --editable '.[bench]'
	touch $@

.venv-fuzz/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --editable '.[fuzz]'
	touch $@

.venv-frameworks/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-frameworks
	.venv-frameworks/bin/python -m pip install --quiet torch==2.13.0
	.venv-frameworks/bin/python -m pip install --quiet --editable '.[test-core]' 'jax>=0.6'
	touch $@

# The compiler needs an older protobuf than TensorFlow does, so it lives apart.
.venv-protoc/.installed: $(SCRIPTS)/generate_protos.py
	$(PROTOC_BASE) -m venv .venv-protoc
	$(PROTOC_PYTHON) -m pip install --quiet grpcio-tools==1.62.3
	touch $@

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) .venv-* build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
