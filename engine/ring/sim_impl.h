// SPDX-License-Identifier: Apache-2.0
//
// Inside the simulated world. sim_pages.c: sparse content; sim_disk.c: files, directories, what survives; ring_sim.c: processes, time, faults.
#ifndef BR_RING_SIM_IMPL_H
#define BR_RING_SIM_IMPL_H

#include "engine/ring/ring_impl.h"
#include "engine/ring/sim.h"

#define BR_SIM_PAGE_BYTES 4096

// Sparse content: a sorted array of pages, shared between contents until written. What has no page is zero.
struct br_sim_page {
    unsigned refs;
    uint8_t bytes[BR_SIM_PAGE_BYTES];
};
struct br_sim_slot {
    uint64_t index;
    struct br_sim_page *page;
};
struct br_sim_pages {
    struct br_sim_slot *slots;
    size_t count;
    size_t capacity;
};

/** br_sim_pages_free - all is zero afterwards */
void br_sim_pages_free(struct br_sim_pages *pages);
/** br_sim_pages_share - makes @to (which must be empty) equal to @from */
void br_sim_pages_share(struct br_sim_pages *to, const struct br_sim_pages *from);
/** br_sim_pages_read - @len bytes from @offset */
void br_sim_pages_read(const struct br_sim_pages *pages, void *buf, uint64_t len, uint64_t offset);
/** br_sim_pages_write - NULL writes zeros, and gives back whole pages */
void br_sim_pages_write(struct br_sim_pages *pages, const void *bytes, uint64_t len, uint64_t offset);
/** br_sim_pages_copy - the range of @to becomes that of @from */
void br_sim_pages_copy(struct br_sim_pages *to, const struct br_sim_pages *from, uint64_t len, uint64_t offset);
/** br_sim_pages_reserve - gives every page of the range a place */
void br_sim_pages_reserve(struct br_sim_pages *pages, uint64_t len, uint64_t offset);
/** br_sim_pages_missing - pages of the range that have no place */
uint64_t br_sim_pages_missing(const struct br_sim_pages *pages, uint64_t len, uint64_t offset);
/** br_sim_pages_next - first slot at or after a page index; count when none */
size_t br_sim_pages_next(const struct br_sim_pages *pages, uint64_t index);
/** br_sim_alloc - zeroed memory or abort */
void *br_sim_alloc(size_t bytes);
/** br_sim_grow - room for one more of @item_bytes in *array, or abort */
void br_sim_grow(void *array, size_t count, size_t *capacity, size_t item_bytes);

struct br_sim_blob {
    unsigned refs;
    uint8_t bytes[];
};

enum br_sim_change_kind { BR_SIM_WRITE, BR_SIM_ZERO, BR_SIM_SIZE };

// A change that completed and is not durable.
struct br_sim_change {
    enum br_sim_change_kind kind;
    uint64_t offset; // of BR_SIM_SIZE the new size
    uint64_t len;
    struct br_sim_blob *blob; // of BR_SIM_WRITE
    uint64_t number;          // ascending within the inode
};

struct br_sim_range {
    uint64_t start;
    uint64_t end;
};

struct br_sim_inode {
    uint64_t id;
    char *name; // the path that it was made under, for the trace
    bool is_device;
    uint32_t sector_bytes;
    unsigned handles;

    struct br_sim_pages current;
    uint64_t current_size;
    uint64_t current_mtime;
    struct br_sim_pages durable;
    uint64_t durable_size;
    uint64_t durable_mtime;

    struct br_sim_change *changes;
    size_t change_count;
    size_t change_capacity;
    uint64_t change_number; // of the last change made

    struct br_sim_range *unreadable;
    size_t unreadable_count;
    size_t unreadable_capacity;
};

struct br_sim_entry {
    char *name;
    struct br_sim_inode *inode;
};
struct br_sim_entries {
    struct br_sim_entry *list; // sorted by name
    size_t count;
    size_t capacity;
};

// An unsynced change of a directory: made (to), renamed (from, to) or removed (from).
struct br_sim_dir_change {
    char *from;
    char *to;
    struct br_sim_inode *inode;
};

struct br_sim_directory {
    char *path;
    struct br_sim_entries current;
    struct br_sim_entries durable;
    struct br_sim_dir_change *changes;
    size_t change_count;
    size_t change_capacity;
};

struct br_sim_lock {
    struct br_sim_directory *directory;
    char *name;
    const struct br_dir *owner;
};

struct br_sim_ring;

#define BR_SIM_TRACE_LINES 512
#define BR_SIM_TRACE_BYTES 128

struct br_sim {
    struct br_sim_options options;
    uint64_t random_state;
    uint64_t now_ns;
    uint64_t unix_offset_ns; // wall clock = now + this, wrapping

