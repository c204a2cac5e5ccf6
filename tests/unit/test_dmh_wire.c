// SPDX-License-Identifier: Apache-2.0
//
// Messages between blkrep and its helper: what is said is heard, and what is short, long or out of range is refused; descriptors travel whole
// or not at all.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dm-helper/process.h"
#include "dm-helper/wire.h"

#define OPS_MAX 128

// A struct with every member at a value that its decoder takes: numbers and texts that differ from zero.
union sample {
    struct dmh_nbd_connect nbd_connect;
    struct dmh_nbd_reconnect nbd_reconnect;
    struct dmh_nbd_disconnect nbd_disconnect;
    struct dmh_ublk_add ublk_add;
    struct dmh_ublk_serve ublk_serve;
    struct dmh_ublk_recover ublk_recover;
    struct dmh_ublk_end ublk_end;
    struct dmh_ref ref;
    struct dmh_list list;
};

static union sample sample(uint16_t op)
{
    union sample s = {.ref = {.volume = ""}};
    const struct dmh_ref device = {.volume = "db", .where = "nbd:front"};

    switch (op) {
    case DMH_OP_NBD_CONNECT:
        s.nbd_connect = (struct dmh_nbd_connect){.device = device,
                                                 .size_bytes = UINT64_C(1) << 40,
                                                 .block_bytes = 4096,
                                                 .timeout_s = 30,
                                                 .dead_s = 60,
                                                 .read_only = true,
                                                 .flush = true,
                                                 .fua = true,
                                                 .trim = true,
                                                 .multi_conn = true};
        break;
    case DMH_OP_NBD_RECONNECT: s.nbd_reconnect = (struct dmh_nbd_reconnect){.device = device, .retry_ms = 7}; break;
    case DMH_OP_NBD_DISCONNECT: s.nbd_disconnect = (struct dmh_nbd_disconnect){.device = device, .force = true}; break;
    case DMH_OP_UBLK_ADD:
        s.ublk_add = (struct dmh_ublk_add){.device = device,
                                           .size_bytes = UINT64_C(1) << 40,
                                           .block_bytes = 512,
                                           .physical_bytes = 4096,
                                           .queue_count = 4,
                                           .queue_depth = 128,
                                           .io_bytes_max = 1 << 20,
                                           .read_only = true,
                                           .flush = true,
                                           .fua = true,
                                           .trim = true,
                                           .zeroes = true,
                                           .recovery = true,
                                           .reissue = true,
                                           .user_copy = true};
        break;
    case DMH_OP_UBLK_START:
    case DMH_OP_UBLK_RECOVERED:
        s.ublk_serve = (struct dmh_ublk_serve){.device = device, .pid = 4711, .deadline_ms = 9};
        break;
    case DMH_OP_UBLK_RECOVER: s.ublk_recover = (struct dmh_ublk_recover){.device = device, .retry_ms = 7}; break;
    case DMH_OP_UBLK_STOP:
    case DMH_OP_UBLK_DELETE:
        s.ublk_end = (struct dmh_ublk_end){.device = device, .deadline_ms = 5, .force = true};
        break;
    case DMH_OP_UBLK_STATUS:
    case DMH_OP_NBD_STATUS: s.ref = device; break;
    case DMH_OP_UBLK_LIST:
    case DMH_OP_NBD_LIST: s.list = (struct dmh_list){.volume = "db", .skip = 3}; break;
    default: break;
    }
    return s;
}

static const uint16_t control_ops[] = {
    DMH_OP_NBD_CONNECT,    DMH_OP_NBD_RECONNECT, DMH_OP_NBD_DISCONNECT, DMH_OP_NBD_STATUS,  DMH_OP_NBD_LIST,
    DMH_OP_UBLK_ADD,       DMH_OP_UBLK_START,    DMH_OP_UBLK_STOP,      DMH_OP_UBLK_DELETE, DMH_OP_UBLK_RECOVER,
    DMH_OP_UBLK_RECOVERED, DMH_OP_UBLK_STATUS,   DMH_OP_UBLK_LIST};

