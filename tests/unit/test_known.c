// SPDX-License-Identifier: Apache-2.0
//
// Does this host remember what it synced where, does a failed run keep the facts of the last good one, and does a damaged or lost memory
// cost the overview only?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/t_env.h"
#include "tools/known.h"
#include "tools/verbs.h"

static char state_path[512];
static struct cli cli;

static int setup(void **state)
{
    static char option[600];
    static char *argv[1];
    struct br_err err = {0};

    (void)state;
    snprintf(state_path, sizeof(state_path), "%s/test_known.XXXXXX", t_folder());
    assert_non_null(mkdtemp(state_path));
    snprintf(option, sizeof(option), "--state=%s", state_path);
    argv[0] = option;
    cli = (struct cli){0};
    assert_int_equal(cli_parse(&cli, &cmd_token_list, 1, argv, &err), 0);
    return 0;
}

// Calls @visit with the path of each file in known/; returns how many there are.
static int each_file(void (*visit)(const char *path))
{
    char folder[600], path[1200];
    struct dirent *entry;
    int count = 0;

    snprintf(folder, sizeof(folder), "%s/known", state_path);
    DIR *dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            visit(path);
            count++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

static void remove_file(const char *path)
{
    assert_int_equal(unlink(path), 0);
}

static void damage_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "{\"source\":", 10), 10);
    close(fd);
}

static int teardown(void **state)
{
    char folder[600];

    (void)state;
    each_file(remove_file);
    snprintf(folder, sizeof(folder), "%s/known", state_path);
    rmdir(folder);
    json_decref(cli.report);
    return rmdir(state_path);
}

static void record(const char *source, const char *replica, const char *key, int value)
{
    struct br_err err = {0};
    json_t *facts = json_object();

    json_object_set_new(facts, key, json_integer(value));
    assert_int_equal(known_record(&cli, source, replica, facts, &err), 0);
}

static json_t *list(void)
{
    struct br_err err = {0};
    json_t *all = NULL;

    assert_int_equal(known_list(&cli, &all, &err), 0);
    return all;
}

static const char *text_of(const json_t *all, size_t index, const char *key)
{
    return json_string_value(json_object_get(json_array_get(all, index), key));
}

static int number_of(const json_t *all, size_t index, const char *key)
{
    return (int)json_integer_value(json_object_get(json_array_get(all, index), key));
}

static void pairs_are_listed_in_order(void **state)
{
    (void)state;
    record("/srv/b", "/backup/b", "generation", 1);
    record("/srv/a", "/backup/z", "generation", 2);
    record("/srv/a", "/backup/a", "generation", 3);
    json_t *all = list();
    assert_int_equal(json_array_size(all), 3);
    assert_string_equal(text_of(all, 0, "replica"), "/backup/a");
    assert_string_equal(text_of(all, 1, "replica"), "/backup/z");
    assert_string_equal(text_of(all, 2, "source"), "/srv/b");
    json_decref(all);
}

static void a_failed_run_keeps_the_facts_of_the_last_good_one(void **state)
{
    (void)state;
    record("/srv/a", "/backup/a", "generation", 3);
    record("/srv/a", "/backup/a", "last_status", 5);
    json_t *all = list();
    assert_int_equal(json_array_size(all), 1);
    assert_int_equal(number_of(all, 0, "generation"), 3);
    assert_int_equal(number_of(all, 0, "last_status"), 5);
    json_decref(all);
}

static void names_that_run_together_are_two_pairs(void **state)
{
    (void)state;
    record("/a", "/bc", "n", 1);
    record("/a/b", "c", "n", 2);
    record("/a/", "bc", "n", 3);
    json_t *all = list();
    assert_int_equal(json_array_size(all), 3);
    json_decref(all);
}

static void names_that_are_not_utf_8_are_kept_quoted(void **state)
{
    (void)state;
    record("/srv/\xff name", "/backup/\n", "n", 1);
    json_t *all = list();
    assert_string_equal(text_of(all, 0, "source"), "\"/srv/\\xff name\"");
    assert_string_equal(text_of(all, 0, "replica"), "/backup/\n");
    json_decref(all);
}

static void what_is_forgotten_is_all_pairs_of_that_replica(void **state)
{
    struct br_err err = {0};

    (void)state;
    record("/srv/a", "/backup/a", "n", 1);
    record("/srv/b", "/backup/a", "n", 2);
    record("/srv/b", "/backup/b", "n", 3);
    assert_int_equal(known_forget(&cli, "/backup/a", &err), 2);
    assert_int_equal(known_forget(&cli, "/backup/a", &err), 0);
    json_t *all = list();
    assert_int_equal(json_array_size(all), 1);
    assert_string_equal(text_of(all, 0, "replica"), "/backup/b");
    json_decref(all);
}

static void a_replica_whose_name_is_no_utf_8_is_forgotten_too(void **state)
{
    struct br_err err = {0};

    (void)state;
    record("/srv/a", "/backup/\xff", "n", 1);
    assert_int_equal(known_forget(&cli, "/backup/\xff", &err), 1);
}

static void damaged_or_lost_entries_are_left_out_and_made_anew(void **state)
{
    (void)state;
    record("/srv/a", "/backup/a", "generation", 3);
    record("/srv/b", "/backup/b", "generation", 4);
    assert_int_equal(each_file(damage_file), 2);
    json_t *all = list();
    assert_int_equal(json_array_size(all), 0);
    json_decref(all);
    record("/srv/a", "/backup/a", "generation", 5);
    all = list();
    assert_int_equal(json_array_size(all), 1);
    assert_int_equal(number_of(all, 0, "generation"), 5);
    json_decref(all);
    each_file(remove_file);
    all = list();
    assert_int_equal(json_array_size(all), 0);
    json_decref(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pairs_are_listed_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(a_failed_run_keeps_the_facts_of_the_last_good_one, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_run_together_are_two_pairs, setup, teardown),
        cmocka_unit_test_setup_teardown(names_that_are_not_utf_8_are_kept_quoted, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_forgotten_is_all_pairs_of_that_replica, setup, teardown),
        cmocka_unit_test_setup_teardown(a_replica_whose_name_is_no_utf_8_is_forgotten_too, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_or_lost_entries_are_left_out_and_made_anew, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
