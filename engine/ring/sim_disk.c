// SPDX-License-Identifier: Apache-2.0
//
// The simulated disks: what files and directories hold, what of it is durable, and what a power cut leaves. The model is in sim.h.
#include "engine/ring/sim_impl.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

// Chance ----------------------------------------------------------------------------------------------------------------------------

// splitmix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
uint64_t br_sim_random(struct br_sim *sim)
{
    uint64_t z = (sim->random_state += UINT64_C(0x9e3779b97f4a7c15));

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t br_sim_below(struct br_sim *sim, uint64_t bound)
{
    return (uint64_t)(((unsigned __int128)br_sim_random(sim) * bound) >> 64);
}

bool br_sim_chance(struct br_sim *sim, unsigned ppm)
{
    return ppm && br_sim_below(sim, 1000000) < ppm;
}

void br_sim_log(struct br_sim *sim, const char *fmt, ...)
{
    char *line = sim->trace[sim->trace_count++ % BR_SIM_TRACE_LINES];
    va_list args;

    int used =
        snprintf(line, BR_SIM_TRACE_BYTES, "%8llu us  io %llu change %llu  ", (unsigned long long)(sim->now_ns / 1000),
                 (unsigned long long)sim->ios, (unsigned long long)sim->changes);
    va_start(args, fmt);
    vsnprintf(line + used, BR_SIM_TRACE_BYTES - (size_t)used, fmt, args);
    va_end(args);
}

static char *br_sim_text(const char *text)
{
    size_t len = strlen(text) + 1;
    return memcpy(br_sim_alloc(len), text, len);
}

// Files -----------------------------------------------------------------------------------------------------------------------------

struct br_sim_inode *br_sim_inode_new(struct br_sim *sim, const char *directory, const char *name)
{
    struct br_sim_inode *inode = br_sim_alloc(sizeof(*inode));
    size_t name_size = strlen(directory) + strlen(name) + 2;

    inode->id = ++sim->inode_last_id;
    inode->sector_bytes = BR_SIM_SECTOR_BYTES;
    inode->name = br_sim_alloc(name_size);
    snprintf(inode->name, name_size, "%s%s%s", directory, *directory ? "/" : "", name);
    inode->current_mtime = inode->durable_mtime = sim->now_ns + sim->unix_offset_ns;
    br_sim_grow(&sim->inodes, sim->inode_count, &sim->inode_capacity, sizeof(*sim->inodes));
    sim->inodes[sim->inode_count++] = inode;
    return inode;
}

static void br_sim_change_free(struct br_sim_change *change)
{
    if (change->blob && !--change->blob->refs) {
        free(change->blob);
    }
}

static void br_sim_changes_drop(struct br_sim_inode *inode, size_t count)
{
    if (!count) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        br_sim_change_free(&inode->changes[i]);
    }
    inode->change_count -= count;
    if (inode->change_count) {
        memmove(inode->changes, inode->changes + count, inode->change_count * sizeof(*inode->changes));
    }
}

static void br_sim_inode_free(struct br_sim_inode *inode)
{
    br_sim_changes_drop(inode, inode->change_count);
    free(inode->changes);
    free(inode->unreadable);
    br_sim_pages_free(&inode->current);
    br_sim_pages_free(&inode->durable);
    free(inode->name);
    free(inode);
}

static void br_sim_inode_record(struct br_sim *sim, struct br_sim_inode *inode, struct br_sim_change change)
{
    change.number = ++inode->change_number;
    inode->current_mtime = sim->now_ns + sim->unix_offset_ns;
    br_sim_grow(&inode->changes, inode->change_count, &inode->change_capacity, sizeof(change));
    inode->changes[inode->change_count++] = change;
}

static void br_sim_pages_apply(struct br_sim_pages *pages, const struct br_sim_change *change)
{
    if (change->kind == BR_SIM_SIZE) {
        br_sim_pages_write(pages, NULL, (UINT64_C(1) << 62) - change->offset, change->offset);
    } else {
        br_sim_pages_write(pages, change->blob ? change->blob->bytes : NULL, change->len, change->offset);
    }
}

