# make demo    the main job, from labelled images to a served model
# make test    all tests
# make ui      the Dagster web UI
# make docs    the pages that are made from the code
# make lock    resolves the dependencies anew

VENV ?= .venv
PYTHON ?= python3.11
PY := $(VENV)/bin/python
UV := $(shell command -v uv 2>/dev/null)
INSTALLED := $(VENV)/.installed

.PHONY: demo test ui docs lock install clean

demo: install
	$(PY) -m crater_assets.demo

test: install
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

ui: install
	DAGSTER_HOME=$(CURDIR) $(VENV)/bin/dagster dev

docs: install
	$(PY) docs/generate.py

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
ifneq ($(UV),)
	test -x $(PY) || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	$(UV) pip install --quiet --python $(PY) --no-deps --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation -e .
else
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
endif
	touch $@

# Later backports.strenum are for Python before 3.11 only, which pip looks at and uv does not.
lock:
	echo 'backports.strenum<1.3' | uv pip compile pyproject.toml --constraints - --extra dev --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --no-strip-extras --quiet --output-file requirements.lock

clean:
	rm -rf $(VENV) demo
