// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <xxhash.h>

#include "engine/base/bytes.h"
#include "tests/lib/t_env.h"
#include "tools/volume/record.h"

#define MIB (UINT64_C(1) << 20)

static struct br_uuid uuid(uint8_t number)
{
    uint8_t bytes[BR_UUID_BYTES] = {number};

    return br_uuid_make(bytes);
}

static struct volume_record *a_record(void)
{
    struct volume_record *record = calloc(1, sizeof(*record));

    snprintf(record->name, sizeof(record->name), "data");
    record->volume = uuid(1);
    snprintf(record->device, sizeof(record->device), "/dev/disk/by-id/a \"quoted\" one");
    snprintf(record->wwid, sizeof(record->wwid), "serial-x");
    record->size_bytes = 300 * MIB;
    record->tracker = VOLUME_ERA;
    record->area = (struct volume_area){VOLUME_AREA_FILE, "/var/lib/area", 64 * MIB, 128 * MIB};
    record->meta = (struct volume_piece){0, 3 * MIB};
    record->era_block_bytes = VOLUME_ERA_BYTES;
    record->chain = uuid(2);
    record->chain_unix_ns = UINT64_C(1600000000000000000);
    record->up = true;
    record->era_seen = 17;
    record->next_number = 9;
    record->snapshots[record->snapshot_count++] =
        (struct volume_snapshot){.number = 7,
                                 .use = VOLUME_USER,
                                 .name = "nightly",
                                 .era = 12,
                                 .consistency = 2,
                                 .piece_count = 2,
                                 .pieces = {{3 * MIB, 5 * MIB}, {20 * MIB, 4 * MIB}}};
    record->snapshots[record->snapshot_count++] = (struct volume_snapshot){
        .number = 9, .use = VOLUME_VIEW, .owner_pid = 4711, .piece_count = 1, .pieces = {{8 * MIB, 2 * MIB}}};
    record->marks[record->mark_count++] =
        (struct volume_mark){uuid(3), uuid(4), uuid(2), 12, 7, UINT64_C(1700000000000000000)};
    return record;
}

static int decode(const char *text, struct volume_record *record)
{
    return volume_record_decode(text, strlen(text), record, NULL);
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct volume_record *record = a_record(), *again = calloc(1, sizeof(*again));
    char *text = volume_record_encode(record);

    assert_int_equal(0, decode(text, again));
    char *twice = volume_record_encode(again);
    assert_string_equal(text, twice);
    assert_memory_equal(record, again, sizeof(*record));
    free(twice);
    free(text);
    free(again);
    free(record);
}

static void every_changed_letter_is_noticed(void **state)
{
    (void)state;
    struct volume_record *record = a_record(), *again = calloc(1, sizeof(*again));
    char *text = volume_record_encode(record);
    size_t len = strlen(text);

    for (size_t i = 0; i < len; i++) {
        char was = text[i];
        if (was == ' ' || was == '\n') {
            continue; // between values they say nothing
        }
        text[i] = was == '1' ? '2' : '1';
        assert_true(volume_record_decode(text, len, again, NULL) < 0);
        text[i] = was;
    }
    for (size_t cut = 0; cut + 2 < len; cut += 7) {
        assert_true(volume_record_decode(text, cut, again, NULL) < 0);
    }
    free(text);
    free(again);
    free(record);
}

// Encodes what @spoil made of a good record; the sum is right, so only the fields can be what is refused.
static void refused(void (*spoil)(struct volume_record *record), const char *word)
{
    struct volume_record *record = a_record(), *again = calloc(1, sizeof(*again));
    struct br_err err = {0};

    spoil(record);
    char *text = volume_record_encode(record);
    assert_int_equal(-BR_E_CORRUPT, volume_record_decode(text, strlen(text), again, &err));
    assert_non_null(strstr(err.text, word));
    free(text);
    free(again);
    free(record);
}

static void spoil_kind(struct volume_record *r)
{
    r->area.kind = 9;
}
static void spoil_tracker(struct volume_record *r)
{
    r->tracker = 0;
}
static void spoil_overlap(struct volume_record *r)
{
    r->snapshots[1].pieces[0].offset_bytes = 4 * MIB;
}
static void spoil_meta(struct volume_record *r)
{
    r->meta.len_bytes = 65 * MIB;
}
static void spoil_meta_overlap(struct volume_record *r)
{
    r->meta.len_bytes = 4 * MIB;
}
static void spoil_end(struct volume_record *r)
{
    r->snapshots[0].pieces[1].offset_bytes = 62 * MIB;
}
static void spoil_unit(struct volume_record *r)
{
    r->snapshots[0].pieces[1].len_bytes -= 512;
}
static void spoil_number(struct volume_record *r)
{
    r->snapshots[1].number = 7;
}
static void spoil_zero(struct volume_record *r)
{
    r->snapshots[1].number = 0;
}
static void spoil_consistency(struct volume_record *r)
{
    r->snapshots[0].consistency = 3;
}

