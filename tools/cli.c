// SPDX-License-Identifier: Apache-2.0
#include "tools/cli.h"

#include <assert.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "tools/out.h"

#define CLI_LAST_WAIT_MS 2000 // who was told to end waits so long for a reader of its exit object
#define CLI_WARNINGS_MAX 100  // in an exit object

volatile bool cli_cancel;

const struct cli_option cli_common_options[] = {
    {"json", CLI_FLAG, NULL,
     "Print newline-delimited JSON on stdout, ending in an exit object; messages for people are left out."},
    {"bytes", CLI_FLAG, NULL, "Print exact byte counts instead of rounded IEC units."},
    {"config", CLI_PATH, "FILE", "Read this configuration instead of $BLKREP_CONFIG or /etc/blkrep/blkrep.conf."},
    {"state", CLI_PATH, "DIR",
     "Keep state here instead of $BLKREP_STATE, /var/lib/blkrep (root) or the XDG state folder."},
    {"help", CLI_FLAG, NULL, "Show the verb's options and examples, then exit."},
    {NULL, CLI_FLAG, NULL, NULL},
};

const struct cli_field cli_common_fields[] = {
    {"type", "text", "\"exit\"; it tells the exit object from the lines before it."},
    {"schema", "text", "Which fields there can be: the name on this verb's page, with a version."},
    {"verb", "text", "The verb."},
    {"status", "number", "The exit status, see blkrep-errors(7)."},
    {"error", "object|null", "What failed; null when nothing did."},
    {"error.name", "text", "One of the names in blkrep-errors(7)."},
    {"error.message", "text", "What that name means, for people."},
    {"error.text", "text", "What failed, on what, for people."},
    {"error.hint", "text", "What to do about it, for people."},
    {"error.offset_bytes", "number", "Where in the object it failed, when that is known."},
    {"error.errno", "number", "What the kernel said, when it was the kernel."},
    {"warnings", "list", "Of texts for people; not there when there are none."},
    {NULL, NULL, NULL},
};

static bool cli_name_matches(const char *name, int argc, char **argv, int *ret_words)
{
    const char *space = strchr(name, ' ');

    if (!space) {
        *ret_words = 1;
        return !strcmp(argv[1], name);
    }
    *ret_words = 2;
    return argc > 2 && strlen(argv[1]) == (size_t)(space - name) && !strncmp(argv[1], name, (size_t)(space - name)) &&
           !strcmp(argv[2], space + 1);
}

const struct cli_verb *cli_find(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; argc > 1 && cli_verbs[i]; i++) {
        if (cli_name_matches(cli_verbs[i]->name, argc, argv, ret_words)) {
            return cli_verbs[i];
        }
    }
    return NULL;
}

// Options are numbered: the verb's own, then the common ones. Returns NULL behind the last.
static const struct cli_option *cli_option_at(const struct cli_verb *verb, size_t index)
{
    size_t own = 0;

    while (verb->options && verb->options[own].name) {
        own++;
    }
    const struct cli_option *option = index < own ? &verb->options[index] : &cli_common_options[index - own];
    return option->name ? option : NULL;
}

static int cli_option_index(const struct cli_verb *verb, const char *name, size_t name_len)
{
    const struct cli_option *option;

    for (size_t i = 0; (option = cli_option_at(verb, i)); i++) {
        if (strlen(option->name) == name_len && !strncmp(option->name, name, name_len)) {
            return (int)i;
        }
    }
    return -1;
}

static bool cli_choice_ok(const char *choices, const char *value)
{
    size_t len = strlen(value);

    for (const char *at = choices; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
        if (!strncmp(at, value, len) && (at[len] == '|' || !at[len]) && len && !strchr(value, '|')) {
            return true;
        }
    }
    return false;
}

static bool cli_decimal_parse(const char *text, uint64_t *ret_value)
{
    uint64_t value = 0;

    if (!*text) {
        return false;
    }
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || !br_mul_u64(value, 10, &value) ||
            !br_add_u64(value, (uint64_t)(*text - '0'), &value)) {
            return false;
        }
    }
    *ret_value = value;
    return true;
}

