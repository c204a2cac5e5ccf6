// SPDX-License-Identifier: Apache-2.0
#include "tools/conf.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONF_DEFAULT_PATH "/etc/blkrep/blkrep.conf"
#define CONF_BYTES_MAX    (1024 * 1024)

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

struct conf_reader {
    struct conf *conf;
    const char *path;
    struct br_err *reterr;
    int error;
    int line; // of the entry being handled, from the counting reader
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

// "replica web1" -> "replica", "web1". Names are what addresses can hold: no slash, no blank at either end.
static bool conf_section_split(const char *text, char **ret_section, char **ret_name)
{
    const char *space = strchr(text, ' ');

    *ret_section = space ? strndup(text, (size_t)(space - text)) : strdup(text);
    while (space && *space == ' ') {
        space++;
    }
    *ret_name = strdup(space ? space : "");
    return *ret_section && *ret_name;
}

static int conf_fail(struct conf_reader *reader, const char *fmt, ...) BR_PRINTF(2, 3);

static int conf_fail(struct conf_reader *reader, const char *fmt, ...)
{
    char text[400];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    reader->error = br_err_set(reader->reterr, BR_E_CONFIG, "%s: %s", reader->path, text);
    return 0; // tells inih that this line is wrong
}

static int conf_check(struct conf_reader *reader, const char *section, const char *name, const char *key,
                      const char *value)
{
    const struct conf_key *row = conf_key_find(section, key);

    if (!conf_section_known(section)) {
        return conf_fail(reader, "unknown section [%s]", section);
    }
    if (!row) {
        return conf_fail(reader, "unknown key %s in section [%s]", key, section);
    }
    if (!strcmp(section, "serve") && *name) {
        return conf_fail(reader, "section [serve] takes no name");
    }
    if (strcmp(section, "serve") != 0 && !*name) {
        return conf_fail(reader, "section [%s] needs a name: [%s NAME]", section, section);
    }
    if (strchr(name, '/')) {
        return conf_fail(reader, "the name in [%s %s] must not hold a slash", section, name);
    }
    if (!conf_value_ok(row, value)) {
        return conf_fail(reader, "%s = %s is not a valid value", key, value);
    }
    if (row->kind == CLI_PATH && value[0] != '/') {
        return conf_fail(reader, "%s = %s must be an absolute path", key, value);
    }
    for (size_t i = 0; i < reader->conf->count; i++) {
        const struct conf_entry *entry = &reader->conf->entries[i];
        if (!strcmp(entry->section, section) && !strcmp(entry->name, name) && !strcmp(entry->key, key)) {
            return conf_fail(reader, "%s is given twice in [%s]", key, section);
        }
    }
    return 1;
}

static int conf_add(struct conf *conf, char *section, char *name, const char *key, const char *value)
{
    struct conf_entry *entries = realloc(conf->entries, (conf->count + 1) * sizeof(*entries));

    if (!entries) {
        return -BR_E_NOMEM;
    }
    conf->entries = entries;
    entries[conf->count] =
        (struct conf_entry){.section = section, .name = name, .key = strdup(key), .value = strdup(value)};
    if (!entries[conf->count].key || !entries[conf->count].value) {
        free(entries[conf->count].key);
        free(entries[conf->count].value);
        return -BR_E_NOMEM;
    }
    conf->count++;
    return 0;
}

static int conf_on_entry(void *user, const char *section_text, const char *key, const char *value)
{
    struct conf_reader *reader = user;
    char *section = NULL;
    char *name = NULL;

    if (reader->error) {
        return 0;
    }
    if (conf_section_split(section_text, &section, &name) && conf_check(reader, section, name, key, value)) {
        if (!conf_add(reader->conf, section, name, key, value)) {
            return 1;
        }
    }
    if (!reader->error) {
        reader->error = br_err_set(reader->reterr, BR_E_NOMEM, "reading %s", reader->path);
    }
    free(section);
    free(name);
    return 0;
}

// Who may write the configuration decides what runs as root: it must be ours or root's, and nobody else's to write.
static int conf_check_owner(int fd, const char *path, struct br_err *reterr)
{
    struct stat st;

    if (fstat(fd, &st)) {
        return br_err_os(reterr, errno, "reading %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return br_err_set(reterr, BR_E_CONFIG, "%s is not a regular file", path);
    }
    if ((st.st_uid && st.st_uid != geteuid()) || (st.st_mode & 022)) {
        return br_err_set(reterr, BR_E_PERMISSION,
                          "%s must belong to root or to you and be writable by nobody else (chmod go-w)", path);
    }
    if (st.st_size > CONF_BYTES_MAX) {
        return br_err_set(reterr, BR_E_CONFIG, "%s is larger than 1 MiB", path);
    }
    return 0;
}

static int conf_read(FILE *file, const char *path, struct conf *conf, struct br_err *reterr)
{
    struct conf_reader reader = {.conf = conf, .path = path, .reterr = reterr};
    int line = ini_parse_file(file, conf_on_entry, &reader);

    if (line > 0) {
        if (!reader.error) {
            return br_err_set(reterr, BR_E_CONFIG, "%s:%d: not `[section name]` or `key = value`", path, line);
        }
        if (reterr && reader.error == -BR_E_CONFIG) {
            char text[sizeof(reterr->text)];
            snprintf(text, sizeof(text), "%s", reterr->text + strlen(path) + 2);
            return br_err_set(reterr, BR_E_CONFIG, "%s:%d: %s", path, line, text);
        }
        return reader.error;
    }
    return line < 0 ? br_err_set(reterr, BR_E_NOMEM, "reading %s", path) : 0;
}

int conf_load(const char *path, struct conf **ret_conf, struct br_err *reterr)
{
    const char *where = path ? path : CONF_DEFAULT_PATH;
    struct conf *conf = calloc(1, sizeof(*conf));
    int error;

    if (!conf) {
        return br_err_set(reterr, BR_E_NOMEM, "reading the configuration");
    }
    int fd = open(where, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (!path && (errno == ENOENT || errno == ENOTDIR)) {
            *ret_conf = conf;
            return 0;
        }
        error = br_err_os(reterr, errno, "opening the configuration %s", where);
        conf_free(conf);
        return error;
    }
    FILE *file = NULL;
    error = conf_check_owner(fd, where, reterr);
    if (!error) {
        file = fdopen(fd, "re");
        error = file ? conf_read(file, where, conf, reterr) : br_err_os(reterr, errno, "opening %s", where);
    }
    if (file) {
        fclose(file);
    } else {
        close(fd);
    }
    conf->path = error ? NULL : strdup(where);
    if (error) {
        conf_free(conf);
        return error;
    }
    *ret_conf = conf;
    return 0;
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
