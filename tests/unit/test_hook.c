// SPDX-License-Identifier: Apache-2.0
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tests/lib/t_env.h"
#include "tools/volume/hook.h"

static char folder[1024], script[1200], said[1200];

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "%s/blkrep-hook-XXXXXX", t_folder());
    assert_non_null(mkdtemp(folder));
    snprintf(script, sizeof(script), "%s/hook", folder);
    snprintf(said, sizeof(said), "%s/said", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(script);
    unlink(said);
    return rmdir(folder);
}

static void write_script(const char *body, mode_t mode)
{
    FILE *file = fopen(script, "w");

    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n%s\n", body);
    assert_int_equal(0, fclose(file));
    assert_int_equal(0, chmod(script, mode));
}

static int run(uint64_t timeout_ns, struct br_err *err)
{
    *err = (struct br_err){0};
    return hook_run(script, "before", "data", timeout_ns, err);
}

static void a_hook_is_told_what_and_for_whom(void **state)
{
    (void)state;
    struct br_err err;
    char body[1400], line[100] = "";

    snprintf(body, sizeof(body), "echo $1 $2 $BLKREP_VOLUME $# >'%s'", said);
    write_script(body, 0755);
    assert_int_equal(0, run(10 * BR_NS_PER_S, &err));
    FILE *file = fopen(said, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    fclose(file);
    assert_string_equal("before data data 2\n", line);
}

static void a_hook_that_fails_is_named_with_its_status(void **state)
{
    (void)state;
    struct br_err err;

    write_script("exit 7", 0755);
    assert_int_equal(-BR_E_HOOK, run(10 * BR_NS_PER_S, &err));
    assert_non_null(strstr(err.text, "exited with 7"));
    write_script("kill -9 $$", 0755);
    assert_int_equal(-BR_E_HOOK, run(10 * BR_NS_PER_S, &err));
    assert_non_null(strstr(err.text, "signal 9"));
    unlink(script);
    assert_int_equal(-BR_E_HOOK, run(10 * BR_NS_PER_S, &err));
}

static void a_hook_that_hangs_is_killed_with_all_it_started(void **state)
{
    (void)state;
    struct br_err err;
    struct timespec begun, ended;
    char body[1400], line[100] = "";

    snprintf(body, sizeof(body), "trap '' TERM\nsleep 300 & echo $! >'%s'\nwait", said);
    write_script(body, 0755);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    assert_int_equal(-BR_E_HOOK, run(300 * BR_NS_PER_MS, &err));
    clock_gettime(CLOCK_MONOTONIC, &ended);
    assert_true(ended.tv_sec - begun.tv_sec < 30);
    assert_non_null(strstr(err.text, "took longer"));
    FILE *file = fopen(said, "r");
    assert_non_null(file);
    assert_non_null(fgets(line, sizeof(line), file));
    fclose(file);
    // The child is gone or a zombie that waits for init.
    char stat_path[64], state_line[300] = "";
    snprintf(stat_path, sizeof(stat_path), "/proc/%d/stat", atoi(line));
    for (int i = 0; i < 100; i++) {
        file = fopen(stat_path, "r");
        bool gone = !file || !fgets(state_line, sizeof(state_line), file) || strstr(state_line, ") Z");
        if (file) {
            fclose(file);
        }
        if (gone) {
            return;
        }
        usleep(50000);
    }
    fail_msg("what the hook started lives on: %s", state_line);
}

static void a_hook_that_others_can_change_is_not_run(void **state)
{
    (void)state;
    struct br_err err;
    char body[1400];

    snprintf(body, sizeof(body), "echo ran >'%s'", said);
    write_script(body, 0777);
    assert_int_equal(-BR_E_HOOK, run(10 * BR_NS_PER_S, &err));
    write_script(body, 0755);
    assert_int_equal(0, chmod(folder, 0777));
    assert_int_equal(-BR_E_HOOK, run(10 * BR_NS_PER_S, &err));
    assert_non_null(strstr(err.text, "changed by others"));
    assert_int_equal(0, chmod(folder, 0700));
    assert_int_equal(-1, access(said, F_OK));
    assert_int_equal(-BR_E_HOOK, hook_run("hook", "before", "data", BR_NS_PER_S, &err));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        T(a_hook_is_told_what_and_for_whom),
        T(a_hook_that_fails_is_named_with_its_status),
        T(a_hook_that_hangs_is_killed_with_all_it_started),
        T(a_hook_that_others_can_change_is_not_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
