// SPDX-License-Identifier: Apache-2.0
//
// Does the configuration say what its manual says, and refuse everything else by file and line?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/lib/t_env.h"
#include "tools/conf.h"

static char conf_path[512];

static int setup(void **state)
{
    (void)state;
    snprintf(conf_path, sizeof(conf_path), "%s/test_conf.XXXXXX", t_folder());
    int fd = mkstemp(conf_path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(conf_path);
}

static void write_conf(const char *text)
{
    FILE *file = fopen(conf_path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static struct conf *load(const char *text)
{
    struct conf *conf = NULL;
    struct br_err err = {0};

    write_conf(text);
    int error = conf_load(conf_path, &conf, &err);
    if (error) {
        print_message("%s\n", err.text);
    }
    assert_int_equal(error, 0);
    return conf;
}

static void refused(const char *text, int code, const char *needle)
{
    struct conf *conf = NULL;
    struct br_err err = {0};

    write_conf(text);
    assert_int_equal(conf_load(conf_path, &conf, &err), -code);
    if (!strstr(err.text, needle)) {
        fail_msg("\"%s\" does not hold \"%s\"", err.text, needle);
    }
}

static void values_defaults_and_names_are_found(void **state)
{
    struct conf *conf =
        load("[volume web]\npath = /srv/web.img\n[replica far]\naddress = blkrep://host/web\n[replica near]\n"
             "path = /backup/web.img\n[serve]\nlisten = 127.0.0.1\nsessions-max = 3\n");

    (void)state;
    assert_string_equal(conf_get(conf, "volume", "web", "path"), "/srv/web.img");
    assert_string_equal(conf_get(conf, "volume", "web", "recheck-period"), "30d");
    assert_int_equal(conf_duration_ns(conf, "volume", "web", "recheck-period"), UINT64_C(30) * 86400 * BR_NS_PER_S);
    assert_int_equal(conf_number(conf, "serve", "", "sessions-max"), 3);
    assert_int_equal(conf_size(conf, "serve", "", "bwlimit"), 0);
    assert_false(conf_flag(conf, "replica", "near", "overwrite"));
    assert_true(conf_has(conf, "replica", "far"));
    assert_false(conf_has(conf, "replica", "web"));
    assert_string_equal(conf_next_name(conf, "replica", NULL), "far");
    assert_string_equal(conf_next_name(conf, "replica", "far"), "near");
    assert_null(conf_next_name(conf, "replica", "near"));
    conf_free(conf);
}

static void every_kind_of_mistake_is_refused_with_its_line(void **state)
{
    (void)state;
    refused("[volume web]\npath = /srv/web.img\ncolour = red\n", BR_E_CONFIG, ":3: unknown key colour");
    refused("[cluster]\nx = y\n", BR_E_CONFIG, ":1: unknown section [cluster]");
    refused("\n[cluster]\n", BR_E_CONFIG, ":2: unknown section [cluster]");
    refused("[volume]\npath = /x\n", BR_E_CONFIG, ":1: section [volume] needs a name");
    refused("[serve mine]\nlisten = x\n", BR_E_CONFIG, ":1: section [serve] takes no name");
    refused("[volume a/b]\npath = /x\n", BR_E_CONFIG, ":1: the name in [volume a/b]");
    refused("path = /x\n[serve]\n", BR_E_CONFIG, ":1: path stands before the first [section]");
    refused("[volume web]\npath = web.img\n", BR_E_CONFIG, ":2: path = web.img must be an absolute path");
    refused("[volume web]\nrecheck-period = soon\n", BR_E_CONFIG, ":2: recheck-period = soon is not a valid value");
    refused("[serve]\nbwlimit = 10 parsecs\n", BR_E_CONFIG, ":2: bwlimit = 10 parsecs");
    refused("[replica r]\noverwrite = perhaps\n", BR_E_CONFIG, ":2: overwrite = perhaps");
    refused("[volume web]\npath = /a\npath = /b\n", BR_E_CONFIG, ":3: path is given twice");
    refused("[volume web]\nno equals sign here\n", BR_E_CONFIG, ":2: not");
}

static void what_the_library_would_cut_or_pass_over_is_refused(void **state)
{
    char text[1200];
    const char *many =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";

    (void)state;
    snprintf(text, sizeof(text), "[serve]\ndirectory = /%s%s\n", many, many);
    refused(text, BR_E_CONFIG, ":2: a line of more than");
    snprintf(text, sizeof(text), "[volume %.50s]\npath = /x\n", many);
    refused(text, BR_E_CONFIG, ":1: a section's name of more than");
    // the longest that is taken is taken whole, and a comment may be longer
    snprintf(text, sizeof(text), "; %s%s\n[volume %.42s]\npath = /%.100s%.90s\n", many, many, many, many, many);
    struct conf *conf = load(text);
    assert_int_equal(strlen(conf_get(conf, "volume", conf_next_name(conf, "volume", NULL), "path")), 191);
    assert_int_equal(strlen(conf_next_name(conf, "volume", NULL)), 42);
    conf_free(conf);
    assert_int_equal(conf_parse("f", "[serve]\nlisten = a\0b\n", 22, &conf, NULL), -BR_E_CONFIG);
}

static void a_section_means_one_thing(void **state)
{
    (void)state;
    refused("[volume web]\n", BR_E_CONFIG, "[volume web] has no path");
    refused("[volume web]\nrecheck-period = 1d\n", BR_E_CONFIG, "[volume web] has no path");
    refused("[replica r]\n[serve]\n", BR_E_CONFIG, "[replica r] has no path and no address");
    refused("[replica r]\npath = /x\naddress = blkrep://h/n\n", BR_E_CONFIG, "which is it?");
    refused("[replica r]\naddress = /etc/passwd\n", BR_E_CONFIG,
            ":2: address = /etc/passwd is not of the form blkrep://");
    refused("[serve]\nsessions-max = 0\n", BR_E_CONFIG, ":2: sessions-max = 0 is not a valid value");
}

static void blanks_comments_and_line_ends_are_free(void **state)
{
    struct conf *conf =
        load("\xef\xbb\xbf# first\r\n [ volume  web ]\r\n\tpath = /a;b ; but not this\r\n  recheck-period: 2d\r\n"
             "  ; a comment\n[replica a]\npath=/a\n[replica b]\npath=/b\n[replica a]\noverwrite=yes");

    (void)state;
    assert_string_equal(conf_get(conf, "volume", "web", "path"), "/a;b");
    assert_string_equal(conf_get(conf, "volume", "web", "recheck-period"), "2d");
    assert_true(conf_flag(conf, "replica", "a", "overwrite"));
    assert_string_equal(conf_next_name(conf, "replica", "a"), "b");
    assert_null(conf_next_name(conf, "replica", "b"));
    conf_free(conf);
}

static void a_file_that_others_may_write_is_refused(void **state)
{
    (void)state;
    write_conf("");
    assert_int_equal(chmod(conf_path, 0620), 0);
    struct conf *conf = NULL;
    struct br_err err = {0};
    assert_int_equal(conf_load(conf_path, &conf, &err), -BR_E_PERMISSION);
    assert_int_equal(chmod(conf_path, 0600), 0);
}

static void a_pipe_in_its_place_is_refused_at_once(void **state)
{
    struct conf *conf = NULL;
    struct br_err err = {0};

    (void)state;
    assert_int_equal(unlink(conf_path), 0);
    assert_int_equal(mkfifo(conf_path, 0600), 0);
    assert_int_equal(conf_load(conf_path, &conf, &err), -BR_E_CONFIG);
    assert_non_null(strstr(err.text, "regular file"));
    assert_int_equal(unlink(conf_path), 0);
    write_conf("");
}

static void a_file_that_was_named_must_exist(void **state)
{
    struct conf *conf = NULL;
    struct br_err err = {0};

    (void)state;
    assert_int_equal(conf_load("/nonexistent/blkrep.conf", &conf, &err), -BR_E_NOT_FOUND);
}

static void every_default_is_a_valid_value_of_its_key(void **state)
{
    struct conf *conf = load("");

    (void)state;
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        const char *name = strcmp(row->section, "serve") ? "x" : "";
        switch (row->otherwise ? row->kind : CLI_TEXT) {
        case CLI_SIZE: (void)conf_size(conf, row->section, name, row->key); break;
        case CLI_DURATION: (void)conf_duration_ns(conf, row->section, name, row->key); break;
        case CLI_NUMBER: (void)conf_number(conf, row->section, name, row->key); break;
        case CLI_FLAG: (void)conf_flag(conf, row->section, name, row->key); break;
        default: break;
        }
    }
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_defaults_and_names_are_found),
        cmocka_unit_test(every_kind_of_mistake_is_refused_with_its_line),
        cmocka_unit_test(what_the_library_would_cut_or_pass_over_is_refused),
        cmocka_unit_test(a_section_means_one_thing),
        cmocka_unit_test(blanks_comments_and_line_ends_are_free),
        cmocka_unit_test(a_file_that_others_may_write_is_refused),
        cmocka_unit_test(a_pipe_in_its_place_is_refused_at_once),
        cmocka_unit_test(a_file_that_was_named_must_exist),
        cmocka_unit_test(every_default_is_a_valid_value_of_its_key),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
