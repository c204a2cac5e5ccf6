// SPDX-License-Identifier: Apache-2.0
//
// engine/track/thin_delta.h: the outputs of the versions known, in pieces of every size; everything else is refused.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "engine/base/bytes.h"
#include "engine/track/thin_delta.h"
#include "tests/lib/t_env.h"

#define BLOCK 65536u

// As thin_delta 0.9.0 of Debian 12 writes it.
static const char of_0_9[] =
    "<superblock uuid=\"\" time=\"2\" transaction=\"0\" data_block_size=\"128\" nr_data_blocks=\"0\">\n"
    "  <diff left=\"1\" right=\"2\">\n"
    "    <same begin=\"0\" length=\"10\"/>\n"
    "    <right_only begin=\"10\" length=\"90\"/>\n"
    "    <different begin=\"100\" length=\"1\"/>\n"
    "    <left_only begin=\"200\" length=\"4\"/>\n"
    "  </diff>\n"
    "</superblock>\n";
// As 1.x does.
static const char of_1_x[] = "<superblock uuid=\"\" time=\"2\" transaction=\"0\" version=\"2\" data_block_size=\"128\" "
                             "nr_data_blocks=\"512\" metadata_snap=\"32\">\n"
                             "  <diff left=\"1\" right=\"2\">\n"
                             "    <same begin=\"0\" length=\"10\"/>\n"
                             "    <right_only begin=\"10\" length=\"90\"/>\n"
                             "    <different begin=\"100\" length=\"1\"/>\n"
                             "    <left_only begin=\"200\" length=\"4\"/>\n"
                             "  </diff>\n"
                             "</superblock>";

static const struct br_thin_delta_params usual = {.left_id = 1,
                                                  .right_id = 2,
                                                  .block_bytes = BLOCK,
                                                  .left_mapped_bytes = UINT64_C(15) * BLOCK,
                                                  .right_mapped_bytes = UINT64_C(101) * BLOCK,
                                                  .volume_bytes = UINT64_C(256) * BLOCK};

static int parse(const struct br_thin_delta_params *params, const char *text, size_t len, size_t piece,
                 struct br_extent_map *map, struct br_err *reterr)
{
    struct br_thin_delta *delta;
    int rc = 0;

    assert_int_equal(br_thin_delta_open(params, map, &delta, NULL), 0);
    for (size_t at = 0; at < len && rc == 0; at += piece) {
        rc = br_thin_delta_bytes(delta, text + at, BR_MIN(piece, len - at), reterr);
    }
    rc = rc < 0 ? rc : br_thin_delta_finish(delta, reterr);
    br_thin_delta_close(delta);
    return rc;
}

static void what_the_versions_known_write_is_understood(void **state)
{
    (void)state;
    static const char *const texts[] = {of_0_9, of_1_x};
    static const size_t pieces[] = {1, 7, 64, 100000};
    for (size_t i = 0; i < BR_ARRAY_LEN(texts); i++) {
        for (size_t p = 0; p < BR_ARRAY_LEN(pieces); p++) {
            struct br_extent_map map = {0};
            assert_int_equal(parse(&usual, texts[i], strlen(texts[i]), pieces[p], &map, NULL), 0);
            assert_int_equal(map.count, 2);
            assert_int_equal(map.extents[0].offset_bytes, UINT64_C(10) * BLOCK);
            assert_int_equal(map.extents[0].len_bytes, UINT64_C(91) * BLOCK);
            assert_int_equal(map.extents[1].offset_bytes, UINT64_C(200) * BLOCK);
            assert_int_equal(map.extents[1].len_bytes, UINT64_C(4) * BLOCK);
            br_extent_map_free(&map);
        }
    }
}

static void what_lies_behind_the_volume_is_counted_and_not_told(void **state)
{
    (void)state;
    struct br_thin_delta_params params = usual;
    struct br_extent_map map = {0};
    params.volume_bytes = UINT64_C(50) * BLOCK + 512;
    assert_int_equal(parse(&params, of_0_9, strlen(of_0_9), 1000, &map, NULL), 0);
    assert_int_equal(map.count, 1);
    assert_int_equal(map.extents[0].len_bytes, UINT64_C(40) * BLOCK + 512);
    br_extent_map_free(&map);
}

