#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The parts of scripts/tidy that use other programs report what those find.
# timeout: 60
# plain: about scripts/tidy
. "$(dirname "$0")/../lib/cli.sh"
t_need clang clang-format clang-tidy cppcheck shellcheck make

tree=$T/tree
mkdir -p "$tree/tools"
cp "$T_TOP/.clang-format" "$T_TOP/.clang-tidy" "$T_TOP/Makefile" "$tree"

refused() { # refused PART TEXT
    t_run "$T_TOP/scripts/tidy" --root "$tree" "$1"
    t_status 1
    t_stdout_has "$2"
}

t_ok "$T_TOP/scripts/tidy" --root "$tree" format shellcheck cppcheck clang-tidy

printf '%s\n' 'int f(int a);' 'int f(int a)' '{' '  return a;' '}' >"$tree/tools/a.c"
refused format "tools/a.c:3"
printf '%s\n' 'int f(void);' 'int f(void)' '{' '    int a[2] = {0};' '    return a[2];' '}' >"$tree/tools/a.c"
refused cppcheck "tools/a.c:5"
printf '%s\n' 'int f(int a);' 'int f(int a)' '{' '    int *p = 0;' '    if (a)' '        *p = 1;' '    return a;' '}' >"$tree/tools/a.c"
refused clang-tidy "tools/a.c:6"
# what failed is not remembered as passed, and what passed is
refused clang-tidy "tools/a.c:6"
printf '%s\n' 'int f(int a);' 'int f(int a)' '{' '    return a;' '}' >"$tree/tools/a.c"
t_ok "$T_TOP/scripts/tidy" --root "$tree" format cppcheck clang-tidy
t_ok "$T_TOP/scripts/tidy" --root "$tree" clang-tidy
rm "$tree/tools/a.c"

# shellcheck disable=SC2016 # the text is not for this shell
printf '%s\n' '#!/bin/bash' 'cd $1 && rm -rf $2/*' >"$tree/tools/a"
refused shellcheck "tools/a:2"
