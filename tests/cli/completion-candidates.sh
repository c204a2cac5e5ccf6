#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The bash completion offers verbs, the second words of two-word verbs, each verb's own options, the values of choices, and files; it is
# driven as readline drives it.
. "$(dirname "$0")/../lib/cli.sh"

t_ok blkrep manual bash-completion
cp "$T/out" "$T/completion"
bash -n "$T/completion"
if command -v shellcheck >/dev/null; then
    t_ok shellcheck -s bash "$T/completion"
fi
# shellcheck source=/dev/null
. "$T/completion"
complete -p blkrep >/dev/null || t_fail "nothing completes blkrep"

# offers WORDS...: what is offered for the last of them goes to $T/offered, one a line, sorted. readline splits words at "=".
offers() {
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
    t_last="complete: $*"
    _blkrep
    printf '%s\n' "${COMPREPLY[@]}" | sed '/^$/d' | sort >"$T/offered"
    cp "$T/offered" "$T/out"
}
has() { grep -qxF -e "$1" "$T/offered" || t_fail "$1 is not offered"; }
lacks() { ! grep -qxF -e "$1" "$T/offered" || t_fail "$1 is offered"; }
only() { [[ $(paste -sd " " "$T/offered") == "$1" ]] || t_fail "offered is not: $1"; }

cd "$T"
mkdir files
: >files/disk.img
: >'files/my disk'
cd files

# first words: each once
offers blkrep ''
has token && has dump && has --help && has --version
lacks create && lacks disk.img
[[ -z $(uniq -d "$T/offered") ]] || t_fail "offered twice: $(uniq -d "$T/offered")"
t_ok blkrep manual
sed -n 's/^blkrep-\([a-z]*\).*\.1$/\1/p' "$T/out" | sort -u >"$T/verbs"
offers blkrep ''
while read -r verb; do has "$verb"; done <"$T/verbs"
offers blkrep du
only dump

# second words, and no options before they are typed
offers blkrep token ''
only "create list"
offers blkrep client re
only revoke
offers blkrep token cre
only create

# options of the verb, not of others
offers blkrep token create --
has --role= && has --json && has --state=
lacks --blocks
offers blkrep dump --
has --blocks && lacks --role=
offers blkrep token list --
lacks --role=
offers blkrep token create --rol
only --role=

# values: three words, as readline splits; two words; one word
offers blkrep token create --role =
only "admin operator reader writer"
offers blkrep token create --role = re
only reader
offers blkrep token create --role w
only writer
offers blkrep token create --role=w
only --role=writer
offers blkrep token create --expires = 1
only ""
offers blkrep dump --state = "fi"
lacks files
cd ..
offers blkrep dump --state = "fi"
only files
cd files

# files where arguments go, blanks and all; after -- nothing else
offers blkrep dump ''
has disk.img && has 'my disk' && lacks --blocks
offers blkrep dump my
only "my disk"
offers blkrep dump -- --
lacks --blocks
offers blkrep client revoke disk
only disk.img

# what does not exist
offers blkrep nonsense --
only ""
