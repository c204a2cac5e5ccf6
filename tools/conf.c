// SPDX-License-Identifier: Apache-2.0
#include "tools/conf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#include "engine/base/ini.h"

const struct conf_key conf_keys[] = {
    {"volume", "path", CLI_PATH, "PATH", NULL,
     "The file or block device. `blkrep sync NAME ...` then means this path."},
    {"volume", "recheck-period", CLI_DURATION, "TIME", "30d",
     "Every block of its replicas is proven anew within this time by the rolling recheck."},
    {"replica", "path", CLI_PATH, "PATH", NULL,
     "The replica's file or block device on this host, as a name for `blkrep sync` and as what `blkrep serve` offers under NAME."},
    {"replica", "address", CLI_TEXT, "blkrep://HOST[:PORT]/NAME", NULL, "The replica on another host."},
    {"replica", "overwrite", CLI_FLAG, NULL, "no",
     "Let `blkrep serve` make this replica from a target that holds something else. The first sync destroys what is there."},
    {"serve", "listen", CLI_TEXT, "HOST[:PORT]", "*",
     "Address to listen on, `*` for every one of this host; may hold several, separated by blanks. Port 4777 when none is given."},
    {"serve", "directory", CLI_PATH, "DIR", NULL,
     "Folder in which clients may make replicas as plain files, each named as the client names it. Without it only `[replica N]` "
     "sections are offered."},
    {"serve", "sessions-max", CLI_NUMBER, "N", "64", "Sessions at once; one more is told to come back."},
    {"serve", "sessions-per-address", CLI_NUMBER, "N", "16", "Sessions at once from one address."},
    {"serve", "handshakes-max", CLI_NUMBER, "N", "32", "Connections at once that have not yet proven who they are."},
    {"serve", "handshake-timeout", CLI_DURATION, "TIME", "10s",
     "A connection that has not proven who it is by then is closed."},
    {"serve", "idle-timeout", CLI_DURATION, "TIME", "60s",
     "A session whose peer answers nothing for this long is closed."},
    {"serve", "bwlimit", CLI_SIZE, "SIZE", "0", "Bytes per second taken from one session; 0 is no limit."},
    {"serve", "volume-max", CLI_SIZE, "SIZE", "64TiB", "Largest volume that a client may make in `directory`."},
    {"serve", "stop-timeout", CLI_DURATION, "TIME", "20s",
     "After SIGTERM sessions that are past their commit get this long to finish; the rest stays resumable."},
    {NULL, NULL, CLI_FLAG, NULL, NULL, NULL},
};

const struct conf_key *conf_key_find(const char *section, const char *key)
{
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        if (!strcmp(row->section, section) && !strcmp(row->key, key)) {
            return row;
        }
    }
    return NULL;
}

static bool conf_section_known(const char *section)
{
    for (const struct conf_key *row = conf_keys; row->section; row++) {
        if (!strcmp(row->section, section)) {
            return true;
        }
    }
    return false;
}

static bool conf_flag_parse(const char *value, bool *ret_flag)
{
    if (!strcmp(value, "yes") || !strcmp(value, "no")) {
        *ret_flag = value[0] == 'y';
        return true;
    }
    return false;
}

static bool conf_decimal_parse(const char *value, uint64_t *ret_number)
{
    char *end;

    errno = 0;
    *ret_number = strtoull(value, &end, 10);
    return value[0] >= '0' && value[0] <= '9' && !*end && !errno;
}

static bool conf_value_ok(const struct conf_key *row, const char *value)
{
    uint64_t number;
    bool flag;

    switch (row->kind) {
    case CLI_SIZE: return br_size_parse(value, &number);
    case CLI_DURATION: return br_duration_parse(value, &number);
    case CLI_NUMBER: return conf_decimal_parse(value, &number);
    case CLI_FLAG: return conf_flag_parse(value, &flag);
    case CLI_CHOICE:
    case CLI_TEXT:
    case CLI_PATH: return *value != 0;
    }
    return false;
}

// A name is what an address can hold: no slash.
static int conf_check(const struct conf *conf, const struct br_ini_entry *entry, struct br_err *reterr)
{
    const struct conf_key *row = conf_key_find(entry->section, entry->key);

    if (!conf_section_known(entry->section)) {
        return br_err_set(reterr, BR_E_CONFIG, "unknown section [%s]", entry->section);
    }
    if (!row) {
        return br_err_set(reterr, BR_E_CONFIG, "unknown key %s in section [%s]", entry->key, entry->section);
    }
    if (!strcmp(entry->section, "serve") && *entry->name) {
        return br_err_set(reterr, BR_E_CONFIG, "section [serve] takes no name");
    }
    if (strcmp(entry->section, "serve") != 0 && !*entry->name) {
        return br_err_set(reterr, BR_E_CONFIG, "section [%s] needs a name: [%s NAME]", entry->section, entry->section);
    }
    if (strchr(entry->name, '/')) {
        return br_err_set(reterr, BR_E_CONFIG, "the name in [%s %s] must not hold a slash", entry->section,
                          entry->name);
    }
    if (!conf_value_ok(row, entry->value)) {
        return br_err_set(reterr, BR_E_CONFIG, "%s = %s is not a valid value", entry->key, entry->value);
    }
    if (row->kind == CLI_PATH && entry->value[0] != '/') {
        return br_err_set(reterr, BR_E_CONFIG, "%s = %s must be an absolute path", entry->key, entry->value);
    }
    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *other = &conf->entries[i];
        if (!strcmp(other->section, entry->section) && !strcmp(other->name, entry->name) &&
            !strcmp(other->key, entry->key)) {
            return br_err_set(reterr, BR_E_CONFIG, "%s is given twice in [%s]", entry->key, entry->section);
        }
    }
    return 0;
}

