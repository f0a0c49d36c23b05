# Everything that can be done with a work tree. Each target sets up what it needs: a virtual environment in .venv with
# the package installed in editable mode, compiled again only when one of its inputs changed.
#
#   make demo        shows what this kernel offers, copies real files through io_uring
#   make test        runs all tests; ARGS='tests/copier -k cancel' chooses some
#   make lint        ruff and mypy
#   make docs        writes docs/builders.md and, from a run of the Pythonic layer's tests, docs/opcodes.md
#   make bench       what everything costs, beside C and others; ARGS=--quick, ARGS='nop --rounds 21', ARGS=--list
#   make test-all    the suite against one wheel, on every CPython that is found; ARGS as above, options only
#   make sanitize    the tests of what touches lifetimes, our C under AddressSanitizer and UBSan; ARGS as above
#   make lifetimes   such tests N=50 times in a row, then under -X dev and PYTHONMALLOC=debug; ARGS as above
#   make dist        sdist and wheel, built and checked, in dist/
#   make build       compiles again
#   make clean       removes all of the above; liburing's source stays
#
# PYTHON=python3.12 chooses another Python; run `make clean` first when .venv was made with a different one.

PYTHON ?= python3
ARGS ?=

VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --quiet --disable-pip-version-check
COMPILED := pyproject.toml setup.py build_ffi.py uring/_version.py vendor/liburing/liburing.lock \
	$(shell find uring/native -type f)

# What runs no opcode through a Ring, runs them in other processes, strikes at every step, or makes up completions.
ELSEWHERE := liburing lifetimes examples vendoring fused cli copier test_build.py test_stubs.py test_symbols.py test_docs.py \
	test_typing.py test_readme.py test_zcrx.py

.PHONY: demo test lint bench docs test-all sanitize lifetimes dist build clean
.DELETE_ON_ERROR:

demo: $(VENV)/installed
	$(RUN) -m uring info
	@rm -rf build/demo && mkdir -p build/demo
	head -c 67108861 /dev/urandom > build/demo/source
	$(RUN) -m uring cp build/demo/source build/demo/copy
	cd build/demo && sha256sum source copy && cmp source copy
	$(RUN) examples/io_uring_test.py build/demo/source
	$(RUN) examples/link_cp.py build/demo/source build/demo/linked
	cd build/demo && sha256sum linked && cmp source linked
	@rm -rf build/demo

test: $(VENV)/installed
	$(RUN) -m pytest $(ARGS)

lint: $(VENV)/lint
	$(RUN) -m ruff check
	$(RUN) -m ruff format --check
	$(RUN) -m mypy

docs: $(VENV)/installed
	$(RUN) tools/make_docs.py
	$(RUN) -m pytest tests $(ELSEWHERE:%=--ignore=tests/%) --opcode-table=docs/opcodes.md $(ARGS)

bench: $(VENV)/bench
	$(RUN) -m benchmarks $(ARGS)

test-all: $(VENV)/dist
	$(RUN) tools/test_all.py $(ARGS)

# RUN=path on the command line names a Python that has the package and pytest already: nothing is set up then.
READY := $(if $(filter command%,$(origin RUN)),,$(VENV)/installed)
N ?= 50
REPEATED = -m pytest -q -x -p no:cacheprovider -o faulthandler_timeout=60 tests/lifetimes tests/chain tests/test_ring.py $(ARGS)

sanitize: $(READY)
	$(RUN) tools/sanitize.py $(ARGS)

lifetimes: $(READY)
	@for round in $$(seq $(N)); do echo "round $$round of $(N)"; $(RUN) $(REPEATED) || exit 1; done
	@for round in 1 2 3; do echo "-X dev, round $$round"; $(RUN) -X dev $(REPEATED) || exit 1; done
	@for round in 1 2 3; do echo "PYTHONMALLOC=debug, round $$round"; PYTHONMALLOC=debug $(RUN) $(REPEATED) || exit 1; done

dist: $(VENV)/dist
	$(RUN) tools/dist.py

build:
	rm -f uring/_uring*.so $(VENV)/installed
	$(MAKE) $(VENV)/installed

clean:
	rm -rf $(VENV) build dist uring.egg-info uring/_uring*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find uring tests tools examples vendor -name __pycache__ -prune -exec rm -rf {} +

define CHECK_PYTHON
import sys
if sys.version_info < (3, 10):
    sys.exit(
        f"uring needs Python 3.10 or newer.\n  expected: $(PYTHON) to be one\n  found:    {sys.version.split()[0]}\n"
        "  Name another, for example: make PYTHON=python3.12"
    )
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit(
        f"this Python cannot make virtual environments.\n  expected: the modules venv and ensurepip\n"
        f"  found:    {error}\n  Install them (Debian: apt-get install python3-venv)."
    )
endef
export CHECK_PYTHON

$(VENV)/created:
	@$(PYTHON) -c "$$CHECK_PYTHON"
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/installed: $(VENV)/created $(COMPILED)
	$(INSTALL) --editable '.[test]'
	@touch $@

$(VENV)/lint: pyproject.toml | $(VENV)/installed
	$(INSTALL) --editable '.[lint]'
	@touch $@

$(VENV)/bench: pyproject.toml | $(VENV)/installed
	$(INSTALL) --editable '.[bench]'
	@touch $@

$(VENV)/dist: pyproject.toml | $(VENV)/installed
	$(INSTALL) --editable '.[dist]'
	@touch $@
