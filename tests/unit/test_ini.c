// SPDX-License-Identifier: Apache-2.0
//
// Does the one reader of the configuration tell what stands there, in its order, and name file and line of what it can't?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "engine/base/ini.h"

struct heard {
    char text[1024];
    const char *fails_at; // a key
};

static int hear(void *user, const struct br_ini_entry *entry, struct br_err *reterr)
{
    struct heard *heard = user;
    size_t used = strlen(heard->text);

    snprintf(heard->text + used, sizeof(heard->text) - used, "<%s|%s|%s|%s>", entry->section, entry->name, entry->key,
             entry->value);
    return heard->fails_at && !strcmp(heard->fails_at, entry->key) ? br_err_set(reterr, BR_E_CONFIG, "not this one")
                                                                   : 0;
}

static void hears(const char *text, const char *expected)
{
    struct heard heard = {0};
    struct br_err err = {0};

    assert_int_equal(br_ini_parse("/f", text, strlen(text), hear, &heard, &err), 0);
    assert_string_equal(heard.text, expected);
}

static void refuses(const char *text, size_t len, const char *fails_at, const char *words)
{
    struct heard heard = {.fails_at = fails_at};
    struct br_err err = {0};

    assert_int_equal(br_ini_parse("/f", text, len, hear, &heard, &err), -BR_E_CONFIG);
    assert_string_equal(err.text, words);
}

static void heads_come_first_then_entries(void **state)
{
    (void)state;
    hears("", "");
    hears("# nothing\n; at all\n\n", "");
    hears("[volume web]\n[serve]\nlisten = *\n", "<volume|web||><serve|||><serve||listen|*>");
    hears("[a one]\nk=1\n[a two]\nk: 2", "<a|one||><a|two||><a|one|k|1><a|two|k|2>");
}

static void blanks_marks_and_line_ends_are_no_part_of_anything(void **state)
{
    (void)state;
    hears("\xef\xbb\xbf[volume web]\r\npath = /a\r\n", "<volume|web||><volume|web|path|/a>");
    hears(" [\tvolume \t web  ]\n\tpath = /a ; why\n   later = b c\n",
          "<volume|web||><volume|web|path|/a><volume|web|later|b c>");
}

static void mistakes_name_file_and_line(void **state)
{
    static const char zero[] = "[a]\nk = \0\n";
    char text[512];

    (void)state;
    refuses("[a]\n\nnonsense\n", 14, NULL, "/f:3: not `[section name]` or `key = value`");
    refuses("[a\nk = 1\n", 9, NULL, "/f:1: not `[section name]` or `key = value`");
    refuses("[a]\nk = 1\nl = 2\n", 16, "l", "/f:3: not this one");
    refuses("\n[a]\nk = 1\n", 11, "", "/f:2: not this one");
    refuses(zero, sizeof(zero) - 1, NULL, "/f:2: a zero byte");
    int len = snprintf(text, sizeof(text), "[%060d]\n", 1);
    refuses(text, (size_t)len, NULL, "/f:1: a section's name of more than 49 characters");
    len = snprintf(text, sizeof(text), "[a]\nk = %0400d\n", 1);
    refuses(text, (size_t)len, NULL,
            "/f:2: a line of more than 198 bytes; a symbolic link gives a path a shorter name");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_come_first_then_entries),
        cmocka_unit_test(blanks_marks_and_line_ends_are_no_part_of_anything),
        cmocka_unit_test(mistakes_name_file_and_line),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
