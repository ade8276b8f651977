# make demo, make test: each makes .venv, installs what it needs there and runs. Nothing is installed elsewhere.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo demo-table demo-weights studio test torture crash-test lint clean
.DEFAULT_GOAL := help

help:
	@echo 'make demo          the whole of IIDM in miniature on synthetic landscapes, on this machine'
	@echo 'make demo-table    Table 2 of the paper on synthetic masks, then Table 1: four GANs trained beside the U-Net, MINUTES=5 each'
	@echo 'make demo-weights  train the small networks that the demo starts from'
	@echo 'make studio        paint a mask in the browser and watch it become a landscape; PORT=8000'
	@echo 'make test          the tests'
	@echo 'make torture       hundreds of hostile attempts: wrong data, kills, a full disk (docs/reliability.md)'
	@echo 'make crash-test    kills a run 25 times at random moments, then one of two processes (with requirements-mpi.txt)'
	@echo 'make lint          ruff'
	@echo 'make clean         remove .venv, caches and what the demo made (not runs/, results/, checkpoints/)'
	@echo
	@echo 'PYTHON=python3.11 chooses the Python (3.9 to 3.12). Is this machine fit?  $(BIN)/python -m runtime.doctor'

.venv/made:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; (3, 9) <= v <= (3, 12) or sys.exit( \
	    "$(PYTHON) is Python %d.%d, expected 3.9 to 3.12: make PYTHON=python3.11 $(MAKECMDGOALS)" % v)'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    name=$$($(PYTHON) -c 'import sys; print("python3.%d-venv" % sys.version_info[1])'); \
	    echo "$(PYTHON) has no venv module: apt-get install $$name" >&2; exit 2; }
	$(PYTHON) -m venv .venv
	@touch $@

.venv/runtime: requirements.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/studio: requirements-studio.txt requirements.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-studio.txt
	@touch $@ .venv/runtime

.venv/development: requirements-dev.txt requirements-studio.txt requirements.txt | .venv/made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@ .venv/runtime

demo: .venv/runtime
	$(BIN)/python -m demo

demo-table: .venv/runtime
	$(BIN)/python -m demo.table
	$(BIN)/python -m demo.rivals --minutes $(or $(MINUTES),5)

demo-weights: .venv/runtime
	$(BIN)/python -m demo.weights

studio: .venv/studio
	$(BIN)/python -m studio $(if $(PORT),--port $(PORT))

test: .venv/development
	$(BIN)/python -m pytest -q tests

torture: .venv/development
	$(BIN)/python -m tests.torture

crash-test: .venv/development
	$(BIN)/python -m tests.training.crashing --kills 25
	[ ! -x $(BIN)/mpirun ] || $(BIN)/python -m tests.training.crashing --kills 25 --processes 2

lint: .venv/development
	$(BIN)/ruff check .

clean:
	rm -rf .venv .pytest_cache .ruff_cache demo/run
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
