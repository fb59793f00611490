# Every target makes .venv by itself, or completes it when an extra that it needs is missing.
PY := .venv/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt
SETUP := pyproject.toml constraints.txt

LOWEST := solvers training many_columns outputs certificate losses path network export interop encoding tables report displays \
	estimators estimators_checks estimators_ecosystem cli cli_commands package

.PHONY: demo test test-slow test-lowest lint bench bench-peers bench-study docs release-check clean
.NOTPARALLEL:

demo: .venv/has-cvxpy
	$(PY) -m convexnn demo --out demo --force

test: .venv/has-test
	$(PY) -m pytest -q -n 2 -m "not slow" tests

test-slow: .venv/has-test
	$(PY) -m pytest -q -m slow tests

# The fast core tests with the oldest supported versions, installed in an environment of its own.
test-lowest: .venv-lowest/has-test
	cd tests && NUMBA_CACHE_DIR=../.venv-lowest/numba ../.venv-lowest/bin/python -m pytest -q -n 2 -m "not slow" \
		$(addprefix test_,$(addsuffix .py,$(LOWEST)))

lint: .venv/has-test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/has-test
	$(PY) benchmarks/run.py

# Other packages, where they are installed (benchmarks/peers/README.md); an hour. A study against other models.
bench-peers: .venv/has-test
	$(PY) -m benchmarks.peers

bench-study: .venv/has-test
	$(PY) benchmarks/study/run.py

docs: .venv/has-docs
	$(PY) docs/make_pictures.py
	$(PY) -m sphinx -M html docs docs/_build -W --keep-going
	$(PY) docs/check_links.py

# Builds dist/, installs wheel and source archive in empty environments, and tries them there.
release-check: .venv/has-test
	$(PY) .ci/release_check.py

clean:
	rm -rf .venv .venv-lowest demo dist build docs/_build docs/auto_examples docs/generated .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/has-base: $(SETUP)
	test -x $(PY) || python3 -m venv .venv
	$(PIP) -e .
	touch $@

.venv/has-cvxpy: .venv/has-base
	$(PIP) -e ".[cvxpy]"
	touch $@

.venv/has-docs: .venv/has-cvxpy
	$(PIP) -e ".[cvxpy,torch,onnx,parquet,docs]"
	touch $@

.venv/has-test: .venv/has-cvxpy
	$(PIP) -e ".[cvxpy,torch,onnx,parquet,dev]"
	touch $@

.venv-lowest/has-test: pyproject.toml constraints-lowest.txt $(wildcard src/convexnn/*.py src/convexnn/*/*.py)
	test -x .venv-lowest/bin/python || python3 -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check -c constraints-lowest.txt \
		".[cvxpy,onnx,parquet]" pytest pytest-xdist hypothesis
	touch $@
