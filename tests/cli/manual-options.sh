#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Each option that --help shows is taken by its verb, with each value that it may have; what --help does not show is refused with status 2,
# as is a bad value, a value twice, a value where none belongs, and a number of arguments that the usage line does not allow.
# timeout: 240
. "$(dirname "$0")/../lib/cli.sh"

verbs() { # the verbs as typed, from blkrep --help
    "$BLKREP" --help | sed -n 's/^  \([a-z][a-z ]*[a-z]\)\( .*\)\?$/\1/p'
}

# with --help a command line is parsed, and nothing is done
taken() { t_ok blkrep "${verb[@]}" "$@" --help; }
refused() { # NEEDLE ARGS...
    local needle=$1
    shift
    t_run blkrep "${verb[@]}" "$@"
    t_status 2
    t_stderr_has "$needle"
    [[ " $* " == *" --json"* ]] || t_stdout_empty
}

option() { # NAME VALUE as --help shows it
    local name=$1 value=$2 good bad=''
    case $value in
    '')
        taken "--$name"
        refused "--$name takes no value" "--$name=1" --help
        refused "--$name is given twice" "--$name" "--$name" --help
        return
        ;;
    *'|'*) good=${value//|/ } bad='nonsense' ;;
    SIZE) good='0 4096 64K 1.5GiB' bad='many' ;;
    TIME) good='1s 5m 1.5h 2d' bad='soon' ;;
    N | FD) good='0 7' bad='x' ;;
    *) good='some/text' ;;
    esac
    for value in $good; do
        taken "--$name=$value"
        taken "--$name" "$value"
    done
    [[ -z $bad ]] || refused "--$name=$bad" "--$name=$bad" --help
    refused "--$name" "--$name=" --help
    refused "--$name needs a value" "--$name"
    refused "--$name is given twice" "--$name=${good%% *}" "--$name=${good%% *}" --help
}

count=0
while read -r line; do
    read -r -a verb <<<"$line"
    t_ok blkrep "${verb[@]}" --help
    cp "$T/out" "$T/help"
    while read -r shown; do
        name=${shown%%=*} value=''
        [[ $shown != *=* ]] || value=${shown#*=}
        option "$name" "$value"
        count=$((count + 1))
    done < <(sed -n 's/^  --\([a-z-]*\(=[^ ]*\)\?\).*/\1/p' "$T/help" | grep -vx help)
    refused "has no option --no-such-option" --no-such-option
    refused "has no option --no-such-option" --no-such-option=1 --help
    refused "long options only" -x
    # the usage line: BLKREP VERB [options] ARGS
    read -r -a arguments <<<"$(sed -n "1s/^blkrep $line \[options\]//p" "$T/help")"
    too_many=(x "${arguments[@]}")
    [[ ${arguments[*]} == *...* ]] || refused "${verb[*]} takes" "${too_many[@]}"
    [[ ${#arguments[@]} -eq 0 || ${arguments[0]} == '['* ]] || refused "${verb[*]} takes ${arguments[*]}"
done < <(verbs)
[[ $count -gt 20 ]] || t_fail "only $count options were found in the verbs' --help"

t_run blkrep
t_status 2
t_run blkrep no-such-verb
t_status 2
t_stderr_has no-such-verb
t_ok blkrep --version
t_ok blkrep --help
