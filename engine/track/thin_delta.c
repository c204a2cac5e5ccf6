// SPDX-License-Identifier: Apache-2.0
//
// Tags are gathered up to their '>' and then taken apart; between tags there is nothing but white space.
#include "engine/track/thin_delta.h"

#include <inttypes.h>

#define TAG_BYTES_MAX 512u
#define ATTRIBUTES    16u
#define SECTOR_BYTES  512u

// What comes next.
enum place { BEFORE_SUPERBLOCK, BEFORE_DIFF, IN_DIFF, AFTER_DIFF, AFTER_ALL };

struct br_thin_delta {
    struct br_thin_delta_params params;
    struct br_extent_map *map;
    enum place place;
    uint64_t offset_bytes; // in the output, of the next byte
    uint64_t tag_at_bytes;
    bool in_tag;
    char tag[TAG_BYTES_MAX];
    size_t tag_len;
    uint64_t next_block; // ranges ascend
    uint64_t left_blocks;
    uint64_t right_blocks;
};

// A tag, taken apart in place.
struct tag {
    const char *name;
    bool empty; // ends in "/>"
    unsigned count;
    const char *names[ATTRIBUTES];
    const char *values[ATTRIBUTES];
};

int br_thin_delta_open(const struct br_thin_delta_params *params, struct br_extent_map *map,
                       struct br_thin_delta **ret_delta, struct br_err *reterr)
{
    struct br_thin_delta *delta = calloc(1, sizeof(*delta));

    if (!delta) {
        return br_err_set(reterr, BR_E_NOMEM, "reading thin_delta");
    }
    delta->params = *params;
    delta->map = map;
    *ret_delta = delta;
    return 0;
}

void br_thin_delta_close(struct br_thin_delta *delta)
{
    free(delta);
}

static int damaged(const struct br_thin_delta *delta, struct br_err *reterr, const char *why)
{
    return br_err_at(reterr, BR_E_CORRUPT, delta->tag_at_bytes, "thin_delta: %s", why);
}

// Tags --------------------------------------------------------------------------------------------------------------------------------

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static bool is_name(char c)
{
    return (c >= 'a' && c <= 'z') || c == '_';
}

// One attribute NAME="VALUE" at *at; false when there is none or it is not one.
static bool take_attribute(char **at, struct tag *tag)
{
    char *name = *at, *end = name;

    while (is_name(*end)) {
        end++;
    }
    if (end == name || end[0] != '=' || end[1] != '"' || tag->count == ATTRIBUTES) {
        return false;
    }
    char *value = end + 2, *quote = value;
    while (*quote && *quote != '"' && *quote != '<' && *quote != '&') {
        quote++;
    }
    if (*quote != '"') {
        return false;
    }
    *end = *quote = 0;
    for (unsigned i = 0; i < tag->count; i++) {
        if (!strcmp(tag->names[i], name)) {
            return false;
        }
    }
    tag->names[tag->count] = name;
    tag->values[tag->count++] = value;
    *at = quote + 1;
    return true;
}

// Takes "name a="1" b="2"/" apart, what stands between '<' and '>'.
static bool take_apart(char *text, struct tag *tag)
{
    size_t len = strlen(text);
    char *at = text;

    *tag = (struct tag){.name = text};
    if (len && text[len - 1] == '/') {
        tag->empty = true;
        text[--len] = 0;
    }
    at += *at == '/';
    char *name = at;
    while (is_name(*at)) {
        at++;
    }
    if (at == name) {
        return false;
    }
    while (is_space(*at)) {
        *at++ = 0;
        while (is_space(*at)) {
            at++;
        }
        if (!*at) {
            return true;
        }
        if (!take_attribute(&at, tag)) {
            return false;
        }
    }
    return !*at;
}

// The number of an attribute; false when there is none, or anything but a decimal number.
static bool number_of(const struct tag *tag, const char *name, uint64_t *ret_number)
{
    uint64_t number = 0;
    unsigned i = 0;

    while (i < tag->count && strcmp(tag->names[i], name)) {
        i++;
    }
    if (i == tag->count || !*tag->values[i]) {
        return false;
    }
    for (const char *c = tag->values[i]; *c; c++) {
        if (*c < '0' || *c > '9' || !br_mul_u64(number, 10, &number) ||
            !br_add_u64(number, (uint64_t)(*c - '0'), &number)) {
            return false;
        }
    }
    *ret_number = number;
    return true;
}

// What they say ------------------------------------------------------------------------------------------------------------------------

static int take_superblock(struct br_thin_delta *delta, const struct tag *tag, struct br_err *reterr)
{
    uint64_t sectors;

    if (strcmp(tag->name, "superblock") || tag->empty || !number_of(tag, "data_block_size", &sectors)) {
        return damaged(delta, reterr, "no <superblock> with a data_block_size");
    }
    if (!delta->params.block_bytes || delta->params.block_bytes % SECTOR_BYTES ||
        sectors != delta->params.block_bytes / SECTOR_BYTES) {
        return br_err_at(reterr, BR_E_CORRUPT, delta->tag_at_bytes,
                         "thin_delta: blocks of %" PRIu64 " sectors, the pool's have %" PRIu64 " bytes", sectors,
                         delta->params.block_bytes);
    }
    delta->place = BEFORE_DIFF;
    return 0;
}