static void encode(uint16_t op, const void *body, struct br_buf *out)
{
    struct dmh_header header = {.op = op, .sequence = 9};

    br_buf_reset(out);
    assert_int_equal(dmh_encode(&header, dmh_request_layout(op), body, out, NULL), 0);
}

static void requests_arrive_as_they_were_sent(void **state)
{
    (void)state;
    struct br_buf bytes = {0}, again = {0};
    for (size_t i = 0; i < BR_ARRAY_LEN(control_ops); i++) {
        const uint16_t op = control_ops[i];
        union sample sent = sample(op), got;
        struct dmh_header header;

        encode(op, &sent, &bytes);
        assert_int_equal(dmh_decode_header(bytes.data, bytes.len, &header, NULL), 0);
        assert_int_equal(header.op, op);
        memset(&got, 0, sizeof(got));
        assert_int_equal(
            dmh_decode_body(dmh_request_layout(op), bytes.data + DMH_HEADER_BYTES, header.payload_bytes, &got, NULL),
            0);
        encode(op, &got, &again);
        assert_int_equal(again.len, bytes.len);
        assert_memory_equal(again.data, bytes.data, bytes.len);
    }
    br_buf_free(&bytes);
    br_buf_free(&again);
}

static void a_request_cut_anywhere_or_with_a_byte_more_is_refused(void **state)
{
    (void)state;
    struct br_buf bytes = {0};
    for (size_t i = 0; i < BR_ARRAY_LEN(control_ops); i++) {
        union sample sent = sample(control_ops[i]), got;
        const struct dmh_layout *layout = dmh_request_layout(control_ops[i]);

        encode(control_ops[i], &sent, &bytes);
        size_t whole = bytes.len - DMH_HEADER_BYTES;
        for (size_t len = 0; len < whole; len++) {
            uint8_t *cut = malloc(len + 1); // its own memory, for the sanitizer
            assert_non_null(cut);
            memcpy(cut, bytes.data + DMH_HEADER_BYTES, len);
            assert_int_equal(dmh_decode_body(layout, cut, len, &got, NULL), -BR_E_PROTOCOL);
            free(cut);
        }
        br_buf_u8(&bytes, 0);
        assert_int_equal(dmh_decode_body(layout, bytes.data + DMH_HEADER_BYTES, whole + 1, &got, NULL), -BR_E_PROTOCOL);
    }
    br_buf_free(&bytes);
}

static void a_switch_that_is_neither_on_nor_off_is_refused(void **state)
{
    (void)state;
    union sample sent = sample(DMH_OP_NBD_CONNECT), got;
    struct br_buf bytes = {0};

    encode(DMH_OP_NBD_CONNECT, &sent, &bytes);
    bytes.data[bytes.len - 1] = 2;
    assert_int_equal(dmh_decode_body(dmh_request_layout(DMH_OP_NBD_CONNECT), bytes.data + DMH_HEADER_BYTES,
                                     bytes.len - DMH_HEADER_BYTES, &got, NULL),
                     -BR_E_PROTOCOL);
    br_buf_free(&bytes);
}

static void a_list_longer_than_its_bound_is_refused_on_both_sides(void **state)
{
    (void)state;
    struct dmh_nbd_listed *listed = calloc(1, sizeof(*listed));
    struct dmh_header header = {.op = DMH_OP_NBD_LIST, .flags = DMH_FLAG_REPLY};
    const struct dmh_layout *layout = dmh_reply_layout(DMH_OP_NBD_LIST);
    struct br_buf bytes = {0};

    assert_non_null(listed);
    listed->total_count = listed->device_count = DMH_LIST_MAX;
    for (uint32_t i = 0; i < DMH_LIST_MAX; i++) {
        listed->devices[i].index = i;
        listed->devices[i].size_bytes = i + 1;
    }
    assert_int_equal(dmh_encode(&header, layout, listed, &bytes, NULL), 0);
    assert_int_equal(dmh_decode_body(layout, bytes.data + DMH_HEADER_BYTES, bytes.len - DMH_HEADER_BYTES, listed, NULL),
                     0);
    assert_int_equal(listed->devices[DMH_LIST_MAX - 1].size_bytes, DMH_LIST_MAX);
    br_put_u32(bytes.data + DMH_HEADER_BYTES + 4, DMH_LIST_MAX + 1);
    assert_int_equal(dmh_decode_body(layout, bytes.data + DMH_HEADER_BYTES, bytes.len - DMH_HEADER_BYTES, listed, NULL),
                     -BR_E_PROTOCOL);
    br_buf_reset(&bytes);
    listed->device_count = DMH_LIST_MAX + 1;
    assert_int_equal(dmh_encode(&header, layout, listed, &bytes, NULL), -BR_E_USAGE);
    br_buf_free(&bytes);
    free(listed);
}

