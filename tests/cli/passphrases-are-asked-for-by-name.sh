#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# A passphrase is asked for on the terminal by the repository's name and by what it is for; what opened the first of two repositories is tried for
# the second before that is asked for.
. "$(dirname "$0")/../lib/cli.sh"

t_need python3
repo=$T/repo v=$T/volume
t_random "$v" 1M 1
asked() { # ANSWER... -- COMMAND...: its output on a terminal of its own; fails when an answer was not asked for
    python3 - "$@" >"$T/terminal" <<'PY' || t_fail "$(cat "$T/terminal")"
import os, pty, sys, time
at = sys.argv.index("--")
answers, words = sys.argv[1:at], sys.argv[at + 1:]
pid, fd = pty.fork()
if not pid:
    os.execvp(words[0], words)
seen = b""
while True:
    try:
        more = os.read(fd, 1000)
    except OSError:
        break
    if not more:
        break
    seen += more
    if seen.endswith(b": ") and answers:
        time.sleep(0.3)  # what comes before the echo is off is thrown away
        os.write(fd, answers.pop(0).encode() + b"\n")
print(seen.decode())
sys.exit(os.waitpid(pid, 0)[1] != 0 or len(answers))
PY
}
BLKREP_PASSPHRASE='the first' t_ok blkrep init "$repo"
BLKREP_PASSPHRASE='the first' t_ok blkrep init "$T/same"
BLKREP_PASSPHRASE='another' t_ok blkrep init "$T/other"
BLKREP_PASSPHRASE='the first' t_ok blkrep backup "$v" "$repo"
asked 'the first' new new -- "$BLKREP" key add "$repo"
grep -qF "passphrase of $repo: " "$T/terminal" || t_fail "not asked for by name"
grep -qF "new passphrase of $repo: " "$T/terminal" || t_fail "a new one is not asked for as such"
asked 'the first' -- "$BLKREP" copy "$repo" "$T/same"
asked 'the first' another -- "$BLKREP" copy "$repo" "$T/other"
grep -qF "passphrase of $T/other: " "$T/terminal" || t_fail "the second is not asked for by name"
BLKREP_PASSPHRASE='' t_run blkrep init "$T/none"
t_status 2
t_stderr_has "an empty passphrase"
BLKREP_PASSPHRASE='the first' t_run blkrep dump "$repo" --object packs/../config
t_status 2
