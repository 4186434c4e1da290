# make demo                sets up, fine-tunes the shipped weights on the sample faces, then draws pages (minutes)
# make demo-from-scratch   the same with a model that starts from nothing
# make edit                sets up and serves the editor: paint a label map, see the face (NAME=..., sample_faces by default)
# make test                sets up and runs the tests
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

.PHONY: demo demo-from-scratch edit test setup lint clean

demo: $(VENV)/.ready
	PYTHON=$(BIN)/python bash scripts/demo.sh

demo-from-scratch: $(VENV)/.ready
	PYTHON=$(BIN)/python bash scripts/demo_from_scratch.sh

edit: $(VENV)/.ready-edit
	$(BIN)/python edit.py --name $(or $(NAME),sample_faces) --gpu_ids $(or $(GPU_IDS),-1)

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .

setup: $(VENV)/.ready

$(VENV)/.ready: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.ready-edit: $(VENV)/.ready requirements-edit.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-edit.txt
	touch $@

$(VENV)/.ready-dev: $(VENV)/.ready requirements-dev.txt requirements-eval.txt requirements-int8.txt requirements-edit.txt requirements-diffusion.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache
