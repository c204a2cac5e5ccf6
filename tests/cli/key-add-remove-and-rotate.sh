#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A repository's keys: each opens it, one that was removed does not, the one in use stays; a recovery key is given where the passphrase is asked
# for, however it is written; after a new epoch old and new points read. With all else lost, the sheet and the repository are enough.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"

repo=$T/repo v=$T/volume
t_random "$v" 1M 1
export BLKREP_PASSPHRASE='the first'
t_ok blkrep init "$repo"
t_stdout_has "blkrep key add $repo --recovery"
# a recovery key with the repository itself; with a key file too, and where the passphrase is asked for once
t_run blkrep init "$T/r" --sheet "$T/x"
t_status 2
t_run blkrep init "$T/r" --encryption none --recovery
t_status 2
touch "$T/x"
t_run blkrep init "$T/r" --recovery --sheet "$T/x"
t_status 3
[[ ! -e $T/r/config ]] || t_fail "a repository without the sheet that was asked for"
rm "$T/x"
t_ok blkrep init "$T/r" --recovery --sheet "$T/x" --json
t_stderr_lacks "others may read"
[[ $(t_json recovery) != null ]] || t_fail "no id of the recovery key"
t_ok blkrep init "$T/r2" --recovery --key-file "$T/r2.key" --json
again=$(t_json recovery_key)
t_ok blkrep key list "$T/r2" --key-file "$T/r2.key"
t_stdout_has "recovery key"
for r in "r $(awk '/recovery key/ { print $3; getline; print $1 }' "$T/x" | tr -d '\n')" "r2 $again"; do
    BLKREP_PASSPHRASE=${r#* } t_ok blkrep points "$T/${r%% *}"
done
rm -r "$T/r" "$T/r2" "$T/r2.key" "$T/x"
t_ok blkrep backup "$v" "$repo"
cp "$v" "$T/is.1"

# opens SECRET: that passphrase (or recovery key) opens it, from nothing
opens() { BLKREP_PASSPHRASE=$1 BLKREP_STATE=$T/fresh t_run blkrep points "$repo" && rm -rf "$T/fresh"; }

BLKREP_NEW_PASSPHRASE='the second' t_ok blkrep key add "$repo" --label second --json
second=$(t_json id)
t_ok blkrep key add "$repo" --new-key-file "$T/key" --json
file=$(t_json id)
t_ok blkrep key add "$repo" --recovery --sheet "$T/sheet"
[[ $(stat -c %a "$T/sheet") == 600 ]] || t_fail "the sheet is open to others"
recovery=$(awk '/recovery key/ { print $3; getline; print $1 }' "$T/sheet" | tr -d '\n')
grep -qxE '([0-9a-z]{5}-){10}[0-9a-z]{5}' <<<"$recovery" || t_fail "no recovery key on the sheet: $recovery"
! grep -rqF "${recovery:0:11}" "$repo" "$BLKREP_STATE" || t_fail "the recovery key is kept somewhere"
t_ok blkrep key list "$repo" --json
[[ $(t_json 'keys | length') == 4 ]] || t_fail "not four keys"
[[ $(jq -r 'select(.type == "exit") | .keys | map(.way) | sort | join(",")' "$T/out") == "key file,passphrase,passphrase,recovery key" ]] || t_fail "other ways"

for secret in 'the first' 'the second' "$recovery" "${recovery//-/}" "${recovery^^}" "$(tr 01 oi <<<"$recovery")"; do
    opens "$secret"
    t_status 0
done
slip=${recovery%?}$([[ $recovery == *0 ]] && echo 8 || echo 0)
for secret in 'the third' "$slip" "${recovery%?}" "$recovery-"; do
    opens "$secret"
    [[ $secret == "$recovery-" ]] || t_status 1
done
env -u BLKREP_PASSPHRASE "$BLKREP" points "$repo" --key-file "$T/key" >"$T/out" || t_fail "the key file does not open it"

# a new epoch: both read, with any key, also with the epoch's object of before
t_ok blkrep key rotate "$repo"
t_random_at "$v" 100000 5000 2
t_ok blkrep backup "$v" "$repo"
opens "$recovery"
t_status 0
BLKREP_PASSPHRASE=$recovery BLKREP_STATE=$T/fresh t_ok blkrep restore "$repo@latest~1" "$T/back"
t_file_equal "$T/is.1" "$T/back"
BLKREP_PASSPHRASE=$recovery BLKREP_STATE=$T/fresh t_ok blkrep restore "$repo@latest" "$T/back" --overwrite
t_file_equal "$v" "$T/back"
t_ok blkrep verify "$repo" --data
rm -rf "$T/fresh"

# an epoch that is gone: what was sealed before it reads, this host misses it, and nothing new is written, though that be meant
mv "$repo/epochs/00000002" "$T/epoch"
t_run blkrep restore "$repo@$("$BLKREP" points "$repo" --json 2>"$T/err" | jq -r 'select(.type == "point") | .id' | head -n 1)" "$T/back" --overwrite
t_status 4
t_stderr_has "it has 1 epochs, and there were 2"
t_file_equal "$T/is.1" "$T/back"
t_run blkrep backup "$v" "$repo" --accept-rollback
t_status 4
t_stderr_has "nothing new is written"
t_run blkrep key rotate "$repo"
t_status 4
mv "$T/epoch" "$repo/epochs/00000002"
t_ok blkrep backup "$v" "$repo"

# a key that is not used is looked at all the same: one bit of it; it is gone; its sum is gone, as of one that is older than sums
t_ok blkrep verify "$repo" --json
t_json_is objects_damaged 0
envelope=$repo/keys/$("$BLKREP" key list "$repo" --json | jq -r 'select(.type == "exit") | .keys[] | select(.way == "recovery key") | .id' | tr -d -)
cp "$envelope" "$T/envelope"
python3 -c 'import sys; f = open(sys.argv[1], "r+b"); f.seek(150); b = f.read(1)[0]; f.seek(150); f.write(bytes([b ^ 4]))' "$envelope"
t_run blkrep verify "$repo" --json
t_status 4
t_json_is objects_damaged 1
t_stderr_has "keys/${envelope##*/}: is not what it was"
opens "$recovery"
t_status 1
printf x | dd of="$envelope" bs=1 seek=0 conv=notrunc status=none
opens 'no key of it'
t_status 1
t_stderr_has "; and key $(basename "$envelope" | cut -c 1-8) is damaged"
rm "$envelope"
t_run blkrep verify "$repo"
t_status 4
t_stderr_has "keys/${envelope##*/}: is gone, and nobody has removed it"
cp "$T/envelope" "$envelope"
mv "$envelope-sum" "$T/sum"
t_ok blkrep verify "$repo"
mv "$T/sum" "$envelope-sum"
t_ok blkrep verify "$repo"
t_ok blkrep dump "$repo" --object "keys/${envelope##*/}-sum"
t_stdout_has "$(sha256sum <"$envelope" | cut -d' ' -f1)"

# removed
t_run blkrep key remove "$repo" "$(jq -r 'select(.type == "exit") | .keys[] | select(.opened_this) | .id' < <("$BLKREP" key list "$repo" --json))"
t_status 3
t_stderr_has "open it with another one"
t_run blkrep key remove "$repo" 0123456789
t_status 1
t_run blkrep key remove "$repo" "${second:0:3}"
t_status 2
t_stderr_has "at least 4 digits"
t_ok blkrep key remove "$repo" "${second:0:8}"
t_ok blkrep verify "$repo"
t_ok blkrep key remove "$repo" "$file"
opens 'the second'
t_status 1
t_run env -u BLKREP_PASSPHRASE "$BLKREP" points "$repo" --key-file "$T/key"
t_status 1
opens 'the first'
t_status 0

# what a key is not
t_run blkrep key add "$repo" --recovery --new-key-file "$T/x"
t_status 2
t_run blkrep key add "$repo" --sheet "$T/x"
t_status 2
t_run blkrep key add "$repo" --recovery --sheet "$T/sheet"
t_status 3
[[ $("$BLKREP" key list "$repo" | grep -vc ^epoch) -eq 2 ]] || t_fail "a key was added without its sheet"
# without a sheet it is printed, a line of the page a line
t_ok blkrep key add "$repo" --recovery
recovery=$(awk '/recovery key  / { print $3; getline; print $1 }' "$T/out" | tr -d '\n')
grep -qxE '([0-9a-z]{5}-){10}[0-9a-z]{5}' <<<"$recovery" || t_fail "no recovery key is printed: $recovery"
opens "$recovery"
t_status 0
# each of these is a run for the history
t_ok blkrep history "$repo" --json
[[ $(jq -r 'select(.type == "run" and .outcome == "done") | .verb' "$T/out" | grep ^key | sort | uniq -c | xargs) == "4 key add 2 key remove 1 key rotate" ]] ||
    t_fail "the history lacks what was done to keys"
BLKREP_PASSPHRASE='wrong' BLKREP_NEW_PASSPHRASE=x t_run blkrep key add "$repo"
t_status 1
unset BLKREP_PASSPHRASE
t_ok blkrep init "$T/open" --encryption none
BLKREP_NEW_PASSPHRASE=x t_run blkrep key add "$T/open"
t_status 1
t_stderr_has "is not encrypted"
t_run blkrep key rotate "$T/open"
t_status 1
BLKREP_PASSPHRASE=x t_run blkrep points "$T/open"
t_status 1
t_stderr_has "unset it, if that is meant"
