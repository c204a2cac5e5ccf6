// SPDX-License-Identifier: Apache-2.0
//
// Does the front door take what the tables say, refuse everything else with what is wrong, and end every run with one whole JSON object?
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/lib/t_env.h"
#include "tools/cli.h"

static int never_run(struct cli *cli, struct br_err *reterr)
{
    (void)cli;
    return br_err_set(reterr, BR_E_INTERNAL, "not meant to run");
}

static const struct cli_option sample_options[] = {
    {"flag", CLI_FLAG, NULL, "A flag."},
    {"text", CLI_TEXT, "TEXT", "A text."},
    {"path", CLI_PATH, "PATH", "A path."},
    {"size", CLI_SIZE, "SIZE", "A size."},
    {"time", CLI_DURATION, "TIME", "A time."},
    {"number", CLI_NUMBER, "N", "A number."},
    {"choice", CLI_CHOICE, "one|two|three", "A choice."},
    {"yes", CLI_FLAG, NULL, "Don't ask."},
    {NULL, CLI_FLAG, NULL, NULL},
};

static const struct cli_verb sample = {
    .name = "sample",
    .args = "ONE [TWO]",
    .args_min = 1,
    .args_max = 2,
    .summary = "A sample.",
    .description = "A sample.",
    .options = sample_options,
    .schema = "blkrep.sample/1",
    .run = never_run,
};

#define WORDS_MAX 16

// Splits @line at blanks; "''" stands for an empty word. Returns what cli_parse() returns.
static int parse(struct cli *cli, const char *line, struct br_err *err)
{
    static char copy[512];
    static char *argv[WORDS_MAX];
    int argc = 0;

    *cli = (struct cli){0};
    *err = (struct br_err){0};
    snprintf(copy, sizeof(copy), "%s", line);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = strcmp(word, "''") ? word : word + 2;
    }
    return cli_parse(cli, &sample, argc, argv, err);
}

static void taken(struct cli *cli, const char *line)
{
    struct br_err err;

    if (parse(cli, line, &err)) {
        fail_msg("\"%s\" is refused: %s", line, err.text);
    }
}

static void every_kind_of_value_is_taken_in_both_forms(void **state)
{
    struct cli cli;

    (void)state;
    taken(&cli, "a --flag --text=x --path=./p --size=1.5GiB --time=90s --number=18446744073709551615 --choice=two");
    assert_true(cli_flag(&cli, "flag"));
    assert_string_equal(cli_text(&cli, "text"), "x");
    assert_string_equal(cli_text(&cli, "path"), "./p");
    assert_int_equal(cli_size(&cli, "size", 0), 3 * BR_MIB * 512);
    assert_int_equal(cli_duration_ns(&cli, "time", 0), 90 * BR_NS_PER_S);
    assert_true(cli_number(&cli, "number", 0) == UINT64_MAX);
    assert_string_equal(cli_text(&cli, "choice"), "two");
    assert_int_equal(cli.arg_count, 1);
    json_decref(cli.report);

    taken(&cli, "--text x --size 64K a --choice three b --number 0");
    assert_string_equal(cli_text(&cli, "text"), "x");
    assert_int_equal(cli_size(&cli, "size", 0), 65536);
    assert_string_equal(cli_text(&cli, "choice"), "three");
    assert_int_equal(cli_number(&cli, "number", 9), 0);
    assert_int_equal(cli.arg_count, 2);
    assert_string_equal(cli.args[0], "a");
    assert_string_equal(cli.args[1], "b");
    json_decref(cli.report);
}

static void what_is_not_given_is_the_other_value(void **state)
{
    struct cli cli;

    (void)state;
    taken(&cli, "a");
    assert_false(cli_flag(&cli, "flag"));
    assert_null(cli_text(&cli, "text"));
    assert_int_equal(cli_size(&cli, "size", 5), 5);
    assert_int_equal(cli_duration_ns(&cli, "time", 6), 6);
    assert_int_equal(cli_number(&cli, "number", 7), 7);
    assert_false(cli.json);
    assert_false(cli.exact_bytes);
    json_decref(cli.report);
}

static void two_dashes_end_the_options(void **state)
{
    struct cli cli;

    (void)state;
    taken(&cli, "-- --flag -x");
    assert_int_equal(cli.arg_count, 2);
    assert_string_equal(cli.args[0], "--flag");
    assert_string_equal(cli.args[1], "-x");
    assert_false(cli_flag(&cli, "flag"));
    json_decref(cli.report);

    taken(&cli, "-- --json --"); // not the option, and a word of its own
    assert_false(cli.json);
    assert_string_equal(cli.args[1], "--");
    json_decref(cli.report);

    taken(&cli, "-"); // standard input, by habit
    assert_string_equal(cli.args[0], "-");
    json_decref(cli.report);
}

