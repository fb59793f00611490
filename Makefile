# Every target makes .venv by itself, or completes it when an extra that it needs is missing.
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
SETUP := pyproject.toml constraints.txt

.PHONY: demo test test-slow lint bench docs clean
.NOTPARALLEL:

demo: .venv/has-cvxpy
	$(PY) -m convexnn demo --out demo --force

test: .venv/has-test
	$(PY) -m pytest -q -n 2 -m "not slow" tests

test-slow: .venv/has-test
	$(PY) -m pytest -q -m slow tests

lint: .venv/has-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/has-test
	$(PY) benchmarks/run.py

docs: .venv/has-test
	$(PY) docs/make_pictures.py
	$(PY) -m pytest -q tests/test_docs.py

clean:
	rm -rf .venv demo dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/has-base: $(SETUP)
	test -x $(PY) || python3 -m venv .venv
	$(PIP) -e .
	touch $@

.venv/has-cvxpy: .venv/has-base
	$(PIP) -e ".[cvxpy]"
	touch $@

.venv/has-test: .venv/has-cvxpy
	$(PIP) -e ".[cvxpy,torch,onnx,parquet,dev]"
	touch $@