static void a_range_that_is_not_told_is_noticed_by_the_sum(void **state)
{
    (void)state;
    struct br_extent_map map = {0};
    struct br_err err;
    for (int i = 0; i < 4; i++) {
        struct br_thin_delta_params params = usual;
        *(i & 1 ? &params.left_mapped_bytes : &params.right_mapped_bytes) += i & 2 ? BLOCK : (uint64_t)-512;
        assert_int_equal(parse(&params, of_0_9, strlen(of_0_9), 1000, &map, &err), -BR_E_CORRUPT);
        assert_non_null(strstr(err.text, "tells of 15 and 101 blocks"));
    }
    br_extent_map_free(&map);
}

static void another_question_is_not_the_answer(void **state)
{
    (void)state;
    struct br_extent_map map = {0};
    struct br_err err;
    struct br_thin_delta_params params = usual;
    params.left_id = 2, params.right_id = 1;
    assert_int_equal(parse(&params, of_0_9, strlen(of_0_9), 1000, &map, &err), -BR_E_CORRUPT);
    assert_non_null(strstr(err.text, "of volumes 1 and 2, not 2 and 1"));
    params = usual;
    params.block_bytes = 131072;
    assert_int_equal(parse(&params, of_0_9, strlen(of_0_9), 1000, &map, &err), -BR_E_CORRUPT);
    params.block_bytes = 0;
    assert_int_equal(parse(&params, of_0_9, strlen(of_0_9), 1000, &map, &err), -BR_E_CORRUPT);
    assert_int_equal(map.count, 0);
}

static void every_cut_is_too_early(void **state)
{
    (void)state;
    const size_t whole = strlen(of_1_x);
    for (size_t len = 0; len < whole; len++) {
        struct br_extent_map map = {0};
        struct br_err err;
        assert_int_equal(parse(&usual, of_1_x, len, 50, &map, &err), -BR_E_TRUNCATED);
        assert_int_equal(err.offset_bytes, len);
        br_extent_map_free(&map);
    }
}

// @from of the text replaced by @to is refused with @why.
static void expect_refused(const char *from, const char *to, const char *why)
{
    struct br_extent_map map = {0};
    struct br_err err = {0};
    struct br_buf text = {0};
    const char *at = strstr(of_0_9, from);

    assert_non_null(at);
    br_buf_append(&text, of_0_9, (size_t)(at - of_0_9));
    br_buf_append(&text, to, strlen(to));
    br_buf_append(&text, at + strlen(from), strlen(at + strlen(from)));
    assert_int_equal(parse(&usual, (const char *)text.data, text.len, 3, &map, &err), -BR_E_CORRUPT);
    if (!strstr(err.text, why)) {
        fail_msg("%s: '%s' does not say '%s'", to, err.text, why);
    }
    br_extent_map_free(&map);
    br_buf_free(&text);
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    expect_refused("<superblock", "x<superblock", "text between tags");
    expect_refused("<superblock", "<?xml version=\"1.0\"?><superblock", "not a tag");
    expect_refused("<superblock ", "<metadata ", "no <superblock>");
    expect_refused(" data_block_size=\"128\"", "", "no <superblock>");
    expect_refused("data_block_size=\"128\"", "data_block_size=\"-128\"", "no <superblock>");
    expect_refused("data_block_size=\"128\"", "data_block_size=\"\"", "no <superblock>");
    expect_refused("data_block_size=\"128\"", "data_block_size=\"99999999999999999999\"", "no <superblock>");
    expect_refused("data_block_size=\"128\"", "data_block_size=\"128\" data_block_size=\"128\"", "not a tag");
    expect_refused("data_block_size=\"128\"", "data_block_size='128'", "not a tag");
    expect_refused("data_block_size=\"128\"", "data_block_size=128", "not a tag");
    expect_refused("data_block_size=\"128\"", "data_block_size=\"&#49;28\"", "not a tag");
    expect_refused(" left=\"1\"", " left_root=\"1\"", "no <diff>");
    expect_refused("<diff left=\"1\" right=\"2\">", "<diff left=\"1\" right=\"2\"/>", "no <diff>");
    expect_refused("<same begin=\"0\" length=\"10\"/>",
                   "<same><range begin=\"0\" data_begin=\"0\" length=\"10\"/></same>", "no range");
    expect_refused("<same begin=\"0\" length=\"10\"/>", "<unknown begin=\"0\" length=\"10\"/>", "no range");
    expect_refused("<same begin=\"0\"", "<same begin=\"0\" time=\"1\"", "no range");
    expect_refused("length=\"10\"/>", "length=\"10\">", "no range");
    expect_refused("length=\"10\"/>", "length=\"0\"/>", "do not ascend");
    expect_refused("begin=\"10\" length=\"90\"", "begin=\"9\" length=\"90\"", "do not ascend");
    expect_refused("begin=\"200\" length=\"4\"", "begin=\"18446744073709551615\" length=\"4\"", "do not ascend");
    expect_refused("begin=\"200\"", "begin=\"2 00\"", "no range");
    expect_refused("  </diff>", "  </superblock>", "an end tag");
    expect_refused("  </diff>", "  </diff></diff>", "an end tag");
    expect_refused("  </diff>", "  </diff x=\"1\">", "an end tag");
    expect_refused("</superblock>", "</superblock></superblock>", "an end tag");
    expect_refused("</superblock>", "</superblock>.", "text between tags");
    expect_refused("</superblock>", "<diff left=\"1\" right=\"2\"></superblock>", "behind the end");
    expect_refused("<same", "<>", "not a tag");
    expect_refused("<same", "< same", "not a tag");
    expect_refused("<same", "<same\x01", "not a tag");
    expect_refused(
        " right=\"2\"",
        "\tright=\"2\" a=\"\" b=\"\" c=\"\" d=\"\" e=\"\" f=\"\" g=\"\" h=\"\" i=\"\" j=\"\" k=\"\" l=\"\" m=\"\" n=\"\" o=\"\" p=\"\"",
        "not a tag");
    struct br_extent_map map = {0};
    char text[700];
    memset(text, 'a', sizeof(text));
    text[0] = '<';
    assert_int_equal(parse(&usual, text, sizeof(text), 100, &map, NULL), -BR_E_CORRUPT);
    assert_int_equal(parse(&usual, "<super\0block", 12, 100, &map, NULL), -BR_E_CORRUPT);
}

