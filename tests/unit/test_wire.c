// SPDX-License-Identifier: Apache-2.0
//
// Session messages: what is said is heard; what is short, long or out of range is not a message.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/sync/wire.h"

static const uint8_t stream_bytes[BR_STREAM_HEAD_BYTES + 3] = {1, 2, 3};
static const uint8_t node_bytes[5] = {9, 8, 7, 6, 5};
static const struct br_held_block held_blocks[2] = {{7, {{1}}}, {8, {{2}}}};

// One message of each type, every field set.
static struct br_wire_message sample(unsigned type)
{
    struct br_wire_message m = {.type = (enum br_wire_type)type, .request = 0x01020304};

    switch (m.type) {
    case BR_WIRE_HELLO: m.hello = (struct br_wire_hello){1, 1, 1, {{5}}, 2, 4096, "blkrep 1.0"}; break;
    case BR_WIRE_WELCOME:
        m.welcome = (struct br_wire_welcome){1, 1, {{6}}, 1, BR_MESSAGE_BYTES_MAX, BR_WIRE_CREDIT_BYTES, "blkrep 1.1"};
        break;
    case BR_WIRE_OPEN:
        m.open.role = 3;
        m.open.discard_damaged = true;
        strcpy(m.open.volume, "db");
        break;
    case BR_WIRE_OPENED: m.opened.may_write = true; break;
    case BR_WIRE_INFO:
        m.info = (struct br_endpoint_info){.capacity_bytes = 77, .is_block = true, .zero = true, .origin = {{4}}};
        strcpy(m.info.holds, "ext4");
        break;
    case BR_WIRE_GET_NODES:
        m.get_nodes.count = 2;
        m.get_nodes.refs[0] = 512;
        m.get_nodes.refs[1] = UINT64_MAX;
        break;
    case BR_WIRE_NODES:
        m.nodes.count = 2;
        m.nodes.nodes[0] = m.nodes.nodes[1] = node_bytes;
        m.nodes.lens[0] = 5;
        m.nodes.lens[1] = 1;
        break;
    case BR_WIRE_BEGIN:
        m.begin.begin = (struct br_replica_begin){
            .mode = BR_MODE_REPLACE, .target_is_zero = true, .absent_keeps_facts = true, .expected_bytes = 3};
        m.begin.overwrite = true;
        break;
    case BR_WIRE_CREDIT:
        m.credit.taken_cost = 10;
        m.credit.durable_bytes = 11;
        break;
    case BR_WIRE_COMMIT:
    case BR_WIRE_RECHECK: m.recheck_bytes = 99; break;
    case BR_WIRE_RESULT:
        m.result.result = (struct br_replica_result){1, 2, 3, 4};
        br_err_at(&m.result.outcome, BR_E_VERIFY, 4096, "a block differs");
        break;
    case BR_WIRE_PROGRESS:
        m.progress.done_bytes = 1;
        m.progress.total_bytes = 2;
        break;
    case BR_WIRE_VERIFIED: m.verified.bad_blocks = 6; break;
    case BR_WIRE_ERROR: br_err_set(&m.error, BR_E_NO_SPACE, "full"); break;
    case BR_WIRE_GET_HELD:
        m.get_held.first = 5;
        m.get_held.most = 3;
        break;
    case BR_WIRE_HELD:
        m.held.count = BR_ARRAY_LEN(held_blocks);
        m.held.blocks = held_blocks;
        break;
    case BR_WIRE_KEEP: m.keep = (struct br_keep){.count = 2, .blocks = {{7, {{1}}}, {8, {{2}}}}}; break;
    default: break;
    }
    if (m.type == BR_WIRE_BEGIN || m.type == BR_WIRE_FRAME || m.type == BR_WIRE_COMMIT) {
        m.stream = stream_bytes;
        m.stream_len = sizeof(stream_bytes);
    }
    return m;
}

static void encode(const struct br_wire_message *m, struct br_buf *to)
{
    br_buf_reset(to);
    br_wire_encode(m, to);
    if (m->type == BR_WIRE_FRAME) {
        br_buf_append(to, m->stream, m->stream_len);
    }
    assert_false(br_buf_failed(to));
}

static void what_is_said_is_heard(void **state)
{
    (void)state;
    struct br_buf bytes = {0}, again = {0};
    for (unsigned type = BR_WIRE_HELLO; type <= BR_WIRE_LAST; type++) {
        struct br_wire_message m = sample(type), got;
        encode(&m, &bytes);
        assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), 0);
        assert_int_equal(got.type, type);
        assert_int_equal(got.request, 0x01020304);
        assert_string_not_equal(br_wire_name(type), "?");
        encode(&got, &again);
        assert_int_equal(again.len, bytes.len);
        assert_memory_equal(again.data, bytes.data, bytes.len);
    }
    br_buf_free(&bytes);
    br_buf_free(&again);
}

