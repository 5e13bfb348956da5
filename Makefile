# `make demo` and `make test` are all that is needed on a fresh Debian machine; the rest is for working on it.
#   make demo ARGS="--calls 1500 --rate 60"     the reference network on loopback, and a drain under load
#   make test ARGS=tests.test_config            the suite, or a part of it
#   make test-kernel                            the tests that need SCTP in the kernel
#   make test-compiled                          the tests of what every message passes, on compiled modules
#   make interop                                runs against SIPp, Kamailio and baresip; writes docs/interop.rst
#   make lint                                   ruff and mypy
#   make bench ARGS="--json FILE"               processor time a call, beside Kamailio
#   make profile                                where a server's time goes: build/profile.speedscope.json
#   make docs                                   docs/_build/html/index.html

ARGS ?=

# Where Debian has kamailio and tc, which users other than root do not look for there.
export PATH := $(PATH):/usr/sbin:/sbin

# The tests, by the beginnings of their names, of what is compiled and of what stands right above it, in memory
# and over sockets. Left out are those of what no message passes, and what takes long to show no more.
COMPILED = message torture timers transaction proxy transport intake server overload collector client element \
	lifecycle announce subscriber priority network testing metrics control_local demo_parts demo_phone \
	scenario_sipp scenario_calls scenario_garbage scenario_registrar \
	workers scenario_workers

.PHONY: bench profile demo test test-compiled test-kernel interop lint docs clean

demo:
	@tools/setup.sh demo
	@.venv/bin/sipgrace demo $(ARGS)

test:
	@tools/setup.sh test
	@.venv/bin/python tools/runtests.py build/test-summary $(ARGS)

# The tests that need SCTP in the kernel, in a guest whose kernel has it: nothing of the host is needed.
test-kernel:
	@tools/setup.sh test
	@tools/kernel/run sh -c '.venv/bin/python tools/kernel/versions.py; exec .venv/bin/python "$$@"' sh \
		tools/runtests.py build/test-kernel-summary \
		$(or $(ARGS),$(patsubst tests/%.py,tests.%,$(wildcard tests/test_sctp_kernel*.py)))

# The same modules compiled (SIPGRACE_COMPILE), from a folder from which the tree's own are not found first.
test-compiled:
	@tools/setup.sh test
	@tools/compile.sh "$(CURDIR)/.venv/bin/python"
	@cd build && PYTHONPATH="$(CURDIR)/build/compiled:$(CURDIR)" ../.venv/bin/python ../tools/runtests.py \
		test-compiled-summary $(or $(ARGS),$(patsubst tests/%.py,tests.%,\
		$(wildcard $(addprefix tests/test_,$(addsuffix *.py,$(COMPILED))))))

# Against SIP programs that nobody here wrote; ARGS names some of the runs.
interop:
	@tools/setup.sh interop
	@.venv/bin/python -m interop $(ARGS)

lint:
	@tools/setup.sh lint
	.venv/bin/ruff check .
	.venv/bin/mypy

# Needs a quiet machine: what else runs is in the figures.
bench:
	@tools/setup.sh bench
	@tools/compile.sh "$(CURDIR)/.venv/bin/python"
	@.venv/bin/python -m benchmarks $(ARGS)

# To be opened at speedscope.app; ARGS="--output build/profile.svg" draws a flame graph instead.
profile:
	@tools/setup.sh profile
	@case " $(ARGS) " in *" --compiled "*|*" --instructions "*) tools/compile.sh "$(CURDIR)/.venv/bin/python";; esac
	@.venv/bin/python -m benchmarks.profile $(ARGS)

docs:
	@tools/setup.sh docs
	.venv/bin/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	.venv/bin/python tools/apidocs.py docs/_build/html/api

clean:
	rm -rf .venv build docs/_build .mypy_cache .ruff_cache
