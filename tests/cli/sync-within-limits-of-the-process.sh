#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A limit on file size, open files or memory ends a run with an error that names it, not by a signal or a guess at the disk; without it the
# same command goes on.
. "$(dirname "$0")/../lib/cli.sh"

t_random "$T/a" 1M 1
limited() { # ULIMIT WORDS...
    t_run bash -c 'ulimit '"$1"' && exec "$@"' sh "$BLKREP" sync "$T/a" "$T/b"
    t_status 1
    t_stderr_has "$2"
    t_stderr_lacks dmesg
}
limited "-f 100" "$T/b"
t_stderr_has "File too large"
limited "-n 12" "Too many open files"
grep -qa __asan_init "$BLKREP" || limited "-v 30000" "memory" # a sanitizer needs all there is
t_ok blkrep sync "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
t_random_at "$T/a" 0 512K 2
limited "-f 100" "File too large" # the stage
t_ok blkrep sync "$T/a" "$T/b"
t_file_equal "$T/a" "$T/b"
