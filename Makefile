# Each verb first brings .venv up to date (tools/environment.py). Another Python: make PYTHON=python3.13 test
PYTHON ?= python3
VERB = $(PYTHON) tools/environment.py && .venv/bin/python tools/verbs.py

.DEFAULT_GOAL := help
.PHONY: help serve book test check bench format notebooks sweeps clean

help:       ## print this list
	@awk -F': *## ' '/^[a-z]+: *## / {printf "make %-10s %s\n", $$1, $$2}' Makefile
serve:      ## build the book and serve it on this machine
	@$(VERB) serve
book:       ## build the book into _build/html, warnings as errors
	@$(VERB) book
test:       ## unit tests, doctests and validation of the notebooks
	@$(VERB) test
check:      ## everything that must hold before a change is merged
	@$(VERB) check
bench:      ## measure speed, as ratios
	@$(VERB) bench
format:     ## put the code into its standard form
	@$(VERB) format
notebooks:  ## execute the chapters and write their notebooks
	@$(VERB) notebooks
sweeps:     ## train the networks of Parts 2 and 3 and store the results (35 minutes)
	@$(VERB) sweeps
clean:      ## remove what was built, but not .venv
	@$(PYTHON) tools/verbs.py clean
