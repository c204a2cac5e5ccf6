# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Points of the volume $v in the repository $repo for command line tests. After cli.sh.
# shellcheck disable=SC2034,SC2154 # for the tests that read this; from the tests

n=0

# backup [OPTIONS]: one more point; its id in ${point[n]}, what it must read in $T/is.n, what it stored in $stored; n counts on
backup() {
    t_ok blkrep backup "$v" "$repo" --json "$@"
    cp --sparse=always "$v" "$T/is.$n"
    point[n]=$(t_json point)
    stored=$(t_json bytes_stored)
    n=$((n + 1))
}
