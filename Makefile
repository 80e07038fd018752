# make run     diagnose this box: creates .venv, installs opsdoc, runs it (ARGS="cpu --json" passes arguments)
# make test    install what the tests need and run them
# make check   lint, types, architecture
# make bench   measure opsdoc beside what people use today and write docs/performance.md
# make accept  rewrite the expected reports of the recordings; `git diff` is the review
# make clean   remove everything that these made in this folder

PYTHON ?= python3
ARGS ?= cpu
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
BENCH_ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# A line in a .pth file, not a module that finds ours at every start of Python, which takes 20 ms.
# pip before 22.1 cannot be told.
HERE = $$($(PY) -m pip install --help | grep -q -e --config-settings && echo --config-settings editable_mode=compat) -e
# A virtual environment knows its folder by its whole path: a moved checkout makes a new one.
PLACE := $(shell pwd | cksum | cut -d ' ' -f 1)
BASE := $(VENV)/.stamp-base-$(PLACE)
TEST := $(VENV)/.stamp-test-$(PLACE)
CHECK := $(VENV)/.stamp-check-$(PLACE)
SKIPPED := $(VENV)/skipped.txt

export PIP_NO_INPUT = 1

.PHONY: run test check bench accept clean
.DEFAULT_GOAL := run

# 0 to 3 are verdicts, not errors.
run: $(BASE)
	@$(PY) -m opsdoc $(ARGS); code=$$?; [ $$code -le 3 ] || exit $$code

test: $(TEST)
	@$(PY) tests/servers/provision.py
	@rm -f $(SKIPPED)
	@failed=0; \
	export OPSDOC_SKIPPED="$$PWD/$(SKIPPED)"; \
	echo "== side by side"; \
	$(PY) -m pytest -q -n $(PYTEST_WORKERS) --dist loadgroup -m "not box" -rfE $(PYTEST_ARGS) || failed=1; \
	echo "== one by one, with the machine for themselves"; \
	$(PY) -m pytest -q -m box -rfE $(PYTEST_ARGS) || [ $$? -eq 5 ] || failed=1; \
	if [ -s "$(SKIPPED)" ]; then echo "== skipped, and why"; sort -u "$(SKIPPED)"; else echo "== nothing was skipped"; fi; \
	exit $$failed

check: $(CHECK)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PY) -m mypy --strict opsdoc
	$(VENV)/bin/lint-imports
	$(PY) -m pip check --disable-pip-version-check

# What pip installs it compiles, but not a checkout; some environments forbid Python to do it on the way.
bench: $(TEST)
	@$(PY) tests/servers/provision.py bench
	@$(PY) -m compileall -q opsdoc
	$(PY) bench/run.py $(BENCH_ARGS)

accept: $(TEST)
	$(PY) -m pytest -q tests/test_recordings.py --accept $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find opsdoc tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

# ── what they need ───────────────────────────────────────────────────────────────────────────────

# pip's progress goes to stderr, so that the report alone is on stdout. Debian's python3 comes without ensurepip: then
# the environment is made without pip, and the pip that is there puts one into it.
$(BASE): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "opsdoc needs Python 3.10 or newer; choose one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "installing opsdoc into $(VENV)" >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1 || { \
		rm -rf $(VENV); \
		$(PYTHON) -m venv --without-pip $(VENV) >>$(VENV).log 2>&1 && \
		$(PYTHON) -m pip install --quiet --disable-pip-version-check --target \
			"$$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')" pip setuptools >>$(VENV).log 2>&1; \
	} || { \
		rm -rf $(VENV); cat $(VENV).log >&2; rm -f $(VENV).log; \
		echo "no virtual environment could be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@rm -f $(VENV).log
	@$(PIP) $(HERE) . >&2
	@touch $@

$(TEST): $(BASE)
	@echo "installing what the tests need into $(VENV)" >&2
	@$(PIP) $(HERE) '.[test]' >&2
	@touch $@

$(CHECK): $(BASE)
	@echo "installing what the checks need into $(VENV)" >&2
	@$(PIP) $(HERE) '.[check]' >&2
	@touch $@