static void the_transcript_of_the_header_is_what_is_said(void **state)
{
    (void)state;
    static const uint8_t shown[] = {3, 0, 0, 0, 1, 0, 0, 0, 2, 0, 2, 0, 0x64, 0x62};
    struct br_wire_message m = {.type = BR_WIRE_OPEN, .request = 1, .open = {.role = 2, .volume = "db"}};
    struct br_buf bytes = {0};
    encode(&m, &bytes);
    assert_int_equal(bytes.len, sizeof(shown));
    assert_memory_equal(bytes.data, shown, sizeof(shown));
    br_buf_free(&bytes);
}

// A message that ends early never passes; one with a byte more does only where stream bytes run to the end.
static void a_message_cut_anywhere_is_refused(void **state)
{
    (void)state;
    struct br_buf bytes = {0};
    for (unsigned type = BR_WIRE_HELLO; type <= BR_WIRE_LAST; type++) {
        struct br_wire_message m = sample(type), got;
        encode(&m, &bytes);
        bool open_end = m.stream_len != 0;
        for (size_t len = 0; len < bytes.len - (open_end ? 3 : 0); len++) {
            uint8_t *cut = malloc(len + 1); // its own memory, for the sanitizer
            assert_non_null(cut);
            memcpy(cut, bytes.data, len);
            assert_true(br_wire_decode(cut, len, &got, NULL) < 0);
            free(cut);
        }
        br_buf_u8(&bytes, 0);
        assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), open_end ? 0 : -BR_E_PROTOCOL);
    }
    br_buf_free(&bytes);
}

static int decode_changed(unsigned type, size_t at, uint8_t byte)
{
    struct br_buf bytes = {0};
    struct br_wire_message m = sample(type), got;
    struct br_err err = {0};

    encode(&m, &bytes);
    assert_true(at < bytes.len && bytes.data[at] != byte);
    bytes.data[at] = byte;
    int rc = br_wire_decode(bytes.data, bytes.len, &got, &err);
    assert_int_equal(rc < 0 ? err.code : 0, -rc);
    br_buf_free(&bytes);
    return -rc;
}

static void each_single_defect_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        unsigned type;
        size_t at;
        uint8_t byte;
        int error;
    } defects[] = {
        {"type 0", BR_WIRE_PING, 0, 0, BR_E_PROTOCOL},
        {"unknown type", BR_WIRE_PING, 0, BR_WIRE_LAST + 1, BR_E_PROTOCOL},
        {"unknown type that may be passed over", BR_WIRE_PING, 0, 200, 0},
        {"byte that must be zero", BR_WIRE_PING, 1, 1, BR_E_PROTOCOL},
        {"lane that nobody opened", BR_WIRE_PING, 2, 1, BR_E_PROTOCOL},
        {"hello without magic", BR_WIRE_HELLO, 8, 'B', BR_E_VERSION},
        {"hello of no version", BR_WIRE_HELLO, 16, 2, BR_E_PROTOCOL},
        {"welcome of another version", BR_WIRE_WELCOME, 8, 2, BR_E_PROTOCOL},
        {"welcome with capabilities not asked for", BR_WIRE_WELCOME, 11, 1, BR_E_PROTOCOL},
        {"welcome with little credit", BR_WIRE_WELCOME, 38, 0, BR_E_PROTOCOL},
        {"welcome with endless credit", BR_WIRE_WELCOME, 40, 1, BR_E_PROTOCOL},
        {"open with unknown flags", BR_WIRE_OPEN, 9, 4, BR_E_PROTOCOL},
        {"a zero byte in a name", BR_WIRE_OPEN, 12, 0, BR_E_PROTOCOL},
        {"a name longer than its message", BR_WIRE_OPEN, 10, 3, BR_E_PROTOCOL},
        {"opened with unknown flags", BR_WIRE_OPENED, 8, 4, BR_E_PROTOCOL},
        {"info with unknown flags", BR_WIRE_INFO, 16, 8, BR_E_PROTOCOL},
        {"info with a damaged identity", BR_WIRE_INFO, 300, 1, BR_E_CORRUPT},
        {"no nodes asked for", BR_WIRE_GET_NODES, 8, 0, BR_E_PROTOCOL},
        {"too many nodes asked for", BR_WIRE_GET_NODES, 8, 65, BR_E_PROTOCOL},
        {"no nodes", BR_WIRE_NODES, 8, 0, BR_E_PROTOCOL},
        {"a node longer than any", BR_WIRE_NODES, 12, 2, BR_E_PROTOCOL},
        {"no held blocks asked for", BR_WIRE_GET_HELD, 16, 0, BR_E_PROTOCOL},
        {"too many held blocks asked for", BR_WIRE_GET_HELD, 18, 1, BR_E_PROTOCOL},
        {"too many held blocks", BR_WIRE_HELD, 10, 1, BR_E_PROTOCOL},
        {"fewer held blocks than it says", BR_WIRE_HELD, 8, 3, BR_E_PROTOCOL},
        {"held blocks that do not ascend", BR_WIRE_HELD, 12, 8, BR_E_PROTOCOL},
        {"nothing to keep", BR_WIRE_KEEP, 8, 0, BR_E_PROTOCOL},
        {"too much to keep at once", BR_WIRE_KEEP, 8, 17, BR_E_PROTOCOL},
        {"unknown mode", BR_WIRE_BEGIN, 8, 3, BR_E_PROTOCOL},
        {"unknown flags of begin", BR_WIRE_BEGIN, 9, 0x1b, BR_E_PROTOCOL},
        {"an outcome's flag", BR_WIRE_ERROR, 18, 2, BR_E_PROTOCOL},
    };
    for (size_t i = 0; i < BR_ARRAY_LEN(defects); i++) {
        int error = decode_changed(defects[i].type, defects[i].at, defects[i].byte);
        if (error != defects[i].error) {
            fail_msg("%s: %s instead of %s", defects[i].what, br_err_name(error), br_err_name(defects[i].error));
        }
    }
}

