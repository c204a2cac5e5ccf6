#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# vm: kernels=all disk=parts=192M disk=whole=64M disk=spare=16M tools=dmsetup,mke2fs,jq cpus=1 timeout=240
# everyday: 6.12, what is tested is code of ours that is the same on both
#
# What `blkrep doctor` says of a real kernel is what then really works: rows of the support matrix against targets and drivers that are
# created, ways against tables that are changed under a mount, TRIM, freezing, and devices that do not answer. And it loads no module.
set -u
# shellcheck source=lib/guest.sh
. /vm/lib/guest.sh

export BLKREP_STATE=$T/state
doctor() { blkrep doctor --json "$@" >"$T/json" || fail "doctor: status $?"; }
is() { jq -e "$1" "$T/json" >/dev/null || fail "doctor does not say: $1: $(jq -c "${2:-.features}" "$T/json")"; }
row() { echo ".features[] | select(.name == \"$1\")"; }
dev() { echo ".devices[] | select(.name == \"$1\")"; }
kernel_name() { basename "$(readlink -f "$1")"; }
sectors() { blockdev --getsz "$1"; }
must() { "$@" || fail "$*: status $?"; } # this works
can() { "$@" 2>/dev/null; }             # does this?

# ---- a kernel that nobody used device-mapper on yet: all is loadable, and stays so
rmmod dm_mod # the test bed has it loaded
cut -d' ' -f1 /proc/modules | sort >"$T/modules"
! grep -q device-mapper /proc/misc || fail "device-mapper is loaded before the test"
doctor
cut -d' ' -f1 /proc/modules | sort | cmp -s - "$T/modules" || fail "doctor loaded a module"
column=$([[ $VM_KERNEL == 6.1 ]] && echo 6 || echo 7)
for name in sync io_uring attach cow era group mirror-ublk mirror-nbd; do
    claim=$(blkrep doctor --matrix | awk -F'|' -v name="$name" -v column="$column" '{ gsub(/ /, "", $2); gsub(/ /, "", $column) } $2 == name { print $column }')
    is "$(row "$name") | (if .ok then \"yes\" else \"no\" end) == \"$claim\"" "$(row "$name")"
done
is '[.machine.drivers[] | select(.name == "era" or .name == "snapshot" or .name == "thin") | .presence] | all(. == "loadable")' .machine.drivers
is '.machine.drivers[] | select(.name == "clone") | .presence == "absent"' .machine.drivers

