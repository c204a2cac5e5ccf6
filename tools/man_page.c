// SPDX-License-Identifier: Apache-2.0
//
// mandoc -Tlint -Wwarning and groff must both be content with what is printed here; tests/cli/manual-pages.sh asks them.
#include "tools/man_page.h"

#include <ctype.h>
#include <stdio.h>

#include "blkrep_version.h"

// One character of text: a hyphen stays one that can be copied into a shell, a backslash is no escape.
static void man_char(char c)
{
    switch (c) {
    case '-': printf("\\-"); break;
    case '\\': printf("\\e"); break;
    case '"': printf("\\(dq"); break;
    case '~': printf("\\(ti"); break;
    case '^': printf("\\(ha"); break;
    default: putchar(c);
    }
}

static void man_chars(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        man_char(text[i]);
    }
}

// Text within a line. `word` is bold.
static void man_inline(const char *text, size_t len)
{
    const char *end = text + len;

    while (text < end) {
        const char *close = *text == '`' ? memchr(text + 1, '`', (size_t)(end - text - 1)) : NULL;
        if (close) {
            printf("\\fB");
            man_chars(text + 1, (size_t)(close - text - 1));
            printf("\\fR");
            text = close + 1;
        } else {
            man_char(*text++);
        }
    }
}

// The end of the sentence that begins at @text: behind ". ", at an empty line or at the end. Each gets a line of its own, which is what
// troff wants and what makes the two blanks between sentences equal everywhere.
static const char *man_sentence_end(const char *text)
{
    for (; *text; text++) {
        if (text[0] == '\n' && text[1] == '\n') {
            return text;
        }
        if ((text[0] == '.' || text[0] == ':') && text[1] == ' ' &&
            (isupper((unsigned char)text[2]) || text[2] == '`')) {
            return text + 1;
        }
    }
    return text;
}

void man_text(const char *text)
{
    while (*text) {
        const char *end = man_sentence_end(text);
        if (*text == '.' || *text == '\'') {
            printf("\\&"); // else it would be a request
        }
        man_inline(text, (size_t)(end - text));
        putchar('\n');
        if (end[0] == '\n') {
            printf(".PP\n");
            end += 2;
        }
        text = end + strspn(end, " ");
    }
}

void man_head(const char *name, const char *section, const char *summary)
{
    size_t len = strlen(summary);

    printf(".\\\" made by blkrep manual; do not edit\n.TH ");
    man_chars(name, strlen(name));
    printf(" %s %s \"blkrep %s\" \"blkrep\"\n.nh\n.ad l\n.SH NAME\n", section, BR_VERSION_DATE, BR_VERSION);
    man_chars(name, strlen(name));
    printf(" \\- ");
    // A sentence of the table as a phrase: "Print it." becomes "print it".
    bool sentence = isupper((unsigned char)summary[0]) && islower((unsigned char)summary[1]);
    putchar(sentence ? tolower((unsigned char)summary[0]) : summary[0]);
    man_inline(summary + 1, len - 1 - (summary[len - 1] == '.'));
    putchar('\n');
}

void man_section(const char *title)
{
    printf(".SH ");
    man_chars(title, strlen(title));
    putchar('\n');
}

void man_subsection(const char *title)
{
    printf(".SS ");
    man_chars(title, strlen(title));
    putchar('\n');
}

void man_item(const char *head, const char *behind, const char *text)
{
    printf(".TP\n\\fB");
    man_chars(head, strlen(head));
    printf("\\fR%s", *behind ? " " : "");
    man_arguments(behind);
    man_text(text);
}

void man_arguments(const char *arguments)
{
    while (*arguments) {
        bool name = isupper((unsigned char)*arguments);
        size_t len = name ? strspn(arguments, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") : 1;
        printf("%s", name ? "\\fI" : "");
        man_chars(arguments, len);
        printf("%s", name ? "\\fR" : "");
        arguments += len;
    }
    putchar('\n');
}

void man_options(const struct cli_option *options)
{
    for (; options && options->name; options++) {
        printf(".TP\n\\fB\\-\\-");
        man_chars(options->name, strlen(options->name));
        printf("\\fR");
        if (options->kind != CLI_FLAG) {
            printf("=\\fI");
            man_chars(options->value, strlen(options->value));
            printf("\\fR");
        }
        putchar('\n');
        man_text(options->text);
    }
}

void man_fields(const struct cli_field *fields)
{
    for (; fields && fields->name; fields++) {
        printf(".TP\n\\fB");
        man_chars(fields->name, strlen(fields->name));
        printf("\\fR (%s)\n", fields->type);
        man_text(fields->text);
    }
}

void man_example(const char *lines)
{
    printf(".PP\n.RS 2\n.nf\n");
    for (; *lines; lines++) {
        if (*lines == '\n') {
            putchar('\n');
        } else {
            man_char(*lines);
        }
    }
    printf("\n.fi\n.RE\n");
}

void man_paragraph(const char *text)
{
    printf(".PP\n");
    man_text(text);
}

void man_see_also(const char *first, const char *pages)
{
    man_section("SEE ALSO");
    printf("%s", first);
    while (pages && *pages) {
        size_t name = strcspn(pages, "(");
        size_t len = strcspn(pages, ",");
        printf(",\n\\fB");
        man_chars(pages, name);
        printf("\\fR%.*s", (int)(len - name), pages + name);
        pages += len;
        pages += strspn(pages, ", ");
    }
    putchar('\n');
}
