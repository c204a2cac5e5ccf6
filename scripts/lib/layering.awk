# SPDX-License-Identifier: Apache-2.0
# Who may include whom, and who may call what. Reads C sources and headers, named from the root of the tree; prints one
# line per violation and ends with 1 when there is any.
#
# The table below is the architecture (engine/README.md draws it). A folder may include itself, what its row names, and
# what those may. Nothing may include tools/ or tests/ from outside; tests/ may include everything.

BEGIN {
    direct["engine/base"] = "kmod-compat"
    direct["engine/map"] = "engine/base"
    direct["engine/ring"] = "engine/base"
    direct["engine/guard"] = "engine/base"
    direct["engine/codec"] = "engine/base engine/map"
    direct["engine/track"] = "engine/codec engine/map engine/ring"
    direct["engine/replica"] = "engine/codec engine/map engine/ring engine/track"
    direct["engine/pipe"] = "engine/replica engine/track engine/codec engine/ring"
    direct["engine/net"] = "engine/codec engine/ring"
    direct["engine/sync"] = "engine/pipe engine/net engine/replica"
    direct["engine/repo"] = "engine/sync engine/pipe engine/net engine/codec"
    direct["engine/mirror"] = "engine/pipe engine/net engine/track"
    direct["engine/restore"] = "engine/repo engine/pipe"
    # engine/*.h and engine/*.c themselves: the public face, on top of all folders
    direct["engine"] = "engine/sync engine/repo engine/mirror engine/restore engine/track engine/map " \
                       "engine/guard"
    direct["dm-helper"] = "kmod-compat engine/base"
    direct["kmod-compat"] = ""
    direct["tools"] = "engine dm-helper kmod-compat"
    direct["tests"] = "tools"
    for (from in direct) {
        close_over(from, from)
    }

    # Pure data: no descriptor, no clock, no system call.
    pure["engine/map"] = pure["engine/codec"] = 1
    impure = "^(unistd|fcntl|time|poll|liburing|libaio|sys/(stat|socket|mman|ioctl|uio|time|epoll|timerfd|types))[.]h$"

    # Only tools/ prints, exits and reads arguments; and dm-helper/main.c.
    front_door = "(printf|vprintf|puts|putchar|perror|exit|_exit|_Exit|quick_exit|getopt|getopt_long|getopt_long_only|" \
                 "argp_parse|syslog|psignal)"
}

function close_over(from, via,    names, n, i) {
    allowed[from, via] = 1
    n = split(direct[via], names, " ")
    for (i = 1; i <= n; i++) {
        if (!((from, names[i]) in allowed)) {
            close_over(from, names[i])
        }
    }
}

# layer_of path: the row of the table that a file belongs to; "" when it belongs to none
function layer_of(path,    parts, n) {
    n = split(path, parts, "/")
    if (parts[1] == "engine") {
        return n > 2 ? parts[1] "/" parts[2] : "engine"
    }
    return parts[1]
}

function complain(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    findings++
}

# without_text line: the line without comments and string literals, over lines for /* */
function without_text(line,    out, c, two) {
    out = ""
    while (line != "") {
        two = substr(line, 1, 2)
        c = substr(line, 1, 1)
        if (in_comment) {
            if (two == "*/") {
                in_comment = 0
                line = substr(line, 3)
            } else {
                line = substr(line, 2)
            }
        } else if (two == "/*") {
            in_comment = 1
            line = substr(line, 3)
        } else if (two == "//") {
            break
        } else if (c == "\"" || c == "'") {
            line = substr(line, 2)
            while (line != "" && substr(line, 1, 1) != c) {
                line = substr(line, substr(line, 1, 1) == "\\" ? 3 : 2)
            }
            line = substr(line, 2)
            out = out c c
        } else {
            out = out c
            line = substr(line, 2)
        }
    }
    return out
}

FNR == 1 {
    in_comment = 0
    layer = layer_of(FILENAME)
    if (!(layer in direct)) {
        complain("no rule says what " layer " may include: add its row to scripts/lib/layering.awk and engine/README.md")
    }
}

/^[ \t]*#[ \t]*include/ {
    if (match($0, /"[^"]*"/)) {
        name = substr($0, RSTART + 1, RLENGTH - 2)
        target = layer_of(name)
        if (name == "blkrep_version.h") {
            # made by the Makefile, of no layer
        } else if (name !~ /^(engine|kmod-compat|dm-helper|tools|tests)\//) {
            complain("include \"" name "\" does not start at the root of the tree")
        } else if (layer in direct && !((layer, target) in allowed)) {
            complain(layer " may not include " name)
        }
    } else if (match($0, /<[^>]*>/)) {
        name = substr($0, RSTART + 1, RLENGTH - 2)
        if ((layer in pure) && name ~ impure) {
            complain(layer " is pure data and may not include <" name ">")
        }
        if (name == "libdevmapper.h" && layer != "dm-helper") {
            complain("only dm-helper may use libdevmapper")
        }
    }
    next
}

# The helper is a program of its own: its main() is a front door too, and one file ends its child processes.
layer != "tools" && layer != "tests" && FILENAME != "dm-helper/main.c" {
    code = without_text($0)
    if (match(code, "(^|[^A-Za-z0-9_.>])" front_door "[ \t]*\\(")) {
        name = substr(code, RSTART, RLENGTH)
        gsub(/[^A-Za-z_]/, "", name)
        if (name != "_exit" || FILENAME != "dm-helper/process.c") {
            complain("only tools/ may call " name "()")
        }
    } else if (match(code, /(^|[^A-Za-z0-9_.>])(stdout|stderr|stdin)([^A-Za-z0-9_]|$)/)) {
        complain("only tools/ may use the standard streams")
    }
}

END { exit findings > 0 }
