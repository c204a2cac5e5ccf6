// SPDX-License-Identifier: Apache-2.0
//
// The front door: every verb is one table (struct cli_verb) and one function. --help, the manual pages, bash completion and the option
// parser all read the same table, so they can't disagree. Only tools/ prints and exits.
//
// Life of a command: main() finds the verb, cli_parse() checks every option and value, the verb's run() does the work with the engine
// and fills the report, cli_end() prints the result (people: stderr says what failed and what to do; --json: one exit object on stdout)
// and gives the exit status.
#ifndef BR_TOOLS_CLI_H
#define BR_TOOLS_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "engine/base/bytes.h"
#include "engine/base/err.h"
#include "engine/base/units.h"

enum cli_kind {
    CLI_FLAG,
    CLI_TEXT,
    CLI_PATH,
    CLI_SIZE,     // IEC size, see br_size_parse()
    CLI_DURATION, // see br_duration_parse()
    CLI_NUMBER,   // unsigned decimal
    CLI_CHOICE,   // one of the words in `value`, separated by |
};

struct cli_option {
    const char *name; // without dashes
    enum cli_kind kind;
    const char *value; // how the value is shown: SIZE, FD, uring|aio|auto; NULL for flags
    const char *text;  // what it does, one or two sentences
};

struct cli_example {
    const char *command;
    const char *text;
};

// A field of a JSON object that a verb prints. `name` as a path: "root", "clients[].name"; `type` as in JSON, "text|null" for either.
struct cli_field {
    const char *name;
    const char *type; // text, number, boolean, list, object, null, with | between
    const char *text;
};

// A kind of line that a verb prints under --json before its exit object.
struct cli_line {
    const char *type; // the line's "type"
    const char *text;
    const struct cli_field *fields; // ends with a NULL name
};

struct cli;

struct cli_verb {
    const char *name; // "sync", "client list"
    const char *args; // "SOURCE REPLICA"
    int args_min;
    int args_max;
    const char *summary;                // one line
    const char *description;            // paragraphs separated by \n\n
    const struct cli_option *options;   // ends with a NULL name; NULL for none
    const struct cli_example *examples; // ends with a NULL command; run by tests/cli/manual-examples.sh
    const char *see_also;               // "blkrep-finish(1), blkrep-status(1)"
    const char *schema;                 // of the JSON exit object, "blkrep.sync/1"
    const struct cli_field *fields;     // of it, besides cli_common_fields; ends with a NULL name; NULL for none
    const struct cli_line *lines;       // before it; ends with a NULL type; NULL for none
    void (*manual)(void);               // prints more sections of its page; NULL for none
    int (*run)(struct cli *cli, struct br_err *reterr); // 0 or -BR_E_*
};

#define CLI_OPTIONS_MAX 40

// How JSON is printed: seconds to a microsecond, not to the last bit of a double.
#define CLI_JSON_FORMAT (JSON_COMPACT | JSON_REAL_PRECISION(12))

struct conf;

struct cli {
    const struct cli_verb *verb;
    const char *values[CLI_OPTIONS_MAX]; // by index: the verb's options, then the common ones; NULL not given
    char **args;
    int arg_count;
    bool json;
    FILE *events;      // where lines of JSON go when stdout carries something else; NULL stdout. Closed by cli_end()
    bool exact_bytes;  // --bytes
    json_t *report;    // the exit object under construction
    struct conf *conf; // see conf.h; loaded at first use
};

extern const struct cli_option cli_common_options[];
extern const struct cli_field cli_common_fields[]; // of every exit object
extern const struct cli_verb *const cli_verbs[];   // NULL-terminated, in the order of the manual

/** cli_find - the verb that argv[1..] names (two words first), NULL when none; *ret_words says how many words it took */
const struct cli_verb *cli_find(int argc, char **argv, int *ret_words);
/** cli_parse - check and take options and arguments of @verb from @argv; -BR_E_USAGE names what is wrong */
BR_MUST_CHECK int cli_parse(struct cli *cli, const struct cli_verb *verb, int argc, char **argv, struct br_err *reterr);