// Applies to the current content and keeps count of the space taken.
static void br_sim_inode_apply(struct br_sim *sim, struct br_sim_inode *inode, struct br_sim_change change)
{
    size_t before = inode->current.count;

    br_sim_pages_apply(&inode->current, &change);
    if (!inode->is_device) {
        sim->used_pages += inode->current.count - before;
    }
    br_sim_inode_record(sim, inode, change);
}

void br_sim_inode_resize(struct br_sim *sim, struct br_sim_inode *inode, uint64_t size)
{
    inode->current_size = size;
    br_sim_inode_apply(sim, inode, (struct br_sim_change){.kind = BR_SIM_SIZE, .offset = size});
}

void br_sim_inode_write(struct br_sim *sim, struct br_sim_inode *inode, struct br_sim_blob *blob, uint64_t len,
                        uint64_t offset)
{
    if (offset + len > inode->current_size) {
        // Growing zeroes nothing, so the pages that were reserved past the end stay.
        inode->current_size = offset + len;
        br_sim_inode_record(sim, inode, (struct br_sim_change){.kind = BR_SIM_SIZE, .offset = offset + len});
    }
    br_sim_inode_apply(sim, inode,
                       (struct br_sim_change){.kind = BR_SIM_WRITE, .offset = offset, .len = len, .blob = blob});
}

void br_sim_inode_zero(struct br_sim *sim, struct br_sim_inode *inode, uint64_t len, uint64_t offset)
{
    br_sim_inode_apply(sim, inode, (struct br_sim_change){.kind = BR_SIM_ZERO, .offset = offset, .len = len});
}

void br_sim_inode_reserve(struct br_sim *sim, struct br_sim_inode *inode, uint64_t len, uint64_t offset)
{
    size_t before = inode->current.count;

    br_sim_pages_reserve(&inode->current, len, offset);
    sim->used_pages += inode->current.count - before;
}

bool br_sim_has_space(const struct br_sim *sim, const struct br_sim_inode *inode, uint64_t len, uint64_t offset)
{
    uint64_t limit = sim->options.space_bytes / BR_SIM_PAGE_BYTES;

    if (!sim->options.space_bytes || inode->is_device) {
        return true;
    }
    uint64_t missing = br_sim_pages_missing(&inode->current, len, offset);
    return !missing || (sim->used_pages <= limit && missing <= limit - sim->used_pages);
}

void br_sim_inode_sync(struct br_sim_inode *inode, uint64_t number)
{
    size_t count = 0;

    for (; count < inode->change_count && inode->changes[count].number <= number; count++) {
        const struct br_sim_change *change = &inode->changes[count];
        br_sim_pages_apply(&inode->durable, change);
        if (change->kind == BR_SIM_SIZE) {
            inode->durable_size = change->offset;
        }
    }
    br_sim_changes_drop(inode, count);
    inode->durable_mtime = inode->current_mtime;
}

void br_sim_inode_sync_failed(struct br_sim *sim, struct br_sim_inode *inode, uint64_t number)
{
    size_t kept = 0;

    for (size_t i = 0; i < inode->change_count; i++) {
        struct br_sim_change *change = &inode->changes[i];
        bool is_lost = change->number <= number && change->kind != BR_SIM_SIZE && br_sim_below(sim, 2);
        if (is_lost) {
            br_sim_change_free(change);
        } else {
            inode->changes[kept++] = *change;
        }
    }
    inode->change_count = kept;
}

bool br_sim_inode_readable(const struct br_sim_inode *inode, uint64_t len, uint64_t offset)
{
    for (size_t i = 0; i < inode->unreadable_count; i++) {
        if (offset < inode->unreadable[i].end && offset + len > inode->unreadable[i].start) {
            return false;
        }
    }
    return true;
}

// What a power cut leaves of a file ---------------------------------------------------------------------------------------------------