static void each_mistake_is_named(void **state)
{
    static const struct {
        const char *line;
        const char *named;
    } cases[] = {
        {"a --no-such-option", "no option --no-such-option"},
        {"a --no-such-option=3", "no option --no-such-option"},
        {"a --fla", "no option --fla"},
        {"a --flags", "no option --flags"},
        {"a --=x", "no option --"},
        {"a --flag=yes", "--flag takes no value"},
        {"a --flag --flag", "--flag is given twice"},
        {"a --text=x --text=y", "--text is given twice"},
        {"a --text=x --text x", "--text is given twice"},
        {"a --text", "--text needs a value: --text=TEXT"},
        {"a --text=", "--text needs a value that is not empty"},
        {"a --path ''", "--path needs a value that is not empty"},
        {"a --size=", "--size="},
        {"a --size=many", "--size=many is not a size"},
        {"a --size=-1", "is not a size"},
        {"a --size=1Q", "is not a size"},
        {"a --size=99999999E", "is not a size"},
        {"a --time=soon", "--time=soon is not a time"},
        {"a --time=30x", "is not a time"},
        {"a --number=x", "--number=x is not a number"},
        {"a --number=", "is not a number"},
        {"a --number=-1", "is not a number"},
        {"a --number=1.5", "is not a number"},
        {"a --number=0x10", "is not a number"},
        {"a --number=18446744073709551616", "is not a number"},
        {"a --choice=", "is not one of one|two|three"},
        {"a --choice=on", "is not one of one|two|three"},
        {"a --choice=ones", "is not one of"},
        {"a --choice=one|two", "is not one of"},
        {"a -f", "-f: blkrep has long options only"},
        {"a -flag", "-flag: blkrep has long options only"},
        {"''", NULL}, // an empty word is an argument; the verb says what it makes of it
        {"", "blkrep sample takes ONE [TWO], not 0 arguments"},
        {"a b c", "not 3 arguments"},
    };
    struct cli cli;
    struct br_err err;

    (void)state;
    for (size_t i = 0; i < BR_ARRAY_LEN(cases); i++) {
        int result = parse(&cli, cases[i].line, &err);
        if (!cases[i].named) {
            assert_int_equal(result, 0);
        } else if (result != -BR_E_USAGE || !strstr(err.text, cases[i].named)) {
            fail_msg("\"%s\" gives %d, \"%s\" instead of \"%s\"", cases[i].line, result, err.text, cases[i].named);
        }
        json_decref(cli.report);
    }
    assert_int_equal(br_err_exit(BR_E_USAGE), 2);
}

static void help_needs_no_arguments_but_right_options(void **state)
{
    struct cli cli;
    struct br_err err;

    (void)state;
    taken(&cli, "--help");
    assert_true(cli_flag(&cli, "help"));
    json_decref(cli.report);
    assert_int_equal(parse(&cli, "--help --nonsense", &err), -BR_E_USAGE);
    json_decref(cli.report);
}

static void json_is_known_wherever_a_mistake_stands(void **state)
{
    static const char *const lines[] = {"a --json --nonsense", "a --nonsense --json", "a -x --json", "--json",
                                        "--size=x --json a"};
    struct cli cli;
    struct br_err err;

    (void)state;
    for (size_t i = 0; i < BR_ARRAY_LEN(lines); i++) {
        assert_int_equal(parse(&cli, lines[i], &err), -BR_E_USAGE);
        assert_true(cli.json);
        json_decref(cli.report);
    }
}

// stdout into a file, so that what is printed can be read.
static char out_path[512];
static int stdout_kept = -1;

static void begin_output(void)
{
    snprintf(out_path, sizeof(out_path), "%s/test_cli.XXXXXX", t_folder());
    int fd = mkstemp(out_path);
    assert_true(fd >= 0);
    fflush(stdout);
    stdout_kept = dup(STDOUT_FILENO);
    assert_true(stdout_kept >= 0 && dup2(fd, STDOUT_FILENO) >= 0);
    close(fd);
}

static size_t end_output(char *text, size_t text_size)
{
    fflush(stdout);
    assert_true(dup2(stdout_kept, STDOUT_FILENO) >= 0);
    close(stdout_kept);
    int fd = open(out_path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, text_size - 1);
    assert_true(len >= 0);
    close(fd);
    unlink(out_path);
    text[len] = 0;
    return (size_t)len;
}

