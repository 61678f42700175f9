# Every target makes its own environment in $(VENV), from Python 3.11 or later and GNU make.
# Stamp files in there remember what is installed: a second run installs nothing.
#
#   PYTHON=...   the interpreter to use (default: the first that is 3.11 or later)
#   VENV=...     the virtual environment (default: .venv)
#   ARGS=...     more arguments for what the target runs

PYTHON ?=
VENV ?= .venv
ARGS ?=
SEED ?=
SEEDS ?= 1000

OLD := 2.2.0
OLD_VENV := .venv-$(OLD)

# Whom the package and its heartbeats are compared with, and what all of the latter need besides.
FRIENDS := .venv-friends-$(OLD) .venv-friends-eventlet .venv-friends-threading
OLD_COTYLEDON := 'cotyledon==$(OLD)'
PEERS := 'circus>=0.19,<1' 'gunicorn>=23' 'supervisor>=4.3,<5'
CLIENTS := tooz redis etcd3gw oslo.messaging
OSLO_SERVICE := >=4.8,<4.9

PY := $(VENV)/bin/python
PIP_INSTALL := -m pip --disable-pip-version-check -qq install

.DEFAULT_GOAL := help
# Two targets at once would run two pips in one environment.
.NOTPARALLEL:
.PHONY: help demo test sim bench bench-peers bench-heartbeats docs lint types layers check fmt clean same-python FORCE

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.installed-run ## run the demo (examples/demo.py)
	$(PY) examples/demo.py $(ARGS)

test: $(VENV)/.installed-test ## run the tests (ARGS="-k reload -x")
	$(PY) -m pytest $(ARGS)

sim: $(VENV)/.installed-run ## simulate many seeds (SEEDS=5000) or replay one (SEED=17)
	$(PY) -m cotyledon.testing $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

bench: $(VENV)/.installed-run $(OLD_VENV)/.installed ## measure against cotyledon 2.2.0
	$(PY) -m bench --reference $(OLD_VENV)/bin/python $(ARGS)

bench-peers: $(VENV)/.installed-run .venv-peers/.installed ## measure beside circus, gunicorn, supervisor
	$(PY) -m bench.peers --peers .venv-peers/bin/python $(ARGS)

bench-heartbeats: $(VENV)/.installed-bench $(FRIENDS:=/.installed) ## beat while the main job is busy
	$(PY) -m bench.heartbeats --reference .venv-friends-$(OLD)/bin/python \
		--eventlet .venv-friends-eventlet/bin/python \
		--threading .venv-friends-threading/bin/python $(ARGS)

docs: $(VENV)/.installed-docs ## build the documentation in docs/_build/html
	$(PY) -m sphinx -q -E -n -W --keep-going -b html -d docs/_build/doctrees \
		docs docs/_build/html $(ARGS)
	@echo "The documentation is in docs/_build/html/index.html"

lint: $(VENV)/.installed-lint ## ruff: rules and format
	$(PY) -m ruff check
	$(PY) -m ruff format --check

types: $(VENV)/.installed-lint ## mypy and pyright
	$(PY) -m mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(PY) -m pyright --pythonpath $(PY)

layers: $(VENV)/.installed-lint ## import-linter: who may import whom
	$(VENV)/bin/lint-imports --no-logo

check: lint types layers ## lint, types and layers

fmt: $(VENV)/.installed-lint ## format the code and fix what ruff can fix
	$(PY) -m ruff check --fix-only --quiet
	$(PY) -m ruff format

clean: ## remove what make has made, the environments included
	@for dir in $(VENV) .venv .venv-*; do \
		if [ -f "$$dir/pyvenv.cfg" ]; then echo "rm -rf $$dir"; rm -rf "$$dir"; fi; \
	done
	rm -rf build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.import_linter_cache
	find src tests examples bench docs -name __pycache__ -type d -prune -exec rm -rf {} + \
		2>/dev/null || true

# --- environments -------------------------------------------------------------------------

# Sets $$python to the first usable interpreter, or says what is missing. The base one, since
# the environment that is active now may be the one to be replaced.
define find_python
python=; old=; bare=; \
for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	found=$$("$$candidate" -c 'import sys; print(sys._base_executable)' 2>/dev/null) \
		|| continue; \
	if ! "$$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		old="$$old $$found"; \
	elif ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
		bare="$$bare $$found"; \
	else \
		python=$$found; break; \
	fi; \
