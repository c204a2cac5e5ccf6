#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/tidy refuses what breaks the architecture and the house rules, and accepts what does not: every rule is fed one
# file that breaks it and nothing else.
# timeout: 60
# plain: about scripts/tidy
. "$(dirname "$0")/../lib/cli.sh"

tree=$T/tree
spdx='// SPDX-License-Identifier: Apache-2.0'

# has PATH LINE...: the tree has exactly one file, PATH, holding the lines
has() {
    rm -rf "$tree"
    mkdir -p "$tree/$(dirname "$1")"
    printf '%s\n' "${@:2}" >"$tree/$1"
}

accepted() { # accepted PART
    t_run "$T_TOP/scripts/tidy" --root "$tree" "$1"
    t_status 0
}

refused() { # refused PART TEXT
    t_run "$T_TOP/scripts/tidy" --root "$tree" "$1"
    t_status 1
    t_stdout_has "$2"
}

# edge FILE INCLUDE: FILE includes it
edge() { has "$1" "$spdx" "#include \"$2\""; }

# ---- layering
edge engine/map/tree.c engine/base/err.h && accepted layering
edge engine/pipe/pipe.c engine/map/tree.h && accepted layering # through codec
edge engine/sync/sync.c engine/replica/replica.h && accepted layering
edge engine/restore/plan.c engine/net/session.h && accepted layering # through repo
edge engine/ring/uring.c kmod-compat/kernel.h && accepted layering
edge tools/sync.c engine/sync/sync.h && accepted layering
edge tests/unit/test_tree.c tools/options.h && accepted layering

edge engine/map/tree.c engine/ring/ring.h && refused layering "engine/map may not include engine/ring/ring.h"
edge engine/codec/delta.c engine/ring/ring.h && refused layering "engine/codec may not include"
edge engine/base/err.c engine/map/tree.h && refused layering "engine/base may not include"
edge engine/net/tls.h engine/pipe/pipe.h && refused layering "engine/net may not include"
edge engine/replica/apply.c engine/pipe/pipe.h && refused layering "engine/replica may not include"
edge engine/map/tree.c tools/options.h && refused layering "engine/map may not include"
edge engine/map/tree.c tests/lib/t_env.h && refused layering "engine/map may not include"
edge kmod-compat/kernel.c engine/base/err.h && refused layering "kmod-compat may not include"
edge tools/sync.c tests/lib/t_env.h && refused layering "tools may not include"
edge engine/cloud/sky.c engine/base/err.h && refused layering "no rule says what engine/cloud may include"
edge engine/map/tree.c tree.h && refused layering "does not start at the root"
has engine/map/tree.c "$spdx" '#include <unistd.h>' && refused layering "pure data"
has engine/ring/uring.c "$spdx" '#include <libdevmapper.h>' && refused layering "only dm-helper"

# ---- only tools/ prints, exits and reads arguments
has engine/map/tree.c "$spdx" 'void f(void) { printf("x"); }' && refused layering "only tools/ may call printf()"
has engine/map/tree.c "$spdx" 'void f(void) { exit(1); }' && refused layering "only tools/ may call exit()"
has engine/map/tree.c "$spdx" 'int f(void) { return getopt_long(0, 0, 0, 0, 0); }' && refused layering "getopt_long()"
has engine/map/tree.c "$spdx" 'void f(void) { fputs("x", stderr); }' && refused layering "standard streams"
has engine/map/tree.c "$spdx" '// printf() is not used' '/* exit(1)' ' * stderr */' 'char *s = "printf(";' \
    'int f(void) { return snprintf(s, 1, "") + x.exit(1) + on_exit(2); }' && accepted layering
has tools/main.c "$spdx" 'int main(void) { printf("x"); exit(0); }' && accepted layering

# ---- docs
has engine/map/tree.h "$spdx" '' 'int br_tree_open(int fd);' && refused docs "tree.h:3: br_tree_open() has no docstring"
has engine/map/tree.h "$spdx" '' '// says little' 'int br_tree_open(int fd);' && refused docs br_tree_open
has engine/map/tree.h "$spdx" '' 'static inline int br_two(void)' '{' '    return 2;' '}' && refused docs br_two
has engine/map/tree.h "$spdx" '' '/** br_one - one */' 'int br_one(void);' '' 'int br_two(void);' && refused docs br_two
has engine/map/tree.h "$spdx" '' '/**' ' * br_one - and br_two' ' */' 'int br_one(int a,' '           int b);' 'int br_two(void);' '' \
    'struct br_thing {' '    int (*br_slot)(void);' '};' '#define BR_CALL(x) br_other(x)' && accepted docs

# ---- house
has engine/map/tree.c 'int f;' && refused house "tree.c:1: no SPDX line"
has scripts/thing '#!/bin/bash' 'true' && refused house "thing:1: no SPDX line"
host=deb.debian # put together here, so that the tree has no such address, not even in pieces
has notes.md "https://$host.org/x" && refused house "notes.md:1: a mirror address"
has notes.md 'see /root''/notes' && refused house "notes.md:1: a machine path"
has notes.md 'see /work''/notes' && refused house "machine path"
# shellcheck disable=SC2016 # the text is not for this shell
has notes.md 'https://www.rfc-editor.org/rfc/rfc8446 ${TMPDIR:-/tmp}/x $T/tmp/x /var/lib/blkrep' && accepted house