// Ends the run and gives the exit object, which must be one whole line.
static json_t *exit_object(struct cli *cli, int result, const struct br_err *err, int *ret_status)
{
    static char text[128 * 1024];

    begin_output();
    *ret_status = cli_end(cli, result, err);
    size_t len = end_output(text, sizeof(text));
    assert_true(len > 0 && text[len - 1] == '\n' && strchr(text, '\n') == text + len - 1);
    json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    assert_true(json_is_object(object));
    return object;
}

static const char *text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void the_exit_object_of_a_success_has_the_common_fields(void **state)
{
    struct cli cli;
    struct br_err err = {0};
    int status;

    (void)state;
    taken(&cli, "a --json");
    cli_report_number(&cli, "bytes", UINT64_C(1) << 62);
    cli_report_bool(&cli, "good", true);
    cli_report_seconds(&cli, "seconds", 1500000000);
    cli_report_text(&cli, "nothing", NULL);
    json_t *object = exit_object(&cli, 0, &err, &status);
    assert_int_equal(status, 0);
    assert_string_equal(text_at(object, "type"), "exit");
    assert_string_equal(text_at(object, "schema"), "blkrep.sample/1");
    assert_string_equal(text_at(object, "verb"), "sample");
    assert_int_equal(json_integer_value(json_object_get(object, "status")), 0);
    assert_true(json_is_null(json_object_get(object, "error")));
    assert_true(json_integer_value(json_object_get(object, "bytes")) == INT64_C(1) << 62);
    assert_true(json_is_true(json_object_get(object, "good")));
    assert_true(json_real_value(json_object_get(object, "seconds")) == 1.5);
    assert_true(json_is_null(json_object_get(object, "nothing")));
    json_decref(object);
}

static void the_exit_object_of_a_failure_says_what_and_what_to_do(void **state)
{
    struct cli cli;
    struct br_err err = {0};
    int status;

    (void)state;
    taken(&cli, "a --json");
    int result = br_err_at(&err, BR_E_VERIFY, 65536, "the file \xff\xfe\"\n");
    json_t *object = exit_object(&cli, result, &err, &status);
    const json_t *error = json_object_get(object, "error");
    assert_int_equal(status, 4);
    assert_int_equal(json_integer_value(json_object_get(object, "status")), 4);
    assert_string_equal(text_at(error, "name"), "VERIFY");
    assert_string_equal(text_at(error, "message"), br_err_message(BR_E_VERIFY));
    assert_string_equal(text_at(error, "hint"), br_err_hint(BR_E_VERIFY));
    assert_string_equal(text_at(error, "text"), "\"the file \\xff\\xfe\\\"\\n\"");
    assert_int_equal(json_integer_value(json_object_get(error, "offset_bytes")), 65536);
    json_decref(object);
}

static void every_byte_of_a_name_comes_through_json(void **state)
{
    static const char *const names[][2] = {
        {"plain", "plain"},
        {"", ""},
        {"with \n and \t", "with \n and \t"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"a\"b\\c", "a\"b\\c"},
        {"\xff", "\"\\xff\""},
        {"\\xff", "\\xff"},
        {"\"\\xff\"", "\"\\\"\\\\xff\\\"\""},    // looks like a quoted one, so it is quoted itself
        {"\xc0\x80", "\"\\xc0\\x80\""},          // overlong zero
        {"\xed\xa0\x80", "\"\\xed\\xa0\\x80\""}, // half a surrogate pair
        {"cut \xc3", "\"cut \\xc3\""},
    };

    (void)state;
    for (size_t i = 0; i < BR_ARRAY_LEN(names); i++) {
        json_t *text = cli_json_text(names[i][0]);
        assert_string_equal(json_string_value(text), names[i][1]);
        json_decref(text);
    }
}

static void the_longest_path_is_not_cut(void **state)
{
    char path[PATH_MAX];

    (void)state;
    memset(path, 0xff, sizeof(path) - 1);
    path[sizeof(path) - 1] = 0;
    json_t *text = cli_json_text(path);
    assert_int_equal(strlen(json_string_value(text)), 4 * (PATH_MAX - 1) + 2);
    json_decref(text);
}

