#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# doctor ends with 0 where sync works; behind each no stand a reason and what to do; every block device is there, once; what it says of
# io_uring is what sync then does; a name that is no device is refused in words.
. "$(dirname "$0")/../lib/cli.sh"
t_need jq

t_ok blkrep doctor --json
jq -es '(.[-1].type == "exit") and (.[-1].schema == "blkrep.doctor/1") and length == 1' "$T/out" >/dev/null || t_fail "not one exit object"
jq -e '.features | length >= 10 and all(.ok == true or ((.reason | length) > 0 and (.remedy | length) > 0))' "$T/out" >/dev/null ||
    t_fail "a no without a reason or a remedy"
jq -e '.features[] | select(.name == "sync") | .ok' "$T/out" >/dev/null || t_fail "sync does not work, but the status is 0"
[[ $(jq -r .machine.kernel "$T/out") == "$(uname -r)" ]] || t_fail "not this kernel"
jq -e '.devices | all((.attach_reason | length) > 0 and (.path | startswith("/dev/")) and (.trackers | length) == 4)' "$T/out" >/dev/null ||
    t_fail "a device without its answer"
# a tracker of auto is one that fits
jq -e '.devices | all(. as $d | any(.trackers[]; .name == $d.tracker and .fits))' "$T/out" >/dev/null || t_fail "auto takes what does not fit"
jq -r '.devices[].name' "$T/out" | sort >"$T/listed"
cp "$T/out" "$T/first"
# devices may come and go while other tests run: those that were there before and after are listed
sized() { for d in /sys/class/block/*; do [[ $(cat "$d/size" 2>/dev/null || echo 0) == 0 ]] || echo "${d##*/}"; done | sort; }
# (a loop device that was given back and taken again in between looks as if it had been there all the time: that does not happen thrice)
for _ in 1 2 3; do
    sized >"$T/before"
    t_ok blkrep doctor --json
    jq -r '.devices[].name' "$T/out" | sort >"$T/listed"
    sized | comm -12 "$T/before" - | comm -23 - "$T/listed" >"$T/lacking"
    [[ -s $T/lacking ]] || break
done
[[ ! -s $T/lacking ]] || t_fail "not listed: $(cat "$T/lacking")"
[[ -z $(uniq -d "$T/listed") ]] || t_fail "listed twice: $(uniq -d "$T/listed")"

# for people: the same rows
t_ok blkrep doctor
for row in $(jq -r '.features[].name' "$T/first"); do t_stdout_has "$row "; done
t_stdout_has "$(uname -r)"
[[ ! -s $T/err ]] || t_fail "stderr is not empty"

# the word on io_uring is true
t_random "$T/a" 64K 1
t_run blkrep sync --io=uring "$T/a" "$T/b"
if jq -e '.features[] | select(.name == "io_uring") | .ok' "$T/first" >/dev/null; then t_status 0; else [[ $T_STATUS -ne 0 ]] || t_fail "io_uring works after all"; fi

t_run blkrep doctor "$T/none"
t_status 1
t_stderr_has "$T/none"
t_run blkrep doctor "$T/a"
t_status 1
t_stderr_has "no block device"
t_run blkrep doctor blkrep://host.example/x
t_status 2
t_stderr_has "on another host"
if ! grep -q device-mapper /proc/misc; then
    t_ok blkrep doctor
    grep -E '^attach +no .*device-mapper' "$T/out" >/dev/null || t_fail "a kernel without device-mapper, and no word of it"
fi
