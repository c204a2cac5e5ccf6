// SPDX-License-Identifier: Apache-2.0
#include "tools/files/ext.h"

#include <et/com_err.h>
#include <ext2fs/ext2fs.h>
#include <stdio.h>
#include <sys/stat.h>

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

int ext_open(struct br_access *access, uint64_t offset_bytes, uint64_t size_bytes, struct ext **ret_ext,
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
    *ret_ext = ext;
    return 0;
}

void ext_close(struct ext *ext)
{
    if (ext) {
        ext2fs_free(ext->fs);
        free(ext);
    }
}

bool ext_needs_journal(const struct ext *ext)
{
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
    size_t room = sizeof(((struct ext_entry *)0)->target) - 1 - target->len;

    memcpy(target->to + target->len, bytes, BR_MIN(len, room));
    target->len += BR_MIN(len, room);
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

static errcode_t entry_of(struct ext *ext, ext2_ino_t number, struct ext_entry *entry)
{
    struct ext2_inode inode;
    errcode_t code = ext2fs_read_inode(ext->fs, number, &inode);

    if (code) {
        return code;
    }
    entry->inode = number;
    entry->mode = inode.i_mode;
    entry->uid = inode_uid(inode);
    entry->gid = inode_gid(inode);
    entry->size_bytes = EXT2_I_SIZE(&inode);
    entry->mtime_s = (int32_t)inode.i_mtime;
    entry->target[0] = 0;
    if (S_ISLNK(inode.i_mode)) {
        memset(entry->target, 0, sizeof(entry->target));
        code = read_link(ext, number, &inode, entry->target);
    }
    return code;
}

int ext_find(struct ext *ext, const char *path, bool follow, struct ext_entry *ret_entry, struct br_err *reterr)
{
    const char *slash = strrchr(path, '/');
    char shown[512];
    ext2_ino_t number;
    errcode_t code = follow ? ext2fs_namei_follow(ext->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &number)
                            : ext2fs_namei(ext->fs, EXT2_ROOT_INO, EXT2_ROOT_INO, path, &number);

    snprintf(ret_entry->name, sizeof(ret_entry->name), "%s", slash ? slash + 1 : path);
    code = code ? code : entry_of(ext, number, ret_entry);
    br_quote(path, shown, sizeof(shown));
    return code ? ext_error(ext, code, reterr, "looking for", shown) : 0;
}

struct listing {
    struct ext *ext;
    int (*fn)(void *ctx, const struct ext_entry *entry);
    void *ctx;
    int rc;
    errcode_t code;
};

static int list_entry(ext2_ino_t dir, int place, struct ext2_dir_entry *found, int offset, int block_size, char *block,
                      void *ctx)
{
    struct listing *listing = ctx;
    struct ext_entry entry = {0};
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
    // Nobody but a forger makes such names; they would be taken for paths.
    if (strchr(entry.name, '/') || strlen(entry.name) != len || !len) {
        listing->code = EXT2_ET_DIR_CORRUPTED;
        return DIRENT_ABORT;
    }
    listing->code = entry_of(listing->ext, found->inode, &entry);
    listing->rc = listing->code ? 0 : listing->fn(listing->ctx, &entry);
    return listing->code || listing->rc ? DIRENT_ABORT : 0;
}

int ext_list(struct ext *ext, uint32_t inode, int (*fn)(void *ctx, const struct ext_entry *entry), void *ctx,
             struct br_err *reterr)
{
    struct listing listing = {.ext = ext, .fn = fn, .ctx = ctx};
    errcode_t code = ext2fs_dir_iterate2(ext->fs, inode, 0, NULL, list_entry, &listing);

    code = code ? code : listing.code;
    return code ? ext_error(ext, code, reterr, "listing", "a directory") : listing.rc;
}

struct reading {
    int (*fn)(void *ctx, const uint8_t *bytes, size_t len);
    void *ctx;
    int rc;
};

static errcode_t hand_over(void *ctx, const uint8_t *bytes, size_t len)
{
    struct reading *reading = ctx;

    reading->rc = reading->fn(reading->ctx, bytes, len);
    return reading->rc ? EXT2_ET_CALLBACK_NOTHANDLED : 0;
}

int ext_read(struct ext *ext, uint32_t inode, int (*fn)(void *ctx, const uint8_t *bytes, size_t len), void *ctx,
             struct br_err *reterr)
{
    struct reading reading = {.fn = fn, .ctx = ctx};
    errcode_t code = read_file(ext, inode, hand_over, &reading);

    if (reading.rc) {
        return reading.rc;
    }
    return code ? ext_error(ext, code, reterr, "reading", "the file") : 0;
}
