// SPDX-License-Identifier: Apache-2.0
#include "tools/extents.h"

#include <errno.h>
#include <stdio.h>

struct extents {
    struct br_tracker tracker;
    struct br_extent_map map;
    char since[BR_UUID_TEXT_BYTES];
};

static int extents_changed(void *ctx, const struct br_uuid *version, struct br_extent_map *map, const char **ret_reason,
                           struct br_err *reterr)
{
    const struct extents *extents = ctx;
    char text[BR_UUID_TEXT_BYTES];

    br_uuid_text(version, text);
    if (strncmp(text, extents->since, strlen(extents->since)) != 0) {
        *ret_reason = "extents-of-another-point";
        return 0;
    }
    int rc = br_extent_map_add(map, &extents->map, reterr);
    return rc < 0 ? rc : 1;
}

static int extents_mark(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version, struct br_err *reterr)
{
    (void)ctx;
    (void)consumer;
    (void)version;
    (void)reterr;
    return 0; // the marks are those of whoever wrote the file
}

static void extents_settle(void *ctx, const struct br_uuid *consumer, const struct br_uuid *version)
{
    (void)ctx;
    (void)consumer;
    (void)version;
}

static int extents_distrust(void *ctx, uint64_t offset_bytes, struct br_err *reterr)
{
    (void)ctx;
    (void)offset_bytes;
    (void)reterr;
    return 0; // this run compares everything, and the next one comes with another file
}

// One line: 1 a range, 0 none, -1 neither.
static int parse_line(char *line, uint64_t *ret_offset, uint64_t *ret_len)
{
    char *end, *at = line;

    line[strcspn(line, "#\r\n")] = 0;
    at += strspn(at, " \t");
    if (!*at) {
        return 0;
    }
    errno = 0;
    if (*at < '0' || *at > '9') {
        return -1;
    }
    *ret_offset = strtoull(at, &end, at[0] == '0' && (at[1] == 'x' || at[1] == 'X') ? 16 : 10);
    at = end + strspn(end, " \t");
    if (errno || at == end || *at < '0' || *at > '9') {
        return -1;
    }
    *ret_len = strtoull(at, &end, at[0] == '0' && (at[1] == 'x' || at[1] == 'X') ? 16 : 10);
    end += strspn(end, " \t");
    return errno || *end || *ret_offset > INT64_MAX || *ret_len > INT64_MAX ? -1 : 1;
}

static int read_lines(FILE *file, const char *path, uint64_t size_bytes, struct extents *extents, struct br_err *reterr)
{
    char *line = NULL;
    size_t room = 0;
    unsigned long number = 0;
    int rc = 0;

    while (!rc && getline(&line, &room, file) >= 0) {
        uint64_t offset, len;
        int found = parse_line(line, &offset, &len);

        number++;
        if (found < 0) {
            rc = br_err_set(reterr, BR_E_USAGE, "%s: line %lu is not OFFSET LENGTH in bytes", path, number);
        } else if (found && len && offset >= size_bytes) {
            rc = br_err_set(reterr, BR_E_USAGE,
                            "%s: line %lu begins behind the source's end: are these the ranges of another disk?", path,
                            number);
        } else if (found && len) {
            rc = br_extent_map_mark(&extents->map, offset, len, reterr);
        }
    }
    if (!rc && !feof(file)) {
        rc = br_err_os(reterr, errno, "reading %s", path);
    }
    free(line);
    return rc;
}

int extents_open(const char *path, const char *since, uint64_t size_bytes, struct extents **ret_extents,
                 struct br_err *reterr)
{
    static const struct br_tracker_ops ops = {
        .changed = extents_changed, .mark = extents_mark, .settle = extents_settle, .distrust = extents_distrust};
    struct extents *extents = calloc(1, sizeof(*extents));
    FILE *file = fopen(path, "re");
    int rc = 0;

    if (!extents) {
        rc = br_err_set(reterr, BR_E_NOMEM, "the extents");
    } else if (!file) {
        rc = br_err_os(reterr, errno, "opening %s", path);
    } else {
        extents->tracker = (struct br_tracker){.name = "extents", .ops = &ops, .ctx = extents};
        snprintf(extents->since, sizeof(extents->since), "%s", since);
        rc = read_lines(file, path, size_bytes, extents, reterr);
    }
    if (file) {
        fclose(file);
    }
    if (rc < 0) {
        extents_close(extents);
        return rc;
    }
    *ret_extents = extents;
    return 0;
}

void extents_close(struct extents *extents)
{
    if (extents) {
        br_extent_map_free(&extents->map);
        free(extents);
    }
}

const struct br_tracker *extents_tracker(const struct extents *extents)
{
    return extents ? &extents->tracker : NULL;
}
