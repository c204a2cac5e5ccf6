// SPDX-License-Identifier: Apache-2.0
//
// The text of every golden file, kept beside it: yesterday's files still read, and say the same. T_DUMP_WRITE=1 writes the texts anew.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "engine/codec/dump.h"

static int add_line(void *ctx, const char *line)
{
    struct br_buf *text = ctx;

    for (const char *at = line; *at; at++) {
        assert_true((unsigned char)*at >= 0x20);
    }
    br_buf_append(text, line, strlen(line));
    br_buf_append(text, "\n", 1);
    return 0;
}

static int stop_at_once(void *ctx, const char *line)
{
    (void)line;
    ++*(int *)ctx;
    return -BR_E_CANCELLED;
}

static void load(const char *name, const char *suffix, struct br_buf *ret_bytes)
{
    char path[4096];
    const char *top = getenv("T_TOP");
    int c;

    br_buf_reset(ret_bytes);
    snprintf(path, sizeof(path), "%s/tests/format/golden/%s%s", top ? top : ".", name, suffix);
    FILE *f = fopen(path, "rb");
    if (!f) {
        fail_msg("no %s", path);
    }
    while ((c = fgetc(f)) != EOF) {
        br_buf_u8(ret_bytes, (uint8_t)c);
    }
    fclose(f);
}

static int dump(const struct br_buf *bytes, size_t piece, struct br_buf *ret_text)
{
    struct br_dump *d;
    int rc = 0;

    br_buf_reset(ret_text);
    assert_int_equal(br_dump_open(add_line, ret_text, true, &d, NULL), 0);
    for (size_t at = 0; at < bytes->len && rc == 0; at += piece) {
        rc = br_dump_bytes(d, bytes->data + at, BR_MIN(piece, bytes->len - at), NULL);
    }
    if (rc == 0) {
        rc = br_dump_finish(d, NULL);
    }
    br_dump_close(d);
    return rc;
}

static void a_golden_file_reads_as(const char *name)
{
    struct br_buf bytes = {0}, text = {0}, want = {0};
    static const size_t pieces[] = {1, 13, 4096, 1 << 20};

    load(name, "", &bytes);
    if (getenv("T_DUMP_WRITE")) {
        char path[256];
        snprintf(path, sizeof(path), "tests/format/golden/%s.dump", name);
        assert_int_equal(dump(&bytes, bytes.len, &text), 0);
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        fwrite(text.data, 1, text.len, f);
        fclose(f);
    }
    load(name, ".dump", &want);
    for (size_t i = 0; i < BR_ARRAY_LEN(pieces); i++) {
        assert_int_equal(dump(&bytes, pieces[i], &text), 0);
        assert_int_equal(text.len, want.len);
        assert_memory_equal(text.data, want.data, want.len);
    }
    br_buf_free(&bytes);
    br_buf_free(&text);
    br_buf_free(&want);
}

static void a_full_stream_of_version_1_reads_as_ever(void **state)
{
    (void)state;
    a_golden_file_reads_as("full.stream");
}

static void a_compressed_delta_of_version_1_reads_as_ever(void **state)
{
    (void)state;
    a_golden_file_reads_as("delta.stream");
}

static void a_growing_delta_of_version_1_reads_as_ever(void **state)
{
    (void)state;
    a_golden_file_reads_as("delta-grown.stream");
}

static void a_stage_that_goes_on_of_version_1_reads_as_ever(void **state)
{
    (void)state;
    a_golden_file_reads_as("staged.stage");
}

static void an_identity_of_version_1_reads_as_ever(void **state)
{
    (void)state;
    a_golden_file_reads_as("applying.identity");
}

static void a_tree_file_of_version_1_reads_as_ever(void **state)
{
    (void)state;
    a_golden_file_reads_as("level1.tree");
}

