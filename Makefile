# SPDX-License-Identifier: Apache-2.0
# Every everyday command of blkrep; `make help` lists them.
#
# Nothing here names a source file: what a file is follows from where it lies, so nobody edits this file to add one.
#   engine/*.c engine/*/*.c kmod-compat/*.c   -> $(BUILD)/libblkrep.a
#   dm-helper/*.c                             -> $(BUILD)/libdmhelper.a: blkrep and the tests take from it what needs no privilege
#   dm-helper/main.c and that                 -> $(BUILD)/blkrep-dm-helper, the only program linked with libdevmapper
#   tools/*.c                                 -> $(BUILD)/blkrep, and $(BUILD)/libtools.a for the tests
#   tools/nbdkit/plugin.c and that            -> $(BUILD)/nbdkit-blkrep-plugin.so, with which nbdkit serves recovery points
#   tests/lib/*.c                             -> $(BUILD)/tests/libtest.a, linked into every test program
#   tests/{unit,prop,sim}/{test,prop,sim}_*.c -> one cmocka program each, $(BUILD)/tests/KIND/NAME
#   tests/fuzz/fuzz_*.c                       -> $(BUILD)/tests/fuzz/NAME, which replays its corpus (tests/fuzz/replay.c);
#                                                `make fuzz` links the same files with libFuzzer instead
#   tests/bench/*.c                           -> $(BUILD)/tests/bench/NAME, which fill repositories to be measured
#   tests/vm/lib/nbdkit_*.c                   -> $(BUILD)/tests/vm/NAME.so, the test bed's disks
#   tests/vm/lib/*.c                          -> $(BUILD)/tests/vm/NAME, in the guest's path
# Includes are written from the root of the tree: #include "engine/base/err.h".
#
# Variables: BUILD=dir  SANITIZE=address,undefined  WERROR=0  V=1 (show commands)  DESTDIR= PREFIX=/usr

BUILD    ?= build
PREFIX   ?= /usr
# where the builders of initramfs look, whatever the prefix
INITRAMFS := /usr/share/initramfs-tools
DRACUT    := /usr/lib/dracut/modules.d
SANITIZE ?=
WERROR   ?= 1
FUZZ_SECONDS ?= 60
SOAK_SCALE   ?= 100

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

ifeq ($(origin CC),default)
CC := gcc
endif
Q := $(if $(V),,@)
quiet := $(findstring s,$(filter-out --%,$(firstword -$(MAKEFLAGS))))
say = $(if $(V),,@$(if $(quiet),,printf '  %-6s %s\n' $(1) $(2);))

# ---- flags -----------------------------------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wpointer-arith -Wcast-qual \
            -Wwrite-strings -Wundef -Wformat=2 -Wimplicit-fallthrough -Wno-missing-field-initializers
ifneq ($(WERROR),0)
WARNINGS += -Werror
endif
# -fPIC and hidden names: the same objects go into the programs and into the nbdkit plugin
HARDEN   := -fstack-protector-strong -fPIC -fvisibility=hidden
ifeq ($(SANITIZE),)
HARDEN   += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
else
SAN      := -fsanitize=$(SANITIZE) -fno-sanitize-recover=all
endif
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -I$(BUILD)/gen
CFLAGS   ?= -O2 -g
ALL_CFLAGS  := -std=gnu11 -fno-omit-frame-pointer $(CFLAGS) $(WARNINGS) $(HARDEN) $(SAN) $(EXTRA_CFLAGS)
ALL_LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed $(SAN) $(LDFLAGS)
DMH_LIBS := -ldevmapper -lseccomp -lcap-ng
LIBS     := -luring -laio -lzstd -lssl -lcrypto -lblkid -lext2fs -lcom_err -ljansson -linih -lxxhash -llmdb -lpthread