static void a_record_that_says_the_impossible_is_refused(void **state)
{
    (void)state;
    refused(spoil_kind, "kind");
    refused(spoil_tracker, "tracker");
    refused(spoil_overlap, "overlap");
    refused(spoil_meta, "meta");
    refused(spoil_meta_overlap, "overlap");
    refused(spoil_end, "pieces");
    refused(spoil_unit, "pieces");
    refused(spoil_number, "number");
    refused(spoil_zero, "number");
    refused(spoil_consistency, "consistency");
}

static void another_version_is_named(void **state)
{
    (void)state;
    struct volume_record record;

    assert_int_equal(-BR_E_VERSION, decode("{\"schema\":\"blkrep.stack/2\"}", &record));
    assert_int_equal(-BR_E_CORRUPT, decode("{}", &record));
    assert_int_equal(-BR_E_CORRUPT, decode("[]", &record));
    assert_int_equal(-BR_E_CORRUPT, decode("", &record));
}

// The record as text with its right sum; takes @object.
static char *summed(json_t *object)
{
    char sum[40];

    json_object_del(object, "sum");
    char *text = json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS);
    XXH128_hash_t hash = XXH3_128bits(text, strlen(text));
    snprintf(sum, sizeof(sum), "%016" PRIx64 "%016" PRIx64, (uint64_t)hash.high64, (uint64_t)hash.low64);
    free(text);
    json_object_set_new(object, "sum", json_string(sum));
    text = json_dumps(object, JSON_INDENT(1));
    json_decref(object);
    return text;
}

// As an older blkrep wrote it, without @member.
static char *encoded_without(const char *member)
{
    struct volume_record *record = a_record();
    char *text = volume_record_encode(record);
    json_t *object = json_loads(text, 0, NULL);

    free(text);
    free(record);
    assert_int_equal(0, json_object_del(object, member));
    return summed(object);
}

static void a_record_of_before_the_chain_had_a_time_is_read(void **state)
{
    (void)state;
    struct volume_record *again = calloc(1, sizeof(*again));
    char *older = encoded_without("chain_unix_ns"), *damaged = encoded_without("chain");
    struct br_uuid chain = uuid(8);

    assert_int_equal(0, decode(older, again));
    assert_int_equal(0, again->chain_unix_ns);
    volume_record_break(again, &chain, "why", 5);
    assert_int_equal(5, again->chain_unix_ns);
    assert_int_equal(-BR_E_CORRUPT, decode(damaged, again));
    free(older);
    free(damaged);
    free(again);
}

static void the_group_of_a_snapshot_is_kept_and_an_older_record_has_none(void **state)
{
    (void)state;
    struct volume_record *record = a_record(), *again = calloc(1, sizeof(*again));

    char *older = volume_record_encode(record);
    json_t *object = json_loads(older, 0, NULL);
    json_t *first = json_array_get(json_object_get(object, "snapshots"), 0);
    assert_int_equal(0, json_object_del(first, "group"));
    assert_int_equal(0, json_object_del(first, "leader"));
    free(older);
    older = summed(object);
    assert_int_equal(0, decode(older, again));
    assert_true(br_uuid_is_nil(&again->snapshots[0].group));
    assert_string_equal("", again->snapshots[0].leader);
    free(older);

    record->snapshots[0].group = uuid(6);
    snprintf(record->snapshots[0].leader, VOLUME_NAME_MAX, "alpha");
    char *text = volume_record_encode(record);
    assert_int_equal(0, decode(text, again));
    assert_memory_equal(record, again, sizeof(*record));
    free(text);
    free(again);
    free(record);
}

static void pieces_are_given_from_what_is_free_and_joined(void **state)
{
    (void)state;
    struct volume_record *record = a_record();
    struct volume_piece pieces[VOLUME_PIECES_MAX];
    uint32_t count = 0;

    assert_int_equal((64 - 3 - 5 - 4 - 2) * MIB, volume_record_free_bytes(record));
    assert_int_equal(0, volume_record_give(record, 12 * MIB - 5, pieces, &count, NULL));
    assert_int_equal(2, count);
    assert_int_equal(10 * MIB, pieces[0].offset_bytes);
    assert_int_equal(10 * MIB, pieces[0].len_bytes);
    assert_int_equal(24 * MIB, pieces[1].offset_bytes);
    assert_int_equal(2 * MIB, pieces[1].len_bytes);
    assert_int_equal(0, volume_record_give(record, MIB, pieces, &count, NULL));
    assert_int_equal(2, count);
    assert_int_equal(3 * MIB, pieces[1].len_bytes);
    assert_int_equal(-BR_E_NO_SPACE, volume_record_give(record, 38 * MIB, pieces, &count, NULL));
    assert_int_equal(2, count);
    assert_int_equal(0, volume_record_give(record, 37 * MIB, pieces, &count, NULL));
    assert_int_equal(40 * MIB, pieces[1].len_bytes);
    free(record);
}

