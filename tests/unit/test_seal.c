// SPDX-License-Identifier: Apache-2.0
//
// engine/codec/seal.h against published vectors and against another implementation (Python's hmac and hashlib), and what it refuses.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "engine/codec/seal.h"
#include "tests/lib/t_env.h"

static void unhex(const char *text, uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned v;
        assert_int_equal(sscanf(text + 2 * i, "%2x", &v), 1);
        bytes[i] = (uint8_t)v;
    }
}

static void counting(uint8_t *bytes, size_t len, unsigned from)
{
    for (size_t i = 0; i < len; i++) {
        bytes[i] = (uint8_t)(from + i);
    }
}

// The GCM proposal to NIST (McGrew, Viega), test cases 13 and 14: 256-bit key, nonce and content all zeros.
static void the_published_cases_of_gcm_come_out(void **state)
{
    (void)state;
    struct br_key key = {0};
    uint8_t bytes[16] = {0}, tag[BR_SEAL_TAG_BYTES], want[16];
    assert_int_equal(br_seal(&key, 0, NULL, 0, NULL, 0, tag, NULL), 0);
    unhex("530f8afbc74536b9a963b4f1c4cb738b", want, 16);
    assert_memory_equal(tag, want, 16);
    assert_int_equal(br_seal(&key, 0, NULL, 0, bytes, 16, tag, NULL), 0);
    unhex("cea7403d4d606b6e074ec5d3baf39d18", want, 16);
    assert_memory_equal(bytes, want, 16);
    unhex("d0d1c8a799996bf0265b98b5d48ab919", want, 16);
    assert_memory_equal(tag, want, 16);
}

// RFC 4231, test case 1: a key of 20 bytes is the same as one with zeros behind it.
static void the_published_case_of_hmac_comes_out_each_time(void **state)
{
    (void)state;
    struct br_key key = {0};
    struct br_mac *mac;
    uint8_t got[BR_MAC_BYTES], want[BR_MAC_BYTES];
    memset(key.bytes, 0x0b, 20);
    unhex("b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7", want, sizeof(want));
    assert_int_equal(br_mac_open(&key, &mac, NULL), 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(br_mac_of(mac, "Hi There", 8, got, NULL), 0);
        assert_memory_equal(got, want, sizeof(want));
        assert_int_equal(br_mac_of(mac, "Hi there", 8, got, NULL), 0);
        assert_memory_not_equal(got, want, sizeof(want));
    }
    br_mac_close(mac);
}

static void keys_are_derived_as_elsewhere(void **state)
{
    (void)state;
    struct br_key from, got;
    uint8_t salt[BR_SALT_BYTES], want[BR_KEY_BYTES];
    counting(from.bytes, sizeof(from.bytes), 0);
    counting(salt, sizeof(salt), 32);
    assert_int_equal(br_key_derive(&from, salt, "blkrep test", 11, &got, NULL), 0);
    unhex("edb60d892e50011f42fa3f3ebf8bfe8c97b162c19ab3d407350b43755daf835c", want, sizeof(want));
    assert_memory_equal(got.bytes, want, sizeof(want));

    struct br_scrypt scrypt = {.log2_n = 10, .block = 8, .lanes = 1};
    counting(scrypt.salt, sizeof(scrypt.salt), 0);
    assert_int_equal(br_key_from_passphrase("pleaseletmein", 13, &scrypt, &got, NULL), 0);
    unhex("6672c918e79dae29588be1bec4877233e6e59409ad3628ac5cd42a5bf040d25a", want, sizeof(want));
    assert_memory_equal(got.bytes, want, sizeof(want));
}

static void scrypt_takes_the_default_and_nothing_out_of_its_bounds(void **state)
{
    (void)state;
    struct br_err err = {0};
    struct br_key key;
    struct br_scrypt usual = {.log2_n = BR_SCRYPT_LOG2_N, .block = BR_SCRYPT_BLOCK, .lanes = BR_SCRYPT_LANES};
    assert_int_equal(br_key_from_passphrase("", 0, &usual, &key, &err), 0);
    const struct br_scrypt bad[] = {
        {.log2_n = 9, .block = 8, .lanes = 1},   {.log2_n = 21, .block = 8, .lanes = 1},
        {.log2_n = 255, .block = 8, .lanes = 1}, {.log2_n = 10, .block = 0, .lanes = 1},
        {.log2_n = 10, .block = 17, .lanes = 1}, {.log2_n = 10, .block = 8, .lanes = 0},
        {.log2_n = 10, .block = 8, .lanes = 17},
    };
    for (size_t i = 0; i < BR_ARRAY_LEN(bad); i++) {
        assert_int_equal(br_key_from_passphrase("x", 1, &bad[i], &key, &err), -BR_E_LIMIT);
    }
}

static void what_is_sealed_opens_only_as_it_was(void **state)
{
    (void)state;
    struct t_rand r = t_rand_seeded(1, 1);
    struct br_key key;
    uint8_t plain[300], bytes[300], aad[40], tag[BR_SEAL_TAG_BYTES];
    t_rand_fill(&r, key.bytes, sizeof(key.bytes));
    t_rand_fill(&r, plain, sizeof(plain));
    t_rand_fill(&r, aad, sizeof(aad));
    for (size_t len = 0; len <= sizeof(plain); len += 75) {
        memcpy(bytes, plain, len);
        assert_int_equal(br_seal(&key, 7, aad, sizeof(aad), bytes, len, tag, NULL), 0);
        uint8_t sealed[300];
        memcpy(sealed, bytes, len);
        assert_int_equal(br_unseal(&key, 7, aad, sizeof(aad), bytes, len, tag, NULL), 0);
        assert_memory_equal(bytes, plain, len);
        uint8_t *const parts[] = {key.bytes, aad, tag, sealed};
        const size_t sizes[] = {sizeof(key.bytes), sizeof(aad), sizeof(tag), len};
        for (unsigned p = 0; p < 4; p++) {
            for (size_t bit = 0; bit < 8 * sizes[p]; bit++) {
                parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
                memcpy(bytes, sealed, len);
                assert_int_equal(br_unseal(&key, 7, aad, sizeof(aad), bytes, len, tag, NULL), -BR_E_CORRUPT);
                assert_true(br_is_zero(bytes, len));
                parts[p][bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
        }
        for (unsigned bit = 0; bit < 64; bit++) {
            memcpy(bytes, sealed, len);
            assert_int_equal(br_unseal(&key, 7 ^ UINT64_C(1) << bit, aad, sizeof(aad), bytes, len, tag, NULL),
                             -BR_E_CORRUPT);
        }
    }
}

static void wiping_leaves_nothing(void **state)
{
    (void)state;
    struct br_key key;
    memset(&key, 0xaa, sizeof(key));
    br_key_wipe(&key);
    assert_true(br_is_zero(key.bytes, sizeof(key.bytes)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_cases_of_gcm_come_out),
        cmocka_unit_test(the_published_case_of_hmac_comes_out_each_time),
        cmocka_unit_test(keys_are_derived_as_elsewhere),
        cmocka_unit_test(scrypt_takes_the_default_and_nothing_out_of_its_bounds),
        cmocka_unit_test(what_is_sealed_opens_only_as_it_was),
        cmocka_unit_test(wiping_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