struct br_sim_fate {
    uint64_t keep_percent; // of changes kept whole
    uint64_t tear_percent; // of the others, torn
};

// Keeps part of a change: a prefix of its sectors, or any subset.
static void br_sim_tear(struct br_sim *sim, struct br_sim_inode *inode, const struct br_sim_pages *after,
                        const struct br_sim_change *change)
{
    uint64_t first = change->offset / BR_SIM_SECTOR_BYTES;
    uint64_t end = br_div_up(change->offset + change->len, BR_SIM_SECTOR_BYTES);

    if (br_sim_below(sim, 2) || end - first > 4096) {
        end = first + br_sim_below(sim, end - first + 1);
        br_sim_pages_copy(&inode->durable, after, (end - first) * BR_SIM_SECTOR_BYTES, first * BR_SIM_SECTOR_BYTES);
        return;
    }
    for (uint64_t sector = first; sector < end; sector++) {
        if (br_sim_below(sim, 2)) {
            br_sim_pages_copy(&inode->durable, after, BR_SIM_SECTOR_BYTES, sector * BR_SIM_SECTOR_BYTES);
        }
    }
}

// Goes through the unsynced changes in their order, with the content that all of them made so far at hand: what is kept of a change is
// whole sectors of that content, so a sector never mixes bytes in a way that it never held.
static void br_sim_inode_resolve(struct br_sim *sim, struct br_sim_inode *inode, const struct br_sim_fate *fate)
{
    struct br_sim_pages after = {0};
    uint64_t sizes = 0;

    br_sim_pages_share(&after, &inode->durable);
    for (size_t i = 0; i < inode->change_count; i++) {
        sizes += inode->changes[i].kind == BR_SIM_SIZE;
    }
    uint64_t sizes_kept = fate->keep_percent == 100 ? sizes : br_sim_below(sim, sizes + 1);
    for (size_t i = 0; i < inode->change_count; i++) {
        const struct br_sim_change *change = &inode->changes[i];
        br_sim_pages_apply(&after, change);
        if (change->kind == BR_SIM_SIZE) {
            if (sizes_kept) {
                sizes_kept--;
                br_sim_pages_apply(&inode->durable, change);
                inode->durable_size = change->offset;
            }
        } else if (br_sim_below(sim, 100) < fate->keep_percent) {
            uint64_t start = br_align_down(change->offset, BR_SIM_SECTOR_BYTES);
            uint64_t end = br_align_up(change->offset + change->len, BR_SIM_SECTOR_BYTES);
            br_sim_pages_copy(&inode->durable, &after, end - start, start);
        } else if (br_sim_below(sim, 100) < fate->tear_percent) {
            br_sim_tear(sim, inode, &after, change);
        }
    }
    br_sim_pages_free(&after);
    if (!inode->is_device) {
        br_sim_pages_write(&inode->durable, NULL, (UINT64_C(1) << 62) - inode->durable_size, inode->durable_size);
    }
    if (inode->change_count && br_sim_below(sim, 2)) {
        inode->durable_mtime = inode->current_mtime;
    }
    br_sim_changes_drop(inode, inode->change_count);
    br_sim_pages_free(&inode->current);
    br_sim_pages_share(&inode->current, &inode->durable);
    inode->current_size = inode->durable_size;
    inode->current_mtime = inode->durable_mtime;
}

// Directories -------------------------------------------------------------------------------------------------------------------------

static size_t br_sim_entry_at(const struct br_sim_entries *entries, const char *name, bool *ret_is_there)
{
    size_t at = 0;

    while (at < entries->count && strcmp(entries->list[at].name, name) < 0) {
        at++;
    }
    *ret_is_there = at < entries->count && !strcmp(entries->list[at].name, name);
    return at;
}

struct br_sim_inode *br_sim_entry(const struct br_sim_entries *entries, const char *name)
{
    bool is_there;
    size_t at = br_sim_entry_at(entries, name, &is_there);

