// SPDX-License-Identifier: Apache-2.0
//
// Sparse content of simulated files. A sorted array keeps holes, copies and forks simple, and appending is cheap; it is fast for the
// tens of MiB that simulations use.
#include "engine/ring/sim_impl.h"

#include <assert.h>
#include <stdio.h>

void *br_sim_alloc(size_t bytes)
{
    void *at = calloc(1, bytes ? bytes : 1);

    if (!at) {
        abort();
    }
    return at;
}

void br_sim_grow(void *array, size_t count, size_t *capacity, size_t item_bytes)
{
    void *at;

    if (count < *capacity) {
        return;
    }
    size_t more = *capacity ? *capacity * 2 : 8;
    memcpy(&at, array, sizeof(at));
    at = realloc(at, more * item_bytes);
    if (!at) {
        abort();
    }
    memcpy(array, &at, sizeof(at));
    *capacity = more;
}

static void br_sim_page_put(struct br_sim_page *page)
{
    if (!--page->refs) {
        free(page);
    }
}

void br_sim_pages_free(struct br_sim_pages *pages)
{
    for (size_t i = 0; i < pages->count; i++) {
        br_sim_page_put(pages->slots[i].page);
    }
    free(pages->slots);
    *pages = (struct br_sim_pages){0};
}

void br_sim_pages_share(struct br_sim_pages *to, const struct br_sim_pages *from)
{
    assert(!to->count);
    free(to->slots);
    *to = (struct br_sim_pages){.count = from->count, .capacity = from->count};
    to->slots = br_sim_alloc(from->count * sizeof(*to->slots));
    for (size_t i = 0; i < from->count; i++) {
        to->slots[i] = from->slots[i];
        to->slots[i].page->refs++;
    }
}