static void conf_entry_free(struct conf_entry *entry)
{
    free(entry->section);
    free(entry->name);
    free(entry->key);
    free(entry->value);
}

static int conf_on_entry(void *user, const struct br_ini_entry *entry, struct br_err *reterr)
{
    struct conf *conf = user;
    int error = conf_check(conf, entry, reterr);

    if (error) {
        return error;
    }
    struct conf_entry *entries = realloc(conf->entries, (conf->count + 1) * sizeof(*entries));
    if (!entries) {
        return br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
    }
    conf->entries = entries;
    struct conf_entry copy = {.section = strdup(entry->section),
                              .name = strdup(entry->name),
                              .key = strdup(entry->key),
                              .value = strdup(entry->value)};
    if (!copy.section || !copy.name || !copy.key || !copy.value) {
        conf_entry_free(&copy);
        return br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
    }
    entries[conf->count++] = copy;
    return 0;
}

int conf_load(const char *path, struct conf **ret_conf, struct br_err *reterr)
{
    const char *where = path ? path : BR_INI_DEFAULT_PATH;
    struct conf *conf = calloc(1, sizeof(*conf));
    struct br_err err;

    if (!conf) {
        return br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
    }
    int error = br_ini_load(where, conf_on_entry, conf, &err);
    if (error == -BR_E_NOT_FOUND && !path) {
        *ret_conf = conf; // the default file may be missing
        return 0;
    }
    if (error) {
        conf_free(conf);
        if (reterr) {
            *reterr = err;
        }
        return error;
    }
    conf->path = strdup(where);
    *ret_conf = conf;
    return 0;
}

void conf_free(struct conf *conf)
{
    for (size_t i = 0; conf && i < conf->count; i++) {
        conf_entry_free(&conf->entries[i]);
    }
    if (conf) {
        free(conf->entries);
        free(conf->path);
        free(conf);
    }
}

int conf_of(struct cli *cli, const struct conf **ret_conf, struct br_err *reterr)
{
    if (!cli->conf) {
        const char *path = cli_text(cli, "config") ? cli_text(cli, "config") : getenv("BLKREP_CONFIG");
        int error = conf_load(path && *path ? path : NULL, &cli->conf, reterr);
        if (error) {
            return error;
        }
    }
    *ret_conf = cli->conf;
    return 0;
}

const char *conf_get(const struct conf *conf, const char *section, const char *name, const char *key)
{
    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *entry = &conf->entries[i];
        if (!strcmp(entry->section, section) && !strcmp(entry->name, name) && !strcmp(entry->key, key)) {
            return entry->value;
        }
    }
    const struct conf_key *row = conf_key_find(section, key);
    assert(row);
    return row->otherwise;
}

bool conf_has(const struct conf *conf, const char *section, const char *name)
{
    for (size_t i = 0; i < conf->count; i++) {
        if (!strcmp(conf->entries[i].section, section) && !strcmp(conf->entries[i].name, name)) {
            return true;
        }
    }
    return false;
}

const char *conf_next_name(const struct conf *conf, const char *section, const char *after)
{
    bool passed = !after;

    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *entry = &conf->entries[i];
        if (strcmp(entry->section, section)) {
            continue;
        }
        bool same = after && !strcmp(entry->name, after);
        if (passed && !same) {
            return entry->name;
        }
        passed = passed || same;
    }
    return NULL;
}

uint64_t conf_size(const struct conf *conf, const char *section, const char *name, const char *key)
{
    uint64_t bytes = 0;
    bool ok = br_size_parse(conf_get(conf, section, name, key), &bytes);

    assert(ok);
    return bytes;
}

uint64_t conf_duration_ns(const struct conf *conf, const char *section, const char *name, const char *key)
{
    uint64_t ns = 0;
    bool ok = br_duration_parse(conf_get(conf, section, name, key), &ns);

    assert(ok);
    return ns;
}

uint64_t conf_number(const struct conf *conf, const char *section, const char *name, const char *key)
{
    uint64_t number = 0;
    bool ok = conf_decimal_parse(conf_get(conf, section, name, key), &number);

    assert(ok);
    return number;
}

bool conf_flag(const struct conf *conf, const char *section, const char *name, const char *key)
{
    bool flag = false;
    bool ok = conf_flag_parse(conf_get(conf, section, name, key), &flag);

    assert(ok);
    return flag;
}
