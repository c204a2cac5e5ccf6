#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep-repository(5) is enough to write a reader: one that was (repository-page.py) reads every point of the golden repositories, which is the
# same bytes as blkrep restores and as the volume was, and finds each damaged byte of each object that a point needs; blkrep finds them too.
# timeout: 400
. "$(dirname "$0")/../lib/cli.sh"

t_need python3
golden=$T_TOP/tests/format/golden
export BLKREP_PASSPHRASE='golden passphrase'

# what the volume was, by the point's number
contents=(
    460da66dea8a2e3aece3d3fbf3d200a6c6191a5ebdb6a92eecb3815f77868ca6
    fa6d5f268e5fbc7b804a343b079200610a5fc8664934c597f1c72484062e9659
    1de86565a29d5d281e7523bc45e1cd8139ec7335f1a63f0bf99446bc10705028
)
by_page() { python3 "$T_TOP/tests/format/repository-page.py" "$@" || t_fail "the page's reader: $*"; }
sum() { sha256sum <"$1" | cut -d' ' -f1; }

for kind in encrypted plain; do
    repo=$golden/repository-$kind
    [[ $kind == encrypted ]] || unset BLKREP_PASSPHRASE # with one, a repository that is not encrypted is refused
    t_ok blkrep points "$repo" --json
    jq -r 'select(.type == "point") | [.id, .volume, .size_bytes, .root, .source, (.tags | join(",") | if . == "" then "-" else . end)] | join(" ")' "$T/out" |
        sort >"$T/by-blkrep"
    by_page points "$repo" | sort >"$T/by-page"
    diff "$T/by-blkrep" "$T/by-page" >&2 || t_fail "the page's reader lists other points"
    mapfile -t ids < <(jq -r 'select(.type == "point") | .id' "$T/out")
    t_ok blkrep dump "$repo"
    cp "$T/out" "$T/names"
    (cd "$repo" && find . -type f | sed 's|^\./||' | sort) | diff - "$T/names" >&2 || t_fail "dump names other objects"
    while read -r name; do
        t_ok blkrep dump "$repo" --object "$name" --blocks
        t_stdout_has "object"
        case $name in
            packs/*) t_stdout_has "frame 0" ;;
            points/*) t_stdout_has "root " ;;
        esac
    done <"$T/names"
    t_ok blkrep points "$repo" --json
    mapfile -t ids < <(jq -r 'select(.type == "point") | .id' "$T/out")
    [[ ${#ids[@]} -eq 3 ]] || t_fail "golden points were removed; they are kept for ever"
    for n in 0 1 2; do
        by_page restore "$repo" "${ids[n]}" >"$T/page.img"
        t_ok blkrep restore "$repo@${ids[n]}" "$T/blkrep.img" --overwrite
        [[ $(sum "$T/page.img") == "${contents[n]}" ]] || t_fail "the page's reader gives other data of point $n"
        [[ $(sum "$T/blkrep.img") == "${contents[n]}" ]] || t_fail "blkrep restores other data of point $n"
    done
done

# a repository of whose two epochs the first was shredded, and with a history: the one point of the second is there, whole, and nothing of the first
export BLKREP_PASSPHRASE='golden passphrase'
repo=$golden/repository-shredded
t_ok blkrep points "$repo" --json
shredded=$(jq -r 'select(.type == "point") | .id' "$T/out")
[[ $(by_page points "$repo" | cut -d ' ' -f 1) == "$shredded" && $(wc -w <<<"$shredded") -eq 1 ]] || t_fail "not the one point"
by_page restore "$repo" "$shredded" >"$T/page.img"
t_ok blkrep restore "$repo@$shredded" "$T/blkrep.img" --overwrite
[[ $(sum "$T/page.img") == 1de86565a29d5d281e7523bc45e1cd8139ec7335f1a63f0bf99446bc10705028 ]] || t_fail "the page's reader gives other data"
t_file_equal "$T/page.img" "$T/blkrep.img"
t_ok blkrep verify "$repo" --data
BLKREP_STATE=$T/elsewhere t_ok blkrep history "$repo" --json
diff <(jq -r 'select(.type == "run") | "\(.run | split("-") | join("")) \(.verb | split(" ") | join("-")) \(.outcome)"' "$T/out" | sort) <(by_page history "$repo" | awk '$2 == 99 { print $1, $3, $4 }' | sort) >&2 || t_fail "another history"
[[ $(by_page history "$repo" | wc -l) -ge 4 ]] || t_fail "golden notes were removed"
t_ok blkrep dump "$repo" --object epochs/00000001-shredded
t_stdout_has "shredded     2026-"
unset BLKREP_PASSPHRASE

# a repository with a lease, a tombstone, a list of doomed packs and a hold: the page's reader and dump read the same of them, and find each damaged byte
repo=$golden/repository-pruned
by_page marks "$repo" >"$T/marks"
[[ $(cut -d / -f 1 "$T/marks" | tr '\n' ' ') == "leases doomed holds points " ]] || t_fail "golden marks were removed"
while read -r name words; do
    t_ok blkrep dump "$repo" --object "$name"
    for word in $words; do
        [[ ! $word =~ ^[0-9a-f]{32}$ ]] || word=${word:0:8}-${word:8:4}-${word:12:4}-${word:16:4}-${word:20}
        t_stdout_has "$word"
    done
    cp -r "$repo" "$T/marked"
    for ((at = 0; at < $(stat -c %s "$repo/$name"); at += 23)); do
        python3 -c 'import sys; d = bytearray(open(sys.argv[1], "rb").read()); at = int(sys.argv[3]); d[at] ^= 1 << at % 8; open(sys.argv[2], "wb").write(d)' \
            "$repo/$name" "$T/marked/$name" "$at"
        t_run blkrep dump "$T/marked" --object "$name"
        [[ $T_STATUS -ne 0 ]] || t_fail "byte $at of $name: not noticed"
    done
    rm -rf "$T/marked"
done <"$T/marks"
[[ $(by_page mark-defects "$repo") == 0 ]] || t_fail "a damaged byte of a mark went unnoticed by the page's reader"
t_ok blkrep points "$repo" --json
jq -r 'select(.type == "point") | .id' "$T/out" | sort | diff - <(by_page points "$repo" | cut -d ' ' -f 1 | sort) >&2 || t_fail "other points beside a tombstone"

# a byte of each kind of object, and of each part of a pack, through blkrep; all of them through the page's reader
[[ $(by_page defects "$golden/repository-plain" "${ids[2]}") == 0 ]] || t_fail "a damaged byte went unnoticed"
cp -r "$golden/repository-plain" "$T/repo"
found=0
while read -r file; do
    size=$(stat -c %s "$file")
    for at in 9 11 15 20 40 70 79 $((size / 2)) $((size - 40)) $((size - 20)) $((size - 1)); do
        [[ $at -lt $size ]] || continue
        cp "$file" "$T/good"
        python3 -c 'import sys; f = open(sys.argv[1], "r+b"); at = int(sys.argv[2]); f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 4]))' "$file" "$at"
        rm -rf "$T/state" "$T/none.img" # every index and state is lost
        T_STATUS=0
        BLKREP_STATE=$T/state timeout 20 "$BLKREP" restore "$T/repo@${ids[2]}" "$T/none.img" >"$T/out" 2>"$T/err" || T_STATUS=$?
        if [[ $T_STATUS -eq 0 ]]; then
            # what this point does not need may be damaged, and is named
            [[ $(sum "$T/none.img") == "${contents[2]}" ]] || t_fail "byte $at of $file: other data"
        else
            [[ $T_STATUS -eq 1 || $T_STATUS -eq 4 ]] || t_fail "byte $at of $file: status $T_STATUS"
            [[ ! -s $T/none.img ]] || t_fail "byte $at of $file: a part was left"
            found=$((found + 1))
        fi
        cp "$T/good" "$file"
    done
done < <(find "$T/repo" -type f | sort)
[[ $found -ge 40 ]] || t_fail "only $found damaged bytes were found"
rm -rf "$T/state"
BLKREP_STATE=$T/state t_ok blkrep restore "$T/repo@${ids[2]}" "$T/none.img"
