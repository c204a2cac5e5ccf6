// SPDX-License-Identifier: Apache-2.0
//
// engine/base/err.h: the table is whole, context travels, nothing of an old error stays.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <string.h>

#include "engine/base/bytes.h"
#include "engine/base/err.h"

static void every_code_has_a_name_a_message_a_hint_and_a_status(void **state)
{
    (void)state;
    for (int code = 1; code < BR_E_MAX; code++) {
        assert_true(br_err_name(code)[0] && br_err_message(code)[0] && br_err_hint(code)[0]);
        assert_int_equal(br_err_from_name(br_err_name(code)), code);
        assert_true(br_err_exit(code) >= BR_EXIT_FAILED && br_err_exit(code) <= BR_EXIT_GAPS);
        assert_int_equal(br_err_exit(-code), br_err_exit(code));
        assert_true(br_err_class(code) > 0);
    }
    assert_int_equal(br_err_exit(0), BR_EXIT_OK);
    assert_string_equal(br_err_name(0), "NONE");
    assert_string_equal(br_err_name(BR_E_MAX), "INTERNAL");
    assert_string_equal(br_err_name(-100000), "INTERNAL");
    assert_int_equal(br_err_from_name("NONE"), 0);
    assert_int_equal(br_err_from_name("no such"), 0);
}

static void what_stopped_a_peer_did_not_stop_us(void **state)
{
    (void)state;
    assert_int_equal(br_err_from_peer("BUSY"), BR_E_BUSY);
    assert_int_equal(br_err_from_peer("CANCELLED"), BR_E_PEER);
    assert_int_equal(br_err_from_peer("A_CODE_OF_LATER"), BR_E_PEER);
}

static void exit_statuses_are_those_of_the_design(void **state)
{
    (void)state;
    assert_int_equal(br_err_exit(BR_E_IO), 1);
    assert_int_equal(br_err_exit(BR_E_USAGE), 2);
    assert_int_equal(br_err_exit(BR_E_TARGET_FOREIGN), 3);
    assert_int_equal(br_err_exit(BR_E_VERIFY), 4);
    assert_int_equal(br_err_exit(BR_E_PEER), 5);
    assert_int_equal(br_err_exit(BR_E_NO_SPACE), 6);
    assert_int_equal(br_err_exit(BR_E_BUSY), 7);
    assert_int_equal(br_err_exit(BR_E_GAPS), 8);
}

static void an_error_tells_what_and_where(void **state)
{
    (void)state;
    struct br_err err = {.os_errno = 99, .has_offset = true, .offset_bytes = 5};

    assert_int_equal(br_err_set(&err, BR_E_BUSY, "lock '%s'", "x"), -BR_E_BUSY);
    assert_int_equal(err.code, BR_E_BUSY);
    assert_string_equal(err.text, "lock 'x'");
    assert_true(!err.os_errno && !err.has_offset); // nothing of an earlier error is left
    assert_int_equal(br_err_at(&err, BR_E_CORRUPT, 4096, "page"), -BR_E_CORRUPT);
    assert_true(err.has_offset && err.offset_bytes == 4096);
    assert_int_equal(br_err_prefix(&err, "replica %d", 7), -BR_E_CORRUPT);
    assert_string_equal(err.text, "replica 7: page");
    assert_true(err.has_offset && err.offset_bytes == 4096);
    assert_int_equal(br_err_set(NULL, BR_E_IO, "x"), -BR_E_IO);
    assert_int_equal(br_err_at(NULL, BR_E_IO, 0, "x"), -BR_E_IO);
    assert_int_equal(br_err_os(NULL, ENOENT, "x"), -BR_E_NOT_FOUND);
    assert_int_equal(br_err_prefix(NULL, "x"), -BR_E_INTERNAL);
}

static void an_errno_becomes_the_code_of_its_kind(void **state)
{
    (void)state;
    static const struct {
        int os_errno;
        int code;
    } cases[] = {{ENOSPC, BR_E_NO_SPACE},
                 {EDQUOT, BR_E_NO_SPACE},
                 {EACCES, BR_E_PERMISSION},
                 {EPERM, BR_E_PERMISSION},
                 {EROFS, BR_E_PERMISSION},
                 {ENOENT, BR_E_NOT_FOUND},
                 {ENOMEM, BR_E_NOMEM},
                 {EADDRNOTAVAIL, BR_E_NOT_FOUND},
                 {EOPNOTSUPP, BR_E_UNSUPPORTED},
                 {EISDIR, BR_E_UNSUPPORTED},
                 {ELOOP, BR_E_REFUSED},
                 {EMFILE, BR_E_LIMIT},
                 {EFBIG, BR_E_LIMIT},
                 {EIO, BR_E_IO},
                 {ECANCELED, BR_E_CANCELLED},
                 {ECONNRESET, BR_E_PEER},
                 {ETIMEDOUT, BR_E_TIMEOUT},
                 {EINVAL, BR_E_IO}};
    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        struct br_err err = {0};
        assert_int_equal(br_err_os(&err, cases[i].os_errno, "open"), -cases[i].code);
        assert_int_equal(err.code, cases[i].code);
        assert_int_equal(err.os_errno, cases[i].os_errno);
        assert_true(!strncmp(err.text, "open: ", 6) && strlen(err.text) > 6);
    }
}

static void a_long_text_is_cut_and_stays_a_string(void **state)
{
    (void)state;
    struct br_err err = {0};
    char text[2000];

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = 0;
    br_err_os(&err, EIO, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
    br_err_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_has_a_name_a_message_a_hint_and_a_status),
        cmocka_unit_test(what_stopped_a_peer_did_not_stop_us),
        cmocka_unit_test(exit_statuses_are_those_of_the_design),
        cmocka_unit_test(an_error_tells_what_and_where),
        cmocka_unit_test(an_errno_becomes_the_code_of_its_kind),
        cmocka_unit_test(a_long_text_is_cut_and_stays_a_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
