// SPDX-License-Identifier: Apache-2.0
//
// The reading of blkrep's configuration: an INI file of `[section name]` and `key = value` that only root, or the user who runs this, may
// have written. What sections and keys there are is the reader's business: tools/conf.c knows all of them, dm-helper those that name
// devices.
#ifndef BR_BASE_INI_H
#define BR_BASE_INI_H

#include "engine/base/err.h"

#define BR_INI_DEFAULT_PATH "/etc/blkrep/blkrep.conf"

struct br_ini_entry {
    const char *section; // "replica" of [replica web1]
    const char *name;    // "web1"; "" when the section has none
    const char *key;
    const char *value;
};

/** br_ini_entry_fn - told of each entry in the file's order; strings live until it returns; anything but 0 ends the reading with that error */
typedef int br_ini_entry_fn(void *user, const struct br_ini_entry *entry, struct br_err *reterr);

/**
 * br_ini_load - read a file to its end
 * Errors: -BR_E_NOT_FOUND there is none; -BR_E_PERMISSION it belongs to, or may be written by, someone else; -BR_E_CONFIG it is no INI
 * file, or too large; what @on_entry returned, its text preceded by file and line
 */
BR_MUST_CHECK int br_ini_load(const char *path, br_ini_entry_fn *on_entry, void *user, struct br_err *reterr);

#endif