static int cli_value_check(const struct cli_option *option, const char *value, struct br_err *reterr)
{
    uint64_t number;

    switch (option->kind) {
    case CLI_SIZE:
        if (!br_size_parse(value, &number)) {
            return br_err_set(reterr, BR_E_USAGE, "--%s=%s is not a size such as 64M or 1.5GiB", option->name, value);
        }
        return 0;
    case CLI_DURATION:
        if (!br_duration_parse(value, &number)) {
            return br_err_set(reterr, BR_E_USAGE, "--%s=%s is not a time such as 30s or 5m", option->name, value);
        }
        return 0;
    case CLI_NUMBER:
        if (!cli_decimal_parse(value, &number)) {
            return br_err_set(reterr, BR_E_USAGE, "--%s=%s is not a number", option->name, value);
        }
        return 0;
    case CLI_CHOICE:
        if (!cli_choice_ok(option->value, value)) {
            return br_err_set(reterr, BR_E_USAGE, "--%s=%s is not one of %s", option->name, value, option->value);
        }
        return 0;
    case CLI_TEXT:
    case CLI_PATH:
        if (!*value) {
            return br_err_set(reterr, BR_E_USAGE, "--%s needs a value that is not empty", option->name);
        }
        return 0;
    case CLI_FLAG: break;
    }
    return 0;
}

static int cli_take_option(struct cli *cli, char **argv, int argc, int *at, struct br_err *reterr)
{
    const char *name = argv[*at] + 2;
    const char *equals = strchr(name, '=');
    size_t name_len = equals ? (size_t)(equals - name) : strlen(name);
    int index = cli_option_index(cli->verb, name, name_len);

    if (index < 0) {
        return br_err_set(reterr, BR_E_USAGE, "blkrep %s has no option --%.*s", cli->verb->name, (int)name_len, name);
    }
    const struct cli_option *option = cli_option_at(cli->verb, (size_t)index);
    if (cli->values[index]) {
        return br_err_set(reterr, BR_E_USAGE, "--%s is given twice", option->name);
    }
    if (option->kind == CLI_FLAG) {
        if (equals) {
            return br_err_set(reterr, BR_E_USAGE, "--%s takes no value", option->name);
        }
        cli->values[index] = "";
        return 0;
    }
    const char *value = equals ? equals + 1 : *at + 1 < argc ? argv[++*at] : NULL;
    if (!value) {
        return br_err_set(reterr, BR_E_USAGE, "--%s needs a value: --%s=%s", option->name, option->name, option->value);
    }
    cli->values[index] = value;
    return cli_value_check(option, value, reterr);
}

// Who asked for JSON gets it of a usage error too, wherever the error stands.
static bool cli_json_asked(int argc, char **argv)
{
    for (int at = 0; at < argc && strcmp(argv[at], "--") != 0; at++) {
        if (!strcmp(argv[at], "--json")) {
            return true;
        }
    }
    return false;
}

int cli_parse(struct cli *cli, const struct cli_verb *verb, int argc, char **argv, struct br_err *reterr)
{
    bool options_end = false;
    int kept = 0;

    cli->verb = verb;
    cli->args = argv;
    cli->report = json_object();
    cli->json = cli_json_asked(argc, argv);
    for (int at = 0; at < argc; at++) {
        char *word = argv[at];
        if (!options_end && !strcmp(word, "--")) {
            options_end = true;
        } else if (!options_end && !strncmp(word, "--", 2)) {
            int error = cli_take_option(cli, argv, argc, &at, reterr);
            if (error) {
                return error;
            }
        } else if (!options_end && word[0] == '-' && word[1]) {
            return br_err_set(reterr, BR_E_USAGE, "%s: blkrep has long options only, such as --json", word);
        } else {
            argv[kept++] = word;
        }
    }
    cli->arg_count = kept;
    cli->json = cli_flag(cli, "json");
    cli->exact_bytes = cli_flag(cli, "bytes");
    if (cli_flag(cli, "help")) {
        return 0;
    }
    if (kept < verb->args_min || kept > verb->args_max) {
        return br_err_set(reterr, BR_E_USAGE, "blkrep %s takes %s, not %d argument%s", verb->name,
                          *verb->args ? verb->args : "no argument", kept, kept == 1 ? "" : "s");
    }
    return 0;
}

static const char *cli_value(const struct cli *cli, const char *name)
{
    int index = cli_option_index(cli->verb, name, strlen(name));

    assert(index >= 0 && index < CLI_OPTIONS_MAX);
    return cli->values[index];
}

void cli_set(struct cli *cli, const char *name, const char *value)
{
    int index = cli_option_index(cli->verb, name, strlen(name));

    assert(index >= 0);
    cli->values[index] = value;
}

bool cli_flag(const struct cli *cli, const char *name)
{
    return cli_value(cli, name) != NULL;
}

const char *cli_text(const struct cli *cli, const char *name)
{
    return cli_value(cli, name);
}

