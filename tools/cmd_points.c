// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>

#include "engine/repo/lease.h"
#include "tools/repository.h"

static const struct cli_option points_options[] = {
    {"volume", CLI_TEXT, "VOLUME",
     "Only points of this volume: its source's path or the last part of it, or the first digits of its uuid."},
    {"tag", CLI_TEXT, "TAG", "Only points with this tag."},
    {"since", CLI_TEXT, "WHEN",
     "Only points taken at this time or later: 2026-11-24, 2026-11-24 03:05, in local time, or with a final Z in UTC."},
    {"until", CLI_TEXT, "WHEN", "Only points taken at this time or before; a day is all of it."},
    {"tree", CLI_FLAG, NULL, "Show each point below the one that it was compared with."},
    REPOSITORY_OPTIONS,
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_example points_examples[] = {
    {"blkrep points /backup/repo", "All points, oldest first."},
    {"blkrep points /backup/repo --tag nightly --since 2026-11-01 --json", "For a program."},
    {NULL, NULL},
};

static const struct cli_field points_fields[] = {
    {"repository", "text", "Its path."},
    {"points", "number", "How many were printed."},
    {"damaged", "number", "Points that don't open; each is also a warning, and the exit status is 4."},
    {"rolled_back", "number",
     "Volumes that are older than this host has seen them there; each is also a warning, and the exit status is 4."},
    {NULL, NULL, NULL},
};

static const struct cli_field points_point_fields[] = {
    {"id", "text", "Of the point."},
    {"volume", "text", "Uuid of the volume."},
    {"source", "text", "As it was named."},
    {"host", "text", "That made it."},
    {"taken", "text", "When its view began to be read, UTC, by the clock of that host."},
    {"taken_unix", "number", "The same in seconds since 1970."},
    {"number", "number", "Counts the points of the volume."},
    {"parent", "text|null", "The point that it was compared with."},
    {"pointtype", "text",
     "full: it shares nothing with the others; incremental: its parent is the point before; differential: its parent is the newest full one."},
    {"consistency", "text", "none, crash or clean, as for blkrep backup."},
    {"tracker", "text", "What told which blocks to compare."},
    {"size_bytes", "number", "Of the volume."},
    {"bytes_changed", "number", "That differed from the point before."},
    {"bytes_stored", "number", "By which the repository grew."},
    {"unreadable_blocks", "number", "That the source could not read."},
    {"root", "text", "The hash that names the content."},
    {"held", "boolean", "No prune removes it (blkrep-hold(1))."},
    {"tags", "list", "Its tags."},
    {NULL, NULL, NULL},
};

static const struct cli_line points_lines[] = {
    {"point", "For each point.", points_point_fields},
    {NULL, NULL, NULL},
};

static bool has_tag(const struct br_point *point, const char *tag)
{
    for (unsigned t = 0; t < point->tag_count; t++) {
        if (!strcmp(point->tags[t], tag)) {
            return true;
        }
    }
    return false;
}

static json_t *uuid_json(const struct br_uuid *uuid)
{
    char text[BR_UUID_TEXT_BYTES];

    br_uuid_text(uuid, text);
    return br_uuid_is_nil(uuid) ? json_null() : json_string(text);
}

// The points that are held, by id.
struct held {
    struct br_uuid *points;
    size_t count;
};

static int take_held(void *ctx, const struct br_point_mark *hold, int rc, const struct br_err *err)
{
    struct held *held = ctx;
    void *more = reallocarray(held->points, held->count + 1, sizeof(*held->points));

    (void)rc; // one that does not open holds all the same
    (void)err;
    if (!more) {
        return -BR_E_NOMEM;
    }
    held->points = more;
    held->points[held->count++] = hold->point;
    return 0;
}

static int held_order(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct br_uuid));
}

// Sorted before.
static bool is_held(const struct held *held, const struct br_uuid *point)
{
    return held->count && bsearch(point, held->points, held->count, sizeof(*held->points), held_order);
}