static void a_damaged_tree_file_says_where_its_nodes_end(void **state)
{
    (void)state;
    struct br_buf bytes = {0}, text = {0};
    load("level1.tree", "", &bytes);
    size_t whole = bytes.len;
    bytes.data[516] ^= 1; // the record's check: all from there on is behind the last whole record
    assert_int_equal(dump(&bytes, 700, &text), 0);
    br_buf_u8(&text, 0);
    char want[64];
    snprintf(want, sizeof(want), "\n0 nodes; %zu bytes behind the last whole one\n", whole - 512);
    assert_non_null(strstr((char *)text.data, want));
    bytes.data[516] ^= 1;
    bytes.data[600] ^= 1; // the node itself
    assert_int_equal(dump(&bytes, 700, &text), -BR_E_CORRUPT);
    bytes.data[600] ^= 1;
    bytes.data[40] ^= 1; // the header
    assert_int_equal(dump(&bytes, 700, &text), -BR_E_CORRUPT);
    bytes.len = 511;
    assert_int_equal(dump(&bytes, 700, &text), -BR_E_TRUNCATED);
    br_buf_free(&bytes);
    br_buf_free(&text);
}

static void what_is_no_format_of_blkrep_is_refused(void **state)
{
    (void)state;
    struct br_buf bytes = {0}, text = {0};
    br_buf_append(&bytes, "some text that is longer than a magic", 37);
    assert_int_equal(dump(&bytes, 5, &text), -BR_E_CORRUPT);
    br_buf_reset(&bytes);
    assert_int_equal(dump(&bytes, 1, &text), -BR_E_CORRUPT);
    br_buf_free(&bytes);
    br_buf_free(&text);
}

static void a_cut_file_says_so_after_what_it_holds(void **state)
{
    (void)state;
    struct br_buf bytes = {0}, text = {0};
    load("full.stream", "", &bytes);
    bytes.len -= 1;
    assert_int_equal(dump(&bytes, 100, &text), -BR_E_TRUNCATED);
    assert_true(text.len > 500);
    load("applying.identity", "", &bytes);
    bytes.len -= 1;
    assert_int_equal(dump(&bytes, 100, &text), -BR_E_TRUNCATED);
    br_buf_append(&bytes, NULL, 2);
    assert_int_equal(dump(&bytes, 100, &text), -BR_E_CORRUPT);
    assert_int_equal(dump(&bytes, 10000, &text), -BR_E_CORRUPT);
    br_buf_free(&bytes);
    br_buf_free(&text);
}

static void one_damaged_slot_is_shown_and_two_are_an_error(void **state)
{
    (void)state;
    struct br_buf bytes = {0}, text = {0};
    load("applying.identity", "", &bytes);
    bytes.data[4096 + 100] ^= 1;
    assert_int_equal(dump(&bytes, 10000, &text), 0);
    br_buf_u8(&text, 0);
    assert_non_null(strstr((char *)text.data, "slot 1: identity slot: damaged"));
    assert_non_null(strstr((char *)text.data, "slot 0: sequence 4, complete, this one counts"));
    bytes.data[100] ^= 1;
    assert_int_equal(dump(&bytes, 10000, &text), -BR_E_CORRUPT);
    br_buf_free(&bytes);
    br_buf_free(&text);
}

static void a_reader_that_has_enough_is_left_alone(void **state)
{
    (void)state;
    struct br_buf bytes = {0};
    struct br_dump *d;
    int lines = 0;
    load("full.stream", "", &bytes);
    assert_int_equal(br_dump_open(stop_at_once, &lines, true, &d, NULL), 0);
    assert_int_equal(br_dump_bytes(d, bytes.data, bytes.len, NULL), -BR_E_CANCELLED);
    assert_int_equal(br_dump_finish(d, NULL), -BR_E_CANCELLED);
    assert_int_equal(lines, 1);
    br_dump_close(d);
    br_buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_stream_of_version_1_reads_as_ever),
        cmocka_unit_test(a_compressed_delta_of_version_1_reads_as_ever),
        cmocka_unit_test(a_growing_delta_of_version_1_reads_as_ever),
        cmocka_unit_test(a_stage_that_goes_on_of_version_1_reads_as_ever),
        cmocka_unit_test(an_identity_of_version_1_reads_as_ever),
        cmocka_unit_test(a_tree_file_of_version_1_reads_as_ever),
        cmocka_unit_test(a_damaged_tree_file_says_where_its_nodes_end),
        cmocka_unit_test(what_is_no_format_of_blkrep_is_refused),
        cmocka_unit_test(a_cut_file_says_so_after_what_it_holds),
        cmocka_unit_test(one_damaged_slot_is_shown_and_two_are_an_error),
        cmocka_unit_test(a_reader_that_has_enough_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
