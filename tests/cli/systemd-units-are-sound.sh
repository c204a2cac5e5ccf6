#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make install puts every unit, rule and boot hook where systemd, udev and the initramfs builders look, and systemd has nothing to say
# against the units; attaching comes before local file systems, without a cycle.
. "$(dirname "$0")/../lib/cli.sh"

t_need systemd-analyze make

mkdir -p "$T/b/man"
cp "$BLKREP" "${BLKREP%/*}/blkrep-dm-helper" "${BLKREP%/*}/nbdkit-blkrep-plugin.so" "$T/b/"
while read -r page; do "$BLKREP" manual "$page" >"$T/b/man/$page"; done < <("$BLKREP" manual)
# what was built is installed: a build here would link what other tests run, with flags of its own
t_ok make -s -C "$T_TOP" -o all -o man install BUILD="$T/b" DESTDIR="$T/root"
units=$T/root/usr/lib/systemd/system
for unit in blkrep-attach blkrep-watch blkrep-serve; do
    [[ -s $units/$unit.service ]] || t_fail "$unit.service is not installed"
    # what the machine does not have, and where things lie here, is not the unit's fault
    sed -i "s|/usr/bin/blkrep|$BLKREP|; /^Documentation=/d" "$units/$unit.service"
    t_run systemd-analyze verify --man=no --recursive-errors=no "$units/$unit.service"
    t_status 0
    [[ ! -s $T/err ]] || t_fail "$unit.service: $(cat "$T/err")"
done
for unit in blkrep-dm-helper.socket blkrep-dm-helper@.service; do
    [[ -s $units/$unit ]] || t_fail "$unit is not installed"
    sed -i "s|/usr/libexec/blkrep|${BLKREP%/*}|; /^Documentation=/d" "$units/$unit"
done
cp "$units/blkrep-dm-helper@.service" "$units/blkrep-dm-helper@1.service"
t_run systemd-analyze verify --man=no --recursive-errors=no "$units/blkrep-dm-helper.socket" "$units/blkrep-dm-helper@1.service"
t_status 0
[[ ! -s $T/err ]] || t_fail "the helper's units: $(cat "$T/err")"
grep -q '^InaccessiblePaths=.*dm-helper.socket' "$units/blkrep-serve.service" || t_fail "blkrep serve could use attached volumes"
grep -q '^Before=local-fs.target' "$units/blkrep-attach.service" || t_fail "attach does not come before local file systems"
grep -q '^ExecStart=-' "$units/blkrep-attach.service" || t_fail "a failed attach would stop the boot"
[[ -s $T/root/usr/lib/udev/rules.d/62-blkrep.rules ]] || t_fail "the udev rule is not installed"
for part in hooks scripts/local-top scripts/local-block; do
    [[ -x $T/root/usr/share/initramfs-tools/$part/blkrep ]] || t_fail "initramfs-tools has no $part/blkrep"
done
for part in module-setup.sh blkrep-settled.sh; do
    [[ -x $T/root/usr/lib/dracut/modules.d/90blkrep/$part ]] || t_fail "dracut has no $part"
done
[[ -x $T/root/usr/libexec/blkrep/blkrep-early && -x $T/root/usr/libexec/blkrep/blkrep-early-copy ]] || t_fail "what both run is not installed"

# a prefix of its own: the builders look where they look, and what they call is there
t_ok make -s -C "$T_TOP" -o all -o man install BUILD="$T/b" DESTDIR="$T/other" PREFIX=/opt/blkrep
grep -q '^libexec=/opt/blkrep/libexec/blkrep$' "$T/other/usr/share/initramfs-tools/hooks/blkrep" || t_fail "the hook calls what is not there"
grep -q '^bin=/opt/blkrep/bin$' "$T/other/opt/blkrep/libexec/blkrep/blkrep-early" || t_fail "blkrep-early calls what is not there"
! grep -rn '/usr/libexec/blkrep' "$T/other/usr" || t_fail "a boot hook names the default prefix"