static void point_event(const struct cli *cli, const struct br_point *point, bool held)
{
    json_t *event = json_object(), *tags = json_array();
    char text[2 * BR_HASH_BYTES + 1];

    for (unsigned t = 0; t < point->tag_count; t++) {
        json_array_append_new(tags, cli_json_text(point->tags[t]));
    }
    json_object_set_new(event, "type", json_string("point"));
    json_object_set_new(event, "id", uuid_json(&point->id));
    json_object_set_new(event, "volume", uuid_json(&point->volume));
    json_object_set_new(event, "source", cli_json_text(point->label));
    json_object_set_new(event, "host", cli_json_text(point->host));
    br_time_text(point->taken_unix_ns, text, sizeof(text));
    json_object_set_new(event, "taken", json_string(text));
    json_object_set_new(event, "taken_unix", json_integer((json_int_t)(point->taken_unix_ns / BR_NS_PER_S)));
    json_object_set_new(event, "number", json_integer((json_int_t)point->counter));
    json_object_set_new(event, "parent", uuid_json(&point->parent));
    json_object_set_new(event, "pointtype", json_string(br_point_type_name(point->type)));
    json_object_set_new(event, "consistency", json_string(br_consistency_name(point->consistency)));
    json_object_set_new(event, "tracker", cli_json_text(point->tracker));
    json_object_set_new(event, "size_bytes", json_integer((json_int_t)point->size_bytes));
    json_object_set_new(event, "bytes_changed", json_integer((json_int_t)point->changed_bytes));
    json_object_set_new(event, "bytes_stored", json_integer((json_int_t)point->stored_bytes));
    json_object_set_new(event, "unreadable_blocks", json_integer((json_int_t)point->unreadable_blocks));
    br_hash_text(&point->root, text);
    json_object_set_new(event, "root", json_string(text));
    json_object_set_new(event, "held", json_boolean(held));
    json_object_set_new(event, "tags", tags);
    cli_event(cli, event);
}

// How many points lie between each and the first of its line, as far as they are listed. Parents come before, mostly just before.
static unsigned *depths_of(const struct repository_points *points)
{
    unsigned *depths = calloc(BR_MAX(points->count, 1u), sizeof(*depths));

    for (size_t at = 0; depths && at < points->count; at++) {
        const struct br_uuid *parent = &points->points[at].parent;

        for (size_t i = br_uuid_is_nil(parent) ? 0 : at; i-- > 0;) {
            if (br_uuid_equal(&points->points[i].id, parent)) {
                depths[at] = depths[i] + 1;
                break;
            }
        }
    }
    return depths;
}

static void point_line(const struct cli *cli, const struct br_point *point, bool held, unsigned depth)
{
    char id[BR_UUID_TEXT_BYTES], taken[40], size[32], changed[32], stored[32], label[BR_LABEL_BYTES];
    char tags[BR_POINT_TAGS_MAX * BR_POINT_TAG_BYTES + 8] = "";

    br_uuid_text(&point->id, id);
    br_time_text(point->taken_unix_ns, taken, sizeof(taken));
    cli_bytes(cli, point->size_bytes, size, sizeof(size));
    cli_bytes(cli, point->changed_bytes, changed, sizeof(changed));
    cli_bytes(cli, point->stored_bytes, stored, sizeof(stored));
    br_quote(point->label, label, sizeof(label));
    for (unsigned t = 0; t < point->tag_count; t++) {
        char tag[BR_POINT_TAG_BYTES];

        br_quote(point->tags[t], tag, sizeof(tag));
        snprintf(tags + strlen(tags), sizeof(tags) - strlen(tags), "%s%s", t ? "," : "", tag);
    }
    cli_print(cli, "%*s%.8s  %-20s %10s %10s %10s  %-11s  %-7s  %s%s%s%s", (int)BR_MIN(2 * depth, 40u), "", id, taken,
              size, changed, stored, br_point_type_name(point->type), br_consistency_name(point->consistency), label,
              *tags ? "  " : "", tags, held ? "  (held)" : "");
}

static int points_time(struct cli *cli, const char *option, uint64_t otherwise, uint64_t *ret_unix_ns,
                       struct br_err *reterr)
{
    *ret_unix_ns = otherwise;
    if (cli_text(cli, option) && !repository_time(cli_text(cli, option), ret_unix_ns)) {
        return br_err_set(reterr, BR_E_USAGE, "--%s: '%s' is no time like 2026-11-24 or 2026-11-24T03:05", option,
                          cli_text(cli, option));
    }
    return 0;
}

