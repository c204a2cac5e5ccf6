// SPDX-License-Identifier: Apache-2.0
//
// dm-era's metadata as text. Runs of blocks with the same answer make one line.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "engine/base/uuid.h"
#include "engine/track/era_meta.h"
#include "engine/track/pdata_file.h"

#define WORD_BITS 64u

struct dump {
    struct br_pdata_file pdata;
    br_era_meta_line_fn *line;
    void *ctx;
    int stopped; // what line() returned
    const struct br_era_superblock *view;
    struct br_err *reterr;

    // The run that is being gathered, of blocks with the same value; 0: not told.
    uint64_t run_first;
    uint64_t run_count;
    uint32_t run_value;
    bool values_are_eras;
};

static void say(struct dump *dump, const char *fmt, ...) BR_PRINTF(2, 3);
static void say(struct dump *dump, const char *fmt, ...)
{
    char line[256];
    va_list args;

    if (!dump->stopped) {
        va_start(args, fmt);
        vsnprintf(line, sizeof(line), fmt, args);
        va_end(args);
        dump->stopped = dump->line(dump->ctx, line);
    }
}

// Runs --------------------------------------------------------------------------------------------------------------------------------

static void end_run(struct dump *dump)
{
    const uint64_t last = dump->run_first + dump->run_count - 1;

    if (dump->run_count && dump->run_value && dump->values_are_eras) {
        say(dump, "  blocks %" PRIu64 "..%" PRIu64 ": era %" PRIu32, dump->run_first, last, dump->run_value);
    } else if (dump->run_count && dump->run_value) {
        say(dump, "  blocks %" PRIu64 "..%" PRIu64, dump->run_first, last);
    }
    dump->run_count = 0;
}

static void add_to_run(struct dump *dump, uint64_t block, uint32_t value)
{
    if (dump->run_count && value == dump->run_value) {
        dump->run_count++;
        return;
    }
    end_run(dump);
    dump->run_first = block;
    dump->run_count = 1;
    dump->run_value = value;
}

static int dump_words(void *ctx, uint64_t index, const uint8_t *values, unsigned count, struct br_err *reterr)
{
    struct dump *dump = ctx;

    (void)reterr;
    for (unsigned i = 0; i < count * WORD_BITS; i++) {
        const uint64_t word = br_get_u64(values + sizeof(uint64_t) * (i / WORD_BITS));
        add_to_run(dump, index * WORD_BITS + i, word >> i % WORD_BITS & 1);
    }
    return dump->stopped;
}

static int dump_eras(void *ctx, uint64_t index, const uint8_t *values, unsigned count, struct br_err *reterr)
{
    struct dump *dump = ctx;

    (void)reterr;
    for (unsigned i = 0; i < count; i++) {
        add_to_run(dump, index + i, br_get_u32(values + sizeof(uint32_t) * i));
    }
    return dump->stopped;
}

// Trees -------------------------------------------------------------------------------------------------------------------------------

static int dump_writeset(struct dump *dump, const char *what, const struct br_era_writeset *set)
{
    say(dump, "%s of era %" PRIu32 ", %" PRIu32 " bits, at block %" PRIu64, what, set->era, set->bits, set->root);
    dump->values_are_eras = false;
    int rc = dump->stopped ? dump->stopped
                           : br_pdata_file_array(&dump->pdata, set->root, sizeof(uint64_t),
                                                 br_div_up(set->bits, WORD_BITS), dump_words, dump, dump->reterr);
    end_run(dump);
    return rc ? rc : dump->stopped;
}

// The writesets of a leaf, gathered before their own trees are walked.
struct gathered {
    struct br_era_writeset *sets;
    size_t count;
};

static int gather(void *ctx, const struct br_pdata_node *leaf, struct br_err *reterr)
{
    struct gathered *gathered = ctx;
    struct br_era_writeset *sets = realloc(gathered->sets, (gathered->count + leaf->entries + 1) * sizeof(*sets));

    if (!sets) {
        return br_err_set(reterr, BR_E_NOMEM, "%zu writesets", gathered->count + leaf->entries);
    }
    for (unsigned i = 0; i < leaf->entries; i++) {
        sets[gathered->count + i] = br_era_writeset_decode(br_pdata_node_key(leaf, i), br_pdata_node_value(leaf, i));
    }
    gathered->sets = sets;
    gathered->count += leaf->entries;
    return 0;
}

