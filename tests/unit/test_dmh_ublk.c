// SPDX-License-Identifier: Apache-2.0
//
// ublk devices as blkrep-dm-helper sees them: a tag says which volume and part, and only what blkrep could have made is taken for its own.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "dm-helper/ublk.h"

static struct dmh_volume volume_of(const char *uuid)
{
    struct dmh_volume volume = {.volume = "db"};

    snprintf(volume.uuid, sizeof(volume.uuid), "%s", uuid);
    return volume;
}

#define UUID  "0f2c0000-0000-4000-8000-000000000001"
#define OTHER "0f2c0000-0000-4000-8000-000000000002"

static void a_tag_gives_back_the_part(void **state)
{
    (void)state;
    static const char *const parts[] = {"a", "z", "0", "front", "fill.1", "a-b.c9", "999999", "aaaaaa", "zzzzzz"};
    struct dmh_volume volume = volume_of(UUID);

    for (size_t i = 0; i < BR_ARRAY_LEN(parts); i++) {
        char part[DMH_PART_MAX] = "";
        uint64_t tag = dmh_ublk_tag(&volume, parts[i]);
        assert_true(tag != 0);
        assert_int_equal(tag >> 32, dmh_ublk_volume_tag(&volume));
        assert_true(dmh_ublk_tag_part(tag, part));
        assert_string_equal(part, parts[i]);
        for (size_t j = 0; j < i; j++) {
            assert_true(dmh_ublk_tag(&volume, parts[j]) != tag);
        }
    }
}

static void what_no_part_can_be_has_no_tag(void **state)
{
    (void)state;
    static const char *const parts[] = {"", ".a", "-a", "Front", "a b", "a/b", "seven77", "front.1"};
    struct dmh_volume volume = volume_of(UUID);

    for (size_t i = 0; i < BR_ARRAY_LEN(parts); i++) {
        assert_int_equal(dmh_ublk_tag(&volume, parts[i]), 0);
    }
}

static void a_number_that_no_part_makes_names_none(void **state)
{
    (void)state;
    static const uint32_t numbers[] = {0, 39, 39 * 39, 38, 37, UINT32_MAX, 39u * 5 + 0};
    char part[DMH_PART_MAX];

    for (size_t i = 0; i < BR_ARRAY_LEN(numbers); i++) {
        assert_false(dmh_ublk_tag_part(UINT64_C(0x1234567800000000) | numbers[i], part));
    }
}

// The value of the published algorithm, so that a later version finds what an earlier one made.
static void a_tag_stays_what_it_was(void **state)
{
    (void)state;
    struct dmh_volume volume = volume_of("61626364-6566-6768-696a-6b6c6d6e6f70"); // "abcdefghijklmnop"
    struct dmh_volume capitals = volume_of("61626364-6566-6768-696A-6B6C6D6E6F70");

    assert_int_equal(dmh_ublk_volume_tag(&volume), UINT32_C(0x068bb1f5));
    assert_int_equal(dmh_ublk_volume_tag(&capitals), dmh_ublk_volume_tag(&volume));
    assert_int_equal((uint32_t)dmh_ublk_tag(&volume, "ab"), 1 * 39 + 2);
}

static void volumes_differ(void **state)
{
    (void)state;
    struct dmh_volume one = volume_of(UUID), other = volume_of(OTHER);

    assert_int_not_equal(dmh_ublk_volume_tag(&one), dmh_ublk_volume_tag(&other));
}

static void only_what_blkrep_could_have_made_is_its_own(void **state)
{
    (void)state;
    struct dmh_volume volume = volume_of(UUID);
    struct ublksrv_ctrl_dev_info info = {.ublksrv_flags = dmh_ublk_tag(&volume, "front")};
    char part[DMH_PART_MAX];

    assert_true(dmh_ublk_is_ours(&info, part));
    assert_string_equal(part, "front");
    info.flags = UINT64_C(1) << 5; // made by an unprivileged user, who can write any tag
    assert_false(dmh_ublk_is_ours(&info, part));
    info.flags = UBLK_F_USER_RECOVERY;
    for (uint64_t small = 0; small < 4096; small++) { // as other servers use them
        info.ublksrv_flags = small;
        assert_false(dmh_ublk_is_ours(&info, part));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_gives_back_the_part),
        cmocka_unit_test(what_no_part_can_be_has_no_tag),
        cmocka_unit_test(a_number_that_no_part_makes_names_none),
        cmocka_unit_test(a_tag_stays_what_it_was),
        cmocka_unit_test(volumes_differ),
        cmocka_unit_test(only_what_blkrep_could_have_made_is_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