static int points_print(struct cli *cli, const struct repository_points *points, const struct held *held,
                        uint64_t *ret_count, struct br_err *reterr)
{
    BR_AUTO_FREE unsigned *depths = cli_flag(cli, "tree") ? depths_of(points) : NULL;
    uint64_t since = 0, until = 0;
    int error = cli_flag(cli, "tree") && !depths ? br_err_set(reterr, BR_E_NOMEM, "the tree of points")
                                                 : points_time(cli, "since", 0, &since, reterr);

    error = error ? error : points_time(cli, "until", UINT64_MAX, &until, reterr);
    // A time is its last moment, a day its end; since means from the beginning.
    since -= BR_MIN(since, (uint64_t)BR_NS_PER_S - 1);
    if (!error && since && !strchr(cli_text(cli, "since"), ':')) {
        since -= BR_MIN(since, (uint64_t)86399 * BR_NS_PER_S);
    }
    for (size_t i = 0; !error && i < points->count; i++) {
        const struct br_point *point = &points->points[i];

        if (point->taken_unix_ns < since || point->taken_unix_ns > until ||
            (cli_text(cli, "tag") && !has_tag(point, cli_text(cli, "tag")))) {
            continue;
        }
        if (cli->json) {
            point_event(cli, point, is_held(held, &point->id));
        } else {
            if (!*ret_count) {
                cli_print(cli, "%-8s  %-20s %10s %10s %10s  %-11s  %-7s  %s", "POINT", "TAKEN", "SIZE", "CHANGED",
                          "STORED", "TYPE", "STATE", "SOURCE");
            }
            point_line(cli, point, is_held(held, &point->id), depths ? depths[i] : 0);
        }
        ++*ret_count;
    }
    return error;
}

static int points_run(struct cli *cli, struct br_err *reterr)
{
    char repo[PATH_MAX], point[256];
    struct br_ring *ring = NULL;
    struct repository repository = {0};
    struct repository_points points = {0};
    struct held held = {0};
    uint64_t count = 0;
    int error = repository_word(cli->args[0], repo, point, reterr);

    if (!error && *point) {
        error = br_err_set(reterr, BR_E_USAGE, "points lists a repository: '@%s' is out of place", point);
    }
    error = error ? error : place_ring(cli, &ring, reterr);
    error = error ? error : repository_open(cli, ring, repo, true, &repository, reterr);
    error = error ? error : repository_points(cli, &repository, &points, reterr);
    error = error ? error : br_hold_each(repository.repo, take_held, &held, reterr);
    if (held.count) {
        qsort(held.points, held.count, sizeof(*held.points), held_order);
    }
    error = error ? error : points_print(cli, &points, &held, &count, reterr);
    cli_report_text(cli, "repository", repository.path[0] ? repository.path : cli->args[0]);
    cli_report_number(cli, "points", count);
    cli_report_number(cli, "damaged", points.damaged);
    cli_report_number(cli, "rolled_back", repository.rolled_back);
    if (!error && !count && !cli->json) {
        cli_say(cli, "%s: no points%s", repository.path, points.count ? " like that" : "");
    }
    if (!error && points.damaged) {
        error = br_err_set(reterr, BR_E_CORRUPT, "%s: %zu points don't open", repository.path, points.damaged);
    }
    error = repository_result(&repository, error, reterr);
    repository_points_free(&points);
    free(held.points);
    repository_close(&repository);
    br_ring_close(ring);
    return error;
}

const struct cli_verb cmd_points = {
    .name = "points",
    .args = "REPO",
    .args_min = 1,
    .args_max = 1,
    .summary = "List the recovery points of a repository.",
    .description =
        "A line for each point: its id, of which four digits and more name it for `blkrep restore REPO@POINT`; when its view began to be read (UTC); the "
        "volume's size; what had changed since the point before; by how much the repository grew; its type (full, incremental, differential); its consistency; the source "
        "and the tags. Every point holds the whole volume, whatever its type.",
    .options = points_options,
    .examples = points_examples,
    .see_also = "blkrep-backup(1), blkrep-restore(1)",
    .schema = "blkrep.points/1",
    .fields = points_fields,
    .lines = points_lines,
    .run = points_run,
};
