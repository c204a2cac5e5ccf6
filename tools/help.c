// SPDX-License-Identifier: Apache-2.0
//
// --help, from the verb tables. The manual pages come from the same tables (tools/cmd_manual.c).
#include "tools/cli.h"

#include <stdio.h>

#define HELP_COLUMN 30
#define HELP_WIDTH  80

// Wraps @text at HELP_WIDTH, every line indented by @indent; the first starts at column @at. Ends the line.
static void help_wrap(const char *text, int indent, int at)
{
    int column = at;
    bool blank = false; // one is due before the next word

    while (*text) {
        size_t word = strcspn(text, " \n");
        if (column + blank + (int)word > HELP_WIDTH && column > indent) {
            printf("\n%*s", indent, "");
            column = indent;
            blank = false;
        }
        printf("%s%.*s", blank ? " " : "", (int)word, text);
        column += blank + (int)word;
        text += word;
        blank = *text != 0;
        if (text[0] == '\n' && text[1] == '\n') {
            printf("\n\n%*s", indent, "");
            column = indent;
            blank = false;
            text++;
        }
        text += *text != 0;
    }
    putchar('\n');
}

static void help_options(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        int used = printf("  --%s", options->name);
        if (options->kind != CLI_FLAG) {
            used += printf("=%s", options->value);
        }
        if (used >= HELP_COLUMN) {
            printf("\n%*s", HELP_COLUMN, "");
        } else {
            printf("%*s", HELP_COLUMN - used, "");
        }
        help_wrap(options->text, HELP_COLUMN, HELP_COLUMN);
    }
}

void help_verb(const struct cli_verb *verb)
{
    printf("blkrep %s [options]%s%s\n\n", verb->name, *verb->args ? " " : "", verb->args);
    help_wrap(verb->description, 0, 0);
    if (verb->options) {
        printf("\nOptions\n");
        help_options(verb->options);
    }
    printf("\nOptions of every verb\n");
    help_options(cli_common_options);
    if (verb->examples) {
        printf("\nExamples\n");
        for (const struct cli_example *example = verb->examples; example->command; example++) {
            printf("  %s\n      ", example->command);
            help_wrap(example->text, 6, 6);
        }
    }
    if (verb->see_also) {
        printf("\nSee also: %s\n", verb->see_also);
    }
}

void help_all(void)
{
    printf("blkrep keeps a Linux block device alive somewhere else.\n\nblkrep VERB [options] ARGS\n\n");
    for (size_t i = 0; cli_verbs[i]; i++) {
        char head[80];
        snprintf(head, sizeof(head), "%s %s", cli_verbs[i]->name, cli_verbs[i]->args);
        int used = printf("  %s", head);
        printf("%*s", used < 34 ? 34 - used : 1, "");
        help_wrap(cli_verbs[i]->summary, 34, used < 34 ? 34 : used + 1);
    }
    printf("\nblkrep VERB --help tells more; so does man blkrep-VERB. Exit statuses: blkrep-errors(7).\n");
}
