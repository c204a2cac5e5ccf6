// SPDX-License-Identifier: Apache-2.0
#include "tools/files/ext.h"

#include <et/com_err.h>
#include <ext2fs/ext2fs.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "engine/base/units.h"

#define READ_BYTES BR_MIB

struct ext {
    struct br_access *access;
    uint64_t offset_bytes;
    uint64_t size_bytes;
    ext2_filsys fs;
    struct br_err err; // of the last read that failed: libext2fs has but a number
};

// libext2fs opens by a name, and has no place for a pointer of ours.
static struct ext *opening;

// An error of libext2fs, or of the read below it.
static int ext_error(struct ext *ext, errcode_t code, struct br_err *reterr, const char *what, const char *shown)
{
    if (ext->err.code) {
        if (reterr) {
            *reterr = ext->err;
        }
        ext->err = (struct br_err){0};
        return br_err_prefix(reterr, "%s %s", what, shown);
    }
    int our = code == EXT2_ET_FILE_NOT_FOUND || code == EXT2_ET_NO_DIRECTORY || code == EXT2_ET_SYMLINK_LOOP
                  ? BR_E_NOT_FOUND
              : code == EXT2_ET_NO_MEMORY ? BR_E_NOMEM
                                          : BR_E_CORRUPT;
    return br_err_set(reterr, our, "%s %s: %s", what, shown, error_message(code));
}

// The device below libext2fs ----------------------------------------------------------------------------------------------------------

static struct struct_io_manager manager;

static errcode_t io_open(const char *name, int flags, io_channel *channel)
{
    io_channel io = calloc(1, sizeof(*io));

    (void)flags;
    if (!io || !(io->name = strdup(name))) {
        free(io);
        return EXT2_ET_NO_MEMORY;
    }
    io->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    io->manager = &manager;
    io->block_size = EXT2_MIN_BLOCK_SIZE;
    io->refcount = 1;
    io->private_data = opening;
    *channel = io;
    return 0;
}

static errcode_t io_close(io_channel io)
{
    if (--io->refcount <= 0) {
        free(io->name);
        free(io);
    }
    return 0;
}

static errcode_t io_set_block_size(io_channel io, int block_size)
{
    io->block_size = block_size;
    return 0;
}

static errcode_t io_read64(io_channel io, unsigned long long block, int count, void *data)
{
    struct ext *ext = io->private_data;
    uint64_t len = count < 0 ? (uint64_t) - (int64_t)count : (uint64_t)count * (uint64_t)io->block_size, at;

    if (!br_mul_u64(block, (uint64_t)io->block_size, &at) || !br_range_ok(at, len, ext->size_bytes)) {
        return EXT2_ET_SHORT_READ;
    }
    return br_access_read(ext->access, data, len, ext->offset_bytes + at, &ext->err) ? EXT2_ET_SHORT_READ : 0;
}

static errcode_t io_read(io_channel io, unsigned long block, int count, void *data)
{
    return io_read64(io, block, count, data);
}

static errcode_t io_write64(io_channel io, unsigned long long block, int count, const void *data)
{
    (void)io;
    (void)block;
    (void)count;
    (void)data;
    return EXT2_ET_RO_FILSYS;
}

static errcode_t io_write(io_channel io, unsigned long block, int count, const void *data)
{
    return io_write64(io, block, count, data);
}

static errcode_t io_flush(io_channel io)
{
    (void)io;
    return 0;
}

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "blkrep recovery point",
    .open = io_open,
    .close = io_close,
    .set_blksize = io_set_block_size,
    .read_blk = io_read,
    .write_blk = io_write,
    .flush = io_flush,
    .read_blk64 = io_read64,
    .write_blk64 = io_write64,
};

static const struct tree_ops ops;

int ext_open(struct br_access *access, uint64_t offset_bytes, uint64_t size_bytes, struct tree *ret_tree,
             struct br_err *reterr)
{
    struct ext *ext = calloc(1, sizeof(*ext));

