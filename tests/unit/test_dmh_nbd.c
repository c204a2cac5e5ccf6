// SPDX-License-Identifier: Apache-2.0
//
// NBD devices as blkrep-dm-helper sees them: the messages to the kernel byte by byte, whose device is which, and who is still using it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "dm-helper/nbd.h"
#include "tests/lib/t_machine.h"

#define BACKEND "BLKREP-0f2c0000000040008000000000000001-front"

// ---- messages --------------------------------------------------------------------------------------------------------

static uint64_t attribute_number(const uint8_t *bytes, size_t len, uint16_t type)
{
    size_t value_len = 0;
    uint64_t value = 0;
    const uint8_t *at = dmh_nbd_attribute(bytes, len, type, &value_len);

    assert_non_null(at);
    assert_true(value_len == 4 || value_len == 8);
    memcpy(&value, at, value_len); // little-endian machines, as all that blkrep runs on
    return value;
}

static void a_connect_says_what_the_device_is_to_be(void **state)
{
    (void)state;
    const struct dmh_nbd_shape shape = {
        .size_bytes = UINT64_C(1) << 40, .block_bytes = 4096, .timeout_s = 30, .dead_s = 60, .flags = 5};
    const int sockets[] = {7, 1000};
    struct dmh_nbd_message message;
    struct nlmsghdr header;
    size_t len = 0, item_len = 0;

    dmh_nbd_put_connect(33, BACKEND, &shape, sockets, 2, &message);
    assert_false(message.full);
    memcpy(&header, message.bytes, sizeof(header));
    assert_int_equal(header.nlmsg_type, 33);
    assert_int_equal(header.nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
    assert_int_equal(message.bytes[NLMSG_HDRLEN], NBD_CMD_CONNECT);
    const uint8_t *first = message.bytes + NLMSG_HDRLEN + GENL_HDRLEN;
    size_t rest = message.len - NLMSG_HDRLEN - GENL_HDRLEN;
    assert_int_equal(attribute_number(first, rest, NBD_ATTR_SIZE_BYTES), UINT64_C(1) << 40);
    assert_int_equal(attribute_number(first, rest, NBD_ATTR_BLOCK_SIZE_BYTES), 4096);
    assert_int_equal(attribute_number(first, rest, NBD_ATTR_TIMEOUT), 30);
    assert_int_equal(attribute_number(first, rest, NBD_ATTR_DEAD_CONN_TIMEOUT), 60);
    assert_int_equal(attribute_number(first, rest, NBD_ATTR_SERVER_FLAGS), 5);
    assert_null(dmh_nbd_attribute(first, rest, NBD_ATTR_INDEX, &len)); // the kernel picks one that nobody uses
    assert_string_equal((const char *)dmh_nbd_attribute(first, rest, NBD_ATTR_BACKEND_IDENTIFIER, &len), BACKEND);
    const uint8_t *list = dmh_nbd_attribute(first, rest, NBD_ATTR_SOCKETS, &len);
    assert_int_equal(len, 2 * (4 + 8));
    const uint8_t *item = dmh_nbd_attribute(list, len, NBD_SOCK_ITEM, &item_len);
    assert_int_equal(attribute_number(item, item_len, NBD_SOCK_FD), 7);
    item = dmh_nbd_attribute(list + 12, len - 12, NBD_SOCK_ITEM, &item_len);
    assert_int_equal(attribute_number(item, item_len, NBD_SOCK_FD), 1000);
}

static void a_reconfigure_names_the_device_twice(void **state)
{
    (void)state;
    struct dmh_nbd_message message;
    size_t len = 0;

    dmh_nbd_put_reconfigure(33, BACKEND, 5, 9, &message);
    assert_int_equal(message.bytes[NLMSG_HDRLEN], NBD_CMD_RECONFIGURE);
    const uint8_t *first = message.bytes + NLMSG_HDRLEN + GENL_HDRLEN;
    size_t rest = message.len - NLMSG_HDRLEN - GENL_HDRLEN;
    assert_int_equal(attribute_number(first, rest, NBD_ATTR_INDEX), 5);
    assert_string_equal((const char *)dmh_nbd_attribute(first, rest, NBD_ATTR_BACKEND_IDENTIFIER, &len), BACKEND);
    assert_null(dmh_nbd_attribute(first, rest, NBD_ATTR_SIZE_BYTES, &len));
}

static void what_does_not_fit_makes_a_message_void(void **state)
{
    (void)state;
    const struct dmh_nbd_shape shape = {.size_bytes = 512};
    struct dmh_nbd_message message;
    int sockets[100] = {0};

    dmh_nbd_put_connect(33, BACKEND, &shape, sockets, 100, &message);
    assert_true(message.full);
    dmh_nbd_put_connect(33, BACKEND, &shape, sockets, DMH_SOCKETS_MAX, &message);
    assert_false(message.full);
}

static void an_answer_with_wrong_lengths_is_read_no_further(void **state)
{
    (void)state;
    struct {
        struct nlattr head;
        uint32_t value;
    } two[2] = {{{8, 3}, 1}, {{8, 4}, 2}};
    const uint8_t *bytes = (const uint8_t *)two;
    size_t len = 0;

    assert_ptr_equal(dmh_nbd_attribute(bytes, sizeof(two), 4, &len), bytes + 12);
    assert_int_equal(len, 4);
    for (size_t cut = 0; cut < sizeof(two); cut++) {
        assert_null(dmh_nbd_attribute(bytes, cut, 4, &len));
    }
    two[0].head.nla_len = 3; // less than its own head: it would never end
    assert_null(dmh_nbd_attribute(bytes, sizeof(two), 4, &len));
    two[0].head.nla_len = 17;
    assert_null(dmh_nbd_attribute(bytes, sizeof(two), 3, &len));
}

// ---- whose, and in use -----------------------------------------------------------------------------------------------

static void a_device_is_found_by_what_it_carries_alone(void **state)
{
    (void)state;
    struct t_machine *machine = t_machine_new();
    uint32_t index = 77;

    t_machine_disk(machine, "nbd0", "43:0", 1 << 20);
    t_machine_disk(machine, "nbd7", "43:224", 1 << 20);
    t_machine_file(machine, "/sys/devices/pci0000:00/block/nbd7/backend", "someone's\n");
    assert_false(dmh_nbd_find(&machine->source, BACKEND, &index));
    assert_int_equal(index, 77);
    t_machine_disk(machine, "nbd12", "43:384", 1 << 20);
    t_machine_file(machine, "/sys/devices/pci0000:00/block/nbd12/backend", "%s\n", BACKEND);
    assert_true(dmh_nbd_find(&machine->source, BACKEND, &index));
    assert_int_equal(index, 12);
    assert_false(dmh_nbd_find(&machine->source, "BLKREP-0f2c0000000040008000000000000001-fron", &index));
    assert_false(dmh_nbd_connected(&machine->source, 12));
    t_machine_file(machine, "/sys/devices/pci0000:00/block/nbd12/pid", "4711\n");
    assert_true(dmh_nbd_connected(&machine->source, 12));
    t_machine_partition(machine, "nbd0", "nbd0p1", "43:1", 1, 1 << 19); // is none
    assert_true(dmh_nbd_find(&machine->source, BACKEND, &index));
    t_machine_free(machine);
}

static bool in_use(struct t_machine *machine)
{
    struct dmh_disk disk;

    assert_true(dmh_disk_read(&machine->source, "nbd0", &disk));
    assert_int_equal(disk.major, 43);
    assert_int_equal(disk.size_bytes, 1 << 20);
    return disk.in_use;
}

static struct t_machine *machine_with_nbd(void)
{
    struct t_machine *machine = t_machine_new();

    t_machine_file(machine, "/proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n");
    t_machine_file(machine, "/proc/swaps", "Filename Type Size Used Priority\n");
    t_machine_disk(machine, "nbd0", "43:0", 1 << 20);
    t_machine_partition(machine, "nbd0", "nbd0p1", "43:1", 1, 1 << 19);
    return machine;
}

static void a_device_is_in_use_when_it_or_a_partition_is_mounted_held_or_swapped_to(void **state)
{
    (void)state;
    static const char *const mounts[] = {"43:0 / /mnt rw - ext4 /dev/nbd0 rw", "43:1 / /mnt rw - xfs /dev/nbd0p1 rw"};
    static const char *const swaps[] = {"/dev/nbd0 partition 1 0 -2", "/dev/nbd0p1 partition 1 0 -2"};
    struct t_machine *machine = machine_with_nbd();

    assert_false(in_use(machine));
    for (size_t i = 0; i < 2; i++) {
        t_machine_file(machine, "/proc/self/mountinfo", "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 20 %s\n", mounts[i]);
        assert_true(in_use(machine));
    }
    t_machine_file(machine, "/proc/self/mountinfo", "20 1 43:2 / / rw - ext4 /dev/nbd1 rw\n");
    assert_false(in_use(machine));
    for (size_t i = 0; i < 2; i++) {
        t_machine_file(machine, "/proc/swaps", "Filename Type Size Used Priority\n%s\n", swaps[i]);
        assert_true(in_use(machine));
    }
    t_machine_file(machine, "/proc/swaps", "Filename Type Size Used Priority\n/dev/nbd01 partition 1 0 -2\n");
    assert_false(in_use(machine));
    t_machine_dm(machine, "dm-0", "254:0", 1 << 20, "db", "BLKREP-x", "linear");
    t_machine_on(machine, "dm-0", "nbd0");
    assert_true(in_use(machine));
    t_machine_free(machine);
    machine = machine_with_nbd();
    t_machine_dm(machine, "dm-0", "254:0", 1 << 20, "db", "BLKREP-x", "linear");
    t_machine_on(machine, "dm-0", "nbd0p1");
    assert_true(in_use(machine));
    t_machine_free(machine);
}

// A machine whose mounts can't be read may have any: better refused than taken away from under a file system.
static void mounts_that_cannot_be_read_count_as_use(void **state)
{
    (void)state;
    struct t_machine *machine = t_machine_new();

    t_machine_disk(machine, "nbd0", "43:0", 1 << 20);
    assert_true(in_use(machine));
    t_machine_free(machine);
}

// ---- shapes and sockets ----------------------------------------------------------------------------------------------

static void sizes_that_no_device_has_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint64_t size_bytes;
        uint32_t block_bytes;
        int error;
    } shapes[] = {
        {512, 512, 0},
        {UINT64_C(1) << 62, 4096, 0},
        {4096, 1024, 0},
        {0, 512, BR_E_USAGE},
        {511, 512, BR_E_USAGE},
        {4096 + 512, 4096, BR_E_USAGE},
        {UINT64_C(1) << 63, 512, BR_E_USAGE},
        {UINT64_MAX - 511, 512, BR_E_USAGE},
        {4096, 0, BR_E_USAGE},
        {4096, 256, BR_E_USAGE},
        {8192, 8192, BR_E_USAGE},
        {4608, 1536, BR_E_USAGE},
    };
    for (size_t i = 0; i < BR_ARRAY_LEN(shapes); i++) {
        assert_int_equal(dmh_shape_check(shapes[i].size_bytes, shapes[i].block_bytes, NULL), -shapes[i].error);
    }
}

