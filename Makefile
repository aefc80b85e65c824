# `make demo` and `make test` do all the set-up that they need.
PYTHON ?= python3
BIN := .venv/bin
RUNS := runs/demo

.PHONY: install demo test test-together test-alone test-slow test-all lint bench clean
.NOTPARALLEL:
# A pipe fails where its first command does.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c

install: .venv/installed

# Bytecode is written on all cores at once, but for libraries' own tests and models; a few files are
# for other Pythons.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt torch
	$(BIN)/pip install --quiet --no-compile --constraint constraints.txt --editable '.[all,dev]'
	$(BIN)/python -m compileall -qq -j 0 -x '/tests/|/transformers/models/' .venv/lib || true
	touch $@

demo: install
	rm -rf $(RUNS)
	$(BIN)/firetree train digits --workers 4 --run-dir $(RUNS)/binomial_tree
	$(BIN)/firetree train digits --workers 4 --run-dir $(RUNS)/parameter_server --sync.algorithm parameter_server
	$(BIN)/firetree train digits --workers 4 --run-dir $(RUNS)/gloo --sync.algorithm gloo
	$(BIN)/firetree report $(RUNS)/binomial_tree
	$(BIN)/firetree report $(RUNS)/binomial_tree $(RUNS)/parameter_server $(RUNS)/gloo

# What measures rates or is to end within seconds runs alone. Of everything else three run at once, on
# two cores, as most of them wait, with a thread each: threads that wait for a busy core make small
# networks several times slower.
ALONE := tests/lab tests/probing tests/cluster/test_lab_command.py

test: test-together test-alone

test-together: install
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder $(ALONE:%=--ignore %) tests/cluster tests

test-alone: install
	$(BIN)/pytest $(ALONE)

test-slow: install
	$(BIN)/pytest -m slow

# The tests of `make test` and the slow ones, all of them whatever fails. The last lines are for
# docs/log.md: when, which commit, how long, and what each part came to.
test-all: install
	@mkdir -p runs/test-all; start=$$(date +%s); failed=; \
	for part in test-together test-alone test-slow; do \
	  $(MAKE) --no-print-directory $$part | tee runs/test-all/$$part.txt || failed=1; \
	done; \
	echo "$$(date -u +%F), $$(git describe --always --dirty): $$(( ($$(date +%s) - start) / 60 )) minutes"; \
	tail --quiet --lines 1 runs/test-all/test-together.txt runs/test-all/test-alone.txt runs/test-all/test-slow.txt; \
	test -z "$$failed"

lint: install
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: install
	$(BIN)/python benchmarks/allreduce.py
	$(BIN)/python benchmarks/faults.py
	$(BIN)/python benchmarks/wire_faults.py
	$(BIN)/python benchmarks/fast_weights.py
	$(BIN)/python benchmarks/hook.py
	$(BIN)/python benchmarks/probe.py
	$(BIN)/python benchmarks/diagnosis.py
	$(BIN)/python benchmarks/prediction.py
	$(BIN)/python benchmarks/prediction_speed.py
	$(BIN)/python benchmarks/loading.py
	$(BIN)/python benchmarks/worker_speed.py

clean:
	rm -rf .venv runs dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
