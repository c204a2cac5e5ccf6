#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The test bed itself. Two runs of scripts/vm at once, of one tree and with an empty cache: both boot, and what they share is made once, by the
# first. Then how a run ends is told apart: a guest's test that fails, is skipped, or never ends. A KVM that hangs is noticed, and not used. The
# shell for a person has the build and the disks.
# Method: programs of the bed are wrapped, so that their calls are counted; under KVM the emulator's stand-in sleeps.
# timeout: 400
# plain: about scripts/vm
. "$(dirname "$0")/../lib/cli.sh"
t_need qemu-system-x86_64 cpio busybox nbdkit apt-get flock

mkdir "$T/bin"
for program in apt-get qemu-system-x86_64 depmod; do
    printf '#!/bin/bash\necho "%s $*" >>%q\nexec %q "$@"\n' "$program" "$T/calls" "$(PATH=$PATH:/usr/sbin:/sbin command -v "$program")" >"$T/bin/$program"
    chmod +x "$T/bin/$program"
done
export PATH=$T/bin:$PATH:/usr/sbin:/sbin BLKREP_VM_CACHE=$T/cache
cat >"$T/hello.sh" <<'END'
#!/bin/bash
# vm: kernels=6.1 disk=a=1M timeout=200 power-cut
. /vm/lib/guest.sh
[[ -b /dev/vm/a ]] || fail "no disk"
echo "hello from $(uname -r)"
END
runs=()
for name in one other; do
    t_background "$name" "$T_TOP/scripts/vm" run --build "${BLKREP%/*}" "$T/hello.sh"
    runs+=("$T_PID")
done
i=0
for name in one other; do
    T_STATUS=0
    wait "${runs[i]}" || T_STATUS=$?
    i=$((i + 1))
    cp "$T/$name.out" "$T/out" && cp "$T/$name.err" "$T/err"
    [[ $T_STATUS -ne 77 ]] || t_skip "$(tail -n 1 "$T/out")"
    t_status 0
    t_stdout_has "hello from 6.1."
done

calls() { grep -c -e "$1" "$T/calls" || true; }
[[ $(calls '^apt-get .*download') == 1 ]] || t_fail "the kernel was not fetched once: $(cat "$T/calls")"
[[ $(calls "^depmod -b $T/cache/stage") == 1 ]] || t_fail "the base archive was not made once: $(cat "$T/calls")"
[[ $(calls '^qemu.*-accel kvm.*panic=-1$') -le 1 ]] || t_fail "KVM was tried more than once: $(cat "$T/calls")"
[[ $(calls '^qemu.* -initrd ') == 2 ]] || t_fail "not two boots: $(cat "$T/calls")"
# a second run finds all of it there
: >"$T/calls"
T_RUN_LIMIT=200 t_ok "$T_TOP/scripts/vm" run --build "${BLKREP%/*}" "$T/hello.sh"
[[ $(wc -l <"$T/calls") == 1 ]] || t_fail "made again: $(cat "$T/calls")"

sed -i 's/^exec /case " $* " in *" -accel kvm "*) exec sleep 300 ;; esac\n&/' "$T/bin/qemu-system-x86_64"
rm -f "$T"/cache/kvm-*
in_guest() {
    printf '%s\n' '#!/bin/bash' '# vm: kernels=6.1 disk=a=1M timeout=100' '. /vm/lib/guest.sh' "$2" >"$T/$1.sh"
    T_RUN_LIMIT=200 t_run "$T_TOP/scripts/vm" run --build "${BLKREP%/*}" "$T/$1.sh"
}
in_guest broken 'fail "what is not so"'
t_status 1
t_stdout_has "FAIL: what is not so"
if [[ -w /dev/kvm ]]; then
    [[ $(cat "$T"/cache/kvm-*) == no ]] || t_fail "a KVM that hangs was taken: $(cat "$T/calls")"
fi
in_guest other 'exit 3'
t_status 3
in_guest skipped 'skip "for want of a reason"'
t_status 77
[[ $(tail -n 1 "$T/out") == "for want of a reason" ]] || t_fail "the reason is not the last line"
printf '%s\n' '#!/bin/bash' '# vm: kernels=6.1 timeout=10' 'sleep 1000' >"$T/endless.sh"
T_STATUS=0
"$T_TOP/scripts/vm" run --build "${BLKREP%/*}" "$T/endless.sh" >"$T/out" 2>"$T/err" || T_STATUS=$?
t_status 124
in_guest panics 'echo c >/proc/sysrq-trigger; sleep 1000'
[[ $T_STATUS -ne 0 && $T_STATUS -ne 77 ]] || t_fail "a kernel that panics is status $T_STATUS"

# what is typed before the prompt is lost: the guest's kernel empties the port when it opens it
mkfifo "$T/typed"
exec 3<>"$T/typed"
# shellcheck disable=SC2016 # for the shell that starts it
t_background shell bash -c 'exec "$@" <&3 2>&1' - timeout 100 "$T_TOP/scripts/vm" shell --build "${BLKREP%/*}" --disk mine=3M
t_wait_for 60 grep -q '^bash-.*# ' "$T/shell.out"
cat >&3 <<'END'
echo "size $((6 * 7)) $(blockdev --getsize64 /dev/vm/mine)"
blkrep --version
poweroff -f
END
wait "$T_PID" || t_fail "the shell: $(tail "$T/shell.out")"
exec 3>&-
grep -q "^size 42 $((3 << 20))" "$T/shell.out" || t_fail "the shell has no disk: $(tail -n 20 "$T/shell.out")"
grep -q "^$("$BLKREP" --version)" "$T/shell.out" || t_fail "the shell has no blkrep: $(tail -n 20 "$T/shell.out")"