    return is_there ? entries->list[at].inode : NULL;
}

static void br_sim_entry_set(struct br_sim_entries *entries, const char *name, struct br_sim_inode *inode)
{
    bool is_there;
    size_t at = br_sim_entry_at(entries, name, &is_there);

    if (!is_there) {
        br_sim_grow(&entries->list, entries->count, &entries->capacity, sizeof(*entries->list));
        assert(entries->list);
        memmove(entries->list + at + 1, entries->list + at, (entries->count - at) * sizeof(*entries->list));
        entries->count++;
        entries->list[at].name = br_sim_text(name);
    }
    assert(entries->list); // br_sim_grow gives room, or ends the world
    entries->list[at].inode = inode;
}

// Only when it still names @inode: an entry that a lost rename would have replaced stays.
static void br_sim_entry_unset(struct br_sim_entries *entries, const char *name, const struct br_sim_inode *inode)
{
    bool is_there;
    size_t at = br_sim_entry_at(entries, name, &is_there);

    if (is_there && entries->list[at].inode == inode) {
        free(entries->list[at].name);
        entries->count--;
        memmove(entries->list + at, entries->list + at + 1, (entries->count - at) * sizeof(*entries->list));
    }
}

static void br_sim_entries_free(struct br_sim_entries *entries)
{
    for (size_t i = 0; i < entries->count; i++) {
        free(entries->list[i].name);
    }
    free(entries->list);
    *entries = (struct br_sim_entries){0};
}

static void br_sim_entries_copy(struct br_sim_entries *to, const struct br_sim_entries *from)
{
    br_sim_entries_free(to);
    for (size_t i = 0; i < from->count; i++) {
        br_sim_entry_set(to, from->list[i].name, from->list[i].inode);
    }
}

static void br_sim_dir_change_apply(struct br_sim_entries *entries, const struct br_sim_dir_change *change)
{
    if (change->from) {
        br_sim_entry_unset(entries, change->from, change->inode);
    }
    if (change->to) {
        br_sim_entry_set(entries, change->to, change->inode);
    }
}

static void br_sim_dir_change_free(struct br_sim_dir_change *change)
{
    free(change->from);
    free(change->to);
}

static void br_sim_directory_change(struct br_sim_directory *directory, const char *from, const char *to,
                                    struct br_sim_inode *inode)
{
    struct br_sim_dir_change change = {
        .from = from ? br_sim_text(from) : NULL, .to = to ? br_sim_text(to) : NULL, .inode = inode};

    br_sim_dir_change_apply(&directory->current, &change);
    br_sim_grow(&directory->changes, directory->change_count, &directory->change_capacity, sizeof(change));
    directory->changes[directory->change_count++] = change;
}

void br_sim_entry_add(struct br_sim_directory *directory, const char *name, struct br_sim_inode *inode, bool durable)
{
    if (durable) {
        br_sim_entry_set(&directory->current, name, inode);
        br_sim_entry_set(&directory->durable, name, inode);
    } else {
        br_sim_directory_change(directory, NULL, name, inode);
    }
}

void br_sim_entry_rename(struct br_sim_directory *directory, const char *from, const char *to)
{
    if (strcmp(from, to)) {
        br_sim_directory_change(directory, from, to, br_sim_entry(&directory->current, from));
    }
}

void br_sim_entry_remove(struct br_sim_directory *directory, const char *name)
{
    br_sim_directory_change(directory, name, NULL, br_sim_entry(&directory->current, name));
}

static void br_sim_directory_forget(struct br_sim_directory *directory)
{
    for (size_t i = 0; i < directory->change_count; i++) {
        br_sim_dir_change_free(&directory->changes[i]);
    }
    directory->change_count = 0;
}

void br_sim_directory_sync(struct br_sim_directory *directory)
{
    br_sim_entries_copy(&directory->durable, &directory->current);
    br_sim_directory_forget(directory);
}

