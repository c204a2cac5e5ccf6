#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whoever keeps a repository can't show an older state of it: a host remembers what it saw. Reading verbs warn and exit 4, backup refuses, until
# --accept-rollback says once that it was meant. What a prune or another host's newer points leave is no rollback.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

export BLKREP_PASSPHRASE=kept
s_start_repository
t_random "$T/a.img" 3M 1
s_as boss t_ok blkrep backup "$T/a.img" "$R"
cp -a "$T/main" "$T/old"
t_random_at "$T/a.img" 100000 5000 2
s_as boss t_ok blkrep backup "$T/a.img" "$R"
s_as boss t_ok blkrep points --json "$R"
t_json_is rolled_back 0
point=$(s_as boss "$BLKREP" points --json "$R" | jq -r 'select(.number == 2) | .id')

# an older state, by a server that is asked anew
mv "$T/main" "$T/new"
cp -a "$T/old" "$T/main"
s_as boss t_run blkrep points --json "$R"
t_status 4
t_json_is rolled_back 1
t_json_is error.name ROLLBACK
t_stderr_has "IS NOT WHAT IT WAS"
t_stderr_has "its newest point is 1, and point 2 was there"
s_as boss t_run blkrep verify --json "$R"
t_status 4
t_json_is rolled_back 1
s_as boss t_run blkrep restore --json "$R@latest" "$T/back"
t_status 4
t_json_is rolled_back 1
[[ -e $T/back ]] || t_fail "what can be restored was not"
before=$(find "$T/main" -type f | sort | xargs sha256sum)
s_as boss t_run blkrep backup "$T/a.img" "$R"
t_status 4
t_stderr_has "--accept-rollback"
s_as boss t_run blkrep key rotate "$R"
t_status 4
[[ $(find "$T/main" -type f | sort | xargs sha256sum) == "$before" ]] || t_fail "something was written all the same"
s_audit client-boss | grep '"act":"rollback"' >/dev/null || t_fail "no audit line of the rollback"

# an older state that went on: another point 2
t_ok env BLKREP_STATE="$T/elsewhere" "$BLKREP" restore "$T/main@latest" "$T/a2.img"
cp -a "$T/client-boss" "$T/state-before"
s_as boss t_ok blkrep backup --accept-rollback "$T/a.img" "$R"
s_audit client-boss | grep '"act":"accept-rollback"' >/dev/null || t_fail "no audit line of the acceptance"
s_as boss t_ok blkrep points --json "$R"
t_json_is points 2
rm -r "$T/client-boss"
mv "$T/state-before" "$T/client-boss"
s_as boss t_run blkrep points --json "$R"
t_status 4
t_stderr_has "another point 2 was made in place"

# the right one is back: nothing is wrong any more
rm -r "$T/main"
mv "$T/new" "$T/main"
s_as boss t_ok blkrep points --json "$R"
t_json_is rolled_back 0

# another object under the name, none at all
file=$(find "$T/main/points" -name "${point//-/}")
cp "$file" "$T/keep"
cp "$(find "$T/main/points" -type f ! -name "${point//-/}")" "$file"
s_as boss t_run blkrep verify "$R"
t_status 4
t_stderr_has "another object than the one that was there"
mv "$T/main/points" "$T/points"
s_as boss t_run blkrep points "$R"
t_status 4
t_stderr_has "none of its points is there"
mv "$T/points" "$T/main/points"
cp "$T/keep" "$file"
s_as boss t_ok blkrep points "$R"

# what a prune leaves: the newest, without those before; seen first by a host that remembers an older one
cp -a "$T/client-boss" "$T/state-before"
for i in 3 4 5; do
    t_random_at "$T/a.img" $((i * 200000)) 5000 "$i"
    s_as boss t_ok blkrep backup "$T/a.img" "$R"
done
newest=$(s_as boss "$BLKREP" points --json "$R" | jq -r 'select(.number == 5) | .id')
find "$T/main/points" -type f ! -name "${newest//-/}" -delete
s_as boss t_ok blkrep points --json "$R"
t_json_is points 1
cp -a "$T/client-boss" "$T/state-after"
rm -r "$T/client-boss"
mv "$T/state-before" "$T/client-boss"
s_as boss t_ok blkrep points --json "$R"
t_json_is rolled_back 0

# fewer epochs than there were
s_as boss t_ok blkrep key rotate "$R"
s_as boss t_ok blkrep points "$R"
rm "$T/main/epochs/00000002"
s_as boss t_run blkrep points "$R"
t_status 4
t_stderr_has "it has 1 epochs, and there were 2"
s_stop

# in a directory it is the same
BLKREP_STATE=$T/here t_ok blkrep backup "$T/a.img" "$T/main"
rm -r "$T/main"
cp -a "$T/old" "$T/main"
BLKREP_STATE=$T/here t_run blkrep backup "$T/a.img" "$T/main"
t_status 4
BLKREP_STATE=$T/here t_ok blkrep backup --accept-rollback "$T/a.img" "$T/main"