    if (!ext) {
        return br_err_set(reterr, BR_E_NOMEM, "a file system");
    }
    *ext = (struct ext){.access = access, .offset_bytes = offset_bytes, .size_bytes = size_bytes};
    initialize_ext2_error_table();
    opening = ext;
    errcode_t code =
        ext2fs_open2("point", NULL, EXT2_FLAG_64BITS | EXT2_FLAG_SOFTSUPP_FEATURES, 0, 0, &manager, &ext->fs);
    opening = NULL;
    if (code) {
        int error = ext_error(ext, code, reterr, "opening the", "ext file system");
        free(ext);
        return error;
    }
    *ret_tree = (struct tree){.ops = &ops, .ctx = ext};
    return 0;
}

static void close_tree(void *ctx)
{
    struct ext *ext = ctx;

    ext2fs_free(ext->fs);
    free(ext);
}

bool ext_needs_journal(const struct tree *tree)
{
    const struct ext *ext = tree->ctx;

    return ext2fs_has_feature_journal_needs_recovery(ext->fs->super);
}

// Entries -----------------------------------------------------------------------------------------------------------------------------

struct target {
    char *to;
    size_t len;
};

static errcode_t read_file(struct ext *ext, ext2_ino_t inode, errcode_t (*fn)(void *, const uint8_t *, size_t),
                           void *ctx)
{
    BR_AUTO_FREE uint8_t *bytes = malloc(READ_BYTES);
    ext2_file_t file;
    errcode_t code = bytes ? ext2fs_file_open(ext->fs, inode, 0, &file) : EXT2_ET_NO_MEMORY;
    unsigned got = 1;

    if (code) {
        return code;
    }
    while (!code && got) {
        code = ext2fs_file_read(file, bytes, READ_BYTES, &got);
        if (!code && got) {
            code = fn(ctx, bytes, got);
        }
    }
    ext2fs_file_close(file);
    return code;
}

static errcode_t collect(void *ctx, const uint8_t *bytes, size_t len)
{
    struct target *target = ctx;
    size_t room = sizeof(((struct tree_entry *)0)->target) - 1 - target->len;

    if (len > room) {
        return EXT2_ET_INODE_CORRUPTED; // Linux makes none that long
    }
    memcpy(target->to + target->len, bytes, len);
    target->len += len;
    return 0;
}

static errcode_t read_link(struct ext *ext, ext2_ino_t number, struct ext2_inode *inode, char *to)
{
    struct target target = {.to = to};

    if (!ext2fs_is_fast_symlink(inode)) {
        return read_file(ext, number, collect, &target);
    }
    memcpy(to, inode->i_block, BR_MIN(sizeof(inode->i_block), (size_t)inode->i_size));
    return 0;
}

// Linux's two ways to write a device's number: include/linux/kdev_t.h, ext4_iget().
static dev_t device_of(const struct ext2_inode *inode)
{
    uint32_t old = inode->i_block[0], new = inode->i_block[1];

    return old ? makedev(old >> 8 & 0xff, old & 0xff)
               : makedev((new & 0xfff00) >> 8, (new & 0xff) | (new >> 12 & 0xfff00));
}

// An inode of more than 128 bytes has two bits more of the seconds, and nanoseconds: fs/ext4/ext4.h, EXT4_EPOCH_BITS.
static void mtime_of(struct ext *ext, const struct ext2_inode_large *inode, struct tree_entry *entry)
{
    entry->mtime_s = (int32_t)inode->i_mtime;
    entry->mtime_ns = 0;
    if (EXT2_INODE_SIZE(ext->fs->super) > EXT2_GOOD_OLD_INODE_SIZE &&
        (size_t)EXT2_GOOD_OLD_INODE_SIZE + inode->i_extra_isize >= offsetof(struct ext2_inode_large, i_atime_extra)) {
        entry->mtime_s += (int64_t)(inode->i_mtime_extra & 3) << 32;
        entry->mtime_ns = inode->i_mtime_extra >> 2;
    }
    if (entry->mtime_ns >= BR_NS_PER_S) {
        entry->mtime_ns = 0;
    }
}