# ---- drivers: what was called loadable loads, what was called absent does not
for pair in nbd:mirror-nbd ublk_drv:mirror-ublk; do
    loads=false
    ! modprobe "${pair%:*}" 2>/dev/null || loads=true
    is "$(row "${pair#*:}") | .ok == $loads" "$(row "${pair#*:}")"
done
modprobe dm-mod || fail "no dm-mod"
doctor
is '[.machine.drivers[] | select(.name == "linear" or .name == "error") | .presence == "present" and (.version | test("^1\\."))] | all' .machine.drivers
is '.machine.drivers[] | select(.name == "device-mapper") | .version | startswith("4.")' .machine.drivers
if [[ $VM_KERNEL == 6.12 ]]; then # loaded now, it tells that it can recover
    is '.machine.ublk_features != null and '"($(row mirror-ublk) | .ok)" .machine
fi

# ---- disks: one with two partitions, of which one is mounted, one with a linear device on it
printf '\0\0\0\0\203\0\0\0\0\010\0\0\0\0\002\0\0\0\0\0\203\0\0\0\0\010\002\0\0\340\003\0' |
    dd of=/dev/vm/parts bs=1 seek=446 conv=notrunc status=none
printf '\125\252' | dd of=/dev/vm/parts bs=1 seek=510 conv=notrunc,fsync status=none
blockdev --rereadpt /dev/vm/parts || fail "rereadpt"
disk=$(kernel_name /dev/vm/parts)
whole=$(kernel_name /dev/vm/whole)
spare=$(kernel_name /dev/vm/spare)
[[ -b /dev/${disk}2 ]] || fail "the disk has no second partition"
mkdir "$T/srv" "/run/data" "$T/fat"
must mke2fs -q -t ext4 "/dev/${disk}1"
must mount -t ext4 "/dev/${disk}1" "$T/srv"
must dmsetup create real --table "0 $(sectors /dev/vm/whole) linear /dev/vm/whole 0"
must mke2fs -q -t ext4 /dev/mapper/real
must mount -t ext4 /dev/mapper/real "/run/data"
must mkdosfs /dev/vm/spare >/dev/null
must mount -t vfat /dev/vm/spare "$T/fat"
dm="dm-0" # the first one made
doctor
is "$(dev "$disk") | .attach == \"elsewhere\" and (.instead | length) == 2" "$(dev "$disk")"
is "$(dev "${disk}1") | .attach == \"release\" and .kind == \"partition\" and .disk == \"$disk\" and .holds == \"ext4\" and .mounts[0].where == \"$T/srv\"" "$(dev "${disk}1")"
is "$(dev "${disk}2") | .attach == \"idle\" and .holds == null and .seen == \"seen\"" "$(dev "${disk}2")"
is "$(dev "$dm") | .attach == \"online\" and .dm_name == \"real\" and .dm_target == \"linear\" and .below == [\"$whole\"] and .path == \"/dev/mapper/real\"" "$(dev "$dm")"
is "$(dev "$whole") | .attach == \"elsewhere\" and .instead == [\"$dm\"]" "$(dev "$whole")"
# the empty partition is a place on the mounted one's own disk: era; the linear device has none there: cow
is "$(dev "${disk}1") | .tracker == \"era\" and .places[0].kind == \"device\" and .places[0].own_disk" "$(dev "${disk}1")"
is "$(dev "$dm") | .tracker == \"cow\" and (.places | all(.own_disk | not))" "$(dev "$dm")"
is "$(dev "$dm") | .plans[0].commands[0] | startswith(\"blkrep attach data /dev/mapper/real --cow=\")" "$(dev "$dm")"
# a name that the user gave is the name in the commands, where no better is known
doctor /dev/vm/whole "/dev/${disk}1"
is ".devices | length == 2" .devices

# ---- ways: a table is changed under a mount, a mounted partition can't be mapped
must dmsetup create era-meta --table "0 8192 linear /dev/${disk}2 0"
dd if=/dev/zero of=/dev/mapper/era-meta bs=1M count=1 conv=fsync status=none
! can dmsetup create below --table "0 $(sectors "/dev/${disk}1") linear /dev/${disk}1 0" || fail "a mounted partition could be mapped after all"
must dmsetup create base --table "0 $(sectors /dev/vm/whole) linear /dev/vm/whole 0"
must dmsetup load real --table "0 $(sectors /dev/vm/whole) linear /dev/mapper/base 0"
must dmsetup suspend real
must dmsetup resume real
echo alive >"/run/data/file"
sync
[[ $(cat "/run/data/file") == alive ]] || fail "the mount did not survive a change of its table"

# ---- targets: era is created exactly where doctor said so, and is seen then with its version
era_works() { can dmsetup create try --table "0 65536 era /dev/mapper/era-meta /dev/mapper/base 2048" && must dmsetup remove try; }
says_era=$(jq "$(row era) | .ok" "$T/json")
works=false
! era_works || works=true
[[ $works == "$says_era" ]] || fail "era: doctor says $says_era, creating it: $works"
doctor
is '.machine.drivers[] | select(.name == "era") | .presence == "present" and .version == "1.0.0"' .machine.drivers

# ---- TRIM: taken now, refused by what attach puts on top
is "$(dev "$dm") | .trim_now and (.trim_attached | not)" "$(dev "$dm")"
fstrim "/run/data" || fail "doctor says that TRIM reaches the device, fstrim does not"
must dmsetup create origin --table "0 65536 snapshot-origin /dev/mapper/base"
origin=$(grep -lx origin /sys/block/dm-*/dm/name)
origin=$(basename "${origin%/dm/name}")
[[ $(cat "/sys/block/$origin/queue/discard_max_bytes") == 0 ]] || fail "snapshot-origin takes discards after all"
must dmsetup remove origin

# ---- freezing: as the list of file systems says
is "$(dev "$dm") | .mounts[0].freezes" "$(dev "$dm")"
is "$(dev "$spare") | .mounts[0].fs == \"vfat\" and (.mounts[0].freezes | not)" "$(dev "$spare")"
must fsfreeze --freeze "/run/data"
must fsfreeze --unfreeze "/run/data"
! can fsfreeze --freeze "$T/fat" || fail "vfat can be frozen after all"

# ---- devices that do not answer: a suspended one is not read, a slow one is given up
must dmsetup create still --table "0 8192 linear /dev/mapper/base 0"
must dmsetup suspend still
must dmsetup create slow --table "0 8192 delay /dev/mapper/base 0 60000"
started=$SECONDS
doctor
[[ $((SECONDS - started)) -le 22 ]] || fail "doctor took $((SECONDS - started)) s"
is '.devices[] | select(.dm_name == "still") | .seen == "suspended"' '.devices[] | [.name, .seen]'
is '.devices[] | select(.dm_name == "slow") | .seen == "hung"' '.devices[] | [.name, .seen]'
is '.hurried and (.warnings | length) == 1' .hurried
is "$(dev "${disk}1") | .seen == \"seen\"" '.devices[] | [.name, .seen]' # the others were looked at
must dmsetup resume still
must dmsetup remove still
must dmsetup suspend --noflush --nolockfs slow # dm-delay lets go of what it holds back
must dmsetup resume slow
for ((i = 0; i < 100; i++)); do dmsetup remove slow 2>/dev/null && break; sleep 0.1; done

# ---- io_uring forbidden: noticed, and the rest goes on over libaio
if [[ -e /proc/sys/kernel/io_uring_disabled ]]; then
    echo 2 >/proc/sys/kernel/io_uring_disabled
    doctor
    is "$(row io_uring) | (.ok | not) and (.remedy | contains(\"io_uring_disabled=0\"))" "$(row io_uring)"
    is "$(row sync) | .ok and (.reason | contains(\"libaio\"))" "$(row sync)"
    echo 0 >/proc/sys/kernel/io_uring_disabled
fi

# ---- modules forbidden until the next boot: what is not loaded is out of reach, and doctor says why
rmmod dm_era || fail "rmmod dm_era"
echo 1 >/proc/sys/kernel/modules_disabled
doctor
is "$(row era) | (.ok | not) and (.reason | contains(\"modules_disabled\")) and (.remedy | contains(\"dm_era\"))" "$(row era)"
! era_works || fail "era works although modules are forbidden"
is "$(dev "${disk}1") | .tracker != \"era\"" "$(dev "${disk}1")"
