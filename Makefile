# Every command a newcomer needs. Nothing here asks for root, a service or a network but the package registry.
.PHONY: setup run test test-long check bench docs lock clean
.SILENT:
PY := .venv/bin/python
UV := $(PY) -m uv --quiet
RUN_ARGS = $(if $(PORT),--port $(PORT)) $(if $(DATA),--data $(DATA)) $(ARGS)

setup: .venv/.dev .venv-aws/.done          ## all environments for work on the platform

run: .venv/.runtime                        ## start the demo: make run [PORT=9000] [DATA=folder]
	exec .venv/bin/trading-platform demo $(RUN_ARGS)

test: .venv/.dev .venv-aws/.done           ## the tests (under 6 minutes on 2 cores)
	$(PY) -m pytest -n 2 --dist loadfile -m "not long" $(ARGS)

test-long: .venv/.dev .venv-aws/.done      ## the suites that kill, soak and repeat
	$(PY) -m pytest -m long $(ARGS)

check: .venv/.dev                          ## all that a change must pass, besides the tests
	$(PY) -m ruff format --check src tests benchmarks
	$(PY) -m ruff check src tests benchmarks
	$(PY) -m mypy
	.venv/bin/lint-imports

bench: .venv/.dev .venv-peers/.done        ## every benchmark, as ratios measured in one run
	$(PY) -m benchmarks all

docs: .venv/.dev                           ## write the generated pages of docs/
	$(PY) -m trading_platform.api.error_docs > docs/errors.md

.venv/.uv: requirements/uv.txt tools/bootstrap
	sh tools/bootstrap .venv
	touch $@

.venv/.runtime: .venv/.uv requirements/runtime.txt pyproject.toml
	$(UV) pip install --python $(PY) --require-hashes -r requirements/runtime.txt
	$(UV) pip install --python $(PY) --no-deps -e .
	touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	$(UV) pip install --python $(PY) --require-hashes -r requirements/dev.txt
	touch $@

# The local AWS and the peers of the benchmarks pin other versions of what we use: each lives apart.
.venv-aws/.done: .venv/.uv requirements/emulator.txt
	$(UV) venv --allow-existing --python $(PY) .venv-aws
	$(UV) pip install --python .venv-aws/bin/python --require-hashes -r requirements/emulator.txt
	touch $@

.venv-peers/.done: .venv/.uv requirements/peers.txt
	sh tools/peers .venv-peers
	mkdir -p .venv-peers && touch $@

COMPILE = $(UV) pip compile --universal --generate-hashes --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock"
lock: .venv/.uv                            ## resolve the requirement files anew
	$(COMPILE) --python-version 3.11 pyproject.toml --extra dev -o requirements/dev.txt
	$(COMPILE) --python-version 3.11 pyproject.toml -c requirements/dev.txt -o requirements/runtime.txt
	$(COMPILE) --python-version 3.11 pyproject.toml --extra aws -c requirements/dev.txt -o requirements/aws.txt
	$(COMPILE) --python-version 3.11 requirements/emulator.in -o requirements/emulator.txt
	$(COMPILE) --python-version 3.11 requirements/uv.in -o requirements/uv.txt
	$(COMPILE) --python-version 3.13 requirements/peers.in -o requirements/peers.txt

clean:                                     ## remove what setup made
	rm -rf .venv .venv-aws .venv-peers