static errcode_t entry_of(struct ext *ext, ext2_ino_t number, struct tree_entry *entry)
{
    union {
        struct ext2_inode_large large;
        struct ext2_inode small;
    } inode = {0};
    errcode_t code = ext2fs_read_inode_full(ext->fs, number, &inode.small, sizeof(inode));

    if (code) {
        return code;
    }
    entry->inode = number;
    entry->mode = inode.small.i_mode;
    entry->uid = inode_uid(inode.small);
    entry->gid = inode_gid(inode.small);
    entry->size_bytes = EXT2_I_SIZE(&inode.small);
    entry->links = inode.small.i_links_count;
    entry->rdev = S_ISCHR(entry->mode) || S_ISBLK(entry->mode) ? device_of(&inode.small) : 0;
    mtime_of(ext, &inode.large, entry);
    memset(entry->target, 0, sizeof(entry->target));
    return S_ISLNK(entry->mode) ? read_link(ext, number, &inode.small, entry->target) : 0;
}

static int find(void *ctx, const char *path, bool follow, struct tree_entry *ret_entry, struct br_err *reterr)
{
    struct ext *ext = ctx;
    const char *slash = strrchr(path, '/');
    char shown[256];
    ext2_ino_t number;
    errcode_t code = follow ? ext2fs_namei_follow(ext->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &number)
                            : ext2fs_namei(ext->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &number);

    ret_entry->device = 0;
    snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", slash ? slash + 1 : path);
    code = code ? code : entry_of(ext, number, ret_entry);
    br_quote(path, shown, sizeof(shown));
    return code ? ext_error(ext, code, reterr, "looking for", shown) : 0;
}

struct listing {
    struct ext *ext;
    tree_entry_fn *fn;
    void *ctx;
    int rc;
};

static int list_entry(ext2_ino_t dir, int place, struct ext2_dir_entry *found, int offset, int block_size, char *block,
                      void *ctx)
{
    struct listing *listing = ctx;
    struct tree_entry entry = {0};
    struct br_err bad = {0};
    char shown[256];
    size_t len = BR_MIN((size_t)ext2fs_dirent_name_len(found), sizeof(entry.name) - 1);

    (void)dir;
    (void)offset;
    (void)block_size;
    (void)block;
    if (place != DIRENT_OTHER_FILE || !found->inode) {
        return 0;
    }
    memcpy(entry.name, found->name, len);
    entry.name[len] = 0;
    br_quote(entry.name, shown, sizeof(shown));
    errcode_t code = tree_name_ok(found->name, len) ? entry_of(listing->ext, found->inode, &entry) : 0;
    // Nobody but a forger makes such names; they would be taken for paths.
    int error = !tree_name_ok(found->name, len) ? br_err_set(&bad, BR_E_CORRUPT, "a name that is none: %s", shown)
                : code                          ? ext_error(listing->ext, code, &bad, "looking at", shown)
                                                : 0;
    listing->rc = listing->fn(listing->ctx, &entry, error ? &bad : NULL);
    return listing->rc ? DIRENT_ABORT : 0;
}

static int list(void *ctx, const char *path, const struct tree_entry *entry, tree_entry_fn *fn, void *fn_ctx,
                struct br_err *reterr)
{
    struct listing listing = {.ext = ctx, .fn = fn, .ctx = fn_ctx};
    char shown[256];
    errcode_t code = ext2fs_dir_iterate2(listing.ext->fs, (ext2_ino_t)entry->inode, 0, NULL, list_entry, &listing);

    br_quote(path, shown, sizeof(shown));
    return listing.rc ? listing.rc : code ? ext_error(ctx, code, reterr, "listing", shown) : 0;
}

struct reading {
    tree_bytes_fn *fn;
    void *ctx;
    int rc;
};

static errcode_t hand_over(void *ctx, const uint8_t *bytes, size_t len)
{
    struct reading *reading = ctx;

    reading->rc = reading->fn(reading->ctx, bytes, len);
    return reading->rc ? EXT2_ET_CALLBACK_NOTHANDLED : 0;
}

static int read_content(void *ctx, const char *path, const struct tree_entry *entry, tree_bytes_fn *fn, void *fn_ctx,
                        struct br_err *reterr)
{
    struct reading reading = {.fn = fn, .ctx = fn_ctx};
    errcode_t code = read_file(ctx, (ext2_ino_t)entry->inode, hand_over, &reading);
    char shown[256];

    br_quote(path, shown, sizeof(shown));
    return reading.rc ? reading.rc : code ? ext_error(ctx, code, reterr, "reading", shown) : 0;
}

static const struct tree_ops ops = {.find = find, .list = list, .read = read_content, .close = close_tree};
