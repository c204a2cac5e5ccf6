#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Through a server too: the replica named as source of its own origin, and a source that the server has for a replica itself, by any name, are
# refused with status 3 before anything is begun, whatever overrides are given.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/serve.sh"

mkdir "$T/replicas" "$T/d"
t_random "$T/replicas/origin" 1M 1
s_configure "[replica linked]" "path = $T/d/link"
s_start
s_pair boss --role=operator
# swapped
s_server t_ok blkrep sync "$T/replicas/origin" "$T/d/copy"
t_random_at "$T/d/copy" 0 4096 2
t_remember "$T/replicas/origin"
s_as boss t_run blkrep sync --json --overwrite "$T/d/copy" "$S_URL/origin"
t_refused 3 SWAPPED
s_as boss t_run blkrep sync --json --overwrite --force-full --yes "$T/d/copy" "$S_URL/origin"
t_refused 3 SWAPPED
t_nothing_changed "$T/replicas/origin"
# the same object
t_random "$T/replicas/self" 1M 3
ln "$T/replicas/self" "$T/d/link"
t_remember "$T/replicas/self" "$T/d"
for name in self linked; do
    s_as boss t_run blkrep sync --json --overwrite --yes "$T/replicas/self" "$S_URL/$name"
    t_refused 3 SOURCE_IN_USE
    t_stderr_has "open for writing"
    t_nothing_changed "$T/replicas/self" "$T/d"
    [[ ! -e $T/replicas/self.blkrep && ! -e $T/d/link.blkrep ]] || t_fail "a refused run left a record"
done
s_stop
