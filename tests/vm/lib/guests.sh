# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What several guests of one test have to say to each other: facts with a name, told by one and asked for by another.

guests_facts=/run/facts

# guests_listen - from here on others can ask
guests_listen() {
    mkdir -p "$guests_facts"
    httpd -p 8000 -h "$guests_facts"
}

# tell NAME - what standard input says, for the others to ask for
tell() {
    cat >"$guests_facts/$1.new"
    mv "$guests_facts/$1.new" "$guests_facts/$1"
}

# ask GUEST NAME SECONDS - prints what it tells, once it does. By bash itself: a static busybox can't look names up.
ask() {
    local i line
    for ((i = 0; i < $3 * 2; i++)); do
        if { exec 3<>"/dev/tcp/$1/8000"; } 2>/dev/null; then
            printf 'GET /%s HTTP/1.0\r\n\r\n' "$2" >&3
            read -r line <&3
            if [[ $line == *" 200 "* ]]; then
                sed '1,/^\r*$/d' <&3
                exec 3>&-
                return 0
            fi
            exec 3>&-
        fi
        sleep 0.5
    done
    fail "$VM_GUEST: $1 did not tell $2 within $3 s"
}