// Random snapshots come, grow and go: no byte has two owners, and what is free is what nobody has.
static void no_byte_of_the_area_has_two_owners(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(50); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        struct volume_record *record = a_record();
        char *text = NULL;

        for (unsigned step = 0; step < 60; step++) {
            struct volume_snapshot fresh = {.number = ++record->next_number, .use = VOLUME_MARK};
            struct volume_snapshot *snapshot = &fresh;
            if (record->snapshot_count && t_rand_below(&r, 3)) {
                snapshot = &record->snapshots[t_rand_below(&r, record->snapshot_count)];
            }
            if (snapshot != &fresh && t_rand_below(&r, 2)) {
                volume_record_drop_snapshot(record, snapshot->number);
            } else if (volume_record_give(record, 1 + t_rand_below(&r, 9 * MIB), snapshot->pieces,
                                          &snapshot->piece_count, NULL) == 0 &&
                       snapshot == &fresh && record->snapshot_count < VOLUME_SNAPSHOTS_MAX) {
                record->snapshots[record->snapshot_count++] = fresh;
            }
            text = volume_record_encode(record);
            struct volume_record *again = calloc(1, sizeof(*again));
            assert_int_equal(0, decode(text, again)); // checks the pieces
            free(again);
            free(text);
        }
        free(record);
    }
}

static void marks_belong_to_a_consumer_a_version_and_a_chain(void **state)
{
    (void)state;
    struct volume_record *record = a_record();
    struct volume_mark mark = {uuid(3), uuid(5), uuid(2), 13, 9, 0};
    struct br_uuid version = uuid(5), consumer = uuid(3), other = uuid(6), chain = uuid(7);

    volume_record_mark(record, &mark);
    volume_record_mark(record, &mark);
    assert_int_equal(2, record->mark_count);
    assert_true(volume_record_needed(record, 7) && volume_record_needed(record, 9));
    mark.consumer = other;
    volume_record_mark(record, &mark);
    volume_record_settle(record, &consumer, &version);
    assert_int_equal(2, record->mark_count); // the other consumer's stays
    assert_false(volume_record_needed(record, 7));
    assert_int_equal(13, volume_record_find_mark(record, &version)->era);
    version = uuid(4);
    assert_null(volume_record_find_mark(record, &version));
    volume_record_break(record, &chain, "why", 5);
    assert_string_equal("why", record->lost);
    assert_false(volume_record_needed(record, 9)); // of the chain before
    for (unsigned i = 0; i < VOLUME_MARKS_MAX + 5; i++) {
        mark.version = uuid((uint8_t)(100 + i));
        mark.chain = record->chain;
        volume_record_mark(record, &mark);
    }
    assert_int_equal(VOLUME_MARKS_MAX, record->mark_count);
    version = uuid(5);
    assert_null(volume_record_find_mark(record, &version)); // of a chain that ended: it went first
    free(record);
}

static void the_oldest_mark_goes_first_and_never_a_younger_one_for_an_older(void **state)
{
    (void)state;
    struct volume_record *record = a_record();

    assert_null(volume_record_oldest_mark(record, 0)); // a user's, and a view
    for (uint32_t number = 20; number <= 22; number++) {
        record->snapshots[record->snapshot_count++] = (struct volume_snapshot){.number = number, .use = VOLUME_MARK};
    }
    assert_int_equal(20, volume_record_oldest_mark(record, 0)->number);
    assert_int_equal(20, volume_record_oldest_mark(record, 9)->number); // the view's room
    assert_int_equal(20, volume_record_oldest_mark(record, 22)->number);
    assert_null(volume_record_oldest_mark(record, 20));
    volume_record_drop_snapshot(record, 20);
    assert_int_equal(21, volume_record_oldest_mark(record, 7)->number);
    free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(every_changed_letter_is_noticed),
        cmocka_unit_test(a_record_that_says_the_impossible_is_refused),
        cmocka_unit_test(another_version_is_named),
        cmocka_unit_test(a_record_of_before_the_chain_had_a_time_is_read),
        cmocka_unit_test(the_group_of_a_snapshot_is_kept_and_an_older_record_has_none),
        cmocka_unit_test(pieces_are_given_from_what_is_free_and_joined),
        cmocka_unit_test(no_byte_of_the_area_has_two_owners),
        cmocka_unit_test(the_oldest_mark_goes_first_and_never_a_younger_one_for_an_older),
        cmocka_unit_test(marks_belong_to_a_consumer_a_version_and_a_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
