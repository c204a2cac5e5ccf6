// SPDX-License-Identifier: Apache-2.0
//
// What `blkrep status` says of attached volumes: what the record knows, and what the helper sees of the stack now. Without a helper, or
// rights to speak to it, the record's part is shown all the same.
#ifndef BR_TOOLS_VOLUME_SHOW_H
#define BR_TOOLS_VOLUME_SHOW_H

#include <jansson.h>

#include "tools/cli.h"

extern const struct cli_field show_volume_fields[]; // of a line of type volume

/**
 * show_volumes - print the attached volumes: one line each, or all that is known of the one that @word means
 * @word      a volume's name, its device or /dev/mapper/NAME; NULL all
 * @known     known_list(), for the names of consumers
 * @ret_path  of the one that was named: what its replicas know it by; at least VOLUME_WHERE_MAX + 16 bytes; may be NULL when @word is
 * Returns how many were shown; a record that can't be read is shown as that, not an error
 */
BR_MUST_CHECK int show_volumes(struct cli *cli, const char *word, const json_t *known, char *ret_path,
                               struct br_err *reterr);

#endif
