#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A repository of ten thousand points, four a day for nearly seven years: each verb takes seconds and little memory, any point reads as it was, and a
# prune by rules does what its dry run said and leaves an audit trail of all that it removed.
# timeout: 900
. "$(dirname "$0")/../lib/cli.sh"

fill=${BLKREP%/*}/tests/bench/fill limited=$(dirname "$0")/../lib/limited points=10000
[[ -x $fill ]] || t_skip "the build has no tests/bench/fill"
repo=$T/repo
t_ok blkrep init "$repo" --key-file "$T/key"
t_ok blkrep points "$repo" --key-file "$T/key" # makes the index's folder
# Sixty thousand syncs of a busy disk would take longer than all the rest: it is filled in memory, where there is some, and copied.
memory=$T/memory
[[ ! -w /dev/shm ]] || memory=$(mktemp -d /dev/shm/blkrep-t.XXXXXX)
mkdir -p "$memory/index"
mv "$repo" "$memory/repo"
T_RUN_LIMIT=200 t_run "$fill" "$memory/repo" "$T/key" "$memory/index" "$points" 16 1 21600
cp -a "$memory/repo" "$repo"
cp "$memory/index/data.mdb" "$BLKREP_STATE"/repositories/*/index-*/
rm -r "$memory"
t_status 0

# within VERB ARGS...: with 256 MiB, where that can be had
within() {
    local verb=$1
    shift
    if ! "$limited" --check 2>/dev/null || [[ $BLKREP == *asan* ]]; then
        t_ok blkrep "$verb" "$@" --key-file "$T/key"
        return
    fi
    t_ok "$limited" "$(t_bytes 256M)" "$T/report" "$BLKREP" "$verb" "$@" --key-file "$T/key"
    t_le "$(awk '$1 == "peak_anon" { print $2 }' "$T/report")" "$(t_bytes 128M)" "memory of blkrep $verb"
}
ids() {
    within points "$repo" --json
    jq -r 'select(.type == "point") | .id' "$T/out"
}
# image N: what the fill made of point N, from 0: block B got number 15 + A with the last point A that is B modulo 16
image() {
    python3 - "$1" >"$T/wanted.img" <<'PYTHON'
import struct, sys
at = int(sys.argv[1])
for block in range(16):
    last = at - (at - block) % 16
    sys.stdout.buffer.write(b"\x5a" * 65528 + struct.pack("<Q", 15 + last if last > 0 else block))
PYTHON
}
reads() { # reads POINT N
    image "$2"
    within restore "$repo@$1" "$T/back.img" --overwrite
    t_file_equal "$T/wanted.img" "$T/back.img"
}

[[ $(ids | wc -l) -eq $points ]] || t_fail "there are not $points points"
within points "$repo" --tree
[[ $(tail -n 1 "$T/out") == "$(printf '%40s' '')"* ]] || t_fail "the last point is not far down the tree"
reads latest $((points - 1))
reads latest~7777 $((points - 1 - 7777))
reads "latest~$((points - 1))" 0
within diff "$repo@latest~4000" "$repo@latest~4001" --json
[[ $(jq -r 'select(.type == "exit") | .ranges' "$T/out") -eq 1 ]] || t_fail "neighbours differ in more than a block"
within verify "$repo" --json
t_json_is points "$points"
t_json_is points_incomplete 0
t_random "$T/other.img" 1M 1
within backup "$T/other.img" "$repo"
within stats "$repo"
within hold "$repo@$(ids | sed -n 1234p)"

rules=(--keep-last 10 --keep-daily 30 --keep-monthly 24 --keep-yearly 10)
within prune "$repo" "${rules[@]}" --dry-run --json
jq -r 'select(.type == "point" and .keep) | .id' "$T/out" | sort >"$T/would"
t_le "$(wc -l <"$T/would")" 76 "points that are kept" # the rules' 74, the other volume's and the held one
t_le 60 "$(wc -l <"$T/would")" "as many as rules overlap"
within prune "$repo" "${rules[@]}" --json
t_json_is points_removed $((points + 1 - $(wc -l <"$T/would")))
ids | sort | diff "$T/would" - >&2 || t_fail "the prune did not do what its dry run said"
within prune "$repo" --json
t_json_is points_removed 0
within verify "$repo" --data --json
t_json_is points_incomplete 0
reads "$(ids | tail -n 2 | head -n 1)" $((points - 1))

# More points went than one line of the audit trail can name.
t_ok blkrep status --audit
[[ $(jq -r 'select(.act == "prune") | .points_removed[]' "$BLKREP_STATE/audit.ndjson" | sort -u | wc -l) -eq \
    $((points + 1 - $(wc -l <"$T/would"))) ]] || t_fail "the audit trail does not name each point that went"
