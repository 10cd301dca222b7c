# `make demo` and `make test` are all that a newcomer needs; both make .venv first.
PYTHON ?= python3
PRIORWISE_PYTHON := .venv/bin/python
# uv does not read pip's variable for local wheel folders.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)

.PHONY: help demo test check bench clean

help:
	@echo "make demo    train, measure and fill on handwritten digits; writes demo/report.html"
	@echo "make test    the whole test suite"
	@echo "make check   ruff, mypy, codespell"
	@echo "make bench   speed against pythae and against the floor of the matrix products"

demo: .venv/.installed-demo
	.venv/bin/priorwise demo --out demo

test: .venv/.installed-test
	OMP_NUM_THREADS=1 $(PRIORWISE_PYTHON) -m pytest -q -n 2

check: .venv/.installed-dev
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/codespell src tests docs examples benchmarks *.md
	.venv/bin/mypy

bench: .venv/.installed-bench
	@$(PRIORWISE_PYTHON) -m benchmarks $(ARGS)

clean:
	rm -rf .venv demo

EXTRA_demo =
EXTRA_test = [test]
EXTRA_dev = [dev]
EXTRA_bench = [bench]

.venv/bin/python:
	@$(PYTHON) -m venv .venv >&2
	-@.venv/bin/pip install --quiet uv >&2

.venv/.installed-%: pyproject.toml constraints.txt | .venv/bin/python
	@if [ -x .venv/bin/uv ]; then \
	  .venv/bin/uv pip install --python $(PRIORWISE_PYTHON) -c constraints.txt -e '.$(EXTRA_$*)'; \
	else \
	  .venv/bin/pip install -c constraints.txt -e '.$(EXTRA_$*)'; \
	fi >&2
	@touch $@
