# Python (>= 3.10) and make are all that has to be on the machine: the rest is installed into .venv.
#
#   make demo    install, then build the demo: prune, quantize, compile and measure it on this CPU
#   make test    install with the extras build and dev, then pytest, and ruff and mypy beside it
#   make lint, make types
#
# PYTEST has more options for pytest, as in: make test PYTEST=--durations=40

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/installed
DEV := $(VENV)/installed-dev
# One runtime, three minutes of search and one block of timing keep the demo short; `--target cpu` measures every runtime here.
DEMO_TARGET := $(if $(filter aarch64,$(shell uname -m)),arm64-ort,x86-ort)
DEMO := build --model digits --data digits --target $(DEMO_TARGET) --bench quick \
  --hours 0.05 --out demo-build

# Ultralytics pip-installs what it misses by itself; what edgeprune needs is in pyproject.toml.
export YOLO_AUTOINSTALL = false

.PHONY: demo test lint types help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   //p' Makefile

demo: $(RUN)
	$(BIN)/edgeprune $(DEMO)
	@echo "The report is $(CURDIR)/demo-build/report.html"

# Lint and types run beside the tests; what they say is shown at the end, and what fails of the three fails the whole.
test: $(DEV)
	@$(MAKE) --no-print-directory --keep-going lint types > $(VENV)/checks.log 2>&1 & checks=$$!; \
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(PYTEST); tests=$$?; \
	wait $$checks; checked=$$?; cat $(VENV)/checks.log; exit $$((tests ? tests : checked))

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(DEV)
	$(BIN)/mypy

comma := ,
# The stamps are remade when pyproject.toml changes, and not otherwise. The second contains the first.
$(RUN): pyproject.toml
	$(call install,.[build])
	touch $@

$(DEV): pyproject.toml
	$(call install,.[build$(comma)dev])
	touch $(RUN) $@

# One pip command for everything, so that torch and torchvision are resolved together. A server without a display
# often has no libGL, which opencv-python (a dependency of ultralytics) needs; its headless twin does not.
define install
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "edgeprune needs Python 3.10 or newer")'
$(PYTHON) -m venv $(VENV)
$(BIN)/python -m pip install --editable '$(1)'
$(BIN)/python -c 'import cv2' 2>/dev/null || { $(BIN)/python -m pip uninstall --yes opencv-python && \
  $(BIN)/python -m pip install --force-reinstall --no-deps opencv-python-headless; }
endef
