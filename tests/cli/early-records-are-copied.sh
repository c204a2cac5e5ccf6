#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What an initramfs builder is given: the record and a line for each volume that is named and attached; what can't be built so early is said and listed
# all the same, so that the boot passes its device through; without a name there is nothing to do.
. "$(dirname "$0")/../lib/cli.sh"

# The script reads /etc/blkrep/early and the records of the system: here a copy of it reads the test's. What the environment of who builds the
# initramfs says of a state folder must not count, for a boot has none.
sed "s|^early=.*|early=$T/early|; s|^state=[^ ]*|state=$T/state|" "$T_TOP/scripts/initramfs/blkrep-early-copy" >"$T/copy"
export BLKREP_STATE=$T/elsewhere

# record NAME TRACKER KIND AREA DEVICE RETABLED
record() {
    mkdir -p "$T/state/volumes/$1"
    jq -n --indent 1 --arg name "$1" --argjson tracker "$2" --argjson kind "$3" --arg path "$4" --arg device "$5" --argjson retabled "$6" \
        '{name: $name, device: $device, tracker: $tracker, retabled: $retabled, area: {kind: $kind, path: $path, bytes: 1048576}, pending: false}' \
        >"$T/state/volumes/$1/stack.json"
}

# copies STATUS - what comes of it is in $T/into
copies() {
    rm -rf "$T/into"
    mkdir "$T/into"
    t_run sh "$T/copy" "$T/into"
    t_status "$1"
}

record root 2 2 /dev/disk/by-id/virtio-meta /dev/disk/by-id/virtio-root-part1 false
record usr 2 3 vg0 /dev/disk/by-id/virtio-usr false
record var 1 2 /dev/vdc /dev/vdb false
record home 2 1 /srv/area /dev/vdd false
record lv 2 3 vg0 /dev/mapper/vg0-lv true
record odd 2 2 /dev/vdc "/dev/a \"b\"" false

copies 1 # no file
[[ -z $(ls "$T/into") ]] || t_fail "something was copied"
printf '# nothing\n\n' >"$T/early"
copies 1
[[ -z $(ls "$T/into") ]] || t_fail "something was copied"

printf '# the root\nroot\n\nusr\n' >"$T/early"
copies 0
[[ ! -s $T/err ]] || t_fail "it complains: $(cat "$T/err")"
printf 'root /dev/disk/by-id/virtio-root-part1 /dev/disk/by-id/virtio-meta\nusr /dev/disk/by-id/virtio-usr vg:vg0\n' >"$T/wanted"
t_file_equal "$T/wanted" "$T/into/etc/blkrep/early.list"
t_file_equal "$T/state/volumes/root/stack.json" "$T/into/var/lib/blkrep/volumes/root/stack.json"
[[ $(stat -c %a "$T/into/var/lib/blkrep/volumes/root") == 700 ]] || t_fail "others can read the copy"

for name in var home lv; do
    echo "$name" >"$T/early"
    copies 0
    grep -q "volume $name: only tracker era" "$T/err" || t_fail "$name is not complained about: $(cat "$T/err")"
    grep -q "^$name /dev/" "$T/into/etc/blkrep/early.list" || t_fail "$name is not listed"
done
for name in gone odd "root usr"; do
    echo "$name" >"$T/early"
    copies 1
    [[ -s $T/err ]] || t_fail "$name is not complained about"
done

# the records that blkrep writes are read the same way: every member in a line of its own
grep -q 'JSON_INDENT(1)' "$T_TOP/tools/volume/record.c" || t_fail "records are written another way"