    struct br_sim_inode **inodes;
    size_t inode_count;
    size_t inode_capacity;
    uint64_t inode_last_id;
    struct br_sim_directory **directories;
    size_t directory_count;
    size_t directory_capacity;
    struct br_sim_lock *locks;
    size_t lock_count;
    size_t lock_capacity;
    struct br_sim_ring *rings;
    uint64_t used_pages; // of the current content of regular files

    uint64_t changes;
    uint64_t syncs;
    uint64_t ios;
    uint64_t crash_at_change; // absolute; 0 none
    uint64_t kill_at_change;
    uint64_t crash_at_sync;
    uint64_t fail_at_io;
    int fail_errno;
    bool is_crashed;
    bool is_kill; // the crash only ended the processes

    char (*trace)[BR_SIM_TRACE_BYTES];
    uint64_t trace_count;
};

/** br_sim_random - 64 bits from the world's seed */
uint64_t br_sim_random(struct br_sim *sim);
/** br_sim_below - 0..bound-1 */
uint64_t br_sim_below(struct br_sim *sim, uint64_t bound);
/** br_sim_chance - true with this probability */
bool br_sim_chance(struct br_sim *sim, unsigned ppm);
/** br_sim_log - one line of the trace */
void br_sim_log(struct br_sim *sim, const char *fmt, ...) BR_PRINTF(2, 3);

// Files. These change content and record what is unsynced; they count nothing and never fail.

/** br_sim_inode_write - takes over the caller's reference to @blob; grows the file when need be */
void br_sim_inode_write(struct br_sim *sim, struct br_sim_inode *inode, struct br_sim_blob *blob, uint64_t len,
                        uint64_t offset);
/** br_sim_inode_zero - a range within the file reads as zeros and gives its whole pages back */
void br_sim_inode_zero(struct br_sim *sim, struct br_sim_inode *inode, uint64_t len, uint64_t offset);
/** br_sim_inode_resize - what lies past the new size is gone */
void br_sim_inode_resize(struct br_sim *sim, struct br_sim_inode *inode, uint64_t size);
/** br_sim_inode_reserve - takes the space of the range; reads as before */
void br_sim_inode_reserve(struct br_sim *sim, struct br_sim_inode *inode, uint64_t len, uint64_t offset);
/** br_sim_inode_sync - changes numbered up to @number become durable */
void br_sim_inode_sync(struct br_sim_inode *inode, uint64_t number);
/** br_sim_inode_sync_failed - of those, a random part never will */
void br_sim_inode_sync_failed(struct br_sim *sim, struct br_sim_inode *inode, uint64_t number);
/** br_sim_inode_readable - whether the range touches none that was made unreadable */
bool br_sim_inode_readable(const struct br_sim_inode *inode, uint64_t len, uint64_t offset);
/** br_sim_inode_new - an empty file that no entry names yet */
struct br_sim_inode *br_sim_inode_new(struct br_sim *sim, const char *directory, const char *name);
/** br_sim_has_space - false when the range needs more pages than are free */
bool br_sim_has_space(const struct br_sim *sim, const struct br_sim_inode *inode, uint64_t len, uint64_t offset);
/** br_sim_collect - free what no entry and no handle reaches */
void br_sim_collect(struct br_sim *sim);

/** br_sim_directory - the directory of that path; NULL when there is none and @make is false */
struct br_sim_directory *br_sim_directory(struct br_sim *sim, const char *path, bool make);
/** br_sim_entry - the inode of a name, or NULL */
struct br_sim_inode *br_sim_entry(const struct br_sim_entries *entries, const char *name);
/** br_sim_entry_add - a new entry, unsynced unless @durable */
void br_sim_entry_add(struct br_sim_directory *directory, const char *name, struct br_sim_inode *inode, bool durable);
/** br_sim_entry_rename, br_sim_entry_remove - of an entry that is there; unsynced */
void br_sim_entry_rename(struct br_sim_directory *directory, const char *from, const char *to);
void br_sim_entry_remove(struct br_sim_directory *directory, const char *name);
/** br_sim_directory_sync - its entries are durable as they are now */
void br_sim_directory_sync(struct br_sim_directory *directory);
/** br_sim_lookup - the inode of "DIR/NAME" or "NAME"; NULL when there is none */
struct br_sim_inode *br_sim_lookup(const struct br_sim *sim, const char *path);
/** br_sim_split - the directory part of a path (allocated) and the name in it */
char *br_sim_split(const char *path, const char **ret_name);

/** br_sim_die - ring_sim.c: operations in flight happened or not, rings are dead */
void br_sim_die(struct br_sim *sim, bool is_kill);

#endif
