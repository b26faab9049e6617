# make help lists what there is. Everything lives in .venv, which PYTHON makes when it is missing. With PY=python3 that
# interpreter, which has what is needed, runs instead, and nothing is installed.
PYTHON ?= python3
PY :=
BIN := .venv/bin
ifeq ($(PY),)
RUN := $(BIN)/python
INSTALLED := .venv/installed
else
RUN := $(PY)
INSTALLED :=
endif
# Two processes of one thread each: torch's threads would wait for each other. In the order of their names, so that the
# kills, one test of many minutes, do not come last.
PYTEST := OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help install navon smoke demo study test test-all lint

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/installed: requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/installed-dev: .venv/installed requirements-dev.txt requirements-export.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

.venv/installed-ray: .venv/installed requirements-ray.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-ray.txt
	touch $@

install: $(INSTALLED) ## make .venv and install what a study needs

datasets/NAVON/index.csv: | $(INSTALLED)
	$(RUN) data_scripts/make_navon.py
	$(RUN) data_scripts/prepare_cifar.py --raw-dir datasets/navon-python --out-dir datasets/NAVON

navon: datasets/NAVON/index.csv ## make the embedded data set of Navon figures

datasets/NAVON-smoke/index.csv: | $(INSTALLED)
	$(RUN) data_scripts/make_navon.py --train 1000 --test 1000 --out-dir datasets/navon-smoke-python
	$(RUN) data_scripts/prepare_cifar.py --raw-dir datasets/navon-smoke-python --out-dir datasets/NAVON-smoke

smoke: install datasets/NAVON-smoke/index.csv ## the whole way within a minute: small data set, three small networks, report
	$(RUN) train_system.py dataset=navon dataset.root=datasets/NAVON-smoke dataset.width=0.125 \
	hparams.batch_size=32 num_seeds=1 exp_name=smoke

demo: install navon ## run the study on Navon figures with three seeds, print its table and write its report
	$(RUN) train_system.py dataset=navon dataset.epochs.single=12 num_seeds=3 \
	'arms=[bilateral,unspecialised_pair]' exp_name=demo

# Stopped at any moment, also by a scheduler (SLICE=590 stops it after so many seconds), it goes on where it was.
study: install ## every arm of the study on CIFAR-100, five seeds (ARGS=... adds keys)
	$(if $(SLICE),timeout --foreground --signal=TERM $(SLICE)) \
	$(RUN) train_system.py arms=all num_seeds=5 exp_name=all-CIFAR100 $(ARGS) \
	|| { status=$$?; [ $$status = 124 ] && echo "Stopped after $(SLICE) s; the same command goes on." || exit $$status; }

lint: $(INSTALLED:=-dev) ## check format, style and types
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

test: lint ## lint, then the tests that take minutes
	$(PYTEST) -m "not slow"

test-all: lint $(INSTALLED:=-ray) ## every test, the long ones too
	$(PYTEST)
