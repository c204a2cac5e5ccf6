#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# An option that sync does not know, a value out of range, a missing or surplus argument: status 2, the word named, nothing made.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d" && t_random "$T/d/a" 64K 1
t_remember "$T/d"
bad() { # WORDS ARGS...: sync with them fails as usage and says WORDS
    local words=$1
    shift
    t_run blkrep sync "$@"
    t_status 2
    t_stderr_has "$words"
    t_nothing_changed "$T/d"
}
bad --fast --fast "$T/d/a" "$T/d/b"
bad --dry-ru --dry-ru "$T/d/a" "$T/d/b"
bad -v -v "$T/d/a" "$T/d/b"
bad "SOURCE REPLICA"
bad "SOURCE REPLICA" "$T/d/a"
bad "SOURCE REPLICA" "$T/d/a" "$T/d/b" "$T/d/c"
bad --bwlimit --bwlimit=fast "$T/d/a" "$T/d/b"
bad --bwlimit --bwlimit=-1 "$T/d/a" "$T/d/b"
bad --bwlimit --bwlimit=99999999999999999999G "$T/d/a" "$T/d/b"
bad --bwlimit --bwlimit= "$T/d/a" "$T/d/b"
bad --every --every=0 "$T/d/a" "$T/d/b"
bad --every --every=now "$T/d/a" "$T/d/b"
bad --dry-run --every=1s --dry-run "$T/d/a" "$T/d/b"
bad --buffers --buffers=0 "$T/d/a" "$T/d/b"
bad --buffers --buffers=1000000 "$T/d/a" "$T/d/b"
bad --io --io=posix "$T/d/a" "$T/d/b"
bad --progress --progress=77 "$T/d/a" "$T/d/b"
bad --verify --verify=yes "$T/d/a" "$T/d/b"
bad --verify --verify --verify "$T/d/a" "$T/d/b"
bad "on this host" blkrep://example.invalid/x "$T/d/b"
bad "HOST" "$T/d/a" blkrep://example.invalid
t_run blkrep snyc "$T/d/a" "$T/d/b"
t_status 2
t_stderr_has snyc
# with --json the exit object says it as well
t_run blkrep sync --json --fast "$T/d/a" "$T/d/b"
t_status 2