static void br_sim_directory_resolve(struct br_sim *sim, struct br_sim_directory *directory)
{
    bool is_prefix = br_sim_below(sim, 2);
    uint64_t kept = br_sim_below(sim, directory->change_count + 1);

    for (size_t i = 0; i < directory->change_count; i++) {
        if (is_prefix ? i < kept : br_sim_below(sim, 2)) {
            br_sim_dir_change_apply(&directory->durable, &directory->changes[i]);
        }
    }
    br_sim_directory_forget(directory);
    br_sim_entries_copy(&directory->current, &directory->durable);
}

struct br_sim_directory *br_sim_directory(struct br_sim *sim, const char *path, bool make)
{
    for (size_t i = 0; i < sim->directory_count; i++) {
        if (!strcmp(sim->directories[i]->path, path)) {
            return sim->directories[i];
        }
    }
    if (!make) {
        return NULL;
    }
    struct br_sim_directory *directory = br_sim_alloc(sizeof(*directory));
    directory->path = br_sim_text(path);
    br_sim_grow(&sim->directories, sim->directory_count, &sim->directory_capacity, sizeof(*sim->directories));
    sim->directories[sim->directory_count++] = directory;
    return directory;
}

static void br_sim_directory_free(struct br_sim_directory *directory)
{
    br_sim_directory_forget(directory);
    free(directory->changes);
    br_sim_entries_free(&directory->current);
    br_sim_entries_free(&directory->durable);
    free(directory->path);
    free(directory);
}

char *br_sim_split(const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');
    char *directory = br_sim_text(path);

    directory[slash ? slash - path : 0] = 0;
    *ret_name = slash ? slash + 1 : path;
    return directory;
}

struct br_sim_inode *br_sim_lookup(const struct br_sim *sim, const char *path)
{
    const char *name;
    BR_AUTO_FREE char *directory_path = br_sim_split(path, &name);

    for (size_t i = 0; i < sim->directory_count; i++) {
        if (!strcmp(sim->directories[i]->path, directory_path)) {
            return br_sim_entry(&sim->directories[i]->current, name);
        }
    }
    return NULL;
}

static bool br_sim_is_named(const struct br_sim *sim, const struct br_sim_inode *inode, bool also_after_crash)
{
    for (size_t d = 0; d < sim->directory_count; d++) {
        const struct br_sim_directory *directory = sim->directories[d];
        for (size_t i = 0; i < directory->current.count; i++) {
            if (directory->current.list[i].inode == inode) {
                return true;
            }
        }
        for (size_t i = 0; also_after_crash && i < directory->durable.count; i++) {
            if (directory->durable.list[i].inode == inode) {
                return true;
            }
        }
        for (size_t i = 0; also_after_crash && i < directory->change_count; i++) {
            if (directory->changes[i].inode == inode) {
                return true;
            }
        }
    }
    return false;
}

void br_sim_collect(struct br_sim *sim)
{
    size_t kept = 0;

    for (size_t i = 0; i < sim->inode_count; i++) {
        struct br_sim_inode *inode = sim->inodes[i];
        sim->inodes[kept++] = inode;
        if (inode->handles || br_sim_is_named(sim, inode, false)) {
            continue;
        }
        sim->used_pages -= inode->is_device ? 0 : inode->current.count; // a removed file gives its space back
        br_sim_pages_free(&inode->current);
        if (!br_sim_is_named(sim, inode, true)) {
            br_sim_inode_free(inode);
            kept--;
        }
    }
    sim->inode_count = kept;
}

// The world -----------------------------------------------------------------------------------------------------------------------------

struct br_sim *br_sim_new(const struct br_sim_options *options)
{
    struct br_sim *sim = br_sim_alloc(sizeof(*sim));

    sim->options = *options;
    sim->random_state = options->seed;
    sim->unix_offset_ns = UINT64_C(1700000000) * UINT64_C(1000000000);
    sim->trace = br_sim_alloc(BR_SIM_TRACE_LINES * sizeof(*sim->trace));
    br_sim_directory(sim, "", true);
    return sim;
}