size_t br_sim_pages_next(const struct br_sim_pages *pages, uint64_t index)
{
    size_t low = 0;
    size_t high = pages->count;

    if (!high || pages->slots[high - 1].index < index) {
        return high; // appending is the common case
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (pages->slots[middle].index < index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct br_sim_page *br_sim_pages_find(const struct br_sim_pages *pages, uint64_t index)
{
    size_t at = br_sim_pages_next(pages, index);

    return at < pages->count && pages->slots[at].index == index ? pages->slots[at].page : NULL;
}

// Makes room at @at for @more slots, or (negative) closes a gap of as many.
static void br_sim_pages_move(struct br_sim_pages *pages, size_t at, ptrdiff_t more)
{
    size_t from = more < 0 ? at + (size_t)-more : at;
    size_t to = more < 0 ? at : at + (size_t)more;
    size_t count = pages->count + (size_t)more;

    if (count > pages->capacity) {
        pages->capacity = BR_MAX(count, pages->capacity * 2);
        pages->slots = realloc(pages->slots, pages->capacity * sizeof(*pages->slots));
        if (!pages->slots) {
            abort();
        }
    }
    memmove(pages->slots + to, pages->slots + from, (pages->count - from) * sizeof(*pages->slots));
    pages->count = count;
}

static void br_sim_pages_set(struct br_sim_pages *pages, uint64_t index, struct br_sim_page *page)
{
    size_t at = br_sim_pages_next(pages, index);

    if (at < pages->count && pages->slots[at].index == index) {
        br_sim_page_put(pages->slots[at].page);
    } else {
        br_sim_pages_move(pages, at, 1);
        pages->slots[at].index = index;
    }
    pages->slots[at].page = page;
}

// The page for writing: made when missing, copied when shared.
static uint8_t *br_sim_pages_own(struct br_sim_pages *pages, uint64_t index)
{
    struct br_sim_page *page = br_sim_pages_find(pages, index);

    if (page && page->refs == 1) {
        return page->bytes;
    }
    struct br_sim_page *own = br_sim_alloc(sizeof(*own));
    own->refs = 1;
    if (page) {
        memcpy(own->bytes, page->bytes, sizeof(own->bytes));
    }
    br_sim_pages_set(pages, index, own);
    return own->bytes;
}

static void br_sim_pages_drop(struct br_sim_pages *pages, uint64_t first, uint64_t end)
{
    size_t from = br_sim_pages_next(pages, first);
    size_t to = br_sim_pages_next(pages, end);

    for (size_t i = from; i < to; i++) {
        br_sim_page_put(pages->slots[i].page);
    }
    if (to > from) {
        br_sim_pages_move(pages, from, -(ptrdiff_t)(to - from));
    }
}

void br_sim_pages_read(const struct br_sim_pages *pages, void *buf, uint64_t len, uint64_t offset)
{
    uint8_t *to = buf;

    while (len) {
        uint64_t within = offset % BR_SIM_PAGE_BYTES;
        uint64_t part = BR_MIN(len, BR_SIM_PAGE_BYTES - within);
        const struct br_sim_page *page = br_sim_pages_find(pages, offset / BR_SIM_PAGE_BYTES);
        if (page) {
            memcpy(to, page->bytes + within, part);
        } else {
            memset(to, 0, part);
        }
        to += part;
        offset += part;
        len -= part;
    }
}

static void br_sim_pages_zero(struct br_sim_pages *pages, uint64_t len, uint64_t offset)
{
    uint64_t end = offset + len;
    uint64_t first = br_div_up(offset, BR_SIM_PAGE_BYTES);
    uint64_t last = end / BR_SIM_PAGE_BYTES;

    if (first < last) {
        br_sim_pages_drop(pages, first, last);
    }
    for (uint64_t at = offset; at < end;) {
        uint64_t within = at % BR_SIM_PAGE_BYTES;
        uint64_t part = BR_MIN(end - at, BR_SIM_PAGE_BYTES - within);
        if (part == BR_SIM_PAGE_BYTES) {
            at = last * BR_SIM_PAGE_BYTES;
            continue;
        }
        if (br_sim_pages_find(pages, at / BR_SIM_PAGE_BYTES)) {
            memset(br_sim_pages_own(pages, at / BR_SIM_PAGE_BYTES) + within, 0, part);
        }
        at += part;
    }
}

void br_sim_pages_write(struct br_sim_pages *pages, const void *bytes, uint64_t len, uint64_t offset)
{
    const uint8_t *from = bytes;

    if (!bytes) {
        br_sim_pages_zero(pages, len, offset);
        return;
    }
    while (len) {
        uint64_t within = offset % BR_SIM_PAGE_BYTES;
        uint64_t part = BR_MIN(len, BR_SIM_PAGE_BYTES - within);
        memcpy(br_sim_pages_own(pages, offset / BR_SIM_PAGE_BYTES) + within, from, part);
        from += part;
        offset += part;
        len -= part;
    }
}

void br_sim_pages_copy(struct br_sim_pages *to, const struct br_sim_pages *from, uint64_t len, uint64_t offset)
{
    uint8_t part_bytes[BR_SIM_PAGE_BYTES];

    while (len) {
        uint64_t within = offset % BR_SIM_PAGE_BYTES;
        uint64_t part = BR_MIN(len, BR_SIM_PAGE_BYTES - within);
        struct br_sim_page *page = br_sim_pages_find(from, offset / BR_SIM_PAGE_BYTES);
        if (page && part == BR_SIM_PAGE_BYTES) {
            page->refs++;
            br_sim_pages_set(to, offset / BR_SIM_PAGE_BYTES, page);
        } else if (page) {
            memcpy(part_bytes, page->bytes + within, part);
            br_sim_pages_write(to, part_bytes, part, offset);
        } else {
            br_sim_pages_zero(to, part, offset);
        }
        offset += part;
        len -= part;
    }
}

uint64_t br_sim_pages_missing(const struct br_sim_pages *pages, uint64_t len, uint64_t offset)
{
    if (!len) {
        return 0;
    }
    uint64_t first = offset / BR_SIM_PAGE_BYTES;
    uint64_t end = br_div_up(offset + len, BR_SIM_PAGE_BYTES);

    return end - first - (br_sim_pages_next(pages, end) - br_sim_pages_next(pages, first));
}

void br_sim_pages_reserve(struct br_sim_pages *pages, uint64_t len, uint64_t offset)
{
    size_t missing = (size_t)br_sim_pages_missing(pages, len, offset);

    if (!missing) {
        return;
    }
    // Opens one gap for all, then fills the range from its end, so that a large reservation moves the array once.
    uint64_t first = offset / BR_SIM_PAGE_BYTES;
    uint64_t end = br_div_up(offset + len, BR_SIM_PAGE_BYTES);
    size_t old_at = br_sim_pages_next(pages, end);
    struct br_sim_page *zero = br_sim_alloc(sizeof(*zero));
    br_sim_pages_move(pages, old_at, (ptrdiff_t)missing);
    size_t to = old_at + missing;
    for (uint64_t index = end; index-- > first;) {
        struct br_sim_slot slot = {.index = index, .page = zero};
        if (old_at && pages->slots[old_at - 1].index == index) {
            slot = pages->slots[--old_at];
        } else {
            zero->refs++;
        }
        pages->slots[--to] = slot;
    }
    assert(to == old_at);
}