/** cli_set - give an option of the verb a value (NULL: not given), as if the command line had; @value must live on */
void cli_set(struct cli *cli, const char *name, const char *value);
/** cli_flag - true when the flag was given */
bool cli_flag(const struct cli *cli, const char *name);
/** cli_text - the value given, or NULL */
const char *cli_text(const struct cli *cli, const char *name);
/** cli_size, cli_duration_ns, cli_number - the value given, already checked by cli_parse(), or @otherwise */
uint64_t cli_size(const struct cli *cli, const char *name, uint64_t otherwise);
uint64_t cli_duration_ns(const struct cli *cli, const char *name, uint64_t otherwise);
uint64_t cli_number(const struct cli *cli, const char *name, uint64_t otherwise);

/** cli_say - a line for people on stderr, left out when nobody reads it (tools/out.h); silent under --json */
void cli_say(const struct cli *cli, const char *fmt, ...) BR_PRINTF(2, 3);
/** cli_warn - "blkrep VERB: warning: ..." on stderr, and an entry of the exit object's "warnings" */
void cli_warn(struct cli *cli, const char *fmt, ...) BR_PRINTF(2, 3);
/** cli_print - a line of data on stdout; never under --json */
void cli_print(const struct cli *cli, const char *fmt, ...) BR_PRINTF(2, 3);
/** cli_event - one NDJSON line on stdout (or @events) under --json, nothing otherwise; takes the reference */
void cli_event(const struct cli *cli, json_t *event);
/** cli_heard - stdout takes a line just now; a reader that stalls must not hold up what runs for ever */
bool cli_heard(void);
/** cli_news - cli_event() of something that goes on; left out while nobody reads stdout */
void cli_news(const struct cli *cli, json_t *event);
/** cli_bytes - a size for people: IEC units, or exact with --bytes */
void cli_bytes(const struct cli *cli, uint64_t bytes, char *text, size_t text_size);

/** cli_report_* - set a field of the exit object; NULL text is null; bytes that are not UTF-8 are quoted */
void cli_report_text(struct cli *cli, const char *key, const char *text);
void cli_report_number(struct cli *cli, const char *key, uint64_t value);
void cli_report_bool(struct cli *cli, const char *key, bool value);
void cli_report_seconds(struct cli *cli, const char *key, uint64_t ns);
/** cli_report_json - takes the reference */
void cli_report_json(struct cli *cli, const char *key, json_t *value);
/** cli_json_text - a JSON string of a name from outside, quoted by br_quote() when it isn't UTF-8 or begins with a quotation mark */
json_t *cli_json_text(const char *text);

/**
 * cli_confirm - a destructive step: true with --yes, or when the person on the terminal types @word
 * Without a terminal and without --yes: -BR_E_REFUSED. Needs a "yes" option.
 */
BR_MUST_CHECK int cli_confirm(struct cli *cli, const char *word, const char *question, struct br_err *reterr);
/** cli_end - report the outcome, print the exit object; returns the exit status */
int cli_end(struct cli *cli, int result, const struct br_err *err);
/** cli_flush - the last thing before the exit: @status, or failed when data never reached its reader (`blkrep dump > full-disk`) */
int cli_flush(int status);
/** cli_cancel - set by SIGINT and SIGTERM after cli_catch_signals() */
extern volatile bool cli_cancel;
/**
 * cli_catch_signals - SIGINT and SIGTERM ask for a clean end; SIGINT again, two seconds later, kills
 * SIGPIPE and SIGXFSZ are ignored: the call that fails says it.
 */
void cli_catch_signals(void);

/** help_verb, help_all - print --help to stdout */
void help_verb(const struct cli_verb *verb);
void help_all(void);

#endif
