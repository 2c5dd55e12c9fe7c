# `make demo` and `make test` set up what they need on a Debian machine, then run; `make help` lists the targets.
# What is there already is left alone, so that the second time is quick.

# The system's Python, because the distribution's bcc belongs to it.
PYTHON ?= /usr/bin/python3
# More arguments for pytest and for `furtrace demo`.
PYTEST_ARGS ?=
DEMO_ARGS ?=
# For `make vm`: version of a kernel, perhaps with -generic or -rt; a command, or none for a shell; more options.
KERNEL ?= 7.3
CMD ?=
VM_ARGS ?=

comma := ,
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# Debian packages, and what each is for. The names are the same in Debian 12 and 13, with one exception.
define DEMO_PACKAGES
python3-venv    the virtual environment
python3-bpfcc   bcc, which compiles and attaches the probes, and libbpf
endef

# Debian 12 has it in QEMU's own packages.
ifeq ($(shell grep -sx VERSION_CODENAME=bookworm /etc/os-release),)
VIRTIOFSD_PACKAGE := virtiofsd       gives virtual machines this one's root directory
endif

define TEST_PACKAGES
$(DEMO_PACKAGES)
$(VIRTIOFSD_PACKAGE)
bpftool         a second opinion on the kernel's types
dpkg-dev        unpacks source packages
fio             load for the mounts that are traced
fuse3           fusermount3, which unmounts
g++             builds libfuse
gcc             asks the C compiler for the layout of structures
git             a program that tests run on a mount
iproute2        the loopback of virtual machines
kmod            loads modules, such as a virtual machine's overlayfs
libc6-dev       C headers for gcc
liburing-dev    libfuse over io_uring
libnuma-dev     libfuse over io_uring
linux-perf      perf, whose count of the tracepoints is compared
mandoc          checks the manual pages
meson           builds libfuse
ninja-build     builds libfuse
pkgconf         builds libfuse
qemu-system-x86 boots other kernels
strace          a second opinion on what a server did
tmux            a terminal for the full-screen view
tshark          reads, cuts and merges recordings as everybody does
endef

# Shell: install those of the packages in $(1), a variable's name, that are missing. If that can't be, go on.
define install
missing=() absent=()
declare -A have=() why=()
while read -r package state; do
    if [[ $$state == installed ]]; then have[$$package]=1; fi
done < <(dpkg-query --show --showformat='$${Package} $${db:Status-Status}\n' 2>/dev/null || true)
while read -r package purpose; do
    if [[ -z $$package || -n $${have[$$package]:-} ]]; then continue; fi
    missing+=("$$package")
    why[$$package]=$$purpose
done <<< "$$$(1)"
if (( $${#missing[@]} == 0 )); then
    :
elif ! command -v apt-get >/dev/null; then
    echo "This machine has no apt; install by other means what is missing of: $${missing[*]}"
elif (( EUID != 0 )); then
    echo "Not root, so these Debian packages are not installed: $${missing[*]}"
else
    echo "Asking for Debian's package lists ..."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || echo "The package lists could not be had; going on with those that are here."
    wanted=()
    for package in "$${missing[@]}"; do
        if [[ $$(apt-cache policy "$$package" 2>/dev/null) == *"Candidate: "[!\(]* ]]; then
            wanted+=("$$package")
            printf 'Installing %-15s %s\n' "$$package" "$${why[$$package]}"
        else
            absent+=("$$package")
        fi
    done
    if (( $${#absent[@]} )); then echo "Not in this distribution: $${absent[*]}"; fi
    if (( $${#wanted[@]} )); then
        log=$$(mktemp)
        if ! apt-get install -y -qq --no-install-recommends "$${wanted[@]}" >"$$log" 2>&1; then
            tail -n 20 "$$log"
            echo "Not all packages could be installed; going on with what is here."
        fi
        rm -f "$$log"
    fi
fi
if [[ ! -d /sys/module/fuse ]]; then
    modprobe fuse 2>/dev/null || echo "The kernel has no fuse, or it can't be loaded here; nothing can be mounted."
fi
endef

# Shell: make .venv and install $(1) into it.
define environment
"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "furtrace needs Python 3.11 or newer, which $(PYTHON) is not; name another one: make PYTHON=..."
    exit 1
}
if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    "$(PYTHON)" -c 'import ensurepip' 2>/dev/null || {
        echo "$(PYTHON) can't make virtual environments; install the package python3-venv."
        exit 1
    }
    echo "Making the virtual environment .venv ..."
    "$(PYTHON)" -m venv --clear .venv
fi
echo "Installing $(2) into .venv ..."
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable '$(1)'
endef

# Shell: all linters, whatever the first one says; fails if one of them did.
define lint
{
    failed=0
    .venv/bin/ruff check || failed=1
    .venv/bin/ruff format --check || failed=1
    .venv/bin/mypy || failed=1
    (( failed == 0 ))
}
endef

.PHONY: help
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */make \1\t/' | expand -t 14
	echo
	echo "PYTHON=$(PYTHON)  PYTEST_ARGS=$(PYTEST_ARGS)  DEMO_ARGS=$(DEMO_ARGS)  KERNEL=$(KERNEL)  CMD=  VM_ARGS=$(VM_ARGS)"

.PHONY: demo
demo: .venv/.demo  ## mount a FUSE server of our own, give it traffic, and trace it (as root)
	@.venv/bin/furtrace demo $(DEMO_ARGS)

.PHONY: test
test: .venv/.test  ## lint, then all tests; those of the running kernel need root
	@lint=0
	$(lint) || { lint=1; echo "Lint failed, see above; the tests run all the same."; }
	.venv/bin/python -m pytest -n auto --maxprocesses 4 --no-loadscope-reorder $(PYTEST_ARGS)
	exit $$lint

.PHONY: lint
lint: .venv/.test  ## ruff and mypy
	@$(lint)

.PHONY: bench
bench: .venv/.test  ## measure what furtrace costs
	@for file in tests/bench/bench_*.py; do
	    name=$$(basename "$$file" .py)
	    echo "== $$name"
	    .venv/bin/python -m "tests.bench.$$name"
	done

.PHONY: vm
# A dollar sign in it is the shell's, not make's.
vm: export COMMAND := $(value CMD)
vm: .venv/.test  ## boot another kernel of Debian on this root directory, which it can't write: KERNEL=7.3 CMD='uname -r'
	@if [[ -z $$COMMAND ]]; then
	    .venv/bin/python -m tests.vm $(VM_ARGS) '$(KERNEL)'
	else
	    .venv/bin/python -m tests.vm $(VM_ARGS) '$(KERNEL)' -- bash -c "$$COMMAND"
	fi

.PHONY: clean
clean:  ## remove the virtual environment, what tests fetched and built, and caches
	@rm -rf .venv .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find furtrace tests -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: demo-packages test-packages
export DEMO_PACKAGES TEST_PACKAGES
demo-packages:
	@$(call install,DEMO_PACKAGES)

test-packages:
	@$(call install,TEST_PACKAGES)

.venv/.demo: pyproject.toml | demo-packages
	@$(call environment,.,furtrace and what it needs)
	touch $@

.venv/.test: pyproject.toml | test-packages
	@$(call environment,.[test],furtrace$(comma) what it needs$(comma) and what its tests need)
	touch .venv/.demo $@
