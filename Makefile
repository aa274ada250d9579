# Single commands that do all their own set-up. `make` alone lists them.
# `make PYTHON=/path/to/python3.12 test` chooses the interpreter for a new .venv.

.DEFAULT_GOAL := help
.PHONY: help demo test check bench docs format

export PYTHON
RUN := .venv/bin/python
LOCK := pyproject.toml constraints.txt tools/setup.sh
QUICK := not compat and not service and not chaos and not slow and not browser

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: .venv/.core ## Watch the gateway at work on simulated regions, without a key
	@.venv/bin/farthing demo

test: .venv/.test ## Run the unit tests
	@$(RUN) -m pytest -n 2 -q -m "$(QUICK)"

check: .venv/.test ## Check format, lint, types, floors and the generated reference
	@$(RUN) -m ruff format --check
	@$(RUN) -m ruff check
	@$(RUN) -m mypy
	@.venv/bin/lint-imports
	@$(RUN) -m pytest -q tests/house

bench: .venv/.test ## Measure every claim; results go to benchmarks/results
	@for claim in benchmarks/[a-z]*.py; do echo "── $$claim"; $(RUN) "$$claim" || exit 1; done

docs: .venv/.site ## Regenerate docs/reference and build the site
	@$(RUN) tools/generate_reference.py
	@NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet

format: .venv/.test ## Format the code and apply safe fixes
	@$(RUN) -m ruff check --fix --quiet || true
	@$(RUN) -m ruff format

.venv/.core: $(LOCK)
	@tools/setup.sh
	@touch $@

.venv/.test: $(LOCK)
	@tools/setup.sh test
	@touch $@ .venv/.core

.venv/.site: $(LOCK)
	@tools/setup.sh test,site
	@touch $@ .venv/.test .venv/.core