// What may bring descriptors is a short list: whatever is not in it ends the connection.
static void only_requests_that_say_so_take_descriptors(void **state)
{
    (void)state;
    for (uint16_t op = 0; op < OPS_MAX; op++) {
        bool takes = op == DMH_OP_NBD_CONNECT || op == DMH_OP_NBD_RECONNECT;
        assert_int_equal(dmh_request_fds_max(op), takes ? DMH_SOCKETS_MAX : 0);
        assert_int_equal(dmh_request_layout(op) == NULL, !strcmp(dmh_op_name(op), "unknown"));
    }
}

// ---- descriptors -----------------------------------------------------------------------------------------------------

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 256; fd++) {
        count += fcntl(fd, F_GETFD) >= 0;
    }
    return count;
}

static void descriptors_travel_with_their_message(void **state)
{
    (void)state;
    int pair[2], fds[DMH_PASS_FDS_MAX], got[DMH_PASS_FDS_MAX];
    char text[8] = "message", heard[8];
    size_t count = 0;
    bool whole;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    for (size_t i = 0; i < DMH_PASS_FDS_MAX; i++) {
        fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    for (size_t given = 0; given <= DMH_PASS_FDS_MAX; given += 4) {
        assert_int_equal(dmh_process_send(pair[0], text, sizeof(text), fds, given), 0);
        assert_int_equal(dmh_process_receive(pair[1], heard, sizeof(heard), got, &count, &whole), sizeof(text));
        assert_true(whole);
        assert_string_equal(heard, text);
        assert_int_equal(count, given);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
        }
        dmh_process_close(got, count);
    }
    assert_int_equal(dmh_process_send(pair[0], text, sizeof(text), fds, DMH_PASS_FDS_MAX + 1), -1);
    dmh_process_close(fds, DMH_PASS_FDS_MAX);
    dmh_process_close(pair, 2);
}

// More than anybody may send, in a message of the test's own making.
static void too_many_descriptors_are_a_message_that_is_not_whole(void **state)
{
    (void)state;
    enum { MANY = DMH_PASS_FDS_MAX + 3 };
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MANY * sizeof(int))];
    } control = {0};
    char byte = 'x', heard[8];
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    int pair[2], fds[MANY], got[DMH_PASS_FDS_MAX];
    size_t count = 0;
    bool whole = true;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    size_t before = open_descriptors();
    for (size_t i = 0; i < MANY; i++) {
        fds[i] = pair[0];
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&message);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(c), fds, sizeof(fds));
    assert_int_equal(sendmsg(pair[0], &message, 0), 1);
    assert_int_equal(dmh_process_receive(pair[1], heard, sizeof(heard), got, &count, &whole), 1);
    assert_false(whole);
    assert_int_equal(count, DMH_PASS_FDS_MAX);
    dmh_process_close(got, count);
    assert_int_equal(open_descriptors(), before); // and none is left over
    dmh_process_close(pair, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_arrive_as_they_were_sent),
        cmocka_unit_test(a_request_cut_anywhere_or_with_a_byte_more_is_refused),
        cmocka_unit_test(a_switch_that_is_neither_on_nor_off_is_refused),
        cmocka_unit_test(a_list_longer_than_its_bound_is_refused_on_both_sides),
        cmocka_unit_test(only_requests_that_say_so_take_descriptors),
        cmocka_unit_test(descriptors_travel_with_their_message),
        cmocka_unit_test(too_many_descriptors_are_a_message_that_is_not_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
