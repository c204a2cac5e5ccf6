// SPDX-License-Identifier: Apache-2.0
//
// The words in which manual pages are printed: troff with the man(7) macros, to stdout. Text comes from tables, as plain text in which
// `word` is set in bold and an empty line begins a paragraph.
#ifndef BR_TOOLS_MAN_PAGE_H
#define BR_TOOLS_MAN_PAGE_H

#include "tools/cli.h"

/** man_head - the page's title and its NAME section, made from a summary sentence */
void man_head(const char *name, const char *section, const char *summary);
/** man_section, man_subsection - a heading */
void man_section(const char *title);
void man_subsection(const char *title);
/** man_text - one or more paragraphs */
void man_text(const char *text);
/** man_item - an entry of a list: a head in bold, what is behind it in plain, then text */
void man_item(const char *head, const char *behind, const char *text);
/** man_options - --name=VALUE and text for each */
void man_options(const struct cli_option *options);
/** man_fields - JSON fields with their types */
void man_fields(const struct cli_field *fields);
/** man_example - a block of lines that is shown as it is */
void man_example(const char *lines);
/** man_paragraph - man_text() that begins a new paragraph, behind an example */
void man_paragraph(const char *text);
/** man_arguments - words of a usage line: what is in capitals is italic; ends the line */
void man_arguments(const char *arguments);
/** man_see_also - the SEE ALSO section; @pages "blkrep-sync(1), ..." in any order, may be NULL */
void man_see_also(const char *first, const char *pages);

#endif