static void only_a_connected_stream_socket_is_one(void **state)
{
    (void)state;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(dmh_nbd_socket_check(pair[0], NULL), 0);
    close(pair[1]);
    assert_int_equal(dmh_nbd_socket_check(pair[0], NULL), -BR_E_USAGE);
    close(pair[0]);
    assert_int_equal(dmh_nbd_socket_check(pair[0], NULL), -BR_E_USAGE);
    assert_int_equal(pipe(pair), 0);
    assert_int_equal(dmh_nbd_socket_check(pair[0], NULL), -BR_E_USAGE);
    close(pair[0]);
    close(pair[1]);
    for (int type = SOCK_STREAM; type <= SOCK_DGRAM; type++) {
        for (size_t i = 0; i < 2; i++) {
            int fd = socket(i ? AF_INET : AF_UNIX, type, 0);
            assert_int_equal(dmh_nbd_socket_check(fd, NULL), -BR_E_USAGE);
            close(fd);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connect_says_what_the_device_is_to_be),
        cmocka_unit_test(a_reconfigure_names_the_device_twice),
        cmocka_unit_test(what_does_not_fit_makes_a_message_void),
        cmocka_unit_test(an_answer_with_wrong_lengths_is_read_no_further),
        cmocka_unit_test(a_device_is_found_by_what_it_carries_alone),
        cmocka_unit_test(a_device_is_in_use_when_it_or_a_partition_is_mounted_held_or_swapped_to),
        cmocka_unit_test(mounts_that_cannot_be_read_count_as_use),
        cmocka_unit_test(sizes_that_no_device_has_are_refused),
        cmocka_unit_test(only_a_connected_stream_socket_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
