// SPDX-License-Identifier: Apache-2.0
//
// blkrep manual: prints the manual pages and the bash completion, made from the tables that the program itself runs on: verbs and options
// (tools/cli.h), configuration keys (tools/conf.h), errors (engine/base/err.h). `make man` writes them to build/man. blkrep-stream(5) is
// written by hand in tools/man, since its source is a format and not a table.
#include <stdio.h>

#include "blkrep_version.h"
#include "tools/cli.h"
#include "tools/conf.h"

static const struct cli_example manual_examples[] = {
    {"blkrep manual blkrep-sync.1", "Print a page as troff source."},
    {NULL, NULL},
};

// Text for troff: a leading dot or quote would be a request, a backslash an escape; hyphens in options must stay hyphens.
static void manual_text(const char *text)
{
    bool line_start = true;

    for (; *text; text++) {
        if (text[0] == '\n' && text[1] == '\n') {
            printf("\n.PP\n");
            text++;
            line_start = true;
            continue;
        }
        if (line_start && (*text == '.' || *text == '\'')) {
            printf("\\&");
        }
        line_start = *text == '\n';
        if (*text == '\\') {
            printf("\\e");
        } else if (*text == '-') {
            printf("\\-");
        } else if (*text == '`') {
            // `command` is set in bold up to the closing mark
            const char *end = strchr(text + 1, '`');
            printf("%s", end ? "\\fB" : "\\(ga");
            for (text++; end && text < end; text++) {
                printf(*text == '-' ? "\\-" : *text == '\\' ? "\\e" : "%c", *text);
            }
            printf("%s", end ? "\\fR" : "");
            text -= !end;
        } else {
            putchar(*text);
        }
    }
    putchar('\n');
}

static void manual_head(const char *name, const char *section, const char *summary)
{
    printf(".\\\" made by blkrep manual; do not edit\n.TH %s %s \"\" \"blkrep %s\" \"blkrep\"\n.nh\n.ad l\n.SH NAME\n",
           name, section, BR_VERSION);
    printf("%s \\- ", name);
    manual_text(summary);
}

static void manual_options(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        printf(".TP\n\\fB\\-\\-");
        for (const char *at = options->name; *at; at++) {
            printf(*at == '-' ? "\\-" : "%c", *at);
        }
        printf("\\fR");
        if (options->kind != CLI_FLAG) {
            printf("=\\fI%s\\fR", options->value);
        }
        printf("\n");
        manual_text(options->text);
    }
}

static void manual_name_of(const struct cli_verb *verb, char *name, size_t name_size)
{
    snprintf(name, name_size, "blkrep-%s", verb->name);
    for (char *at = name; *at; at++) {
        if (*at == ' ') {
            *at = '-';
        }
    }
}

static void manual_verb(const struct cli_verb *verb)
{
    char name[64];

    manual_name_of(verb, name, sizeof(name));
    manual_head(name, "1", verb->summary);
    printf(".SH SYNOPSIS\n.B blkrep %s\n[options] %s\n.SH DESCRIPTION\n", verb->name, verb->args);
    manual_text(verb->description);
    if (verb->options) {
        printf(".SH OPTIONS\n");
        manual_options(verb->options);
    }
    printf(".SS Options of every verb\n");
    manual_options(cli_common_options);
    if (verb->examples) {
        printf(".SH EXAMPLES\n");
        for (const struct cli_example *example = verb->examples; example->command; example++) {
            printf(".TP\n.B ");
            manual_text(example->command);
            manual_text(example->text);
        }
    }
    printf(".SH EXIT STATUS\nSee \\fBblkrep\\-errors\\fR(7).\n");
    printf(".SH SEE ALSO\n\\fBblkrep\\fR(1)");
    if (verb->see_also) {
        printf(", ");
        manual_text(verb->see_also);
    } else {
        printf("\n");
    }
}

