#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Whoever asks a served repository for more than his role allows gets nothing, by raw requests too: no removal, no overwriting, no point into
# another's volume, no strange names, no more than his share of a day; and what was there is there, byte for byte.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"
t_need python3
t_need openssl

export BLKREP_PASSPHRASE=served
s_configure "[repository main]" "path = $T/main" "serve = yes" "points-per-day = 100" "bytes-per-day = 64MiB"
s_start
s_pair boss --role=admin
s_pair alice
s_pair mallory
s_pair eve --role=reader
s_pair outsider --volumes=other
R=$S_URL/main
# as CLIENT ROLE COMMAND...: what the server says to these, one line each, into $T/said
as() {
    printf '%s\n' "${@:3}" | timeout 120 python3 "$(dirname "$0")/../lib/hostile_store.py" "$S_PORT" "$T/client-$1" main "$2" >"$T/said" 2>"$T/said.err" ||
        t_fail "the hostile client failed: $(cat "$T/said.err")"
}
said() { [[ $(sed -n "$1p" "$T/said") == "$2" ]] || t_fail "answer $1 is not $2 but: $(cat "$T/said")"; }
objects() { (cd "$T/main" && find . -type f ! -name 'tmp-*' | sort | xargs sha256sum); }

s_as boss t_ok blkrep init "$R"
t_random "$T/a.img" 5M 1
t_random "$T/b.img" 3M 2
echo small >"$T/small"
s_as alice t_ok blkrep backup "$T/a.img" "$R"
s_as mallory t_ok blkrep backup "$T/b.img" "$R"
s_as boss t_ok blkrep points --json "$R"
t_json_is points 2
objects >"$T/before"
of() { # VOLUME of which CLIENT
    s_as "$1" "$BLKREP" points --json "$R" | jq -r 'select(.type == "point") | .volume' | tr -d - | sort -u
}
alice=$(of alice)
mallory=$(of mallory)
[[ ${#alice} -eq 32 && ${#mallory} -eq 32 && $alice != "$mallory" ]] || t_fail "a writer sees more than its own: $alice, $mallory"
point=$(cd "$T/main" && ls -d points/"$alice"/*)
pack=$(cd "$T/main" && find packs -type f | head -n 1)
key=$(cd "$T/main" && find keys -name "*[0-9a-f]" ! -name "*-*") sum=$key-sum
own=$(cd "$T/main" && ls -d points/"$mallory"/*)
new=points/$alice/0123456789abcdef0123456789abcdef

# a reader reads
as eve reader "size $point" "put $new $T/main/$own" "write packs/00/00$(printf '0%.0s' {1..62}) $T/b.img" "remove $point" "list points/"
said 1 OPENED
[[ $(sed -n 2p "$T/said") =~ ^[0-9]+$ ]] || t_fail "a reader can't read"
said 3 AUTH
said 4 AUTH
said 5 AUTH
[[ $(sed -n 6p "$T/said") == *"$point"* ]] || t_fail "a reader sees no points"
as eve writer "size config"
said 1 AUTH
as outsider writer
said 1 AUTH

# a writer adds, and that is all
as mallory writer "remove $point" "remove $pack" "remove $own" "remove config" "remove $key" "put $point $T/small" "put config $T/small" \
    "put $new $T/main/$own" "put $new $T/small" "get $point 0 100" "size $point" "arrived $point" "put keys/$(printf 'a%.0s' {1..32}) $T/main/$key" "remove $sum" "put epochs/00000001-shredded $T/small" \
    "put epochs/00000002 $T/small" "put doomed/1 $T/small" "put holds/1 $T/small" "put $own $T/main/$own" "write $pack $T/b.img" "list points/"
said 1 OPENED
for i in {2..19}; do said "$i" AUTH; done
said 20 EXISTS
said 21 EXISTS
said 22 "$own"
as mallory operator
said 1 AUTH
as mallory admin
said 1 AUTH
as mallory strange
said 1 AUTH

# strange names, in every place where one may be
for name in ../b.img /etc/passwd points/../config packs/../../b.img points//x "points/$mallory/.." "points/$mallory/x%20y" tmp-1 owners/x \
    "packs/aa/../../config" POINTS "points/$mallory" "packs/ab" "points/$mallory/$(printf 'F%.0s' {1..32})"; do
    as mallory writer "put $name $T/main/$own" "write $name $T/b.img" "get $name 0 1" "remove $name" "size $name"
    said 1 OPENED
    said 2 AUTH
    said 3 AUTH
    said 4 NOT_FOUND
    said 5 AUTH
    said 6 NOT_FOUND
done
as boss admin "put ../x $T/small" "remove ../b.img" "list ../" "list points/../" "list /" "put strange $T/small"
for i in 2 3 4 5 6 7; do said "$i" AUTH; done
objects | cmp - "$T/before" || t_fail "what was there is not as it was"
[[ -e $T/b.img ]] || t_fail "a file outside was removed"

# what breaks the protocol ends the session, and nothing else
as mallory none "raw 8"
[[ $(tail -n 1 "$T/said") == closed* ]] || t_fail "a request before OPEN was answered: $(cat "$T/said")"
for raw in "raw 9 00" "raw 5 00" "raw 6 07" "raw 14" "raw 99" "raw 1" "raw 9 0000000000000000ffffffff0600636f6e666967"; do
    as mallory writer "$raw"
    [[ $(tail -n 1 "$T/said") == closed* ]] || t_fail "$raw was answered: $(cat "$T/said")"
done

# ten thousand points: no more than its share, none of them another's, and those of others stay
mkdir -p "$T/flood"
cp "$T/main/$own" "$T/flood/point"
as mallory writer "flood 10000 $mallory $T/flood/point"
said 2 "LIMIT=9901 NONE=99"
as mallory writer "put points/$(printf '7%.0s' {1..32})/$(printf '1%.0s' {1..32}) $T/flood/point"
said 2 LIMIT # another volume, another session: the same client
s_as boss t_run blkrep points --json "$R" # what it put is none of its points; alice's is
t_status 4
s_as boss t_ok blkrep restore "$R@$(basename "$point" | cut -c 1-8)" "$T/back"
t_file_equal "$T/a.img" "$T/back"
s_as alice t_ok blkrep points --json "$R"
t_json_is points 1
s_as alice t_ok blkrep backup "$T/a.img" "$R"

# and no more than its bytes
head -c 20M /dev/zero >"$T/zeros"
pack_name() { echo "packs/e$1/e$1$(printf '0%.0s' {1..62})"; }
as mallory writer "write $(pack_name 1) $T/zeros" "write $(pack_name 2) $T/zeros" "write $(pack_name 3) $T/zeros" "write $(pack_name 4) $T/zeros"
said 2 NONE
said 5 LIMIT
[[ ! -e $T/main/$(pack_name 4) ]] || t_fail "a pack beyond the limit is there"
as alice writer "write $(pack_name 5) $T/zeros"
said 2 NONE # of another client: its own share
rm "$T/main/packs/e1/"e1* "$T/main/packs/e2/"e2* "$T/main/packs/e3/"e3* "$T/main/packs/e5/"e5* 2>/dev/null || true

# a volume of which nobody knows whose it is, is nobody's, until the server's admin says otherwise
s_stop
rm -r "$T/server-state/stores"
s_start
t_random_at "$T/a.img" 1000 100 9
s_as alice t_run blkrep backup "$T/a.img" "$R"
t_status 4
t_stderr_has "the volume is not this client's"
as alice writer "put $new $T/main/$point"
said 2 AUTH
grep -q "not known whose it is" "$T/server.err" || t_fail "the server does not say why"
s_stop
echo "adopt = yes" >>"$S_CONF"
s_start
s_as alice t_ok blkrep backup "$T/a.img" "$R"
s_audit server | grep '"act":"refused"' >/dev/null || t_fail "refusals are not in the audit log"
s_stop
