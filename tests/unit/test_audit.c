// SPDX-License-Identifier: Apache-2.0
//
// Does the audit trail keep what it is told, from several processes at once and over a crash, does a line that was changed, removed or
// slipped in show, and is a full disk noticed before an act and not after it?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/t_env.h"
#include "tools/audit.h"
#include "tools/verbs.h"

static char state_path[512];
static char trail_path[600];
static struct cli cli;

static void open_cli(const char *state)
{
    static char option[600];
    static char *argv[1];
    struct br_err err = {0};

    snprintf(option, sizeof(option), "--state=%s", state);
    argv[0] = option;
    cli = (struct cli){0};
    assert_int_equal(cli_parse(&cli, &cmd_token_list, 1, argv, &err), 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(state_path, sizeof(state_path), "%s/test_audit.XXXXXX", t_folder());
    assert_non_null(mkdtemp(state_path));
    snprintf(trail_path, sizeof(trail_path), "%s/audit.ndjson", state_path);
    open_cli(state_path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    json_decref(cli.report);
    unlink(trail_path);
    return rmdir(state_path);
}

static void append(const char *object)
{
    struct br_err err = {0};
    int error = audit_append(&cli, "test", object, NULL, &err);

    if (error) {
        print_message("%s\n", err.text);
    }
    assert_int_equal(error, 0);
}

static int64_t check(struct br_err *err)
{
    *err = (struct br_err){0};
    return audit_check(&cli, err);
}

static size_t read_trail(char *text, size_t text_size)
{
    int fd = open(trail_path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, text_size - 1);
    assert_true(len >= 0 && len < (ssize_t)text_size - 1);
    close(fd);
    text[len] = 0;
    return (size_t)len;
}

static void write_trail(const char *text, size_t len)
{
    int fd = open(trail_path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static void each_line_hangs_on_the_one_before(void **state)
{
    struct br_err err;

    (void)state;
    assert_int_equal(check(&err), 0);
    append("one");
    append("two\xff\n\"");
    append(NULL);
    assert_int_equal(check(&err), 3);
    char text[4096];
    read_trail(text, sizeof(text));
    assert_non_null(strstr(text, "{\"seq\":1,"));
    assert_non_null(strstr(text, "\"verb\":\"token list\""));
    assert_non_null(strstr(text, "two\\\\xff\\\\n")); // quoted, then as JSON
    assert_non_null(strstr(text, "\"object\":null"));
}

static void details_become_members_but_replace_none(void **state)
{
    struct br_err err = {0};
    json_t *details = json_object();
    char text[4096];

    (void)state;
    json_object_set_new(details, "generation", json_integer(7));
    json_object_set_new(details, "seq", json_integer(99));
    json_object_set_new(details, "previous", json_string("forged"));
    assert_int_equal(audit_append(&cli, "test", "x", details, &err), 0);
    read_trail(text, sizeof(text));
    assert_non_null(strstr(text, "\"generation\":7"));
    assert_non_null(strstr(text, "\"seq\":1"));
    assert_int_equal(check(&err), 1);
}

static void processes_that_write_at_once_take_turns(void **state)
{
    enum { PROCESSES = 4, LINES = 25 };
    struct br_err err;
    pid_t pids[PROCESSES];

    (void)state;
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (!pids[i]) {
            int failed = 0;
            for (int line = 0; line < LINES; line++) {
                failed |= audit_append(&cli, "test", "object", NULL, NULL);
            }
            _exit(failed ? 1 : 0);
        }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    assert_int_equal(check(&err), PROCESSES * LINES);
}

static void a_line_that_a_crash_tore_is_replaced_by_the_next(void **state)
{
    struct br_err err;
    char text[8192];

    (void)state;
    append("one");
    append("two");
    size_t len = read_trail(text, sizeof(text));
    for (size_t cut = 1; cut < len; cut++) { // at every byte, within the first line too
        write_trail(text, cut);
        size_t whole = 0;
        for (size_t i = 0; i < cut; i++) {
            whole += text[i] == '\n';
        }
        assert_int_equal(check(&err), (int64_t)whole);
        append("after the crash");
        assert_int_equal(check(&err), (int64_t)whole + 1);
    }
}

static void a_torn_line_longer_than_the_next_leaves_nothing_behind(void **state)
{
    struct br_err err;
    char *text = malloc(200 * 1024);

    (void)state;
    assert_non_null(text);
    append("one");
    size_t len = read_trail(text, 200 * 1024);
    memset(text + len, 'x', 60000);
    write_trail(text, len + 60000);
    assert_int_equal(check(&err), 1);
    append("two");
    assert_int_equal(check(&err), 2);
    assert_true(read_trail(text, 200 * 1024) < 2000);
    free(text);
}

static void a_long_line_before_a_torn_one_still_chains(void **state)
{
    struct br_err err;
    char *text = malloc(400 * 1024);
    json_t *details = json_object();

    (void)state;
    assert_non_null(text);
    memset(text, 'y', 60000);
    text[60000] = 0;
    json_object_set_new(details, "long", json_string(text));
    assert_int_equal(audit_append(&cli, "test", "x", details, &err), 0);
    size_t len = read_trail(text, 400 * 1024);
    memset(text + len, 'x', 60000);
    write_trail(text, len + 60000);
    append("two");
    assert_int_equal(check(&err), 2);
    free(text);
}

static void a_changed_byte_is_found_wherever_it_is(void **state)
{
    struct br_err err;
    char text[8192], bad[8192];

    (void)state;
    append("one");
    append("two");
    append("three");
    size_t len = read_trail(text, sizeof(text));
    size_t last = (size_t)((char *)memrchr(text, '\n', len - 1) - text) + 1;
    for (size_t at = 0; at < last - 1; at++) { // the last line has no line behind it that would tell
        memcpy(bad, text, len);
        bad[at] = bad[at] == 'Z' ? 'Y' : 'Z';
        write_trail(bad, len);
        assert_int_equal(check(&err), -BR_E_VERIFY);
    }
}

// Lines of the trail as pieces, so that they can be put together otherwise.
static void lines_put_together_otherwise_are_found(void **state)
{
    static const struct {
        const char *order; // digits of lines
        const char *named; // in the error
    } cases[] = {{"13", "line 2"}, {"23", "line 1"}, {"1123", "line 2"}, {"132", "line 2"}, {"1213", "line 3"}};
    struct br_err err;
    char text[8192], bad[8192];
    const char *lines[3];
    size_t lens[3];

    (void)state;
    append("one");
    append("two");
    append("three");
    read_trail(text, sizeof(text));
    const char *at = text;
    for (int i = 0; i < 3; i++) {
        lines[i] = at;
        lens[i] = strcspn(at, "\n") + 1;
        at += lens[i];
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        size_t len = 0;
        for (const char *digit = cases[i].order; *digit; digit++) {
            memcpy(bad + len, lines[*digit - '1'], lens[*digit - '1']);
            len += lens[*digit - '1'];
        }
        write_trail(bad, len);
        assert_int_equal(check(&err), -BR_E_VERIFY);
        assert_non_null(strstr(err.text, cases[i].named));
    }
}

// In a process of its own, because its mount namespace is.
static int on_a_full_disk(void)
{
    struct br_err err = {0};
    char mounted[700], fill[800];
    char block[4096] = {0};

    snprintf(mounted, sizeof(mounted), "%s/mnt", state_path);
    if (unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) || mkdir(mounted, 0700) ||
        mount("none", mounted, "tmpfs", 0, "size=256k,mode=0700")) {
        return 77;
    }
    open_cli(mounted);
    if (audit_ready(&cli, &err) || audit_append(&cli, "test", "before", NULL, &err)) {
        return 1;
    }
    if (audit_ready(&cli, &err)) { // room is made while there is some
        return 2;
    }
    snprintf(fill, sizeof(fill), "%s/fill", mounted);
    int fd = open(fill, O_WRONLY | O_CREAT, 0600);
    while (write(fd, block, sizeof(block)) == (ssize_t)sizeof(block)) {}
    if (errno != ENOSPC) {
        return 3;
    }
    // Each act uses some of the room. As long as it lasts every act that was made ready for gets its line; then one is told beforehand.
    int error = 0;
    int lines = 1;
    while (!error && lines < 1000) {
        if (audit_append(&cli, "test", "an act that was made ready for", NULL, &err)) {
            return 4;
        }
        lines++;
        error = audit_ready(&cli, &err);
    }
    if (error != -BR_E_NO_SPACE || br_err_exit(error) != BR_EXIT_SPACE || !strstr(err.text, "audit.ndjson")) {
        return 5;
    }
    return audit_check(&cli, &err) == lines ? 0 : 6;
}

static void a_full_disk_is_noticed_before_the_act(void **state)
{
    int status;
    pid_t pid = fork();
    char mounted[700];

    (void)state;
    if (!pid) {
        _exit(on_a_full_disk());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    snprintf(mounted, sizeof(mounted), "%s/mnt", state_path);
    rmdir(mounted);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        skip(); // no right to mount
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_link_is_not_followed(void **state)
{
    struct br_err err = {0};

    (void)state;
    assert_int_equal(symlink("elsewhere", trail_path), 0);
    assert_true(audit_ready(&cli, &err) < 0);
    assert_true(audit_append(&cli, "test", "x", NULL, &err) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_line_hangs_on_the_one_before, setup, teardown),
        cmocka_unit_test_setup_teardown(details_become_members_but_replace_none, setup, teardown),
        cmocka_unit_test_setup_teardown(processes_that_write_at_once_take_turns, setup, teardown),
        cmocka_unit_test_setup_teardown(a_line_that_a_crash_tore_is_replaced_by_the_next, setup, teardown),
        cmocka_unit_test_setup_teardown(a_torn_line_longer_than_the_next_leaves_nothing_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(a_long_line_before_a_torn_one_still_chains, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_byte_is_found_wherever_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(lines_put_together_otherwise_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_is_noticed_before_the_act, setup, teardown),
        cmocka_unit_test_setup_teardown(a_link_is_not_followed, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