void br_sim_free(struct br_sim *sim)
{
    if (!sim) {
        return;
    }
    assert(!sim->rings);
    for (size_t i = 0; i < sim->lock_count; i++) {
        free(sim->locks[i].name);
    }
    for (size_t i = 0; i < sim->inode_count; i++) {
        br_sim_inode_free(sim->inodes[i]);
    }
    for (size_t i = 0; i < sim->directory_count; i++) {
        br_sim_directory_free(sim->directories[i]);
    }
    free(sim->locks);
    free(sim->inodes);
    free(sim->directories);
    free(sim->trace);
    free(sim);
}

static struct br_sim_inode *br_sim_inode_fork(const struct br_sim_inode *inode)
{
    struct br_sim_inode *copy = br_sim_alloc(sizeof(*copy));

    *copy = *inode;
    copy->name = br_sim_text(inode->name);
    copy->handles = 0;
    copy->current = copy->durable = (struct br_sim_pages){0};
    br_sim_pages_share(&copy->current, &inode->current);
    br_sim_pages_share(&copy->durable, &inode->durable);
    copy->changes = br_sim_alloc(inode->change_count * sizeof(*copy->changes));
    copy->change_capacity = inode->change_count;
    for (size_t i = 0; i < inode->change_count; i++) {
        copy->changes[i] = inode->changes[i];
        if (copy->changes[i].blob) {
            copy->changes[i].blob->refs++;
        }
    }
    copy->unreadable = br_sim_alloc(inode->unreadable_count * sizeof(*copy->unreadable));
    copy->unreadable_capacity = inode->unreadable_count;
    if (inode->unreadable_count) {
        memcpy(copy->unreadable, inode->unreadable, inode->unreadable_count * sizeof(*copy->unreadable));
    }
    return copy;
}

// The copy of an inode lies at the same place of the copy's table.
static struct br_sim_inode *br_sim_forked(const struct br_sim *copy, const struct br_sim *sim,
                                          const struct br_sim_inode *inode)
{
    for (size_t i = 0; i < sim->inode_count; i++) {
        if (sim->inodes[i] == inode) {
            return copy->inodes[i];
        }
    }
    abort();
}

static void br_sim_directory_fork(struct br_sim *copy, const struct br_sim *sim,
                                  const struct br_sim_directory *directory)
{
    struct br_sim_directory *to = br_sim_directory(copy, directory->path, true);

    for (size_t i = 0; i < directory->current.count; i++) {
        const struct br_sim_entry *entry = &directory->current.list[i];
        br_sim_entry_set(&to->current, entry->name, br_sim_forked(copy, sim, entry->inode));
    }
    for (size_t i = 0; i < directory->durable.count; i++) {
        const struct br_sim_entry *entry = &directory->durable.list[i];
        br_sim_entry_set(&to->durable, entry->name, br_sim_forked(copy, sim, entry->inode));
    }
    for (size_t i = 0; i < directory->change_count; i++) {
        const struct br_sim_dir_change *change = &directory->changes[i];
        br_sim_grow(&to->changes, to->change_count, &to->change_capacity, sizeof(*change));
        to->changes[to->change_count++] =
            (struct br_sim_dir_change){.from = change->from ? br_sim_text(change->from) : NULL,
                                       .to = change->to ? br_sim_text(change->to) : NULL,
                                       .inode = br_sim_forked(copy, sim, change->inode)};
    }
}

struct br_sim *br_sim_fork(const struct br_sim *sim, uint64_t seed)
{
    struct br_sim_options options = sim->options;