static void manual_overview(void)
{
    manual_head("blkrep", "1", "block-level replication that is never silently wrong");
    printf(".SH SYNOPSIS\n.B blkrep\n\\fIVERB\\fR [options] \\fIARGS\\fR\n.SH DESCRIPTION\n");
    manual_text(
        "blkrep keeps a file or block device alive somewhere else. It runs on stock kernels. Options are long ones only; an option that "
        "a verb does not know is an error. Sizes are read and printed in IEC units (64M, 1.5GiB); data goes to stdout, the rest to "
        "stderr.");
    printf(".SH VERBS\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        char name[64];
        manual_name_of(cli_verbs[i], name, sizeof(name));
        printf(".TP\n\\fB%s\\fR \\fI%s\\fR\n", cli_verbs[i]->name, cli_verbs[i]->args);
        manual_text(cli_verbs[i]->summary);
        printf("See \\fB%s\\fR(1).\n", name);
    }
    printf(".SH ADDRESSES\n");
    manual_text(
        "A path; `blkrep://HOST[:PORT]/NAME` for a replica behind `blkrep serve`; or the name of a `[volume N]` or `[replica N]` "
        "section of the configuration (a name that holds a slash is always a path).");
    printf(".SH OPTIONS OF EVERY VERB\n");
    manual_options(cli_common_options);
    printf(".SH ENVIRONMENT\n.TP\n.B BLKREP_STATE\n");
    manual_text(
        "The state folder; default /var/lib/blkrep for root, else $XDG_STATE_HOME/blkrep or ~/.local/state/blkrep.");
    printf(".TP\n.B BLKREP_CONFIG\n");
    manual_text("The configuration; default /etc/blkrep/blkrep.conf, which may be missing.");
    printf(".SH FILES\n.TP\n.I NAME.blkrep/\n");
    manual_text(
        "State of the file NAME, as a source, a replica or both: identity, version trees, a staged delta. It belongs to the file; "
        "losing it costs a full compare.");
    printf(".TP\n.I STATE/devices/WWID/\nThe same for a block device.\n.TP\n.I STATE/audit.ndjson\n");
    manual_text("One line for every act that changed state or trust, each with the hash of the line before it.");
    printf(".SH SEE ALSO\n\\fBblkrep.conf\\fR(5), \\fBblkrep\\-stream\\fR(5), \\fBblkrep\\-errors\\fR(7)\n");
}

static void manual_errors(void)
{
    static const struct {
        int status;
        const char *text;
    } statuses[] = {
        {BR_EXIT_OK, "Done: what was asked is durable."},
        {BR_EXIT_FAILED, "Failed."},
        {BR_EXIT_USAGE, "Wrong usage or configuration; nothing was done."},
        {BR_EXIT_REFUSED, "Refused for safety; nothing was done to the target."},
        {BR_EXIT_VERIFY, "Verification failed: data is not what it should be."},
        {BR_EXIT_PEER, "The peer or the network failed; run again."},
        {BR_EXIT_SPACE, "No space left; make room and run again."},
        {BR_EXIT_BUSY, "Another run holds it."},
        {BR_EXIT_GAPS, "Done, with gaps: unreadable source blocks are marked in the version."},
    };

    manual_head("blkrep-errors", "7", "exit statuses and errors of blkrep");
    printf(".SH EXIT STATUS\n");
    for (size_t i = 0; i < BR_ARRAY_LEN(statuses); i++) {
        printf(".TP\n.B %d\n", statuses[i].status);
        manual_text(statuses[i].text);
    }
    printf(".SH ERRORS\n");
    manual_text("With --json the exit object's error.name is one of these.");
    for (int code = 1; code < BR_E_MAX; code++) {
        printf(".TP\n\\fB%s\\fR (exit status %d)\n", br_err_name(code), br_err_exit(code));
        manual_text(br_err_message(code));
        printf(".br\nWhat to do: ");
        manual_text(br_err_hint(code));
    }
}

static void manual_conf(void)
{
    const char *section = "";

    manual_head("blkrep.conf", "5", "configuration of blkrep");
    printf(".SH DESCRIPTION\n");
    manual_text(
        "INI: sections in brackets, `key = value`, comments after a semicolon at the start of a line or after a blank. The file is "
        "/etc/blkrep/blkrep.conf, or what --config or $BLKREP_CONFIG names; it must belong to root or to the user and be writable by "
        "nobody else. An unknown section or key is an error. A flag on the command line wins over the environment, the environment "
        "over this file.");
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        if (strcmp(row->section, section) != 0) {
            section = row->section;
            printf(".SH [%s%s]\n", section, strcmp(section, "serve") ? " NAME" : "");
        }
        printf(".TP\n\\fB%s\\fR = \\fI%s\\fR\n", row->key, row->value ? row->value : "yes|no");
        manual_text(row->text);
        if (row->otherwise) {
            printf("Default: %s.\n", row->otherwise);
        }
    }
    printf(".SH SEE ALSO\n\\fBblkrep\\fR(1), \\fBblkrep\\-serve\\fR(1)\n");
}

