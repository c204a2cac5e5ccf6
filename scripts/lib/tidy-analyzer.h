// SPDX-License-Identifier: Apache-2.0
//
// What clang-tidy can't know from a prototype: the functions that record an error never return 0. Without this it follows
// paths on which a failure succeeded, and calls every ret_* output there uninitialized. scripts/tidy includes it after
// engine/base/err.h, in front of every source file but err.c itself; nothing is ever built with it.
#ifndef TIDY_ANALYZER_H
#define TIDY_ANALYZER_H

#define br_err_set(reterr, code, ...) ((void)br_err_set(reterr, code, __VA_ARGS__), (code) > 0 ? -(code) : -1)
#define br_err_at(reterr, code, offset, ...) \
    ((void)br_err_at(reterr, code, offset, __VA_ARGS__), (code) > 0 ? -(code) : -1)
#define br_err_os(reterr, os_errno, ...) ((void)br_err_os(reterr, os_errno, __VA_ARGS__), -1)
#define br_err_prefix(reterr, ...)       ((void)br_err_prefix(reterr, __VA_ARGS__), -1)

#endif