    assert(!sim->is_crashed);
    options.seed = seed;
    struct br_sim *copy = br_sim_new(&options);
    copy->now_ns = sim->now_ns;
    copy->unix_offset_ns = sim->unix_offset_ns;
    copy->inode_last_id = sim->inode_last_id;
    copy->used_pages = sim->used_pages;
    copy->inode_count = copy->inode_capacity = sim->inode_count;
    copy->inodes = br_sim_alloc(sim->inode_count * sizeof(*copy->inodes));
    for (size_t i = 0; i < sim->inode_count; i++) {
        copy->inodes[i] = br_sim_inode_fork(sim->inodes[i]);
    }
    for (size_t i = 0; i < sim->directory_count; i++) {
        br_sim_directory_fork(copy, sim, sim->directories[i]);
    }
    br_sim_collect(copy); // files that only the processes of the original held open
    return copy;
}

void br_sim_set_options(struct br_sim *sim, const struct br_sim_options *options)
{
    sim->options = *options;
}

void br_sim_crash(struct br_sim *sim)
{
    if (!sim->is_crashed) {
        br_sim_log(sim, "power cut");
        br_sim_die(sim, false);
    }
}

void br_sim_kill(struct br_sim *sim)
{
    if (!sim->is_crashed) {
        br_sim_log(sim, "processes killed");
        br_sim_die(sim, true);
    }
}

bool br_sim_crashed(const struct br_sim *sim)
{
    return sim->is_crashed;
}

// How much of the unsynced survives differs from crash to crash: all, nothing and everything between must be seen.
static struct br_sim_fate br_sim_choose_fate(struct br_sim *sim)
{
    switch (br_sim_below(sim, 8)) {
    case 0: return (struct br_sim_fate){.keep_percent = 100};
    case 1: return (struct br_sim_fate){0};
    default:
        return (struct br_sim_fate){.keep_percent = br_sim_below(sim, 100), .tear_percent = br_sim_below(sim, 100)};
    }
}

void br_sim_crash_resolve(struct br_sim *sim)
{
    if (!sim->is_crashed) {
        return;
    }
    if (!sim->is_kill) {
        struct br_sim_fate fate = br_sim_choose_fate(sim);
        for (size_t i = 0; i < sim->directory_count; i++) {
            br_sim_directory_resolve(sim, sim->directories[i]);
        }
        sim->used_pages = 0;
        for (size_t i = 0; i < sim->inode_count; i++) {
            br_sim_inode_resolve(sim, sim->inodes[i], &fate);
            sim->used_pages += sim->inodes[i]->is_device ? 0 : sim->inodes[i]->current.count;
        }
    }
    for (size_t i = 0; i < sim->lock_count; i++) {
        free(sim->locks[i].name);
    }
    sim->lock_count = 0;
    br_sim_collect(sim);
    sim->is_crashed = false;
    sim->crash_at_change = sim->kill_at_change = sim->crash_at_sync = sim->fail_at_io = 0;
    br_sim_log(sim, "resolved");
}

// Plans, oracles --------------------------------------------------------------------------------------------------------------------------

void br_sim_crash_at_change(struct br_sim *sim, uint64_t n)
{
    sim->crash_at_change = n ? sim->changes + n : 0;
}

void br_sim_crash_at_sync(struct br_sim *sim, uint64_t n)
{
    sim->crash_at_sync = n ? sim->syncs + n : 0;
}

void br_sim_kill_at_change(struct br_sim *sim, uint64_t n)
{
    sim->kill_at_change = n ? sim->changes + n : 0;
}

void br_sim_fail_at(struct br_sim *sim, uint64_t n, int os_errno)
{
    sim->fail_at_io = n ? sim->ios + n : 0;
    sim->fail_errno = os_errno;
}

static struct br_sim_inode *br_sim_must_lookup(const struct br_sim *sim, const char *path)
{
    struct br_sim_inode *inode = br_sim_lookup(sim, path);

    assert(inode);
    return inode;
}

void br_sim_unreadable(struct br_sim *sim, const char *path, uint64_t offset_bytes, uint64_t len_bytes)
{
    struct br_sim_inode *inode = br_sim_must_lookup(sim, path);

    br_sim_grow(&inode->unreadable, inode->unreadable_count, &inode->unreadable_capacity, sizeof(*inode->unreadable));
    inode->unreadable[inode->unreadable_count++] =
        (struct br_sim_range){.start = offset_bytes, .end = offset_bytes + len_bytes};
}

