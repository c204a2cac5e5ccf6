#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# blkrep verify --repair SOURCE: what is missing or damaged is stored anew from what the disk, or an image of another moment, holds of it, blocks and
# parts of trees, encrypted or not; the source is read there only, and never written. What it does not hold stays named. A source that is
# another one, shorter, or can't be read does no harm; a full disk and kill -9 leave what the next run goes on from.
# timeout: 600
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
. "$(dirname "$0")/../lib/kill.sh"

t_kill_memory
repo=$K/repo
flip() { python3 -c 'import sys; f = open(sys.argv[1], "r+b"); at = int(sys.argv[2]); f.seek(at); b = f.read(1)[0]; f.seek(at); f.write(bytes([b ^ 8]))' "$1" "$2"; }
field() { jq -r "select(.type == \"exit\") | .$1" "$T/out"; }
is() { [[ $(field "$1") == "$2" ]] || t_fail "$1 is $(field "$1") instead of $2"; }
repair() { t_run blkrep verify "$repo" --repair "$1" "${key[@]}" --json "${@:2}"; }
all_read() {
    local n
    for n in {0..2}; do
        t_ok blkrep restore "$repo@${id[n]}" "$K/back" --overwrite "${key[@]}"
        t_file_equal "$K/image.$n" "$K/back"
    done
}
again() { # the repository as it was, and its state
    rm -rf "$repo" "$BLKREP_STATE"
    cp -r "$K/good" "$repo"
}
whole() { # after a repair: all reads, also with an index made from nothing; nothing is left to do; damaged packs go
    t_status 0
    is complete true
    all_read
    BLKREP_STATE=$K/elsewhere all_read
    rm -rf "$K/elsewhere"
    repair "$1"
    t_status 0
    is bytes_repaired 0
    t_ok blkrep prune "$repo" "${key[@]}"
    t_ok blkrep verify "$repo" --data "${key[@]}"
}

