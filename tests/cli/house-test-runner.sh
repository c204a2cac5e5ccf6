#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/test counts right and never calls green what is not: a program that dies, stops short or runs nothing, a script
# that hangs or leaves a process behind. It runs as many at once as it was told, the longest first, and alone what asks for it.
# Method: a copy of scripts/test in a tree of its own, with shell scripts as test programs and as scripts/vm.
# timeout: 60
# plain: about scripts/test
. "$(dirname "$0")/../lib/cli.sh"
t_need pgrep

tree=$T/tree
mkdir -p "$tree/scripts" "$tree/tests"/{unit,prop,fuzz/corpus/x,cli,vm} "$tree/build/tests"/{unit,prop,fuzz}
cp "$T_TOP/scripts/test" "$tree/scripts/test"

program() { # program KIND/NAME BODY [LINE IN ITS SOURCE]
    printf '%s\n' "${3:-}" >"$tree/tests/$1.c"
    printf '#!/bin/bash\n%s\n' "$2" >"$tree/build/tests/$1"
    chmod +x "$tree/build/tests/$1"
}
script() { printf '%s\n' "${@:2}" >"$tree/tests/$1.sh"; }
runner() { t_run "$tree/scripts/test" --no-setup "$@"; }
last_line_is() { [[ $(tail -n 1 "$T/out") == "$1" ]] || t_fail "the last line is not: $1"; }
counts() { # counts NAME "N passed, N failed, N skipped": running only NAME gives that
    runner "$1"
    last_line_is "$2"
    if [[ $2 == *", 0 failed,"* ]]; then t_status 0; else t_status 1; fi
}

runner
t_status 0
last_line_is "0 passed, 0 failed, 0 skipped"

program unit/test_good 'echo 1..3; echo "ok 1 - a"; echo "ok 2 - b"; echo "not ok 3 # SKIP c"'
program unit/test_bad 'echo 1..2; echo "ok 1 - a"; echo "not ok 2 - it_breaks"; exit 1'
program unit/test_dies 'echo 1..2; echo "ok 1 - a"; kill -SEGV $$'
program unit/test_short 'echo 1..2; echo "ok 1 - a"'
program unit/test_empty 'exit 0'
program unit/test_lies 'echo 1..1; echo "ok 1 - a"; exit 3'
# shellcheck disable=SC2016 # the text is not for this shell
program prop/prop_seeded 'echo "# seed=$T_SEED"; echo "ok 1 - scale $T_SCALE"; echo 1..1'
# shellcheck disable=SC2016 # the text is not for this shell
program fuzz/fuzz_x '[[ $1 == tests/fuzz/corpus/x ]] && echo "ok 1 - $1"'
counts test_good "2 passed, 0 failed, 1 skipped"
counts test_bad "1 passed, 1 failed, 0 skipped"
t_stdout_has "not ok 2 - it_breaks"
counts test_dies "1 passed, 1 failed, 0 skipped"
counts test_short "1 passed, 1 failed, 0 skipped"
counts test_empty "0 passed, 1 failed, 0 skipped"
counts test_lies "1 passed, 1 failed, 0 skipped"
counts fuzz_x "1 passed, 0 failed, 0 skipped"
runner --kind prop --seed 4711 --scale 3
t_stdout_has "prop/prop_seeded 4711"
rm "$tree/build/tests/unit/test_good"
counts test_good "0 passed, 1 failed, 0 skipped"

script cli/good 'exit 0'
script cli/skipped 'echo first; echo "no such kernel"; exit 77'
script cli/bad 'echo "what went wrong"; exit 1'
script cli/hangs '# timeout: 1' 'sleep 60'
script cli/leaves 'sleep 60 &'
# shellcheck disable=SC2016 # the text is not for this shell
script cli/folder '[[ -d $T && -d $HOME && $HOME == "$T"/* && $BLKREP_STATE == "$T"/* && -f $BLKREP_CONFIG && ! -e /dev/stdin/x ]]'
script cli/long '# soak: takes a week' 'exit 1'
counts cli/good "1 passed, 0 failed, 0 skipped"
counts cli/skipped "0 passed, 0 failed, 1 skipped"
t_stdout_has "no such kernel"
counts cli/bad "0 passed, 1 failed, 0 skipped"
t_stdout_has "what went wrong"
counts cli/hangs "0 passed, 1 failed, 0 skipped"
t_stdout_has "limit of 1 s"
counts cli/leaves "0 passed, 1 failed, 0 skipped"
t_stdout_has "left processes behind: sleep"
counts cli/folder "1 passed, 0 failed, 0 skipped"
counts cli/long "0 passed, 0 failed, 0 skipped"
script cli/house '# plain: no program of the build' 'exit 0'
runner --list --kind cli
t_stdout_has cli/house
runner --list --kind cli --build build-asan
t_stdout_has cli/good
t_stdout_lacks cli/house
runner --soak cli/long
last_line_is "0 passed, 1 failed, 0 skipped"

