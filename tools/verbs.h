// SPDX-License-Identifier: Apache-2.0
#ifndef BR_TOOLS_VERBS_H
#define BR_TOOLS_VERBS_H

#include "tools/cli.h"

// clang-format off
#define CLI_VERBS(X)     \
    X(sync)              \
    X(finish)            \
    X(status)            \
    X(serve)             \
    X(token_create)      \
    X(token_list)        \
    X(pair)              \
    X(client_list)       \
    X(client_revoke)     \
    X(send)              \
    X(receive)           \
    X(init)              \
    X(key_list)          \
    X(key_add)           \
    X(key_remove)        \
    X(key_rotate)        \
    X(key_shred)         \
    X(backup)            \
    X(points)            \
    X(diff)              \
    X(restore)           \
    X(prune)             \
    X(hold)              \
    X(unhold)            \
    X(copy)              \
    X(stats)             \
    X(history)           \
    X(export)            \
    X(mount)             \
    X(files_ls)          \
    X(files_get)         \
    X(files_pgdump)      \
    X(verify)            \
    X(dump)              \
    X(attach)            \
    X(detach)            \
    X(snapshot_create)   \
    X(snapshot_list)     \
    X(snapshot_remove)   \
    X(watch)             \
    X(adopt)             \
    X(forget)            \
    X(doctor)            \
    X(manual)
// clang-format on

#define X(name) extern const struct cli_verb cmd_##name;
CLI_VERBS(X)
#undef X

#endif