# Two level 1 nodes and a tail; the second point has pages over blocks of the first, and so has the third; the first 8 MiB stay.
size=$((20 * 1024 * 1024 + 5000))
for encryption in none key; do
    rm -rf "$K/disk.img.blkrep"
    key=()
    if [[ $encryption == none ]]; then
        rm -rf "$repo" && t_ok blkrep init "$repo" --encryption none
    else
        key=(--key-file "$K/key")
        rm -rf "$repo" && t_ok blkrep init "$repo" "${key[@]}"
    fi
    t_random "$K/disk.img" $size 1
    for n in {0..2}; do
        t_ok blkrep backup "$K/disk.img" "$repo" "${key[@]}" --json
        id[n]=$(field point)
        cp "$K/disk.img" "$K/image.$n"
        for at in 9 12 18; do t_random_at "$K/disk.img" $((at * 1048576 + n * 8192)) 4096 $((n * 100 + at)); done
    done
    cp "$K/image.2" "$K/disk.img"
    rm -rf "$K/good" && cp -r "$repo" "$K/good"
    mapfile -t packs < <(cd "$repo" && find packs -type f -printf '%s %p\n' | sort -rn | cut -d' ' -f2)
    [[ ${#packs[@]} -eq 3 ]] || t_fail "${#packs[@]} packs"
    cp "$K/disk.img" "$K/source" # without state beside it
    sum=$(sha256sum "$K/source")

    # nothing is wrong: the source is not read
    again
    repair "$K/source"
    t_status 0
    is bytes_repaired 0
    is bytes_read_source 0
    is source null

    # a damaged pack of another volume: no repair of this one says that it is needed no more
    again
    t_random "$K/another" 1M 99
    t_ok blkrep backup "$K/another" "$repo" "${key[@]}" --json
    flip "$(find "$repo/packs" -type f -newer "$K/good/config" -size +900k -printf '%T@ %p\n' | sort -n | tail -n 1 | cut -d' ' -f2)" 3000
    repair "$K/source" --volume disk.img
    t_status 4
    is points_incomplete 1
    repair "$K/another"
    t_status 0
    is blocks_from_source 16
    rm -rf "$K/another" "$K/another.blkrep"

    # one frame: its 16 blocks are read in the source, all others of the pack are kept
    again
    flip "$repo/${packs[0]}" 3000
    repair "$K/source"
    is blocks_from_source 16
    is bytes_read_source 1048576
    is blocks_kept $((size / 65536 + 1 - 16))
    is source "$K/source"
    whole "$K/source"
    jq -se --arg s "$K/source" 'any(.[]; .act == "repair" and .from == $s and .blocks_from_source == 16)' \
        "$BLKREP_STATE/audit.ndjson" >/dev/null || t_fail "no audit line"
    t_ok blkrep history "$repo" "${key[@]}" --json
    jq -se --arg s "$K/source" 'any(.[]; .verb == "verify" and .source == $s and .figures.blocks_from_source == 16)' "$T/out" >/dev/null ||
        t_fail "history does not say what was mended from where"
    t_ok blkrep history "$repo" "${key[@]}"
    t_stdout_has "$repo from $K/source"

    # a pack of pages over other blocks: its point is that of the image, or there is no help
    for n in 1 2; do
        for pack in "${packs[@]:1}"; do
            again
            rm "$repo/$pack"
            repair "$K/image.$n"
            [[ $T_STATUS -eq 0 || $T_STATUS -eq 4 ]] || t_fail "status $T_STATUS"
            if [[ $T_STATUS -eq 4 ]]; then
                [[ $(field points_incomplete) -ge 1 ]] || t_fail "nothing is said to be missing"
                repair "$K/image.$((3 - n))"
            fi
            whole "$K/image.$n"
        done
    done

    # the pack of the first point is gone, cut, or damaged in its directory, with its tree: the disk mends what it still has, its first image the rest
    for harm in gone cut directory; do
        again
        case $harm in
        gone) rm "$repo/${packs[0]}" ;;
        cut) truncate -s -100 "$repo/${packs[0]}" ;;
        directory) flip "$repo/${packs[0]}" $(($(stat -c %s "$repo/${packs[0]}") - 60)) ;;
        esac
        repair "$K/source"
        t_status 4
        is points_incomplete 2
        [[ $(field blocks_from_source) -ge 300 && $(field blocks_kept) -eq 0 ]] || t_fail "the disk was not asked for what it has"
        t_stderr_has "point ${id[0]:0:8} of $K/disk.img: a node of the version tree"
        t_stderr_has "point ${id[1]:0:8} of $K/disk.img lacks the block at 9437184"
        t_ok blkrep restore "$repo@${id[2]}" "$K/back" --overwrite "${key[@]}"
        t_file_equal "$K/image.2" "$K/back"
        repair "$K/image.0" # what lies below the second point's pages, too
        whole "$K/source"
    done

    # an index that knows the pack finds all of it in there without its directory
    again
    t_ok blkrep verify "$repo" "${key[@]}"
    flip "$repo/${packs[0]}" $(($(stat -c %s "$repo/${packs[0]}") - 60))
    repair "$K/source"
    is blocks_kept $((size / 65536 + 1))
    is bytes_read_source 0
    whole "$K/source"

    # a disk that has changed where it matters, one that is another, one that is shorter: nothing false is stored, and all is named
    again
    flip "$repo/${packs[0]}" 3000
    cp "$K/source" "$K/other"
    t_random_at "$K/other" 196608 131072 7
    repair "$K/other"
    t_status 4
    is blocks_from_source 14
    is blocks_source_differs 2
    is chunks_missing 6
    t_stderr_has "lacks the blocks from 196608 to 327680"
    repair "$K/source"
    is blocks_from_source 2
    whole "$K/source"
    again
    flip "$repo/${packs[0]}" 3000
    t_random "$K/other" $size 9
    repair "$K/other"
    t_status 4
    is blocks_source_differs 16
    is blocks_from_source 0
    truncate -s 300000 "$K/other"
    dd if="$K/source" of="$K/other" bs=300000 count=1 conv=notrunc status=none
    repair "$K/other"
    t_status 4
    is blocks_from_source 4
    is blocks_source_differs 12
    is bytes_read_source 262144
    cp "$K/source" "$K/other"
    printf 'more than there was' >>"$K/other" # grown, and in use
    exec 8<>"$K/other"
    repair "$K/other"
    exec 8>&-
    is blocks_from_source 12
    whole "$K/source"
    [[ $sum == "$(sha256sum "$K/source")" && ! -e $K/source.blkrep ]] || t_fail "the source was written to"