static int take_diff(struct br_thin_delta *delta, const struct tag *tag, struct br_err *reterr)
{
    uint64_t left, right;

    if (strcmp(tag->name, "diff") || tag->empty || !number_of(tag, "left", &left) || !number_of(tag, "right", &right)) {
        return damaged(delta, reterr, "no <diff> with left and right");
    }
    if (left != delta->params.left_id || right != delta->params.right_id) {
        return br_err_at(reterr, BR_E_CORRUPT, delta->tag_at_bytes,
                         "thin_delta: of volumes %" PRIu64 " and %" PRIu64 ", not %" PRIu64 " and %" PRIu64, left,
                         right, delta->params.left_id, delta->params.right_id);
    }
    delta->place = IN_DIFF;
    return 0;
}

static int mark_blocks(struct br_thin_delta *delta, uint64_t begin, uint64_t length, struct br_err *reterr)
{
    const uint64_t block_bytes = delta->params.block_bytes, volume_bytes = delta->params.volume_bytes;
    uint64_t start, len;

    if (!br_mul_u64(begin, block_bytes, &start) || start >= volume_bytes) {
        return 0; // behind the end
    }
    if (!br_mul_u64(length, block_bytes, &len) || len > volume_bytes - start) {
        len = volume_bytes - start;
    }
    return br_extent_map_mark(delta->map, start, len, reterr);
}

static int take_range(struct br_thin_delta *delta, const struct tag *tag, struct br_err *reterr)
{
    static const struct {
        const char *name;
        bool left, right; // mapped there
        bool differs;
    } kinds[] = {{"same", true, true, false},
                 {"different", true, true, true},
                 {"left_only", true, false, true},
                 {"right_only", false, true, true}};
    uint64_t begin, length, end;
    size_t i = 0;

    while (i < BR_ARRAY_LEN(kinds) && strcmp(tag->name, kinds[i].name)) {
        i++;
    }
    if (i == BR_ARRAY_LEN(kinds) || !tag->empty || tag->count != 2 || !number_of(tag, "begin", &begin) ||
        !number_of(tag, "length", &length)) {
        return damaged(delta, reterr, "no range with begin and length");
    }
    if (!length || begin < delta->next_block || !br_add_u64(begin, length, &end)) {
        return damaged(delta, reterr, "ranges that do not ascend");
    }
    delta->next_block = end;
    delta->left_blocks += kinds[i].left ? length : 0;
    delta->right_blocks += kinds[i].right ? length : 0;
    return kinds[i].differs ? mark_blocks(delta, begin, length, reterr) : 0;
}

static int take_tag(struct br_thin_delta *delta, struct br_err *reterr)
{
    struct tag tag;

    if (!take_apart(delta->tag, &tag)) {
        return damaged(delta, reterr, "not a tag that it writes");
    }
    if (tag.name[0] == '/') {
        const char *expected = delta->place == IN_DIFF ? "/diff" : delta->place == AFTER_DIFF ? "/superblock" : "";
        if (strcmp(tag.name, expected) || tag.empty || tag.count) {
            return damaged(delta, reterr, "an end tag where none belongs");
        }
        delta->place++;
        return 0;
    }
    switch (delta->place) {
    case BEFORE_SUPERBLOCK: return take_superblock(delta, &tag, reterr);
    case BEFORE_DIFF: return take_diff(delta, &tag, reterr);
    case IN_DIFF: return take_range(delta, &tag, reterr);
    default: return damaged(delta, reterr, "a tag behind the end");
    }
}

static int take_byte(struct br_thin_delta *delta, char c, struct br_err *reterr)
{
    if (!delta->in_tag) {
        delta->tag_at_bytes = delta->offset_bytes;
        delta->in_tag = c == '<';
        delta->tag_len = 0;
        return delta->in_tag || is_space(c) ? 0 : damaged(delta, reterr, "text between tags");
    }
    if (c == '>') {
        delta->in_tag = false;
        delta->tag[delta->tag_len] = 0;
        return take_tag(delta, reterr);
    }
    if (!c || delta->tag_len == TAG_BYTES_MAX - 1) {
        return damaged(delta, reterr, "a tag that does not end");
    }
    delta->tag[delta->tag_len++] = c;
    return 0;
}

int br_thin_delta_bytes(struct br_thin_delta *delta, const void *bytes, size_t len, struct br_err *reterr)
{
    const char *at = bytes;
    int rc = 0;

    for (size_t i = 0; i < len && rc == 0; i++) {
        rc = take_byte(delta, at[i], reterr);
        delta->offset_bytes++;
    }
    return rc;
}

int br_thin_delta_finish(struct br_thin_delta *delta, struct br_err *reterr)
{
    const uint64_t block_bytes = delta->params.block_bytes;
    uint64_t left_bytes, right_bytes;

    if (delta->place != AFTER_ALL || delta->in_tag) {
        return br_err_at(reterr, BR_E_TRUNCATED, delta->offset_bytes, "thin_delta: it ends too early");
    }
    if (!br_mul_u64(delta->left_blocks, block_bytes, &left_bytes) ||
        !br_mul_u64(delta->right_blocks, block_bytes, &right_bytes) || left_bytes != delta->params.left_mapped_bytes ||
        right_bytes != delta->params.right_mapped_bytes) {
        return br_err_set(reterr, BR_E_CORRUPT,
                          "thin_delta tells of %" PRIu64 " and %" PRIu64 " blocks, the kernel says that %" PRIu64
                          " and %" PRIu64 " bytes are mapped, in blocks of %" PRIu64,
                          delta->left_blocks, delta->right_blocks, delta->params.left_mapped_bytes,
                          delta->params.right_mapped_bytes, block_bytes);
    }
    return 0;
}
