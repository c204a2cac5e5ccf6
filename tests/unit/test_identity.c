// SPDX-License-Identifier: Apache-2.0
//
// Identity slots: what is written is read, a torn or flipped slot never counts, a newer program's slot is named as such.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <xxhash.h>

#include "engine/codec/identity.h"
#include "tests/lib/t_env.h"

static struct br_identity sample(void)
{
    struct br_identity id = {.sequence = 9, .state = BR_STATE_APPLYING, .sector_bytes = 4096, .consistency = 2};

    memset(id.volume.bytes, 1, 16);
    memset(id.replica.bytes, 2, 16);
    id.generation = (struct br_generation){3, {{3}}, {{4}}};
    id.previous = (struct br_generation){2, {{4}}, {{5}}};
    memset(id.root.bytes, 6, 32);
    assert_true(br_tree_geometry_of(70000, &id.tree.geometry));
    memset(id.tree.top.hash.bytes, 7, 32);
    id.tree.top.ref = 8;
    assert_true(br_tree_geometry_of(60000, &id.previous_tree.geometry));
    id.previous_tree.top.ref = 9;
    id.tree_file = 10;
    id.tree_bytes = 11;
    id.stage_bytes = 12;
    memset(id.stage_id.bytes, 13, 16);
    id.window_start_bytes = 14;
    id.window_end_bytes = 15;
    id.evidence = (struct br_evidence){true, 16, 17, 18, 19, 20};
    id.taken_unix_ns = 21;
    id.finished_unix_ns = 22;
    id.full_proof_unix_ns = 23;
    id.recheck_next_block = 2;
    id.recheck_round_unix_ns = 25;
    id.unreadable_blocks = 26;
    strcpy(id.label, "/dev/sda \xff\n");
    return id;
}

// Puts the right sum under a slot that was changed on purpose.
static void reseal(uint8_t slot[BR_IDENTITY_SLOT_BYTES])
{
    XXH128_canonical_t sum;

    XXH128_canonicalFromHash(&sum, XXH3_128bits(slot, BR_IDENTITY_SLOT_BYTES - 16));
    memcpy(slot + BR_IDENTITY_SLOT_BYTES - 16, sum.digest, 16);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    struct br_identity id = sample(), got;
    uint8_t slot[BR_IDENTITY_SLOT_BYTES], again[BR_IDENTITY_SLOT_BYTES];
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), 0);
    br_identity_encode(&got, again);
    assert_memory_equal(slot, again, sizeof(slot));
    assert_int_equal(got.sequence, 9);
    assert_int_equal(got.state, BR_STATE_APPLYING);
    assert_int_equal(got.tree.geometry.size_bytes, 70000);
    assert_int_equal(got.tree.geometry.block_count, 2);
    assert_int_equal(got.previous_tree.top.ref, 9);
    assert_int_equal(got.evidence.ctime_ns, 20);
    assert_int_equal(got.unreadable_blocks, 26);
    assert_string_equal(got.label, id.label);
    assert_true(br_uuid_equal(&got.stage_id, &id.stage_id));
}

static void the_longest_label_fits_and_an_unended_one_is_cut(void **state)
{
    (void)state;
    struct br_identity id = sample(), got;
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    memset(id.label, 'x', sizeof(id.label));
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), 0);
    assert_int_equal(strlen(got.label), sizeof(id.label) - 1);
}

static void a_slot_never_written_is_not_found(void **state)
{
    (void)state;
    static const uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    struct br_identity got;
    assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_NOT_FOUND);
}

static void any_flipped_bit_is_noticed(void **state)
{
    (void)state;
    struct br_identity id = sample(), got;
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    br_identity_encode(&id, slot);
    for (size_t bit = 0; bit < 8 * sizeof(slot); bit++) {
        slot[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_CORRUPT);
        slot[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_slot_torn_at_any_sector_is_noticed(void **state)
{
    (void)state;
    struct br_identity id = sample(), got;
    uint8_t old_slot[BR_IDENTITY_SLOT_BYTES], slot[BR_IDENTITY_SLOT_BYTES];
    br_identity_encode(&id, old_slot);
    id.sequence = 11;
    for (size_t torn = 512; torn < sizeof(slot); torn += 512) {
        br_identity_encode(&id, slot);
        memcpy(slot + torn, old_slot + torn, sizeof(slot) - torn);
        assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_CORRUPT);
    }
}

// Each entry: where a well-sealed slot is changed, and what the reader says.
static void each_single_defect_is_refused(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t byte;
        int error;
    } defects[] = {
        {0, 'B', BR_E_CORRUPT},    // magic
        {8, 2, BR_E_VERSION},      // version
        {12, 0, BR_E_CORRUPT},     // length
        {13, 0xff, BR_E_CORRUPT},  // length behind the slot
        {24, 5, BR_E_CORRUPT},     // state
        {25, 3, BR_E_CORRUPT},     // consistency
        {26, 2, BR_E_VERSION},     // hash
        {27, 2, BR_E_CORRUPT},     // evidence flag
        {28, 1, BR_E_CORRUPT},     // sector size
        {183, 0x80, BR_E_CORRUPT}, // size of the tree: behind any volume
        {4000, 1, BR_E_CORRUPT},   // not zero behind the payload
    };
    struct br_identity id = sample(), got;
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    for (size_t i = 0; i < BR_ARRAY_LEN(defects); i++) {
        br_identity_encode(&id, slot);
        assert_int_not_equal(slot[defects[i].at], defects[i].byte);
        slot[defects[i].at] = defects[i].byte;
        reseal(slot);
        assert_int_equal(br_identity_decode(slot, &got, NULL), -defects[i].error);
    }
}

static void impossible_values_are_refused(void **state)
{
    (void)state;
    struct br_identity good = sample(), id, got;
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    id = good, id.volume = (struct br_uuid){0};
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_CORRUPT);
    id = good, id.window_start_bytes = 16;
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_CORRUPT);
    id = good, id.tree_bytes = UINT64_MAX;
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_CORRUPT);
    id = good, id.recheck_next_block = UINT64_MAX;
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), -BR_E_CORRUPT);
}

static void an_empty_identity_needs_no_ids(void **state)
{
    (void)state;
    struct br_identity id = {.sequence = 1}, got;
    uint8_t slot[BR_IDENTITY_SLOT_BYTES];
    br_identity_encode(&id, slot);
    assert_int_equal(br_identity_decode(slot, &got, NULL), 0);
    assert_int_equal(got.state, BR_STATE_NONE);
}

static void names_are_words_for_any_value(void **state)
{
    (void)state;
    assert_string_equal(br_replica_state_name(BR_STATE_INCOMPLETE), "incomplete");
    assert_string_equal(br_replica_state_name((enum br_replica_state)99), "unknown");
    assert_string_equal(br_consistency_name(BR_CONSISTENCY_CLEAN), "clean");
    assert_string_equal(br_consistency_name(200), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(the_longest_label_fits_and_an_unended_one_is_cut),
        cmocka_unit_test(a_slot_never_written_is_not_found),
        cmocka_unit_test(any_flipped_bit_is_noticed),
        cmocka_unit_test(a_slot_torn_at_any_sector_is_noticed),
        cmocka_unit_test(each_single_defect_is_refused),
        cmocka_unit_test(impossible_values_are_refused),
        cmocka_unit_test(an_empty_identity_needs_no_ids),
        cmocka_unit_test(names_are_words_for_any_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
