# make demo       the main job, from labelled images to a served model
# make test       all tests
# make test-fast  those without training, containers, servers and real imagery, in two minutes
# make lint       ruff and mypy
# make ui         the Dagster web UI
# make docs       the pages that are made from the code
# make pictures   those of the web UI in the pages, from what make demo left
# make lock       resolves the dependencies anew
#
# PYTHON=python3.12 names the Python, VENV=DIR the virtual environment.

VENV ?= .venv
# Any of the three will do. The first is the one that the published figures and the image of
# deploy/dagster have; `pyenv` leaves names on the path that do not start.
ANY_PYTHON = $(shell for python in python3.11 python3.12 python3.13 python3; do \
  $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
  && echo $$python && break; done)
PY := $(VENV)/bin/python
UV := $(shell command -v uv 2>/dev/null)
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-fast lint ui docs pictures lock install python clean

demo: install
	$(PY) -m crater_assets.demo

test: install
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

test-fast: install
	$(PY) -m pytest -n 2 --dist loadfile -m "not slow"

lint: install
	$(VENV)/bin/ruff check
	$(VENV)/bin/mypy

ui: install
	DAGSTER_HOME=$(CURDIR) $(VENV)/bin/dg dev

docs: install
	$(PY) docs/generate.py

pictures: install
	$(PY) -m docs.pictures.web_ui

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml | python
ifneq ($(UV),)
	$(UV) pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
else
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	touch $@

# A virtual environment of the Python that is asked for: an older one of another is not taken.
python:
	@python="$(or $(PYTHON),$(ANY_PYTHON))"; minor='import sys; print("%d.%d" % sys.version_info[:2])'; \
	if [ -x $(PY) ]; then \
	  has=$$($(PY) -c "$$minor") && asked=$$($(or $(PYTHON),$(PY)) -c "$$minor") || exit 1; \
	  [ "$$has" = "$$asked" ] || { echo "$(VENV) is of Python $$has, asked for is $$asked; run make clean," \
	    "or name another folder by VENV=DIR" >&2; exit 1; }; \
	elif [ -z "$$python" ]; then \
	  echo "no Python 3.11, 3.12 or 3.13 on the path; name one by PYTHON=FILE" >&2; exit 1; \
	elif [ -n "$(UV)" ]; then $(UV) venv --quiet --python "$$python" $(VENV); \
	else "$$python" -m venv $(VENV); fi

# Later backports.strenum are for Python before 3.11 only, which pip looks at and uv does not.
lock:
	echo 'backports.strenum<1.3' | uv pip compile pyproject.toml --constraints - --extra dev --universal --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --no-strip-extras --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) demo
