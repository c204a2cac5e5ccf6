#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A client does what its role lets it, on the replicas that are its own, and nothing by strange names.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

t_random "$T/a.img" 1M 1
t_random "$T/other.img" 1M 2
s_configure "[replica own]" "path = $T/elsewhere.img"
s_start
s_pair writer --volumes=db,own
s_pair reader --role=reader
s_pair boss --role=operator

s_as writer t_ok blkrep sync "$T/a.img" "$S_URL/db"
s_as writer t_ok blkrep sync "$T/a.img" "$S_URL/own"
t_file_equal "$T/a.img" "$T/elsewhere.img"
[[ ! -e $T/replicas/own ]] || t_fail "a replica with a section of its own was made in the directory"

s_as writer t_run blkrep sync "$T/a.img" "$S_URL/www"
t_status 5
t_stderr_has "writer of db,own"
s_as reader t_run blkrep sync "$T/a.img" "$S_URL/db"
t_status 5
t_stderr_has "reader"
[[ ! -e $T/replicas/www ]] || t_fail "a refused client made a replica"

# a reader looks: it proves a replica, and is told what a sync would ship
s_as reader t_ok blkrep verify --json "$S_URL/db"
t_json_is state complete
t_json_is bad_blocks 0
t_json_is root "$("$BLKREP" verify --json "$T/replicas/db" | tail -n 1 | jq -r .root)"
s_as reader t_ok blkrep sync --dry-run --json "$T/other.img" "$S_URL/new"
t_json_is bytes_changed $((1 << 20))
[[ ! -e $T/replicas/new ]] || t_fail "a look made a replica"
s_as reader t_run blkrep verify "$S_URL/new"
t_status 1
t_stderr_has "not a replica that its server knows"
s_as writer t_run blkrep verify "$S_URL/www"
t_status 5
cp "$T/replicas/db" "$T/good"
printf x | dd of="$T/replicas/db" bs=1 seek=70000 conv=notrunc status=none
s_as reader t_run blkrep verify --json "$S_URL/db"
t_status 4
t_json_is bad_blocks 1
t_json_is error.offset_bytes 65536
s_audit client-reader | grep '"act":"verify-failed"' >/dev/null || t_fail "no audit line of what was found"
cat "$T/good" >"$T/replicas/db"
s_as reader t_ok blkrep verify "$S_URL/db"

for name in .. . .ssh 'a%2fb' db.blkrep 'a b' $'a\nb' "$(printf 'x%.0s' {1..65})"; do
    s_as boss t_run blkrep sync "$T/a.img" "$S_URL/$name"
    [[ $T_STATUS -ne 0 ]] || t_fail "taken: $name"
done
[[ $(ls -A "$T/replicas") == $'db\ndb.blkrep' ]] || t_fail "strange names left: $(ls -A "$T/replicas")"

# what is not this volume's replica is not replaced by a writer, whatever its client asks for
before=$(sha256sum <"$T/replicas/db")
s_as writer t_run blkrep sync --overwrite "$T/other.img" "$S_URL/db"
[[ $T_STATUS -ne 0 ]] || t_fail "a writer replaced another volume's replica"
[[ $(sha256sum <"$T/replicas/db") == "$before" ]] || t_fail "the replica was changed"
s_as boss t_ok blkrep sync --overwrite "$T/other.img" "$S_URL/db"
t_file_equal "$T/other.img" "$T/replicas/db"

# what a client noted of a replica there is its own to forget
s_as writer t_ok blkrep forget --yes "$S_URL/own"
s_as writer t_ok blkrep status
t_stdout_lacks /own
t_stdout_has /db
[[ -e $T/elsewhere.img.blkrep/identity ]] || t_fail "a client dropped the server's state"

# a link in the directory is not followed
ln -s "$T/a.img" "$T/replicas/link"
s_as boss t_run blkrep sync --overwrite "$T/other.img" "$S_URL/link"
t_status 3
[[ -L $T/replicas/link ]] || t_fail "the link is gone"
grep -q '"act":"refused","object":"link"' "$S_STATE/audit.ndjson" || t_fail "the refusal is not in the audit log"
s_stop
