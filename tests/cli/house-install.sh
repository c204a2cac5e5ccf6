#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# make install puts program, pages, completion and units where they belong, for any PREFIX; systemd finds nothing to say about the units, and
# what they start is a command line that blkrep takes.
. "$(dirname "$0")/../lib/cli.sh"

t_need make
mkdir -p "$T/b/man"
cp "$BLKREP" "$T/b/blkrep"
cp "${BLKREP%/*}/blkrep-dm-helper" "${BLKREP%/*}/nbdkit-blkrep-plugin.so" "$T/b/"
while read -r page; do "$BLKREP" manual "$page" >"$T/b/man/$page"; done < <("$BLKREP" manual)
# what was built is installed: nothing is built here
t_ok make -s -C "$T_TOP" -o all -o man install BUILD="$T/b" DESTDIR="$T/dest" PREFIX=/usr/local
root=$T/dest/usr/local
for file in bin/blkrep share/man/man1/blkrep.1 share/man/man1/blkrep-sync.1 share/man/man5/blkrep.conf.5 share/man/man7/blkrep-errors.7 \
    share/bash-completion/completions/blkrep lib/systemd/system/blkrep-serve.service lib/systemd/system/blkrep-sync@.service \
    lib/sysusers.d/blkrep.conf libexec/blkrep/blkrep-dm-helper libexec/blkrep/nbdkit-blkrep-plugin.so share/blkrep/hooks/postgresql share/doc/blkrep/copyright; do
    [[ -s $root/$file ]] || t_fail "not installed: $file"
done
[[ -d $T/dest/etc/blkrep ]] || t_fail "no folder for the configuration"
t_ok "$root/bin/blkrep" --version

units=("$T/blkrep-serve.service" "$T/blkrep-sync@disk.service")
cp "$root/lib/systemd/system/blkrep-serve.service" "${units[0]}"
cp "$root/lib/systemd/system/blkrep-sync@.service" "${units[1]}"
cp "$root/lib/systemd/system/blkrep-sync@.service" "$T/blkrep-sync@.service"
for unit in "${units[@]}"; do
    line=$(sed -n 's/^ExecStart=//p' "$unit")
    [[ $line == "/usr/local/bin/blkrep "* ]] || t_fail "${unit##*/} starts $line"
    every=$(sed -n 's/^Environment=EVERY=//p' "$unit")
    line=${line//%i/disk}
    # shellcheck disable=SC2016 # systemd's variable
    read -r -a words <<<"${line//'${EVERY}'/$every}"
    t_ok "$BLKREP" "${words[@]:1}" --help # parsed, and nothing done
    sed -i "s#/usr/local/bin/blkrep#$BLKREP#" "$unit"
done
sed -i "s#/usr/local/bin/blkrep#$BLKREP#" "$T/blkrep-sync@.service"
if command -v systemd-analyze >/dev/null; then
    t_run systemd-analyze verify --man=no "${units[@]}"
    t_status 0
    ! grep -v "^$" "$T/err" >&2 || t_fail "systemd has something to say"
fi
