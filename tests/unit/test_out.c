// SPDX-License-Identifier: Apache-2.0
//
// Does a reader that stalls or goes away hold nothing up, and is what it missed told when it reads again?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tools/out.h"

static uint64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// Until nothing goes in any more.
static void fill(int fd)
{
    static const char page[4096];

    while (out_write(fd, page, sizeof(page), 0) == 1) {}
}

static void drain(int fd)
{
    static char bytes[1 << 20];

    assert_true(read(fd, bytes, sizeof(bytes)) > 0);
}

static void a_full_pipe_takes_nothing_and_nobody_waits(void **state)
{
    int fds[2];
    char text[16];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_true(out_ready(fds[1], 0));
    assert_int_equal(out_write(fds[1], "line\n", 5, 0), 1);
    assert_int_equal(read(fds[0], text, sizeof(text)), 5);
    fill(fds[1]);
    assert_false(out_ready(fds[1], 0));
    uint64_t begun = now_ms();
    assert_int_equal(out_write(fds[1], "line\n", 5, 0), 0);
    assert_in_range(now_ms() - begun, 0, 1000);
    assert_int_equal(out_write(fds[1], "line\n", 5, 50), 0);
    assert_in_range(now_ms() - begun, 50, 2000);
    drain(fds[0]);
    assert_int_equal(out_write(fds[1], "line\n", 5, 0), 1);
    close(fds[0]);
    assert_int_equal(out_write(fds[1], "line\n", 5, 0), -1);
    close(fds[1]);
}

struct slow_reader {
    int fd;
    size_t got_bytes;
};

static void *read_slowly(void *ctx)
{
    struct slow_reader *reader = ctx;
    char bytes[1000];
    ssize_t got;

    while ((got = read(reader->fd, bytes, sizeof(bytes))) > 0) {
        reader->got_bytes += (size_t)got;
    }
    return NULL;
}

static void a_long_text_goes_out_whole_to_who_reads(void **state)
{
    static const char text[300000];
    struct slow_reader reader = {0};
    pthread_t thread;
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    reader.fd = fds[0];
    assert_int_equal(pthread_create(&thread, NULL, read_slowly, &reader), 0);
    assert_int_equal(out_write(fds[1], text, sizeof(text), 5000), 1);
    close(fds[1]);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(reader.got_bytes, sizeof(text));
    close(fds[0]);
}

static void what_was_left_out_is_counted_and_said(void **state)
{
    char text[512];
    int fds[2];
    int kept = dup(STDERR_FILENO);

    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_true(kept >= 0 && dup2(fds[1], STDERR_FILENO) >= 0);
    fill(fds[1]);
    uint64_t begun = now_ms();
    for (int i = 0; i < 100; i++) {
        out_stderr("missed\n", 7);
    }
    uint64_t took = now_ms() - begun;
    drain(fds[0]);
    out_stderr("heard\n", 6);
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    ssize_t got = read(fds[0], text, sizeof(text) - 1);
    assert_true(got > 0);
    text[got] = 0;
    assert_string_equal(text, "blkrep: 100 messages were left out here: nobody read them\nheard\n");
    assert_in_range(took, 0, 2000); // the first waited a moment, the others not
    close(fds[0]);
    close(fds[1]);
    close(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_pipe_takes_nothing_and_nobody_waits),
        cmocka_unit_test(a_long_text_goes_out_whole_to_who_reads),
        cmocka_unit_test(what_was_left_out_is_counted_and_said),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