runner --list --kind cli,prop
t_stdout_has cli/hangs
t_stdout_has prop/prop_seeded
t_stdout_lacks unit/
runner --kind nonsense
t_status 2

# how many at once, and in which order: each test notes when it begins and ends
cat >"$tree/scripts/vm" <<'END'
#!/bin/bash
# a test bed without a machine: runs the script here
if [[ $1 == kernels ]]; then sed -n 's/^# vm: kernels=\([^ ]*\).*/\1/p' "$2" | tr , ' '; else exec bash "${@: -1}" "$@"; fi
END
chmod +x "$tree/scripts/vm"
# shellcheck disable=SC2016 # the text is not for this shell
noted='echo "begin $(basename "$0")" >>"$NOTES"; sleep 0.3; echo "end $(basename "$0")" >>"$NOTES"'
export NOTES=$T/notes
script vm/brief '# vm: kernels=6.1 timeout=60' "$noted"
script vm/longest '# vm: kernels=6.1,6.12 timeout=300' "$noted"
script vm/middle '# vm: kernels=6.1 timeout=200' "$noted"
script vm/shy '# vm: kernels=6.12 timeout=900' '# alone: measures time' "$noted"
# busy until the kernel has counted a second and a half of it, in hundredths; on a busy machine that takes longer
# shellcheck disable=SC2016 # the text is not for this shell
script vm/busy '# vm: kernels=6.1 timeout=100' \
    'until [[ $((user + system)) -ge 150 ]]; do read -r _ _ _ _ _ _ _ _ _ _ _ _ _ user system _ </proc/self/stat; done'
noted_run() { # noted_run N: runs them, N at once
    : >"$NOTES"
    runner --kind vm --vm-jobs "$1" brief longest middle shy
    last_line_is "5 passed, 0 failed, 0 skipped"
}
# most_at_once [WITH]: the most that ran at the same time, of those beside WITH when it is given
most_at_once() {
    awk -v with="${1:-}" '{ now += $1 == "begin" ? 1 : -1; if (with != "" && $2 == with) inside = $1 == "begin" }
        (with == "" || inside) && now > most { most = now } END { print most }' "$NOTES"
}
noted_run 1
[[ $(grep begin "$NOTES" | tr '\n' ' ') == "begin longest.sh begin longest.sh begin middle.sh begin brief.sh begin shy.sh " ]] ||
    t_fail "another order than longest first and alone last: $(cat "$NOTES")"
[[ $(most_at_once) == 1 ]] || t_fail "more than one at once: $(cat "$NOTES")"
noted_run 3
[[ $(most_at_once) == 3 ]] || t_fail "not three at once: $(cat "$NOTES")"
[[ $(most_at_once shy.sh) == 1 ]] || t_fail "what asked to be alone was not: $(cat "$NOTES")"
runner --list longest@6.12 brief@6.12
[[ $(cat "$T/out") == vm/longest@6.12 ]] || t_fail "a kernel can't be chosen"
runner --kind vm --vm-jobs 0
t_status 2

# the ten slowest, with what they did to the CPU
runner --kind vm,cli --vm-jobs 2 busy brief cli/good
[[ $(grep -A1 '^slowest:' "$T/out") =~ \ ([0-9]+)\ s,\ +([0-9]+)\ s\ of\ a\ CPU\ \ vm/busy@6.1$ ]] || t_fail "the slowest is not told first"
[[ ${BASH_REMATCH[1]} -ge 1 && ${BASH_REMATCH[2]} -ge 1 ]] || t_fail "its time is not told"

# stopped from outside, it takes its tests with it
script cli/hangs 'exec sleep 61.25'
t_background runner "$tree/scripts/test" --no-setup cli/hangs
hanging() { pgrep -fx 'sleep 61.25'; }
t_wait_for 10 hanging
t_end "$T_PID"
gone() { ! hanging; }
t_wait_for 10 gone
