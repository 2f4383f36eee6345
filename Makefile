# The one door. Every target sets itself up: Python 3.11+ and make are all that must be there.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo demo-integrations demo-picture java programs test check bench lint types contracts docs format coverage pytest integrations integrations-cluster demo-integrations-cluster cluster-up cluster-down cluster-test bench-cluster setup install-demo lock clean

# Of another checkout or project, it would only mislead uv.
unexport VIRTUAL_ENV

UV := tools/uv
# What a lock says, and nothing else decides, is installed; our own distributions follow without their dependencies.
INSTALL := $(UV) pip install --quiet --python .venv
RUN := $(UV) run --no-sync
INSTALLED := .venv/.installed
DEMO_INSTALLED := .venv/.demo-installed
OURS := --editable . $(foreach file,$(wildcard integrations/*/pyproject.toml),--editable $(dir $(file)))
# Two processes, each file in one of them: some files share a server of their own.
PYTEST_ARGS ?= -n 2 --dist loadfile

demo: install-demo ## Start the orchestrator and run the main job on real data (under a minute)
	@$(RUN) python examples/demo.py

demo-integrations: .venv-ecosystems/.installed .venv-kubeflow/.installed java ## Airflow, MLflow, Ray, Spark and Kubeflow compete for eight simulated GPUs
	@.venv-ecosystems/bin/python examples/demo_integrations.py --kubeflow-python $(CURDIR)/.venv-kubeflow/bin/python

# Spark runs on Java; without it, and without a way to install it, Spark's tests say so and are skipped.
java:
	@command -v java >/dev/null || tools/debian install openjdk-17-jre-headless || true

demo-picture: setup ## Run the demo and draw docs/demo.svg
	@$(RUN) python tools/record_demo.py

test: export RUNAI_TEST_STARTED := $(shell date +%s)
test: lint types contracts pytest integrations cluster-test ## Everything that a change must pass; skipped tests are listed with the reason

pytest: setup programs
	@tools/again "unit and end-to-end tests" $(RUN) pytest -m "not ecosystem and not cluster" $(PYTEST_ARGS)

# A browser for the tests of the pages and a database server; where they cannot be installed those tests are skipped, visibly.
programs:
	@command -v chromium >/dev/null || tools/debian install chromium || true
	@command -v postgres >/dev/null || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || tools/debian install postgresql || true

# Each file in one process: its tests share servers. The last ones start Ray's clusters, Airflow's services and Spark's
# JVMs: where so little time is left that the tests on a cluster, which come after them, would not fit, they are left out.
integrations: .venv-ecosystems/.installed .venv-kubeflow/.installed java ## The plug-ins with the real frameworks, and a real virtual machine (10 minutes)
	@MINUTES=10 tools/again "plug-ins with their frameworks" .venv-ecosystems/bin/python -m pytest -m ecosystem $(PYTEST_ARGS) $(foreach name,mlflow kubevirt seldon,integrations/$(name))
	@MINUTES=8 tools/again "the plug-in of Kubeflow" .venv-kubeflow/bin/python -m pytest -W ignore::pytest.PytestUnraisableExceptionWarning -m ecosystem $(filter-out %_cluster.py,$(wildcard integrations/kubeflow/tests/test_*.py))
	@MINUTES=57 tools/again "Ray, Spark and Airflow" .venv-ecosystems/bin/python -m pytest -m ecosystem $(PYTEST_ARGS) $(foreach name,ray spark airflow,integrations/$(name))

integrations-cluster: .venv-ecosystems/.installed java ## Airflow's and Spark's own pods on real nodes of the test cluster (2 minutes)
	@tools/again "Airflow and Spark on a Kubernetes cluster" .venv-ecosystems/bin/python -m pytest -m cluster -p no:xdist integrations/airflow integrations/spark

demo-integrations-cluster: .venv-ecosystems/.installed java ## The demo of the integrations on the test cluster
	@.venv-ecosystems/bin/python examples/demo_integrations_cluster.py

check: setup ## The quick part of it: lint and the unit tests that take no time
	@$(RUN) ruff check --quiet
	@$(RUN) pytest -q -x -m "not slow and not faults and not cluster and not gpu and not ecosystem and not browser" tests/unit tests/test_architecture.py integrations $(PYTEST_ARGS)

lint: setup ## Style and format (ruff)
	@$(RUN) ruff check
	@$(RUN) ruff format --check --quiet || { echo "Some files are not formatted: run make format"; exit 1; }

types: setup ## Types (mypy, strict)
	@$(RUN) mypy

contracts: setup ## Who may import whom (import-linter)
	@$(RUN) lint-imports

coverage: setup ## The tests with line and branch coverage
	@$(RUN) coverage erase
	@$(RUN) coverage run -m pytest -q
	@$(RUN) coverage combine --quiet
	@$(RUN) coverage report

bench: setup ## Benchmarks; figures and how they were taken: docs/benchmarks.md
	@echo "== engine"; $(RUN) python benchmarks/engine.py
	@echo "== product"; $(RUN) python benchmarks/product.py
	@traces="$${RUNAI_SHARED_DIR:-../shared}/traces/openb"; echo "== packing"; \
	if [ -d "$$traces" ]; then $(RUN) python benchmarks/packing.py "$$traces" --seeds 2; \
	else echo "skipped: the openb trace is not at $$traces (set RUNAI_SHARED_DIR)"; fi

cluster-up: setup ## Start a Kubernetes cluster for tests (REAL_NODES=2 KWOK_NODES=20) and print its kubeconfig
	@$(RUN) python -m tests.cluster up --nodes $(REAL_NODES) --kwok $(KWOK_NODES)

REAL_NODES ?= 0
KWOK_NODES ?= 20

cluster-down: setup ## Remove it
	@$(RUN) python -m tests.cluster down

# One process: the suite shares one cluster. RUNAI_TEST_CLUSTER=DIR keeps it between runs.
cluster-test: setup .venv-kubeflow/.installed ## The tests on a real API server and real kubelets
	@MINUTES=45 tools/again "tests on a Kubernetes cluster" $(RUN) pytest -m cluster -p no:xdist tests integrations/kubeflow

bench-cluster: setup ## Benchmarks of the scheduler on a cluster of fake nodes
	@$(RUN) python benchmarks/cluster.py

docs: setup ## Write the generated parts of the documents anew and check the documents
	@for script in docs/*.py; do $(RUN) python $$script; done
	@$(RUN) pytest -q tests/test_docs.py

format: setup ## Format the code
	@$(RUN) ruff format
	@$(RUN) ruff check --fix --quiet || true

setup: $(INSTALLED)

install-demo: $(DEMO_INSTALLED)

.venv:
	@$(UV) venv --quiet --allow-existing .venv

# Airflow, Spark and the like stay out: a plug-in's module must load without them, and the tests show that it does.
$(INSTALLED): locks/dev.txt pyproject.toml $(wildcard integrations/*/pyproject.toml) | .venv
	@echo "Installing runai-core, its plug-ins and the tools of its tests ..."
	@$(INSTALL) --require-hashes --requirements locks/dev.txt
	@$(INSTALL) --no-deps $(OURS)
	@touch $@ $(DEMO_INSTALLED)

# The frameworks themselves, in two environments: see docs/architecture.md, development environments.
ECOSYSTEMS := airflow mlflow ray spark kubevirt seldon
.venv-ecosystems/.installed: locks/airflow-ray-mlflow-spark.txt pyproject.toml $(wildcard integrations/*/pyproject.toml)
	@echo "Installing Airflow, MLflow, Ray and Spark beside our plug-ins (about 2 GB, first time: a minute or two) ..."
	@$(UV) venv --quiet --allow-existing .venv-ecosystems
	@$(UV) pip install --quiet --python .venv-ecosystems --require-hashes --requirements $<
	@$(UV) pip install --quiet --python .venv-ecosystems --no-deps --editable . $(foreach name,$(ECOSYSTEMS),--editable integrations/$(name))
	@touch $@

.venv-kubeflow/.installed: locks/kubeflow.txt pyproject.toml $(wildcard integrations/*/pyproject.toml)
	@echo "Installing Kubeflow beside its plug-in (first time: half a minute) ..."
	@$(UV) venv --quiet --allow-existing .venv-kubeflow
	@$(UV) pip install --quiet --python .venv-kubeflow --require-hashes --requirements $<
	@$(UV) pip install --quiet --python .venv-kubeflow --no-deps --editable . --editable integrations/kubeflow
	@touch $@

$(DEMO_INSTALLED): locks/demo.txt pyproject.toml | .venv
	@echo "Installing runai-core and its demo (first time: some seconds) ..."
	@$(INSTALL) --require-hashes --requirements locks/demo.txt
	@$(INSTALL) --no-deps --editable .
	@touch $@

lock: ## Resolve the dependencies anew and write locks/ (tools/lock --upgrade takes the newest)
	@tools/lock

clean: ## Remove what was built and installed here
	rm -rf .venv .venv-ecosystems .venv-kubeflow .uv dist build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage* htmlcov