static void warnings_are_texts_in_a_list(void **state)
{
    struct cli cli;
    struct br_err err = {0};
    int status;

    (void)state;
    taken(&cli, "a --json");
    cli_warn(&cli, "the first, of %d", 2);
    cli_warn(&cli, "a name: %s", "\xff");
    json_t *object = exit_object(&cli, 0, &err, &status);
    const json_t *warnings = json_object_get(object, "warnings");
    assert_int_equal(json_array_size(warnings), 2);
    assert_string_equal(json_string_value(json_array_get(warnings, 0)), "the first, of 2");
    assert_string_equal(json_string_value(json_array_get(warnings, 1)), "\"a name: \\xff\"");
    json_decref(object);
}

static void warnings_of_months_are_bounded(void **state)
{
    struct cli cli;
    struct br_err err = {0};
    int status;

    (void)state;
    taken(&cli, "a --json");
    for (int i = 0; i < 500; i++) {
        cli_warn(&cli, "warning %d", i);
    }
    json_t *object = exit_object(&cli, 0, &err, &status);
    const json_t *warnings = json_object_get(object, "warnings");
    assert_int_equal(json_array_size(warnings), 101);
    assert_string_equal(json_string_value(json_array_get(warnings, 99)), "warning 99");
    assert_non_null(strstr(json_string_value(json_array_get(warnings, 100)), "more warnings"));
    json_decref(object);
}

static void people_and_programs_get_their_own_output(void **state)
{
    struct cli cli;
    char text[1024];

    (void)state;
    taken(&cli, "a");
    begin_output();
    cli_print(&cli, "data for %s", "people");
    cli_event(&cli, json_pack("{s:s}", "type", "line"));
    assert_int_equal(cli_end(&cli, 0, NULL), 0);
    end_output(text, sizeof(text));
    assert_string_equal(text, "data for people\n");

    taken(&cli, "a --json");
    begin_output();
    cli_print(&cli, "data for %s", "people");
    cli_event(&cli, json_pack("{s:s}", "type", "line"));
    end_output(text, sizeof(text));
    assert_string_equal(text, "{\"type\":\"line\"}\n");
    json_decref(cli.report);
}

static void data_that_can_t_be_written_is_a_failure(void **state)
{
    struct cli cli;
    struct br_err err = {0};
    int full = open("/dev/full", O_WRONLY);

    (void)state;
    if (full < 0) {
        skip();
    }
    taken(&cli, "a");
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    assert_true(kept >= 0 && dup2(full, STDOUT_FILENO) >= 0);
    cli_print(&cli, "lost");
    int status = cli_end(&cli, 0, &err);
    assert_true(dup2(kept, STDOUT_FILENO) >= 0);
    close(kept);
    close(full);
    clearerr(stdout);
    assert_int_equal(status, BR_EXIT_FAILED);
}

static void a_loss_needs_a_terminal_or_yes(void **state)
{
    struct cli cli;
    struct br_err err = {0};
    int null = open("/dev/null", O_RDONLY);
    int kept = dup(STDIN_FILENO);

    (void)state;
    assert_true(null >= 0 && kept >= 0 && dup2(null, STDIN_FILENO) >= 0);
    taken(&cli, "a");
    int without = cli_confirm(&cli, "overwrite", "all will be lost", &err);
    json_decref(cli.report);
    taken(&cli, "a --yes");
    int with = cli_confirm(&cli, "overwrite", "all will be lost", &err);
    json_decref(cli.report);
    assert_true(dup2(kept, STDIN_FILENO) >= 0);
    close(kept);
    close(null);
    assert_int_equal(without, -BR_E_REFUSED);
    assert_non_null(strstr(err.text, "all will be lost"));
    assert_non_null(strstr(err.text, "--yes"));
    assert_int_equal(with, 0);
}

static void sizes_are_rounded_for_people_and_exact_on_request(void **state)
{
    struct cli cli;
    char text[32];

    (void)state;
    taken(&cli, "a");
    cli_bytes(&cli, 1536 * 1024 + 1, text, sizeof(text));
    assert_string_equal(text, "1.50 MiB");
    json_decref(cli.report);
    taken(&cli, "a --bytes");
    cli_bytes(&cli, 1536 * 1024 + 1, text, sizeof(text));
    assert_string_equal(text, "1572865");
    json_decref(cli.report);
}

// Every verb of the program: what the parser and the manual take for granted of the tables.

static void fields_are_well_formed(const char *verb, const struct cli_field *fields)
{
    for (const struct cli_field *field = fields; field && field->name; field++) {
        for (const char *at = field->type; *at;) {
            size_t len = strcspn(at, "|");
            char word[16];
            snprintf(word, sizeof(word), " %.*s ", (int)len, at);
            if (!strstr(" text number boolean list object null ", word)) {
                fail_msg("%s: the field %s is of type %s", verb, field->name, field->type);
            }
            at += len + (at[len] == '|');
        }
        for (const struct cli_field *other = fields; other < field; other++) {
            assert_string_not_equal(other->name, field->name);
        }
        if (field->text[strlen(field->text) - 1] != '.') {
            fail_msg("%s: the text of the field %s is no sentence", verb, field->name);
        }
    }
}

