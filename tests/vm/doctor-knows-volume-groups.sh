#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=6.1 disk=pv=256M disk=plain=64M tools=lvm,thin_check,thin_dump,thin_delta,dmsetup,mke2fs,jq,strace modules=dm-thin-pool cpus=1 timeout=240
#
# `blkrep doctor` sees LVM's volumes as what they are, linear and thin, with the tracker that fits each and the group's free space as LVM
# itself counts it; its question to LVM opens no device for writing and changes nothing.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

export BLKREP_STATE=$T/state
mkdir -p /etc/lvm /run/lvm /run/lock/lvm
cat >/etc/lvm/lvm.conf <<'CONF'
devices { obtain_device_list_from_udev=0 use_devicesfile=0 external_device_info_source="none" }
activation { udev_sync=0 udev_rules=0 verify_udev_operations=1 monitoring=0 }
global { event_activation=0 use_lvmpolld=0 }
backup { backup=0 archive=0 }
CONF
quiet() { "$@" >"$T/lvm.out" 2>&1 || fail "$*: $(cat "$T/lvm.out")"; }
doctor() { blkrep doctor --json "$@" >"$T/json" || fail "doctor: status $?"; }
is() { jq -e "$1" "$T/json" >/dev/null || fail "doctor does not say: $1: $(jq -c "${2:-.devices}" "$T/json")"; }
lv() { echo ".devices[] | select(.dm_name == \"$1\")"; }

quiet lvm pvcreate -ff -y /dev/vm/pv
quiet lvm vgcreate -y vg-1 /dev/vm/pv
quiet lvm lvcreate -y -W n -Z n -L 32M -n my-data vg-1
quiet lvm lvcreate -y --type thin-pool -L 64M --poolmetadatasize 4M -n pool vg-1
quiet lvm lvcreate -y -V 128M --thinpool vg-1/pool -n thin
mkdir "/run/data"
quiet mke2fs -q -t ext4 /dev/mapper/vg--1-my--data
quiet mount /dev/mapper/vg--1-my--data "/run/data"
free=$(lvm vgs --noheadings --nosuffix --units b -o vg_free vg-1 2>/dev/null | tr -d ' ')
[[ $free -gt $((64 << 20)) ]] || fail "the group has only $free bytes left"

doctor
pv=$(basename "$(readlink -f /dev/vm/pv)")
is '.features[] | select(.name == "lvm") | .ok' .features
is '.features[] | select(.name == "thin") | .ok' .features
is ".devices[] | select(.name == \"$pv\") | .attach == \"elsewhere\" and .holds == \"LVM2_member\" and (.instead | length) == 2"
is "$(lv vg--1-my--data) | .kind == \"logical volume\" and .vg == \"vg-1\" and .lv == \"my-data\" and .attach == \"online\""
is "$(lv vg--1-my--data) | .tracker == \"era\" and .places[0] == {kind: \"vg\", name: \"vg-1\", free_bytes: $free, own_disk: true}"
is "$(lv vg--1-my--data) | .plans[0].commands == [\"blkrep attach data /dev/mapper/vg--1-my--data --cow=vg:vg-1\"]"
is "$(lv vg--1-thin) | .kind == \"thin logical volume\" and .tracker == \"thin\" and .dm_target == \"thin\""
is "$(lv vg--1-thin) | .plans[0].commands == [\"blkrep attach thin /dev/mapper/vg--1-thin\"]"
is '[.devices[] | select(.dm_name | . != null and test("pool")) | .attach] | length >= 2 and all(. == "elsewhere")' '[.devices[] | {dm_name, dm_uuid, attach, kind, instead}]'
is '[.devices[] | select(.kind == "logical volume" or .kind == "thin logical volume")] | length == 2'

# LVM is asked so that it neither writes nor locks
before=$(dd if=/dev/vm/pv bs=1M count=2 iflag=direct status=none | sha256sum)
rm -f /run/lvm/hints
files() { find /etc/lvm /run -xdev -type f ! -path "$T/*" -exec stat -c '%n %s %y' {} + | sort; }
files >"$T/files"
strace -f --seccomp-bpf -e trace=open,openat,execve -qq -o "$T/trace" blkrep doctor --json >/dev/null || fail "doctor under strace: status $?"
grep -q 'execve(.*lvm' "$T/trace" || fail "LVM was not asked"
! grep -E 'open(at)?\(.*"/dev/.*O_(WRONLY|RDWR)' "$T/trace" | grep -vE '"/dev/(null|tty|mapper/control)"' >"$T/found" || fail "opened for writing: $(head -n 3 "$T/found")"
files | diff "$T/files" - || fail "files were changed"
[[ $(dd if=/dev/vm/pv bs=1M count=2 iflag=direct status=none | sha256sum) == "$before" ]] || fail "the physical volume was changed"

# a group that is full is no place
quiet lvm lvcreate -y -W n -Z n -l 100%FREE -n rest vg-1
doctor /dev/mapper/vg--1-my--data
is '.devices[0].places | all(.kind != "vg")'