static int dump_writesets(struct dump *dump)
{
    struct gathered gathered = {0};
    int rc = br_pdata_file_tree(&dump->pdata, dump->view->writeset_tree, BR_ERA_WRITESET_BYTES, gather, &gathered,
                                dump->reterr);

    for (size_t i = 0; i < gathered.count && rc == 0; i++) {
        rc = dump_writeset(dump, "writeset", &gathered.sets[i]);
    }
    free(gathered.sets);
    return rc;
}

static int dump_array(struct dump *dump)
{
    say(dump, "era array at block %" PRIu64, dump->view->era_array);
    dump->values_are_eras = true;
    int rc = dump->stopped ? dump->stopped
                           : br_pdata_file_array(&dump->pdata, dump->view->era_array, sizeof(uint32_t),
                                                 dump->view->blocks, dump_eras, dump, dump->reterr);
    end_run(dump);
    return rc ? rc : dump->stopped;
}

// Superblocks -------------------------------------------------------------------------------------------------------------------------

static void dump_superblock(struct dump *dump)
{
    const struct br_era_superblock *view = dump->view;
    struct br_uuid uuid;
    char text[BR_UUID_TEXT_BYTES];

    memcpy(uuid.bytes, view->uuid, BR_UUID_BYTES);
    br_uuid_text(&uuid, text);
    say(dump, "  uuid %s", br_uuid_is_nil(&uuid) ? "none" : text);
    say(dump, "  %" PRIu32 " data blocks of %" PRIu64 " bytes, current era %" PRIu32, view->blocks, view->block_bytes,
        view->current_era);
    say(dump, "  writeset tree at block %" PRIu64 ", era array at block %" PRIu64, view->writeset_tree,
        view->era_array);
}

static int dump_live(struct dump *dump)
{
    const struct br_era_superblock *view = dump->view;
    uint64_t used;

    dump_superblock(dump);
    say(dump, "  current writeset %s, metadata snapshot %s", view->current.root ? "below" : "none",
        view->snap_block ? "below" : "none");
    say(dump,
        "  space map: %" PRIu64 " of %" PRIu64 " blocks used, index at block %" PRIu64 ", counts at block %" PRIu64,
        view->space.allocated, view->space.blocks, view->space.index_block, view->space.counts_block);
    br_pdata_file_begin(&dump->pdata);
    int rc = dump_writesets(dump);
    if (rc == 0 && view->current.root) {
        rc = dump_writeset(dump, "current writeset", &view->current);
    }
    rc = rc ? rc : dump_array(dump);
    rc = rc ? rc : br_pdata_file_space(&dump->pdata, &view->space, &used, dump->reterr);
    if (rc == 0) {
        say(dump, "every block of a tree is counted as used; the bitmaps count %" PRIu64, used);
    }
    return rc;
}

// The snapshot shares most of its blocks with the superblock: a pass of its own.
static int dump_snap(struct dump *dump, const struct br_era_superblock *live)
{
    struct br_era_superblock snap;
    const uint8_t *block;
    int rc = br_pdata_file_block(&dump->pdata, live->snap_block, &block, dump->reterr);

    rc = rc < 0 ? rc : br_era_superblock_decode(block, live->snap_block, &snap, dump->reterr);
    if (rc < 0) {
        return rc;
    }
    dump->view = &snap;
    say(dump, "metadata snapshot at block %" PRIu64, live->snap_block);
    dump_superblock(dump);
    br_pdata_file_begin(&dump->pdata);
    rc = dump_writesets(dump);
    return rc ? rc : dump_array(dump);
}

int br_era_meta_dump(struct br_file *file, uint64_t meta_bytes, br_era_meta_line_fn *line, void *ctx,
                     struct br_err *reterr)
{
    struct dump dump = {.line = line, .ctx = ctx, .reterr = reterr};
    struct br_era_superblock live;
    const uint8_t *block;
    int rc = br_pdata_file_open(file, meta_bytes, &dump.pdata, reterr);

    if (rc < 0) {
        return rc;
    }
    rc = br_pdata_file_block(&dump.pdata, 0, &block, reterr);
    rc = rc < 0 ? rc : br_era_superblock_decode(block, 0, &live, reterr);
    if (rc == 0) {
        dump.view = &live;
        say(&dump, "dm-era metadata, version 1");
        rc = dump_live(&dump);
    }
    if (rc == 0 && live.snap_block) {
        rc = dump_snap(&dump, &live);
    }
    br_pdata_file_close(&dump.pdata);
    return rc ? rc : dump.stopped;
}