static void options_are_well_formed(const struct cli_verb *verb)
{
    size_t count = 0;

    for (const struct cli_option *option = verb->options; option && option->name; option++, count++) {
        if ((option->kind == CLI_FLAG) != !option->value || option->text[strlen(option->text) - 1] != '.') {
            fail_msg("%s --%s: its value and kind don't fit, or its text is no sentence", verb->name, option->name);
        }
        for (const struct cli_option *common = cli_common_options; common->name; common++) {
            assert_string_not_equal(common->name, option->name);
        }
        for (const struct cli_option *other = verb->options; other < option; other++) {
            assert_string_not_equal(other->name, option->name);
        }
    }
    for (const struct cli_option *common = cli_common_options; common->name; common++) {
        count++;
    }
    assert_true(count <= CLI_OPTIONS_MAX);
}

static void every_verb_is_whole_and_found_by_its_words(void **state)
{
    (void)state;
    for (size_t i = 0; cli_verbs[i]; i++) {
        const struct cli_verb *verb = cli_verbs[i];
        char first[32];
        size_t first_len = strcspn(verb->name, " ");
        snprintf(first, sizeof(first), "%.*s", (int)first_len, verb->name);
        const char *second = verb->name[first_len] ? verb->name + first_len + 1 : NULL;
        char program[] = "blkrep", other[] = "--json", word[32];
        snprintf(word, sizeof(word), "%s", second ? second : other);
        char *argv[] = {program, first, word, NULL};
        int words = 0;
        assert_ptr_equal(cli_find(3, argv, &words), verb);
        assert_int_equal(words, second ? 2 : 1);
        assert_true(isupper((unsigned char)verb->summary[0]) && verb->summary[strlen(verb->summary) - 1] == '.');
        assert_true(verb->args && verb->description && verb->schema && verb->run && verb->examples);
        assert_true(verb->args_min >= 0 && verb->args_min <= verb->args_max);
        assert_true(!strncmp(verb->schema, "blkrep.", 7) && strstr(verb->schema, "/1"));
        options_are_well_formed(verb);
        fields_are_well_formed(verb->name, verb->fields);
        for (const struct cli_line *line = verb->lines; line && line->type; line++) {
            fields_are_well_formed(verb->name, line->fields);
        }
    }
    fields_are_well_formed("every verb", cli_common_fields);
}

static void what_is_no_verb_is_not_found(void **state)
{
    char program[] = "blkrep", token[] = "token", nonsense[] = "nonsense", empty[] = "", both[] = "token create";
    char *lone[] = {program, token, NULL};
    char *second[] = {program, token, nonsense, NULL};
    char *none[] = {program, empty, NULL};
    char *one_word[] = {program, both, NULL};
    int words;

    (void)state;
    assert_null(cli_find(2, lone, &words));
    assert_null(cli_find(3, second, &words));
    assert_null(cli_find(2, none, &words));
    assert_null(cli_find(2, one_word, &words));
    assert_null(cli_find(1, lone, &words));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_value_is_taken_in_both_forms),
        cmocka_unit_test(what_is_not_given_is_the_other_value),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(each_mistake_is_named),
        cmocka_unit_test(help_needs_no_arguments_but_right_options),
        cmocka_unit_test(json_is_known_wherever_a_mistake_stands),
        cmocka_unit_test(the_exit_object_of_a_success_has_the_common_fields),
        cmocka_unit_test(the_exit_object_of_a_failure_says_what_and_what_to_do),
        cmocka_unit_test(every_byte_of_a_name_comes_through_json),
        cmocka_unit_test(the_longest_path_is_not_cut),
        cmocka_unit_test(warnings_are_texts_in_a_list),
        cmocka_unit_test(warnings_of_months_are_bounded),
        cmocka_unit_test(people_and_programs_get_their_own_output),
        cmocka_unit_test(data_that_can_t_be_written_is_a_failure),
        cmocka_unit_test(a_loss_needs_a_terminal_or_yes),
        cmocka_unit_test(sizes_are_rounded_for_people_and_exact_on_request),
        cmocka_unit_test(every_verb_is_whole_and_found_by_its_words),
        cmocka_unit_test(what_is_no_verb_is_not_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