# ---- what there is ---------------------------------------------------------------------------------------------------
ENGINE_SRC := $(sort $(wildcard engine/*.c engine/*/*.c kmod-compat/*.c))
DMH_SRC    := $(sort $(filter-out dm-helper/main.c,$(wildcard dm-helper/*.c)))
TOOLS_SRC  := $(sort $(filter-out tools/nbdkit/plugin.c,$(wildcard tools/*.c tools/*/*.c)))
TLIB_SRC   := $(sort $(wildcard tests/lib/*.c))
TEST_SRC   := $(sort $(wildcard tests/unit/test_*.c tests/prop/prop_*.c tests/sim/sim_*.c))
FUZZ_SRC   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
BENCH_SRC  := $(sort $(wildcard tests/bench/*.c))
VM_SRC     := $(sort $(wildcard tests/vm/lib/*.c))
ALL_SRC    := $(ENGINE_SRC) $(DMH_SRC) dm-helper/main.c $(TOOLS_SRC) tools/nbdkit/plugin.c $(TLIB_SRC) $(TEST_SRC) $(BENCH_SRC) $(FUZZ_SRC) $(wildcard tests/fuzz/replay.c) $(filter-out tests/vm/lib/nbdkit_%,$(VM_SRC))

obj = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))
LIB        := $(BUILD)/libblkrep.a
DMH_LIB    := $(BUILD)/libdmhelper.a
DM_HELPER  := $(BUILD)/blkrep-dm-helper
TOOLS_LIB  := $(if $(TOOLS_SRC),$(BUILD)/libtools.a)
BLKREP     := $(if $(TOOLS_SRC),$(BUILD)/blkrep)
PLUGIN     := $(if $(TOOLS_SRC),$(BUILD)/nbdkit-blkrep-plugin.so)
TLIB       := $(BUILD)/tests/libtest.a
TEST_PROGS := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
BENCH_PROGS := $(patsubst %.c,$(BUILD)/%,$(BENCH_SRC))
FUZZ_PROGS := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SRC))
VM_PLUGINS := $(patsubst %.c,$(BUILD)/tests/vm/%.so,$(notdir $(filter tests/vm/lib/nbdkit_%,$(VM_SRC))))
VM_PROGS   := $(patsubst %.c,$(BUILD)/tests/vm/%,$(notdir $(filter-out tests/vm/lib/nbdkit_%,$(VM_SRC))))
VERSION_H  := $(BUILD)/gen/blkrep_version.h

# ---- build -----------------------------------------------------------------------------------------------------------
.PHONY: all tests check test asan tidy fuzz fuzz-programs vm-programs vm-shell demo-vm soak bench bench-vm man install clean compile_commands help \
    FORCE

all: $(LIB) $(BLKREP) $(PLUGIN) $(DM_HELPER) ## build build/blkrep, its helper, its nbdkit plugin and its library
tests: all $(TEST_PROGS) $(BENCH_PROGS) $(FUZZ_PROGS) ## build every test program too

# Objects of other flags are made anew: they would not go together.
FLAGS := $(BUILD)/gen/flags
$(FLAGS): FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' | cmp -s - $@ || echo '$(CC) $(CPPFLAGS) $(ALL_CFLAGS)' > $@

$(BUILD)/obj/%.o: %.c $(FLAGS) | $(VERSION_H)
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

# An archive is made anew, so that a source file that was removed does not live on in it; the list of its members is a
# dependency of its own, because a removal makes nothing newer.
define archive
$(1): $(call obj,$(2)) $(1).members
	@mkdir -p $$(@D)
	$$(call say,AR,$$@)rm -f $$@ && ar rcsD $$@ $(call obj,$(2))
$(1).members: FORCE
	@mkdir -p $$(@D)
	@echo '$(call obj,$(2))' | cmp -s - $$@ || echo '$(call obj,$(2))' > $$@
endef
$(eval $(call archive,$(LIB),$(ENGINE_SRC)))
$(eval $(call archive,$(DMH_LIB),$(DMH_SRC)))
$(eval $(call archive,$(TLIB),$(TLIB_SRC)))
ifneq ($(TOOLS_SRC),)
$(eval $(call archive,$(TOOLS_LIB),$(TOOLS_SRC)))
endif

$(BUILD)/blkrep: $(call obj,$(TOOLS_SRC)) $(TOOLS_LIB).members $(DMH_LIB) $(LIB)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(call obj,$(TOOLS_SRC)) $(DMH_LIB) $(LIB) $(LIBS)

$(PLUGIN): $(call obj,tools/nbdkit/plugin.c) $(TOOLS_LIB) $(DMH_LIB) $(LIB)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) -shared -Wl,-z,relro,-z,nodelete -Wl,--as-needed $(LDFLAGS) -o $@ $< \
	    $(TOOLS_LIB) $(DMH_LIB) $(LIB) $(LIBS)

$(DM_HELPER): $(call obj,dm-helper/main.c) $(DMH_LIB) $(LIB)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(DMH_LIB) $(LIB) $(DMH_LIBS) $(LIBS)

$(TEST_PROGS): $(BUILD)/%: $(BUILD)/obj/%.o $(TLIB) $(TOOLS_LIB) $(DMH_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(TLIB) $(TOOLS_LIB) $(DMH_LIB) $(LIB) -lcmocka $(LIBS)

$(BENCH_PROGS): $(BUILD)/%: $(BUILD)/obj/%.o $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(LIB) $(LIBS)

$(BUILD)/tests/unit/test_sandbox: LIBS += -lseccomp -lcap-ng # not libdevmapper: that is the helper's alone

FUZZ_MAIN := $(if $(LIBFUZZER),,$(call obj,tests/fuzz/replay.c))
$(FUZZ_PROGS): $(BUILD)/%: $(BUILD)/obj/%.o $(FUZZ_MAIN) $(TLIB) $(DMH_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(if $(LIBFUZZER),-fsanitize=fuzzer) $(ALL_LDFLAGS) -o $@ $< $(FUZZ_MAIN) \
	    $(TLIB) $(DMH_LIB) $(LIB) -lcmocka $(LIBS)

$(VM_PLUGINS): $(BUILD)/tests/vm/%.so: tests/vm/lib/%.c
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -shared -o $@ $<

$(VM_PROGS): $(BUILD)/tests/vm/%: $(BUILD)/obj/tests/vm/lib/%.o $(DMH_LIB) $(LIB)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $< $(DMH_LIB) $(LIB) $(LIBS)

# The version: git's description of this commit, else the VERSION file of a release tarball. Written only when it changes.
VERSION := $(or $(shell git describe --tags --always --dirty --abbrev=10 2>/dev/null),$(shell cat VERSION 2>/dev/null),unknown)
DATE    := $(or $(shell git log -1 --format=%cs 2>/dev/null),$(shell date -u -r Makefile +%F))
$(VERSION_H): FORCE
	@mkdir -p $(@D)
	@new=$@.$$$$; printf '/* made by the Makefile */\n#define BR_VERSION "%s"\n#define BR_VERSION_DATE "%s"\n' '$(VERSION)' '$(DATE)' > $$new; \
	    cmp -s $$new $@ && rm $$new || mv $$new $@

# ---- test ------------------------------------------------------------------------------------------------------------
check: tests ## unit, property, short simulation, fuzz corpora, format: before every commit, under 3 minutes
	$(Q)scripts/test --no-setup --build $(BUILD) --kind unit,prop,sim,fuzz,format

test: ## everything in check, and cli and vm: what scripts/test does
	$(Q)scripts/test

asan: ## check and cli under address and undefined behaviour sanitizers, in build-asan/
	$(Q)$(MAKE) BUILD=$(BUILD)-asan SANITIZE=address,undefined CFLAGS='-O1 -g' tests
	$(Q)scripts/test --no-setup --build $(BUILD)-asan --kind unit,prop,sim,fuzz,format,cli

tidy: ## layering, format, clang-tidy, cppcheck, shellcheck and house rules
	$(Q)scripts/tidy

fuzz: ## libFuzzer on every decoder (or DECODER=name), FUZZ_SECONDS each (clang), in build-fuzz/
	$(Q)$(MAKE) BUILD=$(BUILD)-fuzz CC=clang SANITIZE=address,undefined WERROR=0 CFLAGS='-O1 -g' LIBFUZZER=1 \
	    EXTRA_CFLAGS=-fsanitize=fuzzer-no-link fuzz-programs
	$(Q)set -e; for p in $(patsubst %.c,%,$(filter tests/fuzz/fuzz_$(or $(DECODER),%).c,$(FUZZ_SRC))); do n=$${p##*/fuzz_}; \
	    mkdir -p $(BUILD)-fuzz/corpus/$$n $(BUILD)-fuzz/crashes; \
	    seeds=; [ ! -d tests/fuzz/corpus/$$n ] || seeds=tests/fuzz/corpus/$$n; \
	    echo "== fuzz_$$n for $(FUZZ_SECONDS) s; crashes go to $(BUILD)-fuzz/crashes"; \
	    $(BUILD)-fuzz/$$p -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
	        -artifact_prefix=$(BUILD)-fuzz/crashes/$$n- $(BUILD)-fuzz/corpus/$$n $$seeds; done
fuzz-programs: $(FUZZ_PROGS)

vm-programs: $(VM_PLUGINS) $(VM_PROGS) $(PLUGIN) # what scripts/vm needs; not in `all`, because nbdkit's headers come with the vm packages
vm-shell: all ## a console in the VM test bed, with the build and two disks
	$(Q)scripts/vm shell --build $(BUILD) --disk a=64M --disk b=64M
demo-vm: ## attach, sync, a power cut, an incremental sync, in a virtual machine
	$(Q)scripts/demo-vm

soak: tests ## long: prop and sim with SOAK_SCALE times the seeds, the soak tests of cli and vm, then fuzz
	$(Q)scripts/test --no-setup --build $(BUILD) --kind prop,sim --soak --seed random --scale $(SOAK_SCALE)
	$(Q)scripts/test --no-setup --build $(BUILD) --kind cli,vm --soak
	$(Q)$(MAKE) fuzz

bench: all $(BENCH_PROGS) ## blkrep beside its peers; writes tests/bench/RESULTS.md
	$(Q)tests/bench/run

bench-vm: all vm-programs ## what tracking through device-mapper costs, in the VM test bed; writes its section of tests/bench/RESULTS.md
	$(Q)tests/bench/run-vm

man: $(BLKREP) ## manual pages and bash completion, in $(BUILD)/man
	$(Q)rm -rf $(BUILD)/man && mkdir -p $(BUILD)/man
	$(Q)set -e; pages=$$($(BUILD)/blkrep manual); for p in $$pages; do $(BUILD)/blkrep manual $$p > $(BUILD)/man/$$p; done
	$(Q)cp tools/man/*.[1-8] $(BUILD)/man/

# ---- the rest --------------------------------------------------------------------------------------------------------
install: all man ## install into $(DESTDIR)$(PREFIX)
	$(if $(BLKREP),install -D -m 0755 $(BUILD)/blkrep $(DESTDIR)$(PREFIX)/bin/blkrep)
	install -D -m 0755 $(DM_HELPER) $(DESTDIR)$(PREFIX)/libexec/blkrep/blkrep-dm-helper
	install -D -m 0755 $(PLUGIN) $(DESTDIR)$(PREFIX)/libexec/blkrep/nbdkit-blkrep-plugin.so
	$(Q)set -e; for m in $(BUILD)/man/*.[1-8]; do \
	    install -D -m 0644 $$m $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done
	$(Q)set -e; for u in $(wildcard scripts/systemd/*.service scripts/systemd/*.timer scripts/systemd/*.socket); do \
	    to=$(DESTDIR)$(PREFIX)/lib/systemd/system/$${u##*/}; \
	    install -D -m 0644 $$u $$to; sed -i 's#=/usr/bin/blkrep #=$(PREFIX)/bin/blkrep #' $$to; done
	install -d -m 0755 $(DESTDIR)/etc/blkrep
	$(Q)set -e; for h in $(wildcard scripts/hooks/*); do \
	    install -D -m 0755 $$h $(DESTDIR)$(PREFIX)/share/blkrep/hooks/$${h##*/}; done
	install -D -m 0644 scripts/udev/62-blkrep.rules $(DESTDIR)$(PREFIX)/lib/udev/rules.d/62-blkrep.rules
	$(Q)set -e; for e in scripts/initramfs/*; do \
	    install -D -m 0755 $$e $(DESTDIR)$(PREFIX)/libexec/blkrep/$${e##*/}; done
	install -D -m 0755 scripts/initramfs-tools/hook $(DESTDIR)$(INITRAMFS)/hooks/blkrep
	install -D -m 0755 scripts/initramfs-tools/local-top $(DESTDIR)$(INITRAMFS)/scripts/local-top/blkrep
	install -D -m 0755 scripts/initramfs-tools/local-top $(DESTDIR)$(INITRAMFS)/scripts/local-block/blkrep
	$(Q)set -e; for d in scripts/dracut/*.sh; do install -D -m 0755 $$d $(DESTDIR)$(DRACUT)/90blkrep/$${d##*/}; done
	$(Q)sed -i 's#/usr/libexec/blkrep#$(PREFIX)/libexec/blkrep#g; s#^bin=/usr/bin$$#bin=$(PREFIX)/bin#; s#^lib=/usr/lib$$#lib=$(PREFIX)/lib#' \
	    $(DESTDIR)$(PREFIX)/libexec/blkrep/blkrep-early $(DESTDIR)$(INITRAMFS)/hooks/blkrep \
	    $(DESTDIR)$(INITRAMFS)/scripts/local-top/blkrep $(DESTDIR)$(INITRAMFS)/scripts/local-block/blkrep \
	    $(DESTDIR)$(DRACUT)/90blkrep/module-setup.sh $(DESTDIR)$(DRACUT)/90blkrep/blkrep-settled.sh
	install -D -m 0644 scripts/systemd/blkrep.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/blkrep.conf
	install -D -m 0644 $(BUILD)/man/bash-completion $(DESTDIR)$(PREFIX)/share/bash-completion/completions/blkrep
	install -D -m 0644 LICENSE $(DESTDIR)$(PREFIX)/share/doc/blkrep/copyright

# Quotes in the list are the shell's; no flag holds a quote or a blank.
compile_commands: $(VERSION_H) ## compile_commands.json for editors and clang-tidy
	@{ printf '['; sep=; for f in $(ALL_SRC); do \
	    printf '%s\n{"directory": "%s", "file": "%s", "command": "%s"}' "$$sep" '$(CURDIR)' "$$f" \
	        "$(CC) $(CPPFLAGS) $(ALL_CFLAGS) -c $$f"; sep=,; done; printf '\n]\n'; } > compile_commands.json

clean: ## remove what the build made
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-fuzz compile_commands.json

help: ## this list
	@awk -F ':.*## ' '/^[a-z_-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile
	@sed -n 's/^# Variables: /  variables: /p' Makefile

FORCE:
-include $(patsubst %.o,%.d,$(call obj,$(ALL_SRC)))
