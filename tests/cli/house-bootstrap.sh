#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# scripts/bootstrap installs exactly what is missing, touches nothing when nothing is, and says what to do when it may not.
# Method: dpkg-query, apt-get, apt-cache, id and sudo are stand-ins, the only programs on PATH but bash's own needs.
# plain: about scripts/bootstrap
. "$(dirname "$0")/../lib/cli.sh"

bin=$T/bin
mkdir -p "$bin"
for program in bash env cat true; do ln -s "$(type -P "$program")" "$bin/$program"; done

stand_in() { # stand_in NAME BODY
    printf '#!/bin/bash\n%s\n' "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}
stand_in dpkg-query "cat '$T/installed'"
stand_in apt-get "echo apt-get \"\$@\" >>'$T/calls'; [[ ! -e '$T/apt-breaks' || \$* != *install* ]]"
stand_in apt-cache "[[ \$* != *gnuplot-nox* && \$* != *'libclang-rt-14-dev'* ]] || echo known"
stand_in id 'echo 0'

bootstrap() {
    : >"$T/calls"
    t_run env PATH="$bin" bash "$T_TOP/scripts/bootstrap" "$@"
}
calls_have() { grep -qF -e "$1" "$T/calls" || t_fail "apt-get was not called with: $1"; }
no_calls() { [[ ! -s $T/calls ]] || t_fail "apt-get was called: $(cat "$T/calls")"; }

# everything of a group is missing but two
printf '%s\n' 'gcc installed' 'make config-files' 'liburing-dev installed' >"$T/installed"
bootstrap --dry-run build
t_status 0
t_stdout_has "  make"
t_stdout_has "  libzstd-dev"
t_stdout_lacks "  gcc"
t_stdout_lacks "  jq"
no_calls

bootstrap build
t_status 0
calls_have "update"
calls_have "install -y --no-install-recommends make libc6-dev libaio-dev"
! grep -q ' gcc' "$T/calls" || t_fail "a package that was there was installed"

# either of two will do; the one that the package lists know is taken
bootstrap --dry-run bench
t_stdout_has "  gnuplot-nox"
echo 'gnuplot installed' >>"$T/installed"
bootstrap --dry-run bench
t_stdout_lacks "gnuplot"

# apt-get fails: so does this
: >"$T/apt-breaks"
bootstrap build
t_status 1
t_stderr_has "could not install"

# neither root nor sudo: the exact command
stand_in id 'echo 1000'
bootstrap build
t_status 1
t_stderr_has "apt-get update && apt-get install -y --no-install-recommends make libc6-dev"
no_calls
# sudo that works is used
rm "$T/apt-breaks"
stand_in sudo "[[ \$1 != -n ]] || shift; exec \"\$@\""
bootstrap build
t_status 0
calls_have "install -y --no-install-recommends make"
stand_in id 'echo 0'

# everything there: quick and silent
env PATH="$bin" bash "$T_TOP/scripts/bootstrap" --dry-run all | while read -r word _; do
    [[ $word == would ]] || echo "$word installed"
done >>"$T/installed"
bootstrap all
t_status 0
t_stdout_empty
no_calls

# another distribution, and a group that does not exist
rm "$bin/apt-get"
bootstrap build
t_status 1
t_stderr_has "not Debian or Ubuntu"
t_stderr_has "liburing-dev"
bootstrap nonsense
t_status 2
