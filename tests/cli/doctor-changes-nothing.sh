#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# doctor opens no device for writing, makes no file, loads no module and asks no driver that isn't there: its system calls are read.
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/ends.sh"
t_need strace jq

t_run strace -o "$T/probe" true
[[ $T_STATUS -eq 0 ]] || t_skip "strace does not work here"
t_hole "$T/image" 4M
if [[ $(id -u) == 0 ]]; then t_loop "$T/image"; fi # something to look at, where that is to be had
[[ ! -e $T/state ]] || t_fail "there is a state folder before"
export LSAN_OPTIONS=detect_leaks=0 # it does not work in a traced process
t_run strace -f -qq -o "$T/trace" "$BLKREP" doctor --json
t_status 0
grep -q 'openat(.*"/proc/misc"' "$T/trace" || t_fail "the trace shows nothing"
! grep -E 'open(at|at2)?\(.*O_(WRONLY|RDWR|CREAT|TRUNC)' "$T/trace" | grep -vE '"/dev/(null|tty)"|"/proc/self/' >"$T/found" ||
    t_fail "opened for writing: $(head -n 3 "$T/found")"
! grep -E '\b(init_module|finit_module|delete_module|mknod|mknodat|mkdir|mkdirat|unlink|unlinkat|rename|renameat2?|symlink|link|linkat|mount|umount2|chmod|chown|truncate|swapon|setxattr)\(' "$T/trace" >"$T/found" ||
    t_fail "it changes something: $(head -n 3 "$T/found")"
! grep -E 'execve\(' "$T/trace" | grep -vE 'blkrep|lvm|"/bin/sh"' >"$T/found" || t_fail "it runs a program: $(head -n 3 "$T/found")"
for node in mapper/control:device-mapper ublk-control:ublk-control; do
    grep -qw "${node#*:}" /proc/misc || ! grep -q "openat(.*\"/dev/${node%:*}\"" "$T/trace" ||
        t_fail "/dev/${node%:*} is opened although nothing is behind it: that makes the kernel load a module"
done
! grep -q 'openat(.*"/dev/loop-control"' "$T/trace" || t_fail "/dev/loop-control is opened"
[[ ! -e $T/state ]] || t_fail "it made a state folder"
