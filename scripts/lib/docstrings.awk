# SPDX-License-Identifier: Apache-2.0
# Every br_, dmh_ and kmc_ function in a header is documented: its prototype, or the inline definition, follows a comment that begins
# with "/**". One comment may cover a group: prototypes that follow each other without an empty line between.
# Prints one line per function without one and ends with 1 when there is any.

function finish_statement(text) {
    if (text ~ /(^|[^A-Za-z0-9_])(br|dmh|kmc)_[a-z0-9_]+[ \t]*\(/ && text !~ /^[ \t]*typedef/ && text !~ /=/) {
        if (!documented) {
            match(text, /(br|dmh|kmc)_[a-z0-9_]+[ \t]*\(/)
            name = substr(text, RSTART, RLENGTH - 1)
            gsub(/[ \t]/, "", name)
            printf "%s:%d: %s() has no docstring\n", FILENAME, started, name
            findings++
        }
    } else {
        documented = 0
    }
    statement = ""
}

FNR == 1 { depth = 0; documented = 0; statement = ""; in_comment = 0; in_macro = 0 }

in_macro { in_macro = /\\$/; next }
/^[ \t]*#/ && !in_comment { in_macro = /\\$/; next }

{
    line = $0
    if (in_comment) {
        if (line !~ /\*\//) next
        sub(/^.*\*\//, "", line)
        in_comment = 0
    }
    if (depth == 0 && statement == "" && line ~ /^[ \t]*\/\*\*/) documented = 1
    gsub(/\/\*([^*]|\*[^\/])*\*\//, "", line)
    sub(/\/\/.*$/, "", line)
    if (line ~ /\/\*/) {
        in_comment = 1
        sub(/\/\*.*$/, "", line)
    }
    if ($0 ~ /^[ \t]*$/ && depth == 0 && statement == "") documented = 0
    n = length(line)
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1)
        if (c == "{") {
            if (depth++ == 0) {
                head = statement
            }
        } else if (c == "}") {
            if (--depth == 0) {
                # a function body ends the statement; a struct or enum goes on to its semicolon
                if (head ~ /\)[ \t]*$/) finish_statement(head)
                else statement = "struct"
            }
        } else if (depth == 0) {
            if (c == ";") {
                finish_statement(statement)
            } else {
                if (statement ~ /^[ \t]*$/) started = FNR
                statement = statement c
            }
        }
    }
    if (statement ~ /^[ \t]*$/) statement = ""
    else if (depth == 0) statement = statement " "
}

END { exit findings > 0 }