done

# what is neither a repository nor a source is told before anything is read, and changes nothing
again
flip "$repo/${packs[0]}" 3000
t_remember "$repo/packs" "$repo/points"
repair "$K/no-such-image"
t_refused 1 NOT_FOUND
t_stderr_has "neither a repository nor a source"
mkdir "$K/folder"
repair "$K/folder"
t_refused 1 NOT_FOUND
repair "blkrep://127.0.0.1:1/second"
t_refused 5 AUTH
repair "$K/source" --share 1M
t_refused 2 USAGE
t_nothing_changed "$repo/packs" "$repo/points"

# killed anywhere: what was stored is found, nothing is harmed, and the next run ends it
if t_kill_can; then
    calls=0 # how many there are in a run is not always the same: what waits makes more
    for at in 30 70 110 150 180 210 240 270 300; do
        again
        rm "$repo/${packs[0]}"
        rc=0
        "$T/kill_at" "$T/count" "$at" "$BLKREP" verify "$repo" --repair "$K/image.0" "${key[@]}" >"$T/out" 2>"$T/err" || rc=$?
        calls=$((calls + (rc == 137)))
        repair "$K/image.0"
        repair "$K/image.1"
        repair "$K/image.2"
        t_status 0
        all_read
    done
    [[ $calls -ge 4 ]] || t_fail "only $calls runs were killed"
fi

# a disk that gives errors: these blocks are named, all others are mended, and the same disk in health mends them
if [[ $(id -u) -eq 0 ]]; then
    again
    flip "$repo/${packs[0]}" 3000
    cp "$K/source" "$T/sick"
    truncate -s 21M "$T/sick"
    t_loop "$T/sick"
    truncate -s 512K "$T/sick" # what lies behind the end of the file gives EIO on the loop device
    if ! dd if="$T_LOOP" bs=64K skip=9 count=1 iflag=direct of=/dev/null status=none 2>/dev/null; then
        repair "$T_LOOP"
        t_status 4
        is blocks_from_source 8
        is blocks_source_unreadable 8
        t_stderr_has "the source at 524288 can't be read"
        t_stderr_has "lacks the blocks from 524288 to 1048576"
        cp "$K/source" "$T/sick"
        truncate -s 21M "$T/sick"
        repair "$T_LOOP"
        is blocks_from_source 8
        whole "$K/source"
    fi

    # no room: exit status 6, and all that was there is there; with room it goes on
    t_mount tmpfs "$T/small" size=30M
    again
    rm "$repo/${packs[0]}"
    mv "$repo" "$T/small/repo"
    repo=$T/small/repo
    dd if=/dev/zero of="$T/small/fill" bs=1M count=15 status=none
    t_remember "$repo/points"
    repair "$K/image.0"
    t_refused 6 NO_SPACE
    t_nothing_changed "$repo/points"
    grep -q '"act":"repair-failed"' "$BLKREP_STATE/audit.ndjson" || t_fail "no audit line of the failure"
    rm "$T/small/fill"
    repair "$K/image.0"
    repair "$K/image.1"
    repair "$K/image.2"
    whole "$K/image.2"
fi
echo 'verify mends from the source what it holds, and says what it does not'