uint64_t cli_size(const struct cli *cli, const char *name, uint64_t otherwise)
{
    const char *value = cli_value(cli, name);
    uint64_t bytes = otherwise;

    return value && br_size_parse(value, &bytes) ? bytes : otherwise;
}

uint64_t cli_duration_ns(const struct cli *cli, const char *name, uint64_t otherwise)
{
    const char *value = cli_value(cli, name);
    uint64_t ns = otherwise;

    return value && br_duration_parse(value, &ns) ? ns : otherwise;
}

uint64_t cli_number(const struct cli *cli, const char *name, uint64_t otherwise)
{
    const char *value = cli_value(cli, name);
    uint64_t number = otherwise;

    return value && cli_decimal_parse(value, &number) ? number : otherwise;
}

// All that people read goes through here: no name and no word of a peer moves the terminal's cursor.
static void cli_put_line(int fd, const char *fmt, va_list args) __attribute__((format(printf, 2, 0)));

static void cli_put_line(int fd, const char *fmt, va_list args)
{
    char text[2 * PATH_MAX];
    char shown[4 * sizeof(text) + 1]; // each byte may become \xNN

    vsnprintf(text, sizeof(text), fmt, args);
    br_visible(text, shown, sizeof(shown) - 1);
    size_t len = strlen(shown);
    shown[len++] = '\n';
    if (fd == STDERR_FILENO) {
        out_stderr(shown, len);
    } else {
        fwrite(shown, 1, len, stdout);
    }
}

static void cli_complain(const char *fmt, ...) BR_PRINTF(1, 2);

static void cli_complain(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    cli_put_line(STDERR_FILENO, fmt, args);
    va_end(args);
}

void cli_say(const struct cli *cli, const char *fmt, ...)
{
    va_list args;

    if (cli->json) {
        return;
    }
    va_start(args, fmt);
    cli_put_line(STDERR_FILENO, fmt, args);
    va_end(args);
}

void cli_warn(struct cli *cli, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    cli_complain("blkrep %s: warning: %s", cli->verb->name, text);
    json_t *warnings = json_object_get(cli->report, "warnings");
    if (!warnings) {
        warnings = json_array();
        json_object_set_new(cli->report, "warnings", warnings);
    }
    // What runs for months may warn for months.
    if (json_array_size(warnings) < CLI_WARNINGS_MAX) {
        json_array_append_new(warnings, cli_json_text(text));
    } else if (json_array_size(warnings) == CLI_WARNINGS_MAX) {
        json_array_append_new(warnings, json_string("more warnings followed, on stderr"));
    }
}

void cli_print(const struct cli *cli, const char *fmt, ...)
{
    va_list args;

    if (cli->json) {
        return;
    }
    va_start(args, fmt);
    cli_put_line(STDOUT_FILENO, fmt, args);
    va_end(args);
}

void cli_event(const struct cli *cli, json_t *event)
{
    FILE *to = cli->events ? cli->events : stdout;

    if (cli->json) {
        json_dumpf(event, to, CLI_JSON_FORMAT);
        fputc('\n', to);
        fflush(to);
    }
    json_decref(event);
}

bool cli_heard(void)
{
    return out_ready(STDOUT_FILENO, 0);
}

void cli_news(const struct cli *cli, json_t *event)
{
    if (cli->json && cli_heard()) {
        cli_event(cli, event);
    } else {
        json_decref(event);
    }
}

void cli_bytes(const struct cli *cli, uint64_t bytes, char *text, size_t text_size)
{
    if (cli->exact_bytes) {
        snprintf(text, text_size, "%llu", (unsigned long long)bytes);
    } else {
        br_size_text(bytes, text, text_size);
    }
}

json_t *cli_json_text(const char *text)
{
    char quoted[4 * PATH_MAX + 3]; // each byte may become \xNN

    if (!text) {
        return json_null();
    }
    // A text that begins with a quotation mark is the quoted form of something: no other may look like it.
    json_t *string = *text == '"' ? NULL : json_string(text);
    if (string) {
        return string;
    }
    br_quote(text, quoted, sizeof(quoted));
    return json_string(quoted);
}

void cli_report_json(struct cli *cli, const char *key, json_t *value)
{
    json_object_set_new(cli->report, key, value);
}

void cli_report_text(struct cli *cli, const char *key, const char *text)
{
    cli_report_json(cli, key, cli_json_text(text));
}

void cli_report_number(struct cli *cli, const char *key, uint64_t value)
{
    cli_report_json(cli, key, json_integer((json_int_t)value));
}

void cli_report_bool(struct cli *cli, const char *key, bool value)
{
    cli_report_json(cli, key, json_boolean(value));
}

