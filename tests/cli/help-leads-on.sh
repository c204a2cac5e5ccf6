#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Who types half a command is told the rest: help of a verb in each way that people try, the verbs behind a first word, the right --help in
# a usage error. Help that did not reach its reader is a failure.
. "$(dirname "$0")/../lib/cli.sh"

t_ok blkrep client list --help
cp "$T/out" "$T/help"
for words in "help client list" "--help client list"; do
    # shellcheck disable=SC2086 # words
    t_ok blkrep $words
    t_file_equal "$T/help" "$T/out"
done
t_ok blkrep help
t_stdout_has "blkrep VERB"
t_run blkrep help snyc
t_status 2
t_stderr_has snyc
t_run blkrep token
t_status 2
t_stderr_has "blkrep token create, blkrep token list"
t_run blkrep tok
t_status 2
t_stderr_has "--help lists the verbs"
t_run blkrep client list surplus
t_status 2
t_stderr_has "see blkrep client list --help"
for words in --help --version "help sync" "sync --help"; do
    # shellcheck disable=SC2086 # words
    t_run sh -c 'exec "$@" >/dev/full' sh "$BLKREP" $words
    t_status 1
    t_stderr_has "stdout"
done
