#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The support matrix is one table: the README's copy is what doctor --matrix prints, the manual page has every row with its reasons, and
# doctor answers every row.
. "$(dirname "$0")/../lib/cli.sh"
t_need mandoc jq

t_ok blkrep doctor --matrix
cp "$T/out" "$T/matrix"
[[ $(wc -l <"$T/matrix") -ge 12 ]] || t_fail "hardly a matrix"
awk '/^## / { on = /What it runs on/ } on && /^\|/' "$T_TOP/README.md" >"$T/readme"
cmp -s "$T/matrix" "$T/readme" ||
    t_fail "the README's matrix is not what doctor --matrix prints: $(diff "$T/readme" "$T/matrix" | tr '\n' ' ')"

sed '1,2d; s/^| \([a-z_-]*\) .*/\1/' "$T/matrix" | sort >"$T/rows"
t_ok blkrep doctor --json
tail -n 1 "$T/out" | jq -r '.features[].name' | sort >"$T/answered"
cmp -s "$T/rows" "$T/answered" || t_fail "doctor answers other rows: $(diff "$T/rows" "$T/answered" | tr '\n' ' ')"

t_ok blkrep manual blkrep-doctor.1
mandoc -Tutf8 -O width=1000 "$T/out" | sed 's/.\x08//g' >"$T/page"
while IFS='|' read -r _ name what _ since _ _ without _; do
    name=${name// /} what=${what# } what=${what% } without=${without# } without=${without% } since=${since// /}
    grep -qE "^       $name( |\$)" "$T/page" || t_fail "blkrep-doctor(1) has no row $name"
    for text in "$what" "kernel $since;" "Without it: $without."; do
        grep -qF -- "$text" "$T/page" || t_fail "blkrep-doctor(1) does not say of $name: $text"
    done
done < <(sed 1,2d "$T/matrix")
grep -qF "lost the committed writeset" "$T/page" || t_fail "blkrep-doctor(1) does not name the known defect of dm-era"

t_run blkrep doctor --matrix --json
t_status 2
t_run blkrep doctor --matrix /dev/null
t_status 2