static void manual_completion_words(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        printf(" --%s%s", options->name, options->kind == CLI_FLAG ? "" : "=");
    }
}

static void manual_completion(void)
{
    printf("# bash completion of blkrep; made by blkrep manual bash-completion\n"
           "_blkrep() {\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]:-} words=\n"
           "    local two=\"$verb ${COMP_WORDS[2]:-}\"\n"
           "    compopt +o nospace 2>/dev/null\n"
           "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
           "        words='--help --version");
    for (size_t i = 0; cli_verbs[i]; i++) {
        printf(" %.*s", (int)strcspn(cli_verbs[i]->name, " "), cli_verbs[i]->name);
    }
    printf("'\n    else\n        case $two in\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        bool pair = strchr(cli_verbs[i]->name, ' ') != NULL;
        printf("        \"%s\"%s) words='", cli_verbs[i]->name, pair ? "*" : "\\ *");
        manual_completion_words(cli_verbs[i]->options);
        manual_completion_words(cli_common_options);
        printf("' ;;\n");
    }
    printf("        esac\n"
           "        [ \"$COMP_CWORD\" -eq 2 ] && case $verb in\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        const char *space = strchr(cli_verbs[i]->name, ' ');
        if (space) {
            printf("        %.*s) words=\"$words %s\" ;;&\n", (int)(space - cli_verbs[i]->name), cli_verbs[i]->name,
                   space + 1);
        }
    }
    printf(
        "        *) ;;\n        esac\n"
        "    fi\n"
        "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
        "    if [ \"${#COMPREPLY[@]}\" -eq 1 ] && [[ ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi\n"
        "    if [ \"${#COMPREPLY[@]}\" -eq 0 ] && [[ $cur != -* ]]; then mapfile -t COMPREPLY < <(compgen -f -- \"$cur\"); fi\n"
        "    return 0\n"
        "}\n"
        "complete -o filenames -F _blkrep blkrep\n");
}

static void manual_list(void)
{
    printf("blkrep.1\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        char name[64];
        manual_name_of(cli_verbs[i], name, sizeof(name));
        printf("%s.1\n", name);
    }
    printf("blkrep.conf.5\nblkrep-errors.7\nbash-completion\n");
}

static bool manual_verb_page(const char *page)
{
    for (size_t i = 0; cli_verbs[i]; i++) {
        char name[64];
        manual_name_of(cli_verbs[i], name, sizeof(name) - 2);
        strcat(name, ".1");
        if (!strcmp(name, page)) {
            manual_verb(cli_verbs[i]);
            return true;
        }
    }
    return false;
}

static int manual_run(struct cli *cli, struct br_err *reterr)
{
    static const struct {
        const char *page;
        void (*print)(void);
    } pages[] = {
        {"blkrep.1", manual_overview},
        {"blkrep.conf.5", manual_conf},
        {"blkrep-errors.7", manual_errors},
        {"bash-completion", manual_completion},
    };

    if (!cli->arg_count) {
        manual_list();
        return 0;
    }
    for (size_t i = 0; i < BR_ARRAY_LEN(pages); i++) {
        if (!strcmp(cli->args[0], pages[i].page)) {
            pages[i].print();
            return 0;
        }
    }
    return manual_verb_page(cli->args[0])
               ? 0
               : br_err_set(reterr, BR_E_NOT_FOUND, "the page %s; blkrep manual lists them", cli->args[0]);
}

const struct cli_verb cmd_manual = {
    .name = "manual",
    .args = "[PAGE]",
    .args_min = 0,
    .args_max = 1,
    .summary = "Print a manual page or the bash completion.",
    .description =
        "Without PAGE lists what there is. The pages are made from the tables that the program runs on, so they are of this very "
        "version; `blkrep manual blkrep.1 | man -l -` reads one that is not installed.",
    .options = NULL,
    .examples = manual_examples,
    .see_also = NULL,
    .schema = "blkrep.manual/1",
    .run = manual_run,
};