done; \
if [ -z "$$python" ]; then \
	if [ -n "$$bare" ]; then \
		echo "cotyledon: no venv or ensurepip module in:$$bare" >&2; \
		echo "Install it (Debian and Ubuntu: the package python3-venv)," \
			"or name another interpreter: make PYTHON=/path/to/python" >&2; \
	else \
		echo "cotyledon: no Python 3.11 or later found (looked for:" \
			"$(or $(PYTHON),python3 python3.13 python3.12 python3.11))" >&2; \
		if [ -n "$$old" ]; then echo "Too old:$$old" >&2; fi; \
		echo "Install one, or name it: make PYTHON=/path/to/python" >&2; \
	fi; \
	exit 1; \
fi
endef

# $(call guard_venv,DIR): only an environment may be replaced.
define guard_venv
if [ -e "$(1)" ] && [ ! -f "$(1)/pyvenv.cfg" ] && [ -n "$$(ls -A "$(1)")" ]; then \
	echo "cotyledon: $(1) is there and is no virtual environment: left alone" >&2; exit 1; \
fi
endef

# One that works is taken as it is. It is made anew when its interpreter has gone, as after an
# upgrade of the system, and when it was left half made.
$(VENV)/.made: $(if $(shell test -x "$(VENV)/bin/python" && echo yes),,FORCE)
	@if ! "$(PY)" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
		$(call guard_venv,$(VENV)); \
		$(find_python); \
		echo "Creating $(VENV) with $$python"; \
		"$$python" -m venv --clear "$(VENV)" || exit 1; \
	fi
	@touch $@

ifneq ($(PYTHON),)
$(VENV)/.made: | same-python
endif

same-python:
	@if [ -x "$(PY)" ]; then \
		is=$$("$(PY)" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		want=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
		if [ "$$is" != "$$want" ]; then \
			echo "cotyledon: $(VENV) has Python $$is, but PYTHON is $$want:" \
				"name another one, such as VENV=.venv-$$want" >&2; \
			exit 1; \
		fi; \
	fi

$(VENV)/.installed-run: EXTRAS :=
$(VENV)/.installed-test: EXTRAS := [test]
$(VENV)/.installed-lint: EXTRAS := [test,lint]
$(VENV)/.installed-docs: EXTRAS := [docs]
$(VENV)/.installed-bench: EXTRAS := [test,bench]

$(VENV)/.installed-run $(VENV)/.installed-test $(VENV)/.installed-lint $(VENV)/.installed-docs \
		$(VENV)/.installed-bench: pyproject.toml $(VENV)/.made
	@echo "Installing cotyledon$(EXTRAS) into $(VENV)"
	@$(PY) $(PIP_INSTALL) -e '.$(EXTRAS)'
	@touch $@

# The others must run on the very same Python, or the comparison is one of Pythons.
same_release = $(shell a=$$(grep '^version' "$(VENV)/pyvenv.cfg" 2>/dev/null) && \
	b=$$(grep '^version' "$(1)/pyvenv.cfg" 2>/dev/null) && \
	[ "$$a" = "$$b" ] && test -x "$(1)/bin/python" && echo yes)

# $(call other,DIR,NAME): the environment DIR with what the variable NAME says.
define other
$(1)/.installed: $(VENV)/.made $(if $(call same_release,$(1)),,FORCE)
	@$$(call guard_venv,$(1))
	@echo "Installing" $$($(2)) "into $(1)"
	@$$(PY) -m venv --clear "$(1)"
	@$(1)/bin/python $$(PIP_INSTALL) $$($(2))
	@touch $$@
endef

FRIENDS_OLD := $(OLD_COTYLEDON) $(CLIENTS)
FRIENDS_EVENTLET := 'oslo.service$(OSLO_SERVICE)' $(CLIENTS)
FRIENDS_THREADING := 'oslo.service[threading]$(OSLO_SERVICE)' $(OLD_COTYLEDON) $(CLIENTS)

$(eval $(call other,$(OLD_VENV),OLD_COTYLEDON))
$(eval $(call other,.venv-peers,PEERS))
$(eval $(call other,.venv-friends-$(OLD),FRIENDS_OLD))
$(eval $(call other,.venv-friends-eventlet,FRIENDS_EVENTLET))
$(eval $(call other,.venv-friends-threading,FRIENDS_THREADING))