static void a_ref_of_zero_is_refused(void **state)
{
    (void)state;
    struct br_wire_message m = sample(BR_WIRE_GET_NODES), got;
    struct br_buf bytes = {0};
    m.get_nodes.refs[1] = 0;
    encode(&m, &bytes);
    assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), -BR_E_PROTOCOL);
    br_buf_free(&bytes);
}

static void a_frame_longer_than_any_is_refused(void **state)
{
    (void)state;
    struct br_wire_message m = {.type = BR_WIRE_FRAME}, got;
    struct br_buf bytes = {0};
    br_wire_encode(&m, &bytes);
    br_buf_append(&bytes, NULL, BR_STREAM_FRAME_BYTES_MAX + 1);
    assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), -BR_E_PROTOCOL);
    bytes.len--;
    assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), 0);
    br_buf_free(&bytes);
}

static void what_a_peer_says_is_one_printable_line_and_a_known_code(void **state)
{
    (void)state;
    struct br_wire_message m = {.type = BR_WIRE_ERROR}, got;
    struct br_buf bytes = {0};
    br_err_at(&m.error, BR_E_BUSY, 12, "two\nlines \x1b[31m and more");
    encode(&m, &bytes);
    assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), 0);
    assert_string_equal(got.error.text, "two?lines ?[31m and more");
    assert_int_equal(got.error.code, BR_E_BUSY);
    assert_true(got.error.has_offset);
    assert_int_equal(got.error.offset_bytes, 12);
    memcpy(bytes.data + BR_WIRE_HEAD_BYTES + 2, "MOON", 4); // a code of the future
    assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), 0);
    assert_int_equal(got.error.code, BR_E_PEER);
    br_buf_free(&bytes);
}

static void facts_of_the_servers_own_stay_there(void **state)
{
    (void)state;
    struct br_wire_message m = sample(BR_WIRE_INFO), got;
    struct br_buf bytes = {0};
    m.info.identity.evidence = (struct br_evidence){true, 1, 2, 3, 4, 5};
    m.info.identity.stage_bytes = 5;
    encode(&m, &bytes);
    assert_int_equal(br_wire_decode(bytes.data, bytes.len, &got, NULL), 0);
    assert_false(got.info.identity.evidence.valid);
    assert_int_equal(got.info.identity.evidence.inode, 0);
    assert_int_equal(got.info.identity.stage_bytes, 0);
    br_buf_free(&bytes);
}

static void a_frame_costs_what_it_takes_in_memory(void **state)
{
    (void)state;
    uint8_t head[BR_STREAM_HEAD_BYTES] = {0};
    br_put_u16(head + BR_STREAM_AT_TABLE_BYTES, 44);
    br_put_u32(head + BR_STREAM_AT_BODY_BYTES, 100);
    br_put_u32(head + BR_STREAM_AT_RAW_BYTES, 65536);
    assert_int_equal(br_wire_frame_cost(head), 32 + 44 + 65536);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_is_heard),
        cmocka_unit_test(the_transcript_of_the_header_is_what_is_said),
        cmocka_unit_test(a_message_cut_anywhere_is_refused),
        cmocka_unit_test(each_single_defect_is_refused),
        cmocka_unit_test(a_ref_of_zero_is_refused),
        cmocka_unit_test(a_frame_longer_than_any_is_refused),
        cmocka_unit_test(what_a_peer_says_is_one_printable_line_and_a_known_code),
        cmocka_unit_test(facts_of_the_servers_own_stay_there),
        cmocka_unit_test(a_frame_costs_what_it_takes_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
