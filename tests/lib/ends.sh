# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sources and targets for hostile command line tests: loop devices, small file systems, and a way to say "nothing was changed".
# Source it after cli.sh. What it sets up (loops, mounts) is undone when the test ends, however it ends.

t_undo=() # commands, undone last first

# shellcheck disable=SC2317 # called by the trap
t_ends_at_exit() {
    local rc=$? i
    trap - EXIT
    set +e
    for ((i = ${#t_undo[@]} - 1; i >= 0; i--)); do eval "${t_undo[$i]}" >/dev/null 2>&1; done
    (exit "$rc")
    t_at_exit
}
trap t_ends_at_exit EXIT

# t_root: the test needs root
t_root() {
    [[ $(id -u) == 0 ]] || t_skip "needs root"
    PATH=$PATH:/usr/sbin:/sbin
}

# t_loop FILE [SECTOR_BYTES [OPTIONS...]]: a loop device over FILE, its path in T_LOOP. One at a time on this machine: losetup opens the
# free device that it found for writing, also when another one has just taken it, and a test would see a foreign writer.
t_loop() {
    local file=$1 sector=${2:-512}
    shift $(($# > 1 ? 2 : 1))
    t_root
    t_need losetup flock
    T_LOOP=$(flock /dev/loop-control losetup --find --show --sector-size "$sector" "$@" "$file" 2>"$T/loop.err") ||
        t_skip "no loop device is to be had: $(cat "$T/loop.err")"
    t_undo+=("losetup -d $T_LOOP")
}

# t_unloop DEVICE: detached now, and not once more at the end, when its number may be another test's
t_unloop() {
    local i
    for i in "${!t_undo[@]}"; do
        [[ ${t_undo[$i]} != "losetup -d $1" ]] || t_undo[i]=:
    done
    losetup -d "$1"
}

# t_mount WHAT WHERE [OPTIONS]: WHAT may be "tmpfs"
t_mount() {
    t_root
    mkdir -p "$2"
    if [[ $1 == tmpfs ]]; then
        mount -t tmpfs ${3:+-o "$3"} none "$2" 2>"$T/mount.err" || t_skip "no tmpfs can be mounted: $(cat "$T/mount.err")"
    else
        mount ${3:+-o "$3"} "$1" "$2" 2>"$T/mount.err" || t_skip "$1 can't be mounted: $(cat "$T/mount.err")"
    fi
    t_undo+=("umount -l $(printf %q "$2")")
}

# t_listing PATH...: every object below, its kind, mode, size, modification time (of folders not) and content
t_listing() {
    find "$@" ! -type d -printf '%y %m %s %T@ %p\n' -o -printf '%y %m %p\n' | sort
    find "$@" -type f -print0 | sort -z | xargs -0r sha256sum
}

# t_remember PATH... / t_nothing_changed PATH...: all of it is as it was, names, times and bytes
t_remember() { t_listing "$@" >"$T/.listing"; }
t_nothing_changed() {
    t_listing "$@" >"$T/.listing.now"
    diff "$T/.listing" "$T/.listing.now" >&2 || t_fail "something was changed"
}

# t_refused STATUS NAME: so it ended, and the exit object says so and gives words; needs --json
t_refused() {
    t_status "$1"
    t_json_is status "$1"
    t_json_is error.name "$2"
    [[ -n $(t_json error.text)$(t_json error.hint) ]] || t_fail "no words for the user"
}

# t_has_bytes FILE AT_LEAST: FILE has that many bytes by now
t_has_bytes() { [[ $(stat -c %s "$1" 2>/dev/null || echo 0) -ge $2 ]]; }

# t_state FILE: what status says of a replica
t_state() {
    t_ok blkrep status --json "$1"
    head -n 1 "$T/out" | jq -r .state
}