void br_sim_readable(struct br_sim *sim, const char *path)
{
    br_sim_must_lookup(sim, path)->unreadable_count = 0;
}

void br_sim_space(struct br_sim *sim, uint64_t space_bytes)
{
    sim->options.space_bytes = space_bytes;
}

void br_sim_poke(struct br_sim *sim, const char *path, const void *bytes, size_t len, uint64_t offset_bytes)
{
    struct br_sim_inode *inode = br_sim_must_lookup(sim, path);
    size_t before = inode->current.count;

    assert(br_range_ok(offset_bytes, len, inode->current_size));
    br_sim_pages_write(&inode->current, bytes, len, offset_bytes);
    br_sim_pages_write(&inode->durable, bytes, len, offset_bytes);
    sim->used_pages += inode->is_device ? 0 : inode->current.count - before;
}

void br_sim_advance(struct br_sim *sim, uint64_t ns)
{
    sim->now_ns += ns;
}

void br_sim_set_unix_ns(struct br_sim *sim, uint64_t unix_ns)
{
    sim->unix_offset_ns = unix_ns - sim->now_ns;
}

void br_sim_settle(struct br_sim *sim)
{
    for (size_t i = 0; i < sim->inode_count; i++) {
        br_sim_inode_sync(sim->inodes[i], UINT64_MAX);
    }
    for (size_t i = 0; i < sim->directory_count; i++) {
        br_sim_directory_sync(sim->directories[i]);
    }
    br_sim_collect(sim);
}

uint64_t br_sim_changes(const struct br_sim *sim)
{
    return sim->changes;
}

uint64_t br_sim_syncs(const struct br_sim *sim)
{
    return sim->syncs;
}

uint64_t br_sim_ios(const struct br_sim *sim)
{
    return sim->ios;
}

bool br_sim_exists(const struct br_sim *sim, const char *path)
{
    return br_sim_lookup(sim, path) != NULL;
}

uint64_t br_sim_size(const struct br_sim *sim, const char *path)
{
    return br_sim_must_lookup(sim, path)->current_size;
}

void br_sim_read(const struct br_sim *sim, const char *path, void *buf, size_t len, uint64_t offset_bytes)
{
    br_sim_pages_read(&br_sim_must_lookup(sim, path)->current, buf, len, offset_bytes);
}

void br_sim_read_durable(const struct br_sim *sim, const char *path, void *buf, size_t len, uint64_t offset_bytes)
{
    br_sim_pages_read(&br_sim_must_lookup(sim, path)->durable, buf, len, offset_bytes);
}

void br_sim_list(const struct br_sim *sim, const char *path, struct br_buf *names)
{
    for (size_t d = 0; d < sim->directory_count; d++) {
        const struct br_sim_directory *directory = sim->directories[d];
        for (size_t i = 0; !strcmp(directory->path, path) && i < directory->current.count; i++) {
            br_buf_printf(names, "%s\n", directory->current.list[i].name);
        }
    }
    br_buf_u8(names, 0);
    names->len -= !br_buf_failed(names);
}

uint64_t br_sim_used_bytes(const struct br_sim *sim)
{
    return sim->used_pages * BR_SIM_PAGE_BYTES;
}

void br_sim_trace(const struct br_sim *sim, struct br_buf *text)
{
    uint64_t from = sim->trace_count > BR_SIM_TRACE_LINES ? sim->trace_count - BR_SIM_TRACE_LINES : 0;

    for (uint64_t i = from; i < sim->trace_count; i++) {
        br_buf_printf(text, "%s\n", sim->trace[i % BR_SIM_TRACE_LINES]);
    }
    br_buf_u8(text, 0);
    text->len -= !br_buf_failed(text);
}

uint64_t br_sim_seed_from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 0) : otherwise;
}