// Random kinds of random blocks, against a byte for each.
static void ranges_agree_with_a_model(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < t_scaled(200); round++) {
        struct t_rand r = t_rand_seeded(t_seed(), round);
        static const char *const names[] = {"same", "different", "left_only", "right_only"};
        const uint64_t blocks = 1 + t_rand_below(&r, 300);
        struct br_extent_map map = {0};
        struct br_buf text = {0};
        struct br_thin_delta_params params = {
            .left_id = 7, .right_id = 8, .block_bytes = BLOCK, .volume_bytes = blocks * BLOCK};
        uint8_t kinds[400] = {0}; // 0: mapped in neither
        br_buf_printf(&text, "<superblock data_block_size=\"128\"><diff left=\"7\" right=\"8\">");
        for (uint64_t at = t_rand_below(&r, 5); at < blocks; at += t_rand_below(&r, 3)) {
            const uint64_t kind = t_rand_below(&r, 4), len = 1 + t_rand_below(&r, 20);
            const uint64_t count = BR_MIN(len, blocks - at);
            br_buf_printf(&text, "<%s begin=\"%llu\" length=\"%llu\"/>", names[kind], (unsigned long long)at,
                          (unsigned long long)count);
            memset(kinds + at, (int)kind + 1, count);
            at += count;
            params.left_mapped_bytes += kind == 3 ? 0 : count * BLOCK;
            params.right_mapped_bytes += kind == 2 ? 0 : count * BLOCK;
        }
        br_buf_printf(&text, "</diff></superblock>");
        assert_int_equal(parse(&params, (const char *)text.data, text.len, 1 + t_rand_below(&r, 90), &map, NULL), 0);
        for (uint64_t b = 0; b < blocks; b++) {
            assert_int_equal(br_extent_map_contains(&map, b * BLOCK, BLOCK), kinds[b] > 1);
        }
        br_extent_map_free(&map);
        br_buf_free(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_versions_known_write_is_understood),
        cmocka_unit_test(what_lies_behind_the_volume_is_counted_and_not_told),
        cmocka_unit_test(a_range_that_is_not_told_is_noticed_by_the_sum),
        cmocka_unit_test(another_question_is_not_the_answer),
        cmocka_unit_test(every_cut_is_too_early),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(ranges_agree_with_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
