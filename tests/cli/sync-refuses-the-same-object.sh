#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Source and target that are one object by name, link, mount or loop device are refused with status 3 and stay as they are.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"

mkdir "$T/d" && cd "$T/d"
t_random a 1M 1
ln a hard
ln -s a soft
mkdir sub && ln -s ../a sub/soft
before=$(sha256sum a)
same() {
    t_run blkrep sync --json "$@"
    t_refused 3 SAME_OBJECT
    [[ $(sha256sum a) == "$before" ]] || t_fail "the object was changed"
}
same a a
same a ./a
same a hard
same a soft
same soft a
same hard soft
same sub/soft ../d/a
same --overwrite --force-full --yes --live-source a hard
same --dry-run a soft
[[ ! -e a.blkrep ]] || [[ ! -e a.blkrep/identity ]] || t_fail "a became a replica"

t_root
mkdir bound
mount --bind "$T/d" bound 2>/dev/null || t_skip "no bind mount can be made"
t_undo+=("umount -l $(printf %q "$T/d/bound")")
same a bound/a
t_loop a
same "$T_LOOP" a
same a "$T_LOOP"
same --overwrite --yes --live-source a "$T_LOOP"
