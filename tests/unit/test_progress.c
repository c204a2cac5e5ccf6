// SPDX-License-Identifier: Apache-2.0
//
// Does progress tell how fast it goes and when it will be over, as far as that can be known?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "engine/base/units.h"
#include "tools/progress.h"

static const struct cli_option sample_options[] = {
    {"progress", CLI_NUMBER, "FD", "Where to."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_verb sample = {.name = "sample", .args = "", .options = sample_options};

struct world {
    struct cli cli;
    struct progress progress;
    int fds[2];
};

static int set_up(void **state)
{
    static struct world w;
    static char option[32];
    char *argv[] = {option};

    w = (struct world){0};
    assert_int_equal(pipe(w.fds), 0);
    snprintf(option, sizeof(option), "--progress=%d", w.fds[1]);
    assert_int_equal(cli_parse(&w.cli, &sample, 1, argv, NULL), 0);
    assert_int_equal(progress_begin(&w.progress, &w.cli, NULL), 0);
    *state = &w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;

    json_decref(w->cli.report);
    close(w->fds[0]);
    close(w->fds[1]);
    return 0;
}

// Shows a sample and gives the line that it made.
static json_t *shown(struct world *w, const char *phase, uint64_t mib, uint64_t of_mib, uint64_t ms)
{
    struct progress_sample at = {.phase = phase,
                                 .position_bytes = mib * BR_MIB,
                                 .size_bytes = of_mib * BR_MIB,
                                 .durable_bytes = 7,
                                 .elapsed_ns = ms * BR_NS_PER_MS};
    char text[1024];

    progress_show(&w->progress, &at);
    ssize_t got = read(w->fds[0], text, sizeof(text));
    assert_true(got > 0 && text[got - 1] == '\n');
    json_t *line = json_loadb(text, (size_t)got, 0, NULL);
    assert_non_null(line);
    assert_string_equal(json_string_value(json_object_get(line, "phase")), phase);
    assert_int_equal(json_integer_value(json_object_get(line, "bytes_durable")), 7);
    return line;
}

static void rate_and_time_left_follow_from_the_position(void **state)
{
    struct world *w = *state;
    json_t *line = shown(w, "scan", 0, 100, 0);

    assert_null(json_object_get(line, "seconds_left")); // nothing is known yet
    json_decref(line);
    line = shown(w, "scan", 10, 100, 1000);
    assert_int_equal(json_integer_value(json_object_get(line, "bytes_per_second")), 10 * BR_MIB);
    assert_float_equal(json_real_value(json_object_get(line, "seconds_left")), 9.0, 0.01);
    json_decref(line);
    line = shown(w, "scan", 100, 100, 10000);
    assert_float_equal(json_real_value(json_object_get(line, "seconds_left")), 0.0, 0.01);
    json_decref(line);
}

static void another_phase_and_a_resumed_one_begin_anew(void **state)
{
    struct world *w = *state;

    json_decref(shown(w, "scan", 0, 100, 0));
    json_decref(shown(w, "scan", 50, 100, 1000));
    json_t *line = shown(w, "verify", 90, 200, 1100); // what was there when it began took no time
    assert_null(json_object_get(line, "seconds_left"));
    json_decref(line);
    line = shown(w, "verify", 110, 200, 2100);
    assert_float_equal(json_real_value(json_object_get(line, "seconds_left")), 4.5, 0.01);
    json_decref(line);
}

static void what_is_not_open_for_writing_is_refused(void **state)
{
    struct world *w = *state;
    char option[32];
    char *argv[] = {option};
    struct cli cli = {0};
    struct progress progress;
    struct br_err err = {0};

    snprintf(option, sizeof(option), "--progress=%d", w->fds[0]);
    assert_int_equal(cli_parse(&cli, &sample, 1, argv, NULL), 0);
    assert_int_equal(progress_begin(&progress, &cli, &err), -BR_E_USAGE);
    json_decref(cli.report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rate_and_time_left_follow_from_the_position, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_phase_and_a_resumed_one_begin_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_not_open_for_writing_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
