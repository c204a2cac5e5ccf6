// SPDX-License-Identifier: Apache-2.0
//
// The configuration: sections `[volume N]`, `[replica N]`, `[serve]` of the INI file that engine/base/ini.h reads. One table of keys checks it
// and makes blkrep.conf(5). An unknown section or key, a value of the wrong kind, and a file that others may write are errors that name the
// line.
// Precedence: flag > environment > file > default.
#ifndef BR_TOOLS_CONF_H
#define BR_TOOLS_CONF_H

#include "tools/cli.h"

struct conf_key {
    const char *section; // "volume", "replica", "serve"
    const char *key;
    enum cli_kind kind;
    const char *value;     // how it is shown, choices of CLI_CHOICE; NULL for flags (yes|no)
    const char *otherwise; // the default as text, NULL when there is none
    const char *text;
};

extern const struct conf_key conf_keys[]; // ends with a NULL section

struct conf_entry {
    char *section; // "replica"
    char *name;    // "web1", "" for sections without a name
    char *key;     // "" is the section's head itself
    char *value;
};

struct conf {
    char *path; // NULL when there is no file
    struct conf_entry *entries;
    size_t count;
};

/**
 * conf_load - read the configuration
 * @path  from --config or $BLKREP_CONFIG, then it must exist; NULL: the default file, which may be missing
 * Errors: -BR_E_CONFIG names file and line; -BR_E_PERMISSION the file belongs to or may be written by someone else; -BR_E_NOT_FOUND
 */
BR_MUST_CHECK int conf_load(const char *path, struct conf **ret_conf, struct br_err *reterr);
/**
 * conf_parse - the configuration that @len bytes of the file @path hold; @path NULL: an empty one
 * Errors: -BR_E_CONFIG names file and line
 */
BR_MUST_CHECK int conf_parse(const char *path, const void *bytes, size_t len, struct conf **ret_conf,
                             struct br_err *reterr);
/** conf_free - NULL is fine */
void conf_free(struct conf *conf);
/** conf_of - the command's configuration, loaded at the first call from --config, $BLKREP_CONFIG or the default place */
BR_MUST_CHECK int conf_of(struct cli *cli, const struct conf **ret_conf, struct br_err *reterr);
/** conf_get - the value set, else the key's default, else NULL; @name "" for sections without a name */
const char *conf_get(const struct conf *conf, const char *section, const char *name, const char *key);
/** conf_has - true when `[section name]` stands in the file */
bool conf_has(const struct conf *conf, const char *section, const char *name);
/** conf_next_name - the next section name of that kind after @after (NULL: the first), in the file's order; NULL when none is left */
const char *conf_next_name(const struct conf *conf, const char *section, const char *after);
/** conf_size, conf_duration_ns, conf_number, conf_flag - a key's value by kind, its default when not set; the key must have one of both */
uint64_t conf_size(const struct conf *conf, const char *section, const char *name, const char *key);
uint64_t conf_duration_ns(const struct conf *conf, const char *section, const char *name, const char *key);
uint64_t conf_number(const struct conf *conf, const char *section, const char *name, const char *key);
bool conf_flag(const struct conf *conf, const char *section, const char *name, const char *key);
/** conf_key_find - the table row of a key, NULL when there is none */
const struct conf_key *conf_key_find(const char *section, const char *key);

#endif
