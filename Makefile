# Velour Fog. `make help` says what can be made.
#
# Everything is built under build/, in flavours: plain (build/), with sanitizers (build/asan/), for gcov
# (build/cov/), and for the fuzzers: libFuzzer (build/fuzz/, and without sanitizers, for numbers, build/fast/)
# and AFL++ (build/afl/). Each has its objects in obj/ and its programs beside them.

PREFIX   ?= /usr/local
CFLAGS   ?= -O3 -g
WERROR   ?= -Werror
FUZZ_CC  ?= clang
PKG      ?= pkg-config
INSTALL  ?= install
SEEDS    ?= 1000
SECONDS  ?= 60

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wformat=2 -Wundef -Wvla -Wcast-qual \
	-Wpointer-arith -Wwrite-strings -Wno-string-plus-int
SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# llhttp as a library (Debian 13), or else from its C sources (node-llhttp of Debian 12).
LLHTTP_DIR := /usr/share/llhttp
LLHTTP     := $(if $(shell $(PKG) --exists libllhttp 2>/dev/null && echo yes)$(wildcard /usr/include/llhttp.h),,\
	$(patsubst $(LLHTTP_DIR)/%.c,llhttp/%,$(wildcard $(LLHTTP_DIR)/*.c)))
LLHTTP_FLAGS := $(if $(LLHTTP),-isystem /usr/share/include/llhttp -DLLHTTP_STRICT_MODE=1,\
	$(shell $(PKG) --cflags libllhttp 2>/dev/null))
LIBS := -Wl,--as-needed -lcrypto -lcares $(if $(LLHTTP),,-lllhttp)

FLAGS := $(strip -std=gnu11 -D_GNU_SOURCE $(CPPFLAGS) -Iinclude $(LLHTTP_FLAGS) $(WARNINGS) $(WERROR) \
	-fPIE -fstack-protector-strong)
LINK  := -pie -Wl,-z,relro,-z,now

CC_plain := $(CC)
CC_asan  := $(CC)
CC_fuzz  := $(FUZZ_CC)
CC_cov   := $(CC)
CC_fast  := $(FUZZ_CC)
CC_afl   := afl-clang-fast
# The daemon is optimised as a whole when it is linked (an eighth fewer instructions a request); the tests
# are linked from the same objects without that, which for gcc alone can be done.
LTO   := $(if $(findstring Free Software,$(shell $(CC) --version 2>/dev/null)),-flto=auto)
FLAGS_plain := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 $(CFLAGS) $(LTO:%=% -ffat-lto-objects)
FLAGS_asan  := -O1 -g $(SANITIZE)
FLAGS_fuzz  := -O1 -g $(SANITIZE) -fsanitize=fuzzer-no-link
FLAGS_cov   := -O1 -g --coverage
FLAGS_fast  := -O2 -g -fsanitize=fuzzer-no-link
FLAGS_afl   := -O1 -g $(SANITIZE)
LINK_plain  := -fno-lto
LINK_asan   := $(SANITIZE)
LINK_fuzz   := $(SANITIZE)
LINK_fast   :=
LINK_afl    := $(SANITIZE)
LINK_cov    := --coverage
DAEMON_plain := $(CFLAGS) $(LTO)
DAEMON_asan  := $(SANITIZE)
DAEMON_cov   := --coverage

# Every .c file of src/ but main.c is in every test program, and so is each helper (a .c file beside
# the tests that is not itself a test). A test that defines __wrap_f gets --wrap=f of the linker;
# LDFLAGS_name is what else a test may need.
SRC   := $(sort $(wildcard src/*.c src/*/*.c))
PAGE  := build/page/page_file
LIB   := $(LLHTTP) $(PAGE) $(patsubst %.c,%,$(filter-out src/main.c,$(SRC)))
named   = $(patsubst %.c,%,$(wildcard tests/$(1)/*$(2).c))
helpers = $(filter-out $(call named,$(1),$(2)),$(call named,$(1)))
UNIT  := $(notdir $(call named,unit,_test))
FUZZ  := $(patsubst %_fuzz,%,$(notdir $(call named,fuzz,_fuzz)))
SIM   := $(call named,sim)
WRAP   = $$(nm $^ | sed -n 's/.* T __wrap_/-Wl,--wrap=/p' | sort -u)

SAY = @printf '  %-5s %s\n'
Q   := $(if $(V),,@)
JOBS = $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc 2>/dev/null || echo 1))

.PHONY: all run setup test tests check format sim coverage fuzz fuzz-afl soak bench dist deb test-deb test-boot test-image install uninstall clean help
.SECONDARY:
.DELETE_ON_ERROR:

all: build/velour-fog ## build build/velour-fog (WERROR= for no -Werror, V=1 to see the commands)

# $(call flavour,NAME,DIR)
define flavour
$(2)/obj/llhttp/%.o: $(LLHTTP_DIR)/%.c build/flags
	$$(SAY) CC $$@
	@mkdir -p $$(@D)
	$$(Q)$$(CC_$(1)) $$(FLAGS) $$(FLAGS_$(1)) -w -MMD -MP -c $$< -o $$@

$(2)/obj/%.o: %.c build/flags
	$$(SAY) CC $$@
	@mkdir -p $$(@D)
	$$(Q)$$(CC_$(1)) $$(FLAGS) $$(FLAGS_$(1)) -MMD -MP -c $$< -o $$@

$(2)/velour-fog: $(patsubst %,$(2)/obj/%.o,$(LIB) src/main)
	$$(SAY) LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK) $$(DAEMON_$(1)) $$(LDFLAGS) $$^ -o $$@ $$(LIBS)

$(2)/unit/%: $(2)/obj/tests/unit/%.o $(patsubst %,$(2)/obj/%.o,$(call helpers,unit,_test) $(LIB))
	$$(SAY) LINK $$@
	@mkdir -p $$(@D)
	$$(Q)$$(CC_$(1)) $$(LINK) $$(LINK_$(1)) $$(LDFLAGS) $$(LDFLAGS_$$*) $$(WRAP) $$^ -o $$@ $$(LIBS) -lcmocka

$(2)/sim/sim: $(patsubst %,$(2)/obj/%.o,$(SIM) $(LIB))
	$$(SAY) LINK $$@
	@mkdir -p $$(@D)
	$$(Q)$$(CC_$(1)) $$(LINK) $$(LINK_$(1)) $$(LDFLAGS) $$(LDFLAGS_sim) $$(WRAP) $$^ -o $$@ $$(LIBS)
endef
$(eval $(call flavour,plain,build))
# What tests do themselves is little: half of the time to compile them goes into making that fast.
build/obj/tests/unit/%.o: FLAGS_plain := -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -O1 -g

$(eval $(call flavour,asan,build/asan))
$(eval $(call flavour,fuzz,build/fuzz))
$(eval $(call flavour,cov,build/cov))
$(eval $(call flavour,fast,build/fast))
$(eval $(call flavour,afl,build/afl))

define fuzzer
$(2)/%_fuzz: $(2)/obj/tests/fuzz/%_fuzz.o $(patsubst %,$(2)/obj/%.o,$(call helpers,fuzz,_fuzz) tests/unit/answer $(LIB))
	$$(SAY) LINK $$@
	$$(Q)$$(CC_$(1)) $$(LINK) $$(LINK_$(1)) -fsanitize=fuzzer $$(LDFLAGS) $$(WRAP) $$^ -o $$@ $$(LIBS)
endef
$(eval $(call fuzzer,fuzz,build/fuzz))
$(eval $(call fuzzer,fast,build/fast))
$(eval $(call fuzzer,afl,build/afl))

$(PAGE).c: scripts/page $(wildcard src/page/*)
	$(SAY) PAGE $@
	$(Q)scripts/page src/page/page.html $@

build/bench/%: tests/bench/%.c build/flags
	$(SAY) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(FLAGS_plain) $(LINK) -MMD -MP $< -o $@

# What is preloaded into the program, by tests/e2e.
build/e2e/%.so: tests/e2e/%.c build/flags
	$(SAY) CC $@
	@mkdir -p $(@D)
	$(Q)$(CC) $(FLAGS) $(CFLAGS) -fPIC -shared -MMD -MP $< -o $@

# Holds the flags of the last build: when they change, all is built anew. Also where a machine that
# lacks something is told so.
COMMAND := $(CC) $(FLAGS) $(FLAGS_plain) $(LDFLAGS)
ifneq ($(file <build/flags),$(COMMAND))
.PHONY: build/flags
endif
build/flags:
	@command -v $(firstword $(CC)) >/dev/null || { echo "There is no C compiler ($(CC)) here: run 'make setup' first." >&2; exit 1; }
	@for header in llhttp uthash xxhash openssl/sha ares; do echo "#include <$$header.h>" | $(CC) $(FLAGS) -E -xc - >/dev/null 2>&1 || \
		{ echo "The header $$header.h is not on this machine: run 'make setup' first." >&2; exit 1; }; done
	@mkdir -p build
	@printf '%s\n' '$(COMMAND)' >$@

-include $(shell find build -name '*.d' 2>/dev/null)

run: ## install what is missing, build, and run a node on port 8000 (ARGS='--memory-max 1G' to give it options)
	@scripts/setup build
	+@$(MAKE) --no-print-directory $(JOBS) all
	@exec build/velour-fog $(ARGS)

setup: ## install all that building and testing need (Debian and its kin)
	@scripts/setup test

test: ## install what is missing, then run every test; the last line counts them
	+@MAKE='$(MAKE)' scripts/test

tests: all $(UNIT:%=build/unit/%) $(UNIT:%=build/asan/unit/%) build/asan/velour-fog $(FUZZ:%=build/fuzz/%_fuzz) \
	$(patsubst tests/%.c,build/%.so,$(wildcard tests/e2e/*.c)) \
	$(if $(SIM),build/sim/sim build/asan/sim/sim) $(patsubst tests/%.c,build/%,$(wildcard tests/bench/*.c))

check: ## the static checks alone: floors, style, analysers, formatting, units, man pages, completion, hardening
	+@MAKE='$(MAKE)' scripts/test check

format: ## format the source
	@clang-format -i $(wildcard src/*.c src/*/*.c include/*.h include/*/*.h tests/*/*.c tests/*/*.h)

sim: build/sim/sim ## simulate SEEDS=1000 seeds
	build/sim/sim $(SEEDS)

coverage: ## how much of src/ the simulator runs through (some minutes; fails below 85 %)
	+@MAKE='$(MAKE)' tests/sim/coverage

fuzz: ## fuzz each target for SECONDS=60
	+@MAKE='$(MAKE)' FUZZ_SECONDS=$(SECONDS) scripts/test fuzz

soak: all ## kill, stop and cut off real nodes under load for SECONDS=60 (as root; see docs/reliability.md)
	tests/soak/run --seconds $(SECONDS)

fuzz-afl: ## fuzz each target for SECONDS=60 with AFL++, which Debian has as afl++
	@command -v $(CC_afl) >/dev/null || { echo "$(CC_afl) is not on this machine: install Debian's afl++." >&2; exit 1; }
	+@$(MAKE) --no-print-directory $(FUZZ:%=build/afl/%_fuzz)
	@scripts/fuzz-afl $(SECONDS) $(FUZZ)

bench: all $(patsubst tests/%.c,build/%,$(wildcard tests/bench/*.c)) ## measure this node beside others (see docs/performance.md)
	tests/bench/run

dist: ## make the source archive, build/velour-fog-VERSION.tar.gz: the same source, the same bytes
	@scripts/dist

deb: ## install what is missing, and build the Debian package
	@scripts/setup package
	@scripts/deb

test-deb: deb ## test the package in a whole Debian of its own (as root; RELEASE=trixie for another one)
	@tests/packages/chroot $(RELEASE)

test-boot: deb ## test the package under a systemd that is booted in a container (as root)
	@tests/packages/booted

test-image: ## carry out scripts/Containerfile by hand, and run what comes about (as root)
	@scripts/setup package
	@tests/packages/image

BINDIR  = $(PREFIX)/bin
UNITDIR = $(PREFIX)/lib/systemd/system
MANDIR  = $(PREFIX)/share/man
BASHDIR = $(PREFIX)/share/bash-completion/completions
UNITS   = velour-fog.service velour-fog.socket velour-fog@.service \
	velour-fog-frontend.service velour-fog-frontend@.service velour-fog-frontend@.socket

install: all ## install to PREFIX=/usr/local, under DESTDIR
	$(INSTALL) -d "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(UNITDIR)" "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(MANDIR)/man7" "$(DESTDIR)$(BASHDIR)"
	$(INSTALL) -m 755 build/velour-fog "$(DESTDIR)$(BINDIR)/velour-fog"
	$(INSTALL) -m 644 docs/velour-fog.1 "$(DESTDIR)$(MANDIR)/man1/velour-fog.1"
	$(INSTALL) -m 644 docs/velour-fog.7 "$(DESTDIR)$(MANDIR)/man7/velour-fog.7"
	$(INSTALL) -m 644 scripts/velour-fog.bash "$(DESTDIR)$(BASHDIR)/velour-fog"
	@for unit in $(UNITS); do echo "sed 's|/usr/local/bin/|$(BINDIR)/|' scripts/$$unit >$(DESTDIR)$(UNITDIR)/$$unit"; \
		sed 's|/usr/local/bin/|$(BINDIR)/|' "scripts/$$unit" >"$(DESTDIR)$(UNITDIR)/$$unit" && \
		chmod 644 "$(DESTDIR)$(UNITDIR)/$$unit" || exit 1; done

uninstall: ## remove what install put there
	rm -f "$(DESTDIR)$(BINDIR)/velour-fog" "$(DESTDIR)$(MANDIR)/man1/velour-fog.1" "$(DESTDIR)$(MANDIR)/man7/velour-fog.7" \
		"$(DESTDIR)$(BASHDIR)/velour-fog" $(UNITS:%="$(DESTDIR)$(UNITDIR)/%")

clean: ## remove build/
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile
