// SPDX-License-Identifier: Apache-2.0
#include "tools/conf.h"

#include <assert.h>
#include <errno.h>

#include "engine/base/ini.h"

const struct conf_key conf_keys[] = {
    {"volume", "path", CLI_PATH, "PATH", NULL,
     "The file or block device. `blkrep sync NAME ...` then means this path."},
    {"volume", "recheck-period", CLI_DURATION, "TIME", "30d",
     "Every block of its replicas is proven anew within this time by the rolling recheck."},
    {"volume", "before-snapshot", CLI_PATH, "PATH", NULL,
     "A script that is run before each snapshot of this attached volume, as `PATH before NAME`, and must exit with 0: else no snapshot is "
     "taken. It must be root's, file and folder. For databases see /usr/share/blkrep/hooks."},
    {"volume", "after-snapshot", CLI_PATH, "PATH", NULL,
     "A script that is run after it, as `PATH after NAME`, also when there was no snapshot."},
    {"volume", "hook-timeout", CLI_DURATION, "TIME", "30s",
     "A hook that takes longer is killed with all that it started. Nothing is frozen while a hook runs."},
    {"replica", "path", CLI_PATH, "PATH", NULL,
     "The replica's file or block device on this host, as a name for `blkrep sync` and as what `blkrep serve` offers under NAME."},
    {"replica", "address", CLI_TEXT, "blkrep://HOST[:PORT]/NAME", NULL, "The replica on another host."},
    {"replica", "overwrite", CLI_FLAG, NULL, "no",
     "Let `blkrep serve` make this replica from a target that holds something else. The first sync destroys what is there."},
    {"repository", "path", CLI_PATH, "DIR|blkrep://HOST[:PORT]/NAME", NULL,
     "The repository's directory, or where it is served. `blkrep backup SOURCE NAME` then means it."},
    {"repository", "passphrase-file", CLI_PATH, "FILE", NULL,
     "Its passphrase is the first line of FILE, unless another is given."},
    {"repository", "key-file", CLI_PATH, "FILE", NULL, "Open it with this key file, unless a passphrase is given."},
    {"repository", "serve", CLI_FLAG, NULL, "no",
     "`blkrep serve` keeps it for clients, under NAME: what a client may do there is its role. Of a directory only."},
    {"repository", "points-per-day", CLI_NUMBER, "N", "1000",
     "Points that one writer may add within a day, if it is served."},
    {"repository", "objects-per-day", CLI_NUMBER, "N", "100000",
     "Objects that one writer may add within a day: points, and packs of some 32 MiB."},
    {"repository", "bytes-per-day", CLI_SIZE, "SIZE", "4TiB",
     "Bytes that one writer may add within a day; 0 is no limit."},
    {"repository", "adopt", CLI_FLAG, NULL, "no",
     "A volume that has points, and of which it is not noted whose it is, goes to the next writer that adds to it. For a repository that was "
     "a directory before it was served, or whose server lost its state folder; switch it off again once all clients have run."},
    {"serve", "listen", CLI_TEXT, "HOST[:PORT]", "*",
     "Address to listen on, `*` for every one of this host; may hold several, separated by blanks. Port 4777 when none is given."},
    {"serve", "directory", CLI_PATH, "DIR", NULL,
     "Folder in which clients may make replicas as plain files, each named as the client names it. Without it only `[replica N]` "
     "sections are offered."},
    {"serve", "sessions-max", CLI_NUMBER, "N", "64", "Sessions at once; one more is told to come back."},
    {"serve", "sessions-per-address", CLI_NUMBER, "N", "16", "Sessions at once from one address."},
    {"serve", "handshakes-max", CLI_NUMBER, "N", "32",
     "Connections at once that have not yet proven who they are; at most half of them from one address (IPv6: one /64)."},
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
    case CLI_NUMBER: return conf_decimal_parse(value, &number) && number;
    case CLI_FLAG: return conf_flag_parse(value, &flag);
    case CLI_CHOICE:
    case CLI_TEXT:
    case CLI_PATH: return *value != 0;
    }
    return false;
}

static const struct conf_entry *conf_find(const struct conf *conf, const char *section, const char *name,
                                          const char *key)
{
    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *entry = &conf->entries[i];
        if (!strcmp(entry->section, section) && !strcmp(entry->name, name) && !strcmp(entry->key, key)) {
            return entry;
        }
    }
    return NULL;
}

static int conf_check_section(const struct br_ini_entry *entry, struct br_err *reterr)
{
    const char *section = entry->section;
    bool named = strcmp(section, "serve") != 0;

    if (!conf_section_known(section)) {
        return br_err_set(reterr, BR_E_CONFIG, "unknown section [%s]", section);
    }
    if (!named && *entry->name) {
        return br_err_set(reterr, BR_E_CONFIG, "section [serve] takes no name");
    }
    if (named && !*entry->name) {
        return br_err_set(reterr, BR_E_CONFIG, "section [%s] needs a name: [%s NAME]", section, section);
    }
    if (strchr(entry->name, '/')) {
        return br_err_set(reterr, BR_E_CONFIG, "the name in [%s %s] must not hold a slash", section, entry->name);
    }
    return 0;
}

static int conf_check(const struct conf *conf, const struct br_ini_entry *entry, struct br_err *reterr)
{
    const char *section = entry->section, *key = entry->key, *value = entry->value;
    const struct conf_key *row = conf_key_find(section, key);

    if (!row) {
        return *section ? br_err_set(reterr, BR_E_CONFIG, "unknown key %s in section [%s]", key, section)
                        : br_err_set(reterr, BR_E_CONFIG, "%s stands before the first [section]", key);
    }
    if (!conf_value_ok(row, value)) {
        return br_err_set(reterr, BR_E_CONFIG, "%s = %s is not a valid value", key, value);
    }
    bool address = !strcmp(section, "repository") && !strcmp(key, "path") && !strncmp(value, "blkrep://", 9);
    if (row->kind == CLI_PATH && value[0] != '/' && !address) {
        return br_err_set(reterr, BR_E_CONFIG, "%s = %s must be an absolute path", key, value);
    }
    if (!strcmp(key, "address") && strncmp(value, "blkrep://", 9) != 0) {
        return br_err_set(reterr, BR_E_CONFIG, "%s = %s is not of the form %s", key, value, row->value);
    }
    if (conf_find(conf, section, entry->name, key)) {
        return br_err_set(reterr, BR_E_CONFIG, "%s is given twice in [%s]", key, section);
    }
    return 0;
}

static int conf_add(struct conf *conf, const struct br_ini_entry *entry, struct br_err *reterr)
{
    struct conf_entry *entries = realloc(conf->entries, (conf->count + 1) * sizeof(*entries));

    if (!entries) {
        return br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
    }
    conf->entries = entries;
    struct conf_entry *added = &entries[conf->count++]; // counted now: what there is of it is freed with the rest
    *added = (struct conf_entry){
        .section = strdup(entry->section),
        .name = strdup(entry->name),
        .key = strdup(entry->key),
        .value = strdup(entry->value),
    };
    return added->section && added->name && added->key && added->value
               ? 0
               : br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
}

static int conf_on_entry(void *user, const struct br_ini_entry *entry, struct br_err *reterr)
{
    struct conf *conf = user;
    bool head = !*entry->key;
    int error = head ? conf_check_section(entry, reterr) : conf_check(conf, entry, reterr);

    // A section may come in parts; its head is noted once.
    return error || (head && conf_find(conf, entry->section, entry->name, "")) ? error : conf_add(conf, entry, reterr);
}

static int conf_check_whole(const struct conf *conf, const char *path, struct br_err *reterr)
{
    for (size_t i = 0; i < conf->count; i++) {
        const char *section = conf->entries[i].section, *name = conf->entries[i].name;
        if (!strcmp(section, "serve")) {
            continue;
        }
        bool has_path = conf_find(conf, section, name, "path");
        bool has_address = conf_find(conf, section, name, "address");
        if (has_path && has_address) {
            return br_err_set(reterr, BR_E_CONFIG, "%s: [%s %s] has a path and an address: which is it?", path, section,
                              name);
        }
        if (!has_path && !has_address) {
            return br_err_set(reterr, BR_E_CONFIG, "%s: [%s %s] has no path%s", path, section, name,
                              strcmp(section, "replica") ? "" : " and no address");
        }
    }
    return 0;
}

// The configuration @conf, just read with @error, for who asked; takes it.
static int conf_take(struct conf *conf, const char *path, int error, struct conf **ret_conf, struct br_err *reterr)
{
    error = error ? error : conf_check_whole(conf, path, reterr);
    if (error) {
        conf_free(conf);
        return error;
    }
    *ret_conf = conf;
    return 0;
}

static int conf_new(const char *path, struct conf **ret_conf, struct br_err *reterr)
{
    struct conf *conf = calloc(1, sizeof(*conf));

    if (conf && path) {
        conf->path = strdup(path);
    }
    if (!conf || (path && !conf->path)) {
        conf_free(conf);
        return br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
    }
    *ret_conf = conf;
    return 0;
}

int conf_parse(const char *path, const void *bytes, size_t len, struct conf **ret_conf, struct br_err *reterr)
{
    struct conf *conf = NULL;
    int error = conf_new(path, &conf, reterr);

    if (error) {
        return error;
    }
    error = path ? br_ini_parse(path, bytes, len, conf_on_entry, conf, reterr) : 0;
    return conf_take(conf, path, error, ret_conf, reterr);
}

int conf_load(const char *path, struct conf **ret_conf, struct br_err *reterr)
{
    const char *where = path ? path : BR_INI_DEFAULT_PATH;
    struct br_err err = {0};
    struct conf *conf = NULL;
    int error = conf_new(where, &conf, reterr);

    if (error) {
        return error;
    }
    error = br_ini_load(where, conf_on_entry, conf, &err);
    if (error && !path && (err.os_errno == ENOENT || err.os_errno == ENOTDIR)) {
        conf_free(conf);
        return conf_parse(NULL, NULL, 0, ret_conf, reterr);
    }
    if (error && reterr) {
        *reterr = err;
    }
    return conf_take(conf, where, error, ret_conf, reterr);
}

void conf_free(struct conf *conf)
{
    for (size_t i = 0; conf && i < conf->count; i++) {
        free(conf->entries[i].section);
        free(conf->entries[i].name);
        free(conf->entries[i].key);
        free(conf->entries[i].value);
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
    const struct conf_entry *entry = conf_find(conf, section, name, key);

    if (entry) {
        return entry->value;
    }
    const struct conf_key *row = conf_key_find(section, key);
    assert(row);
    return row->otherwise;
}

bool conf_has(const struct conf *conf, const char *section, const char *name)
{
    return conf_find(conf, section, name, "") != NULL;
}

const char *conf_next_name(const struct conf *conf, const char *section, const char *after)
{
    bool passed = !after;

    for (size_t i = 0; i < conf->count; i++) {
        const struct conf_entry *entry = &conf->entries[i];
        if (*entry->key || strcmp(entry->section, section)) {
            continue; // only heads count, and each of those is there once
        }
        if (passed) {
            return entry->name;
        }
        passed = !strcmp(entry->name, after);
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
