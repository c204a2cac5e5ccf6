// SPDX-License-Identifier: Apache-2.0
#include "tools/files/tree.h"

#include <string.h>

int tree_find(const struct tree *tree, const char *path, bool follow, struct tree_entry *ret_entry,
              struct br_err *reterr)
{
    return tree->ops->find(tree->ctx, path, follow, ret_entry, reterr);
}

int tree_list(const struct tree *tree, const char *path, const struct tree_entry *dir, tree_entry_fn *fn, void *ctx,
              struct br_err *reterr)
{
    return tree->ops->list(tree->ctx, path, dir, fn, ctx, reterr);
}

struct counted {
    tree_bytes_fn *fn;
    void *ctx;
    uint64_t bytes;
};

static int count(void *ctx, const uint8_t *bytes, uint64_t len)
{
    struct counted *counted = ctx;

    counted->bytes += len;
    return counted->fn(counted->ctx, bytes, len);
}

int tree_read(const struct tree *tree, const char *path, const struct tree_entry *file, tree_bytes_fn *fn, void *ctx,
              struct br_err *reterr)
{
    struct counted counted = {.fn = fn, .ctx = ctx};
    int rc = tree->ops->read(tree->ctx, path, file, count, &counted, reterr);

    return rc || counted.bytes == file->size_bytes
               ? rc
               : br_err_set(reterr, BR_E_CORRUPT, "the file has other bytes than its size says");
}

void tree_close(struct tree *tree)
{
    if (tree->ops) {
        tree->ops->close(tree->ctx);
    }
    *tree = (struct tree){0};
}

bool tree_name_ok(const char *name, size_t len)
{
    bool dots = (len == 1 || len == 2) && name[0] == '.' && name[len - 1] == '.';

    return len && !dots && !memchr(name, '/', len) && !memchr(name, 0, len);
}
