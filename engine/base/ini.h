// SPDX-License-Identifier: Apache-2.0
//
// The reading of blkrep's configuration: an INI file of `[section name]` and `key = value`, through libinih, that only root, or the user who
// runs this, may have written. This is the one reader; what sections and keys there are is for who asks: tools/conf.c knows all of them,
// dm-helper those that name devices.
//
// Whatever libinih would cut (a long line, a long section) or pass over (a section without keys, a zero byte) is an error that names the
// line, and a line that begins with blanks is a line, never the rest of the value before.
#ifndef BR_BASE_INI_H
#define BR_BASE_INI_H

#include "engine/base/err.h"

#define BR_INI_DEFAULT_PATH "/etc/blkrep/blkrep.conf"

struct br_ini_entry {
    const char *section; // "replica" of [replica web1]; "" before the first section
    const char *name;    // "web1"; "" when the section has none
    const char *key;     // "" when this is the section's head itself
    const char *value;
};

/**
 * br_ini_entry_fn - told of the head of each section in the file's order, then of each entry in the file's order
 * Strings live until it returns. Anything but 0 ends the reading with that error; its text is put behind file and line.
 */
typedef int br_ini_entry_fn(void *user, const struct br_ini_entry *entry, struct br_err *reterr);

/**
 * br_ini_parse - what @len bytes of the file @path hold
 * Errors: -BR_E_CONFIG it is no INI file; what @on_entry returned; all name file and line
 */
BR_MUST_CHECK int br_ini_parse(const char *path, const void *bytes, size_t len, br_ini_entry_fn *on_entry, void *user,
                               struct br_err *reterr);
/**
 * br_ini_load - read a file to its end
 * Errors: as br_ini_parse(); -BR_E_NOT_FOUND there is none; -BR_E_PERMISSION it belongs to, or may be written by, someone else;
 * -BR_E_CONFIG it is larger than 1 MiB
 */
BR_MUST_CHECK int br_ini_load(const char *path, br_ini_entry_fn *on_entry, void *user, struct br_err *reterr);

#endif