void cli_report_seconds(struct cli *cli, const char *key, uint64_t ns)
{
    cli_report_json(cli, key, json_real((double)(ns / 1000) / 1e6));
}

int cli_confirm(struct cli *cli, const char *word, const char *question, struct br_err *reterr)
{
    char line[256];

    if (cli_flag(cli, "yes")) {
        return 0;
    }
    if (cli->json || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO)) {
        return br_err_set(reterr, BR_E_REFUSED, "%s; give --yes to confirm without a terminal", question);
    }
    cli_complain("%s", question);
    fprintf(stderr, "Type %s to go on: ", word);
    fflush(stderr);
    if (!fgets(line, sizeof(line), stdin)) {
        return br_err_set(reterr, BR_E_REFUSED, "not confirmed");
    }
    line[strcspn(line, "\n")] = 0;
    if (strcmp(line, word)) {
        return br_err_set(reterr, BR_E_REFUSED, "not confirmed");
    }
    return 0;
}

static json_t *cli_error_json(int code, const struct br_err *err)
{
    json_t *error = json_object();

    json_object_set_new(error, "name", json_string(br_err_name(code)));
    json_object_set_new(error, "message", json_string(br_err_message(code)));
    json_object_set_new(error, "text", cli_json_text(err->text));
    json_object_set_new(error, "hint", json_string(br_err_hint(code)));
    if (err->has_offset) {
        json_object_set_new(error, "offset_bytes", json_integer((json_int_t)err->offset_bytes));
    }
    if (err->os_errno) {
        json_object_set_new(error, "errno", json_integer(err->os_errno));
    }
    return error;
}

static void cli_error_say(const struct cli *cli, int code, const struct br_err *err)
{
    char at[48] = "";

    if (err->has_offset) {
        snprintf(at, sizeof(at), " (at byte %llu)", (unsigned long long)err->offset_bytes);
    }
    cli_complain("blkrep%s%s: %s%s%s%s", cli->verb ? " " : "", cli->verb ? cli->verb->name : "", br_err_message(code),
                 err->text[0] ? ": " : "", err->text, at);
    if (code == BR_E_USAGE && cli->verb) {
        cli_complain("  see blkrep %s --help", cli->verb->name);
    } else {
        cli_complain("  %s", br_err_hint(code));
    }
}

int cli_end(struct cli *cli, int result, const struct br_err *err)
{
    int code = result < 0 ? -result : 0;
    int status = br_err_exit(code);

    if (code) {
        cli_error_say(cli, code, err);
    }
    if (cli->json) {
        json_t *exit_object = json_object();
        json_object_set_new(exit_object, "type", json_string("exit"));
        json_object_set_new(exit_object, "schema",
                            json_string(cli->verb && cli->verb->schema ? cli->verb->schema : "blkrep/1"));
        json_object_set_new(exit_object, "verb", json_string(cli->verb ? cli->verb->name : ""));
        json_object_set_new(exit_object, "status", json_integer(status));
        json_object_set_new(exit_object, "error", code ? cli_error_json(code, err) : json_null());
        json_object_update(exit_object, cli->report);
        if (!cli_cancel || out_ready(cli->events ? fileno(cli->events) : STDOUT_FILENO, CLI_LAST_WAIT_MS)) {
            cli_event(cli, exit_object);
        } else {
            json_decref(exit_object);
        }
    }
    json_decref(cli->report);
    cli->report = NULL;
    if (cli->events) {
        fclose(cli->events);
        cli->events = NULL;
    }
    return cli_flush(status);
}

int cli_flush(int status)
{
    if ((fflush(stdout) || ferror(stdout)) && !status) {
        cli_complain("blkrep: writing to stdout failed");
        return BR_EXIT_FAILED;
    }
    return status;
}

// A signal that comes twice at once is one request: timeout(1) and process managers signal the process and its group. Only ^C again, by a
// person who would not wait, kills.
static void cli_on_signal(int signal_number)
{
    static volatile time_t first_s;
    struct timespec now = {0};

    clock_gettime(CLOCK_MONOTONIC, &now);
    if (!cli_cancel) {
        first_s = now.tv_sec;
    } else if (signal_number == SIGINT && now.tv_sec > first_s + 1) {
        signal(SIGINT, SIG_DFL);
        raise(SIGINT); // when this returns
    }
    cli_cancel = true;
}

void cli_catch_signals(void)
{
    struct sigaction action = {.sa_handler = cli_on_signal};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); // a write beyond the limit is an error like others
}
