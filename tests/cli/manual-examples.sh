#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Every example that a manual page or --help shows works as it is shown. What can't be the same here is put in its place: paths below the
# test's folder, a server on loopback for backup.example.org; what is systemd's is looked at, not run.
# timeout: 480
. "$(dirname "$0")/../lib/cli.sh"
. "$(dirname "$0")/../lib/serve.sh"

mkdir "$T/backup" "$T/srv" "$T/bin"
ln -s "$BLKREP" "$T/bin/blkrep"
PATH=$T/bin:$PATH
cd "$T"
t_random disk.img 1M 1
t_random srv/disk.img 1M 2
t_random data 1M 3
(umask 077 && echo 'open it' >passphrase)
export BLKREP_PASSPHRASE='open it'
run=0

# stand_in COMMAND: as it can be run here
stand_in() {
    local c=$1
    c=${c//blkrep:\/\/backup.example.org\//$S_URL/}
    c=${c//'[2001:db8::2]:4800'/$S_ADDR}
    c=${c//backup.example.org/$S_ADDR}
    c=${c//backup.example/$S_ADDR}
    c=${c//'/backup/'/"$T/backup/"}
    c=${c//'/srv/'/"$T/srv/"}
    c=${c//'/dev/vg0/data'/"$T/data"}
    c=${c//'/etc/blkrep/'/"$T/"}
    c=${c//'/var/lib/blkrep-replicas'/"$T/replicas"}
    c=${c//'/var/lib/blkrep-serve'/"$S_STATE"}
    c=${c//'127.0.0.1:4777'/$S_ADDR}
    echo "${c#runuser -u blkrep -- }"
}
shell() { # COMMAND: it must exit 0
    t_run env BLKREP_STATE="$T/client-me" bash -o pipefail -c "$1"
    t_status 0
    run=$((run + 1))
}
# shellcheck disable=SC2094 # a word and a file
token() { s_server "$BLKREP" token create --role=operator >token 2>/dev/null; }
copy() { s_as me t_ok blkrep sync "$@" disk.img backup/disk.img; }
example() {
    local c
    c=$(stand_in "$1")
    case $1 in
    systemd-sysusers) [[ -s $T_TOP/scripts/systemd/blkrep.sysusers ]] || t_fail "no user to make" ;;
    "systemctl enable --now "*)
        local unit=${1##* }
        [[ -s $T_TOP/scripts/systemd/${unit/@*/@}.service ]] || t_fail "no such unit: $unit"
        ;;
    "blkrep serve"*)
        s_stop
        [[ $c == *--listen=* ]] || c+=" --listen=$S_ADDR"
        read -r -a words <<<"$c"
        s_start "${words[@]:2}"
        run=$((run + 1))
        ;;
    "blkrep pair "*)
        token
        t_run_in token env BLKREP_STATE="$T/client-me" bash -c "$c"
        t_status 0
        run=$((run + 1))
        ;;
    *--every*)
        BLKREP_STATE=$T/client-me t_background every bash -c "exec $c --json"
        t_wait_for 20 grep -q '"type":"run","status":0' every.out
        t_end "$T_PID"
        t_status 0
        run=$((run + 1))
        ;;
    "blkrep client revoke "*)
        s_pair "${1##* }"
        BLKREP_STATE=$S_STATE t_ok bash -c "$c"
        run=$((run + 1))
        ;;
    *"token "* | *"client "* | *"--state=/var/lib/blkrep-serve"*)
        BLKREP_STATE=$S_STATE t_ok bash -c "${c//--state=$S_STATE/}"
        run=$((run + 1))
        ;;
    "blkrep send "*/backup/repo*) # before there is one
        shell "blkrep init $T/backup/repo && blkrep backup disk.img $T/backup/repo && $c"
        rm -rf backup/repo
        ;;
    "blkrep copy "*)
        [[ -d backup/second ]] || shell "blkrep init $T/backup/second"
        shell "$c"
        ;;
    "blkrep receive "*) # a replica is kept by streams or by sync
        rm -rf backup/*
        shell "$c"
        rm -rf backup/*
        copy
        ;;
    # What needs device-mapper is run by tests/vm; here it must be a command line that blkrep takes.
    *"/dev/mapper/"* | *" /dev/sdb"* | "blkrep key remove"* | "blkrep doctor /dev/"* | "blkrep attach "* | "blkrep detach "* | "blkrep snapshot create"* | "blkrep snapshot remove"* | *@nightly*)
        t_run env BLKREP_STATE="$T/client-me" bash -o pipefail -c "$c"
        [[ $T_STATUS -ne 2 ]] || t_fail "no command line that blkrep takes: $1"
        run=$((run + 1))
        ;;
    "blkrep watch"*) shell "$c --once" ;;
    # What needs clients, servers and mounts that may not be here is run by tests of its own.
    "blkrep export "* | "blkrep mount "* | "blkrep files "*)
        t_run env BLKREP_STATE="$T/client-me" bash -o pipefail -c "$c"
        [[ $T_STATUS -ne 2 ]] || t_fail "no command line that blkrep takes: $1"
        run=$((run + 1))
        ;;
    "blkrep forget "*)
        shell "$c"
        copy --overwrite # what comes later needs it
        ;;
    *"man -l"*) command -v man >/dev/null && shell "$c" || run=$((run + 1)) ;;
    "blkrep "*) shell "$c" ;;
    *) t_fail "an example that this test does not know: $1" ;;
    esac
}

s_start
token
s_as me t_run_in token blkrep pair "$S_ADDR"
t_status 0
copy
while read -r verb; do
    # shellcheck disable=SC2086 # words
    t_ok blkrep $verb --help
    cp out help
    examples=$(sed -n '/^Examples$/,/^See also/s/^  \(blkrep .*\)/\1/p' help)
    [[ -n $examples ]] || t_fail "$verb --help has no example"
    while read -r command; do example "$command"; done <<<"$examples"
done < <("$BLKREP" --help | sed -n 's/^  \([a-z][a-z ]*[a-z]\)\( .*\)\?$/\1/p')
[[ $run -ge 25 ]] || t_fail "only $run examples were run"

# the way that blkrep(1) shows to a replica on another host, from the beginning
rm -rf backup/* client-me
run=0
"$BLKREP" manual blkrep.1 >page
awk '/^\.nf/ { on = 1; next } /^\.fi/ { if (on) print "--"; on = 0 } on' page | sed 's/\\-/-/g; s/\\(ti/~/g; s/\\e/\\/g' |
    sed -e ':more' -e '/\\$/{N; s/\\\n *//; b more' -e '}' >blocks # a line that goes on is one
config=''
while IFS= read -r line; do
    if [[ $line == -- && -n $config ]]; then # a configuration: with it the verbs know its names
        printf '%s\n' "$config" | sed "s#/srv/#$T/srv/#; s#blkrep://backup.example.org#$S_URL#; s#/var/lib/blkrep-replicas#$T/replicas#" >new.conf
        chmod 600 new.conf
        if [[ $config == *"[volume disk]"* ]]; then
            shell "blkrep sync disk disk --config=new.conf"
            t_stdout_has "$S_URL/disk: is current"
        else
            shell "blkrep sync disk.img none --dry-run --config=new.conf"
        fi
        config=''
    elif [[ $line == '['* || -n $config ]]; then
        config+=$line$'\n'
    elif [[ $line != -- ]]; then
        example "$line"
    fi
done <blocks
[[ $run -ge 9 ]] || t_fail "only $run commands of blkrep(1) were run"
t_file_equal srv/disk.img replicas/disk

# blkrep.conf(5)'s file is one
"$BLKREP" manual blkrep.conf.5 | awk '/^\.nf/ { on = 1; next } /^\.fi/ { on = 0 } on' | sed 's/\\-/-/g' >conf5
chmod 600 conf5
shell "blkrep sync disk.img none --dry-run --config=conf5"
s_stop
